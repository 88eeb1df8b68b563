"""Metrics of the columns of a comparison, each once, with intervals and paired differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, Literal

from crystal_core.evaluation.statistics import (
    Estimate,
    disjoint_best,
    mean,
    mean_difference,
    share,
    share_difference,
)
from crystal_core.properties import PROPERTIES

Kind = Literal["share", "mean", "cost"]
Better = Literal["higher", "lower", ""]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """One number of a column.

    Attributes:
        meaning: what is counted, as a sentence.
        kind: a share of the samples, a mean over those that have a value, or a cost without an interval.
        better: "" where neither direction is better.
        lowest: smallest possible value; None where there is none.
        key: of the value in a sample's row, where it is not the name.
    """

    name: str
    title: str
    meaning: str
    unit: str
    kind: Kind
    better: Better
    lowest: float | None = None
    key: str = ""

    def value(self, row: Row) -> float | None:
        """The metric of one sample; None where it has none."""
        value = row.get(self.key or self.name)
        return float(bool(value)) if self.kind == "share" else value

    def to_json(self) -> dict[str, str]:
        """All but the key."""
        names = ("name", "title", "unit", "kind", "better", "meaning")
        return {name: getattr(self, name) for name in names}


_share = partial(Metric, unit="%", kind="share", better="higher")
_mean = partial(Metric, kind="mean", better="")
_cost = partial(Metric, kind="cost", better="lower")

SAMPLES = (
    _share("valid", "valid", "Samples whose distances, volume and charges pass the published checks."),
    _share("structure_valid", "valid structure", "Samples without a distance below 0.5 Å and with a volume."),
    _share(
        "plausible",
        "plausible distances",
        "Samples without a distance below 0.7 × the sum of the covalent radii.",
    ),
)
WITH_REFERENCE = (
    _share(
        "match_share",
        "match the reference",
        "Samples that match the reference (StructureMatcher, ltol 0.3, stol 0.5, angle 10°).",
        key="matches",
    ),
    _mean(
        "rmse",
        "RMSE to the reference",
        "Mean distance of the atoms of matching samples, in units of (V/N)^(1/3).",
        unit="",
        better="lower",
        lowest=0.0,
        key="rmsd",
    ),
)
KNOWN = (
    _share(
        "known", "are a known crystal", "Samples that are a crystal of the reference set of known crystals."
    ),
    _mean(
        "known_rmsd",
        "RMSD to the known crystal",
        "Of samples that are a known crystal with an installed cell, in units of (V/N)^(1/3).",
        unit="",
        better="lower",
        lowest=0.0,
    ),
)
NOVEL = (
    _share(
        "novel",
        "not among known crystals",
        "Valid samples that match no crystal of the reference set of known crystals.",
        better="",
    ),
)
NUMBERS = (
    _mean(
        "energy_per_atom_ev",
        "energy (CHGNet)",
        "Mean energy of the plausible samples by the machine-learning potential, "
        "as sampled unless a run relaxed them.",
        unit="eV/atom",
        better="lower",
    ),
    _mean("density", "density", "Of the samples with a valid structure.", unit="g/cm³", lowest=0.0),
    _mean(
        "volume_per_atom", "volume per atom", "Of the samples with a valid structure.", unit="Å³", lowest=0.0
    ),
)
COSTS = (
    _cost(
        "seconds_per_crystal",
        "time per crystal",
        "Of sampling, on this machine, once; loading the model is left out.",
        unit="s",
    ),
    _cost("network_calls", "network calls per crystal", "Evaluations of the network for one batch.", unit=""),
    _cost(
        "peak_memory_mb",
        "peak memory of the device",
        "Largest amount that sampling held on the GPU.",
        unit="MB",
    ),
)
MATCH_RATE = _share(
    "match_rate", "references found", "References that at least one of their samples matches."
)
UNIQUE = _cost(
    "unique",
    "distinct",
    "Distinct crystals among those made, within each formula (StructureMatcher, default tolerances).",
    unit="%",
    better="higher",
)


def predicted_metric(name: str) -> Metric:
    """The mean of a predicted property."""
    spec = PROPERTIES[name]
    return _mean(
        f"predicted_{name}",
        f"predicted {spec.title[:1].lower()}{spec.title[1:]}",
        "Mean of what the property predictor says of the valid samples; its own error comes on top.",
        unit=spec.unit,
        lowest=0.0 if spec.logarithmic and spec.lowest is None else spec.lowest,
    )


def metrics_for(*, targets: bool, references: int, properties: Sequence[str]) -> list[Metric]:
    """The metrics that a comparison can have, in the order shown.

    Args:
        targets: all columns were made for the same formulas.
        references: how many of them have a known crystal.
    """
    names = [*SAMPLES]
    names += [MATCH_RATE] if references > 1 else []
    names += WITH_REFERENCE if references else ()
    names += KNOWN if targets else NOVEL
    return [*names, UNIQUE, *NUMBERS, *map(predicted_metric, properties), *COSTS]


def grouped(rows: Sequence[Row], value: Callable[[Row], float | None]) -> list[list[float]]:
    """Values per target, samples without one left out; samples of no target form a group of their own."""
    groups: dict[int, list[float]] = {}
    for row in rows:
        number = value(row)
        if number is not None:
            groups.setdefault(-1 if row.get("target") is None else row["target"], []).append(number)
    return list(groups.values())


def estimate(metric: Metric, rows: Sequence[Row], costs: Mapping[str, float | None]) -> Estimate | None:
    """A metric of one column; None where no sample has a value."""
    if metric.name == MATCH_RATE.name:
        return share(_recovered(rows))
    if metric.name == UNIQUE.name:
        return _unique(rows)
    if metric.kind == "cost":
        cost = costs.get(metric.name)
        return None if cost is None else Estimate(value=cost, ci95=None, n=len(rows))
    groups = grouped(rows, metric.value)
    return share(groups) if metric.kind == "share" else mean(groups, metric.lowest)


def _recovered(rows: Sequence[Row]) -> list[list[float]]:
    """Per target with a reference, whether any sample matches."""
    hits: dict[int, float] = {}
    for row in rows:
        if row.get("target") is not None and row.get("has_reference"):
            hits[row["target"]] = max(hits.get(row["target"], 0.0), float(bool(row.get("matches"))))
    return [[hit] for _, hit in sorted(hits.items())]


def _unique(rows: Sequence[Row]) -> Estimate | None:
    in_groups = [row for row in rows if row.get("group") is not None]
    if not in_groups:
        return None
    return Estimate(
        value=len({row["group"] for row in in_groups}) / len(in_groups), ci95=None, n=len(in_groups)
    )


def column_metrics(
    metrics: Sequence[Metric],
    columns: Sequence[tuple[Sequence[Row], Mapping[str, float | None]]],
) -> list[dict[str, dict[str, Any]]]:
    """Metric → {value, ci95, n, better} per column; ``better`` where its interval overlaps no other.

    Args:
        columns: rows of the samples, and costs, of each.
    """
    of_columns: list[dict[str, dict[str, Any]]] = [{} for _ in columns]
    for metric in metrics:
        estimates = [estimate(metric, rows, costs) for rows, costs in columns]
        best = disjoint_best(estimates, higher=metric.better == "higher") if metric.better else None
        for i, one in enumerate(estimates):
            if one is not None:
                of_columns[i][metric.name] = {
                    "value": round(one.value, 6),
                    "ci95": None if one.ci95 is None else list(one.ci95),
                    "n": one.n,
                    "better": i == best,
                }
    return of_columns


def paired_differences(
    metrics: Sequence[Metric], columns: Sequence[tuple[str, Sequence[Row]]]
) -> list[dict[str, Any]]:
    """Second less first for every two columns whose samples belong together, over the samples that both have.

    Args:
        columns: letter and rows of each; a column is paired with another where the target and number of every
            one of its samples are known.
    """
    differences = []
    usable = [(letter, by_place) for letter, rows in columns if (by_place := _by_place(rows)) is not None]
    for (a, first), (b, second) in combinations(usable, 2):
        places = sorted(first.keys() & second.keys())
        if not places:
            continue
        for metric in metrics:
            if metric.name == MATCH_RATE.name:
                some = {place[0] for place in places}
                one = share_difference(
                    [[x for g in _recovered([r for p, r in first.items() if p[0] in some]) for x in g]],
                    [[x for g in _recovered([r for p, r in second.items() if p[0] in some]) for x in g]],
                )
            elif metric.kind == "cost":
                continue
            else:
                one = _difference(metric, [(first[p], second[p]) for p in places])
            if one is not None:
                ci95 = None if one.ci95 is None else list(one.ci95)
                differences.append(
                    {
                        "a": a,
                        "b": b,
                        "metric": metric.name,
                        "difference": round(one.value, 6),
                        "ci95": ci95,
                        "n": one.n,
                    }
                )
    return differences


def _by_place(rows: Sequence[Row]) -> dict[tuple[int, int], Row] | None:
    """Rows by target and sample; None where they are not known of every row, or two rows share them."""
    places = [(row.get("target"), row.get("sample")) for row in rows]
    if any(t is None or k is None for t, k in places) or max(Counter(places).values(), default=0) > 1:
        return None
    return {(row["target"], row["sample"]): row for row in rows}


def _difference(metric: Metric, pairs: Sequence[tuple[Row, Row]]) -> Estimate | None:
    groups: dict[int, tuple[list[float], list[float]]] = {}
    for one, other in pairs:
        x, y = metric.value(one), metric.value(other)
        if x is not None and y is not None:
            first, second = groups.setdefault(one["target"], ([], []))
            first.append(x)
            second.append(y)
    a, b = [g[0] for g in groups.values()], [g[1] for g in groups.values()]
    return share_difference(a, b) if metric.kind == "share" else mean_difference(a, b)
