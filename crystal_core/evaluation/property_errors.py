"""Errors of predicted properties with bootstrap intervals, and whether stated intervals hold.

The main number of a property is the mean absolute error in its unit; of the moduli that of log10(GPa), as
published; of the probability of a metal it is the ROC AUC. Nothing here knows where predictions come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystal_core.evaluation.matching import BINS
from crystal_core.evaluation.statistics import Estimate, bootstrap, wilson
from crystal_core.properties import PropertySpec

Floats = NDArray[np.float64]
DOMAINS = ("inside", "edge", "outside")
METAL = "is_metal"
MANY_ELEMENTS = 4  # crystals with this many or more elements form one group


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Predictions of one property for several crystals, in physical units.

    Attributes:
        values: (rows,), NaN where there is none.
        low, high: (rows,) ends of the 90 % interval, NaN where there is none; None where the predictor
            has none at all.
        domain: (rows,) how close each crystal is to training crystals; empty where the
            predictor does not say.
    """

    values: Floats
    low: Floats | None = None
    high: Floats | None = None
    domain: tuple[str, ...] = ()


class Score(Estimate):
    """A number over some crystals; without an interval where they are too few for one."""

    def to_json(self) -> dict[str, Any]:
        """The keys of the command line, rounded to four significant digits."""
        return {
            "value": significant(self.value),
            "ci95": None if self.ci95 is None else [significant(end) for end in self.ci95],
            "n": self.n,
        }


