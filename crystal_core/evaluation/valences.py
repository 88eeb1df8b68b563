"""Bond-valence sums and fitting oxidation states, by pymatgen's parameters and Bayesian assignment."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.core.structure import PeriodicNeighbor

REACH = 6.0  # Å; farther atoms add less than 0.001 to a sum
MOST_SITES = 200
MOST_TRIALS = 5_000  # assignments of states to sites that differ by symmetry: a second or two


@dataclass(frozen=True, kw_only=True)
class Valences:
    """Bond-valence sums and oxidation states of a crystal.

    Attributes:
        sums: bond-valence sum of every site, in valence units, negative for anions; None for an element
            without parameters or a site without a bond between elements.
        states: oxidation state of every site; None where no assignment balances.
        reason: why ``states`` or ``sums`` are None, as a sentence; empty where both are known.
    """

    sums: tuple[float | None, ...]
    states: tuple[int | None, ...]
    reason: str = ""


def valences_of(structure: Structure) -> Valences:
    """Bond-valence sums, and oxidation states that balance.

    O'Keeffe and Brese, J. Am. Chem. Soc. 1991, 113, 3226.

    The states come from the sums and the frequency of each state in the ICSD. Metals and elements in their
    own structure have none. Where states are known, only bonds between opposite signs are summed.
    """
    none: tuple[None, ...] = (None,) * len(structure)
    if len(structure) > MOST_SITES:
        return Valences(
            sums=none,
            states=none,
            reason=f"Bond valences are summed for up to {MOST_SITES} sites; this cell has {len(structure)}.",
        )
    if len(structure.composition) < 2:
        return Valences(sums=none, states=none, reason="A crystal of one element has no oxidation states.")
    from pymatgen.analysis.bond_valence import BV_PARAMS, BVAnalyzer
    from pymatgen.core import Element

    missing = sorted(e.symbol for e in structure.composition if Element(e.symbol) not in BV_PARAMS)
    if missing:
        return Valences(
            sums=none, states=none, reason=f"No bond-valence parameters are known for {', '.join(missing)}."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        near = structure.get_all_neighbors(REACH)
        try:
            states = tuple(BVAnalyzer(max_permutations=MOST_TRIALS).get_valences(structure))
        except (ValueError, TypeError):  # TypeError: no symmetry dataset for an odd cell
            reason = "No oxidation states that balance fit these bond lengths."
            return Valences(sums=_sums(structure, near), states=none, reason=reason)
    # pymatgen would also subtract a bond of silicon to magnesium, the less electronegative of the two cations
    bonds = [
        [other for other in others if states[other.index] * state < 0]
        for state, others in zip(states, near, strict=True)
    ]
    return Valences(sums=_sums(structure, bonds), states=states)


def _sums(structure: Structure, bonds: Sequence[Sequence[PeriodicNeighbor]]) -> tuple[float | None, ...]:
    """The bond-valence sum of every site over its bonds; None for a site without any."""
    from pymatgen.analysis.bond_valence import calculate_bv_sum

    return tuple(
        round(float(total), 3) if (total := calculate_bv_sum(site, others)) else None
        for site, others in zip(structure, bonds, strict=True)
    )


def state_text(state: int | None) -> str:
    """An oxidation state as chemists write it: +4, −2, 0; "–" where it is not known."""
    return "–" if state is None else f"{state:+d}".replace("-", "−") if state else "0"
