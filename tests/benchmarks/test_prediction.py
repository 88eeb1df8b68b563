"""The benchmark of predictions: its phases add up, a later run loads nothing, and what cannot
be predicted is refused.
"""

import pytest

from crystal_core.benchmarks.prediction import benchmark_prediction, in_words, share_right
from crystal_core.errors import RequestError
from crystal_core.relax.potential import is_installed


@pytest.mark.weights
@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_the_phases_of_a_run_add_up_and_a_later_run_loads_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    first, later = benchmark_prediction(["NaCl"], ["quick"], 2, threads=1)["rows"]
    for row in (first, later):
        # rounded one by one
        assert row["cpu_seconds"] == pytest.approx(sum(row["phases"].values()), abs=0.05)
        assert 0 < row["first_card_cpu_seconds"] <= row["cpu_seconds"]
        assert [moment["share"] for moment in row["time_left"]] == [0.1, 0.25, 0.5, 0.75]
        assert 0 <= row["time_left_right"] <= 1
        left = [moment["left"] for moment in row["time_left"]]
        assert left == sorted(left, reverse=True)
    assert "torch" in first["phases"] and "torch" not in later["phases"]
    assert in_words(later).startswith("NaCl, quick, run 2: ")
    assert not (tmp_path / "pace.json").exists()  # processor seconds are no pace that a user waits for


@pytest.mark.weights
@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_the_first_run_after_a_warm_up_holds_no_loading(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    rows = benchmark_prediction(["CsCl", "NaCl"], ["quick"], 1, warm_up=True, threads=1)["rows"]
    assert [(row["formula"], row["run"], row["warm_up"]) for row in rows] == [
        ("CsCl", 1, True),
        ("NaCl", 1, True),
    ]
    assert all({"start", "torch"}.isdisjoint(row["phases"]) for row in rows)


def test_an_estimate_counts_for_as_long_as_it_stands():
    # half of what is left up to 40 s, a third of it up to 70 s, then all of it
    moments = [(0.0, 50.0), (40.0, 20.0), (70.0, 30.0), (100.0, 0.0)]
    assert share_right(moments) == pytest.approx((30 + 30) / 90)
    assert share_right([(0.0, 100.0), (50.0, 50.0), (100.0, 0.0)]) == pytest.approx(1.0)
    assert share_right([(60.0, 40.0), (80.0, 60.0), (100.0, 0.0)]) == pytest.approx(20 / 40)
    assert share_right([(0.0, 10.0), (97.0, 7.9), (100.0, 0.0)]) == pytest.approx(3 / 90)  # within 5 s


def test_a_request_that_is_none_is_refused_before_anything_starts():
    with pytest.raises(RequestError, match="Unknown effort 'much'"):
        benchmark_prediction(["NaCl"], ["much"], 1)
    with pytest.raises(RequestError, match="unknown symbol 'Xx'"):
        benchmark_prediction(["Xx2"], ["quick"], 1)
