"""Rank candidates by the weighted evidence that each is the known crystal of its formula.

Energy alone does not decide: rival arrangements often differ by less than the error of the potential, and the
prototype of the nearest relatives is often right although another one lies a little lower. Each candidate
therefore gets a score, its log likelihood up to a constant that all candidates share:

    score = log prior(source, place among the prototypes, votes, popularity, log odds of the cell)
            - factor * log(1 + (E - lowest E) / error)

The log of a heavy-tailed distribution weighs energies: most errors of a potential are small, and some are
many times larger. The log odds come from a network that has learned to tell right candidates of training
crystals from wrong ones by their unrelaxed cells (:mod:`crystal_core.predictors.crysldnet.ranking_network`).

If a known crystal lies near the hull, published energies decide between the known crystals. They belong to
relaxed crystals, so they are compared with relaxed energies and never with those of unrelaxed cells.

:mod:`crystal_core.workflows.fit_ranking` fits the weights on validation rows of MP-20. ``ranking.json`` holds
the weights and describes these rows.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from crystal_core.whole_files import write_whole

WEIGHTS = Path(__file__).with_suffix(".json")
NEAR_HULL = 0.03  # eV/atom; polymorphs that exist lie mostly within it
INDEPENDENT = ("noise", "draft", "draft refined")  # sources of samples that start from no known arrangement
VOTE_FLOOR = 0.02  # share of the votes that a prototype without any counts as


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Evidence for one candidate of a formula.

    Attributes:
        source: the origin of its record, such as "prototype" or "known".
        rank: place of its prototype (or of the prototype that was refined) for this composition, from 1; 0
            without a prototype.
        votes: summed weight of the nearest relatives with this arrangement.
        members: number of known crystals with this arrangement.
        distance: chemical distance to the nearest of these crystals.
        repeats: cells of the prototype in this cell.
        atoms: in the primitive cell of a known crystal; 0 for other candidates.
        agreement: number of independent samples with this structure; see :func:`agreements`.
        plausible: no distance is below 0.7 × the sum of the covalent radii.
        single_point, relaxed: energy before and after relaxing, eV/atom; None if not computed.
        converged: the relaxation converged.
        log_odds: that its unrelaxed cell is the right one, by a network, up to a constant of the formula;
            None if not computed.
        published: energy above the hull, eV/atom, of the known crystal that this candidate equals; None if it
            equals none, or one without this label.
        volume: Å3 per atom; 0 if not needed.
        named: AFLOW names the arrangement after this compound.
        ordered: two elements stand in order on the sites of one element of the prototype.
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
    log_odds: float | None = None
    published: float | None = None
    volume: float = 0.0
    named: bool = False
    ordered: bool = False


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The coefficients of the score.

    Attributes:
        rank: factor of log(rank).
        votes: factor of log(share of the votes).
        members: factor of log(1 + members).
        noise: log prior of a sample from noise.
        ordered: log prior that an ordering of a prototype adds: relatives vote for the prototype alone.
        agreement: factor of log(agreement).
        known, named: log prior that a known crystal, or an arrangement with the name of the compound, adds.
        log_odds: factor of the log odds.
        relaxed, single_point: factors of -log(1 + energy above the lowest one / its error), of relaxed cells
            and of cells as laid out.
        error_relaxed, error_single_point: usual error of the energy differences between rivals, eV/atom.
        sigma_published: spread of the differences between published energies, eV/atom.
        pressure: eV/Å3; pressure × volume is added to published energies. They are PBE energies, which bind
            too weakly and so favour the less dense of two polymorphs.
        above_hull: usual energy above the hull of a published crystal that exists, eV/atom.
        atoms: factor of log(atoms) of a known crystal: at equal published energies the smaller cell is the
            likelier one.
        unlabelled: log prior of a known crystal without a published energy, usually a computed variant of
            another crystal.
        gains: (relaxation steps, largest energy in eV/atom that further steps gain in nearly all cases).
        about: the data and the command of the fit.
    """

    rank: float
    votes: float
    members: float
    noise: float
    agreement: float
    known: float
    named: float
    relaxed: float
    error_relaxed: float
    single_point: float
    error_single_point: float
    sigma_published: float
    ordered: float = 0.0
    log_odds: float = 0.0
    pressure: float = 0.0
    above_hull: float = 0.02
    atoms: float = 0.0
    unlabelled: float = 0.0
    gains: tuple[tuple[int, float], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def cost_of_relaxed(self, above: float) -> float:
        """What a relaxed energy so far above the lowest one, in eV/atom, takes from a score."""
        return self.relaxed * math.log1p(max(0.0, above) / self.error_relaxed)

    def cost_of_single_point(self, above: float) -> float:
        """The same for the energy of a cell as laid out."""
        return self.single_point * math.log1p(max(0.0, above) / self.error_single_point)


@lru_cache(maxsize=1)
def load_weights() -> Weights:
    """The shipped weights."""
    return weights_from_json(json.loads(WEIGHTS.read_text(encoding="utf-8")))


def save_weights(weights: Weights, path: Path) -> None:
    """Write the weights as JSON."""
    write_whole(path, json.dumps(asdict(weights), indent=1, ensure_ascii=False) + "\n")


def weights_from_json(data: Mapping[str, Any]) -> Weights:
    """The weights of a JSON object."""
    return Weights(**{**data, "gains": tuple((int(step), float(gain)) for step, gain in data["gains"])})


def without_known(weights: Weights) -> Weights:
    """The weights for an evaluation, where a candidate that equals another known crystal gains nothing."""
    return replace(weights, known=0.0, named=0.0)


def agreements(groups: Sequence[int], sources: Sequence[str]) -> list[int]:
    """For every candidate, itself and how many independent samples of a model have the same structure.

    Prototypes and cells refined from them do not count for each other: several that relax into one structure
    often do so because it is simple, and on validation rows this speaks for no arrangement.

    Args:
        groups: of alike candidates. sources: as in :class:`Evidence`.
    """
    samples = Counter(g for g, source in zip(groups, sources, strict=True) if source in INDEPENDENT)
    return [samples[g] + (source not in INDEPENDENT) for g, source in zip(groups, sources, strict=True)]


def log_prior(evidence: Evidence, weights: Weights) -> float:
    """Log prior of a candidate, without its energy.

    A candidate that is a known crystal has the prior of one, whatever it was made from: what the relatives of
    its formula choose tells nothing more.
    """
    agreed = weights.agreement * math.log(max(1, evidence.agreement))
    published = evidence.published is not None
    known = (weights.known if published or evidence.distance == 0.0 else 0.0) + (
        weights.named if evidence.named else 0.0
    )
    if evidence.source == "known" or published:
        size = weights.atoms * math.log(max(1, evidence.atoms))
        return agreed + size + known + (0.0 if published else weights.unlabelled)
    if evidence.rank < 1:
        return weights.noise + agreed
    return (
        weights.rank * math.log(evidence.rank)
        + weights.votes * math.log(max(VOTE_FLOOR, evidence.votes))
        + weights.members * math.log1p(evidence.members)
        + weights.log_odds * (evidence.log_odds or 0.0)
        + (weights.ordered if evidence.ordered else 0.0)
        + agreed
        + known
    )


def scores(candidates: Sequence[Evidence], weights: Weights) -> list[float]:
    """The score of every candidate of one formula; comparable only within one tier (:func:`tiers`)."""
    terms = _energy_terms(candidates, weights)
    single = [one.single_point for one in candidates]
    lowest = min((e for e in single if e is not None), default=0.0)
    decided = published_decide(candidates)
    values = []
    for one, term in zip(candidates, terms, strict=True):
        above = 0.0 if one.single_point is None else one.single_point - lowest
        cost = weights.cost_of_single_point(above) if term is None else term
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
    """The tier of each candidate; lower ones come first.

    0: relaxed, or with a published energy that decides. 1: with the energy of the unrelaxed cell. 2: without
    energy. 3: implausible. Energies of relaxed and of unrelaxed cells are thus never compared.
    """
    decided = published_decide(candidates)
    return [0 if decided and one.published is not None else _tier(one) for one in candidates]


def _tier(evidence: Evidence) -> int:
    if not evidence.plausible:
        return 3
    return 0 if evidence.relaxed is not None else 1 if evidence.single_point is not None else 2


def ranking_of(candidates: Sequence[Evidence], weights: Weights) -> list[int]:
    """Indices of the candidates, best first: by tier, then by score, then by index."""
    values, tier = scores(candidates, weights), tiers(candidates)
    return sorted(range(len(candidates)), key=lambda i: (tier[i], -values[i], i))


def _energy_terms(candidates: Sequence[Evidence], weights: Weights) -> list[float | None]:
    """What the energy of each candidate takes from its score; None without a relaxed or published energy.

    A published energy replaces that of the potential if published energies decide. The mean difference of the
    candidates with both energies aligns the two scales; without such candidates the lowest energies do.
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
    energies: list[float | None] = []
    for one, energy in zip(candidates, published, strict=True):
        on_this_scale = None if one.relaxed is None else one.relaxed - shift
        energies.append(on_this_scale if energy is None else energy)
    trusted = [
        e
        for e, one in zip(energies, candidates, strict=True)
        if e is not None and (one.plausible or one.published)
    ]
    lowest = min(trusted or [e for e in energies if e is not None], default=0.0)
    costs: list[float | None] = []
    for energy, from_table in zip(energies, published, strict=True):
        if energy is None:
            costs.append(None)
        elif from_table is None:
            costs.append(weights.cost_of_relaxed(energy - lowest))
        else:
            costs.append(max(0.0, energy - lowest) / weights.sigma_published)
    return costs


def _lowest_apart(candidates: Sequence[Evidence], published: Sequence[float | None]) -> float:
    """The lowest relaxed energy minus the lowest published one; 0 if there is only one kind."""
    relaxed = [one.relaxed for one in candidates if one.relaxed is not None and one.plausible]
    known = [energy for energy in published if energy is not None]
    return min(relaxed) - min(known) if relaxed and known else 0.0
