"""Charge balance while KLDM samples: late on, an unbalanced crystal exchanges one of its elements.

This is ours, not the paper's. All atoms of one element are hidden, the network tells which types it expects
there, and another element takes all their places, drawn by its odds among those that balance. A space group
is kept, because equivalent atoms are of one element.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from crystal_core.chemistry.metals import all_metals
from crystal_core.evaluation.validity import is_balanced
from crystal_core.generators.kldm.species_process import N_TYPES

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.generators.kldm.samplers import LatentState, Predict
    from crystal_core.networks.packing import Packing

BEGIN = 0.4  # time of the first exchange: positions and cell still follow it
MOST_ELEMENTS = 6  # of a crystal that are tried, each with one network call
MOST_TRIED = 20  # substitutes tried for an element, the likeliest first


@dataclass(frozen=True)
class _Exchange:
    """Every atom of ``old`` in a crystal becomes ``new``; log odds of that against the atoms as they are."""

    old: int
    new: int
    log_odds: float


@dataclass(frozen=True, kw_only=True)
class ChargeBalance:
    """Exchanges elements in crystals whose types are hidden and revealed.

    Attributes:
        allowed: (100,) types that may appear. free: (atoms,) True where the type may change.
    """

    packing: Packing
    allowed: Tensor
    free: Tensor

    def is_due(self, t: float, t_next: float, *, last: bool) -> bool:
        """Whether this step exchanges elements: once, early enough for atoms to move, and at the end."""
        return last or t_next <= BEGIN < t

    def exchanged(self, predict: Predict, state: LatentState, t: float, rng: torch.Generator) -> LatentState:
        """The state with one element exchanged per unbalanced crystal; unchanged where nothing balances.

        Atoms that are still hidden count as what they most likely become.
        """
        species, likely = state.species, state.atomic_numbers
        assert species is not None
        assert likely is not None
        numbers = torch.where(species == N_TYPES, likely, species + 1)
        failing = {
            crystal: counts
            for crystal, counts in enumerate(map(Counter, self._split(numbers)))
            if not _passes(counts)
        }
        options: dict[int, list[_Exchange]] = {crystal: [] for crystal in failing}
        for crystal, hidden, log_p in self._hidden_in_turn(predict, state, numbers, failing, t):
            options[crystal] += self._balancing(failing[crystal], numbers[hidden], log_p[hidden])
        for crystal, exchanges in options.items():
            if exchanges:
                odds = torch.tensor([one.log_odds for one in exchanges])
                place = int(torch.multinomial(torch.softmax(odds, 0).to(rng.device), 1, generator=rng))
                places = self._atoms(numbers, crystal, exchanges[place].old)
                numbers = torch.where(places, exchanges[place].new, numbers)
                species = torch.where(places, exchanges[place].new - 1, species)
        return replace(state, species=species, atomic_numbers=numbers)

    def _split(self, numbers: Tensor) -> list[list[int]]:
        return [part.tolist() for part in numbers.split(self.packing.n_atoms.tolist())]

    def _atoms(self, numbers: Tensor, crystal: int, old: int) -> Tensor:
        return (self.packing.crystal_index == crystal) & (numbers == old) & self.free

    def _hidden_in_turn(
        self,
        predict: Callable[[LatentState, float], tuple[Tensor, ...]],
        state: LatentState,
        numbers: Tensor,
        failing: dict[int, Counter[int]],
        t: float,
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Crystal, its hidden atoms, log probabilities of types; one call hides one element per crystal."""
        assert state.species is not None
        for turn in range(MOST_ELEMENTS):
            hidden = {
                crystal: atoms
                for crystal, counts in failing.items()
                if turn < len(counts) and (atoms := self._atoms(numbers, crystal, sorted(counts)[turn])).any()
            }
            if not hidden:
                continue
            every = torch.stack(list(hidden.values())).any(0)
            *_, output = predict(replace(state, species=state.species.masked_fill(every, N_TYPES)), t)
            log_p = torch.log_softmax(output.float().masked_fill(~self.allowed, -torch.inf), dim=-1)
            for crystal, atoms in hidden.items():
                yield crystal, atoms, log_p

    def _balancing(self, counts: Counter[int], old: Tensor, log_p: Tensor) -> list[_Exchange]:
        """The likeliest exchanges of some atoms of one element after which the composition balances.

        The new element is none that the crystal has, and not all are metals then: SMACT passes elements and
        alloys unseen, so a compound would else become one.

        Args:
            old: (atoms,) their numbers. log_p: (atoms, 100) of each type in their places.
        """
        before, n = int(old[0]), len(old)
        log_odds = (log_p - log_p[:, before - 1 : before]).sum(0)
        exchanges = []
        for place in log_odds.topk(MOST_TRIED).indices.tolist():
            after = counts - Counter({before: n}) + Counter({place + 1: n})
            fits = self.allowed[place] and place + 1 not in counts
            if fits and not all_metals(_symbols(after)) and _passes(after):
                exchanges.append(_Exchange(before, place + 1, float(log_odds[place])))
        return exchanges


def _passes(counts: Counter[int]) -> bool:
    return is_balanced(_symbols(counts))


def _symbols(counts: Counter[int]) -> dict[str, int]:
    import gemmi

    return {gemmi.Element(z).name: n for z, n in counts.items()}
