"""Measured powder patterns: a strict two-column reader, and the similarity of a computed pattern.

The similarity judges positions and heights of peaks together. It is no refinement: nothing of the structure
is fitted but its size.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.errors import RequestError
from crystal_core.evaluation.pattern_headings import check_headings
from crystal_core.evaluation.xrd import WAVELENGTHS, pattern

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

MAX_CHARACTERS = 5_000_000
MIN_POINTS, MAX_POINTS = 100, 100_000
MIN_SPAN = 10.0  # degrees: fewer hold too few peaks to tell structures apart
MAX_STEP = 0.2  # degrees: coarser steps lose whole peaks
GRID_STEP = 0.04  # degrees; several points on the sharpest peak of a laboratory instrument
FWHM = 0.2  # degrees, of the computed peaks; the tolerance below absorbs other widths
TOLERANCE = 0.6  # degrees: peaks this far apart do not overlap; overlap grows as they approach
BACKGROUND = 3.0  # degrees: what varies more slowly is background
SCALES = np.linspace(0.97, 1.03, 49)  # of all lengths
MAX_VOLUME = 200.0  # Å3 per atom: emptier cells are no crystals and have too many peaks to compute
WAVELENGTH_RANGE = (0.2, 3.0)  # Å
# a line that begins with two numbers, parted by blanks, a tab or a semicolon, and holds a comma in a number
_NUMBER = r"-?\d+(?:,\d+)?"
DECIMAL_COMMA = re.compile(
    rf"^[ \t]*(?=.*\d,\d){_NUMBER}(?:[ \t]*;[ \t]*|[ \t]+){_NUMBER}(?![\d.]).*$", re.MULTILINE
)
DECIMAL_POINT = re.compile(r"^[ \t]*\d+\.\d", re.MULTILINE)
COMMENTS = ("#", "!", "%", "//", ";", '"', "'", "_", "*", "<")


@dataclass(frozen=True, kw_only=True)
class MeasuredPattern:
    """A powder pattern as measured.

    Attributes:
        two_theta: degrees, rising.
        intensity: any unit, background included.
        wavelength: name of a tube's line, or Å.

    Raises:
        RequestError: too few or too many points, a cell that is no number, angles out of range or
            order, or no signal.
    """

    two_theta: tuple[float, ...]
    intensity: tuple[float, ...]
    wavelength: str | float = "CuKa"

    def __post_init__(self) -> None:
        check_wavelength(self.wavelength)
        n = len(self.two_theta)
        if n != len(self.intensity):
            raise RequestError(
                f"The pattern has {n} angles but {len(self.intensity)} intensities; "
                "give one intensity for each angle."
            )
        if not MIN_POINTS <= n <= MAX_POINTS:
            raise RequestError(
                f"The pattern has {n} points; between {MIN_POINTS} and {MAX_POINTS:,} are needed."
            )
        x, y = np.asarray(self.two_theta, dtype=float), np.asarray(self.intensity, dtype=float)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise RequestError("The pattern holds values that are no numbers (NaN or infinite); remove them.")
        if x[0] < 0 or x[-1] > 180:
            raise RequestError(
                f"Angles 2θ lie between 0 and 180 degrees; this pattern reaches from {x[0]:g} to {x[-1]:g}."
            )
        if (np.diff(x) <= 0).any():
            raise RequestError(
                "The angles 2θ of the pattern do not rise from point to point; "
                "sort them and leave no angle twice."
            )
        if x[-1] - x[0] < MIN_SPAN:
            raise RequestError(
                f"The pattern spans {x[-1] - x[0]:.1f} degrees; "
                f"at least {MIN_SPAN:g} are needed to tell structures apart. "
                "Check that its first column is 2θ in degrees."
            )
        if np.diff(x).max() > MAX_STEP:
            raise RequestError(
                f"The pattern has a step of {np.diff(x).max():.2f} degrees; "
                f"steps above {MAX_STEP} lose peaks."
            )
        if np.abs(y).max() > 1e15:
            raise RequestError("The pattern holds intensities above 1e15; scale them down.")
        if not self.signal.any():
            raise RequestError(
                "Nothing of the pattern stands out from its background; is the second column the intensity?"
            )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MeasuredPattern:
        """The pattern of :meth:`to_json`."""
        try:
            return cls(
                two_theta=tuple(map(float, data["two_theta"])),
                intensity=tuple(map(float, data["intensity"])),
                wavelength=data.get("wavelength", "CuKa"),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise RequestError(
                "A pattern needs two_theta (degrees) and intensity, a number each for every point."
            ) from None

    def to_json(self) -> dict[str, Any]:
        """The pattern as plain values."""
        return {
            "two_theta": list(self.two_theta),
            "intensity": list(self.intensity),
            "wavelength": self.wavelength,
        }

    def summary(self) -> dict[str, Any]:
        """The identity of the pattern in a list of settings: range, number of points, hash."""
        text = json.dumps([self.two_theta, self.intensity])
        first, last = self.range
        return {
            "two_theta": [first, last],
            "points": len(self.two_theta),
            "wavelength": self.wavelength,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }

    @property
    def range(self) -> tuple[float, float]:
        """First and last angle in degrees."""
        return self.two_theta[0], self.two_theta[-1]

    @cached_property
    def grid(self) -> NDArray[np.float64]:
        """Angles in degrees, evenly spaced over the range."""
        return np.arange(self.two_theta[0], self.two_theta[-1], GRID_STEP)

    @cached_property
    def signal(self) -> NDArray[np.float64]:
        """Intensity above the background on :attr:`grid`; all zero without peaks."""
        x, y = np.asarray(self.two_theta), np.asarray(self.intensity)
        # the mean over each step of the grid, not the value at it: finer points than the
        # grid's average their noise
        area = np.concatenate([[0.0], np.cumsum(0.5 * (y[1:] + y[:-1]) * np.diff(x))])
        edges = np.clip(np.stack([self.grid - GRID_STEP / 2, self.grid + GRID_STEP / 2]), x[0], x[-1])
        low, high = np.interp(edges, x, area)
        even = (high - low) / (edges[1] - edges[0])
        rest = even - _background(even)
        top = rest.max(initial=0.0)
        # noise stays, of both signs: clipped at zero it would add up under the tolerance of positions
        return rest / top if top > 1e-9 * np.abs(even).max(initial=0.0) else np.zeros_like(rest)

    @cached_property
    def softened(self) -> NDArray[np.float64]:
        """:attr:`signal` under the tolerance of positions, of length one in that measure."""
        soft = np.convolve(self.signal, _triangle(), mode="same")
        return soft / math.sqrt(float(self.signal @ soft))


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Similarity of a structure's pattern to a measured one.

    Attributes:
        similarity: 0 (no common peak) to 1 (the same).
        scale: factor on all lengths of the structure at which it is highest.
    """

    similarity: float
    scale: float


