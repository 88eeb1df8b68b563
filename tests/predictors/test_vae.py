"""Stage 1: its targets, its losses by hand, and the numbers that watch the latents."""

import math

import pytest
import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import RequestError
from crystal_core.geometry import lattice_from_parameters
from crystal_core.graphs.crystal_graphs import GraphConfig, build_graphs
from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer, PddformerConfig
from crystal_core.predictors.crysldnet.latents import latent_statistics
from crystal_core.predictors.crysldnet.vae import CrystalVae, VaeConfig, draw_hidden, hide

GRAPH = GraphConfig(n_neighbours=8, n_nearest=20)
COUNTS = torch.tensor([4, 2, 7, 10])


@pytest.fixture
def batch():
    """Graphs, fractional coordinates and cell parameters of four crystals."""
    torch.manual_seed(0)
    atoms = int(COUNTS.sum())
    parameters = torch.cat(
        [(15.0 * COUNTS[:, None]) ** (1 / 3) + torch.rand(4, 3), 90 + 5 * torch.randn(4, 3)], dim=1
    )
    crystals = CrystalBatch(
        atomic_numbers=torch.randint(1, 90, (atoms,)),
        frac_coords=torch.rand(atoms, 3),
        lattice=lattice_from_parameters(parameters),
        n_atoms=COUNTS,
    )
    return build_graphs(crystals, GRAPH), crystals.frac_coords, parameters


def vae(**settings):
    torch.manual_seed(1)
    return CrystalVae(
        Pddformer(PddformerConfig(width=16, n_layers=2, n_nearest=20), GRAPH), VaeConfig(**settings)
    )


def rng():
    return torch.Generator().manual_seed(0)


def test_a_third_of_every_crystal_hides_its_element():
    hidden = draw_hidden(COUNTS, 0.3, rng())
    assert [int(part.sum()) for part in hidden.split(COUNTS.tolist())] == [2, 1, 3, 3]
    assert not torch.equal(hidden, draw_hidden(COUNTS, 0.3, torch.Generator().manual_seed(1)))
    assert draw_hidden(torch.tensor([1]), 0.3, rng()).tolist() == [True]


def test_a_hidden_element_cannot_be_read_from_the_input(batch):
    graphs, _, _ = batch
    hidden = draw_hidden(COUNTS, 0.3, rng())
    other = graphs.atomic_numbers.clone()
    other[hidden] = 7
    model = vae().eval()
    changed = type(graphs)(
        **{n: other if n == "atomic_numbers" else getattr(graphs, n) for n in graphs.__dataclass_fields__}
    )
    a, b = (model.moments(hide(g, hidden))[0] for g in (graphs, changed))
    assert torch.equal(a, b)


@pytest.mark.parametrize("targets", ["invariant", "published"])
def test_the_losses_are_those_of_the_formulas(batch, targets):
    graphs, frac, parameters = batch
    model, hidden = vae(targets=targets, kl_weight=0.01).eval(), draw_hidden(COUNTS, 0.3, rng())
    losses = model(graphs, frac, parameters, hidden, rng())
    mean, log_variance = model.moments(hide(graphs, hidden))
    z = mean
    if targets == "published":
        z = mean + torch.exp(log_variance / 2) * torch.randn(mean.shape, generator=rng())
    log_p = torch.log_softmax(model.mlm_pred(z), -1)
    expected = [-log_p[i, graphs.atomic_numbers[i]] for i in torch.nonzero(hidden).flatten()]
    torch.testing.assert_close(losses.types, torch.stack(expected).mean())
    pooled = torch.stack([part.mean(0) for part in z.split(COUNTS.tolist())])
    if targets == "published":
        positions = frac
        lattice = torch.stack([cell.T.reshape(9) for cell in lattice_from_parameters(parameters)])
    else:
        positions = graphs.nearest[:, :12].log()
        lattice = torch.cat([parameters[:, :3].log(), parameters[:, 3:] * math.pi / 180], 1)
    torch.testing.assert_close(losses.positions, (model.position_mlp(z) - positions).abs().mean())
    torch.testing.assert_close(losses.lattice, (model.lattice_mlp(pooled) - lattice).abs().mean())
    normal = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
    unit = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    kl = torch.distributions.kl_divergence(normal, unit).sum(-1).mean()
    torch.testing.assert_close(losses.kl, kl)
    total = losses.types + losses.positions + losses.lattice + 0.01 * kl
    torch.testing.assert_close(losses.total, total)


def test_a_few_steps_lower_every_reconstruction(batch):
    graphs, frac, parameters = batch
    model, hidden, noise = vae().train(), draw_hidden(COUNTS, 0.3, rng()), rng()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(80):
        losses = model(graphs, frac, parameters, hidden, noise)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append([losses.types.item(), losses.positions.item(), losses.lattice.item()])
    for first, last in zip(history[0], history[-1], strict=True):
        assert last < 0.7 * first


def test_statistics_tell_a_collapsed_space_from_a_full_one():
    torch.manual_seed(0)
    full = latent_statistics(3 * torch.randn(5000, 16))
    assert full.std == pytest.approx(3, rel=0.02)
    assert full.effective_rank == pytest.approx(16, rel=0.02)
    line = latent_statistics(torch.randn(500, 1) * torch.ones(16) + 5)
    assert line.effective_rank == pytest.approx(1, abs=0.01)
    assert latent_statistics(torch.ones(9, 4)).effective_rank == 0


def test_bad_settings_are_one_sentence():
    with pytest.raises(RequestError, match="n_nearest"):
        vae(n_distances=50)
    with pytest.raises(RequestError, match="mask_fraction"):
        VaeConfig(mask_fraction=0)
    with pytest.raises(RequestError, match="targets"):
        VaeConfig(targets="all")
