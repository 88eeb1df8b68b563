"""Common names of arrangements, such as rutile and spinel: for any crystal, whatever it was made from.

A name is given where space group, counts of elements and all places agree with a textbook crystal whose
elements are exchanged. The cells are those of minerals and of simple compounds at room temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from crystal_core.evaluation.alike import SAME
from crystal_core.evaluation.matching import PAIR_SECONDS
from crystal_core.evaluation.parallel import time_limit

if TYPE_CHECKING:
    from pymatgen.core import Structure

Place = tuple[str, float, float, float]  # element, fractional coordinates of one atom of its orbit


@dataclass(frozen=True)
class Arrangement:
    """A textbook crystal.

    Attributes:
        name: common name. group: number of its space group, in pymatgen's setting.
        cell: a, b, c in Å, then alpha, beta, gamma in degrees.
        places: one atom of each orbit.
    """

    name: str
    group: int
    cell: tuple[float, float, float, float, float, float]
    places: tuple[Place, ...]


def _cubic(a: float) -> tuple[float, float, float, float, float, float]:
    return (a, a, a, 90, 90, 90)


def _tetragonal(a: float, c: float) -> tuple[float, float, float, float, float, float]:
    return (a, a, c, 90, 90, 90)


def _hexagonal(a: float, c: float) -> tuple[float, float, float, float, float, float]:
    return (a, a, c, 90, 90, 120)


T = 1 / 3
ARRANGEMENTS = (
    Arrangement("face-centred cubic", 225, _cubic(3.615), (("Cu", 0, 0, 0),)),
    Arrangement("body-centred cubic", 229, _cubic(2.866), (("Fe", 0, 0, 0),)),
    Arrangement("hexagonal close-packed", 194, _hexagonal(3.209, 5.211), (("Mg", T, 2 * T, 0.25),)),
    Arrangement("diamond", 227, _cubic(3.567), (("C", 0, 0, 0),)),
    Arrangement("graphite", 194, _hexagonal(2.461, 6.708), (("C", 0, 0, 0.25), ("C", T, 2 * T, 0.25))),
    Arrangement("rock salt", 225, _cubic(5.640), (("Na", 0, 0, 0), ("Cl", 0.5, 0.5, 0.5))),
    Arrangement("caesium chloride", 221, _cubic(4.123), (("Cs", 0, 0, 0), ("Cl", 0.5, 0.5, 0.5))),
    Arrangement("zinc blende", 216, _cubic(5.409), (("Zn", 0, 0, 0), ("S", 0.25, 0.25, 0.25))),
    Arrangement("wurtzite", 186, _hexagonal(3.823, 6.261), (("Zn", T, 2 * T, 0), ("S", T, 2 * T, 0.375))),
    Arrangement("nickel arsenide", 194, _hexagonal(3.619, 5.034), (("Ni", 0, 0, 0), ("As", T, 2 * T, 0.25))),
    Arrangement("fluorite", 225, _cubic(5.463), (("Ca", 0, 0, 0), ("F", 0.25, 0.25, 0.25))),
    Arrangement("cuprite", 224, _cubic(4.270), (("O", 0, 0, 0), ("Cu", 0.25, 0.25, 0.25))),
    Arrangement("pyrite", 205, _cubic(5.417), (("Fe", 0, 0, 0), ("S", 0.385, 0.385, 0.385))),
    Arrangement("rutile", 136, _tetragonal(4.594, 2.959), (("Ti", 0, 0, 0), ("O", 0.305, 0.305, 0))),
    Arrangement("anatase", 141, _tetragonal(3.785, 9.514), (("Ti", 0, 0, 0), ("O", 0, 0, 0.208))),
    Arrangement(
        "brookite",
        61,
        (9.184, 5.447, 5.145, 90, 90, 90),
        (("Ti", 0.129, 0.097, 0.863), ("O", 0.010, 0.149, 0.184), ("O", 0.231, 0.111, 0.537)),
    ),
    Arrangement("cadmium iodide", 164, _hexagonal(4.244, 6.859), (("Cd", 0, 0, 0), ("I", T, 2 * T, 0.249))),
    Arrangement("quartz", 152, _hexagonal(4.913, 5.405), (("Si", 0.530, 0, T), ("O", 0.587, 0.733, 0.214))),
    Arrangement(
        "quartz", 154, _hexagonal(4.913, 5.405), (("Si", 0.470, 0, 2 * T), ("O", 0.413, 0.267, 0.786))
    ),
    Arrangement("corundum", 167, _hexagonal(4.759, 12.991), (("Al", 0, 0, 0.352), ("O", 0.306, 0, 0.25))),
    Arrangement(
        "ilmenite",
        148,
        _hexagonal(5.088, 14.085),
        (("Fe", 0, 0, 0.355), ("Ti", 0, 0, 0.146), ("O", 0.317, 0.023, 0.245)),
    ),
    Arrangement(
        "cubic perovskite", 221, _cubic(3.905), (("Sr", 0.5, 0.5, 0.5), ("Ti", 0, 0, 0), ("O", 0.5, 0, 0))
    ),
    Arrangement(
        "orthorhombic perovskite",
        62,
        (5.442, 7.640, 5.380, 90, 90, 90),
        (
            ("Ca", 0.036, 0.25, 0.993),
            ("Ti", 0, 0, 0.5),
            ("O", 0.484, 0.25, 0.071),
            ("O", 0.289, 0.037, 0.711),
        ),
    ),
    Arrangement(
        "delafossite",
        166,
        _hexagonal(2.857, 16.943),
        (("Cu", 0, 0, 0), ("Al", 0, 0, 0.5), ("O", 0, 0, 0.110)),
    ),
    Arrangement(
        "layered rock salt",
        166,
        _hexagonal(2.816, 14.054),
        (("Co", 0, 0, 0), ("Li", 0, 0, 0.5), ("O", 0, 0, 0.240)),
    ),
    Arrangement(
        "chalcopyrite",
        122,
        _tetragonal(5.289, 10.423),
        (("Cu", 0, 0, 0), ("Fe", 0, 0, 0.5), ("S", 0.257, 0.25, 0.125)),
    ),
    Arrangement(
        "spinel",
        227,
        _cubic(8.083),
        (("Mg", 0, 0, 0), ("Al", 0.625, 0.625, 0.625), ("O", 0.387, 0.387, 0.387)),
    ),
    Arrangement(
        "olivine",
        62,
        (10.22, 5.98, 4.76, 90, 90, 90),
        (
            ("Mg", 0, 0, 0),
            ("Mg", 0.277, 0.25, 0.991),
            ("Si", 0.094, 0.25, 0.426),
            ("O", 0.091, 0.25, 0.766),
            ("O", 0.447, 0.25, 0.221),
            ("O", 0.163, 0.033, 0.278),
        ),
    ),
    Arrangement(
        "olivine",
        62,
        (10.33, 6.01, 4.69, 90, 90, 90),
        (
            ("Li", 0, 0, 0),
            ("Fe", 0.282, 0.25, 0.975),
            ("P", 0.095, 0.25, 0.418),
            ("O", 0.097, 0.25, 0.743),
            ("O", 0.457, 0.25, 0.206),
            ("O", 0.166, 0.046, 0.285),
        ),
    ),
    Arrangement(
        "Heusler",
        225,
        _cubic(5.950),
        (("Cu", 0.25, 0.25, 0.25), ("Mn", 0, 0, 0), ("Al", 0.5, 0.5, 0.5)),
    ),
)


def common_arrangement(structure: Structure, group: int) -> str:
    """The common name of a crystal's arrangement, e.g. rutile; empty where it has none here.

    Args:
        group: number of its space group, at the tolerance at which the crystal is named.
    """
    from crystal_core.evaluation.reduced_matcher import ReducedMatcher

    pattern = structure.composition.anonymized_formula
    possible = [k for k, one in enumerate(ARRANGEMENTS) if one.group == group and _pattern(k) == pattern]
    if not possible:
        return ""
    try:
        with time_limit(PAIR_SECONDS):
            primitive = structure.get_primitive_structure()
            for k in possible:
                textbook = textbook_cell(k)
                if len(textbook) == len(primitive) and ReducedMatcher(**SAME).fit_anonymous(
                    primitive, textbook
                ):
                    return ARRANGEMENTS[k].name
    except Exception:  # noqa: BLE001 (a cell that the matcher cannot handle has no name)
        return ""
    return ""


@lru_cache(maxsize=len(ARRANGEMENTS))
def textbook_cell(k: int) -> Structure:
    """The primitive cell of one of :data:`ARRANGEMENTS`."""
    from pymatgen.core import Lattice, Structure

    one = ARRANGEMENTS[k]
    symbols, points = [place[0] for place in one.places], [place[1:] for place in one.places]
    cell = Structure.from_spacegroup(one.group, Lattice.from_parameters(*one.cell), symbols, points)
    return cell.get_primitive_structure()


@lru_cache(maxsize=len(ARRANGEMENTS))
def _pattern(k: int) -> str:
    return textbook_cell(k).composition.anonymized_formula
