"""One batch of a campaign in a process of its own: generated, filtered, relaxed, filtered again."""

from __future__ import annotations

import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from crystal_core.errors import CrystalCoreError
from crystal_core.files.records import structure_from_record
from crystal_core.requests.screening import Batch, ScreeningRequest
from crystal_core.workflows.relax import RelaxationRun, provenance, relaxed_record
from crystal_core.workflows.screen.filters import passing

if TYPE_CHECKING:
    from crystal_core.records import CrystalRecord
    from crystal_core.requests.screening import RelaxationLimits

log = logging.getLogger(__name__)
NO_CELL = "The model's crystal is no cell."


class BatchResult(TypedDict):
    """What is left of a finished batch, and how many crystals came how far.

    ``n`` crystals were requested and ``cells`` of them generated; ``passed`` and ``passed_relaxed`` tell how
    many were left after each check and window, before and after relaxing; ``relaxed`` and ``converged`` are
    None where nothing is relaxed. ``failures``: reason → crystals that were lost for it.
    """

    n: int
    cells: int
    passed: dict[str, int]
    relaxed: int | None
    converged: int | None
    passed_relaxed: dict[str, int]
    failures: dict[str, int]
    network_calls: int
    notes: list[str]
    crystals: list[CrystalRecord]


def worker(request: ScreeningRequest, threads: int | None) -> Callable[[Batch], BatchResult | str]:
    """What a process does with a batch, by :func:`work_or_reason`; models stay loaded between batches."""
    from crystal_core.device import use_threads

    warnings.simplefilter("ignore")  # as in the command that started this process
    use_threads(threads or 1)
    return partial(work_or_reason, request)


def work_or_reason(request: ScreeningRequest, batch: Batch) -> BatchResult | str:
    """The result of a batch, or the sentence why there is none: one bad batch must not end a campaign."""
    try:
        return work(request, batch)
    except Exception as error:  # noqa: BLE001
        return _reason(error)


def work(request: ScreeningRequest, batch: Batch) -> BatchResult:
    """Generate the crystals of a batch, filter and relax them.

    Raises:
        RequestError: an option is wrong. CheckpointMissing: a model is not installed.
        MemoryFull: of the device.
    """
    from crystal_core.workflows.generate import run

    *_, last = run(
        replace(
            request.generate,
            n=batch.n,
            seed=batch.seed,
            device=request.device,
            threads=None,
            keep_trajectory=False,
        )
    )
    assert last.result is not None
    generated = last.result
    failures = Counter({NO_CELL: generated["n_failed"]} if generated["n_failed"] else {})
    crystals = [_numbered(record, request, batch) for record in generated["crystals"]]
    left, passed, lost = passing(crystals, request, relaxed=False)
    failures.update(lost)
    result: BatchResult = {
        "n": batch.n,
        "cells": len(crystals),
        "passed": passed,
        "relaxed": None,
        "converged": None,
        "passed_relaxed": {},
        "failures": {},
        "network_calls": generated["network_calls"],
        "notes": generated["notes"],
        "crystals": left,
    }
    if request.relax is not None:
        relaxed, lost = _relaxed(left, request.relax, request.device)
        failures.update(lost)
        result["relaxed"] = len(relaxed)
        result["converged"] = sum(record["relaxation"]["converged"] for record in relaxed)
        result["crystals"], result["passed_relaxed"], lost = passing(relaxed, request, relaxed=True)
        failures.update(lost)
    result["failures"] = dict(failures)
    return result


def _numbered(record: CrystalRecord, request: ScreeningRequest, batch: Batch) -> CrystalRecord:
    """The record under the number of its crystal in the campaign, in place of that in its batch."""
    place = int(record["id"].rpartition("-")[2]) - 1
    return {**record, "id": f"{request.generate.model}-{request.seed}-{batch.first + place}"}


def _relaxed(
    crystals: Sequence[CrystalRecord], limits: RelaxationLimits, device: str
) -> tuple[list[CrystalRecord], dict[str, int]]:
    """The relaxed crystals with their energies, without those that cannot be relaxed; and why they cannot."""
    from crystal_core.relax.potential import load_potential
    from crystal_core.relax.relaxation import FMAX, STEPS

    if not crystals:
        return [], {}
    potential = load_potential(limits.potential, device)
    chosen: dict[str, Any] = {
        "fmax": FMAX if limits.fmax is None else limits.fmax,
        "steps": STEPS if limits.steps is None else limits.steps,
    }
    settings = {"potential": limits.potential, **chosen, "seconds": limits.seconds, "device": device}
    made_by = provenance(potential, settings)
    done, failures = list["CrystalRecord"](), Counter[str]()
    for record in crystals:
        try:
            cell = RelaxationRun(structure_from_record(record))
            for _ in cell.steps(
                potential,
                seconds=math.inf if limits.seconds is None else limits.seconds,
                fmax=chosen["fmax"],
                most_steps=chosen["steps"],
            ):
                pass
            outcome: Mapping[str, Any] = cell.outcome.get("relaxation", {})
            if "error" in outcome:
                failures[outcome["error"]] += 1
            else:
                done.append(relaxed_record(record, cell, made_by))
        except Exception as error:  # noqa: BLE001 (an unexpected failure of one cell must not lose its batch)
            failures[_reason(error)] += 1
    return done, dict(failures)


def _reason(error: Exception) -> str:
    if isinstance(error, CrystalCoreError):
        return str(error)
    log.warning("a part of a campaign failed", exc_info=error)
    return f"Something unexpected went wrong: {type(error).__name__}: {error}."
