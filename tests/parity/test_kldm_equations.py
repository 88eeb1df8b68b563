"""KLDM's equations written out plainly in float64 numpy, against what the package computes.

Internal chart throughout: x = 2 pi f with period 2 pi, v = 2 pi u, s = 2 t. Nothing here
uses the package's kernels.
"""

import math

import numpy as np
import pytest
import torch

from crystal_core.generators.kldm.codec import LatticeCodec
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.process import noisy_state
from crystal_core.generators.kldm.samplers import LatentSampler, LatentState, SamplerSettings
from crystal_core.networks.packing import pack
from crystal_core.sampling import torus_langevin as torus
from tests.parity.plain_kldm import (
    COUNTS,
    OF,
    Noise,
    Plain,
    alpha_sigma,
    centred,
    kappa,
    m,
    norm,
    sigma_r,
    sigma_v,
    wrap,
)

SAMPLERS = ["em", "exp-em", "pc", "pc-pf", "ode"]


def answer(frac, velocity, lattice, t):
    """A stand-in for a network: smooth, uneven over atoms and times, centred per crystal."""
    weight = np.arange(len(OF))[:, None] + np.array([0.0, 0.4, 0.9])
    return centred(np.sin(2 * np.pi * frac + weight) + np.cos(velocity * weight + t)), np.cos(
        lattice + np.arange(6)
    ) + t


def predict(state, t):
    y, cell = answer(state.frac_coords.numpy(), state.velocity.numpy(), state.lattice.numpy(), t)
    return torch.from_numpy(y), torch.from_numpy(cell)


