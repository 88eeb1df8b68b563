"""Formulas in writing: element order, whole counts, polyatomic ions in brackets."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from math import gcd
from typing import TYPE_CHECKING

from crystal_core.chemistry.charges import CYANIDE, balance_of
from crystal_core.chemistry.elements import periodic_table

if TYPE_CHECKING:
    from pymatgen.core import Composition

# centre, ligand and number of ligands of ions that chemists write in brackets
_IONS = {
    "O": "C3 N3 N2 P4 P3 S4 S3 Se4 Se3 As4 Cl4 Cl3 Br3 I3 B3 Si4",
    "H": "B4 Al4 N2",
    "F": "B4 P6 As6 Sb6 Si6",
    "S": "P4",
    "N": "C1",
}
POLYATOMIC = tuple((ion[:-1], ligand, int(ion[-1])) for ligand, ions in _IONS.items() for ion in ions.split())


def formula_of(composition: Composition) -> str:
    """The formula to show: elements by electronegativity, counts over their greatest common divisor.

    Brackets hold ions of several atoms alone, such as (PO4), and only where all atoms of their elements are
    in them. Unlike pymatgen's ``reduced_formula`` it names no molecule: five atoms of oxygen are O and not
    O2, LiO is not Li2O2.

    >>> from pymatgen.core import Composition
    >>> formulas = ("O5", "I6Pb2Cs2", "LiO", "Li3Fe2P3O12", "MgFe2O4", "CaO2H2")
    >>> [formula_of(Composition(text)) for text in formulas]
    ['O', 'CsPbI3', 'LiO', 'Li3Fe2(PO4)3', 'MgFe2O4', 'Ca(OH)2']
    """
    return formula_from(composition.get_el_amt_dict())


def formula_from(counts: Mapping[str, float]) -> str:
    """:func:`formula_of` for symbol → count; D and T are symbols too.

    >>> formula_from({"Li": 4, "D": 4}), formula_from({"Ge": 1.6, "Sb": 1.6, "Te": 4})
    ('LiD', 'Ge1.6Sb1.6Te4')
    """
    from pymatgen.core.composition import reduce_formula

    amounts = {symbol: round(n, 3) for symbol, n in counts.items()}
    if not amounts.keys() <= periodic_table().keys() or any(n != round(n) for n in amounts.values()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # noble gases have no electronegativity to sort symbols by
            return str(reduce_formula(amounts)[0])
    divisor = gcd(*(round(n) for n in amounts.values())) or 1
    return _written({symbol: round(n) // divisor for symbol, n in amounts.items()})


def _written(counts: Mapping[str, int]) -> str:
    """The formula of whole counts, with polyatomic ions together after the metals: Pb3(PO4)2, NH4H2PO4."""
    elements, left = periodic_table(), dict(counts)
    places = {s: elements[s].electronegativity for s in counts}
    words: list[tuple[float, str]] = []
    if len(counts) > 2 and ("H" in counts or _anion_in(counts, POLYATOMIC)):
        metals = [x for s, x in places.items() if elements[s].is_metal]
        balance = balance_of(counts.items())
        charges = balance.ions if balance else ()
        positive = {s for s, q, _ in charges if q > 0}
        cyanide = any(s == CYANIDE for s, _, _ in charges)
        likely = [
            ion
            for ion in POLYATOMIC
            if (cyanide if ion[:2] == ("C", "N") else metals if ion[:2] == ("N", "H") else ion[0] in positive)
        ]
        n_ammonium = sum(n for s, q, n in charges if (s, q) == ("N", -3))
        without = left | {"N": left.get("N", 0) - n_ammonium, "H": left.get("H", 0) - 4 * n_ammonium}
        salt = _anion_in(without, likely)
        if (
            n_ammonium
            and (not without["H"] or (salt and without["H"] > 0))
            and ("C" not in counts or (salt and salt[0] == "C"))
        ):
            left = without
            words.append((0.0, _times("(NH4)", n_ammonium)))
        if ion := _anion_in(left, likely):
            centre, ligand, per_ion = ion
            n_ions, place = left[centre], max([places[centre], *metals]) + 2e-6
            left = left | {centre: 0, ligand: left[ligand] - per_ion * n_ions}
            words.append((place, _times(f"({centre}{_times(ligand, per_ion)})", n_ions)))
            places["H"] = min(places.get("H", place), place - 1e-6)  # KH2PO4
        n_hydroxide = left.get("H", 0)
        if metals and "H" in positive and n_hydroxide == left.get("O", 0) > 0:
            left = left | {"H": 0, "O": 0}
            words.append((places["O"], _times("(OH)", n_hydroxide)))
    return "".join(
        word for _, word in sorted([*words, *((places[s], _times(s, n)) for s, n in left.items() if n)])
    )


def _times(word: str, n: int) -> str:
    """The word and its count, without brackets where there is one of it."""
    return f"{word}{n}" if n > 1 else word.strip("()")


def _anion_in(counts: Mapping[str, int], ions: Iterable[tuple[str, str, int]]) -> tuple[str, str, int] | None:
    """The first of ``ions`` that holds all its centre and ligand atoms, apart from hydroxide O; or None."""
    for centre, ligand, per_ion in ions:
        spare = counts.get(ligand, 0) - per_ion * counts.get(centre, 0)
        basic = (
            ligand == "O"
            and (per_ion, centre) not in ((3, "P"), (3, "S"), (3, "Se"))
            and spare == counts.get("H", 0) > 0
        )
        if counts.get(centre) and (not spare or basic):
            return centre, ligand, per_ion
    return None
