"""Reader of JSON: pymatgen, Materials Project, OPTIMADE, ASE, JARVIS, AFLOW, and CRYSTAL records.

A file may also hold one document on each line (JSON lines). Crystals are looked for at any depth and rebuilt
key by key, never through a decoder that imports classes by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.files import ase_json
from crystal_core.files.json_contradictions import (
    ANGLES,
    LENGTHS,
    cell_contradicted,
    check_symbols,
    contents_contradicted,
    places_contradicted,
    sizes_contradicted,
)
from crystal_core.files.json_search import AFLOW, JARVIS, Missing, crystals_in, has_crystal, why_missing
from crystal_core.files.json_text import value_in
from crystal_core.files.limits import check_atom_count, check_cell, check_vectors
from crystal_core.files.occupancies import scaled, scaling_note
from crystal_core.files.refusals import refusal
from crystal_core.files.remarks import far_positions, near_origin, other_unit
from crystal_core.files.site_values import sorted_values
from crystal_core.structures import NO_ELEMENT, printable

if TYPE_CHECKING:
    from pymatgen.core import Structure

NONE = (
    "This JSON holds no crystal: expected pymatgen's Structure or a CRYSTAL record, also inside an entry, a "
    "document of the Materials Project, an OPTIMADE answer, atoms of ASE or JARVIS, or an entry of AFLOW."
)
# other forms of the lists of a plain crystal, of which the atomic numbers and fractions are read
_SYMBOLS = ("symbols", "species", "labels")
_CARTESIAN = ("cart_coords", "cartesian_coords", "positions")
# what an OPTIMADE document says of its sites that is not read
FEATURES = {
    "assemblies": (
        "The file has groups of sites that exclude each other (assemblies); they are all in the crystal."
    ),
    "implicit_atoms": "The file has atoms without positions (implicit_atoms): they are not in the crystal.",
}


def read_json(text: str) -> list[Callable[[], Structure]]:
    """Every crystal in the text.

    Raises:
        StructureParseError: the text is neither JSON nor JSON lines, or holds no crystal.
    """
    try:
        data = value_in(text)
    except StructureParseError:
        if lines := _lines_in(text):
            return lines
        raise
    found = crystals_in(data)
    if not has_crystal(found):
        raise StructureParseError(next((one.sentence for one in found if isinstance(one, Missing)), NONE))
    return [_reader(one) for one in found]


def _lines_in(text: str) -> list[Callable[[], Structure]]:
    """Every crystal of JSON lines, a refusal for each line without one; empty if no line holds a crystal."""
    readers: list[Callable[[], Structure]] = []
    any_crystal = False
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = value_in(line, number)
            found = crystals_in(item)
        except StructureParseError as error:
            readers.append(refusal(str(error)))
            continue
        if has_crystal(found):
            any_crystal = True
        else:
            found = [Missing(f"The JSON of line {number}", why_missing(item, found))]
        readers += map(_reader, found)
    return readers if any_crystal else []


def _reader(found: Mapping[str, Any] | Missing) -> Callable[[], Structure]:
    return refusal(found.sentence) if isinstance(found, Missing) else partial(_structure, found)


def _structure(data: Mapping[str, Any]) -> Structure:
    from pymatgen.core import Structure

    notes: list[str] = []
    given: Sequence[Mapping[str, Any]] = ()
    stated = data
    if all(key in data for key in ase_json.NEEDED):
        data = ase_json.plain_form(data)
    elif all(key in data for key in JARVIS):
        data = _jarvis_form(data)
    elif all(key in data for key in AFLOW):
        data = _aflow_form(data)
        stated = {"density": stated.get("density"), **data}
    if "lattice_vectors" in data:
        matrix = _numbers(data["lattice_vectors"])
        check_vectors(np.array(matrix))
        sites = _optimade_sites(data, notes)
        periodic = data.get("dimension_types")
        notes += [FEATURES[name] for name in data.get("structure_features") or () if name in FEATURES]
    else:
        lattice = data["lattice"]
        matrix = _matrix(lattice)
        check_vectors(np.array(matrix))
        listed = data.get("sites")
        given = [site for site in listed or () if any(map(_occupancy, site["species"]))]
        if n := len(listed or ()) - len(given):
            notes.append(
                f"{n} site{'' if n == 1 else 's'} with occupancy 0 {'is' if n == 1 else 'are'} left out."
            )
        sites = _plain_sites(data) if listed is None else _pymatgen_sites(given, matrix, notes)
        notes += cell_contradicted(lattice, matrix)
        notes += places_contradicted(given if listed is not None else _both_places(data), matrix)
        periodic = lattice.get("pbc") if isinstance(lattice, dict) else data.get("pbc")
    check_atom_count(len(sites))
    notes += other_unit(stated)
    notes += contents_contradicted({**stated, **data}, sites)
    notes += _odd_positions(sites, matrix)
    if "lattice_vectors" in data:
        notes += near_origin(_numbers(data["cartesian_site_positions"]), np.array(matrix))
    elif all(key in stated for key in ase_json.NEEDED):
        notes += near_origin(np.array(data["frac_coords"]) @ np.array(matrix), np.array(matrix))
    if isinstance(periodic, Sequence) and not all(periodic):
        notes.append(
            "The file is not periodic along every axis (pbc "
            f"{' '.join('T' if x else 'F' for x in periodic[:3])}); it is read as a crystal that is."
        )
    structure = Structure.from_dict({"lattice": {"matrix": matrix}, "sites": sites, "charge": None})
    notes += sizes_contradicted(stated, structure)
    columns = data.get("site_columns") or _values(given)
    values, remarks = sorted_values(columns, np.array(structure.lattice.matrix))
    structure.properties["notes"] = list(dict.fromkeys(notes + remarks))
    if values:
        structure.properties["site_values"] = values
    return structure


def _odd_positions(sites: Sequence[Mapping[str, Any]], matrix: Sequence[Sequence[float]]) -> list[str]:
    """Notes on fractional positions that look like Å, and on Cartesian ones that look like fractions."""
    fractional, cartesian = (
        [(site[form], _main_element(site["species"])) for site in sites if form in site]
        for form in ("abc", "xyz")
    )
    notes = far_positions([abc for abc, _ in fractional], [e for _, e in fractional], np.array(matrix))
    return notes + ([] if fractional else near_origin([xyz for xyz, _ in cartesian], np.array(matrix)))


def _main_element(species: Sequence[Mapping[str, Any]]) -> str:
    return str(max(species, key=lambda entry: entry["occu"])["element"])


def _jarvis_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """Atoms of JARVIS in pymatgen's form."""
    elements, coords = data["elements"], data["coords"]
    if len(elements) != len(coords):
        raise StructureParseError(f"{len(elements)} elements but {len(coords)} positions; they must agree.")
    is_cartesian = data.get("cartesian", False)
    if not isinstance(is_cartesian, bool):
        raise StructureParseError(
            f"'cartesian' of these atoms of JARVIS is '{printable(str(is_cartesian))[:20]}': write true for "
            "positions in Å, or false for fractions of the cell."
        )
    place = "xyz" if is_cartesian else "abc"
    sites = [
        {"species": [{"element": str(symbol).strip(), "occu": 1.0}], place: row}
        for symbol, row in zip(elements, coords, strict=True)
    ]
    lattice = {"matrix": data["lattice_mat"]}
    for names, values in ((LENGTHS, data.get("abc")), (ANGLES, data.get("angles"))):
        if isinstance(values, list) and len(values) == len(names):
            lattice |= dict(zip(names, values, strict=True))
    return {"lattice": lattice, "sites": sites}


