"""The remaining time of a run: for each phase the work left times the seconds per unit of work.

Steps of sampling, single energies and relaxation differ in cost a hundredfold, so each phase counts its own
units. The seconds per unit come from earlier runs on this machine, scaled by how busy it is now. Measurements
of this run replace them gradually.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from crystal_core.paths import home_dir, private_folder

if TYPE_CHECKING:
    from pathlib import Path

    from crystal_core.frames import RunUpdate

PER_SECOND = 1000  # steps of the progress bar, which counts milliseconds
TRUSTED_SHARE = 0.1  # done share of a phase at which its own pace counts as much as that of earlier runs
TRUSTED_SECONDS = 0.5  # seconds after which the slowdown of this run counts half
NEWEST = 0.5  # weight of the last run in the stored pace


class TimePlan:
    """Phases of a run with the work done and left in each.

    Args:
        work: phase → units of work; without earlier runs a unit is assumed to take one second.
        usual: phase → seconds per unit in earlier runs.
        clock: seconds, rising.
    """

    def __init__(
        self,
        work: Mapping[str, float],
        usual: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.usual, self.clock = dict(usual or {}), clock
        self.left: dict[str, float] = {}
        self.done: dict[str, float] = {}
        self.spent: dict[str, float] = {}
        self.silent: set[str] = set()
        self.add(work)
        self.began = self.latest = clock()

    def add(
        self,
        work: Mapping[str, float],
        *,
        once: Collection[str] = (),
        guesses: Mapping[str, float] | None = None,
    ) -> None:
        """Plan further phases: phase → units of work.

        Neither ``once`` nor ``guesses`` say how busy the machine is, so the other phases do not follow them.

        Args:
            once: phases that take seconds in the first run of a process and almost none later.
            guesses: phase → rough seconds per unit, for those that no earlier run has measured.
        """
        new = {phase: seconds for phase, seconds in (guesses or {}).items() if phase not in self.usual}
        self.usual |= new
        self.silent |= {*once, *new}
        for phase, units in work.items():
            self.left[phase] = units
            self.done.setdefault(phase, 0.0)
            self.spent.setdefault(phase, 0.0)

    def reached(self, phase: str, done: float, left: float) -> None:
        """Record the progress of a phase; the time since the last call is counted as spent in it."""
        now = self.clock()
        self.spent[phase] = self.spent.get(phase, 0.0) + now - self.latest
        self.latest = now
        self.done[phase], self.left[phase] = done, max(0.0, left)

    def seconds_left(self) -> float:
        """Seconds that all phases still take."""
        pace = self._pace()
        return sum(left * self._seconds_per_unit(phase, pace) for phase, left in self.left.items() if left)

    def passed(self) -> int:
        """Milliseconds since the run began."""
        return round(PER_SECOND * (self.clock() - self.began))

    def measured(self) -> dict[str, float]:
        """Phase → seconds per unit in this run."""
        return {p: self.spent[p] / done for p, done in self.done.items() if done > 0 and self.spent[p] > 0}

    def _seconds_per_unit(self, phase: str, pace: float) -> float:
        trusted = TRUSTED_SHARE * (self.done[phase] + self.left[phase])
        expected = pace * self.usual.get(phase, 1.0)
        return (self.spent[phase] + trusted * expected) / (self.done[phase] + trusted)

    def _pace(self) -> float:
        """The time of this run so far over the time that earlier runs took for the same work."""
        telling = self.done.keys() - self.silent
        expected = sum(self.done[phase] * self.usual.get(phase, 1.0) for phase in telling)
        spent = sum(self.spent[phase] for phase in telling)
        return (spent + TRUSTED_SECONDS) / (expected + TRUSTED_SECONDS)


def timed(updates: Iterator[RunUpdate], plan: TimePlan, *, last: str = "done") -> Iterator[RunUpdate]:
    """The updates with milliseconds as steps: elapsed, and expected in total; closing ends the run.

    Args:
        last: stage in which nothing is left.
    """
    try:
        for update in updates:
            step = max(1, plan.passed())
            left = 0 if update.stage == last else max(1, round(PER_SECOND * plan.seconds_left()))
            yield replace(update, step=step, n_steps=step + left)
    finally:
        close = getattr(updates, "close", None)
        if close is not None:
            close()


def usual_pace() -> dict[str, float]:
    """Phase → seconds per unit in earlier runs on this machine; empty where none is stored."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        stored = json.loads(_file().read_text(encoding="utf-8")).items()
        return {str(p): float(s) for p, s in stored if math.isfinite(float(s)) and float(s) > 0}
    return {}


def remember(plan: TimePlan) -> None:
    """Store the pace of a finished run for the next one; a disk that refuses is ignored."""
    stored = usual_pace()
    for phase, seconds in plan.measured().items():
        stored[phase] = NEWEST * seconds + (1 - NEWEST) * stored.get(phase, seconds)
    path = _file()
    partial = path.with_suffix(".partial")
    with suppress(OSError):
        private_folder(path.parent)
        partial.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)


def _file() -> Path:
    return home_dir() / "pace.json"
