"""Files of a command: read within a size limit; results go to a folder that is made before the work."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from crystal_core.cli._run import say
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.interruption import is_interrupted

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.files.parse import Purpose

MAX_BYTES = 20_000_000


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """A text file of at most ``most`` bytes in any encoding of :mod:`crystal_core.files.encoding`, or packed.

    Raises:
        RequestError: there is no such file, it is larger, or it may not be read.
    """
    from crystal_core.files.compressed import unpacked
    from crystal_core.files.encoding import text_of
    from crystal_core.structures import printable

    name = printable(path.name)
    try:
        if path.is_dir():
            raise RequestError(f"{printable(str(path))} is a folder; name the files in it.")
        if not path.is_file():
            raise RequestError(f"There is no file {name}.")
        if path.stat().st_size > most:
            raise RequestError(f"{name} is larger than {most // 10**6} MB.")
        content = unpacked(path.read_bytes(), most)
    except OSError as error:
        raise RequestError(f"{name} cannot be read ({error.strerror}).") from None
    except StructureParseError as error:
        raise StructureParseError(f"{name}: {error}") from None
    if len(content) > most:
        raise RequestError(f"{name} is larger than {most // 10**6} MB when unpacked.")
    return text_of(content)


def make_output_folder(out: Path | None, *, trajectory: bool, option: str = "--out") -> None:
    """Make the folder before the work starts, so that a failure to write costs no results.

    Args:
        option: that named it.

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
        raise RequestError(
            f"{option} {out.name} cannot be made a folder ({error.strerror}). Choose another."
        ) from None
    if not os.access(out, os.W_OK):
        raise RequestError(f"{option} {out.name} cannot be written to. Choose another folder.")


@contextmanager
def trials_folder(out: Path | None) -> Iterator[Path]:
    """The folder of finished trials; where it is None, one that only an interruption leaves behind.

    Raises:
        RequestError: as :func:`make_output_folder`.
    """
    make_output_folder(out, trajectory=False)
    if out is not None:
        yield out
        return
    folder = Path(tempfile.mkdtemp(prefix="crystal-trials-"))
    try:
        yield folder
    finally:
        if is_interrupted() and any(folder.iterdir()):
            say(f"What is finished is in {folder}; the same call with --out {folder} continues from it.")
        else:
            shutil.rmtree(folder)


def check_output(file: Path, option: str = "--output") -> None:
    """Before the work, because the file could not be written after it.

    Args:
        option: that named it.

    Raises:
        RequestError: it is a folder, or its folder is missing or may not be written to.
    """
    if file.is_dir():
        raise RequestError(f"{option} {file.name} is a folder; name a file in it.")
    if not file.parent.is_dir():
        raise RequestError(f"{option} {file}: there is no folder {file.parent}. Make it first.")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise RequestError(f"{option} {file.name} cannot be written. Choose another place.")


def read_files(paths: Sequence[Path], *, purpose: Purpose = "model") -> list[tuple[str, Structure | str]]:
    """:func:`read_crystals` of several files; folders tell files of the same name apart."""
    from crystal_core.files.names import distinct_names

    names = distinct_names([str(path) for path in paths])
    return [
        item
        for path, name in zip(paths, names, strict=True)
        for item in read_crystals(path, purpose=purpose, name=name)
    ]


def read_crystals(
    path: Path, *, purpose: Purpose = "model", name: str = ""
) -> list[tuple[str, Structure | str]]:
    """Name and crystal, or name and error sentence, of each entry of a file; ``#2`` marks a second one.

    Args:
        name: of the file in the answer; its own where empty.
    """
    from crystal_core.structures import printable

    name = printable(name or path.name)
    try:
        crystals = _parsed(path, purpose, name)
    except RequestError as error:
        return [(name, str(error))]
    names = [name] if len(crystals) == 1 else [f"{name} #{i}" for i in range(1, len(crystals) + 1)]
    return [
        (label, str(one) if isinstance(one, RequestError) else one)
        for label, one in zip(names, crystals, strict=True)
    ]


def read_crystal(path: Path) -> Structure:
    """The first crystal of a file, as models take it; tells on stderr what of the file it does not hold.

    Its ``properties["notes"]`` are the sentences that were told, each with the name of the file.

    Raises:
        RequestError: what is wrong with the file or the crystal.
    """
    from crystal_core.structures import printable

    first, *others = _parsed(path, "model", path.name)
    if isinstance(first, RequestError):
        raise first
    notes = [*first.properties.get("notes", ())]
    notes += [f"The file holds {len(others) + 1} crystals; the first one is used."] if others else []
    notes = [f"{printable(path.name)}: {note}" for note in notes]
    for note in notes:
        say(note)
    first.properties["notes"] = notes
    return first


def _parsed(path: Path, purpose: Purpose, name: str) -> list[Structure | StructureParseError]:
    """Everything in a file, within the size and the time of an upload."""
    from crystal_core.evaluation.parallel import time_limit
    from crystal_core.files.parse import parse_each
    from crystal_core.files.reader_process import SECONDS_PER_FILE
    from crystal_core.files.uploads import MAX_FILE_BYTES
    from crystal_core.structures import printable

    text = read_text(path, MAX_FILE_BYTES)
    try:
        with time_limit(SECONDS_PER_FILE):
            return parse_each(text, name, purpose=purpose)
    except TimeoutError:
        raise RequestError(
            f"{printable(path.name)}: Reading took longer than {SECONDS_PER_FILE:g} s and was stopped. "
            "Use a smaller or simpler cell."
        ) from None
