"""Content-addressed JSON files: the name is the SHA-256 of the content, so nothing is written twice or half."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any


class BlobStore:
    """JSON values under ``folder``, named by their content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, value: Any) -> str:
        """Store a value; returns its name (64 hex digits)."""
        text = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
        name = hashlib.sha256(text).hexdigest()
        path = self._path(name)
        try:
            os.utime(path)  # young again, so that no sweep takes it before somebody refers to it
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(gzip.compress(text, 5, mtime=0))
            os.replace(part, path)
        return name

    def get(self, name: str | None) -> Any:
        """The value of that name, or None if there is none."""
        if not name:
            return None
        try:
            return json.loads(gzip.decompress(self._path(name).read_bytes()))
        except FileNotFoundError:
            return None

    def get_later(self, names: Sequence[str]) -> StoredValues:
        """The values of these names, read when first looked at; missing ones are left out."""
        return StoredValues(self, names)

    def sweep(self, wanted: Collection[str], older_than: float) -> int:
        """Remove the values that are not ``wanted`` and were put ``older_than`` seconds ago or earlier; returns how many."""
        removed, limit = 0, time.time() - older_than
        for path in self.folder.glob("??/*.json.gz"):
            with suppress(FileNotFoundError):  # another process sweeps, too
                if path.name.removesuffix(".json.gz") not in wanted and path.stat().st_mtime < limit:
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.json.gz"


class StoredValues(Sequence[Any]):
    """Values of a store that are read together when the first is looked at: a page polls a run more often than it draws its paths."""

    def __init__(self, store: BlobStore, names: Sequence[str]) -> None:
        self.store, self.names = store, tuple(names)

    @cached_property
    def _values(self) -> list[Any]:
        return [value for name in self.names if (value := self.store.get(name)) is not None]

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)
