"""Split conformal prediction: intervals that hold, from heads' errors on held-out crystals.

Of a held-out crystal the error is divided by the size that the heads expect; the 90 % quantile of
these ratios, times the expected size of another crystal, is the half-width of its interval (Lei et
al. 2018, section 5.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COVERAGE, STD_COVERAGE = 0.90, 0.6827


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Factors on the expected error.

    Attributes:
        interval: half-width of the 90 % interval.
        std: half-width of the 68 % interval.
        n: held-out crystals they come from.
    """

    interval: float
    std: float
    n: int


def calibrate(errors: NDArray[np.float64], expected: NDArray[np.float64]) -> Calibration:
    """From absolute errors and expected errors (crystals,) of held-out crystals, in any one unit."""
    ratios = np.sort(errors / expected)
    return Calibration(
        interval=_quantile(ratios, COVERAGE), std=_quantile(ratios, STD_COVERAGE), n=len(ratios)
    )


def _quantile(ratios: NDArray[np.float64], share: float) -> float:
    """The smallest ratio whose interval holds for this share of further crystals; the largest for few."""
    place = math.ceil((len(ratios) + 1) * share) - 1
    return float(ratios[min(place, len(ratios) - 1)])
