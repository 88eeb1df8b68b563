"""The time left is right within a factor of two after a tenth of a run, whatever its phases cost."""

import json
import random

import pytest

from crystal_core.frames import RunUpdate
from crystal_core.workflows.time_plan import TimePlan, remember, timed, usual_pace


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


# phase, units of each call, seconds of each call: sampling, single energies, relaxations of unknown length
def run_of(slow, seed):
    draw = random.Random(seed)
    lengths = [draw.choice([4, 8, 12, 15, 18, 22, 24, 30, 47]) for _ in range(10)]
    sampling = [("noise", 5.0, 11.0 * slow)] * 10
    single = [("single energies", 0.07, 0.09 * slow)] * 30
    relaxing = [("relaxing", 0.07, 0.08 * slow * draw.uniform(0.7, 1.3)) for _ in range(sum(lengths))]
    return sampling, single, relaxing, lengths


def estimates(usual, slow, seed):
    """After every call: shares of the whole time that have passed, that are left as told,
    and that are left.
    """
    sampling, single, relaxing, lengths = run_of(slow, seed)
    clock = Clock()
    work = {"noise": 50.0, "single energies": 2.1, "relaxing": 10 * 20 * 0.07}
    plan, times = TimePlan(work, usual, clock), []
    whole = sum(seconds for part in (sampling, single, relaxing) for _, _, seconds in part)
    for part in (sampling, single):
        for k, (phase, units, seconds) in enumerate(part, start=1):
            clock.now += seconds
            plan.reached(phase, k * units, (len(part) - k) * units)
            times.append((clock.now - 100.0, plan.seconds_left()))
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    for k, (phase, units, seconds) in enumerate(relaxing, start=1):
        clock.now += seconds
        unfinished = sum(end > k for end in ends)
        plan.reached(phase, k * units, unfinished * 20 * units)
        times.append((clock.now - 100.0, plan.seconds_left()))
    return [(passed / whole, left / whole, 1 - passed / whole) for passed, left in times]


def is_good(estimate, true):
    """Within a factor of two; at the very end, where the last relaxation may stop at any step, within 5
    % of the whole.
    """
    return true / 2 < estimate < 2 * true or abs(estimate - true) < 0.05


HISTORY = {"noise": 2.2, "single energies": 1.3, "relaxing": 1.15}


@pytest.mark.parametrize("slow", [0.5, 1.0, 6.0])  # how busy the machine is beside earlier runs
@pytest.mark.parametrize("seed", range(5))
def test_after_a_tenth_of_the_run_the_time_left_is_right_within_a_factor_of_two(slow, seed):
    for share, estimate, true in estimates(HISTORY, slow, seed):
        assert share < 0.1 or is_good(estimate, true)


@pytest.mark.parametrize("slow", [1.0, 6.0])
def test_without_earlier_runs_too_once_a_phase_has_been_measured(slow):
    for share, estimate, true in estimates({}, slow, 0):
        assert share < 0.1 or is_good(estimate, true)


def test_a_share_of_the_steps_would_be_far_off():
    # as many steps for the energies as for the sampling, as the bar once had: wrong by far more than twice
    sampling, single, relaxing, _ = run_of(1.0, 0)
    passed = sum(seconds for _, _, seconds in sampling)
    rest = sum(seconds for _, _, seconds in single + relaxing)
    assert passed / rest > 2


def test_the_bar_runs_with_time_and_ends_full():
    clock = Clock()
    plan = TimePlan({"slow": 1.0, "fast": 9.0}, {"slow": 9.0, "fast": 1.0 / 9}, clock)

    def work():
        clock.now += 9.0
        plan.reached("slow", 1.0, 0.0)
        yield RunUpdate(stage="slow", step=0, n_steps=1)
        clock.now += 1.0
        plan.reached("fast", 9.0, 0.0)
        yield RunUpdate(stage="done", step=0, n_steps=1)

    half_way, end = timed(work(), plan)
    assert half_way.step / half_way.n_steps == pytest.approx(0.9, abs=0.02)
    assert half_way.step < end.step == end.n_steps


def test_closing_the_updates_ends_the_work():
    ended = []

    def work():
        try:
            yield RunUpdate(stage="a", step=0, n_steps=1)
            yield RunUpdate(stage="b", step=0, n_steps=1)
        finally:
            ended.append(True)

    updates = timed(work(), TimePlan({}))
    next(updates)
    updates.close()
    assert ended == [True]


def test_the_pace_of_a_run_is_kept_for_the_next_one(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    assert usual_pace() == {}
    for seconds in (4.0, 8.0):
        clock = Clock()
        plan = TimePlan({"a": 2.0, "b": 1.0}, clock=clock)
        clock.now += seconds
        plan.reached("a", 2.0, 0.0)
        remember(plan)
    assert usual_pace() == {"a": pytest.approx(3.0)}
    for damage in ("{", "[1]", json.dumps({"a": "much", "b": -1})):
        (tmp_path / "home" / "pace.json").write_text(damage)
        assert usual_pace() == {}


def test_what_is_loaded_once_says_nothing_of_how_busy_the_machine_is():
    clock = Clock()
    plan = TimePlan({"relaxing": 10.0}, {"loading": 12.0, "relaxing": 1.0}, clock)
    plan.add({"loading": 1.0}, once=("loading",))
    clock.now += 0.1  # everything is in memory from an earlier run
    plan.reached("loading", 1.0, 0.0)
    assert plan.seconds_left() == pytest.approx(10.0)


def test_a_phase_that_no_run_has_measured_says_nothing_of_the_others():
    clock = Clock()
    plan = TimePlan({"relaxing": 20.0}, {}, clock)
    plan.add({"noise": 80.0}, guesses={"noise": 1.0})
    assert plan.seconds_left() == pytest.approx(100.0)
    for done in (20.0, 40.0, 80.0):  # ten times faster than guessed
        clock.now += 0.1 * (done - plan.done["noise"])
        plan.reached("noise", done, 80.0 - done)
    assert plan.seconds_left() == pytest.approx(20.0)
    measured = TimePlan({"relaxing": 20.0}, {"noise": 0.4}, Clock())
    measured.add({"noise": 80.0}, guesses={"noise": 1.0})
    assert measured.seconds_left() == pytest.approx(52.0)
