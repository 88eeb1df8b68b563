"""What a JSON document states twice, of its crystal and beside it, compared: differences as sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crystal_core.chemistry.formula import parse_formula
from crystal_core.chemistry.formula_text import formula_from
from crystal_core.errors import RequestError
from crystal_core.structures import printable

LENGTHS, ANGLES = ("a", "b", "c"), ("alpha", "beta", "gamma")
CELL_TOLERANCE = 0.01  # relative, of a length or an angle
SAME = 0.05  # Å; programs round the two forms of a position


def contents_contradicted(data: Mapping[str, Any], sites: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the sites differ from the number and the formula that the document states, as sentences."""
    notes: list[str] = []
    stated, n_listed = data.get("nsites", data.get("n_atoms")), len(data.get("species_at_sites") or sites)
    if isinstance(stated, int) and stated != n_listed:
        notes.append(f"The file states {stated} sites, but lists {n_listed}.")
    formula = data.get("chemical_formula_reduced", data.get("formula"))
    amounts: dict[str, float] = {}
    for entry in (entry for site in sites for entry in site["species"]):
        amounts[entry["element"]] = amounts.get(entry["element"], 0.0) + entry["occu"]
    whole = all(abs(x - round(x)) < 1e-6 for x in amounts.values())
    if isinstance(formula, str) and whole:
        try:
            wanted = dict(parse_formula(formula).unit)
        except RequestError:
            return notes
        divisor = math.gcd(*(round(x) for x in amounts.values()))
        if {symbol: round(x) // divisor for symbol, x in amounts.items()} != wanted:
            notes.append(
                f"The formula of the file is {printable(formula)[:40]}, "
                f"but its sites make {formula_from(amounts)}."
            )
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


def _is_place(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(x, int | float) for x in value)
