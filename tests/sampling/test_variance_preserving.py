"""The lattice diffusion: exact scores keep exact marginals; limits are finite."""

import pytest
import torch

from crystal_core.sampling import variance_preserving as vp


@pytest.mark.parametrize("step", ["euler", "exponential", "ddim"])
def test_exact_score_of_a_gaussian_keeps_its_marginal(step):
    torch.manual_seed(0)
    n, steps, spread = 20_000, 300, 0.5  # data: N(0, 0.25)
    x = torch.randn(n)
    times = torch.linspace(1.0, 1e-3, steps + 1)
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        alpha, sigma = vp.alpha_sigma(t)
        score = -x / (alpha**2 * spread**2 + sigma**2)
        if step == "euler":
            x = vp.step_euler(x, score, t, t_next, torch.randn(n))
        elif step == "exponential":
            x = vp.step_exponential(x, score, t, t_next, torch.randn(n))
        else:
            x = vp.step_ddim(x, score, t, t_next)
    assert float(x.std()) == pytest.approx(spread, rel=0.05)
    assert abs(float(x.mean())) < 0.03


def test_exponential_step_to_time_zero_is_finite():
    x = torch.randn(10)
    out = vp.step_exponential(x, -x, torch.tensor(0.01), torch.tensor(0.0), torch.randn(10))
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("target", ["x0", "eps"])
def test_both_parametrisations_give_the_same_score(target):
    x0, noise, t = torch.randn(5, 6), torch.randn(5, 6), torch.tensor(0.4)
    x = vp.add_noise(x0, t.expand(5), noise)
    _, sigma = vp.alpha_sigma(t)
    score = vp.score(x0 if target == "x0" else noise, x, t, target)
    torch.testing.assert_close(score, -noise / sigma, atol=1e-4, rtol=1e-4)
