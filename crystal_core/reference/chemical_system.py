"""The known compounds of a few elements, as a phase diagram draws them, with one more crystal among them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.errors import RequestError
from crystal_core.reference.hull import HullTable, load_hull

if TYPE_CHECKING:
    from pymatgen.core import Composition

ON_HULL = 1e-6  # eV/atom
MOST_ELEMENTS = 3


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One composition.

    Attributes:
        formula: reduced. fractions: atomic, in the order of the system's elements.
        formation_energy, e_above_hull: eV/atom.
    """

    formula: str
    fractions: tuple[float, ...]
    formation_energy: float
    e_above_hull: float

    @property
    def is_stable(self) -> bool:
        """Whether it is a corner of the hull or lies below it."""
        return self.e_above_hull <= ON_HULL


@dataclass(frozen=True, kw_only=True)
class ChemicalSystem:
    """A phase diagram at 0 K and without pressure.

    Attributes:
        elements: symbols, the most electropositive first.
        phases: the lowest known of each formula, elements included.
        tie_lines: pairs of stable phases that coexist, as indices into ``phases``.
        crystal: the one that is placed among them, which shapes no tie line; None without.
    """

    elements: tuple[str, ...]
    phases: tuple[Phase, ...]
    tie_lines: tuple[tuple[int, int], ...]
    crystal: Phase | None = None


def chemical_system(
    composition: Composition, formation_energy: float | None = None, table: HullTable | None = None
) -> ChemicalSystem:
    """The phase diagram of a crystal's elements, by pymatgen's convex hull over the shipped table.

    Args:
        formation_energy: of the crystal, eV/atom, 2020 scheme of the Materials Project; None
            leaves the crystal out.

    Raises:
        RequestError: other than two or three elements, or one without a reference energy.
    """
    table = table or load_hull()
    elements = tuple(e.symbol for e in sorted(composition.elements, key=_electronegativity))
    if len(elements) == 1:
        raise RequestError("A crystal of one element has no phase diagram of compositions.")
    if len(elements) > MOST_ELEMENTS:
        raise RequestError(
            f"A phase diagram is drawn for two or three elements, and this crystal has {len(elements)}. "
            "Relax it to see its energy above the hull and its competing phases."
        )
    if missing := table.missing_elements(composition):
        raise RequestError(
            f"No reference energy is known for {', '.join(missing)}: there is no phase diagram."
        )
    phases, tie_lines = _known(elements, table)
    crystal = None
    if formation_energy is not None:
        place = table.stability(composition, formation_energy)
        crystal = Phase(
            formula=composition.reduced_formula,
            fractions=tuple(float(composition.get_atomic_fraction(e)) for e in elements),
            formation_energy=place.formation_energy,
            e_above_hull=place.e_above_hull,
        )
    return ChemicalSystem(elements=elements, phases=phases, tie_lines=tie_lines, crystal=crystal)


def _electronegativity(element: Any) -> tuple[float, str]:
    return (element.X if math.isfinite(element.X) else math.inf, element.symbol)  # noble gases have none


@lru_cache(maxsize=32)
def _known(
    elements: tuple[str, ...], table: HullTable
) -> tuple[tuple[Phase, ...], tuple[tuple[int, int], ...]]:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition, Element

    names, fractions, energies = table.phases_in(tuple(sorted(elements)))
    order = [sorted(elements).index(e) for e in elements]
    parts = [Composition(name) for name in names]
    entries = [PDEntry(part, float(e) * part.num_atoms) for part, e in zip(parts, energies, strict=True)]
    diagram = PhaseDiagram(entries, [Element(e) for e in elements])
    phases = tuple(
        Phase(
            formula=name,
            fractions=tuple(np.asarray(row, dtype=float)[order].tolist()),
            formation_energy=float(energy),
            e_above_hull=float(diagram.get_e_above_hull(entry) or 0.0),
        )
        for name, row, energy, entry in zip(names, fractions, energies, entries, strict=True)
    )
    places = {id(entry): k for k, entry in enumerate(entries)}
    lines = {
        tuple(sorted((places[id(diagram.qhull_entries[a])], places[id(diagram.qhull_entries[b])])))
        for facet in diagram.facets
        for a in facet
        for b in facet
        if a < b
    }
    return phases, tuple(sorted(lines))  # type: ignore[arg-type]
