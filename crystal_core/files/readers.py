"""Readers of POSCAR, extended XYZ and JSON: each gives a list of calls, and each call gives one pymatgen structure.

One bad crystal of a file therefore loses no other; a reader itself raises only where the whole file makes no sense.
:mod:`crystal_core.files.cif` is the reader of CIF. Formats are told apart by content, because names lie. Nothing here
runs code found in a file: JSON is rebuilt key by key and never through a decoder that imports classes. Callers use
:func:`crystal_core.files.parse.parse_text`.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from crystal_core.errors import StructureParseError
from crystal_core.files.limits import check_atom_count

if TYPE_CHECKING:
    from pymatgen.core import Structure

Format = Literal["cif", "poscar", "extxyz", "json"]

_CIF_MARK = re.compile(r"^\s*(data_\S*\s*$|_cell[._]length_a\b|loop_\s*$)", re.IGNORECASE | re.MULTILINE)
_POSCAR_UNNAMED = "Elements in POSCAR cannot be determined"  # begins pymatgen's warning
_XYZ_ITEM = re.compile(r"""([A-Za-z_]\w*)\s*=\s*(?:"([^"]*)"|'([^']*)'|(\S+))""")


def detect_format(text: str) -> Format:
    """Which of the formats the text is, judged by content.

    Raises:
        StructureParseError: none of them.
    """
    stripped = text.lstrip()
    if not stripped:
        raise StructureParseError("The file is empty: there is nothing to read. Export the crystal again.")
    if stripped[0] in "{[":
        return "json"
    if _CIF_MARK.search(text):
        return "cif"
    lines = stripped.splitlines()
    if re.fullmatch(r"\d+", lines[0].strip()):
        return "extxyz"
    # the title line of a POSCAR may be empty, so the test uses the text before stripping
    lines = text.splitlines()
    if len(lines) >= 8 and _numbers(lines[1], 1) and all(_numbers(line, 3) for line in lines[2:5]):
        return "poscar"
    raise StructureParseError(
        "This is none of CIF, POSCAR, extended XYZ or JSON. Export the crystal in one of these formats."
    )


def read_poscar(text: str) -> list[Callable[[], Structure]]:
    """The structure of a POSCAR or CONTCAR with element symbols: above the counts, at the ends of the lines, or as the whole title."""
    return [partial(_poscar_structure, text)]


