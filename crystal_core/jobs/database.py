"""The SQLite file of the queue: tables, faults as sentences, rescue of runs from damaged pages."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from crystal_core.errors import StorageFault

P = ParamSpec("P")
R = TypeVar("R")
FILE = "jobs.sqlite3"
SET_ASIDE = "jobs-damaged-*.sqlite3"  # copies of damaged files
LOCK_SECONDS = 20.0
# version of SCHEMA, raised with every change; not small, as other programs' files have
VERSION = 20_261_130
# columns of later versions: added to earlier files, whose runs keep their data
ADDED = {
    "starred": "integer not null default 0",
    "note": "text not null default ''",
    "batch": "text not null default ''",
    "parent": "text not null default ''",
    "exit_code": "integer not null default 1",
    "worker": "text not null default 'cpu'",
    "text": "text not null default ''",
    "owner": "text not null default ''",
    "progressed": "real",
}
SCHEMA = f"""
create table if not exists jobs (
    id text primary key, kind text not null, request text not null, state text not null,
    created real not null, started real, finished real, stage text default '',
    step integer default 0, n_steps integer default 0,
    error text, snapshot text, result text, trajectories text default '[]',
    {", ".join(f"{name} {kind}" for name, kind in ADDED.items())});
create index if not exists by_state on jobs (state, created);
create table if not exists clients (id integer primary key, seen real);
"""
BY_OWNER = "create index if not exists by_owner on jobs (owner, started)"  # after the columns that it needs
BASIC = tuple(
    "id kind request state created started finished stage step n_steps error snapshot result "
    "trajectories".split()
)
ALL_LOST = (
    "The database of runs was damaged beyond repair, so its runs are no longer listed. It is kept as {copy}, "
    "and the results stay in the folder store beside it. Delete this line when you have read it."
)
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
SPARE_BYTES = 1_000_000  # with less free space, an unnamed disk fault counts as a full disk


class HasHome(Protocol):
    """Anything that works on the database of a home folder."""

    home: Path


@contextmanager
def connect(home: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose open transaction is committed at the end of the block and rolled back by an error.

    Raises:
        StorageFault: the file is locked or cannot be written. A damaged file raises
            ``sqlite3.DatabaseError``.
    """
    with storage_faults(home), closing(_open(home / FILE)) as db:
        yield db
        if db.in_transaction:
            db.execute("commit")


def prepare(home: Path) -> None:
    """Make the tables, and add the columns that the file of an earlier version lacks.

    Nothing where that was done before.
    """
    with connect(home) as db:
        version = db.execute("pragma user_version").fetchone()[0]
        if version == VERSION:
            return  # pages ask many times a second, and each of the statements below takes a lock
        if version > VERSION:
            _check_newer(home, db)
            return
        db.execute("pragma journal_mode = wal")  # the file keeps this mode
        db.executescript(SCHEMA)
        present = {row["name"] for row in db.execute("pragma table_info(jobs)")}
        for column in ADDED.keys() - present:
            with suppress(sqlite3.OperationalError):  # another process added it in between
                db.execute(f"alter table jobs add column {column} {ADDED[column]}")
        db.execute(BY_OWNER)
        # last: a process killed before this line migrates again
        db.execute(f"pragma user_version = {VERSION}")


def _check_newer(home: Path, db: sqlite3.Connection) -> None:
    """Raise StorageFault unless a file of a newer version takes the rows that this one writes."""
    columns = {row["name"]: row for row in db.execute("pragma table_info(jobs)")}
    own = {*BASIC, *ADDED}
    needed = {name for name, row in columns.items() if row["notnull"] and row["dflt_value"] is None}
    if not own <= columns.keys() or not needed <= own:
        raise StorageFault(
            f"The database of runs in {home} was made by a newer version of this program. "
            "Update this one, or name another folder of runs in CRYSTAL_HOME."
        )


