"""The state of a generation: batches sampled so far, each crystal judged, the result as JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

from crystal_core.cards import ModelCard
from crystal_core.conditions import SPACE_GROUPS, DraftOptions
from crystal_core.errors import MemoryFull
from crystal_core.evaluation.alike import alike_groups
from crystal_core.files.records import SYMPREC, crystal_record, is_valid, snapshot, structure_from_record
from crystal_core.frames import Draft, RunUpdate, Stage, few_of_each
from crystal_core.guides.protocol import AllOf, DifferentiablePredictor, Guide
from crystal_core.records import FORMAT, CrystalRecord, Novelty, Origin, Provenance, RunResult, Snapshot
from crystal_core.requests import (
    CellSymmetry,
    CrystalGenerationRequest,
    DeNovoRequest,
    GenerationRequest,
    KnownParts,
)
from crystal_core.workflows.cell_plan import Cells
from crystal_core.workflows.completion import in_axes, in_given_setting, known_parts, reduction_of
from crystal_core.workflows.generation_conditions import GUIDED, PREDICTOR, conditions_of, guided_properties
from crystal_core.workflows.property_targets import TargetPredictions, target_judge
from crystal_core.workflows.redraft import Redraft, Redrafts
from crystal_core.workflows.sampling_run import (
    HALVED,
    PART_STEPS,
    path_for_player,
    provenance,
    sampled,
    sampler_used,
)
from crystal_core.workflows.symmetrising import SymmetricForm, symmetric_form, symmetrised_summary

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.protocols import DeNovoGenerator

WATCHED = 8  # crystals of the first batch that can be watched while they form, and whose paths are kept


def _guide(request: CrystalGenerationRequest, card: ModelCard) -> Guide | None:
    """All guidance targets as one guide; None without a target, and for a model with a prompt."""
    from crystal_core.guides.density import DensityTarget

    targets: list[DifferentiablePredictor] = []
    if request.density is not None:
        targets.append(DensityTarget(request.density))
    guided = {} if card.writes_drafts else guided_properties(request, card)
    if guided:
        from crystal_core.workflows.predict_properties import load_property_predictor

        predictor = load_property_predictor(PREDICTOR, request.device)
        targets += [predictor.guide(name, target) for name, target in guided.values()]
    if not targets:
        return None
    strength = 1.0 if request.guidance is None else request.guidance
    return Guide(predictor=AllOf(targets), strength=strength)


def _symmetry_of(request: CrystalGenerationRequest, crystals: Sequence[CrystalRecord]) -> dict[str, Any]:
    """How many crystals have the symmetry that the prompt named, within the tolerance of their records."""
    from crystal_core.evaluation.symmetry import space_group_number, space_group_symbol

    if request.space_group is not None:
        first = last = space_group_number(request.space_group)
        name = f"{space_group_symbol(first)} ({first})"
    elif request.crystal_system is not None:
        first, last = SPACE_GROUPS[request.crystal_system]
        name = request.crystal_system
    else:
        return {}
    groups = [crystal["space_group"] for crystal in crystals]
    n = sum(group is not None and first <= group["number"] <= last for group in groups)
    return {"symmetry": {"name": name, "n": n, "of": len(groups), "symprec": SYMPREC}}


def _drafts_of(starts: Sequence[Redraft]) -> tuple[Draft, ...]:
    """The drafts of crystals that were redrafted; none where no element was changed."""
    return tuple(start.draft for start in starts if start.draft is not None)


class GenerationRun:
    """The state of one request: what is planned, what is finished."""

    def __init__(
        self,
        request: CrystalGenerationRequest,
        model: DeNovoGenerator,
        elements: tuple[int, ...],
        n_parts: int,
        symmetry: tuple[CellSymmetry, ...] | None = None,
        notes: Sequence[str] = (),
        redrafts: Redrafts | None = None,
    ) -> None:
        self.request, self.model, self.elements, self.symmetry = request, model, elements, symmetry
        self.notes = list(notes)
        self.guide = _guide(request, model.card)
        self.judge = (
            target_judge(conditions_of(request), request.device)
            if model.card.writes_drafts and request.most_rewrites
            else None
        )
        self.targets = {
            label: target for name, label in GUIDED.items() if (target := getattr(request, name)) is not None
        }
        self.predictions = TargetPredictions(self.targets, request.device)
        given = request.fix or request.start_from
        self.reduction = None if given is None else reduction_of(structure_from_record(given))
        self.began = time.monotonic()
        self.structures: list[Structure | None] = []
        self.forms: list[SymmetricForm | None] = []  # of all structures: how they were symmetrised
        self.novelties: list[Novelty] = []  # of the structures that are cells: each is looked up once
        self.drafts: list[Draft] = []  # of all structures, where a language model wrote them
        self.stages: list[tuple[Stage, ...]] = []  # of all structures: the models that worked on them
        self.rejected: Counter[str] = Counter()
        self.left_out: list[Draft] = []
        self.redrafts = Redrafts(starts=()) if redrafts is None else redrafts
        self.usual = Cells(counts=(1,))  # a cell for which the settings are resolved
        self.calls = self.redrafts.stage.network_calls if self.redrafts.stage else 0
        self.total = PART_STEPS * n_parts

    def part(self, part: int, cells: Cells, *, half: int | None = None) -> Iterator[RunUpdate]:
        """Sample one batch; where the memory does not hold it, its two halves."""
        from crystal_core.structures import to_structures

        counts = cells.counts
        self.usual = Cells(counts=counts[:1], planned=cells.planned[:1])
        seed = (self.request.seed or 0) + 1000 * part + 500 * (half or 0)
        known = (
            None
            if cells.planned or not self.model.card.keeps_parts
            else known_parts(self.request, counts, self.elements, seed)
        )
        request: DeNovoRequest | GenerationRequest = self._request(cells, seed, known)
        if cells.starts:
            request = self._refining(cells.starts, self._request(cells, seed))
        first = len(self.structures) + 1
        stage = f"crystals {first} to {first + len(counts) - 1} of {self.request.n}"
        watched = 1 if part or half else WATCHED
        try:
            frame, paths = yield from sampled(
                self.model,
                request,
                stage=stage,
                part=part,
                n_steps=self.total,
                watched=watched,
                drawn=self._drawn,
            )
        except MemoryFull:
            if half is not None or len(counts) < 2:
                raise
            self.notes += [] if HALVED in self.notes else [HALVED]
            middle = len(counts) // 2
            for k, some in enumerate((slice(middle), slice(middle, None))):
                yield from self.part(part, cells[some], half=k)
            return
        if frame is None or frame.crystals is None:
            return
        structures = self._in_given_axes(to_structures(frame.crystals))
        forms = self._forms_of(structures, cells)
        self.calls += getattr(self.model, "network_calls", 0)
        self.drafts += frame.drafts or _drafts_of(cells.starts or ())
        redrafted = (self.redrafts.stage,) if self.redrafts.stage else ()
        self.stages += [(*redrafted, *frame.stages)] * len(counts)
        self.rejected.update(frame.rejected)
        self.left_out = few_of_each([*self.left_out, *frame.left_out])
        self.structures += [
            structure if form is None else form.structure
            for structure, form in zip(structures, forms, strict=True)
        ]
        self.forms += forms
        for frames, form in zip(paths, forms, strict=False):
            if form is not None:
                frames.append(snapshot(form.structure))
        done, keep = PART_STEPS * (part + 1), self.request.keep_trajectory and not part and not half
        yield RunUpdate(stage=stage, step=done, n_steps=self.total, result=self.result())
        for k, frames in enumerate(paths, start=first):
            yield RunUpdate(
                stage=stage,
                step=done,
                n_steps=self.total,
                trajectory=path_for_player(f"crystal {k}", frames, keep=keep),
            )

    def _in_given_axes(self, structures: list[Structure | None]) -> list[Structure | None]:
        """Sampled crystals with the axes of the one that is completed."""
        axes = self.reduction
        if axes is None:
            return structures
        return [None if structure is None else in_given_setting(structure, axes) for structure in structures]

    def _forms_of(self, structures: Sequence[Structure | None], cells: Cells) -> list[SymmetricForm | None]:
        """The symmetric form of each sampled crystal; None for those that stay as they are."""
        tolerance = self.request.symmetrise
        if tolerance is None:
            return [None] * len(structures)
        groups = self._requested_groups(cells)
        return [
            None if structure is None else symmetric_form(structure, tolerance, space_group=group)
            for structure, group in zip(structures, groups, strict=True)
        ]

    def _requested_groups(self, cells: Cells) -> list[int | None]:
        """The number of the space group that is requested of each crystal."""
        from crystal_core.evaluation.symmetry import space_group_number

        if self.request.space_group is not None:
            return [space_group_number(self.request.space_group)] * len(cells.counts)
        if not cells.planned:
            return [None] * len(cells.counts)
        return [crystal.conditions.space_group for crystal in cells.planned]

    def _drawn(self, cell: Snapshot) -> Snapshot:
        """A forming cell with the axes of the one that is completed."""
        if self.reduction is None:
            return cell
        lattice, frac_coords = in_axes(cell["lattice"], cell["frac_coords"], self.reduction)
        return {
            **cell,
            "lattice": lattice.round(4).tolist(),
            "frac_coords": frac_coords.round(4).tolist(),
        }

    def result(self) -> RunResult:
        """All finished crystals in the order drawn, as the JSON of the command line.

        ``summary``: n generated (those that are no cell included), valid by structure and composition, unique
        groups of like cells among all decodable ones; novel ones are not in the reference set named beside
        them; with a space group, how many crystals have it or a supergroup of it; with one in a prompt, or a
        crystal system, how many have it (``symmetry``); with a tolerance, how many were symmetrised
        (``symmetrised``); with targets of properties, how many are predicted to be near them (``targets``);
        ``unchecked`` names targets that are not computed for the crystals; a ``note`` such as that on atom
        counts beyond the training.
        """
        from crystal_core.reference.known import novelty
        from crystal_core.reference.known_file import load_known

        settings = (
            asdict(self.request)
            | {"elements_allowed": list(self.elements)}
            | sampler_used(self.model, self._request(self.usual, 0))
        )
        made_by = provenance(self.request.model, self.model, seed=self.request.seed, settings=settings)
        whole = [(i, s) for i, s in enumerate(self.structures) if s is not None]
        groups = alike_groups([s for _, s in whole])
        self.novelties += [novelty(s) for _, s in whole[len(self.novelties) :]]
        crystals = [
            crystal_record(
                s,
                id=f"{self.request.model}-{self.request.seed}-{i + 1}",
                origin=self._origin(i),
                provenance=made_by | self._own_provenance(i),
                group=group,
                novelty=known,
            )
            for (i, s), group, known in zip(whole, groups, self.novelties, strict=True)
        ]
        self.predictions.add_to(crystals)
        near = self.predictions.summary()
        unchecked = [name for name, label in GUIDED.items() if label in self.targets and label not in near]
        valid = sum(map(is_valid, crystals))
        failed = [asdict(d) for d, s in zip(self.drafts, self.structures, strict=False) if s is None]
        result: RunResult = {
            "format": FORMAT,
            "notes": list(self.notes),
            "crystals": crystals,
            "n_failed": len(self.structures) - len(whole),
            "settings": settings,
            "seconds": round(time.monotonic() - self.began, 2),
            "network_calls": self.calls,
            "summary": {
                "n": len(self.structures),
                "valid": valid,
                "unique": len(set(groups)),
                "novel": sum(not known["known"] for known in self.novelties),
                "reference": load_known().reference,
            }
            | self._space_group(crystals)
            | self._symmetrised()
            | ({"targets": near} if near else {})
            | ({"unchecked": unchecked} if unchecked else {})
            | ({"note": " ".join(self.notes)} if self.notes else {}),
        }
        if self.drafts:
            result |= {"rejected": dict(self.rejected), "failed_drafts": failed}
            result["left_out"] = [asdict(draft) for draft in self.left_out]
        return result

    def _origin(self, i: int) -> Origin:
        refined = any(stage.stage == "refine" for stage in self.stages[i])
        if self.drafts:
            return "draft refined" if refined else "draft"
        return "given refined" if refined else "noise"

    def _own_provenance(self, i: int) -> Provenance:
        """What is a crystal's own: its draft, its changed elements, the models of its stages, its form."""
        own: dict[str, Any] = {}
        if self.drafts:
            own["draft"] = asdict(self.drafts[i])
        if self.redrafts.starts:
            own["redraft"] = {"changes": self.redrafts.starts[i].changes_json}
        if self.stages[i]:
            own["stages"] = [asdict(stage) for stage in self.stages[i]]
        if (form := self.forms[i]) is not None:
            own["symmetrised"] = form.record
        return cast("Provenance", own)

    def _refining(self, starts: tuple[Redraft, ...], request: DeNovoRequest) -> GenerationRequest:
        """Starts to be refined, with the options of a request without them."""
        from crystal_core.crystal import CrystalBatch
        from crystal_core.generators.stages import refining

        model: Any = self.model
        refinement = model.refinement(request.draft)
        crystals = CrystalBatch.concat([start.crystal for start in starts])
        return replace(refining(request, refinement, crystals), draft=request.draft)

    def _symmetrised(self) -> dict[str, Any]:
        """How many crystals were symmetrised; nothing where it was not requested."""
        if self.request.symmetrise is None:
            return {}
        n_cells = sum(structure is not None for structure in self.structures)
        return {"symmetrised": symmetrised_summary(self.forms, self.request.symmetrise, n_cells=n_cells)}

    def _space_group(self, crystals: Sequence[CrystalRecord]) -> dict[str, Any]:
        """How many crystals have the requested space group, within a tight and a usual tolerance (Å).

        For a group or a crystal system in the prompt of a language model, within the usual one alone.
        """
        from crystal_core.evaluation.symmetry import has_operations, space_group_number, space_group_symbol

        if self.symmetry is None:
            return _symmetry_of(self.request, crystals)
        if self.request.space_group is None:
            return {}
        number = space_group_number(self.request.space_group)
        pairs = [(s, cell) for s, cell in zip(self.structures, self.symmetry, strict=False) if s is not None]
        n_kept = {
            f"kept_within_{symprec}": sum(
                has_operations(s, c.rotations, c.translations, symprec) for s, c in pairs
            )
            for symprec in (0.01, 0.1)
        }
        return {
            "space_group": {"number": number, "symbol": space_group_symbol(number), "experimental": True}
            | n_kept
        }

    def _request(self, cells: Cells, seed: int, known: KnownParts | None = None) -> DeNovoRequest:
        limits_elements = bool(self.request.elements or self.request.exclude_elements)
        return DeNovoRequest(
            n_atoms=cells.counts,
            at_least=tuple(crystal.least for crystal in cells.planned) if cells.planned else None,
            conditions=tuple(crystal.conditions for crystal in cells.planned) if cells.planned else None,
            guidance=self.request.guidance,
            draft=DraftOptions(**self.request.draft_fields),
            known=known,
            symmetry=cells.symmetry,
            guide=self.guide,
            judge=self.judge,
            elements=self.elements if limits_elements else None,
            sampler=self.request.sampler,
            steps=self.request.steps,
            seed=seed,
            frame_every=1,
            dtype=self.request.dtype,
            **self.request.tuning_fields,
        )
