"""The same work for many crystals, over processes, in order; and a time limit for one of them."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice, starmap
from types import TracebackType
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


def processes(workers: int) -> Processes:
    """Processes for a ``with`` block; Ctrl+C in a terminal, which reaches all, ends them without a word."""
    return Processes(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_DFL))


class Processes(ProcessPoolExecutor):
    """Processes that an interruption or an error in their ``with`` block ends at once."""

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """``fn`` of the first items, of the second ones, and so on; ``chunksize`` of them at a time."""
        items = zip(*iterables, strict=False)
        chunks = iter(lambda: tuple(islice(items, chunksize)), ())
        return _results(deque(self.submit(_of_chunk, fn, chunk) for chunk in chunks), timeout)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if error is not None:
            for process in [*(self._processes or {}).values()]:
                process.kill()
        return super().__exit__(kind, error, trace)


def _results(futures: deque[Future[list[T]]], timeout: float | None) -> Iterator[T]:
    # The iterator of the standard library cancels what is not computed yet when nobody reads on. Where a
    # process dies at that moment, Python 3.11 stumbles over what is cancelled and never ends.
    while futures:
        yield from futures.popleft().result(timeout)


def _of_chunk(function: Callable[..., T], items: Sequence[Sequence[Any]]) -> list[T]:
    return list(starmap(function, items))


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
