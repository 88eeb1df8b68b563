"""Powder diffraction: peak positions and intensities from pymatgen's kinematic calculator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymatgen.core import Structure

WAVELENGTHS = ("CuKa", "MoKa", "CoKa", "FeKa", "AgKa")


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Peaks: 2θ in degrees, intensity in percent of the strongest, Miller indices as text."""

    two_theta: tuple[float, ...]
    intensity: tuple[float, ...]
    hkl: tuple[str, ...]
    radiation: str


def pattern(structure: Structure, radiation: str = "CuKa", two_theta: tuple[float, float] = (5.0, 90.0)) -> Pattern:
    """The powder pattern in a range of 2θ (degrees)."""
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    found = XRDCalculator(wavelength=radiation).get_pattern(structure, two_theta_range=two_theta)
    names = tuple(" ".join("(" + " ".join(map(str, h["hkl"])) + ")" for h in family) for family in found.hkls)
    return Pattern(two_theta=tuple(map(float, found.x)), intensity=tuple(map(float, found.y)), hkl=names, radiation=radiation)
