"""Elements as a chemist counts with them: masses, electronegativities and the oxidation states in solids."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import inf, isnan

CHALCOGENS = ("O", "S", "Se", "Te")
# pymatgen calls only Cu2+, Au3+ and Np5+ common, but chalcopyrite, kesterite and delafossites hold Cu+
ALSO_COMMON = {"Cu": (1,), "Au": (1,), "Np": (4,)}
# but not beside another valence
ALSO_KNOWN = {"Ga": (1,), "Si": (2,), "Pa": (4,), "Np": (3,), "Pu": (3,), "Am": (4,), "Bk": (4,)}
BINARY = {"Ga": 1, "Si": 2}  # states of two-element compounds alone: GaCl, SiO
# known beside oxygen and fluorine
OXIDISED = {"Ru": (7, 8), "Os": (5, 6, 7, 8), "Pt": (5, 6), "Au": (5,), "Np": (6,), "Pu": (6,)}


@dataclass(frozen=True, kw_only=True)
class ElementData:
    """An element, or an ion of several atoms such as cyanide.

    Attributes:
        mass: g/mol.
        electronegativity: Pauling's; infinite for those that have none (He, Ne, Ar).
        common: oxidation states that pymatgen calls common, and those of ALSO_COMMON; ascending.
        known: these, those of ALSO_KNOWN, OXIDISED and ICSD, and -1 of the chalcogens; 0 if there are none.
        is_metal: without the metalloids. may_mix: metals and metalloids, which may have two valences at once.
        valences: pairs that occur together: neighbours among the known; among the common in the main groups
            (Sn2+, Sn4+); of nitrogen those of ammonium and nitrate or nitrite.
    """

    symbol: str
    name: str
    number: int = 0
    mass: float = 0.0
    electronegativity: float = 3.5
    common: tuple[int, ...] = (-1,)
    known: tuple[int, ...] = (-1,)
    is_metal: bool = False
    is_d_block: bool = False
    may_mix: bool = False
    valences: tuple[tuple[int, int], ...] = ()

    def cost(self, state: int) -> int:
        """0 for a common oxidation state; an uncommon one costs 1 for transition metals and P4+, else 2."""
        if state and state in self.common:
            return 0
        return 1 if self.is_d_block or (self.symbol, state) == ("P", 4) else 2

    def known_beside(self, symbols: set[str]) -> list[int]:
        """The oxidation states in a compound of these elements."""
        high = () if symbols & {"O", "F"} else OXIDISED.get(self.symbol, ())
        binary = BINARY.get(self.symbol) if len(symbols) > 2 else None
        return [q for q in self.known if q not in high and q != binary]


@cache
def periodic_table() -> Mapping[str, ElementData]:
    """Symbol → element, from pymatgen's periodic table."""
    from pymatgen.core.periodic_table import Element

    table = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # helium, neon and argon have no electronegativity
        for e in Element:
            if e.symbol in ("D", "T"):
                continue
            common = (*ALSO_COMMON.get(e.symbol, ()), *e.common_oxidation_states)
            mixing = {*common, *OXIDISED.get(e.symbol, ()), *e.icsd_oxidation_states}
            main_group = e.is_post_transition_metal or e.is_metalloid
            valences = [
                pair
                for states in (mixing, common if main_group else ())
                for pair in pairwise(sorted(q for q in states if q > 0))
                if e.is_metal or e.is_metalloid
            ]
            known = {*mixing, *ALSO_KNOWN.get(e.symbol, ()), *((-1,) if e.symbol in CHALCOGENS else ())}
            table[e.symbol] = ElementData(
                symbol=e.symbol,
                name=e.long_name.lower(),
                number=e.Z,
                mass=float(e.atomic_mass),
                electronegativity=inf if isnan(e.X) else float(e.X),
                common=common,
                known=tuple(sorted(known)) or (0,),
                is_metal=e.is_metal,
                is_d_block=e.is_transition_metal and not e.is_lanthanoid,
                may_mix=e.is_metal or e.is_metalloid,
                valences=((-3, 5), (-3, 3)) if e.symbol == "N" else tuple(dict.fromkeys(valences)),
            )
    return table