@pytest.fixture
def state():
    rng = np.random.default_rng(0)
    return (
        rng.random((len(OF), 3)) - 0.5,
        centred(rng.normal(size=(len(OF), 3))) / (2 * np.pi),
        rng.normal(size=(len(COUNTS), 6)),
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("options", [{}, {"parametrisation": "full"}, {"lattice_target": "eps"}], ids=str)
@pytest.mark.parametrize(("t", "t_next"), [(0.62, 0.55), (0.02, 0.013)])
def test_one_step_is_the_published_one(state, sampler, options, t, t_next):
    process = ProcessConfig(**options)
    stepper = LatentSampler(SamplerSettings(name=sampler), pack(torch.tensor(COUNTS)), process)
    got = stepper.step(
        predict, LatentState(*map(torch.from_numpy, state)), t, t_next, torch.Generator().manual_seed(7)
    )
    frac, velocity, lattice = state
    plain = Plain(answer, process, Noise(7), 0.25, 1.0, transport=True)
    x, v, cell = plain.step(sampler, 2 * np.pi * frac, 2 * np.pi * velocity, lattice, t, t_next)
    # n(s) is interpolated in a table of 4001 points, 2e-7 off at most
    np.testing.assert_allclose(wrap(2 * np.pi * got.frac_coords.numpy() - x), 0, atol=1e-6)
    np.testing.assert_allclose(2 * np.pi * got.velocity.numpy(), v, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(got.lattice.numpy(), cell, rtol=1e-9, atol=1e-9)


def test_the_corrector_can_leave_positions_and_take_another_strength_scale_and_noise(state):
    settings = SamplerSettings(name="pc", tau=0.4, score_scale=1.7, correct_positions=False, noise_scale=0.6)
    stepper = LatentSampler(settings, pack(torch.tensor(COUNTS)), ProcessConfig())
    got = stepper.step(
        predict, LatentState(*map(torch.from_numpy, state)), 0.4, 0.35, torch.Generator().manual_seed(1)
    )
    frac, velocity, lattice = state
    plain = Plain(answer, ProcessConfig(), Noise(1), 0.4, 1.7, transport=False, noise_scale=0.6)
    x, v, cell = plain.step("pc", 2 * np.pi * frac, 2 * np.pi * velocity, lattice, 0.4, 0.35)
    np.testing.assert_allclose(wrap(2 * np.pi * got.frac_coords.numpy() - x), 0, atol=1e-6)
    np.testing.assert_allclose(2 * np.pi * got.velocity.numpy(), v, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(got.lattice.numpy(), cell, rtol=1e-9, atol=1e-9)


def test_time_runs_evenly_from_one_to_a_thousandth():
    times = SamplerSettings().times()
    assert len(times) == 1001
    np.testing.assert_allclose(times, 1 + (0.001 - 1) * np.arange(1001) / 1000, atol=1e-12)
    np.testing.assert_allclose(
        SamplerSettings(steps=4, t_end=0.0).times(0.2), [0.2, 0.15, 0.1, 0.05, 0.0], atol=1e-12
    )


def test_the_prior_is_uniform_and_normal_with_no_net_velocity():
    counts = torch.full((2000,), 5)
    state = LatentSampler(SamplerSettings(), pack(counts), ProcessConfig()).initial(
        torch.Generator().manual_seed(0)
    )
    share = torch.histc(state.frac_coords, 10, -0.5, 0.5) / state.frac_coords.numel()
    assert state.frac_coords.abs().max() <= 0.5
    assert (share - 0.1).abs().max() < 0.008  # four standard errors over 30,000 numbers are 0.007
    velocity = 2 * math.pi * state.velocity.view(2000, 5, 3)
    assert velocity.mean(1).abs().max() < 1e-5
    assert float(velocity.var()) == pytest.approx(1 - 1 / 5, rel=0.03)  # centring takes 1/N of the variance
    assert (
        float(state.lattice.std()) == pytest.approx(1, rel=0.03) and abs(float(state.lattice.mean())) < 0.03
    )


@pytest.fixture(scope="module")
def forward():
    """Many draws at one time, of crystals large enough that centring takes only 1 % of the variance."""

    def draw(t, **options):
        counts, generator = torch.full((300,), 100), torch.Generator().manual_seed(3)
        frac = torch.rand((30_000, 3), generator=generator, dtype=torch.float64) - 0.5
        lattice = torch.full((300, 6), 1.5, dtype=torch.float64)
        state = noisy_state(
            frac,
            lattice,
            torch.full((300,), t, dtype=torch.float64),
            pack(counts),
            ProcessConfig(**options),
            generator,
        )
        r = wrap(2 * np.pi * (state.frac_coords - frac).numpy())
        return state, r, 2 * np.pi * state.velocity.numpy()

    return draw


@pytest.mark.parametrize("t", [0.05, 0.3, 0.5])
def test_the_forward_process_has_the_stated_moments(forward, t):
    """Times at which next to no displacement reaches half a period, so that wrapping changes no moment."""
    state, r, v = forward(t)
    s, free_share = 2 * t, 1 - 1 / 100
    # a variance of 90,000 numbers: 0.5 % standard error
    assert v.var() == pytest.approx(free_share * (1 - math.exp(-2 * s)), rel=0.015)
    assert r.var() == pytest.approx(free_share * (2 * s - 3 + 4 * math.exp(-s) - math.exp(-2 * s)), rel=0.015)
    assert (r * v).mean() == pytest.approx(free_share * kappa(s) * (1 - math.exp(-2 * s)), rel=0.015)
    alpha, sigma = alpha_sigma(t)
    # 1,800 numbers: 0.024 sigma
    assert float(state.lattice.mean()) == pytest.approx(1.5 * alpha, abs=0.08 * sigma)
    assert float(state.lattice.std()) == pytest.approx(sigma, rel=0.06)


@pytest.mark.parametrize("target", ["x0", "eps"])
def test_the_lattice_target_is_the_clean_lattice_or_its_noise(forward, target):
    state, _, _ = forward(0.3, lattice_target=target)
    alpha, sigma = alpha_sigma(0.3)
    clean = torch.full_like(state.lattice, 1.5)
    expected = clean if target == "x0" else (state.lattice - alpha * clean) / sigma
    torch.testing.assert_close(state.lattice_target, expected, rtol=1e-6, atol=1e-6)


def test_a_given_crystal_enters_at_the_forward_marginals_of_its_time():
    counts, t, s, free_share = torch.full((300,), 100), 0.3, 0.6, 1 - 1 / 100
    frac = torch.rand((30_000, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    stepper = LatentSampler(SamplerSettings(), pack(counts), ProcessConfig())
    state = stepper.start_from(frac, torch.full((300, 6), 1.5), t, torch.Generator().manual_seed(1))
    r = wrap(2 * np.pi * (state.frac_coords - frac).numpy())
    assert r.var() == pytest.approx(free_share * (2 * s - 3 + 4 * math.exp(-s) - math.exp(-2 * s)), rel=0.015)
    assert float((2 * math.pi * state.velocity).var()) == pytest.approx(
        free_share * (1 - math.exp(-2 * s)), rel=0.015
    )
    alpha, sigma = alpha_sigma(t)
    assert float(state.lattice.mean()) == pytest.approx(1.5 * alpha, abs=0.08 * sigma)
    assert float(state.lattice.std()) == pytest.approx(sigma, rel=0.06)


def test_moving_starts_have_the_stated_moments(forward):
    _, r, v = forward(0.25, parametrisation="full", initial_velocity_scale=0.8)
    s, free_share = 0.5, 1 - 1 / 100
    assert v.var() == pytest.approx(free_share * (0.64 * math.exp(-2 * s) + 1 - math.exp(-2 * s)), rel=0.015)
    both = 0.64 * (1 + math.exp(-s)) ** 2 + 1 - math.exp(-2 * s)  # of v + v_0
    assert r.var() == pytest.approx(
        free_share * (kappa(s) ** 2 * both + 2 * s - 4 * math.tanh(s / 2)), rel=0.015
    )


@pytest.mark.parametrize("t", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("parametrisation", ["simplified", "full"])
def test_the_target_is_the_score_of_the_conditional_pair(forward, t, parametrisation):
    """Mean kappa v with the variance *given v*; mixed with the marginal variance it
    would be another target.
    """
    state, r, v = forward(t, parametrisation=parametrisation)
    s, of = 2 * t, np.repeat(np.arange(300), 100)
    part = centred(m(r, kappa(s) * v, np.full_like(r, sigma_r(s))), of)
    expected = part / norm(s) if parametrisation == "simplified" else -v / sigma_v(s) ** 2 + kappa(s) * part
    np.testing.assert_allclose(
        state.velocity_target.numpy(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("speed", [0.0, 0.8])
def test_the_full_target_obeys_the_identities_of_a_score(forward, speed):
    """By parts: the mean of score × v is -1, of score × r is 0, also for atoms that moved at the start."""
    state, r, v = forward(0.3, parametrisation="full", initial_velocity_scale=speed)
    score = state.velocity_target.numpy()
    assert (score * v).mean() == pytest.approx(-(1 - 1 / 100), abs=0.03)
    assert (score * r).mean() == pytest.approx(0, abs=0.03)


def test_positions_start_where_they_are_and_are_never_centred():
    frac = torch.tensor([[0.4, -0.3, 0.45], [0.35, 0.2, 0.4], [0.3, 0.3, 0.3]])  # their mean is not 0
    state = noisy_state(
        frac,
        torch.zeros(1, 6),
        torch.tensor([1e-3]),
        pack(torch.tensor([3])),
        ProcessConfig(),
        torch.Generator().manual_seed(0),
    )
    torch.testing.assert_close(state.frac_coords, frac, atol=2e-3, rtol=0)  # sigma_r is 1e-3 there


def test_the_score_of_the_wrapped_normal_averages_to_zero():
    r = torch.linspace(-math.pi, math.pi, 4097, dtype=torch.float64)[:-1]
    sigma = torch.tensor(0.9, dtype=torch.float64)
    images = r.unsqueeze(-1) - 0.4 + 2 * math.pi * torch.arange(-8, 9, dtype=torch.float64)
    density = torch.exp(-0.5 * (images / sigma) ** 2).sum(-1)
    score = torus.wrapped_normal_score(r, torch.tensor(0.4, dtype=torch.float64), sigma)
    assert float((score * density).sum() / density.sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("s", [1e-4, 0.01, 0.3, 0.8, 0.85, 1.234, 2.0])
def test_the_norm_of_the_score_is_that_of_a_sum_over_the_circle(s):
    assert float(torus.score_norm(torch.tensor(s, dtype=torch.float64))) == pytest.approx(norm(s), rel=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("parametrisation", ["simplified", "full"])
def test_the_exact_score_leads_every_sampler_back_to_the_crystal(sampler, parametrisation):
    """Data that are one crystal: its conditional score is the score, from the end of the forward
    process to the start.
    """
    process, packing = ProcessConfig(parametrisation=parametrisation), pack(torch.tensor(COUNTS))
    rng = np.random.default_rng(1)
    home, cell = rng.random((len(OF), 3)) - 0.5, rng.normal(size=(len(COUNTS), 6))

    def exact(state, t):
        x, v, s = 2 * np.pi * state.frac_coords.numpy(), 2 * np.pi * state.velocity.numpy(), 2 * t
        part = centred(m(x - 2 * np.pi * home, kappa(s) * v, np.full_like(x, sigma_r(s))))
        y = part / norm(s) if parametrisation == "simplified" else -v / sigma_v(s) ** 2 + kappa(s) * part
        return torch.from_numpy(y), torch.from_numpy(cell)

    settings = SamplerSettings(name=sampler, steps=100)
    stepper, generator = LatentSampler(settings, packing, process), torch.Generator().manual_seed(5)
    state = stepper.start_from(torch.from_numpy(home), torch.from_numpy(cell), 1.0, generator)
    assert np.abs(wrap(2 * np.pi * (state.frac_coords.numpy() - home))).mean() > 0.5  # it did leave
    for t, t_next in zip(settings.times()[:-1], settings.times()[1:], strict=True):
        state = stepper.step(exact, state, t, t_next, generator)
    away = wrap(2 * np.pi * (state.frac_coords.numpy() - home)) / (2 * np.pi)
    assert np.abs(away).max() < 0.02
    # sigma is 0.01 at the end; the ODE stops a little early
    np.testing.assert_allclose(state.lattice.numpy(), cell, atol=0.15)


def test_lattice_statistics_are_the_published_ones():
    rng = np.random.default_rng(2)
    lengths, n_atoms = np.exp(rng.normal(1.5, 0.3, (300, 3))), np.repeat([4, 7], [200, 100])
    table = LatticeCodec.from_training(torch.from_numpy(lengths), torch.from_numpy(n_atoms))
    for count, members in ((4, 200), (7, 100)):
        logs = np.sort(np.log(lengths[n_atoms == count]), axis=0)  # each column on its own
        drop = math.floor(0.025 * members)
        inner = logs[drop:-drop]
        np.testing.assert_allclose(table.loc[count], inner.mean(0), rtol=1e-9)
        np.testing.assert_allclose(table.scale[count], inner.std(0), rtol=1e-9)
    cells = torch.tensor([[4.0, 5.0, 6.0, 90.0, 75.0, 120.0]], dtype=torch.float64)
    expected = [
        (math.log(a) - mean) / spread
        for a, mean, spread in zip((4, 5, 6), table.loc[4], table.scale[4], strict=True)
    ]
    expected += [math.tan(math.radians(angle) - math.pi / 2) / 0.35 for angle in (90, 75, 120)]
    np.testing.assert_allclose(table.encode(cells, torch.tensor([4]))[0], expected, rtol=1e-5, atol=1e-7)


def test_lengths_that_never_vary_do_not_divide_by_zero():
    table = LatticeCodec.from_training(torch.full((50, 3), 4.0), torch.full((50,), 5))
    assert table.scale[5] == pytest.approx((1e-3,) * 3)
    latent = table.encode(torch.tensor([[4.0, 4.0, 4.0, 90.0, 90.0, 90.0]]), torch.tensor([5]))
    assert torch.isfinite(latent).all() and latent.abs().max() < 0.01
