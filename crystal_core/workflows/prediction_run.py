"""A run of structure prediction: its parts are sampled in turn, the result ranks finished ones."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator as Iterating
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from crystal_core.chemistry.formula import computed_formula
from crystal_core.conditions import CARD_DRAFT, DraftOptions
from crystal_core.errors import MemoryFull
from crystal_core.evaluation.alike import alike_groups
from crystal_core.evaluation.powder_pattern import MeasuredPattern
from crystal_core.evaluation.ranking import agreements
from crystal_core.files.records import ranked
from crystal_core.frames import Draft, Frame, RunUpdate, Template, few_of_each
from crystal_core.guides.protocol import Guide
from crystal_core.records import FORMAT, CrystalRecord, Origin, Provenance, RunResult, Score, Snapshot
from crystal_core.requests import GenerationRequest, StructurePredictionRequest
from crystal_core.workflows.candidate import Candidate
from crystal_core.workflows.evidence import best_relaxed_leads, evidence_of, order_by_evidence
from crystal_core.workflows.prediction_plan import (
    DRAFTED,
    Part,
    draft_options,
    load_structure_generator,
    refining_options,
)
from crystal_core.workflows.prediction_time import LAYING_OUT, ORDERING, sampling_phase, sampling_work
from crystal_core.workflows.sampling_run import (
    HALVED,
    PART_STEPS,
    path_for_player,
    provenance,
    sampled,
    sampler_used,
    with_tuning_in_use,
)

if TYPE_CHECKING:
    from crystal_core.crystal import CrystalBatch
    from crystal_core.evaluation.ranking import Evidence
    from crystal_core.protocols import Generator
    from crystal_core.workflows.effort import LaidOut
    from crystal_core.workflows.time_plan import TimePlan


# eV/atom, by whether cells are relaxed: known crystals of forty formulas lie up to 0.11 above the hull as
# published, and right arrangements with a wrong volume up to 0.3
FAR_ABOVE_HULL = {False: 0.3, True: 0.2}
STAGES = {
    "noise": "from noise",
    "prototype": "known prototypes",
    "prototype refined": "refining prototypes",
    "draft": "drafts",
    "draft refined": "drafts, refined",
}


def _guide(measured: MeasuredPattern) -> Guide:
    from crystal_core.guides.powder import PowderTarget

    return Guide(predictor=PowderTarget(measured))


class PredictionRun:
    """The state of one request: what is planned, what is finished, and the result so far."""

    def __init__(
        self,
        request: StructurePredictionRequest,
        model: Generator,
        plan: TimePlan,
        began: float,
        measured: MeasuredPattern | None = None,
        *,
        notes: Sequence[str] = (),
        drafter: Generator | None = None,
    ) -> None:
        self.drafter, self.rejected = drafter, Counter[str]()
        self.left_out: list[Draft] = []
        self.request, self.model, self.began, self.measured, self.notes = (
            request,
            model,
            began,
            measured,
            list(notes),
        )
        self.candidates: list[Candidate] = []
        self.starts: dict[int, CrystalBatch] = {}
        self.templates: dict[int, list[Template | None]] = {}
        self.alike: dict[tuple[int, int], bool] = {}
        self.calls, self.failed = 0, 0
        self.plan = plan
        self.potential_label = ""
        self.guide = None if measured is None or not request.guide else _guide(measured)

    def known_arrangements(self, known: LaidOut) -> RunUpdate:
        """Take in the prototypes of all Z that an effort lays out at once."""
        self._add(known.candidates)
        self.starts, self.templates = dict(known.starts), dict(known.templates)
        result = self.result()  # which finds their symmetry and what is known: a part of the same work
        self.plan.reached(LAYING_OUT, 1.0, 0.0)
        return RunUpdate(stage="known crystals and prototypes", step=0, n_steps=1, result=result)

    def orderings(self) -> RunUpdate:
        """Take in the orderings of an effort, whose energies are predicted before the likeliest are kept."""
        from crystal_core.workflows.ordered_candidates import orderings_of

        self._add(orderings_of(self.request, [candidate.sampled for candidate in self.candidates]))
        result = self.result()
        self.plan.reached(ORDERING, 1.0, 0.0)
        return RunUpdate(stage="orderings of two elements", step=0, n_steps=1, result=result)

    def _add(self, candidates: Sequence[Candidate]) -> None:
        """Take in candidates; all evidence needs log odds of those that are not known and have none."""
        if self.request.rank == "evidence":
            from crystal_core.workflows.cell_predictions import predicted_log_odds

            unknown = [c for c in candidates if c.known is None and c.log_odds is None]
            odds = predicted_log_odds([candidate.sampled for candidate in unknown], self.request.device)
            for candidate, own in zip(unknown, odds, strict=True):
                candidate.log_odds = own
        self.candidates += candidates

    def part(self, part: Part, atoms: tuple[int, ...], *, halved: bool = False) -> Iterator[RunUpdate]:
        """Sample one batch; where the memory does not hold it, its two halves."""
        from crystal_core.crystal import CrystalBatch
        from crystal_core.structures import to_structures

        z, origin, numbers = part.z, part.origin, range(part.first, part.first + part.n)
        generator, start = self._generator(origin), None
        atoms_of = (atoms,) * part.n
        if origin == "prototype refined":
            starts = self.starts.get(z)
            if starts is None:
                return
            start = CrystalBatch.concat([starts[i % len(starts)] for i in numbers])
            atoms_of = tuple(tuple(c.atomic_numbers.tolist()) for c in start)
        request = GenerationRequest(
            compositions=atoms_of,
            sampler=self.request.sampler,
            steps=self.request.steps,
            seed=(self.request.seed or 0) + 1000 * part.place + part.first,
            frame_every=1,
            start=start,
            start_time=getattr(self.model, "start_time", None) if start is not None else None,
            guide=None if origin in DRAFTED else self.guide,
            dtype=self.request.dtype,
            draft=self._draft_options(origin),
            **self.request.tuning_fields,
        )
        request = with_tuning_in_use(generator, request)
        name = f"Z = {z}, {STAGES[origin]}"
        stage = name
        if part.n < self.request.n_samples and origin != "prototype":
            stage += f", samples {numbers[0] + 1} to {numbers[-1] + 1} of {self.request.n_samples}"
        try:
            frame, paths = yield from self._sampled(generator, request, part, stage)
        except MemoryFull:
            if halved or part.n < 2:
                raise
            self.notes += [] if HALVED in self.notes else [HALVED]
            middle = part.n // 2
            for some in (
                replace(part, n=middle),
                replace(part, first=part.first + middle, n=part.n - middle),
            ):
                yield from self.part(some, atoms, halved=True)
            return
        if frame is None or frame.crystals is None:
            return
        self.calls += getattr(generator, "network_calls", 0)
        structures = to_structures(frame.crystals)
        self.failed += sum(s is None for s in structures)
        if origin == "prototype":
            good = [i for i, s in enumerate(structures) if s is not None]
            if good:
                self.starts[z] = CrystalBatch.concat([frame.crystals[i] for i in good])
                self.templates[z] = [frame.templates[i] for i in good]
            templates = list(frame.templates)
        else:
            known = self.templates.get(z) if origin == "prototype refined" else None
            templates = [known[i % len(known)] if known else None for i in numbers]
        drafts = frame.drafts or (None,) * len(structures)
        self.rejected.update(frame.rejected)
        self.left_out = few_of_each([*self.left_out, *frame.left_out])
        sampled_now = [
            Candidate(
                z,
                origin,
                i,
                s,
                template,
                draft,
                frame.stages,
                template_rank=self._template_rank(origin, z, i),
            )
            for i, s, template, draft in zip(numbers, structures, templates, drafts, strict=True)
            if s is not None
        ]
        self._add(sampled_now)
        keep = self.request.keep_trajectory and part.first == 0
        path = path_for_player(f"{name}, sample 1", paths[0] if paths else [], keep=keep)
        yield RunUpdate(
            stage=stage,
            step=0,
            n_steps=1,
            result=self.result(),
            trajectory=path,
        )

    def _sampled(
        self, generator: Generator, request: GenerationRequest, part: Part, stage: str
    ) -> Iterating[RunUpdate, None, tuple[Frame | None, list[list[Snapshot]]]]:
        """:func:`sampled`, which also notes progress in the time plan."""
        phase, atoms = sampling_phase(self.request, part.origin), len(request.compositions[0])
        work, before = sampling_work(part, atoms), self.plan.done.get(phase, 0.0)
        after = self.plan.left.get(phase, 0.0) - work
        with closing(sampled(generator, request, stage=stage, part=0, n_steps=PART_STEPS)) as updates:
            while True:
                try:
                    update = next(updates)
                except StopIteration as end:
                    self.plan.reached(phase, before + work, after)
                    return end.value
                share = update.step / PART_STEPS
                self.plan.reached(phase, before + share * work, after + (1.0 - share) * work)
                yield update

    def _generator(self, origin: Origin) -> Generator:
        if origin == "prototype":
            return load_structure_generator("prototype", "cpu")
        return self.drafter if origin in DRAFTED and self.drafter is not None else self.model

    def _draft_options(self, origin: Origin) -> DraftOptions:
        """Options of the drafts, as :func:`refining_options`; those of the card without drafts."""
        if not self._generator(origin).card.writes_drafts:
            return CARD_DRAFT
        return refining_options(self.request, self.model.card, self._generator(origin).card)

    def _template_rank(self, origin: Origin, z: int, index: int) -> int:
        """Place of a candidate's prototype among those of its formula, 1 first; 0 without one."""
        if origin == "prototype":
            return index + 1
        known = self.templates.get(z)
        return index % len(known) + 1 if origin == "prototype refined" and known else 0

    def groups(self) -> list[int]:
        """The number of the group of alike candidates that each one belongs to."""
        return alike_groups([candidate.alike.structure for candidate in self.candidates], self.alike)

    def evidence(self) -> dict[Candidate, Evidence]:
        """The evidence for every candidate so far."""
        made_by = self._provenance()
        agreed = agreements(self.groups(), [candidate.origin for candidate in self.candidates])
        return {
            candidate: evidence_of(candidate, candidate.record(self.request.formula, made_by), agreement)
            for candidate, agreement in zip(self.candidates, agreed, strict=True)
        }

    def result(self, *, finished: bool = False) -> RunResult:
        """All finished candidates, ranked, as the JSON of cli.md.

        Args:
            finished: none follows, so that notes may judge them all.
        """
        made_by = self._provenance()
        groups = self.groups()
        sizes = {g: groups.count(g) for g in groups}
        records: list[CrystalRecord] = []
        for candidate, group in zip(self.candidates, groups, strict=True):
            record = candidate.record(self.request.formula, made_by)
            if self.measured is not None:
                record["pattern"] = candidate.pattern(self.measured)
            record["score"] = self._score(candidate, record, sizes[group])
            record["group"], record["n_alike"] = group, sizes[group]
            records.append(record)
        best_first = self._by_evidence(records) if self.request.rank == "evidence" else ranked(records)
        by_z: dict[int, list[CrystalRecord]] = {}
        for record in records:
            by_z.setdefault(record["z"], []).append(record)
        place = {record["id"]: k for k, record in enumerate(best_first)}
        by_z = {
            z: sorted(part, key=lambda record: place[record["id"]])
            if self.request.rank == "evidence"
            else ranked(part)
            for z, part in by_z.items()
        }
        result: RunResult = {
            "format": FORMAT,
            "results": [
                {
                    "formula": self.request.formula,
                    "computed_formula": computed_formula(self.request.formula, exact=self.request.exact_cell),
                    "z": z,
                    "candidates": part,
                    "rank_by": self.request.rank,
                }
                for z, part in by_z.items()
            ],
            "ranking": [record["id"] for record in best_first],
            "n_failed": self.failed,
            "notes": [*self.notes, *(self._far_above_hull(records) if finished else [])],
            "settings": made_by["settings"],
            "seconds": round(time.monotonic() - self.began, 2),
            "network_calls": self.calls,
        }
        if self.drafter is None:
            return result
        left_out = [asdict(draft) for draft in self.left_out]
        return result | {"rejected": dict(self.rejected), "left_out": left_out}

    def _far_above_hull(self, records: Sequence[CrystalRecord]) -> list[str]:
        """That no candidate of an effort comes near the hull, as a sentence; empty otherwise."""
        if self.request.effort is None:
            return []
        plausible = [record for record in records if record["validity"]["plausible"]]
        above = [record["energies"]["e_above_hull_ev"] for record in plausible if "energies" in record]
        known = [energy for energy in above if energy is not None]
        if records and not plausible:
            return [
                "No candidate has plausible distances: the right structure is probably not among these."
                + self._how_large(records)
            ]
        if not known or len(known) < len(plausible) or min(known) <= FAR_ABOVE_HULL[self.request.relax]:
            return []
        return [
            f"The lowest candidate lies {min(known):.2f} eV/atom above the hull, further than crystals that "
            "form usually do: the right structure is probably not among these." + self._how_large(records)
        ]

    def _how_large(self, records: Sequence[CrystalRecord]) -> str:
        """That larger cells are to be had, after a sentence; empty where the request names the cells."""
        if self.request.z or self.request.exact_cell:
            return ""
        largest = max(record["n_atoms"] for record in records)
        return f" They have up to {largest} atoms; give Z for larger cells."

    def _score(self, candidate: Candidate, record: CrystalRecord, alike: int) -> Score:
        """The candidate's ranking score; :meth:`_by_evidence` sets that of all evidence, from all cells."""
        if self.measured is not None and self.request.rank == "pattern":
            return {
                "name": "likeness to the measured pattern",
                "value": record["pattern"]["similarity"],
                "unit": "similarity, 0 to 1",
            }
        if self.request.rank == "energy" and self.potential_label:
            return {
                "name": f"energy ({self.potential_label})",
                "value": candidate.ranking_energy,
                "unit": "eV/atom",
            }
        return {"name": "consensus", "value": alike, "unit": "candidates alike"}

    def _by_evidence(self, records: list[CrystalRecord]) -> list[CrystalRecord]:
        """The records, best first, with their scores and what these were made of."""
        evidence = {c.id(self.request.formula): judged for c, judged in self.evidence().items()}
        by_id = {record["id"]: record for record in records}
        ordered = []
        for name, value in order_by_evidence(evidence):
            record = by_id[name]
            record["score"] = {"name": "evidence", "value": round(value, 3), "unit": "log-likelihood"}
            record["evidence"] = asdict(evidence[name])
            ordered.append(record)
        return best_relaxed_leads(ordered)

    def _provenance(self) -> Provenance:
        request = GenerationRequest(
            compositions=((1,),),
            sampler=self.request.sampler,
            steps=self.request.steps,
            draft=draft_options(self.request) if self.model.card.writes_drafts else CARD_DRAFT,
            **self.request.tuning_fields,
        )
        settings = asdict(self.request) | sampler_used(self.model, with_tuning_in_use(self.model, request))
        if self.measured is not None:
            # thousands of points are not repeated with every candidate
            settings |= {"pattern": self.measured.summary()}
        if self.potential_label:
            settings |= {"potential_used": self.potential_label}
        return provenance(
            self.request.model,
            self.model,
            seed=self.request.seed,
            settings=settings,
            with_energies=self.request.wants_energies,
        )
