"""Relax the candidates of one composition in turns, and stop those that can no longer win.

Most relaxations of a structure prediction end far above the best one. Relaxations of validation rows tell how
much energy further steps can gain (:mod:`crystal_core.evaluation.ranking`), so hopeless ones stop early.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from crystal_core.relax.relaxation import RelaxStatus, steps_to_rest, usual_steps

if TYPE_CHECKING:
    from crystal_core.relax.relaxation import RelaxStep

Name = TypeVar("Name", bound=Hashable)
Item = TypeVar("Item")
STEPS_IN_A_RACE = 12  # of a candidate on average, with those that stop early
TURNS = (1, 5, 5, 10, 20, 40)  # steps of each turn; the last one is repeated


@dataclass(kw_only=True)
class Race:
    """Decides which candidates can still win.

    The score is that of the ranking: log prior - ``cost`` of the energy above the lowest one. A candidate can
    win as long as its score after the largest likely gain reaches that of every other.

    Attributes:
        cost: of an energy above the lowest one, eV/atom; it rises, from 0 at 0.
        gains: (steps taken, largest energy in eV/atom that further steps gain in nearly all cases), by steps.
        energies: candidate → latest energy, eV/atom.
        priors: candidate → log prior; 0 if missing.
    """

    cost: Callable[[float], float]
    gains: Sequence[tuple[int, float]]
    priors: Mapping[Hashable, float] = field(default_factory=dict)
    energies: dict[Hashable, float] = field(default_factory=dict)

    def is_lost(self, candidate: Hashable, moment: RelaxStep) -> bool:
        """Store the energy of a step and return whether its candidate can no longer win."""
        self.energies[candidate] = moment.energy
        return not self._can_win(candidate, self.energies, gain=self.gain_after(moment.step))

    def ends(self, candidate: Hashable, moment: RelaxStep) -> RelaxStatus | None:
        """The status of a step with which its candidate has lost; None while it can still win."""
        return RelaxStatus.OUTRUN if self.is_lost(candidate, moment) else None

    def steps_left(self, candidate: Hashable, moment: RelaxStep) -> float:
        """Steps until a candidate converges, or until it loses if energies stay, whichever comes first."""
        lost = self._step_of_loss(candidate, self.energies, after=moment.step)
        return min(steps_to_rest(moment), lost - moment.step)

    def steps_in_all(
        self, energies: Mapping[Name, float | None], sizes: Mapping[Name, int]
    ) -> dict[Name, float]:
        """Candidate → energies to compute until it has likely converged or lost, before any has moved.

        Args:
            energies: candidate → eV/atom of its cell as laid out; None where it is not known, which counts as
                an average candidate.
            sizes: candidate → atoms.
        """
        known = {candidate: energy for candidate, energy in energies.items() if energy is not None}
        return {
            candidate: 1.0 + min(usual_steps(size), self._step_of_loss(candidate, known, after=0))
            if candidate in known
            else float(STEPS_IN_A_RACE)
            for candidate, size in sizes.items()
        }

    def gain_after(self, step: int) -> float:
        """The largest energy that steps after this one are likely to gain, eV/atom."""
        past = [gain for steps, gain in self.gains if steps <= step]
        return past[-1] if past else float("inf")

    def _step_of_loss(self, candidate: Name, energies: Mapping[Name, float], *, after: int) -> float:
        """The first step after this one with which a candidate loses if energies stay; infinite if none."""
        if candidate not in energies:
            return math.inf
        later = ((step, gain) for step, gain in self.gains if step > after)
        return next(
            (step for step, gain in later if not self._can_win(candidate, energies, gain=gain)), math.inf
        )

    def _can_win(self, candidate: Name, energies: Mapping[Name, float], *, gain: float) -> bool:
        """Whether a candidate has the best score once it has gained so much energy (eV/atom)."""
        if math.isinf(gain):
            return True
        reached = {**energies, candidate: energies[candidate] - gain}
        lowest = min(reached.values())
        scores = {name: self.priors.get(name, 0.0) - self.cost(e - lowest) for name, e in reached.items()}
        return scores[candidate] >= max(scores.values())


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