@contextmanager
def storage_faults(home: Path) -> Iterator[None]:
    """Turn what a disk, a folder or a lock refuses in the block into one sentence.

    Raises:
        StorageFault: see above.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if sentence := _sentence(home, code=getattr(error, "sqlite_errorcode", 0) & 0xFF):
            raise StorageFault(sentence) from error
        raise
    except OSError as error:
        if sentence := _sentence(home, number=error.errno, path=error.filename):
            raise StorageFault(sentence) from error
        raise


def _sentence(home: Path, code: int = 0, number: int | None = 0, path: object = None) -> str:
    """A fault as a sentence for the user; empty for one of another kind."""
    if code in BUSY:
        return (
            f"Another program has locked the database of runs in {home} for {LOCK_SECONDS:.0f} s. "
            "Close that program or wait, then try again."
        )
    unnamed = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
    if code == sqlite3.SQLITE_FULL or number in FULL or (unnamed and _free(home) < SPARE_BYTES):
        return (
            f"The disk that holds {home} is full. Free some space and try again; finished results are kept."
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) or number in NOT_WRITABLE:
        return (
            f"The folder of runs, {home}, cannot be written. "
            "Make it writable for your account, or name another folder in CRYSTAL_HOME."
        )
    if code == sqlite3.SQLITE_IOERR or number == errno.EIO:
        return f"The disk that holds {home} reports an error. Check the disk and try again."
    return _sentence_of_folder(home, number, path) if number else ""


def _sentence_of_folder(home: Path, number: int, path: object) -> str:
    name = f": {Path(str(path)).name}" if path else ""
    if number in (errno.EEXIST, errno.ENOTDIR) and not home.is_dir():
        return f"{home} is not a folder. Name the folder of runs in CRYSTAL_HOME."
    if number == errno.EISDIR:
        return f"A folder lies in {home} where a file belongs{name}. Move it away and try again."
    if number in (errno.EEXIST, errno.ENOTDIR):
        return f"A file lies in {home} where a folder belongs{name}. Move it away and try again."
    why = os.strerror(number).lower()
    return f"The folder of runs, {home}, cannot be used ({why}{name}). Check it and try again."


def _free(home: Path) -> int:
    try:
        return shutil.disk_usage(home).free
    except OSError:
        return SPARE_BYTES


def rescued(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """Repeat a method once where it meets a damaged database, after :func:`rescue`."""

    @functools.wraps(method)
    def repeated(queue: HasHome, *args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(2):
            try:
                return method(queue, *args, **kwargs)
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in DAMAGED:
                    raise
                rescue(queue.home)
        raise StorageFault(
            f"The database of runs in {queue.home} is damaged and could not be repaired. "
            f"Move {FILE} out of that folder and start again; the results in the folder store are kept."
        )

    return repeated


def rescue(home: Path) -> None:
    """Replace a damaged database by one with every row that can still be read.

    Nothing where the file is whole.

    A row that cannot be read keeps its id and becomes a run without settings, which every list shows as
    damaged. The damaged file is kept beside the new one; as long as it lies there, no sweep takes the results
    of lost rows.
    """
    path = home / FILE
    with storage_faults(home), (home / "rescue.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_whole(path):  # another process has been here
            return
        copy = _set_aside(path)
        rows, lost = _readable(path)
        handle, name = tempfile.mkstemp(dir=home, prefix="rescue-", suffix=".part")
        os.close(handle)
        part = Path(name)
        try:
            _write(part, rows, lost, ALL_LOST.format(copy=copy.name) if not rows and not lost else "")
            _put_in_place(part, path)
        finally:
            part.unlink(missing_ok=True)


def last_rescue(home: Path) -> float:
    """When a damaged file was last set aside (Unix time); 0 where none lies in the folder."""
    return max((path.stat().st_mtime for path in home.glob(SET_ASIDE)), default=0.0)


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    db.row_factory = sqlite3.Row
    # the default raises on a text that is not UTF-8, and one such row would hide all others
    db.text_factory = lambda content: content.decode("utf-8", "replace")
    return db


def _is_whole(path: Path) -> bool:
    try:
        with closing(_open(path)) as db:
            return bool(db.execute("pragma integrity_check(1)").fetchone()[0] == "ok")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return False


def _set_aside(path: Path) -> Path:
    copy = path.with_name(f"jobs-damaged-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}.sqlite3")
    for end in ("", "-wal"):
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{path}{end}", f"{copy}{end}")
    return copy


def _readable(path: Path) -> tuple[list[sqlite3.Row], list[tuple[str, float]]]:
    """The readable rows; of the others id and creation time, as far as the indices hold them."""
    with closing(_open(path)) as db:
        ids: dict[int, str] = {}
        created: dict[int, float] = {}
        for order in ("asc", "desc"):  # from both ends, up to the damaged page
            table = f"select rowid, id from jobs order by rowid {order}"
            names = f"select rowid, id from jobs indexed by sqlite_autoindex_jobs_1 order by id {order}"
            times = (
                "select rowid, created from jobs indexed by by_state where state is not null "
                f"order by state {order}, created {order}"
            )
            for entries, command in ((ids, table), (ids, names), (created, times)):
                entries.update((row[0], row[1]) for row in _tolerant(db, command))
        rows, lost = [], []
        for rowid in sorted(ids.keys() | created.keys()):
            if row := _tolerant(db, "select * from jobs where rowid = ?", rowid):
                rows.extend(row)
            else:
                lost.append((ids.get(rowid) or secrets.token_hex(16), created.get(rowid, 0.0)))
        return rows, lost


def _tolerant(db: sqlite3.Connection, command: str, *values: Any) -> list[sqlite3.Row]:
    """The rows of a query up to the first that cannot be read."""
    rows: list[sqlite3.Row] = []
    with suppress(sqlite3.DatabaseError):
        for row in db.execute(command, values):
            rows.append(row)  # noqa: PERF402 (the rows before an error are wanted)
    return rows


def _write(path: Path, rows: list[sqlite3.Row], lost: list[tuple[str, float]], all_lost: str) -> None:
    """A new database with these rows, and one without settings for each lost one."""
    entry = (
        "insert or ignore into jobs (id, kind, request, state, created, error) values (?, '', '', ?, ?, ?)"
    )
    with closing(_open(path)) as db:
        db.executescript(SCHEMA)
        db.execute("begin")
        for row in rows:
            columns = row.keys()
            db.execute(
                f"insert or ignore into jobs ({', '.join(columns)}) values ({', '.join('?' * len(columns))})",
                tuple(row),
            )
        db.executemany(entry, [(name, "failed", created, None) for name, created in lost])
        if all_lost:
            db.execute(entry, (secrets.token_hex(16), "failed", time.time(), all_lost))
        db.execute("commit")


def _put_in_place(part: Path, path: Path) -> None:
    """Copy one database over another within a transaction, which other processes see as any other change."""
    try:
        with closing(_open(part)) as source, closing(_open(path)) as target:
            source.backup(target)
    except sqlite3.DatabaseError:
        # a file whose first page is damaged takes no transaction, and nobody else can have it open
        for end in ("-wal", "-shm"):
            Path(f"{path}{end}").unlink(missing_ok=True)
        os.replace(part, path)