def read_pattern(text: str, name: str = "The pattern", wavelength: str | float = "CuKa") -> MeasuredPattern:
    """A pattern from two columns, 2θ in degrees and intensity, parted by blanks, tabs, commas or semicolons.

    Further columns are left out, as are comments, blank lines and, before the first number, headings. A comma
    is the decimal sign where another one parts the columns and no number has a point. What the headings and
    comments above the numbers say of axis and wavelength is compared with what is read.

    Raises:
        RequestError: a line holds anything else, the numbers are no pattern (see
            :class:`MeasuredPattern`), or a heading names another axis or wavelength.
    """
    if len(text) > MAX_CHARACTERS:
        raise RequestError(
            f"{name} is larger than {MAX_CHARACTERS // 10**6} MB, too large for a powder pattern."
        )
    two_theta: list[float] = []
    intensity: list[float] = []
    above: list[str] = []
    if DECIMAL_COMMA.search(text) and not DECIMAL_POINT.search(text):
        text = DECIMAL_COMMA.sub(lambda line: line[0].replace(",", "."), text)
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith(COMMENTS):
            above += [] if two_theta else [stripped]
            continue
        parts = [part for part in re.split(r"[\s,;]+", stripped) if part]
        try:
            angle, height = float(parts[0]), float(parts[1])
        except (ValueError, IndexError):
            if not two_theta:
                above.append(stripped)
                continue
            raise RequestError(f"Line {number} of {name} is not two numbers, 2θ and intensity.") from None
        two_theta.append(angle)
        intensity.append(height)
        if len(two_theta) > MAX_POINTS:
            raise RequestError(f"{name} has more than {MAX_POINTS:,} points; merge neighbouring ones.")
    if not two_theta:
        raise RequestError(f"{name} holds no line of two numbers, 2θ and intensity.")
    check_wavelength(wavelength)
    check_headings(above, name, wavelength)
    return MeasuredPattern(two_theta=tuple(two_theta), intensity=tuple(intensity), wavelength=wavelength)


def wavelength_of(text: str) -> str | float:
    """The wavelength someone typed: the name of a line, or a number of Å.

    >>> wavelength_of("CuKa"), wavelength_of("1.54")
    ('CuKa', 1.54)
    """
    wavelength: str | float
    try:
        wavelength = float(text)
    except ValueError:
        wavelength = text.strip()
    check_wavelength(wavelength)
    return wavelength


def check_wavelength(value: str | float) -> None:
    """Raise RequestError unless ``value`` is the name of a line or a number of Å."""
    low, high = WAVELENGTH_RANGE
    if isinstance(value, bool) or (
        value not in WAVELENGTHS if isinstance(value, str) else not low <= value <= high
    ):
        raise RequestError(
            f"The wavelength is one of {', '.join(WAVELENGTHS)}, "
            f"or a number of ångströms between {low} and {high}, not {value!r}."
        )


