"""Equality of crystals, their RMS distance and their superposition, by pymatgen's StructureMatcher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crystal_core.evaluation.matching import PAIR_SECONDS
from crystal_core.evaluation.parallel import time_limit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

# pymatgen's defaults; MatterGen's for unique and novel
SAME: dict[str, Any] = {
    "ltol": 0.2,
    "stol": 0.3,
    "angle_tol": 5,
}


def alike_groups(
    structures: Sequence[Structure],
    known: dict[tuple[int, int], bool] | None = None,
    tolerances: dict[str, Any] = SAME,
) -> list[int]:
    """A group number per structure: equal cells share one; group 0 is the largest.

    Args:
        known: answers of earlier calls, by the identity of both structures; they must be alive as long
            as this is used.
    """
    from crystal_core.evaluation.reduced_matcher import ReducedMatcher

    matcher = ReducedMatcher(**tolerances)
    known = {} if known is None else known
    groups: list[list[int]] = []
    for i, structure in enumerate(structures):
        for members in groups:
            pair = (id(structures[members[0]]), id(structure))
            if pair not in known:
                try:
                    with time_limit(PAIR_SECONDS):
                        known[pair] = bool(matcher.fit(structures[members[0]], structure))
                except Exception:  # noqa: BLE001 (a cell that the matcher cannot handle matches no other)
                    known[pair] = False
            if known[pair]:
                members.append(i)
                break
        else:
            groups.append([i])
    groups.sort(key=lambda members: -len(members))
    number = {i: g for g, members in enumerate(groups) for i in members}
    return [number[i] for i in range(len(structures))]


def rms_distance(
    structure: Structure,
    other: Structure,
    tolerances: dict[str, Any] = SAME,
    *,
    seconds: float = PAIR_SECONDS,
    furthest: float | None = None,
) -> float | None:
    """Root mean square distance of the atoms in units of (V/N)^(1/3); None for different crystals.

    Of primitive cells at equal volume. A pair that the matcher cannot handle, or that takes longer than
    ``seconds``, does not match.

    Args:
        furthest: largest distance of one atom, in the same units. StructureMatcher's ``fit`` has ``stol``
            here, its distance none.
    """
    from crystal_core.evaluation.reduced_matcher import ReducedMatcher

    try:
        with time_limit(seconds):
            distances = ReducedMatcher(**tolerances).get_rms_dist(structure, other)
    except Exception:  # noqa: BLE001 (a cell the matcher cannot handle is the same as none)
        return None
    if distances is None or (furthest is not None and distances[1] > furthest):
        return None
    return float(distances[0])


class SiteShifts(NamedTuple):
    """How far the atoms of two cells lie apart, laid onto each other at equal volume.

    Attributes:
        rmsd: root mean square, in units of (V/N)^(1/3). furthest: the largest, in the same units.
        of_bond: the largest share that a shift is of the distance from its atom to the nearest one, the
            shorter of both cells.
        deformation: (3, 3), what turns and stretches vectors (rows, Å) of the lattice of ``other`` into
            those of the first.
    """

    rmsd: float
    furthest: float
    of_bond: float
    deformation: NDArray[np.float64]


def site_shifts(
    structure: Structure,
    other: Structure,
    tolerances: dict[str, Any] = SAME,
    *,
    seconds: float = PAIR_SECONDS,
) -> SiteShifts | None:
    """The shifts between the atoms of two reduced primitive cells; None without a match in ``seconds``."""
    from pymatgen.core import Lattice

    from crystal_core.evaluation.reduced_matcher import ReducedMatcher

    try:
        with time_limit(seconds):
            # in this order it repeats the cell that get_rms_dist(structure, other) does: near
            # ltol the order decides
            transformation = ReducedMatcher(**tolerances, primitive_cell=False).get_transformation(
                other, structure
            )
    except Exception:  # noqa: BLE001 (a cell the matcher cannot handle is the same as none)
        return None
    if transformation is None:
        return None
    basis, shift, partners = transformation
    scale = (other.volume / structure.volume) ** (1 / 6)
    cells = (Lattice(basis @ structure.lattice.matrix * scale), Lattice(other.lattice.matrix / scale))
    middle = Lattice.from_parameters(*np.mean([cell.parameters for cell in cells], axis=0))
    gaps = other.frac_coords - (structure.frac_coords @ np.linalg.inv(basis) + shift)[partners]
    shifts = np.linalg.norm((gaps - np.round(gaps)) @ middle.matrix, axis=1)
    bonds = np.minimum(_to_nearest(structure)[partners] * scale, _to_nearest(other) / scale)
    unit = (middle.volume / len(structure)) ** (1 / 3)
    return SiteShifts(
        rmsd=float(np.sqrt(np.mean(shifts**2)) / unit),
        furthest=float(shifts.max() / unit),
        of_bond=float((shifts / np.maximum(bonds, 1e-6)).max()),
        deformation=np.linalg.solve(other.lattice.matrix, basis @ structure.lattice.matrix),
    )


def strain_of(deformation: NDArray[np.float64], directions: NDArray[np.float64] | None = None) -> float:
    """The largest change of a length that a deformation makes, as the logarithm of the ratio: 0.05 is 5 %.

    Args:
        deformation: see :class:`SiteShifts`.
        directions: (k, 3), orthonormal; only lengths in their span count; None for all.
    """
    stretches = np.linalg.svd(
        deformation if directions is None else directions @ deformation, compute_uv=False
    )
    return float(np.abs(np.log(np.maximum(stretches, 1e-9))).max(initial=0.0))


def _to_nearest(structure: Structure) -> NDArray[np.float64]:
    """(atoms,) Å from each atom to the nearest one, in a reduced cell."""
    distances = structure.distance_matrix.copy()
    np.fill_diagonal(distances, min(structure.lattice.abc))  # its own image
    return distances.min(axis=1)


def superposed(
    structure: Structure,
    other: Structure,
    tolerances: dict[str, Any] = SAME,
    *,
    seconds: float = PAIR_SECONDS,
) -> Structure | None:
    """``other`` turned and repeated onto the sites of ``structure``, in their order; None without a match.

    Its own lattice constants are kept, so that what is left between the sites is the difference
    of the two crystals.
    """
    from pymatgen.core import Lattice, Structure

    from crystal_core.evaluation.reduced_matcher import ReducedMatcher

    matcher = ReducedMatcher(**tolerances, primitive_cell=False, attempt_supercell=True)
    try:
        with time_limit(seconds):
            moved = matcher.get_s2_like_s1(structure, other.get_primitive_structure())
    except Exception:  # noqa: BLE001 (a cell the matcher cannot handle lies on none)
        return None
    if moved is None or len(moved) != len(structure):
        return None
    matrix = np.asarray(moved.lattice.matrix)
    # the rotation nearest to both cells
    left, _, right = np.linalg.svd(matrix.T @ np.asarray(structure.lattice.matrix))
    return Structure(Lattice(matrix @ left @ right), moved.species, moved.frac_coords)
