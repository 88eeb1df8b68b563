"""The requests that a generator with drafts passes to its two stages, drafting and refinement."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.generators.refinement import Refinement
from crystal_core.requests import CARD_TUNING, DeNovoRequest, GenerationRequest

Request = TypeVar("Request", bound=GenerationRequest | DeNovoRequest)


def drafting(request: Request) -> Request:
    """The request as the drafter gets it: what belongs to the refiner is left out."""
    options = replace(request.draft, back_end=None, refiner=None, start_draft=None, refine_from=None)
    return replace(request, draft=options, sampler="fast", steps=None, **CARD_TUNING.tuning_fields)


def may_be_missed(request: GenerationRequest | DeNovoRequest) -> bool:
    """Whether a crystal can miss what no grammar enforces: a requested space group or a target."""
    return isinstance(request, DeNovoRequest) and any(one.may_be_missed for one in request.conditions or ())


def refining(
    request: GenerationRequest | DeNovoRequest,
    refinement: Refinement,
    start: CrystalBatch,
) -> GenerationRequest:
    """The request to the refiner: ``start``, and the options of ``request``."""
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
