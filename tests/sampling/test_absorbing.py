"""Masking diffusion: forward marginals against simulation, the reverse step's path, no mask
left at the end.
"""

import math
from itertools import pairwise

import pytest
import torch

from crystal_core.errors import RequestError
from crystal_core.sampling.absorbing import EPSILON, MaskSchedule, fill, hide, reveal

SCHEDULES = [MaskSchedule(name="linear"), MaskSchedule(name="cosine"), MaskSchedule(name="poly", power=3.0)]
MASK = 3


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_schedules_start_clean_end_hidden_and_their_slope_is_their_derivative(schedule):
    ends = schedule.survival(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([1 - EPSILON, EPSILON], dtype=torch.float64))
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    numeric = (schedule.survival(t + 1e-6) - schedule.survival(t - 1e-6)) / 2e-6
    torch.testing.assert_close(schedule.survival_rate(t), numeric, atol=1e-6, rtol=1e-6)
    assert (schedule.loss_weight(t) > 0).all() and torch.isfinite(
        schedule.loss_weight(torch.tensor([0.0, 1.0]))
    ).all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_the_marginal_is_that_of_hiding_step_by_step(schedule):
    """Simulated: in each small step a token still shown is hidden with the probability 1 - a(t')/a(t)."""
    generator = torch.Generator().manual_seed(0)
    n, times = 40_000, torch.linspace(0.0, 0.6, 61, dtype=torch.float64)
    revealed = torch.rand(n, generator=generator) < schedule.survival(times[:1])
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        revealed &= torch.rand(n, generator=generator) < schedule.survival(t_next) / schedule.survival(t)
    direct = hide(
        torch.zeros(n, dtype=torch.long),
        torch.full((n,), 0.6),
        MASK,
        schedule,
        torch.rand(n, generator=generator),
    )
    expected = float(schedule.survival(torch.tensor(0.6)))
    tolerance = 4 * math.sqrt(expected * (1 - expected) / n)
    assert float(revealed.double().mean()) == pytest.approx(expected, abs=tolerance)
    assert float((direct != MASK).double().mean()) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_the_reverse_path_has_the_forward_marginals_and_the_right_types(schedule):
    n, rng = 20_000, torch.Generator().manual_seed(1)
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2])).expand(n, 3)
    tokens = torch.full((n,), MASK)
    times = torch.linspace(1.0, 0.0, 41).tolist()
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        before = tokens
        tokens = reveal(tokens, logits, t, t_next, schedule, rng)
        assert torch.equal(tokens[before != MASK], before[before != MASK])  # revealed tokens stay
        expected = float(schedule.survival(torch.tensor(t_next)))
        assert float((tokens != MASK).double().mean()) == pytest.approx(expected, abs=0.02)
    shares = torch.bincount(tokens, minlength=4)[:3] / n
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.02, rtol=0)
    filled = fill(tokens, logits)
    assert (filled != MASK).all()


@pytest.mark.parametrize("remasking", [0.5, 4.0, 1e6])
def test_remasking_draws_again_and_keeps_the_share_of_hidden_tokens(remasking):
    schedule, rng, n = SCHEDULES[0], torch.Generator().manual_seed(0), 40_000
    old, new = torch.tensor([0.0, -30.0, -30.0]).expand(n, 3), torch.tensor([-30.0, 0.0, -30.0]).expand(n, 3)
    times = torch.linspace(1.0, 0.0, 51).tolist()
    tokens = torch.full((n,), MASK)
    for t, t_next in pairwise(times):
        tokens = reveal(tokens, old if t > 0.5 else new, t, t_next, schedule, rng, remasking=remasking)
        assert float((tokens != MASK).double().mean()) == pytest.approx(
            float(schedule.survival(torch.tensor(t_next))), abs=0.02
        )
    # what was drawn before the middle and never hidden since; plain revealing would leave all of it, a half
    left = float((tokens == 0).double().mean())
    assert left == pytest.approx(0.5 * math.exp(-0.5 * remasking), abs=0.02) if remasking < 1 else left < 0.25


def test_excluded_types_are_never_drawn():
    logits = torch.tensor([5.0, -torch.inf, 0.0]).expand(5000, 3)
    tokens = reveal(
        torch.full((5000,), MASK), logits, 1.0, 0.0, SCHEDULES[0], torch.Generator().manual_seed(0)
    )
    assert set(fill(tokens, logits).tolist()) == {0, 2}


def test_an_unknown_schedule_is_refused():
    with pytest.raises(RequestError, match="choose one of"):
        MaskSchedule(name="sigmoid")
