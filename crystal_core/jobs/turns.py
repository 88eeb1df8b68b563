"""Whose run comes next, and what one browser may leave in the queue and on the disk."""

from __future__ import annotations

import heapq
import sqlite3
from collections import defaultdict, deque
from typing import Any

from crystal_core.errors import RequestError
from crystal_core.jobs.job import blob_names
from crystal_core.jobs.store import BlobStore
from crystal_core.shares import shares

# a row that names no known device belongs to the worker of the CPU: otherwise no worker would ever take it
DEVICE = "case when worker in ('cpu', 'cuda') then worker else 'cpu' end"
# of a damaged row it may be anything
STARTED = "max(case when typeof(started) in ('real', 'integer') then started else 0 end)"


def waiting_in_order(db: sqlite3.Connection, worker: str | None) -> list[str]:
    """Ids of the jobs waiting for a device's worker (None: any), in the order in which it takes them.

    Browsers take turns, and each has its oldest job taken first: twenty runs of one do not keep all others
    waiting. The browser whose last run began longest ago comes first.
    """
    waiting = db.execute(
        f"select id, owner from jobs where state = 'queued' and typeof(id) = 'text' "
        f"and {DEVICE} = coalesce(?, {DEVICE}) order by created, rowid",
        (worker,),
    ).fetchall()
    of_owner: dict[Any, deque[str]] = defaultdict(deque)
    for row in waiting:
        of_owner[row["owner"]].append(row["id"])
    if len(of_owner) < 2:
        return [row["id"] for row in waiting]
    last = dict.fromkeys(of_owner, 0.0)
    for owner in last:
        last[owner] = db.execute(f"select {STARTED} from jobs where owner = ?", (owner,)).fetchone()[0] or 0.0
    # numbers instead of times: a clock that was set back must not change whose turn it is
    turns = [(n, owner) for n, owner in enumerate(sorted(last, key=lambda owner: last[owner]))]
    order: list[str] = []
    while turns:
        _, owner = heapq.heappop(turns)
        order.append(of_owner[owner].popleft())
        if of_owner[owner]:
            heapq.heappush(turns, (len(last) + len(order), owner))
    return order


def places_in_queue(db: sqlite3.Connection) -> dict[str, int]:
    """Id of each waiting job → 1 for the next one of its device, and so on."""
    devices = db.execute(f"select distinct {DEVICE} as device from jobs where state = 'queued'").fetchall()
    return {
        job: place
        for row in devices
        for place, job in enumerate(waiting_in_order(db, row["device"]), start=1)
    }


def check_waiting(db: sqlite3.Connection, owner: str, n: int) -> None:
    """Refuse ``n`` more jobs of a browser where they do not fit beside those that wait.

    Raises:
        RequestError: see above.
    """
    limits = shares()
    own, in_all = db.execute(
        "select coalesce(sum(owner = ?), 0), count(*) from jobs where state = 'queued'", (owner,)
    ).fetchone()
    if own + n > limits.waiting:
        room = (
            "let some finish or cancel them first"
            if own >= limits.waiting
            else f"{limits.waiting - own} more fit"
        )
        raise RequestError(f"{own} runs are waiting already; {room}.")
    if in_all + n > limits.waiting_in_all:
        raise RequestError(
            f"{in_all} runs of all users of this machine are waiting already. Try again when some are done."
        )


def check_stored(db: sqlite3.Connection, owner: str, blobs: BlobStore) -> None:
    """Refuse new jobs of a browser whose results fill its share of the disk; the command line has no share.

    Raises:
        RequestError: see above.
    """
    if not owner:
        return
    limit, names = shares().stored_mb, set()
    for row in db.execute("select result, trajectories from jobs where owner = ?", (owner,)):
        names |= {row["result"], *blob_names(row["trajectories"])} - {None}
    stored = sum(map(blobs.size, names)) / 1e6
    if stored >= limit:
        raise RequestError(
            f"The runs of this browser hold {stored:,.0f} MB, and its share of this machine is {limit:,} MB. "
            "Delete some in History, then try again."
        )
