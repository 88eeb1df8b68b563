"""Refined drafts of a language model as candidates for the cell of a row, beside the prototypes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from crystal_core.evaluation.ranking import Evidence, agreements
from crystal_core.evaluation.validity import check_structure
from crystal_core.requests import GenerationRequest
from crystal_core.structures import to_structures
from crystal_core.workflows.sampling_run import last_frame

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.protocols import Generator

DRAFTED = "draft refined"


@dataclass(frozen=True, kw_only=True)
class Drafts:
    """Writes ``n`` drafts for a cell and refines them; none for unknown elements or sizes.

    Attributes:
        model: a model that writes drafts. seed: of all its draws.
    """

    model: Generator
    n: int
    seed: int = 0

    def candidates(self, cell: Sequence[int]) -> list[tuple[Evidence, Structure]]:
        """The refined drafts of a cell (atomic numbers) that are crystals, as samples without a relative."""
        model: Any = self.model
        if not set(model.elements).issuperset(cell) or len(cell) > model.trained_atoms:
            return []
        request = GenerationRequest(compositions=(tuple(cell),) * self.n, seed=self.seed, frame_every=5000)
        frame = last_frame(self.model, request)
        assert frame.crystals is not None
        return [
            (Evidence(source=DRAFTED, distance=1.0, plausible=check_structure(draft).plausible), draft)
            for draft in to_structures(frame.crystals)
            if draft is not None
        ]


def with_agreement(laid_out: Sequence[tuple[Evidence, Structure]]) -> list[tuple[Evidence, Structure]]:
    """The candidates, each with the number of samples that agree with it."""
    from crystal_core.evaluation.alike import alike_groups

    groups = alike_groups([cell for _, cell in laid_out])
    agreed = agreements(groups, [evidence.source for evidence, _ in laid_out])
    return [
        (replace(evidence, agreement=agreement), cell)
        for (evidence, cell), agreement in zip(laid_out, agreed, strict=True)
    ]
