"""Symmetry of one structure: the space group over the tolerance, and its sites with Wyckoff letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure

TOLERANCES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3)


def space_group_curve(structure: Structure, tolerances: tuple[float, ...] = TOLERANCES) -> list[dict[str, Any]]:
    """Space group at each tolerance (Å)."""
    from crystal_core.records import space_group

    rows = []
    for tolerance in tolerances:
        found = space_group(structure, tolerance)
        rows.append({"tolerance (Å)": tolerance, "space group": found["symbol"] if found else "–", "number": found["number"] if found else None})
    return rows


def site_table(structure: Structure, symprec: float = 0.1) -> list[dict[str, Any]]:
    """One row per site: element, Wyckoff letter, fractional and Cartesian (Å) coordinates."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    try:
        letters = SpacegroupAnalyzer(structure, symprec=symprec).get_symmetry_dataset().wyckoffs
    except Exception:  # noqa: BLE001 (no symmetry found: the table is useful without letters)
        letters = ["–"] * len(structure)
    return [
        {
            "site": i + 1, "element": site.specie.symbol, "Wyckoff": letter,
            **{name: round(float(v), 4) for name, v in zip(("x", "y", "z"), site.frac_coords % 1.0, strict=True)},
            **{f"{name} (Å)": round(float(v), 3) for name, v in zip("xyz", site.coords, strict=True)},
        }
        for i, (site, letter) in enumerate(zip(structure, letters, strict=True))
    ]  # fmt: skip
