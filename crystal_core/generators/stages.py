"""The requests that a generator with drafts passes to its two stages, drafting and refinement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.generators.refinement import Refinement
from crystal_core.requests import CARD_TUNING, DeNovoRequest, GenerationRequest

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.generators.symmetrise import Symmetrised

Request = TypeVar("Request", bound=GenerationRequest | DeNovoRequest)


def drafting(request: Request) -> Request:
    """The request as the drafter gets it: what belongs to the refiner is left out."""
    options = replace(request.draft, back_end=None, refiner=None, start_draft=None, refine_from=None)
    return replace(request, draft=options, sampler="fast", steps=None, **CARD_TUNING.tuning_fields)


def kept_symmetry(
    request: GenerationRequest | DeNovoRequest,
    refinement: Refinement,
    refiner: Any,
    drafts: Mapping[int, Structure],
) -> list[Symmetrised] | None:
    """The exactly symmetric drafts if a space group is requested that the refiner can keep; else None.

    A refinement without operations to keep leaves few crystals in the group: noise breaks it, and
    no step restores it.

    Args:
        drafts: number of the crystal in the request → its draft.
    """
    from crystal_core.generators.symmetrise import SYMMETRY_TOLERANCES, symmetrised

    conditions = getattr(request, "conditions", None) or ()
    if all(one.space_group is None for one in conditions) or refinement.start == "none":
        return None
    if not getattr(refiner, "keeps_symmetry", False):
        return None
    return [
        symmetrised(draft, SYMMETRY_TOLERANCES, space_group=conditions[i].space_group)
        for i, draft in drafts.items()
    ]


def refining(
    request: GenerationRequest | DeNovoRequest,
    refinement: Refinement,
    start: CrystalBatch,
    symmetric: Sequence[Symmetrised] | None = None,
) -> GenerationRequest:
    """The request to the refiner: ``start``, the options of ``request``, and a symmetry or None."""
    options: dict[str, Any] = {"sampler": request.sampler, "steps": request.steps}
    if request.sampler == "fast":
        options = {
            "sampler": refinement.sampler or "fast",
            "steps": request.steps or refinement.steps,
        }
    if refinement.start != "none":
        options |= {
            "start": start,
            "start_time": refinement.start_time,
            "start_kind": refinement.start,
        }
    return GenerationRequest(
        compositions=tuple(tuple(crystal.atomic_numbers.tolist()) for crystal in start),
        seed=request.seed,
        frame_every=request.frame_every,
        guide=request.guide,
        dtype=request.dtype,
        symmetry=None if symmetric is None else tuple(one.symmetry for one in symmetric),
        **options,
        **request.tuning_fields,
    )


def lone_atom() -> CrystalBatch:
    """Stands for any start: settings depend on whether there is one."""
    return CrystalBatch(
        atomic_numbers=torch.tensor([1]),
        frac_coords=torch.zeros(1, 3),
        lattice=3.0 * torch.eye(3)[None],
        n_atoms=torch.tensor([1]),
    )
