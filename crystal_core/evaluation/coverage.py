"""Coverage of the known crystals by a generated set, and the reverse (Xie et al., CDVAE 2022).

Two crystals are near if both their structure fingerprints and their composition features are: CDVAE's
``compute_cov``, whose nearest structure and nearest composition may be two different crystals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystal_core.evaluation.composition_features import standardised
from crystal_core.evaluation.statistics import wilson

BLOCK = 1000  # crystals whose distances to all known ones are held at once
RESAMPLES = 1000
TAILS = (0.025, 0.975)
INTERVALS = (
    "95 % intervals: Wilson's over the crystals; those of coverage from 1,000 bootstrap resamples of the "
    "generated crystals, for recall centred on the set and at least as wide as by the jackknife"
)


class Cutoffs(NamedTuple):
    """Largest Euclidean distances that count as near, of structure fingerprints and composition features."""

    structure: float
    composition: float


MP_20 = Cutoffs(0.4, 10.0)
PEROV_5 = Cutoffs(0.2, 4.0)  # and Carbon-24
CUTOFFS = {"mp-20": MP_20, "perov-5": PEROV_5, "carbon-24": PEROV_5}


@dataclass(frozen=True, kw_only=True)
class Fingerprints:
    """Fingerprints of a set of crystals, one row each.

    Attributes:
        structure: (crystals, 61), a row of NaN where none could be made.
        composition: (crystals, 132), not standardised.
    """

    structure: NDArray[np.float64]
    composition: NDArray[np.float64]

    @property
    def exist(self) -> NDArray[np.bool_]:
        """(crystals,) whether the structure has a fingerprint."""
        return np.isfinite(self.structure.sum(axis=1))


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Which crystals of two sets are near each other.

    Attributes:
        near_structure, near_composition: (generated crystals, known crystals with a fingerprint) whether they
            are near; a generated crystal without a fingerprint is near none.
    """

    near_structure: NDArray[np.bool_]
    near_composition: NDArray[np.bool_]

    @property
    def recalled(self) -> NDArray[np.bool_]:
        """(known crystals with a fingerprint,) whether a generated one is near."""
        return np.asarray(self.near_structure.any(axis=0) & self.near_composition.any(axis=0))

    @property
    def precise(self) -> NDArray[np.bool_]:
        """(generated crystals,) whether a known one is near."""
        return np.asarray(self.near_structure.any(axis=1) & self.near_composition.any(axis=1))


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """95 % intervals (low, high) of the two shares, from 0 to 1."""

    recall: tuple[float, float]
    precision: tuple[float, float]


def coverage(generated: Fingerprints, known: Fingerprints, cutoffs: Cutoffs) -> Coverage:
    """Which known crystals are met, and which generated ones meet a known one."""
    exist, references = generated.exist, known.exist
    near = []
    for rows, columns, cutoff in (
        (generated.structure[exist], known.structure[references], cutoffs.structure),
        (
            standardised(generated.composition[exist]),
            standardised(known.composition[references]),
            cutoffs.composition,
        ),
    ):
        within = np.zeros((len(exist), int(references.sum())), dtype=bool)
        if len(rows) and len(columns):
            within[exist] = np.concatenate([block <= cutoff for block in _distances(rows, columns)])
        near.append(within)
    return Coverage(near_structure=near[0], near_composition=near[1])


def resample(
    covered: Coverage, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(resamples,) recall and precision of as many generated crystals, drawn with replacement.

    The known crystals stay as they are. One product of matrices of zeros and ones tells for all resamples at
    once which known crystals are met; it is taken a block of generated crystals at a time.
    """
    n, n_known = covered.near_structure.shape
    places = np.random.default_rng(seed).integers(0, n, (resamples, n)) + n * np.arange(resamples)[:, None]
    drawn = np.bincount(places.ravel(), minlength=resamples * n).reshape(resamples, n)
    recalled = covered.recalled  # what all crystals together do not recall, no resample does
    present, met = (drawn > 0).astype(np.float32), np.ones((resamples, int(recalled.sum())), dtype=bool)
    for near in (covered.near_structure[:, recalled], covered.near_composition[:, recalled]):
        one_is_near = np.zeros_like(met)
        for first in range(0, n, BLOCK):
            block = slice(first, first + BLOCK)
            one_is_near |= present[:, block] @ near[block].astype(np.float32) > 0
        met &= one_is_near
    return met.sum(axis=1) / max(1, n_known), drawn @ covered.precise / n


def intervals(covered: Coverage, *, resamples: int = RESAMPLES, seed: int = 0) -> Intervals:
    """95 % intervals of recall and precision for another set of as many crystals from the same model.

    Both resample the generated crystals (bootstrap). A resample repeats some crystals and so recalls less
    than the set itself, which is why the interval of recall is centred on the recall of the set. It cannot
    recall what only other crystals of the model would, and so scatters too little where recall is low: its
    spread is raised to that of leaving out one crystal at a time (jackknife), which is too large rather than
    too small (Efron and Stein, Ann. Stat. 9, 586, 1981). Where no resample differs from the set, which says
    nothing of the spread, the interval is Wilson's.
    """
    recalled, precise = covered.recalled, covered.precise
    if not len(precise):
        return Intervals(recall=wilson(0, len(recalled)), precision=wilson(0, 0))
    recalls, precisions = resample(covered, resamples=resamples, seed=seed)
    recall = wilson(int(recalled.sum()), len(recalled))
    if spread := float(recalls.std()):
        share = float(recalled.mean())
        low, high = np.quantile(recalls, TAILS) - recalls.mean()
        wider = max(1.0, _spread_leaving_one_out(covered) / spread)
        recall = max(0.0, share + min(0.0, wider * low)), min(1.0, share + max(0.0, wider * high))
    precision = wilson(int(precise.sum()), len(precise))
    if precisions.std():
        low, high = np.quantile(precisions, TAILS)
        precision = float(low), float(high)
    return Intervals(recall=(float(recall[0]), float(recall[1])), precision=precision)


def _spread_leaving_one_out(covered: Coverage) -> float:
    """Jackknife deviation of recall: a known crystal is lost with the only generated one near it."""
    recalled, (n, n_known) = covered.recalled, covered.near_structure.shape
    lost = np.zeros((n, int(recalled.sum())), dtype=bool)
    for near in (covered.near_structure[:, recalled], covered.near_composition[:, recalled]):
        lost |= near & (near.sum(axis=0) == 1)
    return float(np.sqrt((n - 1) * lost.sum(axis=1).var())) / n_known


def _distances(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    from scipy.spatial.distance import cdist

    for first in range(0, len(rows), BLOCK):
        yield cdist(rows[first : first + BLOCK], columns)
