"""Text of a structure file → checked crystals, with a sentence on what a model cannot take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import gcd
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from crystal_core.chemistry.formula_text import formula_from
from crystal_core.errors import StructureParseError
from crystal_core.files import readers
from crystal_core.files.encoding import with_plain_line_ends, without_fences
from crystal_core.files.frames import mark_frames
from crystal_core.files.limits import (
    MAX_ATOMS,
    check_atom_count,
    check_density,
    check_vectors,
)
from crystal_core.files.remarks import HEAVY_HYDROGEN, remarks_on
from crystal_core.files.unsupported import unsupported
from crystal_core.structures import (
    NO_ELEMENT,
    amounts_in,
    in_cell,
    is_element,
    partial_occupancy,
    plain_structure,
    printable,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

Purpose = Literal["model", "view"]
T = TypeVar("T")

MAX_MODEL_ATOMS = 500
MAX_CRYSTALS = 200
DUPLICATE_DISTANCE = 0.1

__all__ = [
    "MAX_ATOMS",
    "MAX_MODEL_ATOMS",
    "checked_crystal",
    "model_limitation",
    "parse_all",
    "parse_each",
    "parse_text",
]


def parse_text(text: str, name: str = "", *, purpose: Purpose = "model") -> Structure:
    """The crystal in a CIF, POSCAR, extended XYZ, PDB or JSON text; the first one if it holds several.

    Args:
        text: the file's content; the content decides the format, never ``name``.
        name: only used in the error sentence.
        purpose: "model" refuses what a model cannot take (partial occupancy, more than 500 atoms, duplicate
            sites); "view" opens it with ``structure.properties["limitation"]`` saying what was changed or is
            not possible, and with ``["occupancy"]``, see :func:`occupancy_of`, where sites are shared.

    Returns:
        The crystal; ``structure.properties["notes"]`` lists, as sentences, what in the file does not fit what
        was read; ``["site_values"]`` holds moments and other numbers of the sites, where the file gives any,
        see :class:`~crystal_core.files.site_values.SiteValues`.

    Raises:
        StructureParseError: what is wrong, why, and what to do.
    """
    return _or_raise(parse_each(text, name, purpose=purpose)[0])


def parse_all(text: str, name: str = "", *, purpose: Purpose = "model") -> list[Structure]:
    """Every crystal in the text (several CIF blocks, several XYZ frames, a whole ``run.json``), at least one.

    Raises:
        StructureParseError: what is wrong with the first bad one, why, and what to do; see
            :func:`parse_text`.
    """
    return [_or_raise(parsed) for parsed in parse_each(text, name, purpose=purpose)]


def parse_each(
    text: str, name: str = "", *, purpose: Purpose = "model"
) -> list[Structure | StructureParseError]:
    """:func:`parse_all` with an error in place of a bad crystal, which loses no other.

    Raises:
        StructureParseError: the text as a whole cannot be read.
    """
    text = without_fences(with_plain_line_ends(text))
    name = printable(name)
    prefix = f"{name}: " if name else ""
    if "\0" in text:
        what = unsupported(text) or "This is a binary file; give CIF, POSCAR, extended XYZ, PDB or JSON."
        raise StructureParseError(f"{prefix}{what}")
    try:
        kind = readers.detect_format(text)
        frame_readers = _attempt(kind, partial(readers.READERS[kind], text))
        if not frame_readers:
            raise StructureParseError(f"The {kind.upper()} holds no crystal with atoms.")
        frames = [*range(len(frame_readers))]
        if len(frame_readers) > MAX_CRYSTALS and kind in readers.TRAJECTORIES:
            frames = np.linspace(0, len(frame_readers) - 1, MAX_CRYSTALS).round().astype(int).tolist()
        elif len(frame_readers) > MAX_CRYSTALS:
            raise StructureParseError(
                f"The file holds {len(frame_readers)} crystals; at most {MAX_CRYSTALS} are read. Split it."
            )
    except StructureParseError as error:
        raise StructureParseError(f"{prefix}{error}") from error
    crystals: list[Structure | StructureParseError] = []
    for i in frames:
        try:
            structure = _attempt(kind, frame_readers[i])
            # first: in a cell of 1e-10 Å the neighbours of one atom fill the memory
            _check_cell(structure)
            notes = [*structure.properties.get("notes", ()), *_attempt(kind, partial(remarks_on, structure))]
            if len(frames) < len(frame_readers):
                notes.append(f"{len(frames)} of {len(frame_readers)} frames are read, evenly spread.")
            structure.properties["notes"] = notes
            crystals.append(checked_crystal(structure, purpose))
        except StructureParseError as error:
            label = f"{name} #{i + 1}: " if name and len(frame_readers) > 1 else prefix
            crystals.append(StructureParseError(f"{label}{error}"))
    if kind in (*readers.TRAJECTORIES, "cif"):
        mark_frames(crystals, frames, len(frame_readers), kind)
    return crystals


def _or_raise(parsed: Structure | StructureParseError) -> Structure:
    if isinstance(parsed, StructureParseError):
        raise parsed
    return parsed


def _attempt(kind: readers.Format, read: Callable[[], T]) -> T:
    try:
        return read()
    except StructureParseError:
        raise
    except MemoryError:
        raise StructureParseError(
            "Reading this file needs more memory than is allowed. Use a smaller cell."
        ) from None
    except Exception as error:  # a foreign parser meets foreign files: whatever it raises means "unreadable"
        why = printable(str(error).split("\n")[0])[:160] or type(error).__name__
        if isinstance(error, KeyError):
            why = f"{why} is missing"
        raise StructureParseError(
            f"The {kind.upper()} could not be read ({why}). Check the file in a crystal viewer."
        ) from error


def checked_crystal(structure: Structure, purpose: Purpose = "model") -> Structure:
    """The crystal with elements and wrapped coordinates alone, if its cell is one.

    ``purpose`` as in :func:`parse_text`.

    Raises:
        StructureParseError: what is wrong with its cell or its sites.
    """
    _check_cell(structure)
    if not all(is_element(getattr(specie, "Z", 0)) for specie in structure.composition):
        raise StructureParseError(NO_ELEMENT)
    limitation = model_limitation(structure)
    if limitation and purpose == "model":
        raise StructureParseError(limitation)
    heavy = any(symbol in HEAVY_HYDROGEN for symbol in amounts_in(structure.composition))
    occupancy = occupancy_of(structure) if heavy or not structure.is_ordered else None
    given = structure.properties
    notes, energy, values = [*given.get("notes", ())], given.get("energy"), given.get("site_values")
    if not structure.is_ordered:
        structure = _main_elements(structure)
    clean = plain_structure(structure)
    if notes:
        clean.properties["notes"] = notes
    if energy is not None:
        clean.properties["energy"] = energy
    clean.properties |= {name: given[name] for name in ("step", "label") if name in given}
    if values:
        clean.properties["site_values"] = values
    if occupancy:
        clean.properties["occupancy"] = occupancy
    if limitation:
        clean.properties["limitation"] = limitation
    return clean


def _check_cell(structure: Structure) -> None:
    """Raise StructureParseError unless the cell can hold the atoms: how many, finite, thick, roomy."""
    n = len(structure)
    check_atom_count(n)
    matrix = np.array(structure.lattice.matrix)
    check_vectors(matrix)
    if not np.isfinite(structure.frac_coords).all():
        raise StructureParseError(
            "The file holds a number that is not finite. Check its lattice and positions."
        )
    check_density(abs(float(np.linalg.det(matrix))) / n)


def model_limitation(structure: Structure) -> str | None:
    """Why the models cannot take this crystal, as a sentence, or None if they can."""
    if not structure.is_ordered:
        return partial_occupancy(structure)
    if len(structure) > MAX_MODEL_ATOMS:
        return (
            f"The cell has {len(structure)} atoms; "
            f"models take at most {MAX_MODEL_ATOMS}. Use the primitive cell."
        )
    pair = _closest_pair(structure)
    if pair is not None and pair[2] < DUPLICATE_DISTANCE:
        i, j, distance = pair
        return (
            f"Sites {i + 1} ({structure[i].specie.symbol}) and {j + 1} ({structure[j].specie.symbol}) are "
            f"{distance:.2f} Å apart, so one of them is a duplicate. Remove it."
        )
    return None


def occupancy_of(structure: Structure) -> dict[str, Any]:
    """Contents of sites that are partly occupied, shared, or hold deuterium or tritium.

    Returns:
        formula: of one formula unit, with fractions, e.g. Fe0.6Ni0.4O; sites: in words, e.g. "4 sites of Fe
            0.6, Ni 0.4";
        density: g/cm3; shares: element → share of every site, in order, see :func:`with_shares`.
    """
    kinds: dict[tuple[tuple[str, float], ...], int] = {}
    vacancies: dict[tuple[tuple[str, float], ...], float] = {}
    for site in structure:
        shares = amounts_in(site.species)
        kind = tuple(
            (symbol, round(shares[symbol], 3)) for symbol in sorted(shares, key=lambda s: (-shares[s], s))
        )
        kinds[kind] = kinds.get(kind, 0) + 1
        vacancies[kind] = 1.0 - sum(shares.values())  # of rounded thirds, 0.001 would be left
    words = []
    for kind, n in kinds.items():
        vacant = round(vacancies[kind], 3)
        if len(kind) == 1 and not vacant:
            if kind[0][0] in HEAVY_HYDROGEN:
                words.append(f"{n} site{'' if n == 1 else 's'} of {kind[0][0]}")
            continue
        shares_in_words = [f"{symbol} {share:g}" for symbol, share in kind] + (
            [f"vacant {vacant:g}"] if vacant > 0 else []
        )
        words.append(f"{n} site{'' if n == 1 else 's'} of {', '.join(shares_in_words)}")
    return {
        "formula": formula_from(_unit_amounts(structure, kinds.values())),
        "sites": "; ".join(words),
        "density": round(float(structure.density), 4),
        "shares": [amounts_in(site.species) for site in structure],
    }


def _unit_amounts(structure: Structure, n_sites: Iterable[int]) -> dict[str, float]:
    """Symbol → count of one formula unit, of which the sites of each kind hold a whole number."""
    units = gcd(*n_sites)
    return {symbol: n / units for symbol, n in amounts_in(structure.composition).items()}


def is_mixed(occupancy: Mapping[str, Any] | None) -> bool:
    """Whether sites are shared or partly occupied, rather than filled with heavy hydrogen alone."""
    shares = (occupancy or {}).get("shares", ())
    return any(len(share) > 1 or abs(sum(share.values()) - 1) > 1e-3 for share in shares)


def with_shares(structure: Structure, shares: Sequence[Mapping[str, float]]) -> Structure:
    """The file's crystal rebuilt from a filled one: each site holds its element → share of ``shares``.

    Isotopes that share a site are all hydrogen: pymatgen holds two equal mixtures of them for different, so
    that their sites would have less symmetry.
    """
    from pymatgen.core import Structure

    return Structure(structure.lattice, [_one_hydrogen(share) for share in shares], structure.frac_coords)


def _one_hydrogen(share: Mapping[str, float]) -> dict[str, float]:
    isotopes = [symbol for symbol in share if symbol in ("H", *HEAVY_HYDROGEN)]
    if len(isotopes) < 2:
        return dict(share)
    others = {symbol: x for symbol, x in share.items() if symbol not in isotopes}
    # not 0.9999999, which would be a vacancy
    return others | {"H": round(sum(share[symbol] for symbol in isotopes), 9)}


def _main_elements(structure: Structure) -> Structure:
    from pymatgen.core import Structure

    species = [max(site.species.items(), key=lambda item: item[1])[0] for site in structure]
    return Structure(structure.lattice, species, structure.frac_coords)


def _closest_pair(structure: Structure) -> tuple[int, int, float] | None:
    from pymatgen.core import Structure

    # a site written at 9e8 cells from the origin would make the search span all cells between
    wrapped = Structure(structure.lattice, structure.species, in_cell(structure.frac_coords))
    centres, points, _, distances = wrapped.get_neighbor_list(DUPLICATE_DISTANCE)
    real = [k for k in range(len(distances)) if centres[k] < points[k]]
    if not real:
        return None
    best = min(real, key=lambda k: distances[k])
    return int(centres[best]), int(points[best]), float(distances[best])
