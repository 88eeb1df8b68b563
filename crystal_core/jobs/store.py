"""Content-addressed JSON files: the name is the SHA-256 of the content, so nothing is written twice or half."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
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
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(gzip.compress(text, 5, mtime=0))
            os.replace(part, path)
        return name

    def get(self, name: str | None) -> Any:
        """The value of that name, or None if there is none."""
        if not name or not self._path(name).is_file():
            return None
        return json.loads(gzip.decompress(self._path(name).read_bytes()))

    def get_later(self, names: Sequence[str]) -> StoredValues:
        """The values of these names, read when first looked at; missing ones are left out."""
        return StoredValues(self, names)

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
