"""Whether the atoms of a crystal hang together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from crystal_core.drawing.style import symbol_of
from crystal_core.evaluation.connectivity import LINK, finite_fragments
from crystal_core.files.records import structure_from_record
from crystal_core.records import CrystalRecord
from pages._ui.crystal.typeset import formula_text
from pages._ui.run.verdict import Verdict

LOOSE = ("isolated atom", "isolated atoms", "molecules")


def cohesion(record: CrystalRecord) -> Verdict:
    """Whether its atoms hang together, by :func:`crystal_core.evaluation.connectivity.finite_fragments`.

    No part of the validity, which stays the published one.
    """
    if not record["validity"]["structure"]:
        return Verdict("open", "connectivity unknown", "The cell is not valid, so its bonds are not judged.")
    fragments = _fragments(
        *(json.dumps(record[name]) for name in ("lattice", "atomic_numbers", "frac_coords"))
    )
    alone = [sites[0] for sites in fragments if len(sites) == 1]
    if alone:
        names = ", ".join(f"{symbol_of(record['atomic_numbers'][site])}{site + 1}" for site in alone)
        one = len(alone) == 1
        return Verdict(
            "bad",
            "isolated atom" if one else "isolated atoms",
            f"{names} {'has' if one else 'have'} no neighbour within {LINK:g} × the "
            "sum of the covalent radii.",
        )
    if fragments:
        formulas = dict.fromkeys(
            _molecule([record["atomic_numbers"][site] for site in sites]) for sites in fragments
        )
        reason = (
            f"It holds separate molecules ({', '.join(formulas)}), "
            f"farther apart than {LINK:g} × the sum of the covalent radii."
        )
        return Verdict("open", "molecules", reason)
    reason = (
        "Every atom belongs to a framework, "
        f"layer or chain whose links are within {LINK:g} × the sum of the covalent radii."
    )
    return Verdict("good", "no isolated atoms", reason)


@lru_cache(maxsize=1000)
def _fragments(lattice: str, atomic_numbers: str, frac_coords: str) -> list[tuple[int, ...]]:
    """The finite fragments of a cell, given as JSON: a page asks for them at every click."""
    names = ("lattice", "atomic_numbers", "frac_coords")
    return finite_fragments(
        structure_from_record(
            dict(zip(names, map(json.loads, (lattice, atomic_numbers, frac_coords)), strict=True))
        )
    )


def _molecule(numbers: Sequence[int]) -> str:
    """All atoms of a molecule, in the order of their numbers: O2, not O."""
    return formula_text(
        "".join(f"{symbol_of(z)}{n if n > 1 else ''}" for z, n in sorted(Counter(numbers).items()))
    )
