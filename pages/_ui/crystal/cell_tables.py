"""The lattice and the sites of a crystal as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    from pymatgen.core import Structure

LENGTH, SHARE = "%.3f", "%.4f"
SAME_LENGTH, SAME_ANGLE = 5e-4, 0.05  # share of a length, and degrees, that a line of words leaves out
SITES = {name: st.column_config.NumberColumn(format=SHARE) for name in "xyz"} | {
    f"{name} (Å)": st.column_config.NumberColumn(format=LENGTH) for name in "xyz"
}
# Cartesian coordinates come last: beside a picture the table shows its first columns only
ORDER = ("site", "element", "Wyckoff", *"xyz", "bonded to", "oxidation state", "bond-valence sum", *SITES)


def show_lattice(structure: Structure, *, counted: str = "atoms", above: str = "") -> None:
    """Lengths in Å and the number of sites, named ``counted``; below them angles in degrees, volume in Å³.

    ``above``: a line of Markdown that stands close over them.
    """
    lengths, angles = structure.lattice.abc, structure.lattice.angles
    first = "   ".join(f"**{name}** {x:.3f}" for name, x in zip("abc", lengths, strict=True))
    second = "   ".join(f"**{name}** {x:.2f}" for name, x in zip("αβγ", angles, strict=True))
    n = len(structure)
    noun = counted.removesuffix("s") if n == 1 else counted
    begin = f"{above}  \n" if above else ""
    lines = f"{first} Å · {n} {noun}  \n{second}° · {structure.volume:.1f} Å³".replace("   ", "\u2002")
    st.markdown(begin + lines)


def cell_words(structure: Structure) -> str:
    """The cell in a line: lengths in Å that differ, angles other than 90° and 120°, atoms, and density."""
    a, b, c, *angles = structure.lattice.parameters
    lengths = {"a": a}
    if abs(b - a) > SAME_LENGTH * a:
        lengths["b"] = b
    if min(abs(c - a), abs(c - b)) > SAME_LENGTH * c:
        lengths["c"] = c
    words = [f"{', '.join(f'{name} {length:.3f}' for name, length in lengths.items())} Å"]
    skew = [
        f"{name} {angle:.2f}°"
        for name, angle in zip("αβγ", angles, strict=True)
        if min(abs(angle - 90), abs(angle - 120)) > SAME_ANGLE
    ]
    n = len(structure)
    words += [", ".join(skew)] if skew else []
    words += [f"{n} atom{'' if n == 1 else 's'}", f"{structure.density:.2f} g/cm³"]
    return " · ".join(words)


def show_sites(rows: Sequence[Mapping[str, Any]], **options: Any) -> Any:
    """A row per site with equally many decimals in a column; ``options`` are those of ``st.dataframe``."""
    order = [name for name in dict.fromkeys(ORDER) if rows and name in rows[0]]
    return st.dataframe(
        [{name: row[name] for name in order} for row in rows],
        hide_index=True,
        width="stretch",
        column_config=SITES,
        **options,
    )
