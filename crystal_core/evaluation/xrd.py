"""Powder diffraction: peak positions and intensities from pymatgen's kinematic calculator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from pymatgen.core import Structure

Hkl = tuple[int, ...]

WAVELENGTHS = ("CuKa", "MoKa", "CoKa", "FeKa", "AgKa")
WAVELENGTH_RANGE = (0.1, 5.0)  # Å, of a wavelength of one's own
MERGED = 0.02  # degrees 2θ: reflections that are one by symmetry but for a rounded or nearly symmetric cell
FAINTEST = 1e-9  # of the strongest peak, electrons²: reflections that cancel are left with the rounding of their phases


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Peaks: 2θ in degrees, intensity in percent of the strongest, Miller indices with multiplicities as text."""

    two_theta: tuple[float, ...]
    intensity: tuple[float, ...]
    hkl: tuple[str, ...]
    radiation: str | float


def radiation_text(radiation: str | float) -> str:
    """A line with its wavelength in Å, or the wavelength alone.

    >>> radiation_text("CuKa"), radiation_text(0.7107)
    ('Cu Kα, 1.5418 Å', '0.7107 Å')
    """
    from pymatgen.analysis.diffraction.xrd import WAVELENGTHS as IN_ANGSTROMS

    if not isinstance(radiation, str):
        return f"{radiation:g} Å"
    return f"{radiation.replace('Ka', ' Kα')}, {IN_ANGSTROMS[radiation]:.4f} Å"


def pattern(
    structure: Structure, radiation: str | float = "CuKa", two_theta: tuple[float, float] = (5.0, 90.0)
) -> Pattern:
    """The powder pattern in a range of 2θ (degrees); without peaks where no lattice plane reflects there.

    Raises:
        RequestError: an element whose scattering is not tabulated.
    """
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS, XRDCalculator

    unknown = sorted({e.symbol for e in structure.composition.elements} - ATOMIC_SCATTERING_PARAMS.keys())
    if unknown:
        raise RequestError(
            f"No diffraction pattern: how X-rays scatter from {', '.join(unknown)} is not tabulated."
        )
    calculator = XRDCalculator(wavelength=radiation)
    # the calculator takes no window without a lattice plane
    low, high = (2 * math.sin(math.radians(angle / 2)) / calculator.wavelength for angle in two_theta)
    planes = structure.lattice.reciprocal_lattice_crystallographic.get_points_in_sphere(
        [[0, 0, 0]], [0, 0, 0], high
    )
    none = Pattern(two_theta=(), intensity=(), hkl=(), radiation=radiation)
    if not any(plane[1] > 1e-8 and plane[1] >= low for plane in planes):
        return none
    found = calculator.get_pattern(structure, scaled=False, two_theta_range=two_theta)
    peaks = _merged(
        found.x, found.y, [{h["hkl"]: h["multiplicity"] for h in family} for family in found.hkls]
    )
    strongest = max(peak.intensity for peak in peaks)
    if strongest < FAINTEST:
        return none
    return Pattern(
        two_theta=tuple(peak.two_theta for peak in peaks),
        intensity=tuple(100 * peak.intensity / strongest for peak in peaks),
        hkl=tuple(_names(peak.families) for peak in peaks),
        radiation=radiation,
    )


class _Peak(NamedTuple):
    two_theta: float
    intensity: float
    families: Mapping[Hkl, int]


def _merged(
    two_theta: Sequence[float], intensity: Sequence[float], families: Sequence[Mapping[Hkl, int]]
) -> list[_Peak]:
    """Reflections no farther than MERGED from the first of their group as one, at the mean angle weighted by intensity."""
    groups: list[list[int]] = []
    for i, angle in enumerate(two_theta):
        if groups and angle - two_theta[groups[-1][0]] <= MERGED:
            groups[-1].append(i)
        else:
            groups.append([i])
    peaks = []
    for group in groups:
        heights = np.array([intensity[i] for i in group])
        angles = np.array([two_theta[i] for i in group])
        joined: dict[Hkl, tuple[Hkl, int]] = {}
        for i in sorted(group, key=lambda i: -intensity[i]):
            for hkl, multiplicity in families[i].items():
                same = tuple(
                    sorted(map(abs, hkl))
                )  # indices that are permutations, as the calculator joins them
                name, n = joined.get(same, (hkl, 0))
                joined[same] = (max(name, hkl), n + multiplicity)
        total = float(heights.sum())
        mean = float(angles @ heights) / total if total > 0 else float(angles.mean())
        peaks.append(_Peak(mean, total, dict(joined.values())))
    return peaks


def _names(families: Mapping[Hkl, int]) -> str:
    return ", ".join(f"({' '.join(map(str, hkl))}) ×{n}" for hkl, n in families.items())


def profile(
    found: Pattern, *, fwhm: float, two_theta: tuple[float, float] = (5.0, 90.0), mixing: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """The pattern as a diffractometer draws it: 2θ (degrees) and intensity in percent of the highest point.

    Args:
        fwhm: full width at half maximum in degrees, the same for all peaks.
        mixing: share of the Lorentzian in the pseudo-Voigt shape.
    """
    x = np.arange(two_theta[0], two_theta[1], min(0.02, fwhm / 5))
    y = _summed(found, x, fwhm, mixing)
    return x, 100 * y / max(y.max(initial=0.0), 1e-12)


def stick_height(
    found: Pattern, line: tuple[np.ndarray, np.ndarray], *, fwhm: float, mixing: float = 0.5
) -> float:
    """Height of the strongest stick on the scale of its :func:`profile`, in percent: below 100 where peaks overlap."""
    x, y = line
    highest = _summed(found, x[[np.argmax(y)]], fwhm, mixing)
    return 100 * 100 / float(highest[0]) if highest[0] > 0 else 100.0


def _summed(found: Pattern, x: np.ndarray, fwhm: float, mixing: float) -> np.ndarray:
    y = np.zeros_like(x)
    for centre, height in zip(found.two_theta, found.intensity, strict=True):
        u = (x - centre) / (fwhm / 2)
        y += height * (mixing / (1 + u**2) + (1 - mixing) * np.exp(-np.log(2) * u**2))
    return y
