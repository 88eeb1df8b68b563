"""A whole campaign: its batches over a backend, the finished ones kept, their crystals merged and ranked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.evaluation.novelty import group_numbers
from crystal_core.files.records import structure_from_record
from crystal_core.interruption import NO_INTERRUPTION, Interruption
from crystal_core.records import FORMAT
from crystal_core.registry.store import find_card
from crystal_core.requests.screening import Batch, ScreeningRequest
from crystal_core.workflows.screen.batch import worker
from crystal_core.workflows.screen.filters import MEANINGS, check_properties, property_of
from crystal_core.workflows.screen.folder import CampaignFolder

if TYPE_CHECKING:
    from crystal_core.records import CrystalRecord
    from crystal_core.workflows.screen.backends import Backend
    from crystal_core.workflows.screen.batch import BatchResult

DIED = "The process of the batch was ended by the system or crashed."
NOT_STARTED = "No process could be started for the batch."
Progress = Callable[[str, int, int], None]  # what, finished, of


def check(request: ScreeningRequest) -> None:
    """Check what every batch would stumble over, before any process is started.

    Raises:
        RequestError: an option is wrong. CheckpointMissing: a model is not installed.
        MissingExtra: the potential is not.
    """
    from crystal_core.relax.potential import check_installed
    from crystal_core.workflows import generate

    check_properties(request)
    if request.relax is not None:
        check_installed(request.relax.potential)
    # one crystal on the CPU meets every refusal: GPUs are for the processes, and redrafting takes time
    generate.check(replace(request.generate, n=1, seed=request.batches[0].seed, device="cpu", threads=None))


def run(
    request: ScreeningRequest,
    out: Path,
    *,
    backend: Backend,
    threads: int | None = None,
    settings: Mapping[str, Any] | None = None,
    on_progress: Progress | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> tuple[dict[str, Any], list[CrystalRecord]]:
    """Work through the batches that ``out`` does not hold yet; rank the crystals of all finished ones.

    The crystals depend on the request alone: not on the backend, nor on interruptions. Failed batches are
    tried again by the next call.

    Args:
        out: folder of the campaign, new or of an earlier call.
        threads: CPU threads of each process; 1 when None.
        settings: further ones for the report.

    Returns:
        the report of the command line, and the ranked crystals.

    Raises:
        RequestError: an option is wrong, or ``out`` holds something else. CheckpointMissing: a model is not
            installed. MissingExtra: a package is not.
    """
    from crystal_core.device import pick_device

    began = time.monotonic()
    request = replace(request, device=str(pick_device(request.device)))
    check(request)
    weights = find_card(request.generate.model).weights_sha256
    folder = CampaignFolder(out, request.of_crystals | {"weights": weights})
    with folder.alone():
        results, failed = _worked(
            request, folder, partial(worker, request, threads), backend, on_progress, stop
        )
        whole = [results[number] for number in sorted(results)]
        crystals = ranked([record for result in whole for record in result["crystals"]], request)
        report = _report(request, whole, failed, crystals)
        report["settings"] |= {"weights": weights, "threads": threads or 1, **(settings or {})}
        report |= stop.marks(f"{len(whole)} of {len(request.batches)} batches")
        report["seconds"] = round(time.monotonic() - began, 2)
        folder.write_ranking(crystals, report | {"crystals": crystals})
    return report, crystals


def _worked(
    request: ScreeningRequest,
    folder: CampaignFolder,
    make: Callable[[], Callable[[Batch], BatchResult | str]],
    backend: Backend,
    on_progress: Progress | None,
    stop: Interruption,
) -> tuple[dict[int, BatchResult], dict[Batch, str]]:
    """Number → result of every finished batch, and why others failed; an interruption leaves out the rest."""
    batches = request.batches
    results, failed = folder.finished(batches), dict[Batch, str]()
    todo = [batch for batch in batches if batch.number not in results]
    show = on_progress or (lambda _what, _done, _of: None)
    show("screening", len(results), len(batches))
    if not todo:
        return results, failed
    with stop, closing(backend(make, todo)) as finished:
        for place, result in finished:
            batch = todo[place]
            if result is None or isinstance(result, str):
                failed[batch] = result or DIED
            else:
                folder.keep(batch, result)
                results[batch.number] = result
            show("screening", len(results) + len(failed), len(batches))
    if not stop:
        left = [batch for batch in todo if batch.number not in results and batch not in failed]
        failed |= dict.fromkeys(left, NOT_STARTED)
    return results, dict(sorted(failed.items(), key=lambda item: item[0].number))


def ranked(crystals: Sequence[CrystalRecord], request: ScreeningRequest) -> list[CrystalRecord]:
    """The different crystals of all batches, best first; of alike ones the best stands for all.

    Valid and plausible ones come first, then those with a value of what they are ranked by.
    """
    scored = [_scored(record, request) for record in crystals]
    scored = [scored[k] for k in sorted(range(len(scored)), key=lambda k: _rank_key(scored[k], k, request))]
    groups = group_numbers([structure_from_record(record) for record in scored])
    sizes = Counter(groups)
    best: dict[int | None, CrystalRecord] = {}
    for record, group in zip(scored, groups, strict=True):
        best.setdefault(group, record)
    return [
        {**record, "group": place, "n_alike": sizes[group]}
        for place, (group, record) in enumerate(best.items())
    ]


def rank_settings(request: ScreeningRequest) -> dict[str, str] | None:
    """The property that ranks and the order; of relaxed crystals the energy above the hull by default."""
    if request.rank is not None:
        return {"by": request.rank.by, "order": request.rank.order}
    return {"by": "e_above_hull_ev", "order": "lowest"} if request.relax is not None else None


def _scored(record: CrystalRecord, request: ScreeningRequest) -> CrystalRecord:
    rank = rank_settings(request)
    if rank is None:
        return record
    value, unit = property_of(record, rank["by"])
    return {**record, "score": None if value is None else {"name": rank["by"], "value": value, "unit": unit}}


def _rank_key(record: CrystalRecord, place: int, request: ScreeningRequest) -> tuple[bool, bool, float, int]:
    rank, score = rank_settings(request), record["score"]
    value = None if score is None else score["value"]
    sign = -1.0 if rank is not None and rank["order"] == "highest" else 1.0
    return (
        not record["validity"]["structure"],
        not record["validity"]["plausible"],
        float("inf") if value is None else sign * value,
        place,
    )


def _report(
    request: ScreeningRequest,
    results: Sequence[BatchResult],
    failed: Mapping[Batch, str],
    crystals: Sequence[CrystalRecord],
) -> dict[str, Any]:
    failures = Counter[str]()
    for result in results:
        failures.update(result["failures"])
    lost_batches = [
        {"batch": batch.number, "n": batch.n, "reason": reason} for batch, reason in failed.items()
    ]
    worked = sum(result["n"] for result in results)
    lost = sum(failures.values())
    relaxed = [result["relaxed"] for result in results if result["relaxed"] is not None]
    return {
        "format": FORMAT,
        "done": worked - lost,
        "failed": lost + sum(batch.n for batch in failed),
        "written": len(crystals),
        "batches": {"finished": len(results), "failed": len(failed), "of": len(request.batches)},
        "failures": [
            *lost_batches,
            *({"n": n, "reason": reason} for reason, n in failures.most_common()),
        ],
        "counts": {
            "requested": request.n,
            "generated": sum(result["cells"] for result in results),
            "passed": _sums([result["passed"] for result in results]),
            **(
                {
                    "relaxed": sum(relaxed),
                    "converged": sum(result["converged"] or 0 for result in results),
                    "passed_relaxed": _sums([result["passed_relaxed"] for result in results]),
                }
                if request.relax is not None
                else {}
            ),
            "left": sum(len(result["crystals"]) for result in results),
            "different": len(crystals),
        },
        "checks": {name: MEANINGS[name] for name in request.checks},
        "rank_by": rank_settings(request),
        "ranking": [_ranked_row(place, record) for place, record in enumerate(crystals, start=1)],
        "network_calls": sum(result["network_calls"] for result in results),
        "notes": list(dict.fromkeys(note for result in results for note in result["notes"])),
        "settings": {"n": request.n} | request.of_crystals,
    }


def _ranked_row(place: int, record: CrystalRecord) -> dict[str, Any]:
    """One line of the ranking: id, formula, score, energies and predicted values."""
    row: dict[str, Any] = {"rank": place, "id": record["id"], "formula": record["formula"]}
    row |= {"score": record["score"], "n_alike": record["n_alike"], "known": record["novelty"]["known"]}
    if "energies" in record:
        row |= {name: value for name, value in record["energies"].items() if name.endswith("_ev")}
        row["converged"] = record["relaxation"]["converged"]
    if "predictions" in record:
        row["predictions"] = {name: p["value"] for name, p in record["predictions"].items()}
    return row


def _sums(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sums of all batches, in the order of the first."""
    names = dict.fromkeys(name for one in counts for name in one)
    return {name: sum(one.get(name, 0) for one in counts) for name in names}
