"""Relaxation of atoms and cell: a step limit, a time limit, all steps, and the reason why it ended.

FIRE (Bitzek et al., Phys. Rev. Lett. 2006) on positions and the matrix logarithm of the deformation,
as ASE does both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.checks import check_whole
from crystal_core.errors import RelaxationFailed, RequestError
from crystal_core.evaluation.validity import compact, is_structurally_valid, thickness
from crystal_core.requests import MAX_STEPS

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    from crystal_core.relax.potential import Potential

FMAX, STEPS, SECONDS = 0.05, 250, 120.0
MIN_THICKNESS = 2.0  # Å; thinner cells are described by a more compact cell of the same lattice first
_BROKE_OFF = "The first step of the relaxation broke off; the cell is too far from any crystal."
MAX_GROWTH = 4.0  # a cell whose volume has changed by more than this factor has fallen apart


class RelaxStatus(StrEnum):
    """The end of a relaxation, as a sentence for its reader."""

    CONVERGED = "Relaxed until the forces were small."
    SINGLE_POINT = "Energy of the cell as given; nothing was moved."
    STEP_LIMIT = "Stopped at the step limit before the forces were small; the last cell is kept."
    TIME_LIMIT = "Stopped at the time limit before the forces were small; the last cell is kept."
    WORK_LIMIT = "Stopped at the limit of its effort before the forces were small; the last cell is kept."
    OUTRUN = "Stopped before the forces were small: its energy stays too far above that of another candidate."
    INTERRUPTED = "The potential failed on the way; the last cell it could take is kept."


@dataclass(frozen=True, kw_only=True)
class RelaxStep:
    """One moment of a relaxation.

    Attributes:
        step: steps taken, 0 for the cell as given.
        energy: eV/atom, 2020 scheme. max_force: eV/Å, the largest over atoms and cell.
    """

    step: int
    energy: float
    max_force: float
    structure: Structure
    status: RelaxStatus | None = None


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """The end of a relaxation.

    Attributes:
        initial, structure: the cell as given (compact if it was a sliver) and relaxed, atoms
            in the same order.
        initial_energy, energy: eV/atom, 2020 scheme. max_force: eV/Å.
        path: every kept step, the first and the last among them.
    """

    initial: Structure
    structure: Structure
    initial_energy: float
    energy: float
    max_force: float
    n_steps: int
    status: RelaxStatus
    seconds: float
    path: tuple[RelaxStep, ...]

    @property
    def converged(self) -> bool:
        """Whether the forces became small."""
        return self.status is RelaxStatus.CONVERGED

    @property
    def displacement(self) -> float:
        """Root mean square motion (Å) of atoms within the cell, without common drift or strain."""
        moved = np.asarray(self.structure.frac_coords) - np.asarray(self.initial.frac_coords)
        moved -= np.round(moved)  # minimal image first, then the mean
        moved -= moved.mean(axis=0)
        return float(np.sqrt(((moved @ self.structure.lattice.matrix) ** 2).sum(axis=1).mean()))


def relax_steps(
    structure: Structure,
    potential: Potential,
    *,
    fmax: float = FMAX,
    steps: int = STEPS,
    seconds: float = SECONDS,
    ends: Callable[[RelaxStep], RelaxStatus | None] | None = None,
    forces: bool = True,
) -> Iterator[RelaxStep]:
    """The relaxation step by step; the last step carries a status.

    Nothing runs before the first ``next``; closing stops it.

    Args:
        fmax: done when no force (eV/Å), that on the cell included, is larger.
        steps: at most this many; 0 gives the energy of the cell as it is.
        seconds: no step begins later than this after the first.
        ends: the status with which a step is to be the last, for a reason outside of this relaxation; None
            while it is to go on.
        forces: with no steps, whether the forces are computed too, which takes as long again;
            else ``max_force`` is nan.

    Raises:
        RequestError: an option is out of range.
        RelaxationFailed: the potential cannot take the cell as given.
    """
    check_limits(fmax, steps, seconds)
    start = _sound(structure)
    stop = time.monotonic() + seconds
    if steps == 0:
        outputs = potential.predict(start, "efs" if forces else "e")
        yield RelaxStep(
            step=0,
            energy=float(outputs["e"]),
            max_force=_largest(outputs["f"]) if forces else float("nan"),
            structure=start,
            status=RelaxStatus.SINGLE_POINT,
        )
        return
    for moment in _fire(start, potential, fmax, steps):
        reported = moment
        if moment.status is None and moment.step >= steps:
            reported = replace(moment, status=RelaxStatus.STEP_LIMIT)
        elif moment.status is None and time.monotonic() > stop:
            reported = replace(moment, status=RelaxStatus.TIME_LIMIT)
        elif moment.status is None and ends is not None:
            reported = replace(moment, status=ends(moment))
        yield reported
        if reported.status is not None:
            return


def usual_steps(n_atoms: int) -> float:
    """Steps until a cell of this size comes to rest, before any is taken."""
    return 18.0 * _softness(n_atoms)


def steps_to_rest(moment: RelaxStep, fmax: float = FMAX) -> float:
    """How many more steps a relaxation takes on average, at least one.

    Forces fall to 1/e in about eight steps; more slowly in large cells, and where the relaxation has already
    taken many steps (chosen on the relaxations of the candidates of 29 formulas, cells of up to 40 atoms).
    """
    falls = math.log(max(1.0, moment.max_force / fmax))
    return (8.0 * falls + 2.0) * (1.0 + moment.step / 40.0) * _softness(len(moment.structure))


def _softness(n_atoms: int) -> float:
    """Steps that a cell needs over those of one of 14 atoms."""
    return (n_atoms / 14.0) ** 0.35


def check_limits(fmax: float, steps: int, seconds: float) -> None:
    """Raise RequestError unless the options of a relaxation are in range."""
    check_whole("steps", steps, 0, MAX_STEPS)
    if not 0 < fmax < 10:
        raise RequestError(f"fmax must lie between 0 and 10 eV/Å, not {fmax:g}.")
    if not seconds > 0:
        raise RequestError(f"The time limit must be above 0 seconds, not {seconds:g}.")


def relax(
    structure: Structure,
    potential: Potential,
    *,
    fmax: float = FMAX,
    steps: int = STEPS,
    seconds: float = SECONDS,
    on_step: Callable[[RelaxStep], None] | None = None,
    keep_every: int = 1,
) -> Relaxation:
    """Relax a crystal to the end; see :func:`relax_steps`.

    Args:
        on_step: told of every step. keep_every: steps between those kept in ``path``.
    """
    began = time.monotonic()
    path: list[RelaxStep] = []
    with closing(relax_steps(structure, potential, fmax=fmax, steps=steps, seconds=seconds)) as all_steps:  # type: ignore[type-var]
        for moment in all_steps:
            if on_step:
                on_step(moment)
            if moment.status is not None or moment.step % keep_every == 0:
                path.append(moment)
    return relaxation_of(path, time.monotonic() - began)


def relaxation_of(path: Sequence[RelaxStep], seconds: float) -> Relaxation:
    """The relaxation from its collected steps: the first, and the last with its status."""
    first, last = path[0], path[-1]
    assert last.status is not None
    return Relaxation(
        initial=first.structure,
        structure=last.structure,
        initial_energy=first.energy,
        energy=last.energy,
        max_force=last.max_force,
        n_steps=last.step,
        status=last.status,
        seconds=seconds,
        path=tuple(path),
    )


def _fire(start: Structure, potential: Potential, fmax: float, steps: int) -> Iterator[RelaxStep]:
    from ase.optimize import FIRE
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = AseAtomsAdaptor.get_atoms(start, msonable=False)
    atoms.calc = potential.calculator()
    free = _cell_filter(atoms)
    walk = FIRE(free, logfile=None).irun(fmax=fmax, steps=steps)
    last: RelaxStep | None = None
    step = 0
    while True:
        try:
            converged = bool(next(walk))
            forces = free.get_forces()
        except StopIteration:
            return
        except (RelaxationFailed, ArithmeticError, ValueError, RuntimeError) as error:
            if last is None:
                raise (
                    error if isinstance(error, RelaxationFailed) else RelaxationFailed(_BROKE_OFF)
                ) from error
            yield replace(last, status=RelaxStatus.INTERRUPTED)
            return
        now = AseAtomsAdaptor.get_structure(atoms)
        if not 1 / MAX_GROWTH < now.volume / start.volume < MAX_GROWTH:
            raise RelaxationFailed(
                f"While relaxing, the cell went from {start.volume:.0f} to {now.volume:.0f} Å3: "
                "it fell apart or collapsed."
            )
        last = RelaxStep(
            step=step,
            energy=float(atoms.get_potential_energy()) / len(atoms),
            max_force=_largest(forces),
            structure=_plain(now, start),
            status=RelaxStatus.CONVERGED if converged else None,
        )
        yield last
        step += 1


def _cell_filter(atoms: Atoms) -> Any:
    """ASE's FrechetCellFilter, which computes the forces of one geometry once.

    FIRE requests them four times a step; the derivative of the matrix exponential for the cell makes that
    a seventh of a relaxation of ten atoms.
    """
    from ase.filters import FrechetCellFilter

    class Kept(FrechetCellFilter):
        geometry = b""

        def get_forces(self, *args: Any, **options: Any) -> np.ndarray:
            geometry = self.atoms.positions.tobytes() + self.atoms.cell.array.tobytes()
            if geometry != self.geometry:
                self.kept, self.geometry = super().get_forces(*args, **options), geometry
            return self.kept.copy()

    return Kept(atoms)


def _sound(structure: Structure) -> Structure:
    from crystal_core.relax.potential import check_cell

    check_cell(structure)
    reasons: list[str] = []
    if not is_structurally_valid(structure, reasons):
        raise RelaxationFailed(f"{' '.join(reasons)} Such a cell cannot be relaxed.")
    return compact(structure) if thickness(structure.lattice.matrix) < MIN_THICKNESS else structure


def _plain(structure: Structure, like: Structure) -> Structure:
    """Elements and positions only, sites in the order given."""
    from pymatgen.core import Structure

    return Structure(structure.lattice, like.species, structure.frac_coords)


def _largest(forces: np.ndarray) -> float:
    return float(np.sqrt((np.asarray(forces) ** 2).sum(axis=1)).max())
