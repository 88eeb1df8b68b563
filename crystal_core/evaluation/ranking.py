"""Rank candidates by the weighted evidence that each is the known crystal of its formula.

The energies of rival arrangements often differ by less than the error of the potential, and a prototype that
the nearest
relatives choose is often right although another one lies a little lower. So each candidate gets a score, the
logarithm of
how likely it is up to a constant that all share:

    score = log prior(source, place among the prototypes, votes, popularity) - (E - lowest E) / sigma

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
VOTE_FLOOR = 0.02  # share of the votes that a prototype without any counts as


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What speaks for one candidate of a formula.

    Attributes:
        source: where it comes from, an origin of a record. rank: its place among the prototypes of its
            composition, 1 first;
            of a refined prototype that of its template; 0 for others.
        votes: weight of the nearest relatives that have its arrangement. members: known crystals that have
            it.
        distance: chemical distance to the nearest of them. repeats: cells of the prototype in this one.
        agreement: candidates of the run that are the same structure, itself among them.
        plausible: no distance below 0.7 × the sum of the covalent radii.
        single_point, relaxed: energies, eV/atom; None where there is none. converged: the relaxation came to
            rest.
        published: energy above the hull, eV/atom, of the known crystal that it is; None where it is not known or
            has no such label.
        named: the arrangement is named after this very compound (AFLOW).
    """

    source: str
    rank: int = 0
    votes: float = 0.0
    members: int = 0
    distance: float = 0.0
    repeats: int = 1
    agreement: int = 1
    plausible: bool = True
    single_point: float | None = None
    relaxed: float | None = None
    converged: bool = False
    published: float | None = None
    named: bool = False


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of the score, each per unit of what it weighs.

    Attributes:
        rank: of log(rank). votes: of log(share of the votes). members: of log(1 + members). noise: log prior
            of a sample from noise.
        agreement: of log(agreement). known: of being a known crystal. named: of a name.
        sigma_relaxed, sigma_single_point, sigma_published: spread of the energy differences between rivals,
            eV/atom.
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
    """The weights for an evaluation: its own crystals are left out, so being another known one is no merit."""
    return replace(weights, known=0.0, named=0.0)


def log_prior(evidence: Evidence, weights: Weights) -> float:
    """What speaks for a candidate before its energy is looked at."""
    agreed = weights.agreement * math.log(max(1, evidence.agreement))
    known = (weights.known if evidence.published is not None or evidence.distance == 0.0 else 0.0) + (
        weights.named if evidence.named else 0.0
    )
    if evidence.rank < 1:
        return weights.noise + agreed + (known if evidence.published is not None else 0.0)
    return (
        weights.rank * math.log(evidence.rank)
        + weights.votes * math.log(max(VOTE_FLOOR, evidence.votes))
        + weights.members * math.log1p(evidence.members)
        + agreed
        + known
    )


def scores(candidates: Sequence[Evidence], weights: Weights) -> list[float]:
    """The score of every candidate of one formula; only those of one :func:`tier` compare with each other."""
    relaxed = _energy_terms(candidates, weights)
    single = [one.single_point for one in candidates]
    lowest = min((e for e in single if e is not None), default=0.0)
    values = []
    for one, term in zip(candidates, relaxed, strict=True):
        above = 0.0 if one.single_point is None else one.single_point - lowest
        values.append(
            log_prior(one, weights) - (above / weights.sigma_single_point if term is None else term)
        )
    return values


def tier(evidence: Evidence) -> int:
    """0 relaxed, 1 weighed as laid out, 2 without an energy, 3 not plausible; lower tiers come first."""
    if not evidence.plausible:
        return 3
    return 0 if evidence.relaxed is not None else 1 if evidence.single_point is not None else 2


def ranking_of(candidates: Sequence[Evidence], weights: Weights) -> list[int]:
    """Places of the candidates, best first: by tier, then by score, of equals the earlier one."""
    values = scores(candidates, weights)
    return sorted(range(len(candidates)), key=lambda i: (tier(candidates[i]), -values[i], i))


def _energy_terms(candidates: Sequence[Evidence], weights: Weights) -> list[float | None]:
    """How many spreads each candidate lies above the lowest one; None where it was not relaxed.

    Where the published energy of a known crystal is at hand it takes the place of the potential's. Both
    scales are laid
    onto each other by the candidates that have both.
    """
    both = [
        (one.relaxed - one.published)
        for one in candidates
        if one.relaxed is not None and one.published is not None
    ]
    shift = sum(both) / len(both) if both else 0.0
    energies: list[tuple[float, float] | None] = []
    for one in candidates:
        if one.relaxed is None:
            energies.append(None)
        elif one.published is not None:
            energies.append((one.published, weights.sigma_published))
        else:
            energies.append((one.relaxed - shift, weights.sigma_relaxed))
    lowest = min((e[0] for e, c in zip(energies, candidates, strict=True) if e and c.plausible), default=None)
    if lowest is None:
        lowest = min((e[0] for e in energies if e), default=0.0)
    return [None if e is None else max(0.0, e[0] - lowest) / e[1] for e in energies]
