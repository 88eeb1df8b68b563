"""What models sample for the cell of a row, beside its prototypes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from crystal_core.evaluation.ranking import Evidence, agreements
from crystal_core.evaluation.validity import check_structure
from crystal_core.requests import GenerationRequest
from crystal_core.structures import from_structures, to_structures
from crystal_core.workflows.sampling_run import last_frame

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.protocols import Generator

DRAFTED, FROM_NOISE, REFINED = "draft refined", "noise", "prototype refined"
SAMPLED = (DRAFTED, FROM_NOISE, REFINED)
Weighed = tuple[Evidence, "Structure"]


class Sampled(Protocol):
    """Makes more candidates for the cell of a row."""

    def candidates(self, cell: Sequence[int], laid_out: Sequence[Weighed], /) -> list[Weighed]:
        """Candidates with their evidence; none for unknown elements or sizes.

        Args:
            cell: atomic numbers. laid_out: the prototypes of the row, best first.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Drafts:
    """Writes ``n`` drafts for a cell and refines them.

    Attributes:
        model: a model that writes drafts. seed: of all its draws.
    """

    model: Generator
    n: int
    seed: int = 0

    def candidates(self, cell: Sequence[int], _laid_out: Sequence[Weighed], /) -> list[Weighed]:
        """The refined drafts that are crystals, as samples without a relative; see :class:`Sampled`."""
        model: Any = self.model
        if not set(model.elements).issuperset(cell) or len(cell) > model.trained_atoms:
            return []
        request = GenerationRequest(compositions=(tuple(cell),) * self.n, seed=self.seed, frame_every=5000)
        alone = Evidence(source=DRAFTED, distance=1.0)
        return _weighed(self.model, request, [alone] * self.n)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Draws ``n`` samples from noise, and refines prototypes in their order ``n`` times, as an effort does.

    Attributes:
        model: a model of structure prediction. seed: of all its draws.
    """

    model: Generator
    n: int
    seed: int = 0

    def candidates(self, cell: Sequence[int], laid_out: Sequence[Weighed], /) -> list[Weighed]:
        """Samples from noise, then refined prototypes, those that are crystals; see :class:`Sampled`."""
        model: Any = self.model
        elements, most = model.elements, model.card.most_atoms
        if (elements and not set(elements).issuperset(cell)) or (most and len(cell) > most):
            return []
        alone = Evidence(source=FROM_NOISE, distance=1.0)
        noise = GenerationRequest(compositions=(tuple(cell),) * self.n, seed=self.seed, frame_every=5000)
        found = _weighed(self.model, noise, [alone] * self.n)
        if not laid_out:
            return found
        starts = [laid_out[k % len(laid_out)] for k in range(self.n)]
        start = from_structures([structure for _, structure in starts])
        refined = GenerationRequest(
            compositions=tuple(tuple(crystal.atomic_numbers.tolist()) for crystal in start),
            seed=self.seed + 1000,
            frame_every=5000,
            start=start,
            start_time=model.start_time,
        )
        relatives = [replace(evidence, source=REFINED) for evidence, _ in starts]
        return [*found, *_weighed(self.model, refined, relatives)]


def _weighed(model: Generator, request: GenerationRequest, evidence: Sequence[Evidence]) -> list[Weighed]:
    """The samples of a request that are crystals, each with its evidence as the cell it is now."""
    from crystal_core.workflows.cell_predictions import with_log_odds

    frame = last_frame(model, request)
    assert frame.crystals is not None
    pairs = zip(evidence, to_structures(frame.crystals), strict=True)
    return with_log_odds(
        [
            (replace(one, plausible=check_structure(structure).plausible), structure)
            for one, structure in pairs
            if structure is not None
        ]
    )


def with_agreement(laid_out: Sequence[Weighed]) -> list[Weighed]:
    """The candidates, each with the number of samples that agree with it."""
    from crystal_core.evaluation.alike import alike_groups

    groups = alike_groups([cell for _, cell in laid_out])
    agreed = agreements(groups, [evidence.source for evidence, _ in laid_out])
    return [
        (replace(evidence, agreement=agreement), cell)
        for (evidence, cell), agreement in zip(laid_out, agreed, strict=True)
    ]
