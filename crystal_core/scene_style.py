"""How elements are drawn: colours, radii, and the lengths up to which a contact counts as a bond."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

import numpy as np

BOND_FACTOR = 1.15  # of the sum of the covalent radii
# Okabe and Ito's colours, distinguishable with every common colour blindness; given out in the order of the legend
SAFE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999", "#000000")


def symbol_of(atomic_number: int) -> str:
    """Element symbol of a proton number."""
    return _symbols()[atomic_number]


def palettes(symbols: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Colours of these elements: VESTA and Jmol as pymatgen ships them, and one safe for colour-blind readers."""
    return {
        "VESTA": {s: _table("VESTA")[s] for s in symbols},
        "Jmol": {s: _table("Jmol")[s] for s in symbols},
        "Colour-blind safe": {s: SAFE[k % len(SAFE)] for k, s in enumerate(symbols)},
    }


def bond_lengths(symbols: tuple[str, ...]) -> np.ndarray:
    """(sites, sites) longest bond in Å: 1.15 × the sum of the covalent radii."""
    radius = np.array([_covalent()[s] for s in symbols])
    return BOND_FACTOR * (radius[:, None] + radius[None, :])


@lru_cache(maxsize=1)
def radii() -> dict[str, float]:
    """Drawn radii in Å, growing with the atomic radius but flatter: big cations must not hide what they hold."""
    from pymatgen.core.periodic_table import Element

    return {s: round(0.22 * float(Element(s).atomic_radius or 1.4) + 0.14, 3) for s in _symbols().values()}


@lru_cache(maxsize=1)
def electronegativity() -> dict[str, float]:
    """Pauling's scale; elements without a value get 2, in the middle."""
    from pymatgen.core.periodic_table import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases and the heaviest elements have no value
        values = {s: float(Element(s).X) for s in _symbols().values()}
    return {s: 2.0 if math.isnan(x) else x for s, x in values.items()}


@lru_cache(maxsize=1)
def _symbols() -> dict[int, str]:
    from pymatgen.core.periodic_table import Element

    return {e.Z: e.symbol for e in Element if e.symbol not in ("D", "T")}


@lru_cache(maxsize=2)
def _table(name: str) -> dict[str, str]:
    from pymatgen.vis.structure_vtk import EL_COLORS

    table = EL_COLORS[name]
    return {s: "#" + "".join(f"{int(x):02x}" for x in table.get(s, (150, 150, 150))) for s in _symbols().values()}


@lru_cache(maxsize=1)
def _covalent() -> dict[str, float]:
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

    return {s: float(CovalentRadius.radius.get(s, 1.5)) for s in _symbols().values()}


# every element left of the staircase, with Ge, As, Sb and Te counted as non-metals, as pymatgen does
METALS = frozenset(
    "Li Be Na Mg Al K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Cs Ba La Ce Pr Nd Pm Sm Eu Gd "
    "Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr".split()
)
