"""Composition features: the 132 features of Magpie, standardised as CDVAE and its successors do.

Twenty-two properties of the elements, each as minimum, maximum, range, mean, average deviation and mode over
the atoms (Ward et al., npj Computational Materials 2016). The tables and the constants of the standardisation
are in ``magpie.json``, which names their origin. Checked against matminer 0.10.1: see
``tests/evaluation/test_fingerprints.py``.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TABLE = Path(__file__).with_name("magpie.json")
N_FEATURES = 132


class _Magpie(NamedTuple):
    elements: dict[str, NDArray[np.float64]]  # symbol → (22,), NaN where nothing is tabulated
    means: NDArray[np.float64]  # (132,)
    deviations: NDArray[np.float64]  # (132,)


def composition_features(counts: Mapping[str, float]) -> NDArray[np.float64]:
    """(132,) Magpie features of symbols and amounts, property by property; NaN where a table has a gap.

    matminer since 0.9 fills gaps with the mean over the elements. The published coverage did not; there,
    as in :func:`standardised`, a gap counts as an average composition. Only noble gases and elements from
    At on have any.
    """
    table = _magpie().elements
    unknown = np.full(22, np.nan)
    values = np.stack([table.get(symbol, unknown) for symbol in counts])
    weights = np.array(list(counts.values()), dtype=np.float64)
    mean = weights @ values / weights.sum()
    deviation = weights @ np.abs(values - mean) / weights.sum()
    low, high = values.min(axis=0), values.max(axis=0)
    mode = values[np.isclose(weights, weights.max())].min(axis=0)
    return np.stack([low, high, high - low, mean, deviation, mode], axis=1).ravel()


def standardised(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features (…, 132) less CDVAE's means over CDVAE's deviations; gaps become 0."""
    table = _magpie()
    return np.nan_to_num((features - table.means) / table.deviations, nan=0.0)


@lru_cache(maxsize=1)
def _magpie() -> _Magpie:
    data = json.loads(TABLE.read_text(encoding="utf-8"))
    elements = {
        symbol: np.array([np.nan if x is None else x for x in row], dtype=np.float64)
        for symbol, row in data["elements"].items()
    }
    means, deviations = (
        np.array([x for name in data["properties"] for x in data[key][name]])
        for key in ("means", "deviations")
    )
    return _Magpie(elements, means, deviations)
