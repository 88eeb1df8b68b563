"""Space-group symbols, Hall symbols and numbers → the settings they may mean, with the symmetry operations of each.

The table is spglib's: 530 settings of the 230 types. A name that fits several settings (an origin choice that is not
stated, a unique axis) gives them all; :mod:`crystal_core.files.cif_symmetry` decides with what else the file says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from crystal_core.files.operations import Operations

if TYPE_CHECKING:
    from spglib import SpaceGroupType

LAST_MONOCLINIC, FIRST_CUBIC = 15, 195
# the glide that stood where tables now write e; the settings of groups 67 and 68 differ in it by their origin
_GLIDES = dict(zip(range(316, 334), "abbccaaabbbbccccaa", strict=True))
_ORIGIN_LETTERS = {"s": "1", "z": "2"}  # ICSD's letters for the two origin choices
_EXTENSION = re.compile(r"\s*:\s*(-?[0-9a-z][0-9a-z-]*)\s*$", re.IGNORECASE)
_LAST_LETTER = re.compile(r"(?<=[\s0-9a-z])\s*([HRSZ])\s*$")


Table: TypeAlias = (
    "Mapping[str, Mapping[str, tuple[Setting, ...]]]"  # name without spaces → with spaces → settings
)


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        hall_number: 1 to 530, spglib's numbering.
        number: of the space-group type, 1 to 230.
        symbol: full Hermann–Mauguin symbol of the setting, with its extension where others share the symbol.
        choice: spglib's code of unique axis, cell choice, axes and origin, e.g. "b1", "cab", "2", "H"; often empty.
    """

    hall_number: int
    number: int
    symbol: str
    choice: str

    def operations(self) -> Operations:
        """The operations of the setting, translations of the lattice's centring included."""
        return _operations(self.hall_number)


@lru_cache(maxsize=64)
def _operations(hall_number: int) -> Operations:
    import spglib

    found = spglib.get_symmetry_from_database(hall_number)
    if found is None:
        raise LookupError(hall_number)
    return Operations(found["rotations"], found["translations"])


def _row(hall_number: int) -> SpaceGroupType:
    import spglib

    found = spglib.get_spacegroup_type(hall_number)
    if found is None:
        raise LookupError(hall_number)
    return found


@lru_cache(maxsize=1)
def settings() -> tuple[Setting, ...]:
    """All 530, by Hall number."""
    rows = [_row(number) for number in range(1, 531)]
    full = [
        row.international_full.replace("_", "").replace("e", _GLIDES.get(number, "e"))
        for number, row in enumerate(rows, start=1)
    ]
    return tuple(
        Setting(
            hall_number=k,
            number=row.number,
            symbol=f"{symbol} :{row.choice}" if row.choice and full.count(symbol) > 1 else symbol,
            choice=row.choice.lower(),
        )
        for k, (row, symbol) in enumerate(zip(rows, full, strict=True), start=1)
    )


def of_symbol(text: str) -> tuple[Setting, ...]:
    """The settings that a Hermann–Mauguin symbol may name, with or without its extension; empty for an unknown one.

    Spaces may be missing (``P21/n``), screw axes may be written ``2_1`` or ``2(1)``, the overbar of 3 in cubic symbols
    may be missing (``F m 3 m``), and glides now written e may have their old letter.
    """
    symbol = " ".join(text.replace("_", "").split())
    extension = ""
    if written := _EXTENSION.search(symbol):
        symbol, extension = symbol[: written.start()], written[1].lower()
    found = tuple(_named(symbol))
    if not found and not extension and (last := _LAST_LETTER.search(symbol)):
        extension = last[1].lower()
        found = tuple(_named(symbol[: last.start()]))
    if not extension:
        return found
    wanted = _ORIGIN_LETTERS.get(extension, extension)
    exact = tuple(s for s in found if s.choice == wanted)
    return exact or tuple(s for s in found if wanted in ("1", "2") and s.choice.startswith(wanted))


def of_hall_symbol(text: str) -> tuple[Setting, ...]:
    """The settings of a Hall symbol; empty where it is not one of the table."""
    return tuple(_matches(text, _by_hall_symbol()))


def of_number(number: int) -> tuple[Setting, ...]:
    """Every setting of a space-group type, 1 to 230; empty for another number."""
    return tuple(s for s in settings() if s.number == number)


def standard_of(number: int) -> tuple[Setting, ...]:
    """The setting that a number alone stands for: unique axis b; both origin choices, and both cells of an R group."""
    found = of_number(number)
    return tuple(s for s in found if s is found[0] or (found[0].choice, s.choice) in (("1", "2"), ("h", "r")))


def _named(symbol: str) -> Iterable[Setting]:
    text = re.sub(r"\((\d)\)", r"\1", symbol)
    return _matches(re.sub(r"\s*/\s*", "/", re.sub(r"-\s+", "-", text)), _by_symbol())


def _matches(text: str, table: Table) -> Iterable[Setting]:
    """Settings whose name has the same characters, and a space wherever ``text`` has one."""
    names = table.get(_squeezed(text), {})
    for name, setting in names.items():
        if _spaces(text) == _spaces(name):
            return setting
    # "P 3 2" is not P 32, though "P32" is
    return [one for name, setting in names.items() if _spaces(text) <= _spaces(name) for one in setting]


@lru_cache(maxsize=1)
def _by_symbol() -> Table:
    found: dict[str, dict[str, tuple[Setting, ...]]] = {}
    for setting in settings():
        row = _row(setting.hall_number)
        full = row.international_full.replace("_", "")
        short = row.international.split("=")[-1] if setting.number > LAST_MONOCLINIC else full
        for spaced in _spellings(setting, full, short.replace("_", "").strip()):
            same = found.setdefault(_squeezed(spaced), {})
            same[spaced] = (*same.get(spaced, ()), setting)
    return found


def _spellings(setting: Setting, full: str, short: str) -> set[str]:
    spellings = {full, short}
    if 3 <= setting.number <= LAST_MONOCLINIC:
        spellings.add(" ".join(word for word in full.split() if word != "1"))
    if 123 <= setting.number <= 142:  # "P 4/n 21/m 2/m", where the table leaves out the last axis
        spellings.add(" ".join(f"2/{w}" if len(w) == 1 and k else w for k, w in enumerate(full.split())))
    if setting.number >= FIRST_CUBIC:
        spellings |= {name.replace("-3", "3") for name in spellings if "-4" not in name}
    for name in [name for name in spellings if "e" in name]:
        axis = next(k for k, word in enumerate(name.split()) if "e" in word)
        letters = _GLIDES.get(setting.hall_number) or "abc".replace("abc"[axis - 1], "")
        spellings |= {name.replace("e", letter) for letter in letters}
    return spellings


@lru_cache(maxsize=1)
def _by_hall_symbol() -> Table:
    found: dict[str, dict[str, tuple[Setting, ...]]] = {}
    for setting in settings():
        name = _row(setting.hall_number).hall_symbol
        same = found.setdefault(_squeezed(name), {})
        same[name] = (*same.get(name, ()), setting)
    return found


def _squeezed(text: str) -> str:
    return "".join(text.replace("_", "").lower().split())


def _spaces(text: str) -> set[int]:
    """Before which characters, spaces not counted, a space stands."""
    words = text.split()
    return {sum(map(len, words[:k])) for k in range(1, len(words))}
