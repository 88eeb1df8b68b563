"""Ctrl+C and SIGTERM end a loop over rows, and the report covers the rows that are finished."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

from crystal_core.errors import CrystalCoreError

NOTHING_WRITTEN = "Interrupted before anything was written; the same command begins anew."


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


def end_at_once() -> None:
    """From here on, Ctrl+C and SIGTERM end the program with one line and their code: nothing is to be kept.

    An exception would end it with a traceback while modules are imported, and some of those swallow it.
    What ignores the signals, as a job in the background does, goes on to ignore them.
    """
    for number, usual in _USUAL_HANDLERS.items():
        if signal.getsignal(number) == usual:
            signal.signal(number, _end_at_once)


def raise_interrupts() -> None:
    """From here on, Ctrl+C raises KeyboardInterrupt again: a command keeps what is finished."""
    for number, usual in _USUAL_HANDLERS.items():
        if signal.getsignal(number) is _end_at_once:
            signal.signal(number, usual)


_USUAL_HANDLERS: dict[int, Callable[[int, FrameType | None], Any] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


def _end_at_once(number: int, _frame: object) -> None:
    with suppress(OSError):
        os.write(2, b"Interrupted.\n")
    os._exit(128 + number)


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
def postponed(on_stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """In this block, Ctrl+C and SIGTERM wait: the block asks whether one has come, and ends at its own pace.

    A second one interrupts at once. The block raises the first one when it ends without an error.

    Args:
        on_stop: called when the first one comes.
    """
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before[signal.SIGINT] == signal.SIG_DFL:
        yield lambda: False
        return
    # what a shell starts in the background ignores Ctrl+C, and is stopped by SIGTERM
    numbers = [number for number, handler in before.items() if handler != signal.SIG_IGN]

    def wait(number: int, _frame: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise _interrupt(number)
        on_stop()

    for number in numbers:
        signal.signal(number, wait)
    try:
        yield lambda: bool(came)
    finally:
        for number in numbers:
            signal.signal(number, before[number])
    if came:
        raise _interrupt(came[0])


def _interrupt(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def saying(sentence: str) -> Iterator[None]:
    """An interruption of this block ends the command with ``sentence``: what it leaves, and how to go on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(sentence)
        raise


def words_of(interrupt: KeyboardInterrupt, otherwise: str = "Interrupted.") -> str:
    """What a command says when an interruption ends it; ``otherwise`` where no block says more."""
    return " ".join(getattr(interrupt, "__notes__", ())) or otherwise


@contextmanager
def ending_with_its_code(sentence: str = "Interrupted.") -> Iterator[None]:
    """For ``python -m``: an interruption or an error of the user ends the program with one line and its code.

    Args:
        sentence: said after Ctrl+C and SIGTERM where no block says more.
    """
    with termination():
        try:
            yield
        except KeyboardInterrupt as interrupt:
            sys.stderr.write(f"{words_of(interrupt, sentence)}\n")
            sys.exit(exit_code(interrupt))
        except CrystalCoreError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(error.exit_code)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """130 after Ctrl+C, 143 after SIGTERM."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)
