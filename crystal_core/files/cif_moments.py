"""Magnetic moments and other site values of a CIF: as listed, and as magnetic symmetry repeats them.

Components are those of magCIF: along the unit vectors of a, b and c, in µB. A moment is an axial vector, so
an operation W with time reversal θ makes θ det(W) W m of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crystal_core.files.cif_atoms import Atom, number_of
from crystal_core.files.cif_modulation import MOMENT_WAVES
from crystal_core.files.cif_sites import SPECIAL, Sites
from crystal_core.files.cif_text import Block
from crystal_core.files.diagnosis import POSITIONS
from crystal_core.files.operations import Operations
from crystal_core.files.site_values import SiteValues, sorted_values

PREFIX = "_atom_site_moment"
AXES = tuple((f"{PREFIX}_crystalaxis_{axis}", f"{PREFIX}_crystalaxis_m{axis}") for axis in "xyz")
REVERSING = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_centering_xyz")
EQUAL = 0.05  # µB; moments of one site that differ by more contradict each other
# prefixes of atom-list columns that hold no site value
NO_VALUES = tuple(
    "label type_symbol fract_ cartn_ occupancy symmetry_ site_symmetry wyckoff calc_flag disorder_ "
    "refinement_flags moment_ aniso_ attached_hydrogens adp_type thermal_displace_type magnetic_site".split()
)


def site_values_in(
    block: Block, atoms: Sequence[Atom], sites: Sites, matrix: np.ndarray, *, has_symmetry: bool
) -> tuple[SiteValues | None, list[str]]:
    """Numbers in the list of atoms and moments, for each site of the cell, and notes on what is left out.

    Args:
        matrix: cell, rows a, b, c in Å.
        has_symmetry: operations other than the identity made the sites.
    """
    n_rows = max(len(block.column(tag)) for tag in POSITIONS)
    given: dict[str, list[float | None]] = {}
    for tag, column in block.columns.items():
        name = tag.removeprefix("_atom_site_")
        if name == tag or name.startswith(NO_VALUES) or len(column) != n_rows:
            continue
        if block.loops.get(tag) != block.loops.get(POSITIONS[0]):
            continue
        numbers = [number_of(text) for text in column]
        if any(x is not None for x in numbers):
            given[name] = [numbers[atoms[first].row] for first in sites.firsts]
    values, notes = sorted_values(given, matrix)
    if not any(tag.startswith(PREFIX) for tag in block.tags):
        return values, notes
    moments, remarks = _moments(block, atoms, sites, matrix, has_symmetry)
    if not moments:
        return values, notes + remarks
    columns = values["columns"] if values else {}
    return {"columns": columns, "moments": moments, "along_c": False}, notes + remarks


def _moments(
    block: Block, atoms: Sequence[Atom], sites: Sites, matrix: np.ndarray, has_symmetry: bool
) -> tuple[list[list[float] | None], list[str]]:
    listed, notes = _listed(block)
    if not listed:
        return [], notes
    unknown = sorted(set(listed) - {atom.label for atom in atoms})
    if unknown:
        notes.append(
            f"The file gives a moment to {', '.join(unknown[:4])}, which is not in its list of atoms."
        )
    operations, reversal = _magnetic_operations(block)
    if has_symmetry and len(operations) == 1:
        notes.append(
            "The file lists no magnetic symmetry operations: moments are drawn on the listed atoms only."
        )
    basis = matrix / np.linalg.norm(matrix, axis=1)[:, None]
    vectors: list[list[np.ndarray]] = [[] for _ in sites.places]
    for atom in atoms:
        if atom.label not in listed:
            continue
        alike = np.array([k for k, shares in enumerate(sites.shares) if atom.element in shares])
        images = operations.rotations @ np.array(atom.place) + operations.translations
        start = np.array(listed[atom.label]) @ basis
        for image, rotation, sign in zip(images, operations.rotations, reversal, strict=True):
            gaps = sites.places[alike] - image
            distances = np.linalg.norm((gaps - np.round(gaps)) @ matrix, axis=1)
            nearest = int(np.argmin(distances))
            if distances[nearest] < SPECIAL:
                # x' = W x in fractions of the cell is matrix.T W inv(matrix.T) in Cartesian axes
                turn = matrix.T @ rotation @ np.linalg.inv(matrix.T)
                vectors[alike[nearest]].append(sign * np.linalg.det(rotation) * turn @ start)
    at_odds = [k for k, these in enumerate(vectors) if these and np.ptp(these, axis=0).max() > EQUAL]
    if at_odds:
        notes.append(
            f"The magnetic symmetry gives {len(at_odds)} site{'' if len(at_odds) == 1 else 's'} two moments "
            "that differ: these are not drawn."
        )
    moments: list[list[float] | None] = [
        np.mean(these, axis=0).round(6).tolist() if these and k not in at_odds else None
        for k, these in enumerate(vectors)
    ]
    return (moments if any(moments) else []), notes


def _listed(block: Block) -> tuple[dict[str, list[float]], list[str]]:
    """Label → components along a, b and c (µB), and why there are none."""
    labels, columns = block.column(f"{PREFIX}_label"), [block.column(*tags) for tags in AXES]
    if not labels or not any(columns):
        waves = any(tag.startswith(MOMENT_WAVES) for tag in block.tags)
        why = (
            "they form a wave"
            if waves
            else "the file does not give them along its axes (crystalaxis_x, y, z)"
        )
        return {}, [f"The magnetic moments are not drawn: {why}."]
    rows = [[number_of(text) if text else 0.0 for text in column or [""] * len(labels)] for column in columns]
    moments, broken = {}, []
    for label, moment in zip(labels, zip(*rows, strict=True), strict=True):
        if any(x is None for x in moment):
            broken.append(label)
        else:
            moments[label] = [float(x or 0.0) for x in moment]
    notes = [f"The moment of {', '.join(broken[:4])} is no number and is not drawn."] if broken else []
    return moments, notes


def _magnetic_operations(block: Block) -> tuple[Operations, np.ndarray]:
    """Every operation with its time reversal, +1 or −1; the identity alone where the file lists none."""
    texts, centrings = ([text for text in block.column(tag) if text] for tag in REVERSING)
    texts, centrings = texts or ["x,y,z,+1"], centrings or ["x,y,z,+1"]
    ops, shifts = (Operations.from_xyz([_place(text) for text in each]) for each in (texts, centrings))
    signs = [np.array([_reversal(text) for text in each]) for each in (texts, centrings)]
    whole = Operations(
        np.tile(ops.rotations, (len(shifts), 1, 1)),
        np.concatenate([ops.translations + shift for shift in shifts.translations]),
    )
    return whole, np.concatenate([signs[0] * sign for sign in signs[1]])


def _place(text: str) -> str:
    return ",".join(text.split(",")[:3])


def _reversal(text: str) -> int:
    return -1 if text.split(",")[3:] and text.split(",")[3].strip().startswith("-") else 1
