"""The time a run will take, told from runs of the same kind."""

from types import SimpleNamespace

import pytest

from crystal_core.jobs.estimate import estimate_seconds

ASKED = {"formula": "TiO2", "z": [2], "n_samples": 4, "model": "m", "sampler": "fast", "steps": None, "start": "both"}


def job(seconds, state="done", **changes):
    return SimpleNamespace(state=state, request=ASKED | changes, result={"seconds": seconds})


def test_twice_the_samples_take_twice_as_long():
    assert estimate_seconds(ASKED | {"n_samples": 8}, [job(10.0), job(12.0), job(11.0)]) == pytest.approx(22.0)


def test_larger_cells_take_longer_than_in_proportion():
    assert estimate_seconds(ASKED | {"z": [4]}, [job(10.0)]) > 20


def test_nothing_is_foretold_from_other_settings_or_unfinished_runs():
    assert estimate_seconds(ASKED, [job(10.0, sampler="em"), job(10.0, state="partial")]) is None
    assert estimate_seconds(ASKED | {"formula": "Xx"}, [job(10.0)]) is None
    assert estimate_seconds(ASKED | {"relax": True}, [job(10.0)]) is None


def test_a_run_of_before_relaxing_existed_counts_as_not_relaxed():
    assert estimate_seconds(ASKED | {"relax": False}, [job(10.0)]) == pytest.approx(10.0)
