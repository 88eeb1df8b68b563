"""The duration of a run, estimated from finished runs of its kind on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

from crystal_core.chemistry.formula import default_z, parse_formula
from crystal_core.errors import CrystalCoreError
from crystal_core.registry.store import find_card

if TYPE_CHECKING:
    from crystal_core.jobs.job import Job

SAME = (
    "model",
    "sampler",
    "steps",
    "start",
    "relax",
    "effort",
    "back_end",
    "refiner",
    "start_draft",
    "charge_balance",
)
BY_EFFORT = ("start", "relax", "n_samples")  # what an effort decides, whatever the request says
LARGEST_CHANGE = 30.0  # no estimate for a run that is more than 30 times larger or smaller than past ones


def estimate_seconds(request: Mapping[str, Any], jobs: Iterable[Job]) -> float | None:
    """Seconds, or None without a finished run of the same kind.

    The same models, sampler, steps, start and effort, relaxed or not.
    """
    wanted = _work(request)
    alike = [job for job in jobs if job.state == "done" and job.seconds and _alike(job.request, request)]
    rates = [job.seconds / work for job in alike[:10] if job.seconds and (work := _work(job.request))]
    works = [work for job in alike[:10] if (work := _work(job.request))]
    if not wanted or not rates or not min(works) / LARGEST_CHANGE <= wanted <= max(works) * LARGEST_CHANGE:
        return None
    return median(rates) * wanted


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # what an older run does not name is off
    names = [k for k in SAME if not (one.get("effort") and k in BY_EFFORT)]
    return all((one.get(k) or None) == (other.get(k) or None) for k in names)


def _work(request: Mapping[str, Any]) -> float:
    """Proportional to the cost of a network call over all samples: pairs, in small cells also atoms."""
    if "n" in request:
        return float(request["n"]) * _mean_cost(request)
    try:
        formula = parse_formula(request["formula"])
    except (CrystalCoreError, KeyError):
        return 0.0
    if request.get("exact_cell"):
        cells = [len(formula.atomic_numbers_of(1, exact=True))]
    else:
        cells = [z * formula.n_atoms for z in request.get("z") or default_z(formula)]
    samples = 1 if request.get("effort") else request.get("n_samples", 1)
    return float(samples) * sum(map(_cost, cells))


def _mean_cost(request: Mapping[str, Any]) -> float:
    """Mean cost of a de novo cell; its atoms follow a range, a structure to complete, or training counts."""
    if request.get("n_atoms"):
        low, high = request["n_atoms"]
        return sum(map(_cost, range(low, high + 1))) / (high - low + 1)
    given = request.get("fix") or request.get("start_from")
    if given:
        return _cost(len(given["atomic_numbers"]))
    try:
        seen = find_card(request["model"]).sampling.get("atom_count_frequencies", {})
    except CrystalCoreError:
        return 0.0
    return sum(share * _cost(int(n)) for n, share in seen.items()) / (sum(seen.values()) or 1.0)


def _cost(n: int) -> float:
    return n * (n - 1) / 2 + 3 * n