def _aflow_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of AFLOW in pymatgen's form; its lists may be texts, as older answers have them."""
    geometry = _aflow_numbers(data["geometry"])
    if len(geometry) != len((*LENGTHS, *ANGLES)):
        raise StructureParseError(
            f"The geometry of this entry of AFLOW has {len(geometry)} numbers: write three lengths and three "
            "angles."
        )
    lattice = dict(zip((*LENGTHS, *ANGLES), geometry, strict=True))
    species, counts = _aflow_list(data["species"]), _aflow_numbers(data["composition"])
    rows = data["positions_fractional"]
    places = [_aflow_numbers(row) for row in (rows.split(";") if isinstance(rows, str) else rows)]
    if len(species) != len(counts) or sum(counts) != len(places):
        raise StructureParseError(
            f"This entry of AFLOW has {len(species)} species, {len(counts)} numbers of atoms that add up to "
            f"{sum(counts):g}, and {len(places)} positions; they must agree."
        )
    symbols = [symbol for symbol, n in zip(species, counts, strict=True) for _ in range(int(n))]
    sites = [
        {"species": [{"element": symbol, "occu": 1.0}], "abc": place}
        for symbol, place in zip(symbols, places, strict=True)
    ]
    cell = {"volume": data.get("volume_cell"), "formula": data.get("compound")}
    return {key: value for key, value in cell.items() if value is not None} | {
        "lattice": lattice,
        "sites": sites,
    }


