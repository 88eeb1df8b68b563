"""The time a run will take, told from runs of the same kind."""

from types import SimpleNamespace

import pytest

from crystal_core.jobs.estimate import estimate_seconds

REQUEST = {
    "formula": "TiO2",
    "z": [2],
    "n_samples": 4,
    "model": "m",
    "sampler": "fast",
    "steps": None,
    "start": "both",
}


def job(seconds, state="done", **changes):
    return SimpleNamespace(state=state, request=REQUEST | changes, seconds=seconds)


def test_twice_the_samples_take_twice_as_long():
    assert estimate_seconds(REQUEST | {"n_samples": 8}, [job(10.0), job(12.0), job(11.0)]) == pytest.approx(
        22.0
    )


def test_larger_cells_take_longer_than_in_proportion():
    assert estimate_seconds(REQUEST | {"z": [4]}, [job(10.0)]) > 20


def test_other_settings_and_unfinished_runs_give_no_estimate():
    assert estimate_seconds(REQUEST, [job(10.0, sampler="em"), job(10.0, state="partial")]) is None
    assert estimate_seconds(REQUEST | {"formula": "Xx"}, [job(10.0)]) is None
    assert estimate_seconds(REQUEST | {"relax": True}, [job(10.0)]) is None


def test_a_run_of_before_relaxing_existed_counts_as_not_relaxed():
    assert estimate_seconds(REQUEST | {"relax": False}, [job(10.0)]) == pytest.approx(10.0)


def test_what_an_effort_decides_changes_no_estimate():
    done = job(10.0, effort="normal", n_samples=10, relax=False)
    form = REQUEST | {"effort": "normal", "n_samples": 4, "relax": True, "start": "prototype"}
    assert estimate_seconds(form, [done]) == pytest.approx(10.0)
    assert estimate_seconds(form | {"effort": "thorough"}, [done]) is None


NEW = {"n": 8, "n_atoms": [4, 4], "model": "m", "sampler": "fast", "steps": None}


def test_new_crystals_are_estimated_by_number_and_size():
    done = SimpleNamespace(state="done", request=NEW, seconds=10.0)
    assert estimate_seconds(NEW | {"n": 4}, [done]) == pytest.approx(5.0)
    assert estimate_seconds(NEW | {"n_atoms": [4, 8]}, [done]) > 10
    assert estimate_seconds(
        NEW | {"n_atoms": None, "fix": {"atomic_numbers": [1] * 4}}, [done]
    ) == pytest.approx(10.0)


def test_sizes_as_in_training_are_those_of_the_card(tiny_de_novo):
    request = NEW | {"model": tiny_de_novo(), "n_atoms": None}
    done = SimpleNamespace(state="done", request=request | {"n_atoms": [5, 5]}, seconds=25.0)
    # a quarter of its crystals has two atoms
    assert estimate_seconds(request, [done]) == pytest.approx(0.25 * 7 + 0.75 * 25)
    assert estimate_seconds(request | {"model": "unknown"}, [done]) is None
