"""Crystals → text in the formats chemists exchange; all carry lattice and fractional coordinates to ten decimals."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from crystal_core.chemistry.formula import formula_of
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.structures import atomic_numbers, plain_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

TextFormat = Literal["cif", "cif-symmetrised", "poscar", "extxyz", "json"]


def structure_to_text(
    structure: Structure,
    fmt: TextFormat,
    *,
    symprec: float = 0.01,
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """The crystal as text: ``cif``, ``cif-symmetrised``, ``poscar``, ``extxyz`` or ``json`` (pymatgen's).

    All but ``cif-symmetrised`` (which idealises the cell within ``symprec``, in Å) hold the same numbers to ten decimals.
    ``provenance`` adds its short form (model, seed, version, hash) as comments of the CIF and info of the XYZ.

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
    picked = {key: provenance.get(key) for key in ("model", "weights_sha256", "version", "seed", "device")}
    settings = provenance.get("settings")
    if isinstance(settings, Mapping):
        picked |= {key: settings.get(key) for key in ("sampler", "steps", "formula", "start")}
    template = provenance.get("prototype")
    if isinstance(template, Mapping):
        picked |= {
            f"prototype_{key}": template.get(key)
            for key in ("table", "table_sha256", "label", "formula", "distance")
        }
    return {key: _one_line(value) for key, value in picked.items() if value is not None}


def _one_line(value: Any) -> str:
    # quotes and line breaks would end a comment or an info value and let the rest be read as data
    return re.sub(r"[^A-Za-z0-9 ._+:/()@,-]", "_", str(value))[:120]


def _comments(short: Mapping[str, str]) -> str:
    return "".join(f"# {key}: {value}\n" for key, value in short.items())


def _cif_text(structure: Structure, short: Mapping[str, str]) -> str:
    formula = formula_of(structure.composition)
    lengths, angles = structure.lattice.abc, structure.lattice.angles
    lines = [f"data_{formula}", "_symmetry_space_group_name_H-M   'P 1'", "_symmetry_Int_Tables_number   1"]
    lines += [f"_cell_length_{x}   {value:.10f}" for x, value in zip("abc", lengths, strict=True)]
    lines += [
        f"_cell_angle_{x}   {value:.10f}" for x, value in zip(("alpha", "beta", "gamma"), angles, strict=True)
    ]
    lines += [
        f"_cell_volume   {structure.volume:.8f}",
        f"_chemical_formula_sum   '{structure.composition.formula}'",
    ]
    lines += [f"_chemical_formula_structural   {formula}"]
    lines += ["loop_", "  _symmetry_equiv_pos_site_id", "  _symmetry_equiv_pos_as_xyz", "  1  'x, y, z'"]
    lines += [
        "loop_",
        *(
            f"  _atom_site_{x}"
            for x in ("type_symbol", "label", "fract_x", "fract_y", "fract_z", "occupancy")
        ),
    ]
    for index, site in enumerate(plain_structure(structure)):
        x, y, z = (_decimal(v) for v in site.frac_coords)
        lines.append(f"  {site.specie.symbol}  {site.specie.symbol}{index + 1}  {x}  {y}  {z}  1.0")
    return _comments(short) + "\n".join(lines) + "\n"


def _symmetrised_cif_text(structure: Structure, symprec: float, short: Mapping[str, str]) -> str:
    from pymatgen.io.cif import CifWriter

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = str(CifWriter(plain_structure(structure), symprec=symprec, significant_figures=10))
    except Exception as error:  # spglib and its wrappers raise many types for cells without findable symmetry
        raise StructureParseError(
            f"No symmetry was found within {symprec} Å, so there is no symmetrised CIF. Use another tolerance or plain CIF."
        ) from error
    return _comments({"symmetrised within": f"{symprec} A", **short}) + text


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
