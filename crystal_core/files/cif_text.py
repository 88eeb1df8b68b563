"""Text of a CIF → data blocks through gemmi's grammar; tags in lower case, dots as underscores.

Slips outside the list of atoms, the cell and the symmetry are repaired, each with a note; any other line that
breaks the rules of CIF is a refusal that names the line. What a tag means is decided elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from crystal_core.files.encoding import in_ascii
from crystal_core.structures import printable

if TYPE_CHECKING:
    import gemmi

T = TypeVar("T", str, list[str])

UNKNOWN = ""  # a value written . or ?
MOST_REPAIRS = 20
MAX_LINE = 2000  # characters of a row that are looked at
AGAIN = "or export the file again."
# tags whose loss or misreading changes the crystal
VITAL = ("_atom_site", "_cell", "_symmetry", "_space_group", "_chemical_formula", "_atom_type")

_BLANKS = str.maketrans("\t\x1a\x0b\x0c", "    ")
# symbols and formulas are often written without quotes, as in: _symmetry_space_group_name_H-M F m -3 m
_UNQUOTED = re.compile(r"^(\s*_[^\s'\"]+)[ ]+([^\s_'\";#][^'\"#]*?[ ]+[^'\"#]*?)\s*(?:#.*)?$")
_PLACE = re.compile(r"^[^:]*:(\d+)(?::(\d+)\((?:\d+)\))?(?: in [^:]*)?: (.*)", re.DOTALL)
_VALUE = re.compile(r"'(?:[^'\n]|'(?=\S))*'|\"(?:[^\"\n]|\"(?=\S))*\"|[^\s'\"]\S*")
_AFTER_NAME = re.compile(r"\s(_|#|loop_)", re.IGNORECASE)
_CIF_2 = "#\\#CIF_2.0"
_TRIPLE = re.compile(r"('''|\"\"\")(.*?)\1", re.DOTALL)
_BORDER = re.compile(r"\s*(_|loop_|data_|global_)", re.IGNORECASE)


@dataclass
class Block:
    """One data block.

    Attributes:
        name: what follows ``data_``.
        values: tag → value of the entries outside loops, :data:`UNKNOWN` for ``.`` and ``?``.
        columns: tag → values of a column of a loop; columns of one loop are equally long.
        loops: tag → number of its loop.
        notes: repairs and omissions, as sentences.
        problem: why the block cannot be read, as a sentence; empty otherwise.
        is_macromolecular: whether its atoms have mmCIF's Cartesian positions.
    """

    name: str = ""
    values: dict[str, str] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    loops: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problem: str = ""
    is_macromolecular: bool = False

    @property
    def tags(self) -> set[str]:
        """Every tag of the block."""
        return {*self.values, *self.columns}

    def value(self, *tags: str) -> str:
        """The first known value among the tags, also that of a loop with one row."""
        for tag in tags:
            column = self.columns.get(tag, [])
            if known := self.values.get(tag) or (column[0] if len(column) == 1 else UNKNOWN):
                return known
        return UNKNOWN

    def column(self, *tags: str) -> list[str]:
        """The first column among the tags that holds a known value.

        An entry outside loops counts as one row.
        """
        for tag in tags:
            column = self.columns.get(tag) or ([self.values[tag]] if self.values.get(tag) else [])
            if any(column):
                return column
        return []


def blocks_of(text: str) -> list[Block]:
    """The data blocks of a CIF, in order, at least one.

    A block that breaks the rules of CIF has its ``problem``.
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n").translate(_BLANKS)
    if plain.startswith(_CIF_2):
        plain = _TRIPLE.sub(lambda match: _as_plain(match[2]), plain)
    lines = in_ascii(plain).split("\n")
    return [block for part in _parts(lines) for block in _read(part)]


def _as_plain(value: str) -> str:
    """A value of CIF 2.0 between triple quotes in the quotes of CIF 1.1, or as a text field."""
    if "\n" in value:
        return f"\n;{value.replace(chr(10) + ';', chr(10) + ' ;')}\n;\n"
    quote = '"' if "'" in value else "'"
    return f"{quote}{value.replace(quote, ' ')}{quote}"


def _parts(lines: list[str]) -> list[tuple[int, list[str]]]:
    """Each data block as its line offset and its lines, with quotes around values of several words."""
    parts: list[tuple[int, list[str]]] = [(0, [])]
    in_field = False
    for k, line in enumerate(lines):
        if line.startswith(";"):
            in_field = not in_field
        elif not in_field and (match := _UNQUOTED.match(line)) and not re.search(r"\s_", match[2]):
            parts[-1][1].append(f"{match[1]} '{match[2]}'")
            continue
        elif not in_field and line.lstrip()[:5].lower() == "data_":
            # a name may hold no blanks, but people write some
            parts.append((k, ["_".join(line.split()) if not _AFTER_NAME.search(line) else line]))
            continue
        parts[-1][1].append(line)
    return parts[1:] or [(-1, ["data_", *parts[0][1]])]


def _read(part: tuple[int, list[str]]) -> list[Block]:
    from gemmi import cif

    before, lines = part
    notes: list[str] = []
    for _ in range(MOST_REPAIRS):
        source = "\n".join([*lines, ""]).encode("ascii", errors="replace")
        try:
            blocks = [_block(one) for one in cif.read_string(source, check_level=0)]
        except (ValueError, RuntimeError) as error:
            if problem := _mend(lines, str(error), notes, before):
                return [Block(name=lines[0].strip()[len("data_") :].split(" ")[0], problem=problem)]
        else:
            for block in blocks:
                block.notes += notes
            return blocks
    return [
        Block(problem=f"More than {MOST_REPAIRS} lines of this CIF break its rules: correct them, {AGAIN}")
    ]


