"""The baselines of KLDM's ablation: forward marginals against simulation, exact scores lead back,
every sampler is finite.
"""

import pytest
import torch

from crystal_core.errors import RequestError
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.coordinates import EUCLIDEAN_SCALE, coordinate_process
from crystal_core.generators.kldm.samplers import LatentSampler, SamplerSettings
from crystal_core.geometry import TWO_PI, wrap
from crystal_core.networks.packing import pack
from crystal_core.sampling import torus_brownian as brownian
from crystal_core.sampling import variance_preserving as vp

BASELINES = ["brownian", "euclidean"]
SAMPLERS = ["em", "exp-em", "pc", "pc-pf", "ode"]


def exact(kind, home):
    """The network that knows that all data sit at ``home``."""

    def predict(state, t):
        time = torch.tensor(t)
        if kind == "brownian":
            y = brownian.score(TWO_PI * (state.frac_coords - home), time) / brownian.score_norm(time)
        else:
            alpha, sigma = vp.alpha_sigma(time)
            y = (state.velocity - alpha * EUCLIDEAN_SCALE * home) / sigma
        return y, torch.zeros_like(state.lattice)

    return predict


def test_brownian_positions_are_those_of_many_small_wrapped_steps():
    """sigma² grows by independent increments, so a walk on the circle must end where the kernel says."""
    generator, n, steps = torch.Generator().manual_seed(0), 20_000, 50
    times = torch.linspace(0.0, 0.8, steps + 1)
    x = brownian.sigma(times[0]) * torch.randn(n, generator=generator)
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        x = wrap(
            x
            + torch.sqrt(brownian.sigma(t_next) ** 2 - brownian.sigma(t) ** 2)
            * torch.randn(n, generator=generator),
            TWO_PI,
        )
    config = ProcessConfig(coordinates="brownian", mean_free=False)
    packing = pack(torch.full((n,), 1))
    moved, _ = coordinate_process(config).noisy(torch.zeros(n, 3), torch.full((n,), 0.8), packing, generator)
    for k in (1, 2):  # Fourier modes: exp(-k² sigma² / 2)
        expected = float(torch.exp(-0.5 * k**2 * brownian.sigma(torch.tensor(0.8)) ** 2))
        assert float(torch.cos(k * x).mean()) == pytest.approx(expected, abs=0.02)
        assert float(torch.cos(k * TWO_PI * moved.frac_coords).mean()) == pytest.approx(expected, abs=0.02)
    assert (moved.velocity == 0).all() and moved.frac_coords.abs().max() <= 0.5


def test_the_norm_of_the_wrapped_score_is_its_root_mean_square():
    generator = torch.Generator().manual_seed(0)
    for t in (0.05, 0.5, 0.9, 1.0):
        time = torch.tensor(t)
        r = brownian.sigma(time) * torch.randn(40_000, generator=generator)
        assert float(brownian.score(r, time).square().mean().sqrt()) == pytest.approx(
            float(brownian.score_norm(time)), rel=0.03
        )


@pytest.mark.parametrize("kind", BASELINES)
def test_targets_are_mean_free_and_of_unit_size(kind):
    n_atoms = torch.full((400,), 8)
    generator, process = torch.Generator().manual_seed(0), coordinate_process(ProcessConfig(coordinates=kind))
    t = torch.rand(400, generator=generator).clamp(min=0.01)
    _, target = process.noisy(torch.rand(3200, 3, generator=generator) - 0.5, t, pack(n_atoms), generator)
    assert target.view(400, 8, 3).mean(1).abs().max() < 1e-3
    assert float((target**2).mean()) == pytest.approx(1 - 1 / 8, rel=0.06)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", BASELINES)
def test_exact_scores_lead_back_to_the_data(kind, sampler):
    n = 100
    home = torch.tensor([0.3, -0.45, 0.1]).expand(n, 3)
    process = ProcessConfig(coordinates=kind, mean_free=False)
    walk = LatentSampler(SamplerSettings(name=sampler, steps=100), pack(torch.full((n,), 1)), process)
    rng = torch.Generator().manual_seed(0)
    state, times = walk.initial(rng), walk.settings.times()
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        state = walk.step(exact(kind, home), state, t, t_next, rng)
    away = wrap(state.frac_coords - home).abs()
    assert float(away.median()) < 0.02 and float(away.quantile(0.99)) < 0.06


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", ["kinetic", *BASELINES])
def test_lone_atoms_and_mixed_sizes_stay_finite(kind, sampler):
    packing = pack(torch.tensor([1, 4, 2]))
    walk = LatentSampler(SamplerSettings(name=sampler, steps=6), packing, ProcessConfig(coordinates=kind))
    rng = torch.Generator().manual_seed(0)
    state = walk.initial(rng)
    for t, t_next in zip(walk.settings.times()[:-1], walk.settings.times()[1:], strict=True):
        state = walk.step(lambda now, _: (torch.zeros_like(now.velocity), now.lattice), state, t, t_next, rng)
    assert torch.isfinite(state.frac_coords).all() and torch.isfinite(state.lattice).all()
    assert state.frac_coords.abs().max() <= 0.5 + 1e-6


def test_velocities_belong_to_the_kinetic_process():
    with pytest.raises(RequestError, match="Only kinetic"):
        ProcessConfig(coordinates="brownian", parametrisation="full")
    with pytest.raises(RequestError, match="choose one of"):
        ProcessConfig(coordinates="hyperbolic")
