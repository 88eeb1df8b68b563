"""Space group and crystal system of a sentence."""

from __future__ import annotations

import re

from crystal_core.conditions import SPACE_GROUPS
from crystal_core.errors import RequestError
from crystal_core.evaluation.symmetry import space_group_number, space_group_symbol
from crystal_core.workflows.sentence.reader import Reader
from crystal_core.workflows.sentence.vocabulary import SYSTEMS

ABOUT = r"(?:\s|of|is|number|no\.?|the|a|[:=#~])*"
NAMED = r"\b(?:space[\s-]*group|s\.?g\.?)\b"
SYMBOL = r"([A-Za-z0-9/_-]+(?:\s[-0-9/_a-z]*[0-9/][-0-9/_a-z]*)?)"
IN_BRACKETS = r"\s*\((?:no\.?|number|#)?\s*(\d{1,3})\)"  # Fm-3m (225)
HEXAGONAL_FAMILY = range(143, 195)  # trigonal groups are described in hexagonal axes


def space_group(reader: Reader) -> None:
    """A number or symbol behind "space group", or a symbol alone.

    Raises:
        RequestError: there is no such group, or two of them.
    """
    while match := re.search(NAMED + ABOUT + SYMBOL, reader.rest, flags=re.IGNORECASE):
        for words in (match[1], match[1].split()[0]):
            if _is_group(words):
                end = match.start(1) + len(words)
                number = re.match(IN_BRACKETS, reader.rest[end:], flags=re.IGNORECASE)
                reader.cut(match.start(), end + (number.end() if number else 0))
                _put_group(reader, words, number)
                break
        else:
            raise RequestError(
                f"There is no space group '{match[1].split()[0]}'; give a number from 1 to 230 or a symbol."
            )
    # a symbol alone: a letter of the lattice and a sign that no word or formula has
    for word in re.findall(r"\b[PIFCAR][-\d/_a-z]+\b", reader.rest):
        if is_bare_symbol(word):
            number = reader.take(rf"\b{re.escape(word)}(?!\w)(?:{IN_BRACKETS})?")
            _put_group(reader, word, number)


def crystal_system(reader: Reader) -> None:
    """A crystal system by name.

    Raises:
        RequestError: two systems, or one that the space group contradicts.
    """
    while match := reader.take(rf"\b({'|'.join(SYSTEMS)})\b"):
        system = SYSTEMS[match[1].lower()]
        if "space_group" not in reader.fields:
            reader.put("crystal_system", system, f"crystal system {system}")
            continue
        number = int(reader.fields["space_group"])
        first, last = SPACE_GROUPS[system]
        if not (first <= number <= last or (system == "hexagonal" and number in HEXAGONAL_FAMILY)):
            raise RequestError(
                f"Space group {space_group_symbol(number)} ({number}) is not {system}; keep one of the two."
            )


def is_bare_symbol(word: str) -> bool:
    """Whether a word can only be the symbol of a space group."""
    signs = r"-\d|/m|/[abcnd]|^P[nmcab]{3}$|^[CIF]m{2,3}[am]?$|^[IPRF]\d"
    return bool(re.search(signs, word)) and _is_group(word)


def _put_group(reader: Reader, words: str, beside: re.Match[str] | None = None) -> None:
    """Set the group by its name, and by the number in brackets behind it, which must be the same."""
    for name in filter(None, (words, beside and beside[1])):
        number = space_group_number(name)
        reader.put("space_group", str(number), f"space group {space_group_symbol(number)} ({number})")


def _is_group(word: str) -> bool:
    try:
        return bool(space_group_number(word))
    except RequestError:
        return False
