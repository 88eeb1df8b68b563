"""Files of a command: read within a size limit; results go to a folder that is made before the work."""

from __future__ import annotations

import os
from pathlib import Path

from crystal_core.errors import RequestError

MAX_BYTES = 20_000_000


def read_text(path: Path) -> str:
    """A text file of at most :data:`MAX_BYTES`.

    Raises:
        RequestError: there is no such file, or it is larger.
    """
    from crystal_core.structures import printable

    name = printable(path.name)
    if not path.is_file():
        raise RequestError(f"There is no file {name}.")
    if path.stat().st_size > MAX_BYTES:
        raise RequestError(f"{name} is larger than {MAX_BYTES // 10**6} MB.")
    return path.read_text(encoding="utf-8", errors="replace")


def make_output_folder(out: Path | None, *, trajectory: bool) -> None:
    """Before the work, because what is finished could not be written after it.

    Raises:
        RequestError: it cannot be made or written to, or paths are wanted without a folder.
    """
    if out is None:
        if trajectory:
            raise RequestError("--trajectory needs a folder to write into; add --out FOLDER.")
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"--out {out.name} cannot be made a folder ({error.strerror}). Choose another.") from None
    if not os.access(out, os.W_OK):
        raise RequestError(f"--out {out.name} cannot be written to. Choose another folder.")
