"""Whether the crystals of one file are frames of one path: a relaxation, a molecular dynamics run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.properties import fixed

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.files.readers import Format

FRAME = "Frame"  # begins the note on a frame's place in its path, which is no objection
ONLY_PATHS: tuple[Format, ...] = ("xdatcar", "pdb")  # formats whose models with the same atoms are one path
FEWEST = 3  # crystals without energies and numbers: two may be any pair, such as before and after
MOST_MOVED = 1.0  # Å from frame to frame, mean over the atoms; other arrangements are farther apart
MOST_STRAINED = 0.25  # of the cell from frame to frame


def mark_frames(
    crystals: Sequence[Structure | StructureParseError],
    frames: Sequence[int],
    n_frames: int,
    kind: Format,
) -> None:
    """Give each crystal its ``properties["frame"]``, ``{"index", "of", "energy"?}``, where they are one path.

    All must have the same atoms in order. Those of an XDATCAR or PDB file then are one path, and those of an
    XYZ file that have an energy or a number each. Others are one path where each is close to the one before
    it, and where names, if there are any, count them.

    Args:
        frames: index of each crystal among the ``n_frames`` of the file.
    """
    read = [one for one in crystals if not isinstance(one, StructureParseError)]
    if len(read) < 2 or any(one.species != read[0].species for one in read):
        return
    numbered = all("energy" in one.properties or one.properties.get("step") for one in read)
    if kind not in ONLY_PATHS and not numbered and not _is_continuous(read):
        return
    for one, index in zip(crystals, frames, strict=True):
        if not isinstance(one, StructureParseError):
            energy = one.properties.get("energy")
            energy_text = "" if energy is None else f", energy {fixed(energy, 3)} eV"
            notes = one.properties.get("notes", [])
            one.properties["notes"] = [f"{FRAME} {index + 1} of {n_frames}{energy_text}.", *notes]
            one.properties["frame"] = {"index": index, "of": n_frames} | (
                {} if energy is None else {"energy": energy}
            )


def _is_continuous(crystals: Sequence[Structure]) -> bool:
    """Whether each is close to the one before; crystals with names of their own are none, nor is a pair."""
    labels = [str(one.properties.get("label", "")) for one in crystals]
    return (
        len(crystals) >= FEWEST
        and (not any(labels) or _are_counted(labels))
        and all(_is_near(one, other) for one, other in pairwise(crystals))
    )


def _are_counted(labels: Sequence[str]) -> bool:
    """Whether labels differ in a number that grows in equal steps.

    >>> _are_counted(["image0", "image1", "image2"]), _are_counted(["mp-2998", "mp-5020", "mp-5777"])
    (True, False)
    """
    parts = [re.fullmatch(r"(.*?)(\d{1,9})", label) for label in labels]
    numbers = [int(part[2]) for part in parts if part]
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    return (
        len(numbers) == len(labels)
        and len({part[1] for part in parts if part}) == 1
        and (len(steps) == 1 and min(steps) > 0)
    )


def _is_near(one: Structure, other: Structure) -> bool:
    """Whether a cell and its atoms changed so little that one follows the other."""
    lattice = np.array(one.lattice.matrix)
    strain = np.linalg.solve(lattice, np.array(other.lattice.matrix)) - np.eye(3)
    if np.abs(strain).max() > MOST_STRAINED:
        return False
    moved = other.frac_coords - one.frac_coords
    moved -= moved[0]  # a shift of all atoms is no change
    moved -= np.round(moved)
    moved = (moved - moved.mean(axis=0)) @ lattice
    return float(np.linalg.norm(moved, axis=1).mean()) <= MOST_MOVED
