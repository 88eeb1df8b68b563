"""Files from strangers: unpacked within limits here, parsed in a child process that may hang or die without harm.

It also compares crystals and lays them over each other for pages, whose threads know no time limit. The child is a fresh interpreter (never a
fork of the app) that is started when first needed and reused. Both ways only plain JSON crosses the pipe. A child that is slow, dies or outgrows its memory is killed and replaced.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import selectors
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from crystal_core.errors import StructureParseError
from crystal_core.files.encoding import text_of
from crystal_core.files.records import cell_json
from crystal_core.paths import REPOSITORY

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import Cell

MAX_FILE_BYTES = 5_000_000
MAX_UNZIPPED_BYTES = 50_000_000
MAX_FILES = 200
SECONDS_PER_FILE = 10.0
SECONDS_TO_START = 120.0
MEMORY_BYTES = 2_000_000_000


class ReaderFailed(StructureParseError):
    """The child was too slow, too large or gone: the same file may be read the next time."""


@dataclass(frozen=True, kw_only=True)
class ParsedUpload:
    """One crystal found in an upload, or the sentence why there is none.

    Attributes:
        name: file name as shown to people; ``#2`` marks the second crystal of one file.
        limitation: why models cannot take this crystal although it can be viewed; None if they can.
        occupancy: of a crystal with shared sites, see :func:`crystal_core.structures.occupancy_of`.
        notes: what in the file does not fit what was read, as sentences.
        frame: of a trajectory, ``{"index", "of", "energy"?}``, energy in eV; None for a crystal by itself.
        unsettled: the error is none of the file, which may be read the next time.
    """

    name: str
    structure: Structure | None = None
    error: str | None = None
    limitation: str | None = None
    occupancy: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    frame: Mapping[str, Any] | None = None
    unsettled: bool = False


def parse_uploads(files: Sequence[tuple[str, bytes]], *, most: int = MAX_FILES) -> list[ParsedUpload]:
    """Every crystal in the uploaded files (zip archives are opened), in order; a bad file never loses the others.

    Args:
        files: name and content of each file. most: files that are read.
    """
    found: list[ParsedUpload] = []
    for name, content in _unpacked(files, most):
        shown = clean_name(name)
        if isinstance(content, str):
            found.append(ParsedUpload(name=shown, error=content))
        else:
            found.extend(_parse_one(shown, content))
    return found


def superposed(structure: Structure, other: Structure) -> Structure | None:
    """:func:`crystal_core.evaluation.alike.superposed` in the child, from any thread; None also where that takes too long."""
    try:
        answer = _PARSER.superpose(cell_json(structure), cell_json(other))
    except StructureParseError:
        return None
    return None if answer["superposed"] is None else _rebuilt(answer["superposed"])


def compared(cell: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
    """Whether two cells of :func:`~crystal_core.files.records.cell_json` are one crystal, told by the child, from any thread.

    Returns:
        ``{"matches", "rmsd"}`` by the published matcher, rmsd in units of (V/N)^(1/3); ``matches`` is None where it took too long.
    """
    try:
        rmsd = _PARSER.match(cell, reference)["rmsd"]
    except StructureParseError:
        return {"matches": None, "rmsd": None}
    return {"matches": rmsd is not None, "rmsd": rmsd}


def clean_name(name: str) -> str:
    """The last part of a file name on one line, without control characters, at most 80 characters."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return "".join(ch for ch in last if ch.isprintable())[:80] or "unnamed"


def _unpacked(files: Sequence[tuple[str, bytes]], most: int) -> Iterator[tuple[str, bytes | str]]:
    """Name and content of each text file, or name and the sentence why it is left out."""
    count, budget = 0, MAX_UNZIPPED_BYTES
    for name, content in files:
        members = (
            _zip_members(name, content, budget) if content[:4] == b"PK\x03\x04" else iter([(name, content)])
        )
        for inner, inner_content in members:
            count += 1
            if count > most:
                yield inner, f"Only the first {most} files are read. Upload the rest separately."
                return
            if isinstance(inner_content, bytes):
                budget -= len(inner_content) if inner != name else 0
                if len(inner_content) > MAX_FILE_BYTES:
                    yield (
                        inner,
                        f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB. Give one crystal per file.",
                    )
                    continue
            yield inner, inner_content


def _zip_members(name: str, content: bytes, budget: int) -> Iterator[tuple[str, bytes | str]]:
    limit = f"{MAX_UNZIPPED_BYTES // 1_000_000} MB"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not _is_hidden(m.filename)]
            if not members:
                yield name, "The archive holds no files."
                return
            if sum(m.file_size for m in members) > budget:
                yield name, f"The archive holds more than {limit} when unpacked. Upload it in parts."
                return
            for member in members:
                if member.flag_bits & 1:
                    yield member.filename, "The file is protected by a password. Upload it without."
                    continue
                with archive.open(member) as handle:
                    # the declared size may lie: never unpack more than one byte past the limit
                    data = handle.read(min(MAX_FILE_BYTES, budget) + 1)
                budget -= len(data)
                if budget < 0:
                    yield name, f"The archive holds more than {limit} when unpacked. Upload it in parts."
                    return
                if data[:4] == b"PK\x03\x04":
                    yield member.filename, "An archive inside an archive is not opened. Upload it directly."
                    continue
                yield member.filename, data
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError):
        yield name, "The archive is damaged or of an unusual kind. Pack it again as an ordinary zip."


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(path).parts)


