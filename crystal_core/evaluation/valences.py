"""Bond-valence sums and fitting oxidation states, by pymatgen's parameters and Bayesian assignment."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymatgen.core import Structure

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
    own structure have none.
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
    from pymatgen.analysis.bond_valence import BV_PARAMS, BVAnalyzer, calculate_bv_sum
    from pymatgen.core import Element

    missing = sorted(e.symbol for e in structure.composition if Element(e.symbol) not in BV_PARAMS)
    if missing:
        return Valences(
            sums=none, states=none, reason=f"No bond-valence parameters are known for {', '.join(missing)}."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sums = tuple(
            round(float(total), 3) if (total := calculate_bv_sum(site, near)) else None
            for site, near in zip(structure, structure.get_all_neighbors(REACH), strict=True)
        )
        try:
            states = tuple(BVAnalyzer(max_permutations=MOST_TRIALS).get_valences(structure))
        except (ValueError, TypeError):  # TypeError: no symmetry dataset for an odd cell
            return Valences(
                sums=sums,
                states=none,
                reason="No oxidation states that balance fit these bond lengths.",
            )
    return Valences(sums=sums, states=states)


def state_text(state: int | None) -> str:
    """An oxidation state as chemists write it: +4, −2, 0; "–" where it is not known."""
    return "–" if state is None else f"{state:+d}".replace("-", "−") if state else "0"
