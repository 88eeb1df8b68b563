"""Rounds of drafts of a language model under conditions: fitting drafts are kept, the others counted.

No grammar can enforce a space group or a property of the prompt. A draft that lacks the group, or that a
judge finds far from a target, is written again; the best one stands in where none meets both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.evaluation.validity import is_balanced
from crystal_core.frames import Draft, few_of_each
from crystal_core.generators.crysllmgen.vocabulary import SYMBOLS
from crystal_core.generators.symmetrise import SYMMETRY_TOLERANCES, symmetrised
from crystal_core.guides.protocol import target_distances
from crystal_core.structures import to_structures

if TYPE_CHECKING:
    from crystal_core.generators.crysllmgen.backends.protocol import BackEnd, Progress, Wanted, Written
    from crystal_core.guides.protocol import DraftJudge

ROUNDS = 4  # batches written at most for one batch of crystals
LEFT_OVER = 0.1  # of the work, for drafts that have to be written again
OTHER_COUNT = "another number of atoms"
OTHER_ATOMS = "other atoms than those asked for"
UNBALANCED = "not charge-balanced by SMACT's test at the largest size"
OTHER_GROUP = "without the requested space group"
OFF_TARGET = "too far from a target, as predicted"


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """A draft that misses what no grammar can enforce, for the case that no better one follows.

    Attributes:
        missed: the reason. distance: from the targets, see :class:`~crystal_core.guides.protocol.DraftJudge`.
    """

    crystal: CrystalBatch
    draft: Draft
    missed: str
    distance: float

    @property
    def order(self) -> tuple[bool, float]:
        """Smaller for the better of two: first the space group counts, then the distance."""
        return self.missed == OTHER_GROUP, self.distance


@dataclass(kw_only=True)
class Slots:
    """The crystals of one request while they are written.

    Attributes:
        rewrites: of a draft that lacks the space group or is far from a target; 0 takes any.
        crystals, drafts: one per requested crystal, None until it exists. rejected: reason → drafts left out.
        left_out: some of these, with the reason as their problem.
        stand_ins: crystal → the best draft so far that misses its space group or its targets only.
    """

    wanted: tuple[Wanted, ...]
    rewrites: int = 0
    crystals: list[CrystalBatch | None] = field(default_factory=list)
    drafts: list[Draft | None] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: list[Draft] = field(default_factory=list)
    stand_ins: dict[int, StandIn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.crystals = [None] * len(self.wanted)
        self.drafts = [None] * len(self.wanted)

    @property
    def open(self) -> list[int]:
        """The crystals that are not written yet."""
        return [i for i, crystal in enumerate(self.crystals) if crystal is None]

    @property
    def rounds(self) -> int:
        """Batches written at most, see :meth:`to_write`."""
        return max(ROUNDS, 1 + self.rewrites) if self.may_miss else ROUNDS

    @property
    def may_miss(self) -> bool:
        """Whether drafts can miss what no grammar enforces, and are written again then."""
        return self.rewrites > 0 and any(one.conditions.may_be_missed for one in self.wanted)

    def to_write(self, place: int) -> list[int]:
        """The crystals that get a draft in a round, counted from 0."""
        return [i for i in self.open if place < (1 + self.rewrites if i in self.stand_ins else ROUNDS)]

    def use_stand_ins(self) -> None:
        """Fill what is still open with the best drafts that miss the space group or a target only."""
        for i in self.open:
            if i in self.stand_ins:
                one = self.stand_ins[i]
                self.crystals[i], self.drafts[i] = one.crystal, one.draft
                self.rejected -= Counter({one.missed: 1})
                self.left_out = [draft for draft in self.left_out if draft.text != one.draft.text]

    def take(self, written: Written, prompted: Wanted, *, distance: float = 0.0) -> None:
        """Put a draft where it fits, or count why it fits nowhere.

        Args:
            prompted: what it was written for; it fits wherever the conditions are the same.
            distance: from the targets, as a judge tells it.
        """
        same = [i for i in self.open if self.wanted[i].conditions == prompted.conditions]
        draft = Draft(text=written.text, prompt=written.prompt, problem=written.problem)
        if written.crystal is None:
            self._leave_out(draft, kind_of(written.problem))
            for i in same[:1]:
                self.drafts[i] = draft  # shown where no other draft comes to stand
            return
        counts = Counter(written.crystal.atomic_numbers.tolist())
        if not _has_atoms(counts, prompted):
            self._leave_out(draft, OTHER_ATOMS)
            return
        if prompted.charge_balance and not is_balanced({SYMBOLS[z - 1]: n for z, n in counts.items()}):
            self._leave_out(draft, UNBALANCED)
            return
        n = counts.total()
        fitting = [
            i
            for i in same
            if prompted.conditions.composition or self.wanted[i].least <= n <= self.wanted[i].most
        ]
        if not fitting:
            if same:  # otherwise the draft is valid but not needed
                self._leave_out(draft, OTHER_COUNT)
        elif self.rewrites and (missed := _missed(written.crystal, prompted, distance)):
            self._leave_out(draft, missed)
            self._let_stand_in(
                StandIn(crystal=written.crystal, draft=draft, missed=missed, distance=distance), fitting
            )
        else:
            self.crystals[fitting[0]], self.drafts[fitting[0]] = written.crystal, draft

    def _let_stand_in(self, one: StandIn, fitting: Sequence[int]) -> None:
        """Keep a draft for the first crystal without any, or in the place of the worst, if it is better."""
        without = [i for i in fitting if i not in self.stand_ins]
        place = without[0] if without else max(fitting, key=lambda i: self.stand_ins[i].order)
        if without or one.order < self.stand_ins[place].order:
            self.stand_ins[place] = one

    def _leave_out(self, draft: Draft, reason: str) -> None:
        self.rejected[reason] += 1
        self.left_out = few_of_each([*self.left_out, replace(draft, problem=reason)])


def write_crystals(
    back_end: BackEnd,
    slots: Slots,
    *,
    generator: torch.Generator,
    temperature: float,
    top_p: float,
    trained_atoms: int,
    judge: DraftJudge | None = None,
) -> Iterator[tuple[float, Progress]]:
    """Rounds of drafts: fills ``slots``; reports the finished share and the progress of the batch.

    A model writes the cell before its atoms. A number of atoms that is forced on it would fill a cell that
    was meant for another number, so it writes freely at first, as often as fits, and only in the last round
    under the number demanded.

    Args:
        trained_atoms: atoms of the largest cell it was trained on.
        judge: of the targets; None takes drafts at any distance.
    """
    wanted, rounds = slots.wanted, slots.rounds
    several = slots.may_miss or any(_narrow(one, trained_atoms) for one in wanted)
    for place in range(rounds):
        open_ = slots.to_write(place)
        if not open_:
            break
        begin, end = (_part(n, rounds, several=several) for n in (place, place + 1))
        free = place < ROUNDS - 1 and any(_narrow(wanted[i], trained_atoms) for i in open_)
        chosen = [wanted[i] for i in open_]
        if free:
            chosen = [_freed(one, trained_atoms) for one in chosen]
            chosen = (chosen * back_end.batch)[: max(len(chosen), back_end.batch)]
        for first in range(0, len(chosen), back_end.batch):
            some = chosen[first : first + back_end.batch]
            for progress in back_end.write(some, generator=generator, temperature=temperature, top_p=top_p):
                if progress.drafts:
                    written = [draft.crystal for draft in progress.drafts]
                    distances = target_distances(judge, written, [one.conditions for one in some])
                    for draft, prompted, distance in zip(progress.drafts, some, distances, strict=True):
                        slots.take(draft, prompted, distance=distance)
                done = (first + len(some) * progress.done / progress.of) / len(chosen)
                yield begin + (end - begin) * done, progress
    slots.use_stand_ins()


def kind_of(problem: str) -> str:
    """A problem without what stood there, so that like ones count together.

    >>> kind_of("The text has 5 lines; 'Xx' is not the symbol of an element.")
    'The text has … lines; … is not the symbol of an element.'
    """
    return re.sub(r"'[^']*'|\d+(\.\d+)?", "…", problem)


def _part(done: int, rounds: int, *, several: bool) -> float:
    """The finished share of the work after some rounds: equal parts of several, or most in the first."""
    return done / rounds if several else 1 - LEFT_OVER**done


def _narrow(one: Wanted, trained_atoms: int) -> bool:
    """Whether a number of atoms is demanded that the model may not choose by itself."""
    return not one.conditions.composition and (one.least > 1 or one.most < trained_atoms)


def _freed(one: Wanted, trained_atoms: int) -> Wanted:
    if one.conditions.composition:
        return one
    return replace(one, least=1, most=max(one.most, trained_atoms))


def _has_atoms(counts: Counter[int], one: Wanted) -> bool:
    """Whether a crystal holds the demanded composition or elements, which a parser does not ensure."""
    conditions = one.conditions
    if conditions.composition:
        return counts == Counter(conditions.composition)
    if conditions.elements:
        return set(counts) == set(conditions.elements)
    if not all(counts.keys() & set(some) for some in conditions.any_of):
        return False
    return set(conditions.contain) <= set(counts) <= set(one.elements)


def _missed(crystal: CrystalBatch, one: Wanted, distance: float) -> str:
    """What a crystal misses that no grammar can enforce; empty where it misses nothing."""
    if not _has_space_group(crystal, one):
        return OTHER_GROUP
    return OFF_TARGET if distance > 1 else ""


def _has_space_group(crystal: CrystalBatch, one: Wanted) -> bool:
    """Whether a crystal has the requested space group, if any, within reach of the refiner."""
    wanted = one.conditions.space_group
    if wanted is None:
        return True
    (structure,) = to_structures(crystal)
    if structure is None:
        return False
    return symmetrised(structure, SYMMETRY_TOLERANCES, space_group=wanted).space_group == wanted
