"""Content-addressed JSON files: the name is the SHA-256 of the content, so nothing is written twice or half."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
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

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.json.gz"
