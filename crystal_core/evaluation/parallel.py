"""The same work for many crystals, over processes, in order; and a time limit for one of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import starmap
from typing import Any, TypeVar

T = TypeVar("T")
FEW = 20  # items: below, starting processes costs more than it saves
CHUNK = 8
REPEAT = 1.0  # s between alarms after the first: libraries sometimes swallow one


def in_parallel(
    function: Callable[..., T],
    *arguments: Sequence[Any],
    workers: int = 2,
    on_progress: Callable[[int], None] | None = None,
) -> list[T]:
    """``function`` of the first items of all arguments, of the second ones, and so on.

    Args:
        function: of a module, so that processes find it.
        on_progress: told how many are finished, after each.
    """
    results: list[T] = []
    items = list(zip(*arguments, strict=True))
    if workers <= 1 or len(items) < FEW:
        for result in starmap(function, items):
            results.append(result)
            if on_progress:
                on_progress(len(results))
        return results
    with processes(workers) as pool:
        for result in pool.map(function, *zip(*items, strict=True), chunksize=CHUNK):
            results.append(result)
            if on_progress:
                on_progress(len(results))
    return results


def processes(workers: int) -> ProcessPoolExecutor:
    """Processes for a ``with`` block; Ctrl+C in a terminal, which reaches all, ends them without a word."""
    return ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_DFL))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after ``seconds``; only in a main thread with SIGALRM."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
