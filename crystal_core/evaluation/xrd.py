"""Powder diffraction in the kinematic approximation: positions, intensities and indices of the peaks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from pymatgen.core import Structure

WAVELENGTHS = ("CuKa", "MoKa", "CoKa", "FeKa", "AgKa")
WAVELENGTH_RANGE = (0.1, 5.0)  # Å, of a wavelength given as a number
MERGED = 0.02  # degrees 2θ: a rounded or nearly symmetric cell splits one reflection by this much
FAINTEST = 1e-9  # electrons²: rounding of phases leaves this much of a cancelled reflection
LEAST_SHARE = 1e-5  # of the strongest peak: fainter ones are not listed
SYMPREC = 0.1  # Å, of the search for equivalent reflections; cells of models are symmetric to about that
LAST_TABULATED = 98  # atomic number
MOST_PHASES = 2_000_000  # computed at once
THREEFOLD = np.array([[0, -1, 0], [1, -1, 0], [0, 0, 1]])  # along c of hexagonal axes


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Peaks: 2θ in degrees, intensity in percent of the strongest, Miller indices with multiplicities."""

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


def wavelength_in_angstroms(radiation: str | float) -> float:
    """The wavelength of a tube's line, or the number itself."""
    from pymatgen.analysis.diffraction.xrd import WAVELENGTHS as IN_ANGSTROMS

    return float(IN_ANGSTROMS[radiation]) if isinstance(radiation, str) else float(radiation)


