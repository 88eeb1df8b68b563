"""One candidate of a structure prediction: its cell as sampled, then relaxed, and its record."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from crystal_core.chemistry.formula_markup import SUBSCRIPTS
from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.validity import check_structure
from crystal_core.files.records import crystal_record
from crystal_core.relax.relaxation import RelaxStatus, RelaxStep
from crystal_core.workflows.relax import RelaxationRun

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.evaluation.powder_pattern import MeasuredPattern
    from crystal_core.frames import Draft, Stage, Template
    from crystal_core.records import (
        CrystalRecord,
        Novelty,
        Origin,
        PatternMatch,
        Provenance,
        RelaxationOutcome,
        Snapshot,
    )
    from crystal_core.reference.known_crystals import KnownCrystal
    from crystal_core.relax.potential import Potential

KNOWN_CRYSTALS = "known crystals"  # in place of a model's name
STILL_ALIKE = 0.1
WEIGHING_SECONDS = 600.0


class Candidate:
    """A cell as sampled, and as relaxed once that is done.

    Attributes:
        structure: what counts now: the cell as sampled, then the relaxed one.
        draft: what a language model wrote of it.
        stages: the models that worked on it, where there were several.
        alike: the candidate that is relaxed in its place, because both are the same structure
            as sampled; else itself.
        log_odds: that the cell as sampled is the right one, by a network; None where it was not asked.
        energy: eV/atom, None before it is known or where the potential cannot take the cell.
        single_point: the energy of the cell as sampled.
        relaxed_energy: of the relaxed cell, also where a limit stopped it before the forces were small; None
            where it was stopped as hopeless.
        converged: they became small.
        template_rank: place of its prototype among those of its formula, 1 first; 0 without one.
        known: the known crystal that the cell as sampled is; None where it was not looked up.
        frames: of the relaxation, for the player.
    """

    def __init__(
        self,
        z: int,
        origin: Origin,
        index: int,
        structure: Structure,
        template: Template | None = None,
        draft: Draft | None = None,
        stages: Sequence[Stage] = (),
        *,
        template_rank: int = 0,
        known: KnownCrystal | None = None,
    ) -> None:
        self.z, self.origin, self.index, self.structure, self.template = z, origin, index, structure, template
        self.template_rank, self.known = template_rank, known
        self.log_odds: float | None = None
        self.single_point: float | None = None
        self.relaxed_energy: float | None = None
        self.converged = self.has_final_energy = False
        self.draft, self.stages = draft, tuple(stages)
        self.sampled = structure
        self.alike = self
        self.energy: float | None = None
        self.frames: list[Snapshot] = []
        self._outcome: RelaxationOutcome = {}
        self._record: CrystalRecord | None = None
        self._pattern: tuple[Structure, PatternMatch] | None = None
        self._compared: tuple[Structure, bool] | None = None
        self._novelty: tuple[Structure, Novelty] | None = None

    def id(self, formula: str) -> str:
        return f"{_slug(formula)}-z{self.z}-{self.origin.replace(' ', '-')}-{self.index + 1}"

    def weigh(self, potential: Potential) -> None:
        """Take the energy of the cell as sampled."""
        for _ in self.compute_energy(potential, seconds=WEIGHING_SECONDS, relax=False):
            pass
        self.has_final_energy = False

    def compute_energy(
        self,
        potential: Potential,
        *,
        seconds: float,
        relax: bool,
        ends: Callable[[RelaxStep], RelaxStatus | None] | None = None,
    ) -> Generator[RelaxStep]:
        """Relax the cell or compute its energy; on failure the sampled cell stays, with the reason.

        Args:
            ends: the status with which a step is to be the last; None while the relaxation is to go on.
        """
        cell = RelaxationRun(self.sampled)
        yield from cell.steps(potential, seconds=seconds, relax=relax, ends=ends)
        self.has_final_energy = True
        self._record = None
        if cell.status is RelaxStatus.OUTRUN:
            self.mark_not_relaxed(str(cell.status))
            return
        self.structure, self.energy, self.frames, self._outcome = (
            cell.structure,
            cell.energy,
            cell.frames,
            cell.outcome,
        )
        if relax:
            self.relaxed_energy, self.converged = cell.energy, cell.status is RelaxStatus.CONVERGED
        else:
            self.single_point = cell.energy

    @property
    def ranking_energy(self) -> float | None:
        """Its own energy, or that of its relaxed stand-in while this cell is still the same as that one."""
        return self.alike.energy if self.alike is self or self._is_still_alike() else None

    def _is_still_alike(self) -> bool:
        """Whether the sampled cell is what the other became: sites and volume within a tenth."""
        other = self.alike.structure
        if self._compared is None or self._compared[0] is not other:
            volumes = self.sampled.volume / len(self.sampled), other.volume / len(other)
            near = abs(volumes[0] / volumes[1] - 1.0) < STILL_ALIKE
            rmsd = rms_distance(other, self.sampled) if near else None
            self._compared = other, rmsd is not None and rmsd < STILL_ALIKE
        return self._compared[1]

    def mark_not_relaxed(self, reason: str) -> None:
        """Record why this cell stays as sampled, unless a reason is recorded already."""
        self._outcome = {"relaxation": {"converged": False, "error": reason}, **self._outcome}
        self._record = None

    def pattern(self, measured: MeasuredPattern) -> PatternMatch:
        """Similarity of the computed pattern of :attr:`structure` to a measured one, if it has a pattern."""
        from crystal_core.evaluation.powder_pattern import likeness

        if self._pattern is None or self._pattern[0] is not self.structure:
            compared = (
                likeness(self.structure, measured) if check_structure(self.structure).structure else None
            )
            self._pattern = (
                self.structure,
                {
                    "similarity": None if compared is None else compared.similarity,
                    "scale": None if compared is None else compared.scale,
                },
            )
        return self._pattern[1]

    def record(self, formula: str, provenance: Provenance) -> CrystalRecord:
        """The ``CRYSTAL`` JSON without its score; made once, and again when the cell was relaxed."""
        if self._record is None:
            provenance = self._from_prototype(provenance)
            if self.draft is not None:
                provenance = {**provenance, "draft": asdict(self.draft)}
            if self.stages:
                provenance = {**provenance, "stages": [asdict(stage) for stage in self.stages]}
            self._record = crystal_record(
                self.structure,
                id=self.id(formula),
                origin=self.origin,
                novelty=self._novelty_now(),
                provenance=provenance,
            )
            self._record["z"] = self.z
            self._record.update(self._outcome)
        if self.alike is not self and (outcome := self.alike._outcome):
            weighed = "energies" in self._outcome
            if weighed and "original" not in outcome:
                reason = {"relaxation": outcome["relaxation"]} if "relaxation" in outcome else {}
                return {**self._record, **reason}  # type: ignore[typeddict-item]
            what = "which the potential cannot take"
            if "energies" in outcome and not self._is_still_alike():
                what = "which was relaxed in its place and has become another cell; this one has " + (
                    "the energy of the cell as sampled" if weighed else "no energy of its own"
                )
            elif "energies" in outcome:
                what = (
                    "which was relaxed and whose energy ranks both"
                    if "original" in outcome
                    else "whose energy as sampled ranks both"
                )
            error = f"It is like {self.alike.id(formula)}, {what}."
            return {**self._record, "relaxation": {"converged": False, "error": error}}
        return {**self._record}

    def _novelty_now(self) -> Novelty:
        """Novelty of the sampled cell, then of the relaxed one."""
        from crystal_core.reference.known import novelty

        if self.known is not None and self.structure is self.sampled:
            return self.known.novelty
        if self._novelty is None or self._novelty[0] is not self.structure:
            self._novelty = self.structure, novelty(self.structure)
        return self._novelty[1]

    def _from_prototype(self, provenance: Provenance) -> Provenance:
        """The run's provenance with the known crystal or arrangement behind this cell, if any."""
        if self.known is not None:
            note = f"The known crystal {self.known.id}; nothing was generated."
            named: Provenance = {
                **provenance,
                "model": KNOWN_CRYSTALS,
                "note": note,
                "known_crystal": self.known.id,
            }
            named.pop("weights_sha256", None)
            return named
        if self.template is None:
            return provenance
        named = {**provenance, "prototype": asdict(self.template)}
        if self.origin != "prototype":
            return named
        return {
            **named,
            "model": "prototype",
            "note": "A known arrangement with these elements on it; nothing was generated.",
            "weights_sha256": self.template.table_sha256,
        }


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text.translate(SUBSCRIPTS)).strip("-")[:40] or "cell"
