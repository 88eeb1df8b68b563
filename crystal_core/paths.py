"""Locations on disk: checkpoints beside the code, one home folder, raw data where configured."""

from __future__ import annotations

import os
import stat
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SERVER = REPOSITORY / "pages" / "_ui" / "server.py"  # the app behind its access guard, for `streamlit run`
OTHERS = stat.S_IRWXG | stat.S_IRWXO  # what group and others may do


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


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may read; an existing one of this account is closed to others.

    A folder of another account stays as it is, and so does a shared one with the sticky bit, such as /tmp.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = path.stat()
    if about.st_uid == os.geteuid() and about.st_mode & OTHERS and not about.st_mode & stat.S_ISVTX:
        path.chmod(0o700)


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