def pattern(
    structure: Structure,
    radiation: str | float = "CuKa",
    two_theta: tuple[float, float] = (5.0, 90.0),
    *,
    named: bool = True,
) -> Pattern:
    """The powder pattern in a range of 2θ (degrees); without peaks where no lattice plane reflects there.

    Each peak is named by an index of each family that is present in it, with the family's
    multiplicity; families are those of the Laue group within 0.1 Å. ``named=False`` leaves the names
    empty, which saves the search.

    Raises:
        RequestError: an element whose scattering is not tabulated.
    """
    wavelength = wavelength_in_angstroms(radiation)
    low, high = (2 * math.sin(math.radians(angle / 2)) / wavelength for angle in two_theta)
    hkl = _indices(structure, low, high)
    squared = structure_factors_squared(structure, hkl)
    none = Pattern(two_theta=(), intensity=(), hkl=(), radiation=radiation)
    if not len(hkl) or squared.max() < FAINTEST:
        return none
    length = np.linalg.norm(hkl @ _reciprocal(structure), axis=1)
    theta = np.arcsin(np.clip(wavelength * length / 2, 0.0, 1.0))
    # Lorentz and polarisation factors of a powder; both of a Friedel pair are counted
    intensity = 2 * squared * (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    order = np.argsort(theta, kind="stable")
    peaks = _peaks(structure, hkl[order], np.degrees(2 * theta[order]), intensity[order], named=named)
    strongest = max(peak.intensity for peak in peaks)
    peaks = [peak for peak in peaks if peak.intensity > LEAST_SHARE * strongest]
    return Pattern(
        two_theta=tuple(peak.two_theta for peak in peaks),
        intensity=tuple(100 * peak.intensity / strongest for peak in peaks),
        hkl=tuple(peak.name for peak in peaks),
        radiation=radiation,
    )


def structure_factors_squared(structure: Structure, hkl: np.ndarray) -> np.ndarray:
    """|F|² in electrons² of reflections ``(n, 3)``, without anomalous scattering and thermal motion.

    The scattering factors are those of International Tables C (1992), Table 6.1.1.4, as gemmi tabulates them
    for hydrogen to californium; the table that comes with pymatgen is 15 % off for tin.

    Raises:
        RequestError: an element whose scattering is not tabulated.
    """
    import gemmi

    unknown = sorted({e.symbol for e in structure.composition.elements if e.Z > LAST_TABULATED})
    if unknown:
        raise RequestError(
            f"No diffraction pattern: how X-rays scatter from {', '.join(unknown)} is not tabulated."
        )
    atoms: dict[str, list[tuple[int, float]]] = {}
    numbers: dict[str, int] = {}
    for k, site in enumerate(structure):
        for species, share in site.species.items():
            atoms.setdefault(species.symbol, []).append((k, share))
            numbers[species.symbol] = species.Z
    coords = np.asarray(structure.frac_coords)
    squared_s = (np.linalg.norm(hkl @ _reciprocal(structure), axis=1) / 2) ** 2
    total = np.zeros(len(hkl), dtype=complex)
    for symbol, places in atoms.items():
        index, shares = np.array([k for k, _ in places]), np.array([x for _, x in places])
        table = gemmi.Element(numbers[symbol]).it92
        terms = np.array(table.a) * np.exp(-np.array(table.b) * squared_s[:, None])
        factor = np.sum(terms, axis=1) + float(table.c)
        step = max(1, MOST_PHASES // len(places))
        for start in range(0, len(hkl), step):
            part = slice(start, start + step)
            phases = np.exp(2j * math.pi * (hkl[part] @ coords[index].T))
            total[part] += factor[part] * (phases @ shares)
    return np.abs(total) ** 2


def _reciprocal(structure: Structure) -> np.ndarray:
    """Reciprocal vectors as rows in 1/Å, without 2π."""
    return np.linalg.inv(np.asarray(structure.lattice.matrix)).T


def _indices(structure: Structure, low: float, high: float) -> np.ndarray:
    """Miller indices ``(n, 3)`` of one half space, of lengths from ``low`` to ``high`` in 1/Å."""
    limits = np.floor(high * np.asarray(structure.lattice.abc) + 1e-9).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in limits), indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    h, k, ell = grid.T
    grid = grid[(h > 0) | ((h == 0) & (k > 0)) | ((h == 0) & (k == 0) & (ell > 0))]
    length = np.linalg.norm(grid @ _reciprocal(structure), axis=1)
    return grid[(length >= low) & (length <= high)]


class _Peak(NamedTuple):
    two_theta: float
    intensity: float
    name: str


def _peaks(
    structure: Structure, hkl: np.ndarray, two_theta: np.ndarray, intensity: np.ndarray, *, named: bool
) -> list[_Peak]:
    """Reflections within MERGED of the first of their group as one, at the intensity-weighted mean angle."""
    rotations = _rotations(structure) if named else np.eye(3, dtype=int)[None]
    family = _families(rotations, hkl) if named else np.zeros(len(hkl), dtype=int)
    faintest = LEAST_SHARE * float(intensity.max())
    # the four indices of a cell without this axis, e.g. one with γ = 60°, would not be those of equivalents
    is_hexagonal = bool((rotations == THREEFOLD).all(axis=(1, 2)).any())
    peaks, start = [], 0
    while start < len(hkl):
        end = start + int(np.searchsorted(two_theta[start:], two_theta[start] + MERGED, side="right"))
        part = slice(start, end)
        total = float(intensity[part].sum())
        mean = (
            float(two_theta[part] @ intensity[part]) / total if total > 0 else float(two_theta[part].mean())
        )
        name = _names(hkl[part], intensity[part], family[part], faintest, is_hexagonal) if named else ""
        peaks.append(_Peak(mean, total, name))
        start = end
    return peaks


def _rotations(structure: Structure) -> np.ndarray:
    """The rotations ``(n, 3, 3)`` of the crystal's space group in fractions of its cell."""
    import spglib

    kinds = list(dict.fromkeys(site.species_string for site in structure))
    cell = (
        structure.lattice.matrix.tolist(),
        structure.frac_coords.tolist(),
        [kinds.index(site.species_string) for site in structure],
    )
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    except spglib.SpglibError:
        dataset = None
    return np.eye(3, dtype=int)[None] if dataset is None else np.unique(dataset.rotations, axis=0)


def _families(rotations: np.ndarray, hkl: np.ndarray) -> np.ndarray:
    """A number for each reflection, equal for those that the crystal's Laue group maps onto each other."""
    images = np.einsum("ni,rij->nrj", hkl, rotations)
    images = np.concatenate([images, -images], axis=1)
    # one number per index triple: indices stay far below 2,000
    keys = (images + 2000) @ np.array([4001**2, 4001, 1])
    return keys.min(axis=1)


def _names(
    hkl: np.ndarray, intensity: np.ndarray, family: np.ndarray, faintest: float, is_hexagonal: bool
) -> str:
    """The families that are present, strongest first, each as one index and its multiplicity."""
    names = []
    for number in np.unique(family):
        members = family == number
        total = float(intensity[members].sum())
        if total > faintest:
            both = np.concatenate([hkl[members], -hkl[members]])
            names.append((-total, _representative(both), len(both)))
    return ", ".join(
        f"({' '.join(map(str, (h, k, -h - k, ell) if is_hexagonal else (h, k, ell)))}) ×{n}"
        for _, (h, k, ell), n in sorted(names)
    )


def _representative(indices: np.ndarray) -> tuple[int, int, int]:
    """Of equivalent indices the tabulated one: few minus signs, none before l, and the largest first."""
    best = min(
        indices.tolist(),
        key=lambda hkl: (sum(x < 0 for x in hkl), hkl[2] < 0, hkl[1] < 0, *(-x for x in hkl)),
    )
    return (best[0], best[1], best[2])


def profile(
    diffraction: Pattern, *, fwhm: float, two_theta: tuple[float, float] = (5.0, 90.0), mixing: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """The pattern as a diffractometer draws it: 2θ (degrees) and intensity in percent of the highest point.

    Args:
        fwhm: full width at half maximum in degrees, the same for all peaks.
        mixing: share of the Lorentzian in the pseudo-Voigt shape.
    """
    x = np.arange(two_theta[0], two_theta[1], min(0.02, fwhm / 5))
    y = _summed(diffraction, x, fwhm, mixing)
    return x, 100 * y / max(y.max(initial=0.0), 1e-12)


def stick_height(
    diffraction: Pattern, line: tuple[np.ndarray, np.ndarray], *, fwhm: float, mixing: float = 0.5
) -> float:
    """Height of the strongest stick on the scale of its :func:`profile`, in percent; < 100 in overlaps."""
    x, y = line
    highest = _summed(diffraction, x[[np.argmax(y)]], fwhm, mixing)
    return 100 * 100 / float(highest[0]) if highest[0] > 0 else 100.0


def _summed(diffraction: Pattern, x: np.ndarray, fwhm: float, mixing: float) -> np.ndarray:
    y = np.zeros_like(x)
    for centre, height in zip(diffraction.two_theta, diffraction.intensity, strict=True):
        u = (x - centre) / (fwhm / 2)
        y += height * (mixing / (1 + u**2) + (1 - mixing) * np.exp(-np.log(2) * u**2))
    return y
