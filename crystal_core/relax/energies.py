"""Formation energy, energy above the hull with measured error, and products, from a potential's energy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crystal_core.errors import RelaxationFailed
from crystal_core.reference.hull import load_hull, measured_error

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from crystal_core.records import EnergyRecord
    from crystal_core.requests import PotentialName

UNSEEN = ("Po", "At", "Rn", "Fr", "Ra")  # up to Pu, all that MPtrj lacks: the crystals that CHGNet learned
IMPOSSIBLE = -1.0  # eV/atom below every known compound: a fault of the potential, not a discovery


@dataclass(frozen=True, kw_only=True)
class Energies:
    """Energies of one crystal, eV/atom.

    Attributes:
        energy: total, 2020 scheme.
        formation_energy, e_above_hull: None where an element has no reference energy.
        e_above_hull_error: spread (half the width of the central 68 %) of the potential's energy above hull
            around DFT, measured on crystals the potential was not trained on, at rest; None where it was not
            measured or the cell is not at rest.
        e_above_hull_bias: by how much it is too high on average (negative: too low), measured on the
            same; None as above.
        decomposition: formula of each competing product → its share of the atoms.
        note: why something is None, as a sentence.
    """

    energy: float
    formation_energy: float | None
    e_above_hull: float | None
    e_above_hull_error: float | None
    e_above_hull_bias: float | None
    decomposition: dict[str, float]
    note: str | None

    @property
    def of_unrelaxed(self) -> Energies:
        """The same, of a cell that did not come to rest: the error was measured on cells that did."""
        return replace(self, e_above_hull_error=None, e_above_hull_bias=None)

    def to_json(self) -> EnergyRecord:
        """The keys of the command line."""
        record: EnergyRecord = {
            "energy_per_atom_ev": _rounded(self.energy),
            "formation_energy_per_atom_ev": _rounded(self.formation_energy),
            "e_above_hull_ev": _rounded(self.e_above_hull),
            "e_above_hull_error_ev": self.e_above_hull_error,
            "e_above_hull_bias_ev": self.e_above_hull_bias,
            "decomposition": self.decomposition,
        }
        if self.note:
            record["note"] = self.note
        return record


def energies_of(
    composition: Composition, energy_per_atom: float, potential: PotentialName = "chgnet"
) -> Energies:
    """Place a total energy (eV/atom, 2020 scheme) against the elements and the known compounds.

    Raises:
        RelaxationFailed: the energy is so low that only a fault of the potential explains it.
    """
    hull = load_hull()
    missing = hull.missing_elements(composition)
    if missing:
        words = (
            f"No reference energy is known for {', '.join(missing)}, "
            "so there is no formation energy and no energy above hull."
        )
        if unseen := [symbol for symbol in missing if symbol in UNSEEN]:
            words += (
                f" CHGNet was trained on no crystal with {', '.join(unseen)}, "
                "so its energy and forces here are a guess."
            )
        return Energies(
            energy=energy_per_atom,
            formation_energy=None,
            e_above_hull=None,
            e_above_hull_error=None,
            e_above_hull_bias=None,
            decomposition={},
            note=words,
        )
    place = hull.stability(composition, hull.formation_energy(composition, energy_per_atom))
    if place.e_above_hull < IMPOSSIBLE:
        raise RelaxationFailed(
            f"The potential puts this cell {-place.e_above_hull:.1f} eV/atom below everything known, which "
            "is a fault of the potential."
        )
    error = measured_error(potential)
    return Energies(
        energy=energy_per_atom,
        formation_energy=place.formation_energy,
        e_above_hull=place.e_above_hull,
        e_above_hull_error=error["spread_ev"] if error else None,
        e_above_hull_bias=error["bias_ev"] if error else None,
        decomposition=place.decomposition,
        note=None,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
