"""Whom a worker works for: it ends with the ``crystal-core serve`` that started it, if that is the last one.

Several servers may share one folder, and the worker that one of them started runs the jobs of all.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crystal_core.paths import home_dir, private_folder

# environment variable: the reading end of a pipe that its owner holds open while it lives
OWNER = "CRYSTAL_OWNER"
SERVERS = "servers.lock"  # in the home folder; each server holds a shared lock while it lives


@contextmanager
def serving(home: Path | None = None) -> Iterator[None]:
    """Be one of the servers of a folder; one that cannot be written to has no queue to share."""
    folder, file = home or home_dir(), None
    with suppress(OSError):
        private_folder(folder)
        file = (folder / SERVERS).open("a")
        fcntl.flock(file, fcntl.LOCK_SH)
    try:
        yield
    finally:
        if file is not None:
            file.close()


def owner_pipe() -> int | None:
    """The reading end of the owner's pipe, or None for a process without an owner."""
    text = os.environ.get(OWNER, "")
    try:
        return int(text) if text and stat.S_ISFIFO(os.fstat(int(text)).st_mode) else None
    except (ValueError, OSError):  # inherited from a process that did not hand the pipe on
        return None


def wait_for_the_last(owner: int, home: Path) -> None:
    """Return when the owner has ended, and every other server of the folder."""
    os.read(owner, 1)  # the owner never writes: this returns when its end of the pipe is closed
    with suppress(OSError), (home / SERVERS).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
