"""Rounds of drafts of a language model under conditions: fitting drafts are kept, the others counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from crystal_core.evaluation.validity import is_balanced
from crystal_core.frames import Draft, few_of_each
from crystal_core.generators.crysllmgen.vocabulary import SYMBOLS

if TYPE_CHECKING:
    from crystal_core.crystal import CrystalBatch
    from crystal_core.generators.crysllmgen.backends.protocol import BackEnd, Progress, Wanted, Written

ROUNDS = 4  # batches written at most for one batch of crystals
LEFT_OVER = 0.1  # of the work, for drafts that have to be written again
OTHER_COUNT = "another number of atoms"
OTHER_ATOMS = "other atoms than those asked for"
UNBALANCED = "not charge-balanced by SMACT's test at the largest size"


@dataclass(kw_only=True)
class Slots:
    """The crystals of one request while they are written.

    Attributes:
        crystals, drafts: one per requested crystal, None until it exists. rejected: reason → drafts left out.
        left_out: some of these, with the reason as their problem.
    """

    wanted: tuple[Wanted, ...]
    crystals: list[CrystalBatch | None] = field(default_factory=list)
    drafts: list[Draft | None] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: list[Draft] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.crystals = [None] * len(self.wanted)
        self.drafts = [None] * len(self.wanted)

    @property
    def open(self) -> list[int]:
        """The crystals that are not written yet."""
        return [i for i, crystal in enumerate(self.crystals) if crystal is None]

    def take(self, written: Written, prompted: Wanted) -> None:
        """Put a draft where it fits, or count why it fits nowhere.

        Args:
            prompted: what it was written for; it fits wherever the conditions are the same.
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
        for i in same:
            if prompted.conditions.composition or self.wanted[i].least <= n <= self.wanted[i].most:
                self.crystals[i], self.drafts[i] = written.crystal, draft
                return
        if same:  # otherwise the draft is valid but not needed
            self._leave_out(draft, OTHER_COUNT)

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
) -> Iterator[tuple[float, Progress]]:
    """Rounds of drafts: fills ``slots``; reports the finished share and the progress of the batch.

    A model writes the cell before its atoms. A number of atoms that is forced on it would fill a cell that
    was meant for another number, so it writes freely at first, as often as fits, and only in the last round
    under the number demanded.

    Args:
        trained_atoms: atoms of the largest cell it was trained on.
    """
    wanted = slots.wanted
    narrow = any(_narrow(one, trained_atoms) for one in wanted)
    for place in range(ROUNDS):
        open_ = slots.open
        if not open_:
            return
        begin, end = _part(place, narrow=narrow), _part(place + 1, narrow=narrow)
        free = place < ROUNDS - 1 and any(_narrow(wanted[i], trained_atoms) for i in open_)
        chosen = [wanted[i] for i in open_]
        if free:
            chosen = [_freed(one, trained_atoms) for one in chosen]
            chosen = (chosen * back_end.batch)[: max(len(chosen), back_end.batch)]
        for first in range(0, len(chosen), back_end.batch):
            some = chosen[first : first + back_end.batch]
            for progress in back_end.write(some, generator=generator, temperature=temperature, top_p=top_p):
                if progress.drafts:
                    for draft, prompted in zip(progress.drafts, some, strict=True):
                        slots.take(draft, prompted)
                done = (first + len(some) * progress.done / progress.of) / len(chosen)
                yield begin + (end - begin) * done, progress


def kind_of(problem: str) -> str:
    """A problem without what stood there, so that like ones count together.

    >>> kind_of("The text has 5 lines; 'Xx' is not the symbol of an element.")
    'The text has … lines; … is not the symbol of an element.'
    """
    return re.sub(r"'[^']*'|\d+(\.\d+)?", "…", problem)


def _part(rounds: int, *, narrow: bool) -> float:
    """The finished share of the work after some rounds; without a bound on atoms the first is most of it."""
    return rounds / ROUNDS if narrow else 1 - LEFT_OVER**rounds


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
