"""Errors of predicted properties against values worked out by hand."""

import json

import numpy as np
import pytest

from crystal_core.evaluation import property_references
from crystal_core.evaluation.property_errors import (
    Predicted,
    balanced_accuracy,
    measure,
    roc_auc,
    significant,
)
from crystal_core.evaluation.property_references import baseline_values, keep_baseline, published_value
from crystal_core.evaluation.statistics import bootstrap
from crystal_core.properties import PROPERTIES

GAP, BULK, METAL = (PROPERTIES[name] for name in ("band_gap_ev", "bulk_modulus_gpa", "is_metal"))
NAN = np.nan


def numbers(*values):
    return np.array(values, dtype=np.float64)


def test_errors_of_a_gap_by_hand():
    errors = measure(
        GAP, numbers(1, 2, NAN, 4, 5), Predicted(values=numbers(1.5, 2, 9, 3, NAN)), [1, 6, 1, 30, 2]
    )
    assert errors.main.value == pytest.approx((0.5 + 0 + 1) / 3) and errors.main.n == 3
    assert errors.n_failed == 1 and (errors.metric, errors.unit) == ("MAE", "eV")
    assert errors.main.ci95[0] <= errors.main.value <= errors.main.ci95[1]
    assert {key: part.value for key, part in errors.by_n_atoms.items()} == {
        "1-5": 0.5,
        "6-10": 0.0,
        ">20": 1.0,
    }
    assert errors.coverage is None and errors.by_domain == {}


def test_pure_elements_are_a_part_of_their_own():
    predicted = Predicted(values=numbers(0.1, 0.3, 0, 0))
    errors = measure(GAP, numbers(0, 0, 1, 2), predicted, [1] * 4, n_elements=[1, 1, 2, 6])
    assert {key: (part.value, part.n) for key, part in errors.by_n_elements.items()} == {
        "1": (pytest.approx(0.2), 2),
        "2": (1.0, 1),
        ">3": (2.0, 1),
    }


def test_moduli_are_measured_in_log10_and_in_gpa():
    errors = measure(BULK, numbers(10, 100, 100), Predicted(values=numbers(100, 10, -5)), [1, 1, 1])
    assert errors.main.value == pytest.approx(1.0) and errors.unit == "log10 GPa"
    assert errors.also["mae_gpa"].value == pytest.approx(90.0)
    assert errors.n_failed == 1  # a negative modulus has no logarithm


def test_coverage_counts_true_values_within_intervals_and_domains_are_apart():
    predicted = Predicted(
        values=numbers(1, 1, 1, 1),
        low=numbers(0, 0, 1.5, NAN),
        high=numbers(2, 0.5, 2, NAN),
        domain=("inside", "inside", "outside", "edge"),
    )
    errors = measure(GAP, numbers(1, 1, 1.5, 3), predicted, [1, 1, 1, 1])
    assert errors.coverage.value == pytest.approx(2 / 3) and errors.coverage.n == 3
    assert errors.coverage.ci95 == pytest.approx((0.2077, 0.9385), abs=1e-4)  # Wilson's interval of 2 of 3
    assert errors.interval_width == 0.5
    assert {key: (part.value, part.n) for key, part in errors.by_domain.items()} == {
        "inside": (0.0, 2),
        "edge": (2.0, 1),
        "outside": (0.5, 1),
    }


def test_metals_by_hand():
    truth, probabilities = numbers(1, 1, 0, 0), numbers(0.9, 0.4, 0.4, 0.1)
    errors = measure(METAL, truth, Predicted(values=probabilities), [1, 1, 1, 1])
    assert errors.metric == "ROC AUC" and errors.main.value == pytest.approx(3.5 / 4)  # one tie of four pairs
    assert errors.also["accuracy"].value == 0.75
    assert errors.also["balanced_accuracy"].value == pytest.approx((0.5 + 1) / 2)


def test_one_kind_alone_has_no_area_under_the_curve():
    assert roc_auc(np.array([True, True]), numbers(0.1, 0.9)) is None
    assert balanced_accuracy(np.array([False]), np.array([True])) is None
    assert measure(METAL, numbers(1, 1), Predicted(values=numbers(0.1, 0.9)), [1, 1]).main is None


def test_the_area_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth, score = rng.random(300) < 0.3, rng.integers(20, size=300).astype(float)
    assert roc_auc(truth, score) == pytest.approx(metrics.roc_auc_score(truth, score))


def test_the_bootstrap_repeats_and_has_the_width_of_the_standard_error():
    errors = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap(400, lambda rows: float(errors[rows].mean()), 0)
    assert (low, high) == bootstrap(400, lambda rows: float(errors[rows].mean()), 0)
    # 2 * 1.96 standard errors; a thousand resamples know their percentiles to a few per cent
    assert high - low == pytest.approx(3.92 * errors.std() / 20, rel=0.1)
    assert bootstrap(1, lambda _: 0.0, 0) is None


def test_a_constant_error_has_an_interval_of_no_width_and_json_is_plain():
    errors = measure(GAP, numbers(1, 2, 3), Predicted(values=numbers(2, 3, 4)), [1, 2, 3])
    assert errors.main.ci95 == (1.0, 1.0)
    json.dumps(errors.to_json(), allow_nan=False)
    empty = measure(GAP, numbers(1.0), Predicted(values=numbers(NAN)), [1]).to_json()
    assert (empty["value"], empty["n"], empty["n_failed"]) == (None, 0, 1)
    assert significant(0.0123456) == 0.01235


def test_published_values_name_their_source_and_folds_have_their_own():
    for name in PROPERTIES:
        published = published_value(name, 2)
        assert published is None or {"metric", "value", "method", "protocol", "source", "note"} <= set(
            published
        )
    assert published_value("refractive_index_n", 2)["value"] == 0.3899
    assert published_value("refractive_index_n", 2)["mean_of_folds"] == 0.2711
    assert published_value("band_gap_ev")["value"] == 0.181


def test_baselines_are_read_back_for_the_same_rows_only(tmp_path, monkeypatch):
    monkeypatch.setattr(property_references, "BASELINES", tmp_path / "baselines.json")
    keep_baseline("mean", {"band_gap_ev": {"value": 1.0, "rows": "3 (abc)"}})
    keep_baseline("mean", {"e_above_hull_ev": {"value": 0.2, "rows": "3 (abc)"}})
    keep_baseline("nearest", {"band_gap_ev": {"value": 0.5, "rows": "2 (xyz)"}})
    assert list(baseline_values("band_gap_ev", "3 (abc)")) == ["mean"]
    assert baseline_values("e_above_hull_ev", "3 (abc)")["mean"]["value"] == 0.2
    assert baseline_values("band_gap_ev", "9 (none)") == {}
