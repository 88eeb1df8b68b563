"""One candidate of a structure prediction: its cell as sampled, then relaxed, and the record that tells of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from crystal_core.chemistry.formula import SUBSCRIPTS
from crystal_core.workflows.relax import Settling

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.evaluation.powder_pattern import MeasuredPattern
    from crystal_core.frames import Template
    from crystal_core.relax.potential import Potential
    from crystal_core.relax.relaxation import RelaxStep

STILL_ALIKE = 0.1


class Candidate:
    """A cell as sampled, and as relaxed once that is done.

    Attributes:
        structure: what counts now: the cell as sampled, then the relaxed one.
        alike: the candidate that is relaxed in its place, because both are the same structure as sampled; else itself.
        energy: eV/atom, None before it is known or where the potential cannot take the cell.
        frames: of the relaxation, for the player.
    """

    def __init__(
        self, z: int, origin: str, index: int, structure: Structure, template: Template | None = None
    ) -> None:
        self.z, self.origin, self.index, self.structure, self.template = z, origin, index, structure, template
        self.sampled = structure
        self.alike = self
        self.energy: float | None = None
        self.frames: list[dict[str, Any]] = []
        self._more: dict[str, Any] = {}
        self._record: dict[str, Any] | None = None
        self._pattern: tuple[Structure, dict[str, Any]] | None = None
        self._compared: tuple[Structure, bool] | None = None

    def id(self, formula: str) -> str:
        return f"{_slug(formula)}-z{self.z}-{self.origin.replace(' ', '-')}-{self.index + 1}"

    def settle(self, potential: Potential, *, seconds: float, relax: bool) -> Iterator[RelaxStep]:
        """Relax, or take the energy as it is; what the potential cannot take stays as sampled, with the reason."""
        cell = Settling(self.sampled)
        yield from cell.steps(potential, seconds=seconds, relax=relax)
        self.structure, self.energy, self.frames, self._more = (
            cell.structure,
            cell.energy,
            cell.frames,
            dict(cell.told),
        )
        self._record = None

    @property
    def ranking_energy(self) -> float | None:
        """Its own energy; that of the candidate relaxed in its place only where this cell is still the same, as that one is now."""
        return self.alike.energy if self.alike is self or self._is_still_alike() else None

    def _is_still_alike(self) -> bool:
        """Whether the cell as sampled is what the other one became: sites within a tenth of the mean spacing, volume within a tenth."""
        from crystal_core.evaluation.alike import rms_distance

        other = self.alike.structure
        if self._compared is None or self._compared[0] is not other:
            volumes = self.sampled.volume / len(self.sampled), other.volume / len(other)
            near = abs(volumes[0] / volumes[1] - 1.0) < STILL_ALIKE
            rmsd = rms_distance(other, self.sampled) if near else None
            self._compared = other, rmsd is not None and rmsd < STILL_ALIKE
        return self._compared[1]

    def leave(self, reason: str) -> None:
        """Say why this cell stays as sampled, unless it is told already."""
        self._more = {"relaxation": {"converged": False, "error": reason}} | self._more
        self._record = None

    def pattern(self, measured: MeasuredPattern) -> dict[str, Any]:
        """How alike the computed pattern of :attr:`structure` is to a measured one; no similarity where it has none."""
        from crystal_core.evaluation.powder_pattern import likeness
        from crystal_core.evaluation.validity import check_structure

        if self._pattern is None or self._pattern[0] is not self.structure:
            found = likeness(self.structure, measured) if check_structure(self.structure).structure else None
            self._pattern = (
                self.structure,
                {"similarity": found and found.similarity, "scale": found and found.scale},
            )
        return self._pattern[1]

    def record(self, formula: str, provenance: dict[str, Any]) -> dict[str, Any]:
        """The ``CRYSTAL`` JSON without its score; made once, and again when the cell was relaxed."""
        from crystal_core.files.records import crystal_record
        from crystal_core.reference.known import novelty

        if self._record is None:
            provenance = provenance | self._from_prototype()
            known = novelty(self.structure)  # of the relaxed cell once there is one
            made = crystal_record(
                self.structure, id=self.id(formula), origin=self.origin, novelty=known, provenance=provenance
            )  # type: ignore[arg-type]
            self._record = made | {"z": self.z} | self._more
        if self.alike is not self and (told := self.alike._more):
            what = "which the potential cannot take"
            if "energies" in told and not self._is_still_alike():
                what = "which was relaxed in its place and has become another cell; this one has no energy of its own"
            elif "energies" in told:
                what = (
                    "which was relaxed and whose energy ranks both"
                    if "original" in told
                    else "whose energy as sampled ranks both"
                )
            return self._record | {
                "relaxation": {"converged": False, "error": f"It is like {self.alike.id(formula)}, {what}."}
            }
        return dict(self._record)

    def _from_prototype(self) -> dict[str, Any]:
        if self.template is None:
            return {}
        named = {"prototype": asdict(self.template)}
        if self.origin != "prototype":
            return named
        note = "A known arrangement with these elements on it; nothing was generated."
        return named | {"model": "prototype", "note": note, "weights_sha256": self.template.table_sha256}


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text.translate(SUBSCRIPTS)).strip("-")[:40] or "cell"
