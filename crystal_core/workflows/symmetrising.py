"""Finished crystals of a generation in their exactly symmetric form, where a tolerance is requested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.evaluation.validity import check_structure
from crystal_core.generators.symmetrise import Symmetrised, symmetrised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from crystal_core.records import Symmetrisation

# Å, below the requested one: a group found within a small tolerance moves atoms less
TOLERANCES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
EXACT = 1e-3  # Å: operations that sampling kept hold within this, after single precision


@dataclass(frozen=True, kw_only=True)
class SymmetricForm:
    """A crystal made exactly symmetric, in the cell, the orientation and the order of sites of the given one.

    Attributes:
        tolerance: in Å, within which the search finds the operations.
        displacement: largest motion (Å) of an atom within the cell, without common drift or strain.
        strain: largest principal strain of the cell, as a fraction.
    """

    structure: Structure
    tolerance: float
    displacement: float
    strain: float

    @property
    def record(self) -> Symmetrisation:
        """The entry of a crystal's provenance."""
        return {
            "within_angstrom": self.tolerance,
            "displacement_angstrom": round(self.displacement, 4),
            "strain": round(self.strain, 5),
        }


def symmetric_form(
    structure: Structure, tolerance: float, *, space_group: int | None = None
) -> SymmetricForm | None:
    """The form of a crystal with the most operations within a tolerance.

    A symmetrised crystal is searched again: in a nearly cubic cell, operations may be found only after others
    have made its lengths equal.

    Args:
        tolerance: in Å, the largest motion of an atom within the cell and of the end of a cell vector.
            Smaller ones are tried, too.
        space_group: number of a requested group, which is preferred to all others. A crystal that has it
            exactly stays as it is.

    Returns:
        None where the crystal gains no operation, or only at the price of sound or plausible distances.
    """
    before = check_structure(structure)
    best: SymmetricForm | None = None
    while True:
        latest = structure if best is None else best.structure
        for form, reached in _larger(latest, tolerance, space_group):
            after = check_structure(form)
            stays_sound = after.structure >= before.structure and after.plausible >= before.plausible
            if stays_sound and _is_near(structure, form, tolerance):
                best = SymmetricForm(
                    structure=form,
                    tolerance=reached if best is None else max(reached, best.tolerance),
                    displacement=_displacement(structure, form),
                    strain=_strain(structure, form),
                )
                break
        else:
            return best


def symmetrised_summary(
    forms: Sequence[SymmetricForm | None], tolerance: float, *, n_cells: int
) -> dict[str, Any]:
    """How many of the cells of a run were symmetrised, and the largest motion (Å) of an atom in them."""
    changed = [form for form in forms if form is not None]
    largest = max((form.displacement for form in changed), default=0.0)
    return {
        "n": len(changed),
        "of": n_cells,
        "within_angstrom": tolerance,
        "displacement_angstrom": round(largest, 4),
    }


def symmetrised_words(summary: dict[str, Any]) -> str:
    """A sentence on the symmetrised crystals of a run."""
    n = summary["n"]
    moved = f"; atoms moved at most {summary['displacement_angstrom']:.2f} Å" if n else ""
    return f"{n} of {summary['of']} symmetrised within {summary['within_angstrom']:g} Å{moved}."


def _larger(structure: Structure, tolerance: float, space_group: int | None) -> list[tuple[Structure, float]]:
    """Forms of a crystal with more operations, and the tolerance (Å) of each: the one to prefer first."""
    present = symmetrised(structure, (EXACT,))
    if space_group is not None and present.space_group == space_group:
        return []
    tolerances = (*(t for t in TOLERANCES if t < tolerance), tolerance)
    forms = [(symmetrised(structure, (t,)), t) for t in tolerances]
    forms = [pair for pair in forms if _order(pair[0]) > _order(present)]
    # of forms with as many operations the first, which moves the atoms least
    forms.sort(key=lambda pair: (pair[0].space_group != space_group, -_order(pair[0])))
    return [(form.structure, t) for form, t in forms]


def _order(form: Symmetrised) -> int:
    """The number of operations in the given cell."""
    return len(form.symmetry.rotations)


def _is_near(before: Structure, after: Structure, tolerance: float) -> bool:
    edges = np.linalg.norm(after.lattice.matrix - before.lattice.matrix, axis=1)
    return max(_displacement(before, after), float(edges.max())) <= tolerance


def _displacement(before: Structure, after: Structure) -> float:
    moved = np.asarray(after.frac_coords) - np.asarray(before.frac_coords)
    moved -= np.round(moved)  # minimal image first, then the mean
    moved -= moved.mean(axis=0)
    return float(np.linalg.norm(moved @ after.lattice.matrix, axis=1).max())


def _strain(before: Structure, after: Structure) -> float:
    deformation = np.linalg.solve(before.lattice.matrix, after.lattice.matrix)
    return float(np.abs(np.linalg.svd(deformation, compute_uv=False) - 1.0).max())
