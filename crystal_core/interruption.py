"""Ctrl+C and SIGTERM end a loop over rows, and the report covers the rows that are finished."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self


class Terminated(KeyboardInterrupt):
    """SIGTERM has arrived: the command ends as after Ctrl+C and keeps what is finished."""


class Interruption:
    """An interruption ends the blocks ``with interruption:`` early, not the whole command.

    The code after the block reports on what is finished, and the command then ends with :meth:`end`. A second
    interruption, outside such a block, ends everything at once.

    Args:
        on_stop: called once, when a block is ended. Without it, no interruption is caught.
    """

    def __init__(self, on_stop: Callable[[], None] | None = None) -> None:
        self._on_stop = on_stop
        self._cause: KeyboardInterrupt | None = None

    def __bool__(self) -> bool:
        """Whether a block was ended early."""
        return self._cause is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if self._on_stop is None or not isinstance(error, KeyboardInterrupt):
            return False
        self._cause = error
        self._on_stop()
        return True

    def marks(self, covers: str) -> dict[str, Any]:
        """Keys for a report on finished rows, ``covers`` in words; none for a whole report."""
        return {"interrupted": True, "covers": covers} if self else {}

    def end(self, *, unless: object = None) -> None:
        """Go on with the interruption, if there was one, unless something is finished, to report on."""
        if self._cause is not None and not unless:
            raise self._cause


NO_INTERRUPTION = Interruption()  # the default of workflows: interruptions pass through them


def is_interrupted() -> bool:
    """Whether an interruption is being handled: true in the ``except`` and ``finally`` that it runs."""
    return isinstance(sys.exception(), KeyboardInterrupt)


@contextmanager
def termination() -> Iterator[None]:
    """Raise :class:`Terminated` in the block at SIGTERM, unless something else takes care of it."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    command = os.getpid()

    def stop(number: int, _frame: object) -> None:
        if os.getpid() != command:  # a forked child ends at once, as its parent expects
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def ending_with_its_code() -> Iterator[None]:
    """For ``python -m``: Ctrl+C and SIGTERM end the program with one line and their exit code."""
    with termination():
        try:
            yield
        except KeyboardInterrupt as interrupt:
            sys.stderr.write("Interrupted.\n")
            sys.exit(exit_code(interrupt))


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """130 after Ctrl+C, 143 after SIGTERM."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)
