"""Energy above the convex hull of known compounds, offline, from a table of formulas and formation energies.

The table (``hull.json.gz``) holds, per reduced formula, the lowest formation energy known, in the Materials
Project's 2020 scheme of corrections, and the PBE energies of the elements that formation energies are counted
from. It is built by :mod:`crystal_core.reference.build_hull`. It says nothing of compounds it does not know:
a crystal below its hull is a candidate for a new phase, not a proof of one. It holds energies of validation
and test rows too; that helps no structure prediction, because all candidates of one composition are measured
against the same hull.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Composition

TABLE = Path(__file__).parent / "hull.json.gz"
ERRORS = Path(__file__).parent / "hull_errors.json"
# of the atoms; below it a decomposition product is a rounding error of the linear programme
SMALLEST_SHARE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Stability:
    """An energy against the known compounds.

    Attributes:
        formation_energy: eV/atom, against the elements.
        e_above_hull: eV/atom; below zero the crystal would be more stable than everything known.
        decomposition: formula of each competing product → its share of the atoms; the shares sum to 1.
    """

    formation_energy: float
    e_above_hull: float
    decomposition: dict[str, float]


@dataclass(eq=False)
class HullTable:
    """The known compounds.

    Attributes:
        formulas: reduced formulas. energies: (formulas,) formation energies, eV/atom.
        elements: symbol → PBE energy of its ground state, eV/atom.
        about: origin and scheme, as sentences.
    """

    formulas: list[str]
    energies: np.ndarray
    elements: dict[str, float]
    about: dict[str, Any]

    def missing_elements(self, composition: Composition) -> list[str]:
        """Elements of the composition without a reference energy."""
        return sorted(e.symbol for e in composition if e.symbol not in self.elements)

    def formation_energy(self, composition: Composition, energy_per_atom: float) -> float:
        """Formation energy (eV/atom) of a total energy in the 2020 scheme; all elements need references."""
        return energy_per_atom - sum(
            composition.get_atomic_fraction(e) * self.elements[e.symbol] for e in composition
        )

    def stability(self, composition: Composition, formation_energy: float) -> Stability:
        """Distance to the hull, and decomposition products, at a formation energy (eV/atom)."""
        symbols = tuple(sorted(e.symbol for e in composition))
        names, fractions, energies = self.phases_in(symbols)
        wanted = np.array([composition.get_atomic_fraction(s) for s in symbols])
        shares = _cheapest_mixture(fractions, energies, wanted)
        decomposition = {
            names[i]: round(float(shares[i]), 6) for i in np.argsort(-shares) if shares[i] > SMALLEST_SHARE
        }
        return Stability(
            formation_energy=float(formation_energy),
            e_above_hull=float(formation_energy - shares @ energies),
            decomposition=decomposition,
        )

    @cached_property
    def _members(self) -> list[frozenset[str]]:
        return [frozenset(re.findall(r"[A-Z][a-z]?", formula)) for formula in self.formulas]

    @lru_cache(maxsize=256)  # noqa: B019 (the one table lives as long as the program)
    def phases_in(self, symbols: tuple[str, ...]) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Names, atomic fractions (phases, elements), formation energies of all within a chemical system."""
        from pymatgen.core import Composition

        inside = set(symbols)
        known = [i for i, members in enumerate(self._members) if members <= inside]
        names = [*symbols, *(self.formulas[i] for i in known)]
        parts = [Composition(name) for name in names]
        fractions = np.array([[part.get_atomic_fraction(s) for s in symbols] for part in parts])
        return names, fractions, np.concatenate([np.zeros(len(symbols)), self.energies[known]])


@lru_cache(maxsize=1)
def load_hull() -> HullTable:
    """The shipped table."""
    with gzip.open(TABLE, "rt", encoding="utf-8") as file:
        data = json.load(file)
    return HullTable(data["formulas"], np.array(data["formation_energies"]), data["elements"], data["about"])


@lru_cache(maxsize=8)
def measured_error(potential: str) -> dict[str, Any] | None:
    """A potential's error in energies above hull, see :mod:`crystal_core.workflows.measure_hull`."""
    if not ERRORS.is_file():
        return None
    return json.loads(ERRORS.read_text(encoding="utf-8")).get(potential)


def _cheapest_mixture(fractions: np.ndarray, energies: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Shares (phases,) ≥ 0 of least energy with ``shares @ fractions = wanted``, by linear programming."""
    from scipy.optimize import linprog

    solution = linprog(energies, A_eq=fractions.T, b_eq=wanted, bounds=(0, None), method="highs")
    assert solution.success, solution.message  # the elements themselves are always a solution
    return np.asarray(solution.x)
