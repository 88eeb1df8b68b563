"""CSPNet: the fast forms against the plain one in float64, and the symmetries the model promises."""

import pytest
import torch

from crystal_core.generators.diffcsp.inference import FastCspNetwork
from crystal_core.generators.diffcsp.network import CspNetwork, CspNetworkConfig
from crystal_core.generators.diffcsp.reference import reference_forward
from crystal_core.networks.packing import pack

COUNTS = [1, 4, 2, 7, 1, 4]
EXACT = dict(atol=1e-10, rtol=1e-10)


@pytest.fixture
def case():
    """Network and (t, coordinates, elements, cells, packing) of six crystals, in float64."""
    torch.manual_seed(0)
    network = CspNetwork(CspNetworkConfig(hidden_dim=24, n_layers=3, n_frequencies=8, time_dim=16)).double()
    atoms, n_atoms = sum(COUNTS), torch.tensor(COUNTS)
    given = (
        torch.randint(1, 1001, (len(COUNTS),)),
        torch.rand(atoms, 3, dtype=torch.float64),
        torch.randint(1, 101, (atoms,)),
        4 * torch.randn(len(COUNTS), 3, 3, dtype=torch.float64),
        pack(n_atoms),
    )
    return network, given


def run(case, **changed):
    network, (t, frac_coords, numbers, lattice, packing) = case
    with torch.no_grad():
        return network(
            t,
            changed.get("frac_coords", frac_coords),
            changed.get("numbers", numbers),
            changed.get("lattice", lattice),
            packing,
        )


def test_published_size_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in CspNetwork(CspNetworkConfig()).parameters()) == 12_294_656


def test_packed_form_and_its_gradients_equal_the_plain_form(case):
    network, given = case
    results = []
    for form in (network, lambda *a: reference_forward(network, *a)):
        noise, score = form(*given)
        gradients = torch.autograd.grad((noise**2).sum() + (score**2).sum(), list(network.parameters()))
        results.append([noise, score, *gradients])
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, **EXACT)


@pytest.mark.parametrize("max_edges", [8000, 13])
def test_inference_form_equals_the_plain_form(case, max_edges, monkeypatch):
    monkeypatch.setattr("crystal_core.generators.diffcsp.inference.MAX_EDGES", max_edges)
    network, (_, frac_coords, numbers, lattice, packing) = case
    t = torch.full((len(COUNTS),), 300)
    plain = reference_forward(network, t, frac_coords, numbers, lattice, packing)
    fast = FastCspNetwork(network, numbers, packing.n_atoms, torch.float64, onednn=False)
    assert (len(fast.chunks) > 2) == (max_edges < 20)
    for a, b in zip(fast(300, frac_coords, lattice), plain, strict=True):
        torch.testing.assert_close(a, b.detach(), **EXACT)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_products_of_the_processor_stay_within_rounding(case, dtype, tolerance):
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN multiplies no bf16 on this CPU")
    network, (_, frac_coords, numbers, lattice, packing) = case
    network = network.float()
    given = frac_coords.float(), lattice.float()
    plain = FastCspNetwork(network, numbers, packing.n_atoms, onednn=False)(300, *given)
    fast = FastCspNetwork(network, numbers, packing.n_atoms, dtype, onednn=True)(300, *given)
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance * float(b.abs().max()), rtol=tolerance)


def test_a_common_shift_and_whole_periods_change_nothing(case):
    coords = case[1][1]
    moved = coords + torch.tensor([0.31, -0.2, 0.77]) + torch.randint(-2, 3, coords.shape)
    for a, b in zip(run(case), run(case, frac_coords=moved), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)  # the shift is rounded to float32


def test_permuting_the_atoms_permutes_the_score(case):
    first, last = 7, 14  # the crystal of seven atoms
    order = torch.arange(sum(COUNTS))
    order[first:last] = first + torch.randperm(7, generator=torch.Generator().manual_seed(3))
    (noise, score), (noise_then, score_then) = (
        run(case),
        run(case, frac_coords=case[1][1][order], numbers=case[1][2][order]),
    )
    torch.testing.assert_close(score_then, score[order], **EXACT)
    torch.testing.assert_close(noise_then, noise, **EXACT)


def test_the_lattice_noise_turns_with_the_cell_and_the_score_does_not(case):
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))  # rotations and mirrors alike
    (noise, score), (noise_then, score_then) = run(case), run(case, lattice=case[1][3] @ turn)
    torch.testing.assert_close(noise_then, noise @ turn, **EXACT)
    torch.testing.assert_close(score_then, score, **EXACT)
