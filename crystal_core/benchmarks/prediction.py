"""Time structure predictions by phase, in processor seconds, so that other load changes little.

Every formula and effort gets a fresh process, whose first run holds the start and all loading, and whose
later runs are what a worker of the app takes. With a warm-up, one process per effort loads what a worker
loads while a page is open, and then runs all formulas.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any

from crystal_core.chemistry.formula import parse_formula
from crystal_core.errors import RequestError
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows.time_plan import TimePlan

# small cells, middle ones, and ones of 24 to 40 atoms; the last one has no prototype
FORMULAS = tuple(
    "NaCl CsCl TiO2 SiO2 CuInSe2 ZrO2 Fe2O3 MgAl2O4 CsPbI3 BaTiO3 LiFePO4 Ca2SiO4 Al2SiO5 NaAlSi3O8 "
    "Mg3Al2Si3O12 Li7P3S11".split()
)
START, LIBRARIES, REST = "start", "torch", "rest"
SHARES = (0.1, 0.25, 0.5, 0.75)  # of a run, at which the time left is compared
NEARLY = 0.05  # of a whole run: an estimate this far off is right, too, as the last steps cannot be foreseen


def benchmark_prediction(
    formulas: Sequence[str],
    efforts: Sequence[str],
    runs: int,
    *,
    warm_up: bool = False,
    threads: int | None = None,
) -> dict[str, Any]:
    """Processor seconds of each phase of a prediction, and the time left as estimated beside what was left.

    The pace of earlier runs that an estimate begins with is that of the formulas before, as on a machine
    that has predicted them.

    Args:
        runs: of each formula in its process; those after the first find everything loaded.
        warm_up: load everything beforehand, as the worker of an open page does.

    Raises:
        RequestError: a formula or an effort is none, or a run failed.
    """
    for effort, formula in product(efforts, formulas):
        StructurePredictionRequest(formula=formula, effort=effort)  # type: ignore[arg-type]
        parse_formula(formula)
    rows: list[dict[str, Any]] = []
    for effort in efforts:
        pace: dict[str, float] = {}
        for some in [[*formulas]] if warm_up else [[formula] for formula in formulas]:
            report = _in_process(
                {
                    "formulas": some,
                    "effort": effort,
                    "runs": runs,
                    "pace": pace,
                    "warm_up": warm_up,
                    "threads": threads,
                }
            )
            pace |= report["pace"]
            rows += report["rows"]
    return {"rows": rows}


def measure(
    formulas: Sequence[str],
    effort: str,
    runs: int,
    pace: Mapping[str, float],
    *,
    warm_up: bool,
    threads: int | None,
) -> dict[str, Any]:
    """The rows of some formulas, in this process, and the pace of the last run."""
    started = processor_seconds()
    import torch  # noqa: F401 (the largest share of a first run, so a phase of its own)

    from crystal_core.workflows.predict_structure import run
    from crystal_core.workflows.warm_up import steps

    loading = {START: started, LIBRARIES: processor_seconds() - started}
    if warm_up:
        for _ in steps():
            pass
        loading = {}
    rows: list[dict[str, Any]] = []
    pace = dict(pace)
    for formula, k in product(formulas, range(runs)):
        before, loading = loading, {}
        plan, moments = TimePlan({}, pace, clock=processor_seconds), []
        began, first_card = processor_seconds(), None
        request = StructurePredictionRequest(formula=formula, effort=effort, seed=0, threads=threads)  # type: ignore[arg-type]
        for update in run(request, plan=plan):
            moments.append((processor_seconds() - began, plan.seconds_left()))
            first_card = moments[-1][0] if first_card is None and update.result else first_card
        whole = moments[-1][0]
        phases = before | plan.spent | {REST: whole - sum(plan.spent.values())}
        rows.append(
            {
                "formula": formula,
                "effort": effort,
                "run": k + 1,
                "warm_up": warm_up,
                "cpu_seconds": round(sum(phases.values()), 2),
                "first_card_cpu_seconds": round(sum(before.values()) + (first_card or whole), 2),
                "phases": {name: round(seconds, 2) for name, seconds in phases.items()},
                "time_left": [_compared(share, whole, moments) for share in SHARES],
                "time_left_right": round(share_right(moments), 3),
            }
        )
        pace |= plan.measured()
    return {"rows": rows, "pace": pace}


def processor_seconds() -> float:
    """Processor seconds of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _compared(share: float, whole: float, moments: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    """The time left as estimated by the first update after a share of the run, and what was left."""
    passed, estimated = next(moment for moment in moments if moment[0] >= share * whole)
    left = whole - passed
    ratio = round(estimated / left, 2) if left else None
    return {"share": share, "estimated": round(estimated, 2), "left": round(left, 2), "ratio": ratio}


def share_right(moments: Sequence[tuple[float, float]]) -> float:
    """The share of a run during which the time left is right within a factor of two.

    It counts from the first tenth on, or from the first estimate if that comes later.

    Args:
        moments: seconds passed and seconds left as estimated, after every update; an estimate stands until
            the next one.
    """
    whole, right = moments[-1][0], 0.0
    begin = max(0.1 * whole, moments[0][0])
    for (passed, estimated), (following, _) in pairwise(moments):
        left = whole - passed
        if left / 2 <= estimated <= 2 * left or abs(estimated - left) <= NEARLY * whole:
            right += max(0.0, following - max(passed, begin))
    return right / (whole - begin) if whole > begin else 1.0


def in_words(row: Mapping[str, Any]) -> str:
    """A row as two lines: seconds of its phases, and the estimated over the true time left along the run."""
    phases = ", ".join(f"{name} {seconds:g}" for name, seconds in row["phases"].items())
    left = ", ".join(
        f"{one['ratio']:g} at {one['share']:.0%}" for one in row["time_left"] if one["ratio"] is not None
    )
    warm = " after a warm-up" if row["warm_up"] else ""
    return (
        f"{row['formula']}, {row['effort']}, run {row['run']}{warm}: {row['cpu_seconds']:g} s of processor, "
        f"first card after {row['first_card_cpu_seconds']:g} s ({phases})\n"
        f"  estimated over true time left: {left}; right within a factor of two for "
        f"{row['time_left_right']:.0%} of the time from then on"
    )


def _in_process(arguments: Mapping[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", __name__, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise RequestError(f"The prediction of {arguments['formula']} failed and said: {last}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
