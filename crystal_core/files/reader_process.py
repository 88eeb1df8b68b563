"""Child processes that read files and compare crystals for :mod:`crystal_core.files.uploads`."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crystal_core.errors import StructureParseError
from crystal_core.paths import REPOSITORY

if TYPE_CHECKING:
    from crystal_core.records import Cell

SECONDS_PER_FILE = 10.0
SECONDS_TO_START = 120.0
MEMORY_BYTES = 2_000_000_000
N_PROCESSES = 2
ENVIRONMENT = frozenset(
    "PATH HOME LANG LC_ALL TMPDIR LD_LIBRARY_PATH PYTHONPATH PYTHONHOME VIRTUAL_ENV "
    "CRYSTAL_HOME CRYSTAL_CHECKPOINTS CRYSTAL_DATA".split()
)
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class ReadError(StructureParseError):
    """A file that could not be read, with the seconds that the child spent on it."""

    def __init__(self, sentence: str, seconds: float = 0.0) -> None:
        super().__init__(sentence)
        self.seconds = seconds


class ReaderFailed(ReadError):
    """The child was too slow, too large or gone: the same file may be read the next time."""


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
        self.seconds, self._memory = seconds, memory
        self.seconds_to_start, self._command = seconds_to_start, tuple(command)
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """Process id of the running child, or None before the first file and after a kill."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def ask(self, text: str) -> dict[str, Any]:
        """The crystals in ``text`` as ``{"crystals": [...], "seconds"}``, or ``{"error": sentence}``.

        Raises:
            StructureParseError: the text is none of the formats, took longer than the limit, or needed more
                memory than allowed.
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
            began = time.monotonic()
            try:
                answer = self._exchange(child, question, self.seconds)
            except TimeoutError:
                self._kill()
                raise ReaderFailed(
                    f"Reading took longer than {self.seconds:g} s and was stopped. "
                    "Use a smaller or simpler cell.",
                    self.seconds,
                ) from None
            except (OSError, EOFError, ValueError):
                self._kill()
                raise ReaderFailed(
                    "Reading this file broke off, most likely for want of memory. "
                    "Use a smaller or simpler cell.",
                    time.monotonic() - began,
                ) from None
        seconds = time.monotonic() - began
        if "error" in answer:
            raise ReadError(answer["error"], seconds)
        return answer | {"seconds": seconds}

    def start(self) -> None:
        """Start the child where none runs, without waiting for it."""
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                self._kill()
                self._child = self._launched()

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
            self._exchange(self._child, None, self.seconds_to_start)
        except TimeoutError:
            # let the child finish its imports: a new one would start over, and on a busy machine never be
            # ready
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
        # a clean environment: the child must not see the user's keys
        environment = {name: value for name, value in os.environ.items() if name in ENVIRONMENT} | THREADS
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(REPOSITORY), environment.get("PYTHONPATH")])
        )
        return subprocess.Popen(
            [*self._command, str(self._memory), str(self.seconds)],
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


class ParserPool:
    """A few children; each question takes a free one, so that a slow file does not block other users.

    Args:
        size: children at most. make: gives a child, which starts with its first question.
    """

    def __init__(self, size: int = N_PROCESSES, make: Callable[[], ParserProcess] = ParserProcess) -> None:
        self._processes = tuple(make() for _ in range(size))
        self._free = list(reversed(self._processes))
        self._changed = threading.Condition()

    @property
    def pids(self) -> list[int]:
        """Process ids of the running children."""
        return [pid for process in self._processes if (pid := process.pid) is not None]

    def ask(self, text: str) -> dict[str, Any]:
        """See :meth:`ParserProcess.ask`."""
        with self._one() as process:
            return process.ask(text)

    def superpose(self, crystal: Cell, other: Cell) -> dict[str, Any]:
        """See :meth:`ParserProcess.superpose`."""
        with self._one() as process:
            return process.superpose(crystal, other)

    def match(self, crystal: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`ParserProcess.match`."""
        with self._one() as process:
            return process.match(crystal, reference)

    def start_spare(self) -> None:
        """Start a free child without waiting for it, so that no later upload waits for its imports."""
        with self._changed:
            for process in self._free:
                if process.pid is None:
                    process.start()
                    return

    def close(self) -> None:
        """End the children; the next question starts a new one."""
        for process in self._processes:
            process.close()

    @contextmanager
    def _one(self) -> Iterator[ParserProcess]:
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            process = self._free.pop()  # the one used last, whose imports are done
        try:
            yield process
        finally:
            with self._changed:
                self._free.append(process)
                self._changed.notify()
