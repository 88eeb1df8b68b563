"""Space-group symbols, Hall symbols and numbers → possible settings with their symmetry operations.

The table is gemmi's: 564 settings of the 230 types, the 530 of International Tables B among them, whose full
symbols come from spglib. A name that fits several settings (an origin choice that is not stated, a unique
axis) gives them all; :mod:`crystal_core.files.cif_symmetry` decides with what else the file says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from crystal_core.files.encoding import in_ascii
from crystal_core.files.operations import Operations

LAST_MONOCLINIC, FIRST_CUBIC = 15, 195
N_STANDARD = 530  # settings of International Tables B, numbered as Hall numbers are
_ORIGIN_LETTERS = {"s": "1", "z": "2"}  # ICSD's letters for the two origin choices
_EXTENSION = re.compile(r"\s*:\s*(-?[0-9a-z][0-9a-z-]*)\s*$", re.IGNORECASE)
_ORIGIN_WORDS = re.compile(
    r"\s*[({,;]?\s*\b(?:origin|o)\s*:?\s*(?:choice|no\.?|at|@)?\s*([12])\s*[)}]?\s*$", re.IGNORECASE
)
_AXES_WORDS = re.compile(
    r"\s*[({,;]?\s*\b([hr])(?:ex|hom)[a-z]*\s*(?:axes|setting|cell)?\s*[)}]?\s*$", re.IGNORECASE
)
_NUMBER_WORDS = re.compile(r"\s*[({,;]\s*(?:no\.?|nr\.?|number|#)?\s*(\d{1,3})\s*[)}]?\s*$", re.IGNORECASE)
_LATEX_BAR = re.compile(r"\\?(?:\bbar|overline)\s*\{?\s*(\d)\s*\}?", re.IGNORECASE)
_MARKS = re.compile(
    r"_\{(?=\w+\})|(?<=\w)\}|[_~]|</?(?:sub|i|em)>", re.IGNORECASE
)  # of subscripts and italics
_LAST_LETTER = re.compile(r"(?<=[\s0-9a-z])\s*([HRSZ])\s*$")

# name without spaces → with spaces → settings
Table: TypeAlias = "Mapping[str, Mapping[str, tuple[Setting, ...]]]"


@dataclass(frozen=True)
class Setting:
    """One setting of a space-group type.

    Attributes:
        number: of the space-group type, 1 to 230.
        symbol: Hermann–Mauguin symbol of the setting, with its extension (origin or axes) where there is one.
        hall: its Hall symbol, from which the operations follow.
        choice: code of unique axis, cell choice, axes and origin, e.g. "b1", "cab", "2", "h"; often empty.
    """

    number: int
    symbol: str
    hall: str
    choice: str
    names: tuple[str, ...] = field(default=(), compare=False)

    def operations(self) -> Operations:
        """The operations of the setting, translations of the lattice's centring included."""
        return _operations(self.hall)


@lru_cache(maxsize=64)
def _operations(hall: str) -> Operations:
    import gemmi

    return Operations.from_gemmi(gemmi.symops_from_hall(hall))


@lru_cache(maxsize=1)
def settings() -> tuple[Setting, ...]:
    """All of them: first the 530 by Hall number, then gemmi's further ones."""
    import gemmi
    import spglib

    rows = []
    for k, row in enumerate(gemmi.spacegroup_table(), start=1):
        extension = row.ext.strip("\0 ")
        names = {row.hm}
        choice = extension or row.qualifier
        if k <= N_STANDARD and (kind := spglib.get_spacegroup_type(k)) is not None:
            names |= {kind.international_full.replace("_", "")}
            names |= (
                {kind.international.split("=")[-1].replace("_", "").strip()} if row.number > 15 else set()
            )
            choice = kind.choice
        symbol = f"{row.hm} :{extension}" if extension else row.hm
        rows.append(Setting(row.number, symbol, row.hall, choice.lower(), tuple(sorted(names))))
    return tuple(rows)


def of_symbol(text: str) -> tuple[Setting, ...]:
    """The settings that a Hermann–Mauguin symbol may name, with or without its extension.

    Empty for an unknown one.

    Spaces may be missing (``P21/n``), screw axes may be written ``2_1`` or ``2(1)``, the overbar of 3 in
    cubic symbols may be missing (``F m 3 m``), full symbols (``F 4/m -3 2/m``) and glides now written e are
    known. Overbars and subscripts may be those of Unicode, TeX, journals (``P2~1~/c``) and web pages, and the
    number of the group may stand behind (``Fm-3m (225)``).
    """
    symbol = _LATEX_BAR.sub(r"-\1", in_ascii(text)).replace("$", "")
    symbol = " ".join(_MARKS.sub("", symbol).split()).rstrip(" .")
    if not tuple(_named(symbol)) and (number := _NUMBER_WORDS.search(symbol)):
        matches = of_symbol(symbol[: number.start()])
        return tuple(setting for setting in matches if setting.number == int(number[1]))
    extension = ""
    for pattern in (_EXTENSION, _ORIGIN_WORDS, _AXES_WORDS):
        if written := pattern.search(symbol):
            symbol, extension = symbol[: written.start()], written[1].lower()
    matches = tuple(_named(symbol))
    if not matches and not extension and (last := _LAST_LETTER.search(symbol)):
        extension = last[1].lower()
        matches = tuple(_named(symbol[: last.start()]))
    if not extension:
        return matches
    wanted = _ORIGIN_LETTERS.get(extension, extension)
    exact = tuple(s for s in matches if s.choice == wanted)
    return exact or tuple(s for s in matches if wanted in ("1", "2") and s.choice.startswith(wanted))