def _poscar_structure(text: str) -> Structure:
    from pymatgen.core import Element
    from pymatgen.io.vasp import Poscar
    from pymatgen.io.vasp.inputs import BadPoscarWarning

    lines = text.splitlines()
    counts = next((line for line in lines[5:7] if re.fullmatch(r"[\d\s]+", line)), "").split()
    check_atom_count(sum(map(int, counts)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # otherwise pymatgen goes on with H, He, Li, …
        warnings.filterwarnings("error", message=_POSCAR_UNNAMED, category=BadPoscarWarning)
        try:
            return Poscar.from_str(text, read_velocities=False).structure
        except BadPoscarWarning as error:
            if not str(error).startswith(_POSCAR_UNNAMED):
                raise
            symbols = lines[0].split()  # where ASE writes those of a VASP 4 file
            if len(symbols) != len(counts) or not all(map(Element.is_valid_symbol, symbols)):
                raise StructureParseError(
                    "This POSCAR names no elements. Add a line of element symbols above the line of counts."
                ) from None
            return Poscar.from_str(text, default_names=symbols, read_velocities=False).structure


def read_extxyz(text: str) -> list[Callable[[], Structure]]:
    """Every frame of an (extended) XYZ file; each must carry its lattice."""
    lines = text.splitlines()
    found: list[Callable[[], Structure]] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        if not re.fullmatch(r"\s*\d{1,9}\s*", lines[at]):
            raise StructureParseError(
                f"Line {at + 1} should be a number of atoms, but reads '{_short(lines[at])}'."
            )
        n = int(lines[at])
        check_atom_count(n)
        if at + 2 + n > len(lines):
            raise StructureParseError(f"The file ends before the {n} atoms announced in line {at + 1}.")
        found.append(partial(_xyz_frame, lines[at + 1], lines[at + 2 : at + 2 + n]))
        at += 2 + n
    return found


def _xyz_frame(comment: str, rows: Sequence[str]) -> Structure:
    from pymatgen.core import Lattice, Structure

    info = {key.lower(): a or b or c for key, a, b, c in _XYZ_ITEM.findall(comment)}
    matrix = [_number(x) for x in info.get("lattice", "").split()]
    if len(matrix) != 9:
        raise StructureParseError(
            'This XYZ file has no lattice, so it is a molecule and not a crystal. Write Lattice="ax ay az bx by bz cx cy cz" into its second line.'
        )
    columns = info.get("properties", "species:S:1:pos:R:3").split(":")
    first, place = 0, {}
    for name, _, width in zip(columns[::3], columns[1::3], columns[2::3], strict=False):
        place[name.lower()] = first
        first += int(width)
    if "pos" not in place or not {"species", "z"} & set(place):
        raise StructureParseError("The Properties of this XYZ file name no species and positions.")
    label = place.get("species", place.get("z", 0))
    cells = [row.split() for row in rows]
    species = [_symbol(row[label]) for row in cells]
    coords = [[_number(x) for x in row[place["pos"] : place["pos"] + 3]] for row in cells]
    _check_finite([matrix, coords])
    lattice = [matrix[0:3], matrix[3:6], matrix[6:9]]
    structure = Structure(Lattice(lattice), species, coords, coords_are_cartesian=True, to_unit_cell=True)
    periodic = info.get("pbc", "").upper().split()
    if any(axis.startswith("F") or axis == "0" for axis in periodic):
        structure.properties["notes"] = [
            f"The file is not periodic along every axis (pbc {' '.join(periodic)[:20]}); it is read as a crystal that is."
        ]
    return structure


def read_json(text: str) -> list[Callable[[], Structure]]:
    """Structures in pymatgen's JSON, in this project's CRYSTAL JSON, or in a whole ``run.json``."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StructureParseError(f"This is not valid JSON: {error}.") from error
    found: list[Callable[[], Structure]] = [partial(_from_plain, item) for item in _crystals_in(data)]
    if not found:
        raise StructureParseError(
            "This JSON holds no crystal: expected pymatgen's Structure or a CRYSTAL record."
        )
    return found


def _crystals_in(data: Any) -> list[Mapping[str, Any]]:
    if isinstance(data, list):
        return [crystal for item in data for crystal in _crystals_in(item)]
    if not isinstance(data, dict):
        return []
    if "lattice" in data and ("sites" in data or "atomic_numbers" in data):
        return [data]
    return [
        crystal for key in ("crystals", "results", "candidates") for crystal in _crystals_in(data.get(key))
    ]


def _from_plain(data: Mapping[str, Any]) -> Structure:
    from pymatgen.core import Element, Structure

    lattice = data["lattice"]
    matrix = lattice["matrix"] if isinstance(lattice, dict) else lattice
    if "sites" in data:
        sites = [_clean_site(site) for site in data["sites"]]
    else:
        numbers, coords = data["atomic_numbers"], data["frac_coords"]
        if len(numbers) != len(coords):
            raise StructureParseError(
                f"{len(numbers)} atomic numbers but {len(coords)} positions; they must agree."
            )
        sites = [
            {
                "species": [{"element": Element.from_Z(int(z)).symbol, "occu": 1.0}],
                "abc": [float(x) for x in row],
            }
            for z, row in zip(numbers, coords, strict=True)
        ]
    check_atom_count(len(sites))
    matrix = [[float(x) for x in row] for row in matrix]
    _check_finite([matrix, [site["abc"] for site in sites]])
    return Structure.from_dict({"lattice": {"matrix": matrix}, "sites": sites, "charge": None})


def _clean_site(site: Mapping[str, Any]) -> dict[str, Any]:
    # only these keys are read: "properties" would be handed to a decoder that imports classes by name
    species = []
    for entry in site["species"]:
        clean: dict[str, Any] = {"element": str(entry["element"]), "occu": float(entry["occu"])}
        if isinstance(entry.get("oxidation_state"), int | float):
            clean["oxidation_state"] = float(entry["oxidation_state"])
        species.append(clean)
    return {"species": species, "abc": [float(x) for x in site["abc"]]}


def _check_finite(values: Any) -> None:
    if isinstance(values, list | tuple):
        for value in values:
            _check_finite(value)
    elif not math.isfinite(values):
        raise StructureParseError(
            "The file holds a number that is not finite. Check its lattice and positions."
        )


def _symbol(label: str) -> str:
    from pymatgen.core import Element

    return Element.from_Z(int(label)).symbol if label.isdigit() else label


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise StructureParseError(f"'{_short(text)}' should be a number.") from None


def _numbers(line: str, count: int) -> bool:
    try:
        return len([float(x) for x in line.split()[:count]]) == count
    except ValueError:
        return False


def _short(text: str) -> str:
    cleaned = "".join(ch if ch.isprintable() else "?" for ch in text.strip())
    return cleaned if len(cleaned) <= 40 else cleaned[:40] + "…"