def likeness(structure: Structure, measured: MeasuredPattern) -> Likeness | None:
    """The similarity of ``structure`` to a measured pattern; None if it has no pattern.

    A cell may be too large and empty, or an element may lack tabulated scattering.

    The normalised cross-correlation of de Gelder, Wehrens, Hageman, J. Comput. Chem. 22 (2001) 273, with
    a triangle as weight, so that a shift costs little while it is small. Before, the background is
    clipped off and both patterns are brought onto one grid; the best value over sizes of the cell from -3
    to +3 % (of length) counts, because predicted volumes err by some percent. Wavelength aside, nothing
    of the instrument is assumed.
    """
    if structure.volume > MAX_VOLUME * len(structure):
        return None
    first, last = measured.range
    # rescaling moves peaks across the window's edge: compute a margin on both sides
    wide = tuple(
        _moved(np.array([angle]), scale)[0]
        for angle, scale in ((first, 1 / SCALES[0]), (last, 1 / SCALES[-1]))
    )
    try:
        window = (float(wide[0]), float(min(wide[1], 179.9)))
        peaks = pattern(structure, measured.wavelength, window, named=False)
    except RequestError:
        return None
    if not peaks.two_theta:
        return Likeness(similarity=0.0, scale=1.0)
    positions, heights = np.array(peaks.two_theta), np.array(peaks.intensity)
    values = [_correlation(_moved(positions, scale), heights, measured) for scale in SCALES]
    best = int(np.argmax(values))
    return Likeness(similarity=round(float(values[best]), 4), scale=round(float(SCALES[best]), 4))


def _moved(two_theta: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """Angles of the peaks of a cell whose lengths are ``scale`` times as large (180 where there are none)."""
    sine = np.sin(np.radians(two_theta / 2)) / scale
    return np.degrees(2 * np.arcsin(np.clip(sine, 0.0, 1.0)))


def _correlation(positions: NDArray[Any], heights: NDArray[Any], measured: MeasuredPattern) -> float:
    grid = measured.grid
    place = (positions - grid[0]) / GRID_STEP
    inside = (place >= 0) & (place < len(grid) - 1)
    if not inside.any():
        return 0.0
    low = place[inside].astype(int)
    share = place[inside] - low
    sticks = np.bincount(low, heights[inside] * (1 - share), len(grid)) + np.bincount(
        low + 1, heights[inside] * share, len(grid)
    )
    computed = np.convolve(sticks, _peak(), mode="same")
    own = float(computed @ np.convolve(computed, _triangle(), mode="same"))
    return float(computed @ measured.softened) / math.sqrt(own) if own > 0 else 0.0


def _peak() -> NDArray[np.float64]:
    """A Gaussian of width FWHM on the grid."""
    x = np.arange(-3 * FWHM, 3 * FWHM + GRID_STEP / 2, GRID_STEP)
    return np.exp(-4 * math.log(2) * (x / FWHM) ** 2)


def _triangle() -> NDArray[np.float64]:
    """Weight of a shift: 1 at none, 0 from TOLERANCE on."""
    n = round(TOLERANCE / GRID_STEP)
    return 1.0 - np.abs(np.arange(-n, n + 1)) / n


def _background(y: NDArray[Any]) -> NDArray[np.float64]:
    """The slow part beneath the peaks: clipped from below, then lifted to the middle of the noise.

    SNIP (Ryan, Clayton, Griffin, Cousens et al., Nucl. Instrum. Methods B 34 (1988) 396) without
    compression of heights: each point becomes the mean of its two neighbours at a distance where that
    is lower, distances falling.
    """
    low = _mean_around(y, np.ones_like(y), 2)
    for width in range(min(round(BACKGROUND / GRID_STEP), (len(y) - 1) // 2), 0, -1):
        low[width:-width] = np.minimum(low[width:-width], 0.5 * (low[: -2 * width] + low[2 * width :]))
    above = y - low
    # standard deviation of one point: few of the differences are peaks
    noise = 1.05 * float(np.median(np.abs(np.diff(y))))
    flat = (above < 3.0 * noise).astype(float)
    return low + _mean_around(above, flat, round(BACKGROUND / GRID_STEP))


def _mean_around(y: NDArray[Any], weight: NDArray[Any], reach: int) -> NDArray[np.float64]:
    """Weighted mean over ``reach`` points on either side; 0 where all weights are."""
    window = np.ones(2 * min(reach, (len(y) - 1) // 2) + 1)
    total = np.convolve(weight, window, mode="same")
    return np.where(total > 0.5, np.convolve(y * weight, window, mode="same") / np.maximum(total, 1.0), 0.0)
