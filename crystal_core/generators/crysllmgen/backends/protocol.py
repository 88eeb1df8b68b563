"""The one face of every language model that writes crystals, and what goes in and out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from crystal_core.conditions import Conditions

if TYPE_CHECKING:
    import torch

    from crystal_core.crystal import CrystalBatch
    from crystal_core.generators.crysllmgen.crystal_text import GridCrystals


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One crystal to write.

    Attributes:
        conditions: for the prompt; what they say of elements is also kept by the grammar.
        least, most: atoms of a crystal without a composition.
        elements: atomic numbers that may occur.
        charge_balance: the grammar lets the text end only where the composition passes SMACT's test. At the
            largest size it ends in any case, and the caller rejects a draft that does not balance.
    """

    conditions: Conditions
    least: int
    most: int
    elements: tuple[int, ...]
    charge_balance: bool = False

    @property
    def largest(self) -> int:
        """The most atoms that the crystal may have."""
        return self.conditions.n_atoms or self.most


@dataclass(frozen=True, kw_only=True)
class Written:
    """One finished draft.

    Attributes:
        text: lines of the crystal, or what was written in their place.
        crystal: a batch of one, None where the text is none.
        problem: why it is none, in a few words.
    """

    text: str
    prompt: str
    crystal: CrystalBatch | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a batch of drafts is.

    Attributes:
        done, of: tokens. text: what stands of the first draft. drafts: all of them, once they are finished.
    """

    done: int
    of: int
    text: str = ""
    drafts: tuple[Written, ...] = ()


class BackEnd(Protocol):
    """A language model that writes crystals.

    Attributes:
        name: as the command line calls it. max_atoms: of the longest sequence it can write.
        batch: drafts that it writes together. calls: of the network so far.
        removed_mass: probability that the grammar took from a token of the last batch, on average.
        charge_mass: the part of it that the charge mask alone took.
    """

    name: str
    device: torch.device
    max_atoms: int
    batch: int
    calls: int
    removed_mass: float
    charge_mass: float

    def write(
        self,
        wanted: Sequence[Wanted],
        *,
        generator: torch.Generator,
        temperature: float,
        top_p: float,
        constrained: bool = True,
    ) -> Iterator[Progress]:
        """The drafts of one batch, token by token; the last progress holds them, in order.

        Raises:
            RequestError: a condition that its prompt cannot say.
        """
        ...

    def log_chances(self, crystals: GridCrystals) -> list[float]:
        """Natural logarithm of the probability of each crystal's text, without a condition."""
        ...

    def element_chances(
        self, crystal: GridCrystals, sites: Sequence[int], elements: Sequence[int], generator: torch.Generator
    ) -> list[float]:
        """Probability of each element at some sites of one crystal, given all the rest; they add up to 1.

        Args:
            sites: places of the atoms that are hidden, all of one element.
            elements: atomic numbers to choose from.
            generator: of the origins over which the answer is averaged.
        """
        ...
