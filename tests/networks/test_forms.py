"""The fast forms of the pair network against the plain one, and the symmetries the model promises."""

import pytest
import torch

from crystal_core.networks.inference import FastPairNetwork
from crystal_core.networks.packing import pack
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.networks.reference import reference_forward

COUNTS = [1, 4, 2, 7, 1, 4]


@pytest.fixture
def case():
    torch.manual_seed(0)
    network = PairNetwork(PairNetworkConfig(hidden_dim=32, n_layers=3, n_frequencies=16))
    n_atoms = torch.tensor(COUNTS)
    atoms = int(n_atoms.sum())
    return (
        network,
        n_atoms,
        torch.rand(atoms, 3) - 0.5,
        torch.randn(atoms, 3),
        torch.randint(1, 90, (atoms,)),
        torch.randn(len(COUNTS), 6),
    )


def run(case, frac=None, velocity=None, species=None):
    network, n_atoms, f, u, h, lattice = case
    t = torch.full((len(COUNTS),), 0.3)
    with torch.no_grad():
        return network(
            t,
            f if frac is None else frac,
            u if velocity is None else velocity,
            h if species is None else species,
            lattice,
            pack(n_atoms),
        )


def test_published_size_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in PairNetwork(PairNetworkConfig()).parameters()) == 14_924_800


def test_packed_form_and_its_gradients_equal_the_plain_form(case):
    network, n_atoms, f, u, h, lattice = case
    t = torch.rand(len(COUNTS))
    results = []
    for form in (lambda *a: network(*a), lambda *a: reference_forward(network, *a)):
        v, cell = form(t, f, u, h, lattice, pack(n_atoms))
        gradients = torch.autograd.grad((v**2).sum() + (cell**2).sum(), list(network.parameters()))
        results.append([v, cell, *gradients])
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)  # float32 sums in another order


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_inference_form_equals_the_plain_form(case, onednn, dtype, tolerance):
    if onednn and not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    if onednn and dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN multiplies no bf16 on this CPU")
    network, n_atoms, f, u, h, lattice = case
    plain = reference_forward(network, torch.full((len(COUNTS),), 0.3), f, u, h, lattice, pack(n_atoms))
    fast = FastPairNetwork(network, h, n_atoms, dtype, onednn=onednn)(0.3, f, u, lattice)
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b.detach(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("width", [0, 7])
def test_all_forms_agree_on_types_that_diffuse(case, width, monkeypatch):
    """De novo: whole types or noisy vectors come in with every call, and type outputs go out."""
    _, n_atoms, f, u, h, lattice = case
    network = PairNetwork(
        PairNetworkConfig(
            hidden_dim=32, n_layers=2, n_frequencies=16, n_type_inputs=width, n_type_outputs=width or 100
        )
    )
    species = torch.randn(len(h), width) if width else h
    t = torch.full((len(COUNTS),), 0.3)
    plain = reference_forward(network, t, f, u, species, lattice, pack(n_atoms))
    packed = network(t, f, u, species, lattice, pack(n_atoms))
    monkeypatch.setattr("crystal_core.networks.inference.MAX_EDGES", 13)
    fast = FastPairNetwork(network, None, n_atoms)(0.3, f, u, lattice, species)
    assert plain[2].shape == (len(h), width or 100)
    for a, b, c in zip(plain, packed, fast, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(a.detach(), c, atol=1e-4, rtol=1e-4)


def test_inference_in_chunks_changes_nothing(case, monkeypatch):
    network, n_atoms, f, u, h, lattice = case
    whole = FastPairNetwork(network, h, n_atoms)(0.3, f, u, lattice)
    monkeypatch.setattr("crystal_core.networks.inference.MAX_EDGES", 13)
    parts = FastPairNetwork(network, h, n_atoms)
    assert len(parts.chunks) > 2
    for a, b in zip(parts(0.3, f, u, lattice), whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_common_shift_and_whole_periods_change_nothing(case):
    base = run(case)
    shifted = run(case, frac=case[2] + torch.tensor([0.31, -0.2, 0.77]) + torch.randint(-2, 3, case[2].shape))
    for a, b in zip(base, shifted, strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=2e-3)  # float32 sine of 15 * 2 pi * 3


def test_permuting_the_atoms_permutes_the_output(case):
    first, last = 7, 14  # the crystal of seven atoms
    order = torch.arange(len(case[2]))
    order[first:last] = first + torch.randperm(7, generator=torch.Generator().manual_seed(3))
    base = run(case)
    permuted = run(case, frac=case[2][order], velocity=case[3][order], species=case[4][order])
    torch.testing.assert_close(permuted[0], base[0][order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(permuted[1], base[1], atol=1e-5, rtol=1e-4)


def test_predicted_velocity_has_zero_mean_per_crystal(case):
    velocity, _ = run(case)
    for part in torch.split(velocity, COUNTS):
        assert part.mean(0).abs().max() < 1e-6
    assert torch.equal(velocity[0], torch.zeros(3))  # an atom alone in its cell


@pytest.mark.parametrize("counts", [[1], [1, 1, 1]])
def test_a_batch_of_lone_atoms_works_in_every_form(counts):
    """No pair at all: empty edge tensors must keep their widths."""
    torch.manual_seed(1)
    network = PairNetwork(PairNetworkConfig(hidden_dim=16, n_layers=2, n_frequencies=4))
    n_atoms, n = torch.tensor(counts), len(counts)
    inputs = torch.rand(n, 3), torch.randn(n, 3), torch.randint(1, 90, (n,)), torch.randn(n, 6)
    forms = [
        network(torch.full((n,), 0.3), *inputs, pack(n_atoms)),
        reference_forward(network, torch.full((n,), 0.3), *inputs, pack(n_atoms)),
        FastPairNetwork(network, inputs[2], n_atoms)(0.3, inputs[0], inputs[1], inputs[3]),
    ]
    for velocity, cell in forms:
        assert torch.equal(velocity, torch.zeros(n, 3))
        torch.testing.assert_close(cell, forms[0][1], atol=1e-5, rtol=1e-5)
    loss = (forms[0][1] ** 2).sum()
    assert all(
        torch.isfinite(g).all()
        for g in torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
        if g is not None
    )
