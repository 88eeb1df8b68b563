"""Meaning of AFLOW prototype names (Mehl et al. 2017): ``A2BC4_cF56_227_d_a_e`` is spinel, MgAl2O4."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crystal_core.generators.prototype.symmetry_form import SymmetryForm

# AFLOW name → formula; pymatgen needs 7 s to read it
COMPOUNDS = Path(__file__).with_name("aflow_compounds.json")
CENTRED = {"P": 1, "R": 1, "C": 2, "A": 2, "S": 2, "I": 2, "F": 4}  # AFLOW counts hR in the rhombohedral cell
# space groups of the two hands of one crystal
MIRRORED = (
    (76, 78),
    (91, 95),
    (92, 96),
    (144, 145),
    (151, 153),
    (152, 154),
    (169, 170),
    (171, 172),
    (178, 179),
    (180, 181),
    (212, 213),
)
PEARSON = re.compile(r"[a-z]([A-Z])(\d+)")
LABELLED = re.compile(r", AFLOW (\S+)")


def is_named_after(label: str, formula: str) -> bool:
    """Whether the AFLOW name in a prototype's label belongs to this very compound, as for CsCl."""
    name = LABELLED.search(label)
    return name is not None and _compounds().get(name[1]) == _reduced(formula)


@lru_cache(maxsize=256)
def named_cells(formula: str) -> frozenset[tuple[int, int]]:
    """Space group and atoms per primitive cell of arrangements named after a compound, of both hands."""
    reduced = _reduced(formula)
    cells = set()
    for name, compound in _compounds().items():
        parts = name.split("_")
        pearson = PEARSON.fullmatch(parts[1]) if len(parts) > 2 else None
        if compound == reduced and pearson and parts[2].isdecimal():
            cells.add((int(parts[2]), int(pearson[2]) // CENTRED[pearson[1]]))
    other_hand = {a: b for pair in MIRRORED for a, b in (pair, pair[::-1])}
    return frozenset(cells | {(other_hand[group], n) for group, n in cells if group in other_hand})


@lru_cache(maxsize=256)
def _reduced(formula: str) -> str:
    from pymatgen.core import Composition

    return Composition(formula).reduced_formula


@lru_cache(maxsize=1)
def _compounds() -> dict[str, str]:
    return dict(json.loads(COMPOUNDS.read_text(encoding="utf-8")))


def library_compounds() -> dict[str, str]:
    """AFLOW name → formula of the compound that pymatgen's AFLOW library took it from."""
    from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

    return {
        entry["tags"]["aflow"]: entry["snl"].structure.composition.reduced_formula
        for entry in sorted(AFLOW_PROTOTYPE_LIBRARY, key=lambda entry: str(entry["tags"]["aflow"]))
    }


def name_fits(name: str, form: SymmetryForm) -> bool:
    """Whether space group, Pearson's atom count and Wyckoff letters are those of the arrangement.

    Letters that another choice of origin or axes of the same group exchanges (c and a of zincblende)
    count as equal. Where a name gives the letters of all elements together (``sigma_tP30_136_bf2ij``),
    only all together are compared.

    Args:
        name: AFLOW's name, with or without "AFLOW " before it.
    """
    from pymatgen.analysis.prototypes import WYCKOFF_POSITION_RELAB_DICT

    from crystal_core.reference.asymmetric_unit import space_group_of_hall

    parts = name.removeprefix("AFLOW ").split("_")
    pearson = re.fullmatch(r"[a-z][A-Z](\d+)", parts[1]) if len(parts) > 3 else None
    number = space_group_of_hall(form.hall_number)
    if pearson is None or parts[2] != str(number):
        return False
    # AFLOW counts those of the rhombohedral cell
    atoms = int(pearson[1]) * (3 if parts[1].startswith("hR") else 1)
    if atoms != int(form.multiplicities.sum()):
        return False
    sites = [Counter[str]() for _ in range(int(form.roles.max()) + 1)]
    for role, letter in zip(form.roles.tolist(), form.letters, strict=True):
        sites[role][letter] += 1
    named = [
        Counter({letter: int(n or 1) for n, letter in re.findall(r"(\d*)([a-zA-Z])", part)})
        for part in parts[3:]
    ]
    if len(named) == 1:
        sites = [sum(sites, Counter())]
    return any(_sorted(sites, table) == _sorted(named) for table in WYCKOFF_POSITION_RELAB_DICT[str(number)])


def _sorted(
    sites: list[Counter[str]], relabelled: Mapping[int, str] | None = None
) -> list[list[tuple[str, int]]]:
    return sorted(
        sorted((letter.translate(relabelled or {}), n) for letter, n in site.items()) for site in sites
    )
