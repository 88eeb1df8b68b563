"""Charge balance while KLDM samples: late in sampling, an unbalanced crystal exchanges one element.

This is not part of the paper. For each element of the crystal, its atoms are masked and the network predicts
their types; elements that balance the charges are candidates. One exchange is drawn by the odds that the
network gives it. The space group stays, because all atoms of the element change together.
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

BEGIN = 0.4  # time t of the first exchange: early enough for positions and cell to adapt
MOST_ELEMENTS = 6  # elements of a crystal that are tried; each costs one network call
MOST_TRIED = 20  # likeliest substitutes that are tried for each element


@dataclass(frozen=True)
class _Exchange:
    """All atoms of ``old`` in a crystal become ``new``; ``log_odds`` compares this with no change."""

    old: int
    new: int
    log_odds: float


@dataclass(frozen=True, kw_only=True)
class ChargeBalance:
    """Exchanges elements during sampling with the masking process of types.

    Attributes:
        allowed: (100,) True for types that may appear.
        free: (atoms,) True for atoms whose type may change.
    """

    packing: Packing
    allowed: Tensor
    free: Tensor

    def is_due(self, t: float, t_next: float, *, last: bool) -> bool:
        """Whether this step exchanges elements: the step across t = BEGIN, and the last one."""
        return last or t_next <= BEGIN < t

    def exchanged(self, predict: Predict, state: LatentState, t: float, rng: torch.Generator) -> LatentState:
        """The state with one element exchanged in each unbalanced crystal that an exchange can balance.

        Atoms that are still masked count as their most likely type.
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
        """Yields crystal, masked atoms and log probabilities of their types.

        One network call masks one element in every failing crystal.
        """
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
        """The likeliest exchanges of one element that balance the composition.

        The new element is not yet in the crystal, and the result is no alloy: SMACT passes elements and
        alloys without a test, so an exchange could otherwise turn a compound into one.

        Args:
            old: (atoms,) atomic numbers of the atoms to exchange, all equal.
            log_p: (atoms, 100) log probabilities of the types of these atoms.
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
