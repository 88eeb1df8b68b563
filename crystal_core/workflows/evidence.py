"""Rank the candidates of a formula over all Z: compute all energies and relax the promising candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from crystal_core.evaluation.ranking import Evidence, Weights, load_weights, log_prior, ranking_of, scores
from crystal_core.files.records import EQUAL_ENERGY, symmetry_of
from crystal_core.records import CrystalRecord, Score, published_above_hull
from crystal_core.workflows.effort import (
    RELAXING,
    SINGLE_ENERGIES,
    STEPS_IN_A_RACE,
    evidence_of_template,
    n_relaxed,
    seconds_per_call,
)
from crystal_core.workflows.known_candidates import evidence_of_known
from crystal_core.workflows.prediction_time import MOST_RELAXED

if TYPE_CHECKING:
    from crystal_core.relax.potential import Potential
    from crystal_core.relax.relaxation import RelaxStep
    from crystal_core.requests import EffortName
    from crystal_core.workflows.candidate import Candidate


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a ranking.

    Attributes:
        stage: the present work, in words.
        phase: "single energies" or "relaxing".
        done, left: work of this phase, in seconds of one idle core.
        moment: the step of a relaxation; None after a single energy.
        relaxed_candidate: the candidate whose relaxation this step ended.
    """

    stage: str
    phase: str
    done: float
    left: float
    moment: RelaxStep | None = None
    relaxed_candidate: Candidate | None = None


def evidence_of(candidate: Candidate, record: CrystalRecord, agreement: int) -> Evidence:
    """Evidence for a candidate, from its current record.

    Args:
        agreement: number of candidates with this structure, including this one.
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
        predicted=candidate.predicted,
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
    if "energies" not in record or "error" in record.get("relaxation", {}):
        return None
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
    sizes = [len(c.sampled) for c in candidates]
    n_first = _count(effort, sizes) if relax else 0
    whole, done = sum(seconds_per_call(len(c.sampled)) for c in every), 0.0
    for k, candidate in enumerate(every):
        candidate.weigh(potential)
        done += seconds_per_call(len(candidate.sampled))
        yield Progress(
            stage=f"energy of candidate {k + 1} of {len(every)}",
            phase=SINGLE_ENERGIES,
            done=done,
            left=whole - done,
        )
    if not n_first:
        return
    weighed = [replace(evidence[c], single_point=c.single_point) for c in candidates]
    # an arrangement named after the compound is always relaxed: the energy of its guessed cell says little
    order = sorted(ranking_of(weighed, weights), key=lambda i: not weighed[i].named)
    chosen = order[: _count(effort, [sizes[i] for i in order])]
    for i in order[len(chosen) :]:
        candidates[i].mark_not_relaxed(
            f"Only the {len(chosen)} most promising structures are relaxed; "
            "its energy is that of the cell as sampled."
        )
    yield from _relaxed(
        [candidates[i] for i in chosen],
        [weighed[i] for i in chosen],
        potential,
        seconds * len(chosen),  # they take turns
        weights,
    )


def _relaxed(
    candidates: Sequence[Candidate],
    evidence: Sequence[Evidence],
    potential: Potential,
    seconds: float,
    weights: Weights,
) -> Iterator[Progress]:
    from crystal_core.relax.race import Race, by_turns

    race = Race(
        sigma=weights.sigma_relaxed,
        gains=weights.gains,
        priors={k: log_prior(one, weights) for k, one in enumerate(evidence)},
    )
    costs = [seconds_per_call(len(c.sampled)) for c in candidates]
    taken, expected = [0] * len(costs), [float(STEPS_IN_A_RACE)] * len(costs)
    runners = {
        k: c.compute_energy(potential, seconds=seconds, relax=True, give_up=partial(race.is_lost, k))
        for k, c in enumerate(candidates)
    }
    open_ones = set(runners)

    def progress(moment: RelaxStep | None = None, relaxed_candidate: Candidate | None = None) -> Progress:
        return Progress(
            stage=f"relaxing the {len(candidates)} most promising structures",
            phase=RELAXING,
            done=sum(n * cost for n, cost in zip(taken, costs, strict=True)),
            left=sum(expected[i] * costs[i] for i in open_ones),
            moment=moment,
            relaxed_candidate=relaxed_candidate,
        )

    for k, moment in by_turns(runners):
        taken[k] = moment.step + 1  # the cell as laid out is computed too
        expected[k] = 0.0 if moment.status is not None else race.steps_left(k, moment)
        finished = [i for i in open_ones if candidates[i].has_final_energy]
        for i in finished:
            open_ones.remove(i)
            yield progress(relaxed_candidate=candidates[i])
        yield progress(moment)
    for i in sorted(open_ones):
        open_ones.remove(i)
        yield progress(relaxed_candidate=candidates[i])


def _count(effort: EffortName | None, sizes: Sequence[int]) -> int:
    return min(len(sizes), MOST_RELAXED) if effort is None else n_relaxed(effort, sizes)