def of_hall_symbol(text: str) -> tuple[Setting, ...]:
    """The setting of a Hall symbol, also of one that no table lists; empty where it is no Hall symbol."""
    if matches := tuple(_matches(text, _by_hall_symbol())):
        return matches
    import gemmi

    plain = " ".join(text.replace("_", " ").split())
    try:
        group = gemmi.symops_from_hall(plain) if re.match(r"-?[PABCIRSTFH] ", plain, re.IGNORECASE) else None
    except (ValueError, RuntimeError):
        return ()
    operations = None if group is None else Operations.from_gemmi(group)
    if group is None or operations is None or not len(operations) or not operations.is_group():
        return ()
    known = gemmi.find_spacegroup_by_ops(group)
    number, name = (known.number, known.xhm()) if known else (0, f"Hall symbol {plain}")
    return (Setting(number, name, plain, ""),)


def of_number(number: int) -> tuple[Setting, ...]:
    """Every setting of a space-group type, 1 to 230; empty for another number."""
    return tuple(s for s in settings() if s.number == number)


def of_schoenflies(text: str) -> tuple[Setting, ...]:
    """As :func:`standard_of`, from a Schoenflies symbol such as ``D_4h^14``; empty for another text."""
    import spglib

    wanted = re.sub(r"[\s_{}()]", "", text).lower()
    kinds = (spglib.get_spacegroup_type(k) for k in range(1, N_STANDARD + 1))
    numbers = {kind.number for kind in kinds if kind is not None and kind.schoenflies.lower() == wanted}
    return tuple(setting for number in numbers for setting in standard_of(number))


def tabulated(number: int) -> tuple[Setting, ...]:
    """The settings of :func:`of_number` in International Tables."""
    return tuple(s for s in settings()[:N_STANDARD] if s.number == number)


def standard_of(number: int) -> tuple[Setting, ...]:
    """The setting that a number alone stands for: unique axis b.

    Both origin choices, and both cells of an R group.
    """
    choices = tabulated(number)
    return tuple(
        s for s in choices if s is choices[0] or (choices[0].choice, s.choice) in (("1", "2"), ("h", "r"))
    )


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
    matches = [one for name, setting in names.items() if _spaces(text) <= _spaces(name) for one in setting]
    return list(dict.fromkeys(matches))


@lru_cache(maxsize=1)
def _by_symbol() -> Table:
    table: dict[str, dict[str, tuple[Setting, ...]]] = {}
    for setting in settings():
        for spaced in _spellings(setting):
            same = table.setdefault(_squeezed(spaced), {})
            same[spaced] = (*same.get(spaced, ()), setting)
    return table


def _spellings(setting: Setting) -> set[str]:
    spellings = {name for spelt in setting.names for name in _with_old_glide(spelt, setting)}
    if setting.number <= LAST_MONOCLINIC:
        words = [name.split() for name in setting.names]
        spellings |= {" ".join(w for w in name if w != "1") for name in words if len(name) == 4}
    if 123 <= setting.number <= 142:  # "P 4/n 21/m 2/m", where spglib leaves out the last axis
        spellings |= {
            " ".join(f"2/{w}" if len(w) == 1 and k else w for k, w in enumerate(name.split()))
            for name in setting.names
            if len(name.split()) == 4
        }
    if setting.choice == "h":
        spellings |= {f"H{name[1:]}" for name in setting.names}
    if setting.number >= FIRST_CUBIC:
        spellings |= {name.replace("-3", "3") for name in spellings if "-4" not in name}
    return spellings


def _with_old_glide(name: str, setting: Setting) -> set[str]:
    """The name, and with the letters that stood where tables now write e."""
    words = name.split()
    axis = next((k for k, word in enumerate(words) if k and "e" in word), 0)
    if not axis:
        return {name}
    # the settings of groups 67 and 68 differ in that letter by their origin
    letters = (
        setting.symbol.split()[axis][-1] if setting.number in (67, 68) else "abc".replace("abc"[axis - 1], "")
    )
    return {
        name,
        *(" ".join([*words[:axis], words[axis].replace("e", x), *words[axis + 1 :]]) for x in letters),
    }


@lru_cache(maxsize=1)
def _by_hall_symbol() -> Table:
    table: dict[str, dict[str, tuple[Setting, ...]]] = {}
    for setting in settings():
        same = table.setdefault(_squeezed(setting.hall), {})
        name = setting.hall.strip()
        same[name] = (*same.get(name, ()), setting)
    return table


def _squeezed(text: str) -> str:
    return "".join(text.replace("_", "").lower().split())


def _spaces(text: str) -> set[int]:
    """Before which characters, spaces not counted, a space stands."""
    words = text.split()
    return {sum(map(len, words[:k])) for k in range(1, len(words))}
