"""Time the relaxation of the candidates of one formula against each other, beside one by one."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from crystal_core.benchmarks.speed import describe_device
from crystal_core.chemistry.formula import parse_formula
from crystal_core.device import pick_device, use_threads
from crystal_core.errors import RelaxationFailed, RequestError
from crystal_core.evaluation.ranking import load_weights
from crystal_core.registry.store import load_generator
from crystal_core.relax.potential import Potential, load_potential
from crystal_core.relax.race import TURNS, Race, by_turns
from crystal_core.relax.relaxation import RelaxStatus, RelaxStep, relax_steps
from crystal_core.structures import to_structures

if TYPE_CHECKING:
    import numpy as np
    from pymatgen.core import Structure


@dataclass(frozen=True, kw_only=True)
class TwoPassPotential(Potential):
    """The potential with derivatives as its package takes them, in two recorded passes."""

    def predict(self, structure: Structure, task: Any = "efs") -> Mapping[str, np.ndarray]:
        """:meth:`Potential.predict` with two-pass derivatives."""
        return self._finite(structure, lambda graph: self.model.predict_graph(graph, task=task))


def benchmark_relax(
    formula: str,
    n_atoms: int,
    n: int,
    *,
    reference: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> dict[str, Any]:
    """Seconds, and processor seconds, to relax ``n`` prototypes of a formula in cells of ``n_atoms`` atoms.

    Args:
        reference: also relax each to its end, with two-pass derivatives.

    Raises:
        RequestError: no such cell or prototype.
    """
    use_threads(threads)
    potential = load_potential("chgnet", device)
    cells = _candidates(formula, n_atoms, n)
    potential.predict(cells[0])  # warm-up
    report: dict[str, Any] = {"formula": formula, "n_atoms": n_atoms, "n_candidates": len(cells)}
    report |= _measured(cells, potential, rivals=True)
    if reference:
        plain = TwoPassPotential(
            name=potential.name, label=potential.label, device=potential.device, model=potential.model
        )
        one_by_one = _measured(cells, plain, rivals=False)
        report |= {f"{key}_one_by_one": value for key, value in one_by_one.items()}
        report["ratio"] = round(one_by_one["cpu_seconds"] / max(1e-9, report["cpu_seconds"]), 2)
        report["lowest_energy_difference_ev"] = round(
            report["lowest_energy_ev"] - one_by_one["lowest_energy_ev"], 4
        )
    return report | describe_device(pick_device(device))


def _candidates(formula: str, n_atoms: int, n: int) -> list[Structure]:
    parsed = parse_formula(formula)
    if n_atoms % parsed.n_atoms:
        raise RequestError(
            f"A cell of {formula} holds a multiple of {parsed.n_atoms} atoms; {n_atoms} is none."
        )
    z = n_atoms // parsed.n_atoms
    prototypes: Any = load_generator("prototype", "cpu")
    _, frame = prototypes.lay_out({z: tuple(parsed.atomic_numbers_of(z))}, n, repeats=True)
    cells = [cell for cell in to_structures(frame.crystals) if cell is not None] if frame is not None else []
    if not cells:
        raise RequestError(
            f"No prototype of {formula} with {n_atoms} atoms is known; choose another formula."
        )
    return cells


def _measured(cells: Sequence[Structure], potential: Potential, *, rivals: bool) -> dict[str, Any]:
    weights = load_weights()
    race = Race(cost=weights.cost_of_relaxed, gains=weights.gains)
    began, cpu = time.monotonic(), time.process_time()
    runners = {k: _steps(k, cell, potential, race if rivals else None) for k, cell in enumerate(cells)}
    ends = dict(by_turns(runners, turns=TURNS if rivals else (10**6,)))  # the last step of each
    return {
        "seconds": round(time.monotonic() - began, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "steps": sum(end.step for end in ends.values()),
        "n_converged": sum(end.status is RelaxStatus.CONVERGED for end in ends.values()),
        "n_stopped_as_hopeless": sum(end.status is RelaxStatus.OUTRUN for end in ends.values()),
        "lowest_energy_ev": round(min(end.energy for end in ends.values()), 4),
    }


def _steps(k: int, cell: Structure, potential: Potential, race: Race | None) -> Generator[RelaxStep]:
    ends = None if race is None else partial(race.ends, k)
    try:
        yield from relax_steps(cell, potential, seconds=3600.0, ends=ends)
    except RelaxationFailed:
        return
