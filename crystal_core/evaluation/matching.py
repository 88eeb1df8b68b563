"""The structure-prediction protocol: match rate and RMSE against references, both published filters.

StructureMatcher(stol 0.5, ltol 0.3, angle_tol 10); RMSE is over matched references, of the best candidate,
divided by (V/N)^(1/3). A candidate that cannot be decoded counts as a miss; the crystals are never
compared by row order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crystal_core.evaluation.parallel import in_parallel, time_limit
from crystal_core.evaluation.statistics import bootstrap_mean, wilson
from crystal_core.evaluation.validity import is_charge_balanced, is_structurally_valid

if TYPE_CHECKING:
    from pymatgen.core import Structure

MATCHER: dict[str, Any] = {"stol": 0.5, "ltol": 0.3, "angle_tol": 10}
KLDM_MAX_EDGE = 40.0
# usual pairs take milliseconds; a few large symmetric cells would take hours, and count as misses
PAIR_SECONDS = 120.0
BINS = ((1, 5), (6, 10), (11, 20), (21, 10_000))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One reference: best RMSE per filter (None: no match), and how many candidates failed to decode."""

    n_atoms: int
    n_elements: int
    formula: str
    structural: float | None
    smact: float | None
    failed: int


def judge(reference: Structure, candidates: Sequence[Structure | None]) -> Outcome:
    """Match the candidates of one reference."""
    from crystal_core.evaluation.reduced_matcher import ReducedMatcher

    matcher = ReducedMatcher(**MATCHER)
    composition = is_charge_balanced(
        tuple(sorted((e.symbol, round(n)) for e, n in reference.composition.items()))
    )
    # DiffCSP filters the reference too where one candidate is drawn
    reference_passes: bool | None = True if len(candidates) > 1 else None
    best: float | None = None
    best_smact: float | None = None
    failed = 0
    for candidate in candidates:
        if candidate is None or not is_structurally_valid(candidate, max_edge=KLDM_MAX_EDGE):
            failed += candidate is None
            continue
        try:
            with time_limit(PAIR_SECONDS):
                distances = matcher.get_rms_dist(reference, candidate)
        except Exception:  # noqa: BLE001 (a cell the matcher cannot handle is a miss, not the end of the evaluation)
            distances = None
        if distances is not None:
            best = distances[0] if best is None else min(best, distances[0])
            if composition and has_fingerprint(candidate):
                if reference_passes is None:
                    reference_passes = is_structurally_valid(reference) and has_fingerprint(reference)
                if reference_passes:
                    best_smact = distances[0] if best_smact is None else min(best_smact, distances[0])
    return Outcome(
        n_atoms=len(reference),
        n_elements=len(reference.composition),
        formula=reference.composition.reduced_formula,
        structural=best,
        smact=best_smact,
        failed=failed,
    )


def has_fingerprint(structure: Structure) -> bool:
    """Whether CrystalNN finds neighbours for every site, as DiffCSP's "ops" fingerprint needs."""
    from pymatgen.analysis.local_env import CrystalNN

    finder = CrystalNN(distance_cutoffs=None, x_diff_weight=0)
    try:
        with time_limit(PAIR_SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return all(finder.get_nn_data(structure, i).all_nninfo for i in range(len(structure)))
    except Exception:  # noqa: BLE001 (the published script catches everything too: no fingerprint, not valid)
        return False


def judge_all(
    references: Sequence[Structure],
    candidates: Sequence[Sequence[Structure | None]],
    *,
    workers: int = 2,
    on_progress: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Match every reference, in parallel, in order."""
    return in_parallel(judge, references, candidates, workers=workers, on_progress=on_progress)


def summarise(outcomes: Sequence[Outcome], seen_formulas: frozenset[str] | None = None) -> dict[str, Any]:
    """The report of cli.md: rates with 95 % Wilson intervals under both filters.

    Also by atom count, by number of elements, and by formula seen in training.

    Args:
        seen_formulas: reduced formulas of the training rows; None where they are not known, which
            the report then says.
    """
    report = _rates([o.structural for o in outcomes])
    report["n_failed"] = sum(o.failed for o in outcomes)
    report["filter"] = {
        "structural": _rates([o.structural for o in outcomes]),
        "smact": _rates([o.smact for o in outcomes]),
    }
    report["by_n_atoms"] = {
        f"{low}-{high}" if high < 1000 else f">{low - 1}": _rates(part)
        for low, high in BINS
        if (part := [o.structural for o in outcomes if low <= o.n_atoms <= high])
    }
    report["by_n_elements"] = {
        str(n): _rates([o.structural for o in outcomes if o.n_elements == n])
        for n in sorted({o.n_elements for o in outcomes})
    }
    report["by_seen_formula"] = None
    if seen_formulas is not None:
        groups = {
            "seen": [o.structural for o in outcomes if o.formula in seen_formulas],
            "unseen": [o.structural for o in outcomes if o.formula not in seen_formulas],
        }
        report["by_seen_formula"] = {name: _rates(part) for name, part in groups.items() if part}
    return report


def _rates(values: Sequence[float | None]) -> dict[str, Any]:
    matched = [v for v in values if v is not None]
    low, high = wilson(len(matched), len(values))
    interval = bootstrap_mean(matched)
    return {
        "match_rate": round(len(matched) / max(1, len(values)), 4),
        "rmse": round(float(sum(matched)) / len(matched), 4) if matched else None,
        "rmse_ci95": list(interval) if interval else None,
        "n": len(values),
        "ci95": [round(low, 4), round(high, 4)],
    }
