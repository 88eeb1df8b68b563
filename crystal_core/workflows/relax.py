"""Relax crystals and say what their energies mean: the parts that the command line, predictions and evaluations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from crystal_core import __version__

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.relax.potential import Potential
    from crystal_core.relax.relaxation import Relaxation, RelaxStep

PATH_FRAMES = 60  # kept of one relaxation, for the player


def relaxed_row(
    structure: Structure, potential: Potential, *, id: str, fmax: float, steps: int, seconds: float, settings: Mapping[str, Any],
    device: str = "cpu", on_step: Callable[[RelaxStep], None] | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    """One row of ``crystal-core relax`` and the frames of its path.

    Args:
        id: of the crystal in the row; it becomes a file name.

    Raises:
        RelaxationFailed: the potential cannot take this cell.
    """
    from crystal_core.records import crystal_record
    from crystal_core.relax.energies import energies_of
    from crystal_core.relax.relaxation import relax

    done = relax(structure, potential, fmax=fmax, steps=steps, seconds=seconds, on_step=on_step)
    energies = energies_of(done.structure.composition, done.energy, potential.name)
    record = crystal_record(done.structure, id=id, provenance=provenance(potential, settings, device))
    row = energies.to_json() | {
        "converged": done.converged, "displacement_angstrom": round(done.displacement, 4), "status": str(done.status), "n_steps": done.n_steps,
        "max_force_ev_per_angstrom": round(done.max_force, 4), "initial_energy_per_atom_ev": round(done.initial_energy, 5),
        "seconds": round(done.seconds, 2), "crystal": record,
    }  # fmt: skip
    return row, frames_of(done)


def relaxation_json(done: Relaxation, label: str) -> dict[str, Any]:
    """What a candidate's record tells of its relaxation; ``rmsd`` is that of the published matcher, None if it is another crystal now."""
    return {
        "potential": label, "converged": done.converged, "status": str(done.status), "n_steps": done.n_steps,
        "initial_energy_per_atom_ev": round(done.initial_energy, 5), "displacement_angstrom": round(done.displacement, 4),
        "rmsd": rmsd(done.initial, done.structure), "seconds": round(done.seconds, 2),
    }  # fmt: skip


def rmsd(before: Structure, after: Structure) -> float | None:
    """Root mean square distance in units of (V/N)^(1/3) with the published matcher, or None where they do not match."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    from crystal_core.evaluation.csp import MATCHER, PAIR_SECONDS
    from crystal_core.evaluation.parallel import time_limit

    try:
        with time_limit(PAIR_SECONDS):
            found = StructureMatcher(**MATCHER).get_rms_dist(before, after)
    except Exception:  # noqa: BLE001 (a cell the matcher cannot handle matches nothing)
        return None
    return None if found is None else round(float(found[0]), 4)


def frames_of(done: Relaxation) -> list[dict[str, Any]]:
    """The path as snapshots, thinned, the last cell always among them."""
    from crystal_core.records import snapshot

    every = max(1, len(done.path) // PATH_FRAMES)
    kept = [moment for moment in done.path[:-1] if moment.step % every == 0]
    return [snapshot(moment.structure) for moment in [*kept, done.path[-1]]]


def provenance(potential: Potential, settings: Mapping[str, Any], device: str) -> dict[str, Any]:
    """How a relaxed crystal came about."""
    from importlib.metadata import version

    return {
        "model": potential.label, "version": __version__, "settings": dict(settings), "device": device,
        "libraries": {name: version(name) for name in ("torch", "numpy", "pymatgen", "chgnet", "ase")},
        "note": "Relaxed with a machine-learning potential. Energies are estimates; their measured error stands beside them.",
    }  # fmt: skip
