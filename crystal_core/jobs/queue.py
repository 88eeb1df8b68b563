"""The queue: requests in, states and results out, in one SQLite file (WAL) that every process may open."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crystal_core.errors import RequestError
from crystal_core.jobs.database import connect, last_rescue, prepare, rescued, storage_faults
from crystal_core.jobs.job import LIVE, Job, blob_names, moment, read_job
from crystal_core.jobs.store import BlobStore
from crystal_core.jobs.turns import DEVICE, check_stored, check_waiting, places_in_queue, waiting_in_order
from crystal_core.paths import home_dir, private_folder

GPU = Path("/dev/nvidiactl")  # exists only with an NVIDIA driver
MAX_NOTE = 500  # characters
SEEN_SECONDS = 5.0  # a client that was seen so long ago is still there
SWEEP_AFTER = 3600.0  # seconds; a file is put shortly before its run refers to it


def worker_of(request: Mapping[str, Any]) -> str:
    """The device whose worker runs a request: the one it asks for.

    For "auto" the GPU where PyTorch can use one.
    """
    device = request.get("device", "auto")
    return "cuda" if device == "cuda" or (device == "auto" and GPU.exists() and torch_knows_cuda()) else "cpu"


@cache
def torch_knows_cuda() -> bool:
    """Whether the installed PyTorch is built for NVIDIA GPUs; it is not imported, which takes seconds.

    On a machine with a GPU, a PyTorch for CPUs alone computes on the CPU: two workers would share it.
    """
    spec = find_spec("torch")
    folders = (spec and spec.submodule_search_locations) or ()
    return any(any(Path(folder, "lib").glob("*torch_cuda*")) for folder in folders)


class JobQueue:
    """The queue of one home folder (``CRYSTAL_HOME``).

    Args:
        home: another folder.
        client: the browser that asks: its runs are marked with this id, and it may not change those of other
            browsers. "": the command line or the worker, which may do everything.
    """

    def __init__(self, home: Path | None = None, *, client: str = "") -> None:
        self.home, self.client = home or home_dir(), client
        with storage_faults(self.home):
            private_folder(self.home)
        self.blobs = BlobStore(self.home / "store")
        rescued(lambda queue: prepare(queue.home))(self)

    def submit(self, kind: str, request: Mapping[str, Any], *, parent: str = "") -> str:
        """Put a request into the queue; returns its random id.

        Args:
            parent: id of the run whose crystals it works on.

        Raises:
            RequestError: too many jobs wait already, or the results of this browser fill its share of the
                disk.
        """
        (job,) = self._submit(kind, [request], parent=parent)
        return job

    def submit_batch(self, kind: str, requests: Sequence[Mapping[str, Any]]) -> str:
        """Put several requests into the queue together, or none of them; returns the random id of the batch.

        Raises:
            RequestError: they do not all fit beside the jobs that wait already.
        """
        batch = secrets.token_hex(16)
        self._submit(kind, requests, batch=batch)
        return batch

    @rescued
    def _submit(
        self, kind: str, requests: Sequence[Mapping[str, Any]], *, batch: str = "", parent: str = ""
    ) -> list[str]:
        names = [secrets.token_hex(16) for _ in requests]
        with self._connect() as db:
            check_stored(db, self.client, self.blobs)
            db.execute("begin immediate")
            check_waiting(db, self.client, len(requests))
            db.executemany(
                "insert into jobs (id, kind, request, state, created, batch, parent, worker, owner) "
                "values (?, ?, ?, 'queued', ?, ?, ?, ?, ?)",
                [
                    (
                        name,
                        kind,
                        json.dumps(dict(request)),
                        time.time(),
                        batch,
                        parent,
                        worker_of(request),
                        self.client,
                    )
                    for name, request in zip(names, requests, strict=True)
                ],
            )
        return names

    @rescued
    def get(self, job: str, *, results: bool = True) -> Job | None:
        """The job with that id; without ``results`` as in :meth:`list_jobs`."""
        with self._connect() as db:
            rows = db.execute("select * from jobs where id = ?", (job,))
            return next(iter(self._jobs(db, rows, result=results)), None)

    @rescued
    def list_jobs(self, limit: int = 200, *, results: bool = True, own: bool = False) -> list[Job]:
        """Newest first.

        Without ``results``, which are large, they are None and are not checked for damage.

        Args:
            own: only those of :attr:`client`; without a client all.
        """
        with self._connect() as db:
            rows = db.execute(
                "select * from jobs where ? in ('', owner) order by created desc, rowid desc limit ?",
                (self.client if own else "", limit),
            )
            return self._jobs(db, rows, result=results)

    def list_batch(self, batch: str, *, results: bool = True) -> list[Job]:
        """The jobs of a batch in order of submission, without those whose request cannot be read.

        Args:
            results: as in :meth:`list_jobs`.
        """
        return [job for job in self._members(batch, results=results) if job.request]

    def unreadable_in_batch(self, batch: str) -> int:
        """How many jobs of a batch :meth:`list_batch` leaves out because their request cannot be read."""
        return sum(not job.request for job in self._members(batch, results=False))

    @rescued
    def _members(self, batch: str, *, results: bool = True) -> list[Job]:
        with self._connect() as db:
            rows = db.execute(
                "select * from jobs where batch = ? and batch <> '' order by created, rowid", (batch,)
            )
            return self._jobs(db, rows, result=results)

    @rescued
    def list_children(self, job: str, kind: str = "") -> list[Job]:
        """The runs that work on the crystals of ``job``, in order of submission.

        ``kind`` limits them to one kind.
        """
        with self._connect() as db:
            rows = db.execute(
                "select * from jobs where parent = ? and parent <> '' and ? in ('', "
                "kind) order by created, rowid",
                (job, kind),
            )
            return self._jobs(db, rows)

    def may_change(self, job: Job) -> bool:
        """Whether :attr:`client` may cancel, mark and delete a job."""
        return self.client in ("", job.owner) or not job.owner

    def _check_owner(self, db: sqlite3.Connection, job: str, act: str) -> None:
        if not self.client:
            return
        row = db.execute("select owner from jobs where id = ?", (job,)).fetchone()
        if row and row["owner"] not in ("", self.client):
            raise RequestError(f"This run belongs to another browser, and only that one can {act} it.")

    @rescued
    def cancel(self, job: str) -> None:
        """Ask a running job to stop; a waiting one ends at once.

        Raises:
            RequestError: it belongs to another browser.
        """
        with self._connect() as db:
            self._check_owner(db, job, "cancel")
            # one statement: between two, the worker could take the job, and neither would stop it
            db.execute(
                "update jobs set finished = case state when 'queued' then ? else finished end, "
                "state = case state when 'queued' then 'partial' else 'cancelling' end where id = ? and "
                "state in ('queued', 'running')",
                (time.time(), job),
            )

    @rescued
    def delete(self, job: str) -> None:
        """Forget a job that is over, and what worked on its crystals.

        Raises:
            RequestError: something still works on its crystals, and would be left without the run it belongs
                to; or it, or what worked on its crystals, belongs to another browser.
        """
        live = f"state in ({','.join('?' * len(LIVE))})"
        with self._connect() as db:
            db.execute("begin immediate")
            self._check_owner(db, job, "delete")
            if db.execute(
                "select count(*) from jobs where parent = ? and owner <> '' and ? not in ('', owner)",
                (job, self.client),
            ).fetchone()[0]:
                raise RequestError(
                    "A run of another browser works on the crystals of this one, "
                    "so this one cannot be deleted."
                )
            if db.execute(f"select count(*) from jobs where parent = ? and {live}", (job, *LIVE)).fetchone()[
                0
            ]:
                raise RequestError(
                    "Another run still works on the crystals of this one; cancel that or wait until it is "
                    "done, then delete this one."
                )
            db.execute(f"delete from jobs where (id = ? or parent = ?) and not {live}", (job, job, *LIVE))

    @rescued
    def sweep(self, older_than: float = SWEEP_AFTER) -> int:
        """Remove stored results and paths of no run: deleted runs, earlier states of results.

        After a rescue of the database older ones stay, because they may belong to a row that was lost.

        Returns:
            How many files are gone.
        """
        with self._connect() as db:
            rows = db.execute("select result, trajectories from jobs").fetchall()
        wanted = {row["result"] for row in rows} | {
            name for row in rows for name in blob_names(row["trajectories"])
        }
        with storage_faults(self.home):
            return self.blobs.sweep(wanted, older_than, newer_than=last_rescue(self.home))

    @rescued
    def mark(self, job: str, *, starred: bool | None = None, note: str | None = None) -> None:
        """Star a job or write its note; None leaves either as it is.

        Raises:
            RequestError: the note is too long, or the job belongs to another browser.
        """
        if note is not None and len(note) > MAX_NOTE:
            raise RequestError(f"The note has {len(note)} characters; {MAX_NOTE} fit.")
        with self._connect() as db:
            self._check_owner(db, job, "mark")
            db.execute(
                "update jobs set starred = coalesce(?, starred), note = coalesce(?, note) where id = ?",
                (starred if starred is None else int(starred), note, job),
            )

    # what the worker writes

    @rescued
    def workers_wanted(self) -> list[str]:
        """The devices whose workers have something to do."""
        with self._connect() as db:
            rows = db.execute(
                f"select distinct {DEVICE} as device from jobs where state in "
                f"({','.join('?' * len(LIVE))}) order by device",
                LIVE,
            )
            return [row["device"] for row in rows]

    @rescued
    def take(self, worker: str | None = None) -> Job | None:
        """The next job that waits for the worker of a device (None: of any), now running.

        See :func:`waiting_in_order`.

        A job whose entry is damaged cannot run: it is marked failed, and the next one is taken.
        """
        with self._connect() as db:
            db.execute("begin immediate")
            for name in waiting_in_order(db, worker):
                row, now = db.execute("select * from jobs where id = ?", (name,)).fetchone(), time.time()
                job = read_job(row, self.blobs)
                if not job.damaged:
                    db.execute(
                        "update jobs set state = 'running', started = ? where id = ?", (now, row["id"])
                    )
                    return job
                db.execute(
                    "update jobs set state = 'failed', error = ?, finished = ? where id = ?",
                    (job.error, now, row["id"]),
                )
            return None

    @rescued
    def update(self, job: str, **columns: Any) -> None:
        """Write columns of a job.

        ``snapshot`` inline, ``result`` as a blob, ``trajectory`` appended as a blob.
        """
        with storage_faults(self.home):
            if columns.get("result") is not None:
                columns["result"] = self.blobs.put(columns["result"])
            trajectory = columns.pop("trajectory", None)
            path = None if trajectory is None else self.blobs.put(trajectory)
        if columns.get("snapshot") is not None:
            columns["snapshot"] = json.dumps(columns["snapshot"])
        columns = {k: v for k, v in columns.items() if v is not None}
        if "step" in columns:
            columns["progressed"] = time.time()
        with self._connect() as db:
            # two writers that read the same list of paths would each lose the other's
            db.execute("begin immediate")
            if path is not None:
                row = db.execute("select trajectories from jobs where id = ?", (job,)).fetchone()
                columns["trajectories"] = json.dumps(
                    [*blob_names(row["trajectories"] if row else None), path]
                )
            if columns:
                db.execute(
                    f"update jobs set {', '.join(f'{k} = ?' for k in columns)} where id = ?",
                    (*columns.values(), job),
                )

    @rescued
    def state_of(self, job: str) -> str:
        """Only the state, for the worker's cancel check."""
        with self._connect() as db:
            row = db.execute("select state from jobs where id = ?", (job,)).fetchone()
            return row["state"] if row else "deleted"

    @rescued
    def interrupt_orphans(self, worker: str = "cpu") -> int:
        """Mark jobs that a dead worker left running as interrupted, with what they had finished."""
        with self._connect() as db:
            return db.execute(
                "update jobs set state = 'interrupted', finished = ? where state in ('running', "
                f"'cancelling') and {DEVICE} = ?",
                (time.time(), worker),
            ).rowcount

    @rescued
    def client_seen(self) -> None:
        """A page or command is there: the worker stays."""
        if 0 <= time.time() - self.last_client() < SEEN_SECONDS:
            return  # pages poll often, and every write waits for the disk
        with self._connect() as db:
            db.execute("insert or replace into clients (id, seen) values (1, ?)", (time.time(),))

    @rescued
    def last_client(self) -> float:
        """When a page or command was last there (Unix time); 0 where that cannot be read."""
        with self._connect() as db:
            row = db.execute("select seen from clients where id = 1").fetchone()
            return (moment(row["seen"]) if row else None) or 0.0

    def _jobs(self, db: sqlite3.Connection, rows: Iterable[sqlite3.Row], *, result: bool = True) -> list[Job]:
        rows = [row for row in rows if isinstance(row["id"], str)]  # nothing can be done with any other
        places = places_in_queue(db) if any(row["state"] == "queued" for row in rows) else {}
        return [read_job(row, self.blobs, place=places.get(row["id"], 0), result=result) for row in rows]

    def _connect(self) -> AbstractContextManager[sqlite3.Connection]:
        return connect(self.home)