def _aflow_list(value: Any) -> list[str]:
    return [str(part).strip() for part in (value.split(",") if isinstance(value, str) else value)]


def _aflow_numbers(value: Any) -> list[float]:
    try:
        return [_number(float(part)) for part in _aflow_list(value)]
    except ValueError as error:
        raise StructureParseError(f"'{printable(str(value))[:40]}' should be a list of numbers.") from error


def _plain_sites(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    from pymatgen.core import Element

    numbers, coords = data["atomic_numbers"], data["frac_coords"]
    if len(numbers) != len(coords):
        raise StructureParseError(
            f"{len(numbers)} atomic numbers but {len(coords)} positions; they must agree."
        )
    for z in numbers:
        if isinstance(z, bool) or not isinstance(z, int | float) or z != int(z) or not 1 <= z <= 118:
            raise StructureParseError(
                f"'{printable(str(z))[:20]}' is no atomic number. Atomic numbers are whole, from 1 to 118."
            )
    elements = [Element.from_Z(int(z)).symbol for z in numbers]
    for key in _SYMBOLS:
        check_symbols(data.get(key), elements, key)
    return [
        {"species": [{"element": element, "occu": 1.0}], "abc": row}
        for element, row in zip(elements, _numbers(coords), strict=True)
    ]


def _both_places(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fractional and Cartesian positions where a plain crystal lists both; else empty."""
    fractional = data["frac_coords"]
    cartesian: list[Any] = next((data[key] for key in _CARTESIAN if isinstance(data.get(key), list)), [])
    if len(cartesian) != len(fractional):
        return []
    return [{"abc": abc, "xyz": xyz} for abc, xyz in zip(fractional, cartesian, strict=True)]


def _matrix(lattice: Any) -> list[list[float]]:
    """Rows in Å, from a matrix or from lengths and angles, as pymatgen writes both."""
    from pymatgen.core import Lattice

    if not isinstance(lattice, dict):
        return _numbers(lattice)
    if "matrix" in lattice:
        return _numbers(lattice["matrix"])
    lengths, angles = _numbers(
        [[lattice[x] for x in "abc"], [lattice[x] for x in ("alpha", "beta", "gamma")]]
    )
    check_cell(lengths, angles)
    return [[float(x) for x in row] for row in Lattice.from_parameters(*lengths, *angles).matrix]


def _pymatgen_sites(
    sites: Sequence[Mapping[str, Any]], matrix: list[list[float]], notes: list[str]
) -> list[dict[str, Any]]:
    inverse = np.linalg.inv(matrix)
    checked = []
    for site in sites:
        if "abc" in site or "xyz" not in site:
            place = _numbers([site["abc"]])[0]
        else:
            place = (np.array(_numbers([site["xyz"]])[0]) @ inverse).tolist()
        # only these keys are read: "properties" would be handed to a decoder that imports classes
        species = []
        for entry in filter(_occupancy, site["species"]):
            clean: dict[str, Any] = {"element": str(entry["element"]), "occu": _occupancy(entry)}
            if isinstance(entry.get("oxidation_state"), int | float):
                clean["oxidation_state"] = float(entry["oxidation_state"])
            species.append(clean)
        checked.append({"species": _checked(species, notes), "abc": place})
    return checked


def _occupancy(entry: Mapping[str, Any]) -> float:
    if entry.get("occu") is None:
        raise StructureParseError(
            f"A site of this JSON gives no occupancy (occu) of {printable(str(entry.get('element')))[:20]}: "
            "write 1 for a full site."
        )
    return _number(entry["occu"])


def _values(sites: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Name → value of each site, as the file has it: its properties, and the spin of its species."""
    each = [dict(_mapping(site.get("properties"))) for site in sites]
    for site, properties in zip(sites, each, strict=True):
        # pymatgen wrote the spin among the properties of a species until 2023, and beside its charge since
        spins = [
            entry.get("spin", _mapping(entry.get("properties")).get("spin")) for entry in site["species"]
        ]
        if len(spins) == 1 and spins[0] is not None:
            properties.setdefault("spin", spins[0])
    names = dict.fromkeys(str(name) for properties in each for name in properties)
    return {name: [properties.get(name) for properties in each] for name in names}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _optimade_sites(data: Mapping[str, Any], notes: list[str]) -> list[dict[str, Any]]:
    from pymatgen.core import Lattice

    lattice = Lattice(_numbers(data["lattice_vectors"]))
    kinds = {
        str(kind["name"]): list(zip(kind["chemical_symbols"], kind["concentration"], strict=True))
        for kind in data.get("species") or ()
    }
    attached = {str(kind["name"]): _attached(kind) for kind in data.get("species") or ()}
    if (n := len(data["species_at_sites"])) != (n_places := len(data["cartesian_site_positions"])):
        raise StructureParseError(f"{n} species at sites but {n_places} positions; they must agree.")
    sites = []
    for name, row in zip(data["species_at_sites"], _numbers(data["cartesian_site_positions"]), strict=True):
        shares = kinds.get(str(name), [(name, 1.0)])
        species = [{"element": str(s), "occu": _number(x)} for s, x in shares if s != "vacancy"]
        if not species:
            notes.append(f"The site {printable(str(name))[:20]} is empty and is left out.")
            continue
        species = _checked(species, notes)
        if lost := attached.get(str(name)):
            notes.append(
                f"The {lost} attached to {printable(str(name))[:20]} have no positions: "
                "they are not in the crystal."
            )
        sites.append({"species": species, "abc": lattice.get_fractional_coords(row).tolist()})
    return sites


def _attached(kind: Mapping[str, Any]) -> str:
    """The atoms of an OPTIMADE species that have no positions of their own, as "H3"; empty for none."""
    pairs = zip(kind.get("attached") or (), kind.get("nattached") or (), strict=False)
    return " ".join(f"{printable(str(symbol))[:8]}{n}" for symbol, n in pairs)


def _checked(species: list[dict[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    """The species of a site, shares that rounding keeps from 1 scaled to it.

    Raises:
        StructureParseError: one is no element, or their shares do not lie between 0 and 1.
    """
    from pymatgen.core import Element

    if not all(Element.is_valid_symbol(str(entry["element"])) for entry in species):
        raise StructureParseError(NO_ELEMENT)
    shares = {str(k): entry["occu"] for k, entry in enumerate(species)}
    whole = None if min(shares.values(), default=0.0) < 0 else scaled(shares)
    if whole is None:
        raise StructureParseError(
            f"The occupancies of a site add up to {sum(shares.values()):.4g}, "
            "but they lie between 0 and 1: correct them."
        )
    note = scaling_note(shares, " and ".join(str(entry["element"]) for entry in species))
    notes += [note] if note else []
    return _one_each([entry | {"occu": whole[str(k)]} for k, entry in enumerate(species)])


def _one_each(species: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each element: Fe2+ 0.5 and Fe3+ 0.5 fill a site with iron."""
    merged: dict[str, dict[str, Any]] = {}
    for entry in species:
        symbol = entry["element"]
        share = merged.get(symbol, {}).get("occu", 0.0) + entry["occu"]
        merged[symbol] = entry if symbol not in merged else {"element": symbol, "occu": round(share, 9)}
    return list(merged.values())


def _number(value: Any) -> float:
    if value is None:
        raise StructureParseError("A number of this JSON is missing (null). Check its lattice and positions.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        tip = "Write it without quotes." if isinstance(value, str) else "Correct it."
        raise StructureParseError(f"'{printable(str(value))[:20]}' should be a number. {tip}")
    if not math.isfinite(value):
        raise StructureParseError(
            "The file holds a number that is not finite. Check its lattice and positions."
        )
    return float(value)


def _numbers(rows: Any) -> list[list[float]]:
    """Rows of three finite numbers."""
    values = [[_number(x) for x in row] if isinstance(row, Sequence | np.ndarray) else [] for row in rows]
    if any(len(row) != 3 for row in values):
        raise StructureParseError(
            "A vector of this JSON does not have three numbers. Check its lattice and positions."
        )
    return values
