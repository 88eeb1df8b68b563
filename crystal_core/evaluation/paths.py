"""Progress of a sampled cell: volume per atom, and distance of its atoms from their final positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def volume_per_atom(frames: Sequence[Mapping[str, Any]]) -> list[float]:
    """Å3 per atom of every frame (lattice, atomic_numbers, frac_coords)."""
    return [
        round(abs(float(np.linalg.det(np.asarray(f["lattice"])))) / len(f["atomic_numbers"]), 3)
        for f in frames
    ]


def displacement_to_end(frames: Sequence[Mapping[str, Any]]) -> list[float]:
    """Mean distance (Å) of the atoms of every frame from their places in the last one; 0 at the end.

    Fractional differences by the minimal image, without the drift that all atoms share, in the last frame's
    cell, so that a growing cell alone moves no atom.
    """
    last = frames[-1]
    lattice, end = np.asarray(last["lattice"], dtype=float), np.asarray(last["frac_coords"], dtype=float)
    displacements = []
    for frame in frames:
        shift = np.asarray(frame["frac_coords"], dtype=float) - end
        shift -= np.round(shift)  # minimal image first, then the mean
        shift -= shift.mean(axis=0)
        shift -= np.round(shift)
        displacements.append(round(float(np.linalg.norm(shift @ lattice, axis=1).mean()), 4))
    return displacements
