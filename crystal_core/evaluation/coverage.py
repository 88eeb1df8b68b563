"""How much of the known crystals a generated set covers, and how much of it lies near known ones (Xie et al., CDVAE 2022).

Two crystals are near if both their structure fingerprints and their composition features are: CDVAE's ``compute_cov``,
whose nearest structure and nearest composition may be two different crystals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crystal_core.evaluation.composition_features import standardised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK = 1000  # crystals whose distances to all known ones are held at once


class Cutoffs(NamedTuple):
    """Largest Euclidean distances that count as near, of structure fingerprints and of standardised composition features."""

    structure: float
    composition: float


MP_20 = Cutoffs(0.4, 10.0)
PEROV_5 = Cutoffs(0.2, 4.0)  # and Carbon-24
CUTOFFS = {"mp-20": MP_20, "perov-5": PEROV_5, "carbon-24": PEROV_5}


@dataclass(frozen=True, kw_only=True)
class Fingerprints:
    """Of a set of crystals, one row each.

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
    """Counts, from which the shares follow.

    Attributes:
        recalled: (known crystals with a fingerprint,) whether a generated one is near.
        precise: (generated crystals,) whether a known one is near; False without a fingerprint.
    """

    recalled: NDArray[np.bool_]
    precise: NDArray[np.bool_]


def coverage(generated: Fingerprints, known: Fingerprints, cutoffs: Cutoffs) -> Coverage:
    """Which known crystals are met, and which generated ones meet a known one."""
    exist = generated.exist
    precise = np.zeros(len(exist), dtype=bool)
    references = known.exist
    if not exist.any() or not references.any():
        return Coverage(recalled=np.zeros(int(references.sum()), dtype=bool), precise=precise)
    to_structure, from_structure = _nearest(generated.structure[exist], known.structure[references])
    to_composition, from_composition = _nearest(
        standardised(generated.composition[exist]), standardised(known.composition[references])
    )
    precise[exist] = (to_structure <= cutoffs.structure) & (to_composition <= cutoffs.composition)
    return Coverage(
        recalled=(from_structure <= cutoffs.structure) & (from_composition <= cutoffs.composition),
        precise=precise,
    )


def _nearest(
    rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each row to its nearest column, and of each column to its nearest row."""
    per_row: list[NDArray[np.float64]] = []
    per_column = np.full(len(columns), np.inf)
    for block in _distances(rows, columns):
        per_row.append(block.min(axis=1))
        per_column = np.minimum(per_column, block.min(axis=0))
    return np.concatenate(per_row), per_column


def _distances(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    from scipy.spatial.distance import cdist

    for first in range(0, len(rows), BLOCK):
        yield cdist(rows[first : first + BLOCK], columns)
