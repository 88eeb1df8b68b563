"""Read uploaded files: unpack them within limits and parse them in a child process.

The child process also compares and superposes crystals for pages, whose threads cannot have a time limit.
Children are fresh interpreters, never forks of the app; they start when first needed and are reused. Only
JSON crosses the pipe, in both directions. A child that is slow, dies or outgrows its memory is killed and
replaced.
"""

from __future__ import annotations

import atexit
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from crystal_core.errors import StructureParseError
from crystal_core.files.compressed import unpacked
from crystal_core.files.encoding import text_of
from crystal_core.files.names import clean_name, distinct_names
from crystal_core.files.reader_process import ParserPool, ReaderFailed, ReadError
from crystal_core.files.records import cell_json, copies_in_runs
from crystal_core.files.turns import Turns
from crystal_core.shares import shares

if TYPE_CHECKING:
    from pymatgen.core import Structure


ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")  # the second begins an archive without files
MAX_FILE_BYTES = 5_000_000
MAX_UNZIPPED_BYTES = 50_000_000
MAX_FILES = 200
MAX_LISTED = 5000  # entries of an archive, including folders and hidden files
SECONDS_PER_UPLOAD = 30.0  # seconds of reading, without waiting for a free reader
TOO_SLOW = (
    f"The files before this one took longer than {SECONDS_PER_UPLOAD:.0f} s, so it was not read. "
    "Upload it separately."
)
SECONDS_FOR_A_TURN = SECONDS_PER_UPLOAD + 10.0
NO_TURN = "Other uploads of this browser are still being read. Wait until they are done, then try again."
SECONDS_ALONE = 1.0  # an upload that takes longer gets a second reader started for other users


@dataclass(frozen=True, kw_only=True)
class ParsedUpload:
    """One crystal found in an upload, or the sentence why there is none.

    Attributes:
        name: file name as shown to people, with folders where an archive has several files of that name;
            ``#2`` marks the second crystal of one file.
        limitation: why models cannot take this crystal although it can be viewed; None if they can.
        occupancy: of a crystal with shared sites, see :func:`crystal_core.structures.occupancy_of`.
        notes: contradictions between the file and the crystal that was read, as sentences.
        frame: of a trajectory, ``{"index", "of", "energy"?}``, energy in eV; None for a crystal by itself.
        unsettled: the file did not cause the error, so another try may succeed.
    """

    name: str
    structure: Structure | None = None
    error: str | None = None
    limitation: str | None = None
    occupancy: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    frame: Mapping[str, Any] | None = None
    unsettled: bool = False


def parse_uploads(
    files: Sequence[tuple[str, bytes]], *, most: int = MAX_FILES, client: str = ""
) -> list[ParsedUpload]:
    """Every crystal in the uploaded files (zip archives are opened), in order.

    A bad file never loses the others.

    Args:
        files: name and content of each file.
        most: largest number of files that are read.
        client: the browser that sent them, which has few uploads read at once; "" for no limit.
    """
    if not client:
        return _parsed(files, most)
    with _TURNS.of(client, shares().uploads, SECONDS_FOR_A_TURN) as has_turn:
        if has_turn:
            return _parsed(files, most)
        return [ParsedUpload(name=clean_name(name), error=NO_TURN, unsettled=True) for name, _ in files]


def _parsed(files: Sequence[tuple[str, bytes]], most: int) -> list[ParsedUpload]:
    parsed: list[ParsedUpload] = []
    spent = 0.0
    for label, content in _unpacked(files, most):
        if isinstance(content, str):
            parsed.append(ParsedUpload(name=label, error=content))
        elif spent > SECONDS_PER_UPLOAD:
            parsed.append(ParsedUpload(name=label, error=TOO_SLOW))
        else:
            crystals, seconds = _parse_one(label, content)
            parsed.extend(crystals)
            if spent <= SECONDS_ALONE < spent + seconds:
                PARSER.start_spare()
            spent += seconds
    # another try would read the whole slow upload again
    return [replace(item, unsettled=False) for item in parsed] if spent > SECONDS_PER_UPLOAD else parsed


def superposed(structure: Structure, other: Structure) -> Structure | None:
    """:func:`crystal_core.evaluation.alike.superposed` in the child, from any thread.

    None also where that takes too long.
    """
    try:
        answer = PARSER.superpose(cell_json(structure), cell_json(other))
    except StructureParseError:
        return None
    return None if answer["superposed"] is None else _rebuilt(answer["superposed"])


