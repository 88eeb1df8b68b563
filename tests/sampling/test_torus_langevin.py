"""The kernels of the kinetic Langevin process against simulation, finite differences and stated values."""

import math
import time

import pytest
import torch

from crystal_core.geometry import TWO_PI, wrap
from crystal_core.sampling import torus_langevin as torus


def test_stated_values_at_the_horizon():
    s = torch.tensor(2.0, dtype=torch.float64)
    assert float(torus.kappa(s)) == pytest.approx(0.761594, abs=1e-6)
    assert float(torus.sigma_velocity(s)) ** 2 - torus.FLOOR == pytest.approx(0.981684, abs=1e-6)
    assert float(torus.variance_displacement(s)) == pytest.approx(0.953623, abs=1e-6)
    assert float(torus.variance_displacement_marginal(s)) == pytest.approx(1.523025, abs=1e-6)


def test_conditional_and_marginal_variances_are_two_things():
    s = torch.tensor(1.3, dtype=torch.float64)
    total = torus.kappa(s) ** 2 * (torus.sigma_velocity(s) ** 2 - torus.FLOOR) + torus.variance_displacement(
        s
    )
    assert float(total) == pytest.approx(float(torus.variance_displacement_marginal(s)), abs=1e-12)


def test_simulated_paths_have_the_stated_moments():
    torch.manual_seed(0)
    n, steps, end = 40_000, 400, 1.2
    v, r = torch.zeros(n), torch.zeros(n)
    dt = end / steps
    for _ in range(steps):
        r = r + v * dt
        v = v - v * dt + math.sqrt(2 * dt) * torch.randn(n)
    s = torch.tensor(end, dtype=torch.float64)
    variance_v = float(torus.sigma_velocity(s)) ** 2
    # three standard errors of a variance over 40,000 paths are 2 %; the step size adds less than 1 %
    assert float(v.var()) == pytest.approx(variance_v, rel=0.03)
    assert float(r.var()) == pytest.approx(float(torus.variance_displacement_marginal(s)), rel=0.03)
    assert float((r * v).mean()) == pytest.approx(float(torus.kappa(s)) * variance_v, rel=0.03)


def test_small_times_do_not_cancel():
    s = torch.tensor([1e-4, 1e-3, 1e-2, 0.29, 0.31])
    exact = 2 * s.double() - 4 * torch.tanh(s.double() / 2)
    torch.testing.assert_close(torus.variance_displacement(s)[2:].double(), exact[2:], rtol=1e-4, atol=0)
    assert (torus.variance_displacement(s) > 0).all()
    assert (torus.sigma_displacement(torch.zeros(1)) >= 9.9e-4).all()  # the floor


def test_score_is_the_derivative_of_the_log_density_by_the_mean():
    sigma, r, mu, eps = 0.8, torch.linspace(-3, 3, 13, dtype=torch.float64), 0.4, 1e-5

    def log_density(mean):
        k = TWO_PI * torch.arange(-8, 9, dtype=torch.float64)
        return torch.logsumexp(-0.5 * ((r.unsqueeze(-1) - mean + k) / sigma) ** 2, -1)

    numeric = (log_density(mu + eps) - log_density(mu - eps)) / (2 * eps)
    score = torus.wrapped_normal_score(r, torch.tensor(mu), torch.tensor(sigma, dtype=torch.float64))
    torch.testing.assert_close(score, numeric, atol=1e-7, rtol=1e-6)


def test_score_does_not_underflow_far_from_the_mean():
    score = torus.wrapped_normal_score(torch.tensor([3.0]), torch.tensor([0.0]), torch.tensor([0.001]))
    assert torch.isfinite(score).all()


def test_score_wraps_both_arguments():
    """By more periods than there are images in the sum."""
    r, mu, sigma = (torch.tensor([x], dtype=torch.float64) for x in (2.5, -1.0, 0.7))
    expected = torus.wrapped_normal_score(r, mu, sigma)
    for turns in (7, -9):
        torch.testing.assert_close(torus.wrapped_normal_score(r + turns * TWO_PI, mu, sigma), expected)
        torch.testing.assert_close(torus.wrapped_normal_score(r, mu + turns * TWO_PI, sigma), expected)


@pytest.mark.parametrize(
    ("sigma", "value"),
    [(math.sqrt(0.953623), 1.00531), (0.67824, 2.17334), (0.389545, 6.58997), (0.1, 100.0)],
)
def test_score_norm_by_quadrature_has_the_stated_values(sigma, value):
    assert torus.score_norm_squared(sigma) == pytest.approx(value, rel=1e-4)


def test_score_norm_at_tiny_times_is_that_of_tiny_times():
    """The published lookup wraps to its last entry there."""
    tiny = torus.score_norm(torch.tensor([1e-5, 2e-4]))
    torch.testing.assert_close(
        tiny, 1 / torus.sigma_displacement(torch.tensor([1e-5, 2e-4])), rtol=1e-4, atol=0
    )


def test_exact_score_returns_to_a_single_point():
    """With the conditional score of data at x0, the reverse process must end at x0."""
    torch.manual_seed(1)
    n, steps, x0 = 500, 400, 0.7
    x, v = wrap(TWO_PI * torch.rand(n), TWO_PI), torch.randn(n)
    h = 2.0 * 0.999 / steps
    for i in range(steps):
        s = torch.tensor(2.0 - i * h)
        sigma = torus.sigma_displacement(s)
        # the posterior of the displacement is wrapped normal: the score of v given (x, v) at x0
        m = torus.wrapped_normal_score(x - x0, torus.kappa(s) * v, sigma)
        score = -v / torus.sigma_velocity(s) ** 2 + torus.kappa(s) * m
        x, v = torus.step_em(x, v, score, h, torch.randn(n))
    spread = wrap(x - x0, TWO_PI).abs()
    assert float(spread.median()) < 0.02
    assert float(spread.quantile(0.99)) < 0.2


def test_the_table_of_norms_is_made_in_a_moment():
    """Drawing it at random, as published, takes tens of seconds; adding up densely took two."""
    torus._norm_table.cache_clear()
    began = time.process_time()
    assert torus._norm_table().shape == (torus.N_TABLE,)
    assert time.process_time() - began < 1.0  # measured: 0.1 s
