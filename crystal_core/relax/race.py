"""Relax the candidates of one composition in turns, and stop those that can no longer win.

Most relaxations of a structure prediction end far above the best one. Relaxations of validation rows tell how
much energy further steps can gain (:mod:`crystal_core.evaluation.ranking`), so hopeless ones stop early.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from crystal_core.relax.relaxation import steps_to_rest

if TYPE_CHECKING:
    from crystal_core.relax.relaxation import RelaxStep

Name = TypeVar("Name", bound=Hashable)
Item = TypeVar("Item")
TURNS = (1, 5, 5, 10, 20, 40)  # steps of each turn; the last one is repeated


@dataclass(kw_only=True)
class Race:
    """Decides which candidates can still win.

    The score is that of the ranking: log prior - energy / ``sigma``. A candidate can win as long as its score
    after the largest likely gain reaches the present score of the best candidate.

    Attributes:
        sigma: error of energy differences between rivals, eV/atom.
        gains: (steps taken, largest energy in eV/atom that further steps gain in nearly all cases), by steps.
        energies: candidate → latest energy, eV/atom.
        priors: candidate → log prior; 0 if missing.
    """

    sigma: float
    gains: Sequence[tuple[int, float]]
    priors: Mapping[Hashable, float] = field(default_factory=dict)
    energies: dict[Hashable, float] = field(default_factory=dict)

    def is_lost(self, candidate: Hashable, moment: RelaxStep) -> bool:
        """Store the energy of a step and return whether its candidate can no longer win."""
        self.energies[candidate] = moment.energy
        best = max(self._score(other, 0.0) for other in self.energies)
        return self._score(candidate, self.gain_after(moment.step)) < best

    def steps_left(self, candidate: Hashable, moment: RelaxStep) -> float:
        """Steps until a candidate converges, or until it loses if energies stay, whichever comes first."""
        best = max(self._score(other, 0.0) for other in self.energies)
        lost = (
            steps - moment.step
            for steps, gain in self.gains
            if steps > moment.step and self._score(candidate, gain) < best
        )
        return min(steps_to_rest(moment.max_force), next(lost, math.inf))

    def gain_after(self, step: int) -> float:
        """The largest energy that steps after this one are likely to gain, eV/atom."""
        past = [gain for steps, gain in self.gains if steps <= step]
        return past[-1] if past else float("inf")

    def _score(self, candidate: Hashable, gain: float) -> float:
        return self.priors.get(candidate, 0.0) - (self.energies[candidate] - gain) / self.sigma


def by_turns(
    runners: Mapping[Name, Generator[Item]], turns: Sequence[int] = TURNS
) -> Generator[tuple[Name, Item]]:
    """Items of all generators with their names, a few of each in turn; closing it closes them all."""
    waiting = dict(runners)
    try:
        for turn in _repeated(turns):
            for name, runner in list(waiting.items()):
                for _ in range(turn):
                    item = next(runner, None)
                    if item is None:
                        del waiting[name]
                        break
                    yield name, item
            if not waiting:
                return
    finally:
        for runner in waiting.values():
            runner.close()


def _repeated(turns: Sequence[int]) -> Iterator[int]:
    yield from turns
    while True:
        yield turns[-1]
