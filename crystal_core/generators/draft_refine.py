"""A generator of two models: one drafts crystals, the other refines cell and places at fixed formula.

The composition of a draft is kept; nothing else is. Khastagir et al. 2025 (CrysLLMGen, NeurIPS), Algorithm
1, where the refiner takes the draft as it is ("inject"); "renoise" first moves it forward to the time at
which the refiner begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.conditions import CARD_DRAFT, REFINER_STEPS, DraftOptions
from crystal_core.crystal import CrystalBatch
from crystal_core.errors import IncompatibleSampler, RequestError
from crystal_core.evaluation.validity import is_structurally_valid
from crystal_core.files.records import snapshot
from crystal_core.frames import Frame, Stage
from crystal_core.generators.refinement import USUAL, Refinement, refinement_of
from crystal_core.generators.requested_groups import RequestedGroups
from crystal_core.generators.stages import drafting, lone_atom, may_be_missed, refining
from crystal_core.generators.written_anew import made_anew
from crystal_core.requests import DeNovoRequest, GenerationRequest
from crystal_core.structures import from_structures, niggli_reduced, to_structures

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard
    from crystal_core.protocols import Generator as StructureGenerator

N_STEPS = 1000  # of the progress of both stages together
FIRST = 400  # of these for the first pass, where crystals that miss what was asked are made anew
REFINED = 980  # of these, when they are refined for the first time
# most repeated refinements of a draft, from other noise, if atoms of the refined cell overlap or it lost the
# requested space group of its draft
AGAIN = 2
OTHER_SEED = 104_729  # far from the seeds of other parts of a run
DRAFTED = 500  # of these, when the drafts are written


class DraftRefineGenerator:
    """De novo generation and structure prediction: drafts, then cells refined at fixed composition.

    Args:
        drafter: writes drafts for compositions or conditions.
        refiner_of: gives the structure generator of a checkpoint.
        card: ``network`` names the drafter, the refiner and short names of refiners;
            ``sampling["refine_draft"]`` has what was chosen for each of them.
    """

    def __init__(
        self, drafter: Any, refiner_of: Callable[[str], StructureGenerator], *, card: ModelCard
    ) -> None:
        self.drafter, self._refiner_of, self.card = drafter, refiner_of, card
        self.network_calls = 0
        self._refiners: dict[str, StructureGenerator] = {}

    @property
    def device(self) -> torch.device:
        """The device of both stages."""
        return self.drafter.device

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that the drafter writes and the usual refiner can place."""
        return self.common_elements(CARD_DRAFT)

    @property
    def atom_count_frequencies(self) -> dict[int, float]:
        """Atom count → share of the drafter's training crystals."""
        return self.drafter.atom_count_frequencies

    @property
    def batch_crystals(self) -> int:
        """Crystals that are drafted together."""
        return self.drafter.batch_crystals

    @property
    def trained_atoms(self) -> int:
        """Atoms of the drafter's largest training crystal."""
        return self.drafter.trained_atoms

    @property
    def back_end(self) -> Any:
        """The language model that writes."""
        return self.drafter.back_end

    @property
    def start_time(self) -> float:
        """The start time for refining a known crystal, from the usual refiner's card."""
        usual = self.refinement(CARD_DRAFT)
        own = None if usual is None else getattr(self.refiner(usual.model), "start_time", None)
        return float(own or USUAL["start_time"])

    def with_back_end(self, name: str) -> DraftRefineGenerator:
        """The same with another language model; raises as that of the drafter."""
        drafter = self.drafter.with_back_end(name)
        sampling = {**self.card.sampling, "conditions": list(drafter.card.conditions)}
        parts = {name: digest for name, digest in self.card.parts.items() if name != self.drafter.card.name}
        parts |= {drafter.card.name: drafter.card.weights_sha256}
        other = DraftRefineGenerator(
            drafter, self._refiner_of, card=replace(self.card, sampling=sampling, parts=parts)
        )
        other._refiners = self._refiners
        return other

    def sampling_of(self, options: DraftOptions, *, open_composition: bool = False) -> dict[str, float]:
        """Temperature and top-p of the drafts, as of :class:`CrysLLMGenerator`."""
        return self.drafter.sampling_of(options, open_composition=open_composition)

    def fitting_elements(
        self, crystal: CrystalBatch, sites: Sequence[int], *, seed: int, elements: Sequence[int] | None = None
    ) -> dict[int, float]:
        """The drafter's answer."""
        return self.drafter.fitting_elements(crystal, sites, seed=seed, elements=elements)

    def refiner(self, model: str) -> StructureGenerator:
        """The structure generator of a checkpoint, loaded when it is first needed."""
        if model not in self._refiners:
            self._refiners[model] = self._refiner_of(model)
        return self._refiners[model]

    def refinement(self, options: DraftOptions) -> Refinement | None:
        """The resolved refinement; None where drafts stay as they are.

        Raises:
            RequestError: an option would change nothing.
        """
        return refinement_of(self.card, options)

    def settings_used(self, request: GenerationRequest | DeNovoRequest) -> dict[str, Any]:
        """The settings of both stages with all defaults resolved."""
        refinement = self.refinement(request.draft)
        used = self.drafter.settings_used(drafting(request))
        if refinement is None:
            return used
        refine_request = refining(request, refinement, lone_atom())
        return used | refinement.used | self._sampler_used(refinement.model, refine_request)

    def idle_tuning(self, request: GenerationRequest | DeNovoRequest) -> dict[str, str]:
        """The values of the tuning that would change nothing, with the reason as the start of a sentence."""
        refinement = self.refinement(request.draft)
        if refinement is None:
            return dict.fromkeys(request.tuning_values, f"{self.card.name} refines no drafts here")
        own = {"remasking": f"{self.card.name} hides no types while it samples"}
        own = {name: reason for name, reason in own.items() if name in request.tuning_values}
        refiner: Any = self.refiner(refinement.model)
        if not hasattr(refiner, "idle_tuning"):
            return dict.fromkeys(request.tuning_values, f"{refinement.model} has no sampler to tune")
        if isinstance(request, GenerationRequest) and request.start is not None:
            return refiner.idle_tuning(replace(request, draft=CARD_DRAFT))
        refine_request = refining(replace(request, remasking=None), refinement, lone_atom())
        return own | refiner.idle_tuning(refine_request)

    def sample(self, request: GenerationRequest | DeNovoRequest) -> Iterator[Frame]:
        """Frames of both stages; the last one is finished and holds drafts, their cells, and both stages.

        A request with a start structure is not drafted, only refined. A draft that is no crystal stays none.

        Raises:
            RequestError, IncompatibleSampler: as the two models; an element that one of them does not know.
        """
        self.network_calls = 0
        refinement = self.refinement(request.draft)
        if isinstance(request, GenerationRequest) and request.start is not None:
            yield from self._refine_given(request, refinement)
            return
        for name, reason in self.idle_tuning(request).items():
            raise RequestError(f"{reason}, so {name} would change nothing; leave it out.")
        self._check(request, refinement)
        chances = request.draft.most_rewrites if refinement is not None and may_be_missed(request) else 0
        share = FIRST if chances else N_STEPS
        end: Frame | None = None
        for frame in self._one_pass(request, refinement):
            if frame.finished:
                end = frame
            else:
                yield replace(frame, step=share * frame.step // N_STEPS)
        assert end is not None
        if isinstance(request, DeNovoRequest) and chances:
            end = yield from made_anew(
                request, end, lambda some: self._one_pass(some, refinement), chances=chances, begun=share
            )
            self.network_calls = sum(stage.network_calls for stage in end.stages)
        yield end

    def _one_pass(
        self, request: GenerationRequest | DeNovoRequest, refinement: Refinement | None
    ) -> Iterator[Frame]:
        """Frames of drafting and, with a refiner, of refining."""
        draft_request = self._with_common_elements(drafting(request), request.draft)
        drafted: Frame | None = None
        for frame in self.drafter.sample(draft_request):
            drafted = frame
            part = DRAFTED if refinement is not None else N_STEPS
            step = part * frame.step // max(1, frame.n_steps)
            last = frame.finished and refinement is None
            yield replace(
                frame,
                step=step,
                n_steps=N_STEPS,
                time=1.0
                if refinement is not None
                else 1 - step / N_STEPS,  # the refiner's own time comes after
                finished=last,
                stages=(self._draft_stage(request),) if last else (),
            )
        self.network_calls = self.drafter.network_calls
        if refinement is not None and drafted is not None:
            yield from self.refine_drafts(request, drafted)

    def refine_drafts(self, request: GenerationRequest | DeNovoRequest, drafted: Frame) -> Iterator[Frame]:
        """The second stage of :meth:`sample` alone, so that several refiners can be given the same drafts.

        Args:
            drafted: the last frame of the first stage.

        Raises:
            RequestError: ``request`` names no refiner.
        """
        refinement = self.refinement(request.draft)
        if refinement is None:
            raise RequestError("Nothing is refined without a refiner; name one.")
        assert drafted.crystals is not None
        cells, as_drafted = list(drafted.crystals), to_structures(drafted.crystals)
        drafts = tuple(
            draft if structure is None else replace(draft, cell=snapshot(structure))
            for draft, structure in zip(drafted.drafts, as_drafted, strict=True)
        )
        whole = [i for i, structure in enumerate(as_drafted) if structure is not None]
        settings: dict[str, Any] = {
            "text": drafted.text,
            "drafts": drafts,
            "rejected": drafted.rejected,
            "left_out": drafted.left_out,
        }
        calls, stages = 0, [self._draft_stage(request)]
        if whole:
            reduced = dict(zip(whole, map(niggli_reduced, filter(None, as_drafted)), strict=True))
            groups = RequestedGroups.of(request, {} if refinement.start == "none" else reduced)
            refiner, left, again = self.refiner(refinement.model), whole, 0
            for attempt in range(1 + AGAIN):
                start = from_structures([reduced[i] for i in left])
                refine_request = refining(request, refinement, start)
                if attempt:
                    again += len(left)
                    refine_request = replace(refine_request, seed=request.seed + OTHER_SEED * attempt)
                    step = REFINED + attempt
                    yield Frame(stage="refine", step=step, n_steps=N_STEPS, time=0.0, text=drafted.text)
                for frame in refiner.sample(refine_request):
                    crystals = None
                    if frame.crystals is not None:
                        for i, crystal in zip(left, frame.crystals, strict=True):
                            cells[i] = crystal
                        crystals = CrystalBatch.concat(cells)
                    if not attempt and not frame.finished:
                        yield replace(_of_both(frame, crystals), text=drafted.text)
                calls += getattr(refiner, "network_calls", 0)
                cells = groups.symmetrise(cells, left)
                left = [i for i in left if groups.is_lost(i) or _overlaps(cells[i])]
                if not left:
                    break
            cells = groups.with_drafts(cells)
            settings["drafts"] = groups.told(drafts)
            told = {"refined_again": again} if again else {}
            stages.append(self._refine_stage(refinement, refine_request, calls, **told, **groups.counts))
        self.network_calls = self.drafter.network_calls + calls
        crystals = CrystalBatch.concat(cells)
        yield Frame(
            stage="refine",
            step=N_STEPS,
            n_steps=N_STEPS,
            time=0.0,
            crystals=crystals,
            sample_ids=tuple(range(len(crystals))),
            finished=True,
            stages=tuple(stages),
            **settings,
        )

    def _refine_given(self, request: GenerationRequest, refinement: Refinement | None) -> Iterator[Frame]:
        """Refine crystals that nothing was drafted of; the request says where and how it starts."""
        if refinement is None:
            raise IncompatibleSampler("A start structure is there to be refined; name a refiner.")
        refine_request = replace(request, draft=CARD_DRAFT)
        refiner = self.refiner(refinement.model)
        for frame in refiner.sample(refine_request):
            self.network_calls = calls = getattr(refiner, "network_calls", 0)
            begun = {
                "start_draft_used": request.start_kind,
                "refine_from_used": round((request.start_time or 1.0) * REFINER_STEPS),
            }
            stage = self._refine_stage(refinement, refine_request, calls) if frame.finished else None
            yield replace(
                frame,
                stage="refine",
                stages=(replace(stage, settings={**stage.settings, **begun}),) if stage else (),
            )

    def _sampler_used(self, model: str, request: GenerationRequest) -> dict[str, Any]:
        """Sampler, steps and tuning of a refiner for what it is asked."""
        refiner: Any = self.refiner(model)
        if not hasattr(refiner, "settings"):
            return {}
        chosen = refiner.settings(request)
        return {"sampler_used": chosen.name, "steps_used": chosen.steps} | {
            f"{name}_used": value for name, value in chosen.tuning.items()
        }

    def _draft_stage(self, request: GenerationRequest | DeNovoRequest) -> Stage:
        return Stage(
            stage="draft",
            model=self.drafter.card.name,
            weights_sha256=self.drafter.card.weights_sha256,
            network_calls=self.drafter.network_calls,
            settings=self.drafter.sampling_for(request) | request.draft.balance_used,
        )

    def _refine_stage(
        self, refinement: Refinement, request: GenerationRequest, calls: int, **counts: int
    ) -> Stage:
        used = refinement.used | self._sampler_used(refinement.model, request) | counts
        return Stage(
            stage="refine",
            model=refinement.model,
            weights_sha256=self.refiner(refinement.model).card.weights_sha256,
            network_calls=calls,
            settings={name: value for name, value in used.items() if name != "refiner_used"},
        )

    def common_elements(self, options: DraftOptions) -> tuple[int, ...]:
        """Atomic numbers that the drafter writes and the refiner of the options can place."""
        refinement = self.refinement(options)
        if refinement is None:
            return self.drafter.elements
        placed = set(getattr(self.refiner(refinement.model), "elements", self.drafter.elements))
        return tuple(z for z in self.drafter.elements if z in placed)

    def _with_common_elements(
        self, request: GenerationRequest | DeNovoRequest, options: DraftOptions
    ) -> GenerationRequest | DeNovoRequest:
        """A de novo request that leaves out what the refiner cannot place."""
        common = self.common_elements(options)
        if (
            isinstance(request, GenerationRequest)
            or request.elements is not None
            or len(common) == len(self.drafter.elements)
        ):
            return request
        return replace(request, elements=common)

    def _check(self, request: GenerationRequest | DeNovoRequest, refinement: Refinement | None) -> None:
        """Refuse what the refiner would only refuse after the drafts are written."""
        if refinement is None:
            if request.sampler != "fast" or request.steps is not None:
                raise IncompatibleSampler(
                    "Without a refiner there is no sampler and there are no steps; leave both out."
                )
            return
        if request.guide is not None:
            raise IncompatibleSampler(
                f"{self.card.name} cannot be guided while it writes; "
                "leave the target out or choose a KLDM model."
            )
        refiner: Any = self.refiner(refinement.model)
        sizes = request.compositions if isinstance(request, GenerationRequest) else [request.elements or ()]
        placed = set(getattr(refiner, "elements", range(1, 119)))
        unknown = sorted({z for cell in sizes for z in cell} - placed)
        if unknown:
            from pymatgen.core import Element

            names = ", ".join(Element.from_Z(z).symbol for z in unknown)
            raise RequestError(f"{refinement.model} was not trained on {names}; choose other elements.")
        if hasattr(refiner, "settings"):
            refiner.settings(refining(request, refinement, lone_atom()))


def _overlaps(crystal: CrystalBatch) -> bool:
    """Whether a cell fails the published check of distances, or has no volume."""
    (structure,) = to_structures(crystal)
    return structure is None or not is_structurally_valid(structure)


def _of_both(frame: Frame, crystals: CrystalBatch | None) -> Frame:
    """A frame of the refiner as one of both stages."""
    step = DRAFTED + (REFINED - DRAFTED) * frame.step // max(1, frame.n_steps)
    return replace(
        frame,
        stage="refine",
        step=step,
        n_steps=N_STEPS,
        crystals=crystals,
        sample_ids=() if crystals is None else tuple(range(len(crystals))),
        finished=False,
    )
