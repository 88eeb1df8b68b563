"""A run as the queue hands it out, and how its row in the database is read, however damaged that is."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crystal_core.earlier_results import upgrade_result
from crystal_core.errors import RequestError
from crystal_core.jobs import shapes
from crystal_core.jobs.store import NAME, BlobStore
from crystal_core.records import RunResult, Snapshot, Trajectory

LIVE = ("queued", "running", "cancelling")
LATEST = 4e9  # seconds since 1970; later moments are damage and no calendar shows them
ENTRY_DAMAGED = (
    "The entry of this run in the database is damaged, so its settings cannot be read. "
    "Delete this run and start it again."
)
RESULT_DAMAGED = (
    "The result of this run cannot be read because its file is damaged or missing. Run it again with the "
    "same seed, or delete it."
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run as the store knows it.

    Attributes:
        state: queued, running, cancelling, done, partial, failed or interrupted.
        result: what is finished so far, also of a cancelled or interrupted run.
        trajectories: paths for the player; those of a stored job are read when first looked at.
        place: 1 for the next job in the queue, 0 when not queued.
        starred, note: what its owner marked and wrote.
        batch: id of the list of runs it was submitted with, or "".
        parent: id of the run whose crystals it works on, or "".
        exit_code: of a command that failed as this run did; 1 where it did not fail.
        damaged: its request or its result cannot be read; that one is then empty or None, and ``error`` says
            so.
        result_stamp: changes whenever the stored result does, and tells so without reading it; "" without a
            result.
        text: what a language model has written of the first crystal so far; "" where none writes.
        owner: the browser that submitted it; "" for the command line, and for runs of earlier versions.
        progressed: when ``step`` was last written; None before, and for runs of earlier versions.
    """

    id: str
    kind: str
    request: dict[str, Any]
    state: str
    created: float
    started: float | None
    finished: float | None
    stage: str
    step: int
    n_steps: int
    error: str | None = None
    snapshot: Snapshot | None = None
    result: RunResult | None = None
    trajectories: Sequence[Trajectory] = ()
    place: int = 0
    starred: bool = False
    note: str = ""
    batch: str = ""
    parent: str = ""
    exit_code: int = 1
    damaged: bool = False
    result_stamp: str = ""
    text: str = ""
    owner: str = ""
    progressed: float | None = None

    @property
    def live(self) -> bool:
        """Still waiting or working."""
        return self.state in LIVE

    @property
    def seconds(self) -> float | None:
        """From its start to its end.

        None before, where it never started, and where the clock was set back meanwhile.
        """
        if not self.finished or not self.started or self.finished < self.started:
            return None
        return self.finished - self.started

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left, from the pace up to the last progress; None before there is one.

        It falls until the next progress: the time that passes without one is a part of what was left.
        """
        if self.state != "running" or not self.started or not 0 < self.step <= self.n_steps:
            return None
        now = time.time()
        if now < self.started:
            return None
        progressed = min(now, max(self.started, self.progressed or now))
        whole = (progressed - self.started) * self.n_steps / self.step
        return max(0.0, self.started + whole - now)


def read_job(row: sqlite3.Row, blobs: BlobStore, *, place: int = 0, result: bool = True) -> Job:
    """The job of a row; whatever cannot be read of it is left out and said in ``error``.

    Args:
        place: in the queue. result: whether to read its result, which may be large.
    """
    kind, created = _text(row["kind"]), moment(row["created"])
    request, snapshot = _json(row["request"]), _json(row["snapshot"])
    value = blobs.get(row["result"] if result else None)
    fault = ""
    if created is None or not kind or not shapes.is_request(kind, request):
        request, fault = {}, ENTRY_DAMAGED
    if result and row["result"]:
        try:
            value = upgrade_result(value) if shapes.is_result(kind, value) else None
        except RequestError as error:  # damaged beyond its shape, or of a newer version
            value, fault = None, fault or str(error)
        fault = fault or ("" if value is not None else RESULT_DAMAGED)
    return Job(
        id=row["id"],
        kind=kind,
        request=request,
        state=_text(row["state"]),
        created=created or 0.0,
        started=moment(row["started"]),
        finished=moment(row["finished"]),
        stage=_text(row["stage"]),
        step=_whole(row["step"], 0),
        n_steps=_whole(row["n_steps"], 0),
        error=_text(row["error"]) or fault or None,
        snapshot=snapshot if shapes.is_snapshot(kind, snapshot) else None,
        result=value,
        trajectories=blobs.get_later(blob_names(row["trajectories"])),
        place=place,
        starred=bool(row["starred"]),
        note=_text(row["note"]),
        batch=_text(row["batch"]),
        parent=_text(row["parent"]),
        exit_code=_whole(row["exit_code"], 1),
        damaged=bool(fault),
        result_stamp=blobs.stamp(row["result"]),
        text=_text(row["text"]),
        owner=_text(row["owner"]),
        progressed=moment(row["progressed"]),
    )


def _json(text: Any) -> Any:
    """The value of a column; None where it is empty or no JSON."""
    try:
        return json.loads(text) if text else None
    except (TypeError, ValueError, RecursionError):
        return None


def blob_names(text: Any) -> list[str]:
    """The names of stored values in a column; of a damaged list those that can still be made out."""
    names = _json(text)
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    return NAME.findall(text) if isinstance(text, str) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


def moment(value: Any) -> float | None:
    """Seconds since 1970, or None where a column holds no such moment."""
    if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value < LATEST:
        return None
    return float(value)
