"""Relax crystals and explain their energies, for runs, command line, predictions and evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from crystal_core import __version__
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.errors import RelaxationFailed
from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.matching import MATCHER
from crystal_core.files.records import cell_json, crystal_record, snapshot, structure_from_record
from crystal_core.frames import RunUpdate
from crystal_core.records import (
    FORMAT,
    CrystalRecord,
    Provenance,
    RelaxationOutcome,
    RelaxationRecord,
    RunResult,
    Snapshot,
)
from crystal_core.relax.energies import energies_of
from crystal_core.relax.relaxation import FMAX, STEPS
from crystal_core.requests import RelaxationRequest, from_json
from crystal_core.workflows.sampling_run import library_versions, path_for_player

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.relax.potential import Potential
    from crystal_core.relax.relaxation import Relaxation, RelaxStatus, RelaxStep

PATH_FRAMES = 60  # kept of one relaxation, for the player
CRYSTAL_STEPS = 100  # of the progress bar, for each crystal of a run


def run(request: RelaxationRequest | Mapping[str, Any]) -> Iterator[RunUpdate]:
    """Relax one crystal after the other; the result follows each, so stopping keeps those that are finished.

    Raises:
        RequestError: an option is wrong, or a record is no crystal.
        MissingExtra: the potential is not installed.
    """
    from crystal_core.device import use_threads
    from crystal_core.relax.potential import load_potential

    request = from_json(RelaxationRequest, request)
    structures = [structure_from_record(given) for given in request.crystals]
    potential = load_potential(request.potential, request.device)
    use_threads(request.threads)
    settings = {
        "potential": request.potential,
        "relax_seconds": request.relax_seconds,
        "device": request.device,
    }
    made_by = provenance(potential, settings)
    total, began = CRYSTAL_STEPS * len(structures), time.monotonic()
    result: RunResult = {
        "format": FORMAT,
        "crystals": [],
        "notes": [],
        "settings": settings | {"potential_used": potential.label},
        "seconds": 0.0,
    }
    for k, (given, structure) in enumerate(zip(request.crystals, structures, strict=True)):
        stage = f"relaxing {formula_of(structure.composition)}, {k + 1} of {len(structures)}"
        cell = RelaxationRun(structure)
        for moment in cell.steps(potential, seconds=request.relax_seconds):
            # how many steps a relaxation takes is not known beforehand
            inner = moment.step / (moment.step + 20)
            yield RunUpdate(
                stage=stage,
                step=round(CRYSTAL_STEPS * (k + inner)),
                n_steps=total,
                snapshot=snapshot(moment.structure),
            )
        record = relaxed_record(given, cell, made_by)
        result = {
            **result,
            "crystals": [*result["crystals"], record],
            "seconds": round(time.monotonic() - began, 2),
        }
        path = path_for_player(f"Relaxation of {given['id']}", cell.frames, keep=request.keep_trajectory)
        yield RunUpdate(
            stage=stage, step=CRYSTAL_STEPS * (k + 1), n_steps=total, result=result, trajectory=path
        )
    yield RunUpdate(stage="done", step=total, n_steps=total, result=result)


class RelaxationRun:
    """A cell while it is relaxed, and its record afterwards.

    Attributes:
        structure: what counts: the cell as given, then the relaxed one.
        energy: eV/atom, None before it is known or where the potential cannot take the cell.
        frames: of the relaxation, for the player. outcome: the keys that its record gains.
        status: how it ended; None before, and where the potential cannot take the cell.
    """

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.energy: float | None = None
        self.frames: list[Snapshot] = []
        self.outcome: RelaxationOutcome = {}
        self.status: RelaxStatus | None = None

    def steps(
        self,
        potential: Potential,
        *,
        seconds: float,
        relax: bool = True,
        fmax: float = FMAX,
        most_steps: int = STEPS,
        ends: Callable[[RelaxStep], RelaxStatus | None] | None = None,
    ) -> Iterator[RelaxStep]:
        """Relax the cell or compute its energy; on failure the given cell stays, with the reason."""
        from crystal_core.relax.relaxation import relax_steps, relaxation_of

        began, path, given = time.monotonic(), [], self.structure
        try:
            limits = {"fmax": fmax, "steps": most_steps if relax else 0, "seconds": seconds}
            for moment in relax_steps(given, potential, **limits, ends=ends, forces=relax):  # type: ignore[arg-type]
                path.append(moment)
                yield moment
            done = relaxation_of(path, time.monotonic() - began)
            energies = energies_of(done.structure.composition, done.energy, potential.name)
            energies = energies if done.converged else energies.of_unrelaxed
        except RelaxationFailed as error:
            self.outcome = {
                "relaxation": {"potential": potential.label, "converged": False, "error": str(error)}
            }
            return
        self.status = done.status
        self.energy, self.frames = round(done.energy, 5), frames_of(done)
        self.outcome = {"energies": energies.to_json()}
        if relax:
            self.structure = done.structure
            self.outcome |= {
                "relaxation": relaxation_json(done, potential.label),
                "original": cell_json(given),
            }


def relaxed_record(given: Mapping[str, Any], cell: RelaxationRun, made_by: Provenance) -> CrystalRecord:
    """The record of a cell that was relaxed, with what ``given`` says of its origin.

    Args:
        given: record with id, origin and provenance. made_by: the origin of the relaxed cell.
    """
    from crystal_core.reference.known import novelty

    record = crystal_record(
        cell.structure,
        id=given["id"],
        provenance=cast("Provenance", {**(given.get("provenance") or {}), "relaxed": made_by}),
        origin=given.get("origin"),
        notes=given.get("notes") or (),
        novelty=novelty(cell.structure),  # again: relaxing may change the crystal
    )
    record.update(cell.outcome)
    return record


def relaxed_row(
    structure: Structure,
    potential: Potential,
    *,
    id: str,
    fmax: float,
    steps: int,
    seconds: float,
    settings: Mapping[str, Any],
    on_step: Callable[[RelaxStep], None] | None = None,
) -> tuple[dict[str, Any], list[Snapshot]]:
    """One row of ``crystal-core relax`` and the frames of its path.

    Args:
        id: of the crystal in the row; it becomes a file name.

    Raises:
        RelaxationFailed: the potential cannot take this cell.
    """
    from crystal_core.relax.relaxation import relax

    done = relax(structure, potential, fmax=fmax, steps=steps, seconds=seconds, on_step=on_step)
    energies = energies_of(done.structure.composition, done.energy, potential.name)
    energies = energies if done.converged else energies.of_unrelaxed
    record = crystal_record(done.structure, id=id, provenance=provenance(potential, settings))
    row = energies.to_json() | {
        "converged": done.converged,
        "displacement_angstrom": round(done.displacement, 4),
        "status": str(done.status),
        "n_steps": done.n_steps,
        "max_force_ev_per_angstrom": round(done.max_force, 4),
        "initial_energy_per_atom_ev": round(done.initial_energy, 5),
        "seconds": round(done.seconds, 2),
        "crystal": record,
    }
    return row, frames_of(done)


def relaxation_json(done: Relaxation, label: str) -> RelaxationRecord:
    """A record's relaxation; ``rmsd`` by the published matcher, None for a different crystal."""
    moved = rms_distance(done.initial, done.structure, MATCHER)
    return {
        "potential": label,
        "converged": done.converged,
        "status": str(done.status),
        "n_steps": done.n_steps,
        "initial_energy_per_atom_ev": round(done.initial_energy, 5),
        "displacement_angstrom": round(done.displacement, 4),
        "rmsd": None if moved is None else round(moved, 4),
        "seconds": round(done.seconds, 2),
    }


def frames_of(done: Relaxation) -> list[Snapshot]:
    """The path as snapshots, thinned, the last cell always among them."""
    every = max(1, len(done.path) // PATH_FRAMES)
    moments = [moment for moment in done.path[:-1] if moment.step % every == 0]
    return [snapshot(moment.structure) for moment in [*moments, done.path[-1]]]


def provenance(potential: Potential, settings: Mapping[str, Any]) -> Provenance:
    """The origin of a relaxed crystal."""
    return {
        "model": potential.label,
        "version": __version__,
        "settings": dict(settings),
        "device": potential.device,
        "libraries": library_versions(with_energies=True),
        "note": "Relaxed with a machine-learning potential. Energies are estimates, "
        "each with its measured error.",
    }