def _mend(lines: list[str], message: str, notes: list[str], before: int) -> str:
    """Change the lines so that the error of gemmi goes away, or say what it is in a sentence."""
    place = _PLACE.match(message)
    at, what = (int(place[1]) - 1, place[3]) if place else (0, message)
    at = min(at, len(lines) - 1)
    if "Wrong number of values in loop" in what:
        return _mend_loop(lines, at, notes)
    line = lines[at]
    following = next((text for text in lines[at + 1 :] if text.strip()), "")
    if line.strip().lower() == "loop_" and not _tag(following):  # a loop of nothing
        lines[at] = ""
        return ""
    owner = next((tag for k in range(at, -1, -1) if (tag := _tag(lines[k]))), "")
    if not line.strip() or owner.startswith(VITAL) or at == 0 or line.startswith(";") or "field" in what:
        excerpt = printable(line.strip())[:60]
        return (
            f"Line {before + at + 1} of this CIF{f' ({excerpt})' if excerpt else ''} breaks the rules of CIF "
            f"({printable(what)[:60]}): correct it, {AGAIN}"
        )
    excerpt = printable(line.strip())[:40]
    notes.append(f"Line {before + at + 1} of the file ({excerpt}) is no CIF and is left out.")
    lines[at] = ""
    return ""


def _mend_loop(lines: list[str], at: int, notes: list[str]) -> str:
    """Leave out a loop that breaks off, or say so where the crystal depends on it."""
    last = at + 1
    while last < len(lines) and (not _BORDER.match(lines[last]) or _is_header(lines, at, last)):
        last += 1
    words = [word for line in lines[at:last] if line.lstrip()[:1] in ("_", "l", "L") for word in line.split()]
    tags = [word.lower() for word in words if word.startswith("_")]
    if any(tag.startswith(VITAL) for tag in tags):
        return _torn(tags, [line for line in lines[at:last] if line.strip() and not _is_tag(line)])
    name = printable(tags[0])[:40] if tags else "no tags"
    notes.append(f"The loop of {name} breaks off and is not read.")
    lines[at:last] = [""] * (last - at)
    return ""


def _tag(line: str) -> str:
    word = line.split(maxsplit=1)[0].lower() if line.strip() else ""
    return word if word.startswith("_") else ""


def _is_header(lines: list[str], first: int, k: int) -> bool:
    """Whether line ``k`` still belongs to the tags of the loop that begins at line ``first``."""
    return lines[k].lstrip().startswith("_") and all(
        not line.strip() or line.lstrip().startswith(("_", "#")) for line in lines[first + 1 : k]
    )


def _is_tag(line: str) -> bool:
    return line.lstrip().lower().startswith(("_", "loop_", "#"))


def _torn(tags: list[str], rows: list[str]) -> str:
    kind = "atoms" if tags[0].startswith(("_atom_site", "_atom_type")) else "symmetry operations"
    needed = [f"_atom_site_fract_{x}" for x in "xyz"]
    missing = [tag for tag in needed if tag not in map(_plain, tags)]
    if 0 < len(missing) < 3:
        columns = f"the column{'' if len(missing) == 1 else 's'} {', '.join(missing)}"
        return (
            f"The list of atoms in this CIF lacks {columns}: "
            f"add {'it' if len(missing) == 1 else 'them'} {AGAIN}"
        )
    for number, row in enumerate(rows, start=1):
        n = len(_VALUE.findall(row[:MAX_LINE].split(" #")[0]))
        if n != len(tags):
            return (
                f"Row {number} of the list of {kind} in this CIF ('{printable(' '.join(row.split()))[:60]}') "
                f"has {n} values for {len(tags)} columns: complete the row, {AGAIN}"
            )
    return f"The list of {kind} in this CIF breaks off: complete it, {AGAIN}"


def _block(block: gemmi.cif.Block) -> Block:
    from gemmi import cif

    parsed = Block(name=block.name.strip(), is_macromolecular=bool(block.find_values("_atom_site.Cartn_x")))
    for number, item in enumerate(block):
        if item.pair is not None:
            tag, value = cast("tuple[str, str]", item.pair)
            known = "" if cif.is_null(value) else cif.as_string(value).strip()
            _add(parsed, parsed.values, _plain(tag), known)
        elif item.loop is not None and item.loop.tags:
            tags, values = item.loop.tags, item.loop.values
            n = len(tags)
            for k, tag in enumerate(tags):
                column = ["" if cif.is_null(v) else cif.as_string(v).strip() for v in values[k::n]]
                _add(parsed, parsed.columns, _plain(tag), column)
                parsed.loops.setdefault(_plain(tag), number)
    return parsed


def _add(block: Block, kind: dict[str, T], tag: str, value: T) -> None:
    """Keep a tag's value.

    Of two that differ the first, with a note, or a refusal where the crystal depends on it.
    """
    first = kind.setdefault(tag, value)
    if first == value or not value:
        return
    if not first:
        kind[tag] = value
    elif tag.startswith(("_cell_length", "_cell_angle", "_atom_site_fract", "_atom_site_cartn")):
        words = f" ({first} and {value})" if isinstance(first, str) else ""
        block.problem = (
            f"This CIF gives {tag} twice{printable(words)[:60]} in one data block: keep one, {AGAIN}"
        )
    elif tag.startswith(VITAL):
        block.notes.append(f"The file gives {printable(tag)[:50]} twice; the first is read.")


def _plain(tag: str) -> str:
    return tag.lower().replace(".", "_")
