"""Crystals → text in the formats chemists exchange.

All carry lattice and fractional coordinates to ten decimals.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from math import gcd
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.structures import atomic_numbers, in_cell, plain_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from spglib import SpglibDataset

TextFormat = Literal["cif", "cif-symmetrised", "poscar", "extxyz", "json"]


def structure_to_text(
    structure: Structure,
    fmt: TextFormat,
    *,
    symprec: float = 0.01,
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """The crystal as text: ``cif``, ``cif-symmetrised``, ``poscar``, ``extxyz`` or ``json`` (pymatgen's).

    All but ``cif-symmetrised`` (which idealises the cell within ``symprec``, in Å) hold the same numbers to
    ten decimals. ``provenance`` adds its short form (model, seed, version, hash) as comments of the CIF and
    info of the XYZ.

    Raises:
        RequestError: unknown format. StructureParseError: partial occupancy, or no symmetry found.
    """
    if fmt not in get_args(TextFormat):
        raise RequestError(f"Unknown format '{fmt}'; choose one of {', '.join(get_args(TextFormat))}.")
    atomic_numbers(structure)
    short = short_provenance(provenance)
    if fmt == "cif":
        return _cif_text(structure, short)
    if fmt == "cif-symmetrised":
        return _symmetrised_cif_text(structure, symprec, short)
    if fmt == "poscar":
        return _poscar_text(structure)
    if fmt == "extxyz":
        return _extxyz_text(structure, short)
    return json.dumps(plain_structure(structure).as_dict(), allow_nan=False)


def short_provenance(provenance: Mapping[str, Any] | None) -> dict[str, str]:
    """The few provenance values that travel inside a file, as one-line ASCII text."""
    if not provenance:
        return {}
    names = ("model", "date", "weights_sha256", "version", "seed", "device")
    picked = {key: provenance.get(key) for key in names}
    settings = provenance.get("settings")
    if isinstance(settings, Mapping):
        picked |= {key: settings.get(key) for key in ("sampler", "steps", "formula", "start")}
    template = provenance.get("prototype")
    if isinstance(template, Mapping):
        picked |= {
            f"prototype_{key}": template.get(key)
            for key in ("table", "table_sha256", "label", "formula", "distance")
        }
    changed = provenance.get("symmetrised")
    if isinstance(changed, Mapping):
        picked["symmetrised"] = (
            f"within {changed.get('within_angstrom')} A, "
            f"atoms moved at most {changed.get('displacement_angstrom')} A"
        )
    return {key: _one_line(value) for key, value in picked.items() if value is not None}


def _one_line(value: Any) -> str:
    # quotes and line breaks would end a comment or an info value and let the rest be read as data
    return re.sub(r"[^A-Za-z0-9 ._+:/()@,-]", "_", str(value))[:120]


def _comments(short: Mapping[str, str]) -> str:
    return "".join(f"# {key}: {value}\n" for key, value in short.items())


def _cif_text(structure: Structure, short: Mapping[str, str]) -> str:
    plain = plain_structure(structure)
    rows = [
        (site.specie.symbol, label, *(_decimal(x) for x in site.frac_coords), "1.0")
        for site, label in zip(plain, labels_of(plain), strict=True)
    ]
    columns = ("type_symbol", "label", "fract_x", "fract_y", "fract_z", "occupancy")
    group = ["_space_group_name_H-M_alt   'P 1'", "_space_group_IT_number   1"]
    return _header(short) + "\n".join(
        [*_cif_head(plain, group), *_cif_operations(["x,y,z"]), *_cif_sites(columns, rows), ""]
    )


def shared_cif_text(structure: Structure, shares: Sequence[Mapping[str, float]]) -> str:
    """The CIF (P 1) of a crystal with shared or partly occupied sites, a row for each element of a site.

    Args:
        structure: the cell and its sites. shares: element → occupancy of each site, in order.
    """
    from pymatgen.core import Composition

    amounts: dict[str, float] = {}
    rows: list[tuple[str, ...]] = []
    for site, share in zip(structure, shares, strict=True):
        for symbol, x in share.items():
            amounts[symbol] = amounts.get(symbol, 0.0) + x
            place = (_decimal(value) for value in in_cell(site.frac_coords))
            rows.append((symbol, f"{symbol}{len(rows) + 1}", *place, f"{x:.6g}"))
    formula = " ".join(f"{symbol}{x:.6g}" for symbol, x in sorted(amounts.items()))
    columns = ("type_symbol", "label", "fract_x", "fract_y", "fract_z", "occupancy")
    group = ["_space_group_name_H-M_alt   'P 1'", "_space_group_IT_number   1"]
    head = [
        line
        for line in _cif_head(structure, group)[1:]
        if not line.startswith(("_chemical_formula", "_cell_formula_units"))
    ]
    name = (
        f"data_{Composition({'H' if s in ('D', 'T') else s: x for s, x in amounts.items()}).chemical_system}"
    )
    lines = [name, *head, f"_chemical_formula_sum   '{formula}'", *_cif_operations(["x,y,z"])]
    return "\n".join([*lines, *_cif_sites(columns, rows), ""])


def labels_of(structure: Structure) -> list[str]:
    """A label for each site, counted by element: Na1, Na2, Cl1."""
    seen: dict[str, int] = {}
    labels = []
    for site in structure:
        symbol = site.specie.symbol
        seen[symbol] = seen.get(symbol, 0) + 1
        labels.append(f"{symbol}{seen[symbol]}")
    return labels


def _header(short: Mapping[str, str]) -> str:
    """Comments before the block: where the crystal comes from."""
    model = short.get("model")
    written = dt.date.today().isoformat()
    origin_line = f"# generated by a model ({model}), not measured\n# written: {written}\n" if model else ""
    return origin_line + _comments(short)


def _cif_head(structure: Structure, group: Sequence[str]) -> list[str]:
    formula = formula_of(structure.composition)
    counts = structure.composition.get_el_amt_dict()
    units = gcd(*(round(n) for n in counts.values()))
    lengths, angles = structure.lattice.abc, structure.lattice.angles
    named = zip(("alpha", "beta", "gamma"), angles, strict=True)
    return [
        f"data_{formula}",
        *group,
        *(f"_cell_length_{x}   {value:.10f}" for x, value in zip("abc", lengths, strict=True)),
        *(f"_cell_angle_{x}   {value:.10f}" for x, value in named),
        f"_cell_volume   {structure.volume:.8f}",
        f"_cell_formula_units_Z   {units}",
        f"_chemical_formula_sum   '{' '.join(f'{s}{round(n) // units}' for s, n in sorted(counts.items()))}'",
        f"_chemical_formula_structural   {formula}",
    ]


def _cif_operations(operations: Sequence[str]) -> list[str]:
    rows = [f"  {k}  '{text}'" for k, text in enumerate(operations, start=1)]
    return ["loop_", "  _space_group_symop_id", "  _space_group_symop_operation_xyz", *rows]


def _cif_sites(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["loop_", *(f"  _atom_site_{name}" for name in columns), *(f"  {'  '.join(row)}" for row in rows)]


def _symmetrised_cif_text(structure: Structure, symprec: float, short: Mapping[str, str]) -> str:
    """The conventional cell, idealised within ``symprec``: one atom of each orbit, with the operations."""
    import spglib
    from pymatgen.core import Element, Lattice, Structure

    from crystal_core.files.operations import Operations
    from crystal_core.files.space_groups import settings

    plain = plain_structure(structure)
    cell = (plain.lattice.matrix.tolist(), plain.frac_coords.tolist(), [site.specie.Z for site in plain])
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
        ideal = None if dataset is None else _ideal_cell(dataset)
        dataset = None if ideal is None else spglib.get_symmetry_dataset(ideal, symprec=1e-4)
    except spglib.SpglibError:
        dataset = ideal = None
    if dataset is None or ideal is None:
        raise StructureParseError(
            f"No symmetry was found within {symprec} Å, so there is no symmetrised CIF. "
            "Use another tolerance or plain CIF."
        )
    whole = Structure(Lattice(ideal[0]), list(map(Element.from_Z, ideal[2])), ideal[1])
    orbits = dataset.equivalent_atoms.tolist()
    first = [k for k, other in enumerate(orbits) if k == other]
    labels = labels_of(
        Structure(whole.lattice, [whole[k].specie for k in first], [ideal[1][k] for k in first])
    )
    rows = [
        (
            whole[k].specie.symbol,
            label,
            str(orbits.count(k)),
            dataset.wyckoffs[k],
            *(_decimal(x) for x in in_cell(np.array(ideal[1][k]))),
            "1.0",
        )
        for k, label in zip(first, labels, strict=True)
    ]
    setting = settings()[dataset.hall_number - 1]
    group = [
        f"_space_group_name_H-M_alt   '{setting.symbol.replace(' :', ':')}'",
        f"_space_group_IT_number   {setting.number}",
    ]
    operations = Operations(dataset.rotations, in_cell(dataset.translations)).to_xyz()
    columns = (
        "type_symbol",
        "label",
        "symmetry_multiplicity",
        "Wyckoff_symbol",
        "fract_x",
        "fract_y",
        "fract_z",
    )
    about = {
        "symmetrised within": f"{symprec} A",
        "space group": f"{dataset.international} ({dataset.number})",
    }
    lines = [
        *_cif_head(whole, group),
        *_cif_operations(operations),
        *_cif_sites((*columns, "occupancy"), rows),
    ]
    return _header({**about, **short}) + "\n".join([*lines, ""])


def _ideal_cell(dataset: SpglibDataset) -> tuple[list[list[float]], list[list[float]], list[int]]:
    return dataset.std_lattice.tolist(), dataset.std_positions.tolist(), dataset.std_types.tolist()


def _poscar_text(structure: Structure) -> str:
    plain = plain_structure(structure)
    # POSCAR counts elements in blocks, so sites are grouped by element in order of first appearance
    symbols = list(dict.fromkeys(site.specie.symbol for site in plain))
    groups = [[site for site in plain if site.specie.symbol == symbol] for symbol in symbols]
    lines = [plain.composition.formula, "1.0"]
    lines += ["  " + "  ".join(f"{x:.10f}" for x in row) for row in plain.lattice.matrix]
    lines += [" ".join(symbols), " ".join(str(len(group)) for group in groups), "direct"]
    lines += [
        "  " + "  ".join(_decimal(x) for x in s.frac_coords) + f"  {s.specie.symbol}"
        for group in groups
        for s in group
    ]
    return "\n".join(lines) + "\n"


def _extxyz_text(structure: Structure, short: Mapping[str, str]) -> str:
    plain = plain_structure(structure)
    lattice = " ".join(f"{x:.10f}" for row in plain.lattice.matrix for x in row)
    info = "".join(f' {key}="{value}"' for key, value in short.items())
    lines = [str(len(plain)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"{info}']
    lines += [f"{site.specie.symbol}  " + "  ".join(f"{x:.10f}" for x in site.coords) for site in plain]
    return "\n".join(lines) + "\n"


def _decimal(x: float) -> str:
    text = f"{x:.10f}"
    return "0.0000000000" if text in {"1.0000000000", "-0.0000000000"} else text
