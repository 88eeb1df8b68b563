"""Give refined drafts the space groups that were requested.

Noise breaks the symmetry of a draft, and refinement restores it nearly, not exactly. Keeping the operations
of the draft in every step is worse: a network that was trained on noisy places meets places that symmetry
holds exactly, and makes cells of high symmetry too large (docs/results.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from crystal_core.evaluation.validity import is_structurally_valid
from crystal_core.generators.symmetrise import SYMMETRY_TOLERANCES, symmetrised
from crystal_core.requests import DeNovoRequest, GenerationRequest
from crystal_core.structures import from_structures, to_structures

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.crystal import CrystalBatch
    from crystal_core.frames import Draft


@dataclass(frozen=True)
class RequestedGroups:
    """The space groups that are requested of the crystals of a request, and which of them have theirs.

    Attributes:
        wanted: number of the crystal in the request → number of its space group.
        drafts: number of the crystal → its exactly symmetric draft, where that has the group.
        refined: numbers of the crystals whose refined cell has the group.
    """

    wanted: Mapping[int, int]
    drafts: Mapping[int, Structure]
    refined: set[int] = field(default_factory=set)

    @classmethod
    def of(
        cls, request: GenerationRequest | DeNovoRequest, drafts: Mapping[int, Structure]
    ) -> RequestedGroups:
        """What a request asks for; none where it names no space group.

        Args:
            drafts: number of the crystal → a draft that may stand in for its refined cell.
        """
        conditions = (request.conditions if isinstance(request, DeNovoRequest) else None) or ()
        wanted = {i: one.space_group for i, one in enumerate(conditions) if one.space_group is not None}
        forms = {i: _in_group(draft, wanted[i]) for i, draft in drafts.items() if i in wanted}
        return cls(wanted, {i: form for i, form in forms.items() if form is not None})

    def symmetrise(self, cells: Sequence[CrystalBatch], which: Sequence[int]) -> list[CrystalBatch]:
        """The crystals with those of ``which`` made exactly symmetric that have their group within 1 Å."""
        formed = list(cells)
        for i in which:
            (structure,) = to_structures(cells[i])
            form = _in_group(structure, self.wanted[i]) if structure and i in self.wanted else None
            if form is not None:
                formed[i] = from_structures([form]).to(cells[i].lattice.device)
                self.refined.add(i)
        return formed

    def is_lost(self, i: int) -> bool:
        """Whether a draft had its group and the refined cell has not."""
        return i in self.drafts and i not in self.refined

    def with_drafts(self, cells: Sequence[CrystalBatch]) -> list[CrystalBatch]:
        """The crystals with the symmetric draft in place of each that lost its group."""
        return [
            from_structures([self.drafts[i]]).to(cell.lattice.device) if self.is_lost(i) else cell
            for i, cell in enumerate(cells)
        ]

    def told(self, drafts: Sequence[Draft]) -> tuple[Draft, ...]:
        """The drafts with the cell that has the requested group."""
        return tuple(replace(draft, group_from=self._origin(i)) for i, draft in enumerate(drafts))

    @property
    def counts(self) -> dict[str, int]:
        """How many crystals have their group as refined, and how many as drafted; without zeros."""
        origins = Counter(map(self._origin, self.wanted))
        counts = {"symmetrised": origins["refined"], "drafts_kept": origins["draft"]}
        return {name: n for name, n in counts.items() if n}

    def _origin(self, i: int) -> str:
        if i in self.refined:
            return "refined"
        return "draft" if i in self.drafts else ""


def _in_group(structure: Structure, group: int) -> Structure | None:
    """The exactly symmetric form of a crystal; None if it has not the group, or if atoms would overlap."""
    form = symmetrised(structure, SYMMETRY_TOLERANCES, space_group=group)
    return form.structure if form.space_group == group and is_structurally_valid(form.structure) else None
