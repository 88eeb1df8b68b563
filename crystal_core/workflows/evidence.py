"""Rank the candidates of a formula over all Z: compute all energies and relax the promising candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from crystal_core.evaluation.ranking import Evidence, Weights, load_weights, log_prior, ranking_of, scores
from crystal_core.files.records import EQUAL_ENERGY, symmetry_of
from crystal_core.records import CrystalRecord, Score, published_above_hull
from crystal_core.relax.cost import ENERGY_ALONE, seconds_per_call
from crystal_core.workflows.effort import (
    RELAXING,
    SINGLE_ENERGIES,
    evidence_of_template,
    most_seconds,
    n_relaxed,
)
from crystal_core.workflows.known_candidates import evidence_of_known
from crystal_core.workflows.prediction_time import MOST_RELAXED

if TYPE_CHECKING:
    from crystal_core.relax.potential import Potential
    from crystal_core.relax.relaxation import RelaxStatus, RelaxStep
    from crystal_core.requests import EffortName
    from crystal_core.workflows.candidate import Candidate


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a ranking.

    Attributes:
        stage: the present work, in words.
        phase: "single energies" or "relaxing".
        done, left: work of this phase, in seconds of one idle core.
        to_relax: the work of the relaxations that follow, as far as the energies so far tell.
        moment: the step of a relaxation; None after a single energy.
        relaxed_candidate: the candidate whose relaxation this step ended.
    """

    stage: str
    phase: str
    done: float
    left: float
    to_relax: float = 0.0
    moment: RelaxStep | None = None
    relaxed_candidate: Candidate | None = None


def evidence_of(candidate: Candidate, record: CrystalRecord, agreement: int) -> Evidence:
    """Evidence for a candidate, from its current record.

    Args:
        agreement: as in :class:`Evidence`.
    """
    if candidate.known is not None:
        own = evidence_of_known(candidate.known, record["formula"])
    elif candidate.template is None:
        own = Evidence(source=candidate.origin, distance=1.0)  # a sample from noise has no relative
    else:
        own = evidence_of_template(candidate.template, candidate.template_rank, record["formula"])
    return replace(
        own,
        source=candidate.origin,
        agreement=agreement,
        plausible=record["validity"]["structure"] and record["validity"]["plausible"],
        log_odds=candidate.log_odds,
        single_point=candidate.single_point,
        relaxed=candidate.relaxed_energy,
        converged=candidate.converged,
        published=published_above_hull(record),
        volume=candidate.structure.volume / len(candidate.structure),
    )


def order_by_evidence(evidence: Mapping[str, Evidence]) -> list[tuple[str, float]]:
    """Ids, best first, each with its score."""
    ids, rows, weights = list(evidence), list(evidence.values()), load_weights()
    values = scores(rows, weights)
    return [(ids[i], values[i]) for i in ranking_of(rows, weights)]


def best_relaxed_leads(records: Sequence[CrystalRecord]) -> list[CrystalRecord]:
    """The records in their order, but in the places of one structure its best relaxed candidates come first.

    Candidates of one structure are attempts at the same crystal. They share its highest score; those that
    came to rest come first, by energy, and of equals within :data:`EQUAL_ENERGY` the most symmetric one.
    """
    places: dict[int | None, list[int]] = {}
    for place, record in enumerate(records):
        places.setdefault(record["group"], []).append(place)
    ordered = list(records)
    for own in places.values():
        same = [records[place] for place in own]
        energies = [_energy_at_rest(record) for record in same]
        lowest = min((energy for energy in energies if energy is not None), default=0.0)
        keys = [_place_in_structure(*pair, lowest=lowest) for pair in zip(same, energies, strict=True)]
        score = max((s for r in same if (s := r["score"])), key=_value, default=None)
        for place, k in zip(own, sorted(range(len(same)), key=keys.__getitem__), strict=True):
            ordered[place] = same[k]
            same[k]["score"] = None if score is None else {**score}
    return ordered


def _value(score: Score) -> float:
    return float("-inf") if score["value"] is None else score["value"]


def _energy_at_rest(record: CrystalRecord) -> float | None:
    """The energy of a relaxation that came to rest, eV/atom."""
    relaxation = record.get("relaxation")
    if relaxation is None or "error" in relaxation or "energies" not in record:
        return None  # also for a cell as laid out, whose energy says less than the evidence that orders it
    return record["energies"]["energy_per_atom_ev"]


def _place_in_structure(record: CrystalRecord, energy: float | None, lowest: float) -> tuple[float, ...]:
    if energy is None:
        return (float("inf"),)
    return max(energy - lowest, EQUAL_ENERGY), *(-x for x in symmetry_of(record))


