"""Symmetry of a structure: space group over tolerance, operations, and sites with Wyckoff letters."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.errors import RequestError
from crystal_core.files.records import space_group
from crystal_core.structures import amounts_in, in_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import PeriodicSite, Structure
    from spglib import SpglibDataset

MAX_ANALYSED = 500  # sites; searching symmetry and summing reflections both grow with the square of the cell
TOLERANCES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3)
# lowered digits, and the minus sign of mathematics
TYPESET = str.maketrans("₀₁₂₃₄₅₆₇₈₉−", "0123456789-")


def space_group_number(text: str) -> int:
    """The number, 1..230, of a space group given by number or by a symbol of any of its settings.

    >>> [space_group_number(text) for text in ("225", "Fm-3m", "P 2_1/c", "P21/n", "Fm3m", "R-3m:H")]
    [225, 225, 14, 14, 225, 166]

    Raises:
        RequestError: there is no such group.
    """
    plain = _plain(text)
    if plain.isascii() and plain.isdigit() and len(plain) <= 3 and 1 <= int(plain) <= 230:
        return int(plain)
    number = _numbers().get(plain)
    if number is None:
        from crystal_core.files.space_groups import of_symbol

        others = {setting.number for setting in of_symbol(text)}
        number = others.pop() if len(others) == 1 else None
    if number is None:
        raise RequestError(
            f"'{text[:40]}' is no space group; give a number from 1 to 230 or a symbol such as Fm-3m."
        )
    return number


def space_group_symbol(number: int) -> str:
    """The short international symbol of a space group."""
    return next(short for short, _, setting in _settings() if setting == number)


def has_operations(
    structure: Structure, rotations: NDArray[Any], translations: NDArray[Any], symprec: float
) -> bool:
    """Whether operations map a crystal onto itself within ``symprec`` (Å): cell, sites and elements.

    Args:
        rotations: (operations, 3, 3) and translations: (operations, 3), x' = W x + w in the basis and origin
            of the structure's cell.
    """
    lattice = np.asarray(structure.lattice.matrix)
    # the strain between the cell and its image, times its longest edge
    turned = np.linalg.inv(lattice) @ rotations.swapaxes(1, 2) @ lattice
    strain = np.abs(turned @ turned.swapaxes(1, 2) - np.eye(3)).max() / 2
    if strain * max(structure.lattice.abc) > symprec:
        return False
    coords, numbers = np.asarray(structure.frac_coords), np.asarray(structure.atomic_numbers)
    like = numbers[:, None] == numbers[None]
    for rotation, translation in zip(rotations, translations, strict=True):
        gap = (coords @ rotation.T + translation)[:, None] - coords[None]
        distance = np.linalg.norm((gap - np.round(gap)) @ lattice, axis=-1)
        if np.where(like, distance, np.inf).min(1).max() > symprec:
            return False
    return True


def space_group_curve(
    structure: Structure, tolerances: tuple[float, ...] = TOLERANCES
) -> list[dict[str, Any]]:
    """Space group at each tolerance (Å)."""
    rows = []
    for tolerance in tolerances:
        group = space_group(structure, tolerance)
        rows.append(
            {
                "tolerance (Å)": tolerance,
                "space group": group["symbol"] if group else "–",
                "number": group["number"] if group else None,
            }
        )
    return rows


def site_table(structure: Structure, symprec: float = 0.1) -> list[dict[str, Any]]:
    """One row per site: element, Wyckoff position such as 4a, fractional and Cartesian (Å) coordinates."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    try:
        letters = _wyckoff_positions(SpacegroupAnalyzer(structure, symprec=symprec).get_symmetry_dataset())
    except Exception:  # noqa: BLE001 (no symmetry found: the table is useful without letters)
        letters = ["–"] * len(structure)
    return [
        {
            "site": i + 1,
            "element": _contents(site),
            "Wyckoff": letter,
            **{
                name: round(float(v), 4)
                for name, v in zip(("x", "y", "z"), in_cell(site.frac_coords), strict=True)
            },
            **{f"{name} (Å)": round(float(v), 3) for name, v in zip("xyz", site.coords, strict=True)},
        }
        for i, (site, letter) in enumerate(zip(structure, letters, strict=True))
    ]


def _wyckoff_positions(dataset: SpglibDataset) -> list[str]:
    """Multiplicity in the conventional cell and letter of every site."""
    orbits = np.asarray(dataset.crystallographic_orbits)
    per_site = len(dataset.std_types) / len(orbits)
    return [
        f"{round(np.count_nonzero(orbits == orbit) * per_site)}{letter}"
        for orbit, letter in zip(orbits, dataset.wyckoffs, strict=True)
    ]


def _contents(site: PeriodicSite) -> str:
    """The element of a site, or all of them with their shares, e.g. ``Ge0.4 Sb0.4``."""
    shares = amounts_in(site.species)
    if site.is_ordered:
        return next(iter(shares))
    return " ".join(f"{symbol}{share:.3g}" for symbol, share in shares.items())


def _plain(text: str) -> str:
    r"""A symbol without the marks of its typesetting: P4_{2}/mnm, P4₂/mnm and $R\bar{3}m$ are usual, too."""
    text = re.sub(r"\\(?:bar|overline) ?\{?(\d)\}?|(\d)[\u0304\u0305]", r"-\1\2", text)
    return re.sub(r"[_ {}$]", "", text.translate(TYPESET)).lower()


@cache
def _settings() -> tuple[tuple[str, str, int], ...]:
    """Short symbol, all symbols and number of every setting, the standard one of each group first."""
    import spglib

    kinds = [spglib.get_spacegroup_type(hall) for hall in range(1, 531)]
    return tuple(
        (kind.international_short, kind.international, int(kind.number)) for kind in kinds if kind is not None
    )


@cache
def _numbers() -> dict[str, int]:
    """Plain symbol → number; where settings share a symbol, they are of one group."""
    return {
        _plain(symbol): number
        for short, whole, number in _settings()
        for symbol in (short, *whole.split("="))
    }
