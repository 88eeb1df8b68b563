"""Site values in a scene: atoms coloured by them, magnetic moments as arrows.

Pure, as :mod:`crystal_core.drawing.scene`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.evaluation.valences import valences_of
from crystal_core.files.site_values import UNITS, site_values_of
from crystal_core.properties import shortest

if TYPE_CHECKING:
    from pymatgen.core import Structure

COORDINATION, VALENCE, MOMENT = "Coordination number", "Bond-valence sum", "Magnetic moment"
NO_VALUE = "#9aa0a6"
# viridis with a lighter blue in place of its dark beginning, and Moreland's cool to warm without its ends:
# both are seen on a light and on a dark page
SEQUENTIAL = ("#4b6cb7", "#2f8fb0", "#21a08f", "#35b779", "#79d151", "#bddf26", "#fde725")
DIVERGING = ("#5977e3", "#7b9ff9", "#aec9fd", "#dddddd", "#f5c1a9", "#ee8468", "#d0473d")
SMALLEST_MOMENT = 1e-3  # µB; less is no arrow


@dataclass(frozen=True, kw_only=True)
class Colouring:
    """A number of every site, by which its atom is coloured.

    Attributes:
        label, unit: of the colour bar. values: per site; None is drawn grey.
    """

    label: str
    unit: str
    values: tuple[float | None, ...]

    @property
    def known(self) -> list[float]:
        """The values that are there."""
        return [x for x in self.values if x is not None]


def colouring_of(structure: Structure, by: str, scene: Mapping[str, Any]) -> tuple[Colouring | None, str]:
    """A crystal's colouring by a name from :func:`colourings_in`, or None and the reason in a sentence.

    Args:
        scene: of the crystal; its bonds are what is counted as coordination.
    """
    values: Sequence[float | None]
    if by == COORDINATION:
        values = coordination_numbers(scene)
        reason = "No bonds are drawn in this crystal, so there is no coordination number to colour by."
        return _some(Colouring(label=by, unit="", values=tuple(values)), reason)
    if by == VALENCE:
        valences = valences_of(structure)
        return _some(Colouring(label=by, unit="v.u.", values=valences.sums), valences.reason)
    given = site_values_of(structure)
    if by == MOMENT:
        values = signed_moments(structure)
        return _some(Colouring(label=by, unit="µB", values=tuple(values)), "The file gives no moments.")
    values = given["columns"].get(by, [])
    reason = "The file gives no such values."
    return _some(Colouring(label=by, unit=UNITS.get(by.lower(), ""), values=tuple(values)), reason)


def colourings_in(structure: Structure) -> list[str]:
    """Colourings of a crystal's atoms without a model: geometry, then values from its file."""
    given = site_values_of(structure)
    return [COORDINATION, VALENCE, *([MOMENT] if given["moments"] else []), *given["columns"]]


def coordination_numbers(scene: Mapping[str, Any]) -> list[float | None]:
    """Bonds drawn at every site; None at sites without any, such as metals and loosely held ions."""
    counts = [0] * len(scene["sites"])
    for i, j, *_ in scene["bonds"]:
        counts[i] += 1
        counts[j] += 1
    return [float(n) if n else None for n in counts]


def signed_moments(structure: Structure) -> list[float | None]:
    """Size of every moment (µB); if all are parallel, negative for those against c, or the first one."""
    moments = [None if m is None else np.array(m) for m in site_values_of(structure)["moments"]]
    known = [m for m in moments if m is not None and np.linalg.norm(m) >= SMALLEST_MOMENT]
    if not known:
        return [None if m is None else 0.0 for m in moments]
    axis = known[0] / np.linalg.norm(known[0])
    is_collinear = all(np.linalg.norm(np.cross(m, axis)) < 0.01 * np.linalg.norm(m) for m in known)
    if axis @ np.asarray(structure.lattice.matrix[2]) < -1e-6:
        axis = -axis
    return [
        None if m is None else float(m @ axis if is_collinear else np.linalg.norm(m)) or 0.0 for m in moments
    ]


def span_of(colourings: Sequence[Colouring]) -> tuple[float, float]:
    """The range of values that all of them share; symmetric about 0 where there are values of both signs."""
    known = [x for colouring in colourings for x in colouring.known]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if low < 0 < high:
        high = max(-low, high)
        low = -high
    return low, high


def coloured(
    scene: Mapping[str, Any], colouring: Colouring, span: tuple[float, float] | None = None
) -> dict[str, Any]:
    """The scene with its atoms coloured.

    Args:
        span: values of the two ends of the colour bar; that of the colouring itself without.

    Returns:
        A scene with ``colouring``: {label, unit, low, high, stops: colours from low to high, colours: one per
        site, missing: whether some atoms are grey}.
    """
    low, high = span or span_of([colouring])
    stops = DIVERGING if low < 0 < high else SEQUENTIAL
    width = high - low
    colours = [
        NO_VALUE if x is None else _between(stops, (x - low) / width if width > 1e-9 else 0.5)
        for x in colouring.values
    ]
    ends = f"from {shortest(low, 3)} to {shortest(high, 3)} {colouring.unit}".rstrip()
    return {
        **scene,
        "colouring": {
            "label": colouring.label,
            "unit": colouring.unit,
            "low": low,
            "high": high,
            "stops": list(stops),
            "colours": colours,
            "missing": NO_VALUE in colours,
        },
        "sentence": f"{scene.get('sentence', '')} Atoms are coloured by {colouring.label}, {ends}.".strip(),
    }


def with_moments(
    scene: Mapping[str, Any], structure: Structure, longest: float | None = None
) -> dict[str, Any]:
    """The scene with the magnetic moments of the file as arrows; the scene as it is where there are none.

    Args:
        longest: size in µB of the longest arrow of all scenes that are to be compared; that
            of the crystal without.

    Returns:
        A scene with ``moments``: {vectors: Cartesian, µB, or None per site; longest}.
    """
    vectors = [
        m if m is not None and math.hypot(*m) >= SMALLEST_MOMENT else None
        for m in site_values_of(structure)["moments"]
    ]
    if not any(vectors):
        return dict(scene)
    longest = longest or longest_moment(structure)
    words = f"Arrows show magnetic moments of up to {longest:.3g} µB."
    return {
        **scene,
        "moments": {"vectors": vectors, "longest": longest},
        "sentence": f"{scene.get('sentence', '')} {words}".strip(),
    }


def longest_moment(structure: Structure) -> float:
    """Size of the largest moment of the file, µB; 0 without any."""
    return max((math.hypot(*m) for m in site_values_of(structure)["moments"] if m is not None), default=0.0)


def _some(colouring: Colouring, reason: str) -> tuple[Colouring | None, str]:
    return (colouring, "") if colouring.known else (None, reason)


def _between(stops: Sequence[str], share: float) -> str:
    """The colour at a share, 0 to 1, of a row of ``#rrggbb``."""
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    k = min(int(place), len(stops) - 2)
    pair = [np.array([int(stop[i : i + 2], 16) for i in (1, 3, 5)]) for stop in stops[k : k + 2]]
    return "#" + "".join(f"{round(float(x)):02x}" for x in pair[0] + (place - k) * (pair[1] - pair[0]))
