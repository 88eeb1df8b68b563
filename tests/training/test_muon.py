"""Muon against the library's form of it, and what makes it Muon."""

import pytest
import torch
from torch import nn

from crystal_core.errors import RequestError
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.training.config import FitConfig
from crystal_core.training.fit import Trainer
from crystal_core.training.muon import Muon, hidden_matrices, orthogonal
from crystal_core.training.optimisers import optimisers_of


def gradient(shape, step):
    return torch.randn(shape, generator=torch.Generator().manual_seed(step)) * 0.01


@pytest.mark.parametrize("shape", [(128, 128), (128, 300), (300, 128)])
def test_updates_equal_those_of_the_library(shape):
    start = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    other = nn.Parameter(torch.randn(128, 200))  # of another shape, between them
    one = Muon([ours, other], lr=1e-2, weight_decay=0.05)
    two = torch.optim.Muon(
        [theirs], lr=1e-2, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(3):
        ours.grad, theirs.grad, other.grad = (
            gradient(shape, step),
            gradient(shape, step),
            gradient(other.shape, step),
        )
        one.step()
        two.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.03 * moved  # both multiply in bfloat16, in another order


def test_an_update_is_nearly_orthogonal_and_as_large_as_one_of_adamw():
    weight = nn.Parameter(torch.zeros(160, 256))
    weight.grad = gradient(weight.shape, 0)
    Muon([weight], lr=1e-3, dtype=torch.float32).step()
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2e-3, rel=0.2)
    singular_values = torch.linalg.svdvals(orthogonal(gradient((3, 160, 256), 1), dtype=torch.float32))
    assert float(singular_values.min()) > 0.3 and float(singular_values.max()) < 1.3


def test_every_parameter_has_one_optimiser_and_heads_stay_with_adamw():
    network = PairNetwork(PairNetworkConfig(hidden_dim=128, n_layers=2, n_frequencies=16))
    adamw, muon = optimisers_of(network, FitConfig(optimiser="muon"), torch.device("cpu"))
    groups = [[id(p) for g in optimiser.param_groups for p in g["params"]] for optimiser in (adamw, muon)]
    assert sorted(groups[0] + groups[1]) == sorted(id(p) for p in network.parameters())
    assert set(groups[1]) == {id(p) for p in hidden_matrices(network)}
    left = {
        id(p)
        for p in (
            network.node_embedding.weight,
            network.out_l.weight,
            network.out_v[2].weight,
            network.layers[0].v_proj.weight,
        )
    }
    assert left <= set(groups[0])
    with pytest.raises(RequestError, match="sgd"):
        optimisers_of(network, FitConfig(optimiser="sgd"), torch.device("cpu"))


def test_a_slice_under_muon_goes_on_as_if_it_had_not_stopped(tmp_path):
    def trainer(samples):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1))
        config = FitConfig(
            optimiser="muon", batch_size=1, planned_samples=samples, warmup_steps=0, decay_fraction=0.0
        )

        def batches(order):
            yield torch.randn(1, 128, generator=torch.Generator().manual_seed(new_trainer.step))

        new_trainer = Trainer(
            network,
            config,
            loss=lambda net, batch, _: (net(batch).square().sum(), {}),
            batches=batches,
            batch_crystals=len,
            folder=tmp_path / str(samples),
            device=torch.device("cpu"),
        )
        return new_trainer

    whole = trainer(8)
    whole.run(None, lambda _: {})
    half = trainer(4)
    half.run(None, lambda _: {})
    (tmp_path / "4").rename(tmp_path / "8-again")
    rest = trainer(8)
    rest.folder = tmp_path / "8-again"
    assert rest.resume() and rest.step == 4
    rest.run(None, lambda _: {})
    for one, two in zip(whole.network.parameters(), rest.network.parameters(), strict=True):
        assert torch.equal(one, two)
