"""Energies of the candidates of one row: as a run computes them, or as many as a fit needs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from crystal_core.errors import RelaxationFailed
from crystal_core.evaluation.alike import alike_groups, rms_distance
from crystal_core.evaluation.matching import MATCHER
from crystal_core.evaluation.ranking import agreements, load_weights, without_known
from crystal_core.evaluation.validity import check_structure
from crystal_core.relax.race import Race, by_turns
from crystal_core.workflows.candidate import Candidate
from crystal_core.workflows.effort import EFFORTS
from crystal_core.workflows.evidence import relax_by_evidence
from crystal_core.workflows.first_card_rows import Judged

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.relax.potential import Potential
    from crystal_core.relax.relaxation import RelaxStep
    from crystal_core.requests import EffortName

STEPS = 100  # of a relaxation
SECONDS = 600.0  # of a relaxation, against hanging ones
# a fit needs the energies of those that lose by little, too: a tenth of an electronvolt more than Race.gains
WIDE_GAINS = ((5, 0.7), (10, 0.4), (20, 0.2), (40, 0.12))
TRACED = (0, 1, 2, 5, 10, 20, 40, 60)  # steps whose energies are kept


@dataclass(frozen=True, kw_only=True)
class EnergiesOfEffort:
    """Energies as a run of this effort computes them; the row's own crystal is not a known one."""

    potential: Potential
    effort: EffortName

    @property
    def relaxes(self) -> bool:
        """Whether cells move."""
        return EFFORTS[self.effort].most_relaxed > 0

    def __call__(self, judged: list[Judged], cells: Sequence[Structure], target: Structure) -> list[Judged]:
        """The judged candidates with their energies; ``target`` is the row's crystal."""
        candidates = [Candidate(1, "prototype", k, cell) for k, cell in enumerate(cells)]
        evidence = {candidate: one.evidence for candidate, one in zip(candidates, judged, strict=True)}
        first: dict[int, Candidate] = {}
        for candidate, group in zip(candidates, alike_groups(list(cells)), strict=True):
            first.setdefault(group, candidate)
        for _ in relax_by_evidence(
            candidates,
            list(first.values()),
            evidence,
            self.potential,
            effort=self.effort,
            relax=self.relaxes,
            seconds=SECONDS,
            weights=without_known(load_weights()),
        ):
            pass
        groups = alike_groups([candidate.structure for candidate in candidates])
        agreed = agreements(groups, [one.evidence.source for one in judged])
        return [
            _with_outcome(one, candidate, agreement, target)
            for one, candidate, agreement in zip(judged, candidates, agreed, strict=True)
        ]


def _with_outcome(one: Judged, candidate: Candidate, agreement: int, target: Structure) -> Judged:
    evidence = replace(
        one.evidence,
        single_point=_rounded(candidate.single_point),
        relaxed=_rounded(candidate.relaxed_energy),
        converged=candidate.converged,
    )
    plausible = check_structure(candidate.structure).plausible
    judged = replace(
        one, evidence=evidence, after=replace(evidence, agreement=agreement, plausible=plausible)
    )
    if candidate.relaxed_energy is None:
        return judged
    return replace(judged, relaxed=rms_distance(target, candidate.structure, MATCHER))


@dataclass(frozen=True, kw_only=True)
class EnergiesToFit:
    """Energies for a fit of the weights: every candidate is relaxed until it has clearly lost.

    Attributes:
        steps: of each relaxation at most; 0 gives the energies of the cells as laid out.
    """

    potential: Potential
    steps: int = STEPS

    @property
    def relaxes(self) -> bool:
        """Whether cells move."""
        return self.steps > 0

    def __call__(self, judged: list[Judged], cells: Sequence[Structure], target: Structure) -> list[Judged]:
        """The judged candidates with their energies; ``target`` is the row's crystal."""
        paths = self.paths(cells)
        return [_with_path(one, path, target) for one, path in zip(judged, paths, strict=True)]

    def paths(self, cells: Sequence[Structure]) -> list[list[RelaxStep]]:
        """The path of every cell, relaxed by turns; empty where the potential cannot take it."""
        race = Race(cost=float, gains=WIDE_GAINS)
        paths: list[list[RelaxStep]] = [[] for _ in cells]
        runners = {k: self._path(k, cell, race) for k, cell in enumerate(cells)}
        for k, moment in by_turns(runners):
            paths[k].append(moment)
        return paths

    def _path(self, k: int, cell: Structure, race: Race) -> Generator[RelaxStep]:
        from crystal_core.relax.relaxation import relax_steps

        with suppress(RelaxationFailed):
            yield from relax_steps(
                cell,
                self.potential,
                steps=self.steps,
                seconds=SECONDS,
                ends=partial(race.ends, k),
            )


def _with_path(one: Judged, path: Sequence[RelaxStep], target: Structure) -> Judged:
    from crystal_core.relax.relaxation import RelaxStatus

    if not path:
        return one
    last = path[-1]
    outrun = last.status is RelaxStatus.OUTRUN
    if last.status is RelaxStatus.SINGLE_POINT:
        single = replace(one.evidence, single_point=_rounded(last.energy))
        return replace(one, evidence=single, force=round(last.max_force, 3))
    return replace(
        one,
        evidence=replace(
            one.evidence,
            single_point=_rounded(path[0].energy),
            relaxed=None if outrun else _rounded(last.energy),
            converged=last.status is RelaxStatus.CONVERGED,
        ),
        relaxed=None if outrun else rms_distance(target, last.structure, MATCHER),
        trace=tuple((m.step, round(m.energy, 5)) for m in path if m.step in TRACED or m is last),
        outrun=outrun,
        force=round(path[0].max_force, 3),
    )


def _rounded(energy: float | None) -> float | None:
    return None if energy is None else round(energy, 5)
