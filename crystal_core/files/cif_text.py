"""Text of a CIF → data blocks, with every tag in one spelling: lower case, underscores in place of dots.

A text field between semicolons is one value, whatever its lines look like. What a tag means is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

UNKNOWN = ""  # a value written . or ?

_TOKEN = re.compile(
    r"""^;(?P<field>.*?)(?:\n;|\Z)
      | \#[^\n]*
      | '(?P<single>(?:[^'\n]|'(?=\S))*)'(?=\s|\Z)
      | "(?P<double>(?:[^"\n]|"(?=\S))*)"(?=\s|\Z)
      | (?P<bare>\S+)""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
# symbols are often written without quotes, as in: _symmetry_space_group_name_H-M F m -3 m
_WORDY = ("_symmetry_space_group_name", "_space_group_name", "_chemical_formula")


@dataclass
class Block:
    """One data block.

    Attributes:
        text: the block as it stands in the file.
        values: tag → value of the entries outside loops, :data:`UNKNOWN` for ``.`` and ``?``.
        columns: tag → values of a column of a loop; columns of one loop are equally long.
        torn: tags of loops whose values do not fill whole rows.
    """

    text: str = ""
    values: dict[str, str] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    torn: set[str] = field(default_factory=set)

    def value(self, *tags: str) -> str:
        """The first known value among the tags, also that of a loop with one row."""
        for tag in tags:
            column = self.columns.get(tag, [])
            if known := self.values.get(tag) or (column[0] if len(column) == 1 else UNKNOWN):
                return known
        return UNKNOWN

    def column(self, *tags: str) -> list[str]:
        """The first column among the tags that holds a known value; an entry outside loops counts as one row."""
        for tag in tags:
            column = self.columns.get(tag) or ([self.values[tag]] if self.values.get(tag) else [])
            if any(column):
                return column
        return []


def blocks_of(text: str) -> list[Block]:
    """The data blocks of a CIF, in order; none where no line begins with ``data_``."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    reading, starts = _Reading(), list[int]()
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind is None:  # a comment
            continue
        word = token[kind].lower() if kind == "bare" else ""
        if word.startswith("data_"):
            reading.begin_block()
            starts.append(token.start())
        elif not reading.blocks:
            continue
        elif word == "loop_":
            reading.begin_loop()
        elif word.startswith("_"):
            reading.add_tag(word.replace(".", "_"))
        else:
            reading.add_value(UNKNOWN if word in (".", "?") else " ".join(token[kind].split()))
    reading.end_loop()
    for block, start, end in zip(reading.blocks, starts, [*starts[1:], len(text)], strict=True):
        block.text = text[start:end]
    return reading.blocks


class _Reading:
    """The blocks that were read so far, and the loop or entry that is being read."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._tag = ""  # of an entry outside loops
        self._loop: list[str] | None = None  # tags of the loop
        self._rows: list[str] = []  # values of the loop, row after row

    def begin_block(self) -> None:
        self.end_loop()
        self.blocks.append(Block())

    def begin_loop(self) -> None:
        self.end_loop()
        self._loop = []

    def end_loop(self) -> None:
        if self._loop:
            block, n = self.blocks[-1], len(self._loop)
            block.torn.update(self._loop if len(self._rows) % n else ())
            block.columns.update({name: self._rows[k::n] for k, name in enumerate(self._loop)})
        self._tag, self._loop, self._rows = "", None, []

    def add_tag(self, name: str) -> None:
        if self._loop is not None and not self._rows:
            self._loop.append(name)
            return
        self.end_loop()
        self._tag = name
        self.blocks[-1].values[name] = UNKNOWN

    def add_value(self, value: str) -> None:
        if self._loop is not None:
            self._rows.append(value)
            return
        values = self.blocks[-1].values
        if self._tag and not values[self._tag]:
            values[self._tag] = value
        elif self._tag.startswith(_WORDY) and value:
            values[self._tag] += f" {value}"


def written(values: Mapping[str, str], loops: Iterable[Mapping[str, Sequence[str]]]) -> str:
    """A data block for a parser: entries, then loops given as tag → column."""
    lines = ["data_crystal", *(f"{tag} {_quoted(value)}" for tag, value in values.items())]
    for loop in loops:
        lines += ["loop_", *loop]
        lines += [" ".join(map(_quoted, row)) for row in zip(*loop.values(), strict=True)]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    clean = value.replace("#", "").replace("'", "").replace('"', "").strip()
    return clean if re.fullmatch(r"[^\s_;\[\]$][^\s]*", clean) and clean[-1] != "_" else f"'{clean or '?'}'"
