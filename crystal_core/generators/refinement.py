"""Refinement of a model's drafts: its card's choice, and a request's changes to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crystal_core.conditions import REFINER_STEPS, DraftOptions
from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard

NO_REFINER = "none"
# of a refiner that the card says nothing about
USUAL: Mapping[str, Any] = {
    "start": "renoise",
    "start_time": 0.1,
}


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """The refinement of drafts.

    Attributes:
        model: checkpoint of the refiner.
        start: inject, renoise, or none (from noise: only the composition is kept).
        start_time: in (0, 1], where it begins. sampler, steps: None takes those of the refiner's card.
    """

    model: str
    start: str
    start_time: float
    sampler: str | None = None
    steps: int | None = None

    @property
    def used(self) -> dict[str, Any]:
        """The refinement as a run's settings; the step is ``--tau`` on the command line."""
        begins = {} if self.start == "none" else {"refine_from_used": round(self.start_time * REFINER_STEPS)}
        return {"refiner_used": self.model, "start_draft_used": self.start} | begins


def refinement_of(card: ModelCard, options: DraftOptions) -> Refinement | None:
    """The resolved refinement; None where drafts stay as they are.

    Args:
        card: ``network`` names the refiner and short names of refiners; ``sampling["refine_draft"]`` has what
            was chosen for each of them.

    Raises:
        RequestError: an option would change nothing.
    """
    refiner = options.refiner or card.network["refiner"]
    if refiner == NO_REFINER:
        for word, value in (("start", options.start_draft), ("tau", options.refine_from)):
            if value is not None:
                raise RequestError(f"Without a refiner, {word} would change nothing; leave it out.")
        return None
    names: Mapping[str, str] = card.network.get("refiners", {})
    short = next((key for key, name in names.items() if refiner in (key, name)), refiner)
    chosen = {**USUAL, **dict(card.sampling.get("refine_draft", {}).get(short, {}))}
    start = options.start_draft or chosen["start"]
    if start == "none" and options.refine_from is not None:
        raise RequestError(
            "A refiner that starts from noise begins at its first step, "
            "so tau would change nothing; leave it out."
        )
    time = chosen["start_time"] if options.refine_from is None else options.refine_from / REFINER_STEPS
    # what the card chose belongs to its own start
    preset = chosen if options.start_draft in (None, chosen["start"]) else {}
    return Refinement(
        model=names.get(short, short),
        start=start,
        start_time=float(time),
        sampler=preset.get("sampler"),
        steps=preset.get("steps"),
    )
