"""Read back every tabulated setting, named in seven ways in a CIF without operations.

Command: ``python -m crystal_core.files.settings_table``.

The sites that are read are compared with those that spglib's operations make (gemmi's, where spglib does not
list a setting).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_text
from crystal_core.files.space_groups import N_STANDARD, Setting, settings
from crystal_core.interruption import ending_with_its_code

if TYPE_CHECKING:
    import gemmi
    from pymatgen.core import Structure

PLACE = (0.947, 0.6489, 0.585)  # at least 0.8 Å from its image in every setting
_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_SYMBOL, _NUMBER = "_symmetry_space_group_name_H-M", "_symmetry_Int_Tables_number"

WAYS: dict[str, Callable[[gemmi.SpaceGroup], dict[str, str | int]]] = {
    "symbol": lambda row: {_SYMBOL: row.hm},
    "symbol and number": lambda row: {_SYMBOL: row.hm, _NUMBER: row.number},
    "symbol with extension": lambda row: {_SYMBOL: row.xhm()},
    "extension and number": lambda row: {_SYMBOL: row.xhm(), _NUMBER: row.number},
    "short symbol": lambda row: {_SYMBOL: row.short_name()},
    "short symbol and number": lambda row: {_SYMBOL: row.short_name(), _NUMBER: row.number},
    "Hall symbol": lambda row: {"_space_group_name_Hall": row.hall},
}


def read_back(way: str) -> Iterator[tuple[str, bool | StructureParseError]]:
    """Name of each setting, and whether its sites are read right, or the refusal.

    Args:
        way: a key of :data:`WAYS`.
    """
    import gemmi

    for k, (row, setting) in enumerate(zip(gemmi.spacegroup_table(), settings(), strict=True)):
        try:
            parsed = parse_text(_cif(cell_of(setting), WAYS[way](row)), purpose="view")
        except StructureParseError as error:
            yield row.xhm(), error
        else:
            yield row.xhm(), is_right(parsed, k)


def cell_of(setting: Setting) -> tuple[float, ...]:
    """Lengths (Å) and angles (°) that the rotations keep, large enough to keep hydrogen atoms apart."""
    if setting.number <= 2:
        cell = (6.1, 7.3, 8.2, 81, 95, 103)
    elif setting.number <= 15:
        angles = {"a": (103, 90, 90), "b": (90, 103, 90), "c": (90, 90, 103)}
        cell = (6.1, 7.3, 8.2, *next(angles[axis] for axis in setting.choice if axis in angles))
    elif setting.number <= 74:
        cell = (6.1, 7.3, 8.2, 90, 90, 90)
    elif setting.number <= 142:
        cell = (6.1, 6.1, 8.2, 90, 90, 90)
    elif setting.number <= 194:
        cell = (6.1, 6.1, 6.1, 75, 75, 75) if setting.choice == "r" else (6.1, 6.1, 9.2, 90, 90, 120)
    else:
        cell = (9.1, 9.1, 9.1, 90, 90, 90)
    n = len(setting.operations())
    larger = max(1.0, (400 * n / float(np.prod(cell[:3]))) ** (1 / 3))
    return (*(round(larger * x, 4) for x in cell[:3]), *cell[3:])


def _cif(cell: tuple[float, ...], names: dict[str, str | int]) -> str:
    lines = ["data_x", *(f"_cell_{name} {value}" for name, value in zip(_CELL, cell, strict=True))]
    lines += [f"{tag} '{value}'" for tag, value in names.items()]
    lines += ["loop_", "_atom_site_type_symbol", *(f"_atom_site_fract_{x}" for x in "xyz")]
    return "\n".join([*lines, f"H {PLACE[0]} {PLACE[1]} {PLACE[2]}"]) + "\n"


def is_right(structure: Structure, k: int) -> bool:
    """Whether the sites are those that setting ``k`` (from 0) makes of an atom at :data:`PLACE`."""
    import gemmi
    import spglib

    if k < N_STANDARD:
        table: Any = spglib.get_symmetry_from_database(k + 1)
        expected = table["rotations"] @ np.array(PLACE) + table["translations"]
    else:
        expected = np.array(
            [op.apply_to_xyz(list(PLACE)) for op in list(gemmi.spacegroup_table())[k].operations()]
        )
    gaps = structure.frac_coords[:, None] - expected[None]
    near = (np.abs(gaps - np.round(gaps)) < 1e-4).all(-1)
    return bool(len(structure) == len(expected) and near.any(0).all() and near.any(1).all())


def main() -> None:
    """Print, for each way, how many settings are read right, refused, and read wrong."""
    for way in WAYS:
        ends = [end for _, end in read_back(way)]
        right, wrong = sum(end is True for end in ends), sum(end is False for end in ends)
        refused = len(ends) - right - wrong
        print(json.dumps({"way": way, "right": right, "refused": refused, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    with ending_with_its_code():
        main()
