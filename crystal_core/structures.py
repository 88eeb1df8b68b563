"""The one border to pymatgen: crystals in and out of ``Structure``, and of text in the formats chemists exchange.

Every export carries the same numbers: fractional coordinates and lattice to ten decimals. Torch is imported only where
a :class:`CrystalBatch` is met, so reading files stays light.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import gcd
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np

from crystal_core import structure_readers as readers
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.formula import formula_of
from crystal_core.structure_readers import (
    MAX_ATOMS,
    MAX_VOLUME_PER_ATOM,
    MIN_VOLUME_PER_ATOM,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.crystal import CrystalBatch

TextFormat = Literal["cif", "cif-symmetrised", "poscar", "extxyz", "json"]
Purpose = Literal["model", "view"]
T = TypeVar("T")

MAX_MODEL_ATOMS = 500
MAX_CRYSTALS = 200
DUPLICATE_DISTANCE = 0.1
NO_LATTICE_VOLUME = 0.1
NO_LATTICE_THICKNESS = 0.1
MAIN_ELEMENTS = " Shown here with every site filled by its main element."  # ends a limitation where that is so
NO_ELEMENT = "A site holds something that is no chemical element. Give every site an element symbol."

__all__ = [
    "MAX_ATOMS", "MAX_MODEL_ATOMS", "TextFormat", "from_structures", "model_limitation", "parse_all", "parse_each",
    "parse_text", "structure_to_text", "to_structures",
]  # fmt: skip

_READERS = {
    "cif": readers.read_cif,
    "poscar": readers.read_poscar,
    "extxyz": readers.read_extxyz,
    "json": readers.read_json,
}


def to_structures(batch: CrystalBatch) -> list[Structure | None]:
    """One pymatgen structure per crystal; None where the cell is no lattice (flat, a sliver, or not finite) or an atom no element.

    Crystals are converted one by one, so a bad one never loses the others.
    """
    from pymatgen.core import Lattice, Structure

    found: list[Structure | None] = []
    for crystal in batch:
        matrix = crystal.lattice[0].detach().cpu().double().numpy()
        coords = crystal.frac_coords.detach().cpu().double().numpy()
        numbers = crystal.atomic_numbers.detach().cpu().tolist()
        if not _is_lattice(matrix) or not np.isfinite(coords).all() or not all(map(_is_element, numbers)):
            found.append(None)
            continue
        found.append(Structure(Lattice(matrix), numbers, _in_cell(coords)))
    return found


def from_structures(structures: Sequence[Structure]) -> CrystalBatch:
    """The crystals as one batch, in order.

    Raises:
        StructureParseError: a site is partly occupied or holds something that is no element.
    """
    import torch

    from crystal_core.crystal import CrystalBatch

    numbers, coords = [], []
    for structure in structures:
        numbers.extend(atomic_numbers(structure))
        coords.append(torch.as_tensor(_in_cell(structure.frac_coords), dtype=torch.float32).reshape(-1, 3))
    lattices = [torch.as_tensor(np.array(s.lattice.matrix), dtype=torch.float32) for s in structures]
    frac_coords = torch.cat(coords) if coords else torch.zeros((0, 3))
    return CrystalBatch(
        atomic_numbers=torch.tensor(numbers, dtype=torch.long),
        # rounding 1 - 1e-12 to float32 gives 1.0, which is the site at 0
        frac_coords=torch.where(frac_coords >= 1.0, torch.zeros_like(frac_coords), frac_coords),
        lattice=torch.stack(lattices) if lattices else torch.zeros((0, 3, 3)),
        n_atoms=torch.tensor([len(s) for s in structures], dtype=torch.long),
    )


def atomic_numbers(structure: Structure) -> list[int]:
    """Proton numbers of the sites, in order.

    Raises:
        StructureParseError: a site is partly occupied or holds something that is no element.
    """
    if not structure.is_ordered:
        raise StructureParseError(_partial_occupancy(structure))
    numbers = [getattr(site.specie, "Z", 0) for site in structure]
    # a dummy species has a Z too: a hash, far from any proton number
    if not all(_is_element(z) for z in numbers):
        raise StructureParseError(NO_ELEMENT)
    return [int(z) for z in numbers]


def parse_text(text: str, name: str = "", *, purpose: Purpose = "model") -> Structure:
    """The crystal in a CIF, POSCAR, extended XYZ or JSON text; the first one if it holds several.

    Args:
        text: the file's content; the format is told by content, never by ``name``.
        name: only used in the error sentence.
        purpose: "model" refuses what a model cannot take (partial occupancy, more than 500 atoms, duplicate sites);
            "view" opens it with ``structure.properties["limitation"]`` saying what was changed or is not possible, and with
            ``["occupancy"]``, see :func:`occupancy_of`, where sites are shared.

    Raises:
        StructureParseError: what is wrong, why, and what to do.
    """
    return _or_raise(parse_each(text, name, purpose=purpose)[0])


def parse_all(text: str, name: str = "", *, purpose: Purpose = "model") -> list[Structure]:
    """Every crystal in the text (several CIF blocks, several XYZ frames, a whole ``run.json``), at least one.

    Raises:
        StructureParseError: what is wrong with the first bad one, why, and what to do; see :func:`parse_text`.
    """
    return [_or_raise(found) for found in parse_each(text, name, purpose=purpose)]


def parse_each(text: str, name: str = "", *, purpose: Purpose = "model") -> list[Structure | StructureParseError]:
    """As :func:`parse_all`, but a bad crystal comes back as what is wrong with it and loses no other.

    Raises:
        StructureParseError: the text as a whole cannot be read.
    """
    name = printable(name)
    prefix = f"{name}: " if name else ""
    if "\0" in text:
        raise StructureParseError(f"{prefix}This is a binary file; give CIF, POSCAR, extended XYZ or JSON.")
    try:
        kind = readers.detect_format(text)
        found = _attempt(kind, partial(_READERS[kind], text))
        if not found:
            raise StructureParseError(f"The {kind.upper()} holds no crystal with atoms.")
        if len(found) > MAX_CRYSTALS:
            raise StructureParseError(f"The file holds {len(found)} crystals; at most {MAX_CRYSTALS} are read. Split it.")
    except StructureParseError as error:
        raise StructureParseError(f"{prefix}{error}") from error
    crystals: list[Structure | StructureParseError] = []
    for i, read in enumerate(found, start=1):
        try:
            crystals.append(_checked(_attempt(kind, read), purpose))
        except StructureParseError as error:
            label = f"{name} #{i}: " if name and len(found) > 1 else prefix
            crystals.append(StructureParseError(f"{label}{error}"))
    return crystals


def _or_raise(found: Structure | StructureParseError) -> Structure:
    if isinstance(found, StructureParseError):
        raise found
    return found


def _attempt(kind: readers.Format, read: Callable[[], T]) -> T:
    try:
        return read()
    except StructureParseError:
        raise
    except MemoryError:
        raise StructureParseError("Reading this file needs more memory than is allowed. Use a smaller cell.") from None
    except Exception as error:  # a foreign parser meets foreign files: whatever it raises means "unreadable"
        why = printable(str(error).split("\n")[0])[:160] or type(error).__name__
        raise StructureParseError(f"The {kind.upper()} could not be read ({why}). Check the file in a crystal viewer.") from error


def _checked(structure: Structure, purpose: Purpose) -> Structure:
    n = len(structure)
    readers.check_atom_count(n)
    matrix = np.array(structure.lattice.matrix)
    if not np.isfinite(matrix).all() or not np.isfinite(structure.frac_coords).all():
        raise StructureParseError("The file holds a number that is not finite. Check its lattice and positions.")
    readers.check_thickness(_heights(matrix).tolist())
    per_atom = abs(float(np.linalg.det(matrix))) / n
    if not MIN_VOLUME_PER_ATOM <= per_atom <= MAX_VOLUME_PER_ATOM:
        raise StructureParseError(
            f"The cell offers {per_atom:.3g} Å³ per atom; crystals have {MIN_VOLUME_PER_ATOM:g} to {MAX_VOLUME_PER_ATOM:g}. "
            "Check the lattice and its unit (Å)."
        )
    if not all(_is_element(getattr(specie, "Z", 0)) for specie in structure.composition):
        raise StructureParseError(NO_ELEMENT)
    limitation = model_limitation(structure)
    if limitation and purpose == "model":
        raise StructureParseError(limitation)
    occupancy = None if structure.is_ordered else occupancy_of(structure)
    if occupancy:
        structure = _main_elements(structure)
        limitation = f"{limitation}{MAIN_ELEMENTS}"
    clean = _plain(structure)
    if occupancy:
        clean.properties["occupancy"] = occupancy
    if limitation:
        clean.properties["limitation"] = limitation
    return clean


def model_limitation(structure: Structure) -> str | None:
    """Why the models cannot take this crystal, as a sentence, or None if they can."""
    if not structure.is_ordered:
        return _partial_occupancy(structure)
    if len(structure) > MAX_MODEL_ATOMS:
        return f"The cell has {len(structure)} atoms; models take at most {MAX_MODEL_ATOMS}. Use the primitive cell."
    pair = _closest_pair(structure)
    if pair is not None and pair[2] < DUPLICATE_DISTANCE:
        i, j, distance = pair
        return (
            f"Sites {i + 1} ({structure[i].specie.symbol}) and {j + 1} ({structure[j].specie.symbol}) are {distance:.2f} Å apart, "
            "so one of them is a duplicate. Remove it."
        )
    return None


def occupancy_of(structure: Structure) -> dict[str, Any]:
    """What partly occupied sites hold.

    Returns:
        formula: of one formula unit, with fractions, e.g. Fe0.6Ni0.4O; sites: in words, e.g. "4 sites of Fe 0.6, Ni 0.4";
        density: g/cm3; shares: element → share of every site, in order, see :func:`with_shares`.
    """
    kinds: dict[tuple[tuple[str, float], ...], int] = {}
    for site in structure:
        shares = site.species.get_el_amt_dict()
        kind = tuple((symbol, round(shares[symbol], 3)) for symbol in sorted(shares, key=lambda s: (-shares[s], s)))
        kinds[kind] = kinds.get(kind, 0) + 1
    words = []
    for kind, n in kinds.items():
        vacant = round(1.0 - sum(share for _, share in kind), 3)
        if len(kind) == 1 and not vacant:
            continue
        shares_in_words = [f"{symbol} {share:g}" for symbol, share in kind] + ([f"vacant {vacant:g}"] if vacant > 0 else [])
        words.append(f"{n} site{'' if n == 1 else 's'} of {', '.join(shares_in_words)}")
    unit = structure.composition / gcd(*kinds.values())
    return {
        "formula": formula_of(unit), "sites": "; ".join(words), "density": round(float(structure.density), 4),
        "shares": [site.species.get_el_amt_dict() for site in structure],
    }  # fmt: skip


def with_shares(structure: Structure, shares: Sequence[Mapping[str, float]]) -> Structure:
    """The crystal of the file again, from one whose sites were filled: each holds its element → share of ``shares``."""
    from pymatgen.core import Structure

    return Structure(structure.lattice, [dict(share) for share in shares], structure.frac_coords)


def _partial_occupancy(structure: Structure) -> str:
    partial = [site for site in structure if not site.is_ordered]
    example = printable(partial[0].species_string)[:60]
    return f"{len(partial)} of {len(structure)} sites are partly occupied (e.g. {example}), which models cannot take. Give an ordered cell."


def _main_elements(structure: Structure) -> Structure:
    from pymatgen.core import Structure

    species = [max(site.species.items(), key=lambda item: item[1])[0] for site in structure]
    return Structure(structure.lattice, species, structure.frac_coords)


def _plain(structure: Structure) -> Structure:
    """Elements and coordinates only: no charges, labels or properties that a file may have smuggled in."""
    from pymatgen.core import Element, Structure

    species = [Element.from_Z(site.specie.Z) for site in structure]
    return Structure(structure.lattice, species, _in_cell(structure.frac_coords))


def _closest_pair(structure: Structure) -> tuple[int, int, float] | None:
    from pymatgen.core import Structure

    # a site written at 9e8 cells from the origin would make the search span all cells between
    wrapped = Structure(structure.lattice, structure.species, _in_cell(structure.frac_coords))
    centres, points, _, distances = wrapped.get_neighbor_list(DUPLICATE_DISTANCE)
    real = [k for k in range(len(distances)) if centres[k] < points[k]]
    if not real:
        return None
    best = min(real, key=lambda k: distances[k])
    return int(centres[best]), int(points[best]), float(distances[best])


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
    return json.dumps(_plain(structure).as_dict(), allow_nan=False)


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
        picked |= {f"prototype_{key}": template.get(key) for key in ("table", "table_sha256", "label", "formula", "distance")}
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
    lines += [f"_cell_angle_{x}   {value:.10f}" for x, value in zip(("alpha", "beta", "gamma"), angles, strict=True)]
    lines += [f"_cell_volume   {structure.volume:.8f}", f"_chemical_formula_sum   '{structure.composition.formula}'"]
    lines += [f"_chemical_formula_structural   {formula}"]
    lines += ["loop_", "  _symmetry_equiv_pos_site_id", "  _symmetry_equiv_pos_as_xyz", "  1  'x, y, z'"]
    lines += ["loop_", *(f"  _atom_site_{x}" for x in ("type_symbol", "label", "fract_x", "fract_y", "fract_z", "occupancy"))]
    for index, site in enumerate(_plain(structure)):
        x, y, z = (_decimal(v) for v in site.frac_coords)
        lines.append(f"  {site.specie.symbol}  {site.specie.symbol}{index + 1}  {x}  {y}  {z}  1.0")
    return _comments(short) + "\n".join(lines) + "\n"


def _symmetrised_cif_text(structure: Structure, symprec: float, short: Mapping[str, str]) -> str:
    from pymatgen.io.cif import CifWriter

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = str(CifWriter(_plain(structure), symprec=symprec, significant_figures=10))
    except Exception as error:  # spglib and its wrappers raise many types for cells without findable symmetry
        raise StructureParseError(
            f"No symmetry was found within {symprec} Å, so there is no symmetrised CIF. Use another tolerance or plain CIF."
        ) from error
    return _comments({"symmetrised within": f"{symprec} A", **short}) + text


def _poscar_text(structure: Structure) -> str:
    plain = _plain(structure)
    # POSCAR counts elements in blocks, so sites are grouped by element in order of first appearance
    symbols = list(dict.fromkeys(site.specie.symbol for site in plain))
    groups = [[site for site in plain if site.specie.symbol == symbol] for symbol in symbols]
    lines = [plain.composition.formula, "1.0"]
    lines += ["  " + "  ".join(f"{x:.10f}" for x in row) for row in plain.lattice.matrix]
    lines += [" ".join(symbols), " ".join(str(len(group)) for group in groups), "direct"]
    lines += ["  " + "  ".join(_decimal(x) for x in s.frac_coords) + f"  {s.specie.symbol}" for group in groups for s in group]
    return "\n".join(lines) + "\n"


def _extxyz_text(structure: Structure, short: Mapping[str, str]) -> str:
    plain = _plain(structure)
    lattice = " ".join(f"{x:.10f}" for row in plain.lattice.matrix for x in row)
    info = "".join(f' {key}="{value}"' for key, value in short.items())
    lines = [str(len(plain)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"{info}']
    lines += [f"{site.specie.symbol}  " + "  ".join(f"{x:.10f}" for x in site.coords) for site in plain]
    return "\n".join(lines) + "\n"


def _decimal(x: float) -> str:
    text = f"{x:.10f}"
    return "0.0000000000" if text in {"1.0000000000", "-0.0000000000"} else text


def _in_cell(frac_coords: np.ndarray) -> np.ndarray:
    wrapped = np.asarray(frac_coords, dtype=float)
    wrapped = wrapped - np.floor(wrapped)
    # -1e-17 - floor(-1e-17) is exactly 1.0, the site at 0
    return np.where(wrapped >= 1.0, 0.0, wrapped)


def _is_element(z: int) -> bool:
    return 1 <= z <= 118


def _heights(matrix: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of the cell in Å."""
    areas = np.array([np.linalg.norm(np.cross(matrix[i - 2], matrix[i - 1])) for i in range(3)])
    return abs(np.linalg.det(matrix)) / np.maximum(areas, 1e-12)


def _is_lattice(matrix: np.ndarray) -> bool:
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 1e4:
        return False
    return bool(abs(np.linalg.det(matrix)) > NO_LATTICE_VOLUME and _heights(matrix).min() > NO_LATTICE_THICKNESS)


def printable(text: str) -> str:
    """Text of a stranger on one line, without control characters, at most 120 characters."""
    return "".join(ch if ch.isprintable() else " " for ch in text)[:120]
