"""Relax many crystals over processes, each with a potential of its own and one thread.

:func:`crystal_core.evaluation.parallel.in_parallel` is for short work: there one process that dies ends all of it. Here a
crystal that kills its process, or never comes back, is lost alone.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Any

from crystal_core.errors import RelaxationFailed
from crystal_core.relax.relaxation import FMAX, SECONDS, STEPS, Relaxation, check_limits, relax

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.relax.potential import Potential
    from crystal_core.requests import PotentialName

log = logging.getLogger(__name__)
FEW = 4  # crystals: below, loading potentials takes longer than it saves
SLACK, SLACK_SECONDS = (
    2.0,
    60.0,
)  # a step that began within the time limit is waited for: so many times the limit, and so much more
START_SECONDS = 300.0  # of a process until its potential is loaded
READY = "ready"


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
    make: Callable[[], Callable[[Any], Any]], items: Sequence[Any], *, workers: int, seconds: float
) -> Generator[tuple[int, Any]]:
    """Place and result of every item, as they are finished; None where its process died or took longer than ``seconds``.

    Places that never come could not be begun, because no process could be started.

    Args:
        make: builds the function once in every process; found by the processes, so of a module.
    """
    waiting = deque(range(len(items)))
    team = [_Worker.started(make) for _ in range(min(workers, len(items)))]
    try:
        while team and (waiting or any(worker.place is not None for worker in team)):
            patience = max(0.0, min(worker.deadline(seconds) for worker in team) - time.monotonic())
            heard = connection.wait([worker.pipe for worker in team], timeout=min(patience, 3600.0))
            for worker in [w for w in team if w.pipe in heard or time.monotonic() > w.deadline(seconds)]:
                place, (alive, result) = (
                    worker.place,
                    worker.answer() if worker.pipe in heard else (False, None),
                )
                if alive:
                    worker.give(waiting.popleft() if waiting else None, items)
                else:
                    team.remove(worker)
                    worker.stop()
                    team += [_Worker.started(make)] if worker.ready and waiting else []
                if place is not None:
                    yield place, result
    finally:
        for worker in team:
            worker.stop()


@dataclass
class _Worker:
    process: Any
    pipe: connection.Connection
    since: float
    place: int | None = None  # of the item that it has
    ready: bool = False

    @classmethod
    def started(cls, make: Callable[[], Callable[[Any], Any]]) -> _Worker:
        context = get_context(
            "spawn"
        )  # a fork of a process that has computed with several threads, or on a GPU, may hang
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(make, theirs), daemon=True)
        process.start()
        theirs.close()  # so that its end is heard
        return cls(process=process, pipe=ours, since=time.monotonic())

    def deadline(self, seconds: float) -> float:
        if self.place is not None:
            return self.since + seconds
        return float("inf") if self.ready else self.since + START_SECONDS

    def answer(self) -> tuple[bool, Any]:
        """Whether it lives, and the result it has sent."""
        try:
            return True, self.pipe.recv()
        except (EOFError, OSError):
            return False, None

    def give(self, place: int | None, items: Sequence[Any]) -> None:
        """The next item, or none."""
        self.place, self.ready, self.since = place, True, time.monotonic()
        if place is not None:
            with suppress(OSError):  # it died meanwhile, which its pipe tells next
                self.pipe.send(items[place])

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(make: Callable[[], Callable[[Any], Any]], pipe: connection.Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that gives the work ends this one
    try:
        function = make()
    except Exception:  # noqa: BLE001 (the other process tells that this one is not there)
        return
    pipe.send(READY)
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(function(item))


def _loaded(name: PotentialName, device: str, seconds: float) -> Callable[[Structure], Relaxation | None]:
    import warnings

    from crystal_core.device import use_threads
    from crystal_core.relax.potential import load_potential

    warnings.simplefilter("ignore")  # as in the command that started this process
    use_threads(1)
    return partial(relaxed_or_none, potential=load_potential(name, device), seconds=seconds)