def compared(cell: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
    """Whether two cells of :func:`~crystal_core.files.records.cell_json` are one crystal; thread-safe.

    Returns:
        ``{"matches", "rmsd"}`` by the published matcher, rmsd in units of (V/N)^(1/3); ``matches`` is None
        where it took too long.
    """
    try:
        rmsd = PARSER.match(cell, reference)["rmsd"]
    except StructureParseError:
        return {"matches": None, "rmsd": None}
    return {"matches": rmsd is not None, "rmsd": rmsd}


def _unpacked(files: Sequence[tuple[str, bytes]], most: int) -> Iterator[tuple[str, bytes | str]]:
    """Name and content of each text file, or name and the sentence why it is left out."""
    count, budget = 0, MAX_UNZIPPED_BYTES
    for name, content in files:
        label, is_zip = clean_name(name), content[:4] in ZIP_MARKS
        members = _zip_members(label, content, budget) if is_zip else iter([(label, content)])
        for inner, inner_content in members:
            count += 1
            if count > most:
                yield inner, f"Only the first {most} files are read. Upload the rest separately."
                return
            plain = (
                _decompressed(inner_content, budget) if isinstance(inner_content, bytes) else inner_content
            )
            if isinstance(plain, bytes) and (is_zip or plain is not inner_content):
                budget -= len(plain)
            yield inner, plain


def _decompressed(content: bytes, budget: int) -> bytes | str:
    """The content of a file, unpacked where it is packed by itself, or why it is not read."""
    try:
        data = unpacked(content, MAX_FILE_BYTES)
    except StructureParseError as error:
        return str(error)
    if len(data) > MAX_FILE_BYTES:
        return f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB. Give one crystal per file."
    if data is not content and len(data) > budget:
        return (
            f"The upload holds more than {MAX_UNZIPPED_BYTES // 1_000_000} MB when "
            "unpacked. Upload it in parts."
        )
    return data


def _zip_members(name: str, content: bytes, budget: int) -> Iterator[tuple[str, bytes | str]]:
    limit = f"{MAX_UNZIPPED_BYTES // 1_000_000} MB"
    # before the listing is read, which takes seconds of the app's time
    if content.count(b"PK\x01\x02") > MAX_LISTED:
        yield name, f"The archive lists more than {MAX_LISTED:,} files. Pack fewer into one."
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not _is_hidden(m.filename)]
            if not members:
                yield name, "The archive holds no files."
                return
            copies = copies_in_runs(member.filename for member in members)
            members = [member for member in members if member.filename not in copies]
            if sum(m.file_size for m in members) > budget:
                yield name, f"The archive holds more than {limit} when unpacked. Upload it in parts."
                return
            labels = distinct_names([member.filename for member in members])
            for label, member in zip(labels, members, strict=True):
                if member.flag_bits & 1:
                    yield label, "The file is protected by a password. Upload it without."
                    continue
                with archive.open(member) as handle:
                    # the declared size may lie: never unpack more than one byte past the limit
                    data = handle.read(min(MAX_FILE_BYTES, budget) + 1)
                budget -= len(data)
                if budget < 0:
                    yield name, f"The archive holds more than {limit} when unpacked. Upload it in parts."
                    return
                if data[:4] in ZIP_MARKS:
                    yield label, "An archive inside an archive is not opened. Upload it directly."
                    continue
                yield label, data
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError):
        yield name, "The archive is damaged or of an unusual kind. Pack it again as an ordinary zip."


def _is_hidden(path: str) -> bool:
    parts = (part for part in PurePosixPath(path).parts if part != "..")
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def _parse_one(name: str, content: bytes) -> tuple[list[ParsedUpload], float]:
    """The contents of a file, and the seconds that a child spent on it."""
    try:
        answer = PARSER.ask(text_of(content))
    except StructureParseError as error:
        seconds = error.seconds if isinstance(error, ReadError) else 0.0
        return [ParsedUpload(name=name, error=str(error), unsettled=isinstance(error, ReaderFailed))], seconds
    crystals = answer["crystals"]
    names = [name] if len(crystals) == 1 else [f"{name} #{i + 1}" for i in range(len(crystals))]
    read = [
        ParsedUpload(name=label, error=crystal["error"])
        if "error" in crystal
        else ParsedUpload(
            name=label,
            structure=_rebuilt(crystal),
            limitation=crystal.get("limitation"),
            occupancy=crystal.get("occupancy"),
            notes=tuple(crystal.get("notes") or ()),
            frame=crystal.get("frame"),
        )
        for label, crystal in zip(names, crystals, strict=True)
    ]
    return read, float(answer.get("seconds", 0.0))


def _rebuilt(crystal: dict[str, Any]) -> Structure:
    from pymatgen.core import Lattice, Structure

    structure = Structure(Lattice(crystal["lattice"]), crystal["atomic_numbers"], crystal["frac_coords"])
    if crystal.get("limitation"):
        structure.properties["limitation"] = crystal["limitation"]
    if crystal.get("notes"):
        structure.properties["notes"] = list(crystal["notes"])
    if crystal.get("site_values"):
        structure.properties["site_values"] = crystal["site_values"]
    return structure


PARSER = ParserPool()
_TURNS = Turns()
atexit.register(PARSER.close)
