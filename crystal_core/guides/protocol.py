"""How targets act on a model: a guide bends a sampler, a judge has drafts written again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from crystal_core.checks import check_strength

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.conditions import Conditions
    from crystal_core.crystal import CrystalBatch, SoftCrystals


class DifferentiablePredictor(Protocol):
    """Says how well crystals meet a target, differentiably; any one can guide a sampler."""

    def value(self, batch: SoftCrystals) -> Tensor:
        """(crystals,) log of the probability that the target is met, up to a constant: the larger the better.

        Gradients flow to frac_coords, lattice and types; crystals do not depend on each other.
        """
        ...


class DraftJudge(Protocol):
    """Tells how far drafts are from the targets of their prompts, which no grammar can enforce."""

    def distances(self, crystals: CrystalBatch, conditions: Sequence[Conditions]) -> list[float]:
        """The distance of each crystal from its own targets: up to 1 it meets them; 0 without a target.

        Infinite for a crystal that cannot be judged.
        """
        ...


def target_distances(
    judge: DraftJudge | None, crystals: Sequence[CrystalBatch | None], conditions: Sequence[Conditions]
) -> list[float]:
    """The distance of each crystal from its targets, as the judge tells it; 0 for none and without a judge.

    Args:
        crystals: one each; those that have no targets are not judged.
    """
    from crystal_core.crystal import CrystalBatch

    distances = [0.0] * len(crystals)
    judged = {i: one for i, one in enumerate(crystals) if one is not None and conditions[i].targets}
    if judge is not None and judged:
        batch = CrystalBatch.concat(list(judged.values()))
        found = judge.distances(batch, [conditions[i] for i in judged])
        for i, distance in zip(judged, found, strict=True):
            distances[i] = distance
    return distances


class AllOf:
    """Several targets at once: their logarithms add up."""

    def __init__(self, predictors: Sequence[DifferentiablePredictor]) -> None:
        self.predictors = tuple(predictors)

    def value(self, batch: SoftCrystals) -> Tensor:
        """See :meth:`DifferentiablePredictor.value`."""
        first, *others = (predictor.value(batch) for predictor in self.predictors)
        for value in others:
            first = first + value
        return first


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A target that bends sampling: ``predictor`` scores crystals, ``strength`` weighs it (0: nothing)."""

    predictor: DifferentiablePredictor
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.strength)
