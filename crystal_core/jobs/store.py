"""Content-addressed JSON files named by their SHA-256, so that damage is always recognised."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
import time
import zlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

NAME = re.compile(r"[0-9a-f]{64}")
PART = ".part"  # a file that is being written; left behind only by a process that was killed meanwhile


class BlobStore:
    """JSON values under ``folder``, named by their content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, value: Any) -> str:
        """Store a value and return its name (64 hex digits).

        A damaged file of the same name is written again.
        """
        text = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
        name = hashlib.sha256(text).hexdigest()
        path = self._path(name)
        if self._text(name) is not None:
            with suppress(FileNotFoundError):  # a sweep removes it at this moment: it is written again
                os.utime(path)  # a new time stamp keeps a sweep away until a run refers to the file
                return name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, suffix=PART)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(gzip.compress(text, 5, mtime=0))
                file.flush()
                # before the rename: after a power cut the name would otherwise stand for an empty file
                os.fsync(file.fileno())
            _put_in_place(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return name

    def get(self, name: str | None) -> Any:
        """The value of that name; None where there is none, or where its file is damaged."""
        text = self._text(name) if name else None
        return None if text is None else json.loads(text)

    def stamp(self, name: str | None) -> str:
        """A word that changes whenever the file of that name does; empty without a name.

        The file is not read.
        """
        if not name:
            return ""
        try:
            about = self._path(str(name)).stat()
        except (OSError, ValueError):
            return f"{name} missing"
        return f"{name} {about.st_size} {about.st_mtime_ns}"

    def size(self, name: str) -> int:
        """Bytes of the file of that name; 0 where there is none."""
        try:
            return self._path(str(name)).stat().st_size
        except (OSError, ValueError):
            return 0

    def get_later(self, names: Sequence[str]) -> StoredValues:
        """The values of these names, read when first looked at; missing and damaged ones are left out."""
        return StoredValues(self, names)

    def sweep(self, wanted: Collection[str], older_than: float, newer_than: float = 0.0) -> int:
        """Remove the values that are not ``wanted``, and unfinished files; returns how many.

        Args:
            older_than: seconds since they were put; later ones stay.
            newer_than: Unix time; earlier ones stay.
        """
        removed, limit = 0, time.time() - older_than
        # earlier versions gave the files that they were writing the names of tempfile
        unfinished = [*self.folder.glob(f"??/*{PART}"), *self.folder.glob("??/tmp????????")]
        for path in [*self.folder.glob("??/*.json.gz"), *unfinished]:
            with suppress(FileNotFoundError):  # another process sweeps, too
                about = path.lstat()
                is_old = newer_than <= about.st_mtime < limit
                if path.name.removesuffix(".json.gz") in wanted or not is_old or stat.S_ISDIR(about.st_mode):
                    continue
                path.unlink()
                removed += 1
        return removed

    def _text(self, name: str) -> bytes | None:
        """The JSON text of a value; None where its file is missing, unreadable or holds anything else."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return None
        try:
            text = gzip.decompress(_content(self._path(name)))
        except (OSError, EOFError, zlib.error):
            return None
        return text if hashlib.sha256(text).hexdigest() == name else None

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.json.gz"


class StoredValues(Sequence[Any]):
    """Values of a store, read when first needed: a page polls a run more often than it draws paths."""

    def __init__(self, store: BlobStore, names: Sequence[str]) -> None:
        self.store, self.names = store, tuple(names)

    @property
    def n_lost(self) -> int:
        """How many values are left out because their files are missing or damaged."""
        return len(self.names) - len(self)

    @cached_property
    def _values(self) -> list[Any]:
        return [value for name in self.names if (value := self.store.get(name)) is not None]

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)


def _content(path: Path) -> bytes:
    """The bytes of a plain file.

    Raises:
        OSError: there is none, or a folder, a link, a pipe or a device lies in its place; reading
            these may never end.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "no plain file", str(path))
        return file.read()


def _put_in_place(part: str, path: Path) -> None:
    """Give a file its name; a folder that lies in its place is kept under another name."""
    try:
        os.replace(part, path)
    except IsADirectoryError:
        path.rename(path.with_name(f"{path.name}-{secrets.token_hex(4)}"))
        os.replace(part, path)


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
