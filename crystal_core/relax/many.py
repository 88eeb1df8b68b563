"""Relax many crystals over processes, each with a potential of its own and one thread.

:func:`crystal_core.evaluation.parallel.in_parallel` is for short work: there one process that dies ends all
of it. Here a crystal that kills its process, or never comes back, is lost alone.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing import get_context, resource_tracker
from typing import TYPE_CHECKING, Any

from pebble import ProcessPool

from crystal_core.errors import RelaxationFailed
from crystal_core.relax.relaxation import FMAX, SECONDS, STEPS, Relaxation, check_limits, relax

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.relax.potential import Potential
    from crystal_core.requests import PotentialName

log = logging.getLogger(__name__)
FEW = 4  # crystals: below, loading potentials takes longer than it saves
# a step may outlast the time limit: a process gets this multiple of it, plus this margin
SLACK, SLACK_SECONDS = 2.0, 60.0
START_SECONDS = 300.0  # of a process until its potential is loaded


def relax_many(
    structures: Sequence[Structure], potential: Potential, *, seconds: float = SECONDS, workers: int = 1
) -> Generator[tuple[int, Relaxation | None]]:
    """Place and relaxation of every crystal, as they are finished; None where it could not be relaxed.

    Args:
        seconds: time limit of one relaxation; what is reached by then counts.
        workers: processes; with 1, and for a few crystals, all is done in this one.

    Raises:
        RequestError: the time limit is out of range.
    """
    check_limits(FMAX, STEPS, seconds)
    here = partial(relaxed_or_none, potential=potential, seconds=seconds)
    if workers <= 1 or len(structures) < FEW:
        yield from ((i, here(structure)) for i, structure in enumerate(structures))
        return
    left = set(range(len(structures)))
    make = partial(_loaded, potential.name, potential.device, seconds)
    with closing(
        over_processes(make, structures, workers=workers, seconds=SLACK * seconds + SLACK_SECONDS)
    ) as finished:
        for i, done in finished:
            left.remove(i)
            yield i, done
    if left:
        log.warning("Processes that relax could not be started; the rest is relaxed in this one.")
    yield from ((i, here(structures[i])) for i in sorted(left))


def relaxed_or_none(structure: Structure, *, potential: Potential, seconds: float) -> Relaxation | None:
    """The relaxation with its first and last step only; None where the relaxation failed."""
    try:
        return relax(structure, potential, seconds=seconds, keep_every=10**6)
    except RelaxationFailed:
        return None
    except Exception as error:  # noqa: BLE001 (an unexpected failure of one cell must not end an evaluation)
        log.warning(
            "%s could not be relaxed: %s: %s.",
            structure.composition.reduced_formula,
            type(error).__name__,
            error,
        )
        return None


def over_processes(
    make: Callable[[], Callable[[Any], Any]],
    items: Sequence[Any],
    *,
    workers: int,
    seconds: float | None,
) -> Generator[tuple[int, Any]]:
    """Place and result of every item as it finishes; None if its process died or exceeded ``seconds``.

    An item is missing where no process could be started for it.

    Args:
        make: builds the function once in every process; found by the processes, so of a module.
        seconds: of one item; None for no limit.
    """
    # a fork of a process that has computed with several threads, or on a GPU, may hang
    context = get_context("spawn")
    pool = ProcessPool(min(workers, len(items)), initializer=_build, initargs=(make,), context=context)
    places: dict[Future[Any], int] = {}
    try:
        # the pool closes where no process can build the function
        with suppress(RuntimeError), _deaf_to_interrupts():
            for place, item in enumerate(items):
                places[pool.schedule(_call, (item,), timeout=seconds)] = place
        while places:
            done, _ = wait(places, None if seconds is None else START_SECONDS + seconds, FIRST_COMPLETED)
            if not done:
                return
            for future in done:
                place, error = places.pop(future), future.exception()
                if not isinstance(error, BrokenProcessPool):
                    yield place, None if error else future.result()
    finally:
        pool.stop()
        pool.join()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Threads and processes that begin in this block are not interrupted by Ctrl+C.

    In a terminal it reaches all processes, and one that is still importing would print a traceback. Whoever
    started them ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would end the block early
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_FUNCTION: list[Callable[[Any], Any]] = []  # of this process, where it is one of the pool's


def _build(make: Callable[[], Callable[[Any], Any]]) -> None:
    _FUNCTION[:] = [make()]


def _call(item: Any) -> Any:
    return _FUNCTION[0](item)


def _loaded(name: PotentialName, device: str, seconds: float) -> Callable[[Structure], Relaxation | None]:
    import warnings

    from crystal_core.device import use_threads
    from crystal_core.relax.potential import load_potential

    warnings.simplefilter("ignore")  # as in the command that started this process
    use_threads(1)
    return partial(relaxed_or_none, potential=load_potential(name, device), seconds=seconds)
