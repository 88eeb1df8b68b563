"""The symmetry operations of a CIF: those it lists, or those of the space group that it names.

A name may fit several settings. The cell, formula, Z, multiplicities and density of the file and the
distances between the atoms decide among them. If they do not, the file is refused, never read as P1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.files import space_groups
from crystal_core.files.cif_contents import TOO_LARGE, TOO_MANY, Contents
from crystal_core.files.cif_modulation import basic_operations, basic_symbol
from crystal_core.files.cif_text import Block
from crystal_core.files.operations import Operations
from crystal_core.files.space_groups import LAST_MONOCLINIC, Setting
from crystal_core.structures import printable

OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_centering_xyz")
_SYMBOLS = ("_space_group_name_h-m_full", "_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m")
_HALL_SYMBOLS = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")
_MAGNETIC_NAMES = tuple(
    f"_space_group_magn_{name}"
    for name in ("name_bns", "name_og", "ssg_name", "number_bns", "number_og", "ssg_number")
)
_NO_OPERATIONS = "is given without its operations"
_GIVE = "give the symmetry operations (_space_group_symop_operation_xyz), or export the file again with them."
_IDENTITY = Operations(np.eye(3, dtype=int)[None], np.zeros((1, 3)))


class OpenSetting(StructureParseError):
    """Several settings of the named space group fit the file, or none does."""


@dataclass(frozen=True)
class Named:
    """The space group by the names in the file.

    Attributes:
        words: the names as written, for messages; empty without a name.
        settings: settings that agree with all names and with the cell.
        problem: why there are none, as the predicate of a sentence; empty if there are some.
        assumed: the file gives only a number, and the cell also allows settings besides the standard one.
        by_hall: the names contradict each other, so ``settings`` follows the Hall symbol alone.
    """

    words: str
    settings: tuple[Setting, ...]
    problem: str = ""
    assumed: bool = False
    by_hall: bool = False


def operations_of(block: Block, matrix: np.ndarray, contents: Contents) -> tuple[Operations, list[str]]:
    """The operations that generate the crystal from the listed atoms, and notes on contradictions.

    Args:
        matrix: cell, rows a, b, c in Å.
        contents: the atoms of the block, and its statements on the crystal as a whole.

    Raises:
        OpenSetting: the file lists no operations and its names leave the setting open.
        StructureParseError: the file lists no operations and names no known group, or the listed operations
            cannot be read.
    """
    texts = _listed(block)
    named = named_group(block, matrix)
    if not texts:
        return _from_name(named, contents)
    listed = Operations.from_xyz(list(dict.fromkeys(texts)))
    whole = listed.closed()
    notes = []
    if not listed.fit(matrix):
        notes.append("The listed symmetry operations do not fit the cell of the file.")
    if len(whole) > len(listed):
        notes.append(
            f"The file lists {len(listed)} symmetry operations, "
            f"which generate {len(whole)}; all of them are used."
        )
    if not named.settings or any(setting.operations().is_same(whole) for setting in named.settings):
        return whole, notes + _doubt(named)
    chosen, more = _from_conflict(whole, named, contents)
    return chosen, notes + more


def _listed(block: Block) -> list[str]:
    """The listed operations as text, without the time reversal of magnetic files."""
    texts = [text for tag in OPERATIONS for text in (block.column(tag) or block.column(f"{tag}_")) if text]
    if texts:
        return texts
    texts, centrings = basic_operations(block)
    if not texts:
        texts, centrings = (
            [",".join(text.split(",")[:3]) for text in block.column(tag) if text] for tag in _MAGNETIC
        )
    if not texts or not centrings:
        return texts
    whole = Operations.from_xyz(texts), Operations.from_xyz(centrings)
    return Operations(
        np.tile(whole[0].rotations, (len(centrings), 1, 1)),
        np.concatenate([whole[0].translations + shift for shift in whole[1].translations]),
    ).to_xyz()


def named_group(block: Block, matrix: np.ndarray) -> Named:
    """The settings that fit all names of the space group in the block, and its cell."""
    symbols = list(dict.fromkeys(text for tag in _SYMBOLS for text in [_symbol(block, tag)] if text))
    symbols = symbols or [text for text in [basic_symbol(block)] if text]
    hall, number = block.value(*_HALL_SYMBOLS), re.sub(r"\.0*$", "", block.value(*_NUMBERS))
    # some programs write the number where the symbol belongs
    number = number or next((symbol for symbol in symbols if symbol.isdecimal()), "")
    symbols = [symbol for symbol in symbols if not symbol.isdecimal()]
    schoenflies = "" if symbols or hall or number else block.value("_space_group_name_schoenflies")
    given = {"Hall symbol": hall, "number": number, "Schoenflies symbol": schoenflies}
    words = ", ".join([*symbols, *(f"{kind} {name}" for kind, name in given.items() if name)])
    words = "".join(ch if ch.isprintable() else "?" for ch in words)[:120]
    sets = [space_groups.of_symbol(symbol) for symbol in symbols]
    by_hall = space_groups.of_hall_symbol(hall) if hall else ()
    unknown = [symbol for symbol, matches in zip(symbols, sets, strict=True) if not matches]
    if by_hall:
        sets = [matches for matches in sets if matches] + [by_hall]
    elif unknown or (hall and not symbols):
        name = unknown[0] if unknown else hall
        return Named(words, (), f"is not known ({name})" if name != words else "is not known")
    if number:
        value = int(number) if number.isdecimal() and len(number) < 4 else 0
        sets.append(space_groups.of_number(value) if sets else space_groups.standard_of(value))
    if schoenflies:
        sets.append(space_groups.of_schoenflies(schoenflies))
    if not sets:
        return _named_magnetic(block)
    if not all(sets):
        return Named(words, (), "is not known")
    fitting = [setting for setting in sets[0] if all(setting in matches for matches in sets)]
    contradicts = not fitting
    if contradicts:
        fitting = [setting for setting in by_hall if setting.operations().fit(matrix)]
    if not fitting:
        return Named(words, (), "contradicts itself")
    code = block.value("_space_group_it_coordinate_system_code").lower()
    if code:
        fitting = [setting for setting in fitting if setting.choice == code] or fitting
    in_cell = [setting for setting in fitting if setting.operations().fit(matrix)]
    if not in_cell:
        return Named(words, (), "does not fit the cell")
    allowed = [s for s in space_groups.tabulated(in_cell[0].number) if s.operations().fit(matrix)]
    assumed = (
        len(sets) == 1 and bool(number or schoenflies) and len(_different(allowed)) > len(_different(in_cell))
    )
    return Named(words, _conventional(in_cell), assumed=assumed, by_hall=contradicts)


def _named_magnetic(block: Block) -> Named:
    """A magnetic group as a problem, because its operations are not tabulated here; else no name."""
    name = block.value(*_MAGNETIC_NAMES)
    if not name or re.fullmatch(r"P\s*1|1\.1(\.1)?", name):
        return Named("", ())
    return Named(f"magnetic group {printable(name)[:40]}", (), _NO_OPERATIONS)


def _symbol(block: Block, tag: str) -> str:
    return block.value(tag, tag.replace("h-m", "h_m"), f"{tag}_", f"{tag.replace('h-m', 'h_m')}_")


def _conventional(matches: Sequence[Setting]) -> tuple[Setting, ...]:
    """The distinct settings; unique axis b only, if a short monoclinic symbol leaves the axis open."""
    different = _different(matches)
    if all(2 < setting.number <= LAST_MONOCLINIC for setting in different):
        different = [setting for setting in different if "b" in setting.choice] or different
    return tuple(different)


def _different(matches: Sequence[Setting]) -> list[Setting]:
    return [
        setting
        for k, setting in enumerate(matches)
        if not any(setting.operations().is_same(other.operations()) for other in matches[:k])
    ]


def _from_name(named: Named, contents: Contents) -> tuple[Operations, list[str]]:
    if named.problem:
        raise StructureParseError(f"The space group of this CIF ({named.words}) {named.problem}: {_GIVE}")
    if not named.settings:
        if reason := contents.missing_images(_IDENTITY):
            why = reason[0].lower() + reason[1:].rstrip(".")
            raise StructureParseError(
                f"This CIF names no space group, and its atoms alone are not the whole cell ({why}): {_GIVE}"
            )
        note = "The file states no space group; its atoms are read as the whole cell (P 1)."
        return _IDENTITY, [note]
    if len(named.settings) == 1:
        setting = named.settings[0]
        note = (
            f"The file gives only {named.words} as its space group; the standard setting, "
            f"{setting.symbol}, is used."
        )
        notes = [note] if named.assumed else []
        if named.by_hall:
            notes.append(
                f"The names of the space group ({named.words}) "
                "contradict each other; the Hall symbol is used."
            )
        return setting.operations(), notes
    fitting = [setting for setting in named.settings if contents.agree(setting.operations())]
    if all(contents.n_sites(setting.operations()) > TOO_MANY for setting in named.settings):
        raise StructureParseError(TOO_LARGE)
    if len(fitting) != 1:
        names = " or ".join(setting.symbol for setting in named.settings[:4])
        raise OpenSetting(
            f"The space group of this CIF ({named.words}) may be set as {names}, "
            f"and the file does not say which: {_GIVE}"
        )
    return fitting[0].operations(), [
        (
            f"The space group {named.words} is read as {fitting[0].symbol}, "
            "the only setting that fits the rest of the file."
        )
    ]


def _doubt(named: Named) -> list[str]:
    if named.problem in ("", "is not known", _NO_OPERATIONS) or named.problem.startswith("is not known ("):
        return []  # the listed operations suffice
    return [f"The space group of the file ({named.words}) {named.problem}; the listed operations are used."]


def _from_conflict(listed: Operations, named: Named, contents: Contents) -> tuple[Operations, list[str]]:
    """The operations to use if the listed ones are not those of the named group, and a note.

    The named ones are used if exactly one named setting fits the rest of the file and the listed operations
    do not fit or are the identity alone; otherwise the listed ones.
    """
    n = len(listed.keys())
    orders = sorted({len(setting.operations()) for setting in named.settings})
    if orders == [n]:
        same = len(named.settings) > 1  # the name leaves the origin open
        note = (
            f"The listed operations are not those of {named.words} in the tables; the listed ones are used."
        )
        return listed, [] if same else [note]
    others = [setting.operations() for setting in named.settings]
    if any(contents.adds_nothing(other, to=listed) for other in others):
        return listed, []  # the list holds the whole cell, and the named group adds no atom
    has = f"which has {orders[0]} operation{'' if orders == [1] else 's'}"
    says = f"The file names {named.words}, {has}, but lists {n}; "
    fitting = [other for other in others if contents.agree(other)]
    if len(fitting) == 1 and (n == 1 or not contents.agree(listed)):
        return fitting[0], [f"{says}those of the space group are used."]
    return listed, [f"{says}the listed ones are used."]
