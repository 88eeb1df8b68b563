"""Rank candidates by the weighted evidence that each is the known crystal of its formula.

The energies of rival arrangements often differ by less than the error of the potential, and a prototype that
the nearest relatives choose is often right although another one lies a little lower. So each candidate gets a
score, the logarithm of how likely it is up to a constant that all share:

    score = log prior(source, place among the prototypes, votes, popularity, predicted energy)
            - (E - lowest E) / sigma

The predicted energy above the hull is that of a network, for the cell as laid out. Its term is the logarithm
of a distribution with a heavy tail, because a right arrangement in a poor cell may lie far above the hull.

Published energies of known crystals decide between them wherever one of these lies near the hull. They are of
relaxed crystals, so they share a rank with relaxed energies and never with those of cells as laid out.

The weights are fitted on validation rows of MP-20 by :mod:`crystal_core.workflows.fit_ranking` and stored in
``ranking.json`` with what they were fitted on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).with_suffix(".json")
NEAR_HULL = 0.03  # eV/atom; polymorphs that exist lie mostly within it
VOTE_FLOOR = 0.02  # share of the votes that a prototype without any counts as


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Evidence for one candidate of a formula.

    Attributes:
        source: where it comes from, an origin of a record.
        rank: its place among the prototypes of its composition, 1 first; of a refined prototype that of its
            template; 0 for others.
        votes: weight of the nearest relatives that have its arrangement.
        members: known crystals that have it.
        distance: chemical distance to the nearest of them. repeats: cells of the prototype in this one.
        atoms: of the primitive cell of a known crystal; 0 for others.
        agreement: candidates of the run that are the same structure, itself among them.
        plausible: no distance below 0.7 × the sum of the covalent radii.
        single_point, relaxed: energies, eV/atom; None where there is none.
        converged: the relaxation came to rest.
        predicted: energy above the hull, eV/atom, that a network predicts for the cell as laid out; None
            where it was not predicted.
        published: energy above the hull, eV/atom, of the known crystal that it is; None where it is not known
            or has no such label.
        volume: of the cell, Å3 per atom; 0 where not needed.
        named: the arrangement is named after this very compound (AFLOW).
    """

    source: str
    rank: int = 0
    votes: float = 0.0
    members: int = 0
    distance: float = 0.0
    repeats: int = 1
    atoms: int = 0
    agreement: int = 1
    plausible: bool = True
    single_point: float | None = None
    relaxed: float | None = None
    converged: bool = False
    predicted: float | None = None
    published: float | None = None
    volume: float = 0.0
    named: bool = False


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of the score, each per unit of what it weighs.

    Attributes:
        rank: of log(rank).
        votes: of log(share of the votes).
        members: of log(1 + members).
        noise: log prior of a sample from noise.
        agreement: of log(agreement). known: of being a known crystal. named: of a name.
        predicted: of -log(1 + predicted energy above the hull / its error).
        error_predicted: mean absolute error of such predictions for test crystals, eV/atom.
        sigma_relaxed, sigma_single_point, sigma_published: spread of the energy differences between rivals,
            eV/atom.
        pressure: eV/Å3, added to published energies as pressure times volume: PBE, which they are of, binds
            too weakly and so favours the less dense of two polymorphs.
        above_hull: eV/atom, how far above the hull a published crystal usually is that exists.
        atoms: of log(atoms) of a known crystal: of equal published energies the smaller cell
            is the likelier one.
        unlabelled: log prior of a known crystal without a published energy, mostly a computed
            variant of another one.
        gains: steps of a relaxation → energy that going on still gains in nearly all cases, eV/atom.
        about: what they were fitted on.
    """

    rank: float
    votes: float
    members: float
    noise: float
    agreement: float
    known: float
    named: float
    sigma_relaxed: float
    sigma_single_point: float
    sigma_published: float
    predicted: float = 0.0
    error_predicted: float = 0.03
    pressure: float = 0.0
    above_hull: float = 0.02
    atoms: float = 0.0
    unlabelled: float = 0.0
    gains: tuple[tuple[int, float], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=1)
def load_weights() -> Weights:
    """The shipped weights."""
    return weights_from_json(json.loads(WEIGHTS.read_text(encoding="utf-8")))


def weights_from_json(data: Mapping[str, Any]) -> Weights:
    """The weights of a JSON object."""
    return Weights(**{**data, "gains": tuple((int(step), float(gain)) for step, gain in data["gains"])})


def without_known(weights: Weights) -> Weights:
    """The weights for an evaluation, where a candidate that equals another known crystal gains nothing."""
    return replace(weights, known=0.0, named=0.0)


def log_prior(evidence: Evidence, weights: Weights) -> float:
    """Log prior of a candidate, without its energy."""
    agreed = weights.agreement * math.log(max(1, evidence.agreement))
    known = (weights.known if evidence.published is not None or evidence.distance == 0.0 else 0.0) + (
        weights.named if evidence.named else 0.0
    )
    if evidence.source == "known":
        size = weights.atoms * math.log(max(1, evidence.atoms))
        return agreed + size + known + (weights.unlabelled if evidence.published is None else 0.0)
    if evidence.rank < 1:
        return weights.noise + agreed + (known if evidence.published is not None else 0.0)
    return (
        weights.rank * math.log(evidence.rank)
        + weights.votes * math.log(max(VOTE_FLOOR, evidence.votes))
        + weights.members * math.log1p(evidence.members)
        + weights.predicted * predicted_term(evidence, weights.error_predicted)
        + agreed
        + known
    )


def predicted_term(evidence: Evidence, error: float) -> float:
    """-log(1 + predicted energy above the hull / error); 0 without one, or beside a published energy."""
    if evidence.predicted is None or evidence.published is not None:
        return 0.0
    return -math.log1p(max(0.0, evidence.predicted) / error)


def scores(candidates: Sequence[Evidence], weights: Weights) -> list[float]:
    """The score of every candidate of one formula; comparable only within one tier (:func:`tiers`)."""
    terms = _energy_terms(candidates, weights)
    single = [one.single_point for one in candidates]
    lowest = min((e for e in single if e is not None), default=0.0)
    decided = published_decide(candidates)
    values = []
    for one, term in zip(candidates, terms, strict=True):
        above = 0.0 if one.single_point is None else one.single_point - lowest
        cost = above / weights.sigma_single_point if term is None else term
        if one.published is not None and not decided:
            cost += one.published / weights.above_hull
        values.append(log_prior(one, weights) - cost)
    return values


def published_decide(candidates: Sequence[Evidence]) -> bool:
    """Whether published energies decide between known crystals: one of them lies near the hull.

    Where all lie far above it, the ground state is probably not among them.
    """
    return any(one.published is not None and one.published <= NEAR_HULL for one in candidates)


def tiers(candidates: Sequence[Evidence]) -> list[int]:
    """0 relaxed or with a decisive published energy, 1 weighed unrelaxed, 2 no energy, 3 not plausible.

    Lower tiers come first, so energies of relaxed crystals and of cells as laid out never share a rank.
    """
    decided = published_decide(candidates)
    return [0 if decided and one.published is not None else _tier(one) for one in candidates]


def _tier(evidence: Evidence) -> int:
    if not evidence.plausible:
        return 3
    return 0 if evidence.relaxed is not None else 1 if evidence.single_point is not None else 2


def ranking_of(candidates: Sequence[Evidence], weights: Weights) -> list[int]:
    """Places of the candidates, best first: by tier, then by score, of equals the earlier one."""
    values, tier = scores(candidates, weights), tiers(candidates)
    return sorted(range(len(candidates)), key=lambda i: (tier[i], -values[i], i))


def _energy_terms(candidates: Sequence[Evidence], weights: Weights) -> list[float | None]:
    """How many spreads each candidate lies above the lowest one; None without a relaxed energy.

    Where the published energy of a known crystal is available and decides, it takes the place of the
    potential's. Both scales are laid onto each other by the candidates that have both, else by the
    lowest energy on each.
    """
    decided = published_decide(candidates)
    published = [
        None if one.published is None or not decided else one.published + weights.pressure * one.volume
        for one in candidates
    ]
    both = [
        one.relaxed - energy
        for one, energy in zip(candidates, published, strict=True)
        if one.relaxed is not None and energy is not None
    ]
    shift = sum(both) / len(both) if both else _lowest_apart(candidates, published)
    energies: list[tuple[float, float] | None] = []
    for one, energy in zip(candidates, published, strict=True):
        if energy is not None:
            energies.append((energy, weights.sigma_published))
        elif one.relaxed is not None:
            energies.append((one.relaxed - shift, weights.sigma_relaxed))
        else:
            energies.append(None)
    trusted = [
        e[0] for e, one in zip(energies, candidates, strict=True) if e and (one.plausible or one.published)
    ]
    lowest = min(trusted or [e[0] for e in energies if e], default=0.0)
    return [None if e is None else max(0.0, e[0] - lowest) / e[1] for e in energies]


def _lowest_apart(candidates: Sequence[Evidence], published: Sequence[float | None]) -> float:
    """The lowest relaxed energy minus the lowest published one; 0 where one of them is missing."""
    relaxed = [one.relaxed for one in candidates if one.relaxed is not None and one.plausible]
    known = [energy for energy in published if energy is not None]
    return min(relaxed) - min(known) if relaxed and known else 0.0
