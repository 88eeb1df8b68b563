"""Relax the candidates of one composition by turns; one that can no longer win stops.

Most relaxations of a structure prediction end far above the best one. What a relaxation can still gain after
so many steps is known from relaxations of validation rows (:mod:`crystal_core.evaluation.ranking`), so a
hopeless one ends early.
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
    """Who can still win.

    A candidate's score is its log prior minus its energy over ``sigma``, as in the ranking. It can win as
    long as its score with the largest likely gain is at least that of the best other candidate as it stands.

    Attributes:
        sigma: spread of the potential between rivals, eV/atom.
        gains: steps taken → energy (eV/atom) that relaxing further still gains in nearly all cases, in
            rising order of steps.
        energies: candidate → its energy so far, eV/atom.
        priors: candidate → its log prior, 0 where there is none.
    """

    sigma: float
    gains: Sequence[tuple[int, float]]
    priors: Mapping[Hashable, float] = field(default_factory=dict)
    energies: dict[Hashable, float] = field(default_factory=dict)

    def is_lost(self, candidate: Hashable, moment: RelaxStep) -> bool:
        """Note the energy of a candidate's step; whether it cannot win any more."""
        self.energies[candidate] = moment.energy
        best = max(self._score(other, 0.0) for other in self.energies)
        return self._score(candidate, self.gain_after(moment.step)) < best

    def steps_left(self, candidate: Hashable, moment: RelaxStep) -> float:
        """Steps until a candidate is at rest, or until it loses if energies stay, whichever comes first."""
        best = max(self._score(other, 0.0) for other in self.energies)
        lost = (
            steps - moment.step
            for steps, gain in self.gains
            if steps > moment.step and self._score(candidate, gain) < best
        )
        return min(steps_to_rest(moment.max_force), next(lost, math.inf))

    def gain_after(self, step: int) -> float:
        """The largest likely gain of relaxing on from this step, eV/atom."""
        past = [gain for steps, gain in self.gains if steps <= step]
        return past[-1] if past else float("inf")

    def _score(self, candidate: Hashable, gain: float) -> float:
        return self.priors.get(candidate, 0.0) - (self.energies[candidate] - gain) / self.sigma


def by_turns(
    runners: Mapping[Name, Generator[Item]], turns: Sequence[int] = TURNS
) -> Generator[tuple[Name, Item]]:
    """The items of every generator with its name, a few of each at a time; closing ends them all."""
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
