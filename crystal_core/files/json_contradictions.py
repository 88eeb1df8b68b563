"""What a document states twice, of its crystal and beside it, compared: differences as sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from crystal_core.chemistry.elements import periodic_table
from crystal_core.chemistry.formula import parse_formula
from crystal_core.chemistry.formula_text import formula_from
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.structures import printable

if TYPE_CHECKING:
    from pymatgen.core import Structure

LENGTHS, ANGLES = ("a", "b", "c"), ("alpha", "beta", "gamma")
CELL_TOLERANCE = 0.01  # relative, of a length or an angle
VOLUME_TOLERANCE, DENSITY_TOLERANCE = 0.02, 0.05  # relative
FORMULAS = ("chemical_formula_reduced", "formula_pretty", "formula", "pretty_formula", "full_formula")
ISOTOPES = ("D", "T")  # of hydrogen
COMPOSITIONS = ("composition", "composition_reduced", "unit_cell_formula")  # symbol or ion → amount
SHARE_TOLERANCE = 1e-3  # of an element among all atoms
UNPLACED = {"implicit_atoms", "site_attachments"}
_ELEMENT = re.compile(r"([A-Z][a-z]?)(?:\d*\.?\d*[+-])?$")  # Na, Na+, Fe3+, O2-
SAME = 0.05  # Å; programs round the two forms of a position


def contents_contradicted(data: Mapping[str, Any], sites: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the sites differ from their number, formula and elements in the document, as sentences."""
    notes: list[str] = []
    stated, n_listed = data.get("nsites", data.get("n_atoms")), len(data.get("species_at_sites") or sites)
    if isinstance(stated, int) and stated != n_listed:
        notes.append(f"The file states {stated} sites, but lists {n_listed}.")
    amounts: dict[str, float] = {}
    for entry in (entry for site in sites for entry in site["species"]):
        amounts[entry["element"]] = amounts.get(entry["element"], 0.0) + entry["occu"]
    notes += formula_contradicted(data, amounts) or _composition_contradicted(data, amounts)
    return notes + _elements_contradicted(data, amounts)


