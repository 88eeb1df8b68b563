"""The order of waiting runs, and the share of queue and disk that one browser may use."""

from __future__ import annotations

import heapq
import sqlite3
from collections import defaultdict, deque
from typing import Any

from crystal_core.errors import RequestError
from crystal_core.jobs.job import blob_names
from crystal_core.jobs.store import BlobStore
from crystal_core.shares import shares

# rows with an unknown device go to the CPU's worker; otherwise no worker would ever run them
DEVICE = "case when worker in ('cpu', 'cuda') then worker else 'cpu' end"
# a damaged row may hold text or a blob here
STARTED = "max(case when typeof(started) in ('real', 'integer') then started else 0 end)"


def waiting_in_order(db: sqlite3.Connection, worker: str | None) -> list[str]:
    """Ids of the jobs that wait for the worker of a device (None: any device), in the order of their start.

    Browsers take turns, so that twenty runs of one browser do not block the others. The browser whose last
    run started longest ago is first; within a browser the oldest job is first.
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
    # ranks instead of times: a clock that is set back must not change the order
    turns = [(n, owner) for n, owner in enumerate(sorted(last, key=lambda owner: last[owner]))]
    order: list[str] = []
    while turns:
        _, owner = heapq.heappop(turns)
        order.append(of_owner[owner].popleft())
        if of_owner[owner]:
            heapq.heappush(turns, (len(last) + len(order), owner))
    return order


def places_in_queue(db: sqlite3.Connection) -> dict[str, int]:
    """Id of each waiting job → its place in the queue of its device, from 1."""
    devices = db.execute(f"select distinct {DEVICE} as device from jobs where state = 'queued'").fetchall()
    return {
        job: place
        for row in devices
        for place, job in enumerate(waiting_in_order(db, row["device"]), start=1)
    }


def check_waiting(db: sqlite3.Connection, owner: str, n: int) -> None:
    """Check that a browser may add ``n`` jobs to the queue.

    Raises:
        RequestError: its own limit or that of all browsers would be exceeded.
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
    """Check that the results of a browser leave room in its share of the disk; the command line has no limit.

    Raises:
        RequestError: they fill the share.
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