def relax_by_evidence(
    every: Sequence[Candidate],
    candidates: Sequence[Candidate],
    evidence: Mapping[Candidate, Evidence],
    potential: Potential,
    *,
    effort: EffortName | None,
    relax: bool,
    seconds: float,
    weights: Weights | None = None,
) -> Iterator[Progress]:
    """Compute the energies of all candidates, then relax in turns those that can still win.

    Args:
        every: all candidates.
        candidates: one candidate for each distinct structure; only these are relaxed.
        evidence: of each candidate, without energies.
        seconds: time limit of one relaxation, against hanging ones; usually none reaches it.
        weights: of the score; the shipped ones where absent.
    """
    weights = weights or load_weights()
    costs = {candidate: seconds_per_call(candidate.sampled) for candidate in every}
    energies = [ENERGY_ALONE * costs[candidate] for candidate in every]
    relax = relax and _count(effort, [len(c.sampled) for c in candidates]) > 0
    for k, candidate in enumerate(every):
        candidate.weigh(potential)
        yield Progress(
            stage=f"energy of candidate {k + 1} of {len(every)}",
            phase=SINGLE_ENERGIES,
            done=sum(energies[: k + 1]),
            left=sum(energies[k + 1 :]),
            to_relax=_Relaxations(candidates, evidence, costs, effort, weights).work_left if relax else 0.0,
        )
    if not relax:
        return
    relaxations = _Relaxations(candidates, evidence, costs, effort, weights)
    for candidate in candidates:
        if candidate not in relaxations.candidates:
            candidate.mark_not_relaxed(
                f"Only the {len(relaxations.candidates)} most promising structures are relaxed; "
                "its energy is that of the cell as sampled."
            )
    yield from relaxations.run(potential, seconds * len(relaxations.candidates))  # they take turns


class _Relaxations:
    """The most promising of some candidates, and the work of relaxing them against each other.

    Attributes:
        candidates: those that are relaxed, best first; before all have an energy, as far as those tell.
        costs: candidate → seconds of one idle core for a step.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        evidence: Mapping[Candidate, Evidence],
        costs: Mapping[Candidate, float],
        effort: EffortName | None,
        weights: Weights,
    ) -> None:
        from crystal_core.relax.race import Race

        weighed = [replace(evidence[c], single_point=c.single_point) for c in candidates]
        # those named after the compound are always relaxed: the energy of a guessed cell says little
        order = sorted(ranking_of(weighed, weights), key=lambda i: not weighed[i].named)
        chosen = order[: _count(effort, [len(candidates[i].sampled) for i in order])]
        self.candidates, self.most = [candidates[i] for i in chosen], most_seconds(effort)
        self.race = Race(
            cost=weights.cost_of_relaxed,
            gains=weights.gains,
            priors={candidates[i]: log_prior(weighed[i], weights) for i in chosen},
        )
        self.costs = costs
        self.taken = dict.fromkeys(self.candidates, 0)
        self.left = self.race.steps_in_all(
            {candidate: candidate.single_point for candidate in self.candidates},
            {candidate: len(candidate.sampled) for candidate in self.candidates},
        )

    @property
    def work_done(self) -> float:
        """Seconds of one idle core."""
        return sum(n * self.costs[candidate] for candidate, n in self.taken.items())

    @property
    def work_left(self) -> float:
        """Seconds of one idle core, on average, up to the limit of the effort."""
        left = sum(n * self.costs[candidate] for candidate, n in self.left.items())
        return min(max(0.0, self.most - self.work_done), left)

    def run(self, potential: Potential, seconds: float) -> Iterator[Progress]:
        """Relax the candidates by turns.

        Args:
            seconds: time limit of each.
        """
        from crystal_core.relax.race import by_turns

        runners = {
            c: c.compute_energy(potential, seconds=seconds, relax=True, ends=partial(self._ends, c))
            for c in self.candidates
        }
        waiting = list(self.candidates)
        yield self._progress()
        for candidate, moment in by_turns(runners):
            self.taken[candidate] = moment.step + 1  # the cell as laid out is computed too
            self.left[candidate] = 0.0 if moment.status else self.race.steps_left(candidate, moment)
            for other in [c for c in waiting if c.has_final_energy]:
                waiting.remove(other)
                self.left[other] = 0.0
                yield self._progress(relaxed_candidate=other)
            yield self._progress(moment)
        for other in waiting:
            self.left[other] = 0.0
            yield self._progress(relaxed_candidate=other)

    def _ends(self, candidate: Candidate, moment: RelaxStep) -> RelaxStatus | None:
        from crystal_core.relax.relaxation import RelaxStatus

        lost = self.race.ends(candidate, moment)
        return lost or (RelaxStatus.WORK_LIMIT if self.work_done >= self.most else None)

    def _progress(
        self, moment: RelaxStep | None = None, relaxed_candidate: Candidate | None = None
    ) -> Progress:
        return Progress(
            stage=f"relaxing the {len(self.candidates)} most promising structures",
            phase=RELAXING,
            done=self.work_done,
            left=self.work_left,
            moment=moment,
            relaxed_candidate=relaxed_candidate,
        )


def _count(effort: EffortName | None, sizes: Sequence[int]) -> int:
    return min(len(sizes), MOST_RELAXED) if effort is None else n_relaxed(effort, sizes)