def formula_contradicted(data: Mapping[str, Any], amounts: Mapping[str, float]) -> list[str]:
    """A formula among the entries of a file that is not that of its sites, as a sentence.

    Args:
        amounts: symbol → atoms in the cell; deuterium counts as hydrogen, as in formulas.
    """
    formula = next((data[key] for key in FORMULAS if isinstance(data.get(key), str)), "")
    if not formula or any(abs(x - round(x)) > 1e-6 for x in amounts.values()):
        return []
    try:
        wanted = dict(parse_formula(formula).unit)
    except RequestError:
        return []
    counts: dict[str, int] = {}
    for symbol, x in amounts.items():
        name = "H" if symbol in ISOTOPES else symbol
        counts[name] = counts.get(name, 0) + round(x)
    divisor = math.gcd(*counts.values())
    if {symbol: n // divisor for symbol, n in counts.items()} == wanted:
        return []
    words = f"The formula of the file is {printable(formula)[:40]}, "
    return [f"{words}but its sites make {formula_from(amounts)}."]


def _composition_contradicted(data: Mapping[str, Any], amounts: Mapping[str, float]) -> list[str]:
    """A composition beside the crystal, such as that of a computed entry, compared by its proportions."""
    for name in COMPOSITIONS:
        stated = _amounts_in(data.get(name))
        if stated and any(
            abs(_share(stated, symbol) - _share(amounts, symbol)) > SHARE_TOLERANCE
            for symbol in {*stated, *amounts}
        ):
            words = f"The composition of the file ({name}) is {formula_from(stated)}"
            return [f"{words}, but its sites make {formula_from(amounts)}."]
    return []


def _amounts_in(composition: Any) -> dict[str, float]:
    """Element → amount of a composition by elements or ions; empty for anything else."""
    amounts: dict[str, float] = {}
    for name, amount in composition.items() if isinstance(composition, Mapping) else ():
        symbol = _ELEMENT.match(str(name))
        if symbol is None or symbol[1] not in periodic_table() or not _is_number(amount) or not amount > 0:
            return {}
        amounts[symbol[1]] = amounts.get(symbol[1], 0.0) + amount
    return amounts


def _share(amounts: Mapping[str, float], symbol: str) -> float:
    return amounts.get(symbol, 0.0) / sum(amounts.values())


def _elements_contradicted(data: Mapping[str, Any], amounts: Mapping[str, float]) -> list[str]:
    system, number = data.get("chemsys"), data.get("nelements")
    read = "-".join(sorted(amounts))
    # the elements of atoms of JARVIS are those of each site; an OPTIMADE answer may count atoms without sites
    has_sites_alone = "lattice_mat" not in data and not set(data.get("structure_features") or ()) & UNPLACED
    listed = data.get("elements") if has_sites_alone else None
    if isinstance(listed, list) and set(map(str, listed)) != set(amounts):
        names = printable(", ".join(map(str, listed)))[:40]
        return [f"The elements of the file are {names}, but its sites hold {', '.join(sorted(amounts))}."]
    if isinstance(system, str) and set(system.split("-")) != set(amounts):
        return [f"The chemical system of the file is {printable(system)[:40]}, but its sites make {read}."]
    if isinstance(number, int) and number != len(amounts):
        return [f"The file states {number} elements, but its sites hold {len(amounts)}: {read}."]
    return []


def sizes_contradicted(data: Mapping[str, Any], structure: Structure) -> list[str]:
    """How volume (Å³) and density (g/cm3) of the document differ from those of its crystal, as sentences."""
    read = {
        "volume": (float(structure.volume), "Å³", VOLUME_TOLERANCE),
        "density": (float(structure.density), "g/cm3", DENSITY_TOLERANCE),
    }
    notes = []
    for name, (value, unit, tolerance) in read.items():
        given = data.get(name)
        if _is_number(given) and given > 0 and abs(given / value - 1) > tolerance:
            words = f"The file gives a {name} of {given:.4g} {unit}"
            notes.append(f"{words}, but the crystal that was read has {value:.4g}.")
    return notes


def cell_contradicted(lattice: Any, matrix: Sequence[Sequence[float]]) -> list[str]:
    """How the lengths and angles that stand beside the matrix of a lattice differ from it, as a sentence."""
    if not isinstance(lattice, Mapping) or "matrix" not in lattice:
        return []
    from pymatgen.core import Lattice

    read = dict(zip((*LENGTHS, *ANGLES), Lattice(matrix).parameters, strict=True))
    for name, value in read.items():
        given = lattice.get(name)
        if isinstance(given, int | float) and abs(given - value) > CELL_TOLERANCE * value:
            words = f"The lattice of the file gives {name} = {given:.5g}, but its matrix, which is read,"
            return [f"{words} {value:.5g}."]
    given, volume = lattice.get("volume"), abs(float(np.linalg.det(np.array(matrix))))
    if _is_number(given) and abs(given - volume) > VOLUME_TOLERANCE * volume:
        words = f"The lattice of the file gives a volume of {given:.4g} Å³, but its matrix, which is read,"
        return [f"{words} {volume:.4g}."]
    return []


def places_contradicted(sites: Sequence[Mapping[str, Any]], matrix: Sequence[Sequence[float]]) -> list[str]:
    """How fractional and Cartesian positions of the same sites differ, as a sentence.

    Whole lattice vectors between them are no difference.
    """
    both = [
        (k, site["abc"], site["xyz"])
        for k, site in enumerate(sites)
        if all(_is_place(site.get(form)) for form in ("abc", "xyz"))
    ]
    if not both:
        return []
    rows = np.array(matrix)
    gaps = np.array([xyz for _, _, xyz in both]) @ np.linalg.inv(rows) - np.array([abc for _, abc, _ in both])
    distances = np.linalg.norm((gaps - np.round(gaps)) @ rows, axis=1)
    worst = int(np.argmax(distances))
    if not distances[worst] > SAME:
        return []
    where = f"site {both[worst][0] + 1} are {distances[worst]:.3g} Å apart"
    return [f"The fractional and Cartesian positions of {where}; the fractional ones are read."]


def check_symbols(listed: Any, elements: Sequence[str], key: str) -> None:
    """Compare a list of element symbols with the elements of the atomic numbers; other lists are no symbols.

    Raises:
        StructureParseError: an atom is another element by its symbol.
    """
    if not isinstance(listed, list) or len(listed) != len(elements):
        return
    if not all(isinstance(symbol, str) and symbol in periodic_table() for symbol in listed):
        return
    for k, (symbol, element) in enumerate(zip(listed, elements, strict=True), start=1):
        if symbol != element:
            raise StructureParseError(
                f"Atom {k} of this JSON is {element} by its atomic number, but {symbol} by '{key}'. "
                "Correct one of them."
            )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_place(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(x, int | float) for x in value)