@dataclass(frozen=True, kw_only=True)
class PropertyErrors:
    """Errors of one property on test rows.

    Attributes:
        metric: "MAE" or "ROC AUC".
        unit: of the main number.
        n_failed: crystals without a prediction, which are not in ``n``.
        main: the number shown in tables; None where no crystal can be scored.
        also: further numbers by name: "mae_gpa" of the moduli; "accuracy" and
            "balanced_accuracy" of the metals.
        coverage: share of true values within the 90 % intervals.
        interval_width: their median width in physical units.
        by_domain, by_n_atoms, by_n_elements: the main number of parts of the crystals.
    """

    metric: str
    unit: str
    main: Score | None
    n_failed: int
    also: dict[str, Score] = field(default_factory=dict)
    coverage: Score | None = None
    interval_width: float | None = None
    by_domain: dict[str, Score] = field(default_factory=dict)
    by_n_atoms: dict[str, Score] = field(default_factory=dict)
    by_n_elements: dict[str, Score] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The keys of the command line."""
        main = {"value": None, "ci95": None, "n": 0} if self.main is None else self.main.to_json()
        return (
            {"metric": self.metric, "unit": self.unit}
            | main
            | {"n_failed": self.n_failed}
            | {name: score.to_json() for name, score in self.also.items()}
            | {
                "coverage90": None
                if self.coverage is None
                else self.coverage.to_json()
                | {"median_width": None if self.interval_width is None else significant(self.interval_width)},
                "by_domain": {name: score.to_json() for name, score in self.by_domain.items()},
                "by_n_atoms": {name: score.to_json() for name, score in self.by_n_atoms.items()},
                "by_n_elements": {name: score.to_json() for name, score in self.by_n_elements.items()},
            }
        )


def significant(value: float, digits: int = 4) -> float:
    """The number with ``digits`` significant digits."""
    return float(f"{value:.{digits}g}")


def is_measured_as_logarithm(spec: PropertySpec) -> bool:
    """Whether errors are published in log10: those of moduli are."""
    return spec.logarithmic and spec.unit == "GPa"


def metric_of(spec: PropertySpec) -> tuple[str, str]:
    """Name and unit of the main number of a property."""
    if spec.name == METAL:
        return "ROC AUC", ""
    return "MAE", "log10 GPa" if is_measured_as_logarithm(spec) else spec.unit


def measure(
    spec: PropertySpec,
    truth: Floats,
    predicted: Predicted,
    n_atoms: Sequence[int],
    *,
    n_elements: Sequence[int] = (),
    seed: int = 0,
) -> PropertyErrors:
    """The errors of predictions against (rows,) true values in physical units; NaN truths are left out.

    Args:
        n_atoms: (rows,) atoms of each cell.
        n_elements: (rows,) different elements of each; no parts by it where absent.
        seed: of the resampling.
    """
    known = ~np.isnan(truth)
    usable = known & np.isfinite(predicted.values)
    if is_measured_as_logarithm(spec):
        usable &= predicted.values > 0
    metric, unit = metric_of(spec)
    score = _scorer(spec, truth, predicted.values, seed)
    counts = np.asarray(n_atoms)
    sizes = {
        f"{low}-{high}" if high < 1000 else f">{low - 1}": (counts >= low) & (counts <= high)
        for low, high in BINS
    }
    different = np.asarray(n_elements)
    kinds = {str(k): different == k for k in range(1, MANY_ELEMENTS)} if len(different) else {}
    kinds |= {f">{MANY_ELEMENTS - 1}": different >= MANY_ELEMENTS} if len(different) else {}
    domains = {name: np.array([d == name for d in predicted.domain]) for name in DOMAINS if predicted.domain}
    coverage, width = _coverage(truth, predicted, usable)
    return PropertyErrors(
        metric=metric,
        unit=unit,
        main=score(usable),
        n_failed=int((known & ~usable).sum()),
        also=_also(spec, truth, predicted.values, usable, seed),
        coverage=coverage,
        interval_width=width,
        by_domain={name: part for name, rows in domains.items() if (part := score(usable & rows))},
        by_n_atoms={name: part for name, rows in sizes.items() if (part := score(usable & rows))},
        by_n_elements={name: part for name, rows in kinds.items() if (part := score(usable & rows))},
    )


def roc_auc(positive: NDArray[np.bool_], score: Floats) -> float | None:
    """Area under the receiver operating characteristic: how often a positive outscores a negative.

    None where all are of one kind.
    """
    from scipy.stats import rankdata

    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def balanced_accuracy(positive: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float | None:
    """Mean of the recognised shares of positives and negatives; None where all are of one kind."""
    if positive.all() or not positive.any():
        return None
    return float((predicted[positive].mean() + (~predicted[~positive]).mean()) / 2)


def _scorer(
    spec: PropertySpec, truth: Floats, values: Floats, seed: int
) -> Callable[[NDArray[np.bool_]], Score | None]:
    """The main number over the rows of a mask."""
    if spec.name == METAL:
        return lambda rows: _over(truth[rows] > 0.5, values[rows], roc_auc, seed)
    if is_measured_as_logarithm(spec):
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = np.abs(np.log10(truth) - np.log10(values))
    else:
        errors = np.abs(truth - values)
    return lambda rows: _mean(errors[rows], seed)


def _also(
    spec: PropertySpec, truth: Floats, values: Floats, usable: NDArray[np.bool_], seed: int
) -> dict[str, Score]:
    scores: dict[str, Score | None] = {}
    if spec.name == METAL:
        metal, is_metal = truth[usable] > 0.5, values[usable] > 0.5
        hits = int((metal == is_metal).sum())
        n = len(metal)
        scores["accuracy"] = Score(value=hits / n, ci95=wilson(hits, n), n=n) if n else None
        scores["balanced_accuracy"] = _over(metal, is_metal, balanced_accuracy, seed)
    elif is_measured_as_logarithm(spec):
        scores["mae_gpa"] = _mean(np.abs(truth - values)[usable], seed)
    elif spec.logarithmic:
        positive = usable & (truth > 0) & (values > 0)
        scores["mae_log10"] = _mean(np.abs(np.log10(truth[positive]) - np.log10(values[positive])), seed)
    return {name: score for name, score in scores.items() if score is not None}


def _mean(errors: Floats, seed: int) -> Score | None:
    if not len(errors):
        return None
    return Score(
        value=float(errors.mean()),
        ci95=bootstrap(len(errors), lambda rows: float(errors[rows].mean()), seed),
        n=len(errors),
    )


def _over(
    truth: Any, predicted: Any, statistic: Callable[[Any, Any], float | None], seed: int
) -> Score | None:
    value = statistic(truth, predicted) if len(truth) else None
    if value is None:
        return None
    interval = bootstrap(len(truth), lambda rows: statistic(truth[rows], predicted[rows]), seed)
    return Score(value=value, ci95=interval, n=len(truth))


def _coverage(
    truth: Floats, predicted: Predicted, usable: NDArray[np.bool_]
) -> tuple[Score | None, float | None]:
    """Share of true values within the intervals with its Wilson interval, and the intervals' median width."""
    if predicted.low is None or predicted.high is None:
        return None, None
    rows = usable & np.isfinite(predicted.low) & np.isfinite(predicted.high)
    n = int(rows.sum())
    if not n:
        return None, None
    low, high = predicted.low[rows], predicted.high[rows]
    hits = int(((low <= truth[rows]) & (truth[rows] <= high)).sum())
    return Score(value=hits / n, ci95=wilson(hits, n), n=n), float(np.median(high - low))