def _parse_one(name: str, content: bytes) -> list[ParsedUpload]:
    try:
        answer = _PARSER.ask(text_of(content))
    except StructureParseError as error:
        return [ParsedUpload(name=name, error=str(error), unsettled=isinstance(error, ReaderFailed))]
    crystals = answer["crystals"]
    names = [name] if len(crystals) == 1 else [f"{name} #{i + 1}" for i in range(len(crystals))]
    return [
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


def _rebuilt(crystal: dict[str, Any]) -> Structure:
    from pymatgen.core import Lattice, Structure

    structure = Structure(Lattice(crystal["lattice"]), crystal["atomic_numbers"], crystal["frac_coords"])
    if crystal.get("limitation"):
        structure.properties["limitation"] = crystal["limitation"]
    if crystal.get("notes"):
        structure.properties["notes"] = list(crystal["notes"])
    return structure


class ParserProcess:
    """The child that parses, compares and superposes, one thing at a time; safe to call from several threads.

    Args:
        seconds: time of one file or pair. memory: bytes that the child may use.
        seconds_to_start: how long a call waits for a child that is still importing its libraries.
        command: program and arguments of the child, which gets ``memory`` and ``seconds`` as two more.
    """

    def __init__(
        self,
        *,
        seconds: float = SECONDS_PER_FILE,
        memory: int = MEMORY_BYTES,
        seconds_to_start: float = SECONDS_TO_START,
        command: Sequence[str] = (sys.executable, "-m", "crystal_core.files.upload_child"),
    ) -> None:
        self._seconds, self._memory = seconds, memory
        self._seconds_to_start, self._command = seconds_to_start, tuple(command)
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """Process id of the running child, or None before the first file and after a kill."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def ask(self, text: str) -> dict[str, Any]:
        """The crystals in ``text`` as ``{"crystals": [...]}``, a bad one as ``{"error": sentence}``.

        Raises:
            StructureParseError: the text is none of the formats, took longer than the limit, or needed more memory than allowed.
        """
        return self._answer({"text": text})

    def superpose(self, crystal: Cell, other: Cell) -> dict[str, Any]:
        """``other`` laid over ``crystal`` as ``{"superposed": ...}``, None where they are no match.

        Raises:
            StructureParseError: it took longer than the limit, or needed more memory than allowed.
        """
        return self._answer({"superpose": [crystal, other]})

    def match(self, crystal: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
        """How far the atoms of both are apart as ``{"rmsd": ...}``, None where they are no match.

        Raises:
            StructureParseError: it took longer than the limit, or needed more memory than allowed.
        """
        return self._answer({"match": [dict(crystal), dict(reference)]})

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            child = self._started()
            try:
                answer = self._exchange(child, question, self._seconds)
            except TimeoutError:
                self._kill()
                raise ReaderFailed(
                    f"Reading took longer than {self._seconds:g} s and was stopped. Use a smaller or simpler cell."
                ) from None
            except (OSError, EOFError, ValueError):
                self._kill()
                raise ReaderFailed(
                    "Reading this file broke off, most likely for want of memory. Use a smaller or simpler cell."
                ) from None
        if "error" in answer:
            raise StructureParseError(answer["error"])
        return answer

    def close(self) -> None:
        """End the child; the next file starts a new one."""
        with self._lock:
            self._kill()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._kill()
            self._child = self._launched()
        if self._ready:
            return self._child
        try:
            self._exchange(self._child, None, self._seconds_to_start)
        except TimeoutError:
            # the child goes on importing: a new one would begin again, and on a busy machine none would ever be ready
            raise ReaderFailed(
                "The reader of files is still starting because this machine is busy. Try again in a minute."
            ) from None
        except (OSError, EOFError, ValueError):
            self._kill()
            raise ReaderFailed(
                "The reader of files did not start. Try again; if it stays so, restart the app."
            ) from None
        self._ready = True
        return self._child

    def _launched(self) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(REPOSITORY), environment.get("PYTHONPATH")])
        )
        return subprocess.Popen(
            [*self._command, str(self._memory), str(self._seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def _exchange(
        self, child: subprocess.Popen[bytes], message: dict[str, Any] | None, seconds: float
    ) -> dict[str, Any]:
        """Send one line and read one line within the time; both ends of the pipe are non-blocking."""
        if child.stdin is None or child.stdout is None:
            raise EOFError
        reader, writer = child.stdout.fileno(), child.stdin.fileno()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        # a view, because cutting off what was sent must not copy megabytes each time
        pending = memoryview(b"" if message is None else json.dumps(message).encode() + b"\n")
        received = bytearray()
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ)
            if pending:
                selector.register(writer, selectors.EVENT_WRITE)
            while not received.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                for key, _ in selector.select(left):
                    if key.fd == writer:
                        pending = pending[os.write(writer, pending[:65536]) :]
                        if not pending:
                            selector.unregister(writer)
                    else:
                        chunk = os.read(reader, 1 << 20)
                        if not chunk:
                            raise EOFError
                        received += chunk
        return json.loads(received)

    def _kill(self) -> None:
        child, self._child, self._ready = self._child, None, False
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


_PARSER = ParserProcess()
atexit.register(_PARSER.close)
