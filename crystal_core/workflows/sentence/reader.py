"""The part of a sentence that no rule has read yet, and what the rules found."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from crystal_core.errors import RequestError

NAMES = {"n": "number of crystals", "n_atoms": "number of atoms", "e_above_hull": "energy above hull"}


@dataclass(frozen=True, kw_only=True)
class Understood:
    """The meaning of a sentence.

    Attributes:
        fields: of :class:`crystal_core.requests.CrystalGenerationRequest`. words: the same, in words.
        ignored: words and phrases that no rule took, or that no field can say.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


class Reader:
    """The unread part of a sentence, and the fields read so far."""

    def __init__(self, text: str) -> None:
        self.rest = text
        self.fields: dict[str, Any] = {}
        self.words: list[str] = []
        self.ignored: list[str] = []
        self.lists: list[tuple[str, ...]] = []  # symbols of which a crystal holds at least one
        self.common: list[str] = []  # symbols of all members of a list of classes, which a crystal holds

    def take(self, pattern: str) -> re.Match[str] | None:
        """Find a pattern and cut it out."""
        match = re.search(pattern, self.rest, flags=re.IGNORECASE)
        if match:
            self.cut(match.start(), match.end())
        return match

    def cut(self, start: int, end: int) -> None:
        """Cut a part out; what stood on its two sides stays apart."""
        self.rest = f"{self.rest[:start]} , {self.rest[end:]}"

    def gather(
        self, pattern: re.Pattern[str], read: Callable[[re.Match[str]], tuple[Sequence[str], int, int]]
    ) -> list[str]:
        """The symbols of all matches, which are cut out; a match without symbols stays.

        Args:
            read: the symbols of a match, and the bounds of the part to cut out.
        """
        symbols: list[str] = []
        place = 0
        while match := pattern.search(self.rest, place):
            found, start, end = read(match)
            if found:
                self.cut(start, end)
                symbols += found
            else:
                place = match.end()
        return symbols

    def ignore(self, pattern: str) -> None:
        """Name each occurrence of what no field can say, so that no rule takes a part of it."""
        while match := self.take(pattern):
            self.ignored.append(" ".join(match[0].split()))

    def put(self, name: str, value: Any, words: str) -> None:
        """Set a field.

        Raises:
            RequestError: it has another value already.
        """
        if self.fields.get(name, value) != value:
            named = NAMES.get(name, name.replace("_", " "))
            raise RequestError(f"The sentence asks for two values of the {named}; keep one of them.")
        if name not in self.fields:
            self.words.append(words)
        self.fields[name] = value
