"""Where things live on disk: checkpoints beside the code, user data in one home folder, raw data sets where told."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def checkpoints_dir() -> Path:
    """Folder of the shipped checkpoints; ``CRYSTAL_CHECKPOINTS`` overrides it."""
    return Path(os.environ.get("CRYSTAL_CHECKPOINTS") or REPOSITORY / "checkpoints")


def home_dir() -> Path:
    """Folder for runs, results and caches; ``CRYSTAL_HOME`` overrides the per-user default."""
    override = os.environ.get("CRYSTAL_HOME")
    if override:
        return Path(override)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "crystal-studio"


def data_dir() -> Path | None:
    """Folder of the raw data sets (``CRYSTAL_DATA``), or None where they are absent."""
    value = os.environ.get("CRYSTAL_DATA")
    return Path(value) if value and Path(value).is_dir() else None


def data_file(path: Path) -> Path:
    """The file itself, or, where a bare name is no file here, the raw data set of that name."""
    folder = data_dir()
    if folder is not None and path.parent == Path() and not path.exists() and (folder / path).is_file():
        return folder / path
    return path
