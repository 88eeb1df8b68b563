"""Lists of elements of which a crystal holds at least one: "Fe or Co", "one of Ti, Zr, Hf", "a halide".

Runs before the rules of formulas and elements, which know the same words.
"""

from __future__ import annotations

import re
from functools import lru_cache

from crystal_core.workflows.sentence.reader import Reader
from crystal_core.workflows.sentence.vocabulary import GROUPS, NUMBERS, WITH, item_pattern, symbols_of

ITEM = rf"((?i:{'|'.join(GROUPS)})|[A-Za-z]+)"
OR = r"(?:and\s*/\s*)?or\s+"
COUNTED = "|".join(["exactly one", "only one", "just one", r"\d+", *(w for w in NUMBERS if w != "one")])
ONE_OF = (
    rf"(?<![\w-])(?:(?P<counted>{COUNTED})|(?:at\s+least\s+)?one(?:\s+or\s+more)?|any|some)\s+of\s+"
    r"(?:the\s+)?(?:elements?\s+|following\s+)*:?\s*"
)
ENDING = rf"(?:[\s-](?:{WITH})\b)?"


def alternatives(reader: Reader) -> None:
    """Lists by "one of" and "or", and groups of elements by their name."""
    _one_of(reader)
    _either(reader)
    for group in re.findall(rf"\b(?:{'|'.join(GROUPS)})\b", reader.rest, flags=re.IGNORECASE):
        reader.take(rf"\b{re.escape(group)}\b{ENDING}")
        _add(reader, [group], group)


def _one_of(reader: Reader) -> None:
    place = 0
    while begun := re.compile(ONE_OF, re.IGNORECASE).search(reader.rest, place):
        items, end = _following(reader.rest, begun.end())
        place = begun.end()
        if not items:
            continue
        text = " ".join(reader.rest[begun.start() : end].split())
        reader.cut(begun.start(), end)
        place = 0
        if begun["counted"]:
            reader.ignored.append(text)
        else:
            _add(reader, items, text)


def _either(reader: Reader) -> None:
    core = re.compile(rf"(?<![\w-]){ITEM}-?,?\s+{OR}{ITEM}(?!\w|-(?!(?:{WITH})))")
    place = 0
    while match := core.search(reader.rest, place):
        place = match.start() + 1
        items = [match[1], match[2]]
        if not all(map(_kind, items)):
            continue
        start, end = match.span()
        text = reader.rest
        while before := re.search(rf"(?<![\w-]){ITEM}-?\s*,\s*$", text[:start]):
            if _kind(before[1]) not in {_kind(match[1]), _kind(match[2])}:
                break
            items.insert(0, before[1])
            start = before.start()
        while after := re.compile(rf",?\s+{OR}{ITEM}").match(text, end):
            if not _kind(after[1]):
                break
            items.append(after[1])
            end = after.end()
        if opener := re.search(r"\beither\s+$", text[:start], re.IGNORECASE):
            start = opener.start()
        phrase = " ".join(text[start:end].split())
        if ending := re.compile(ENDING, re.IGNORECASE).match(text, end):
            end = ending.end()
        reader.cut(start, end)
        _add(reader, items, phrase)
        place = 0


def _following(text: str, start: int) -> tuple[list[str], int]:
    """The members of a list that begins here, and its end; behind a comma only members of the same kind."""
    items: list[str] = []
    end = start
    while match := re.compile(
        ITEM if not items else rf"(?:\s*,\s*(?:(?:and|or)\s+)?|\s+(?:and|or|&)\s+){ITEM}"
    ).match(text, end):
        kind = _kind(match[1])
        if not kind or (items and kind != _kind(items[0])):
            break
        items.append(match[1])
        end = match.end()
    return items, end


@lru_cache(maxsize=1024)
def _kind(word: str) -> str:
    """element, class (of compounds) or group; empty for another word."""
    item = item_pattern().fullmatch(word)
    if not item or not symbols_of(item):
        return ""
    return "element" if item["element"] else "class" if item["anion"] else "group"


def _add(reader: Reader, items: list[str], phrase: str) -> None:
    """Put a list: of classes that share an element it holds those that differ, "phosphate or sulfate" P or S.

    What no lists of elements can say is named.
    """
    members: list[frozenset[str]] = []
    for word in items:
        item = item_pattern().fullmatch(word)
        assert item is not None
        symbols = symbols_of(item)
        members += [frozenset({s}) for s in symbols] if item["group"] else [frozenset(symbols)]
    common = frozenset.intersection(*members)
    rests = [member - common for member in members]
    if any(len(rest) > 1 for rest in rests) and all(rests):
        reader.ignored.append(phrase)
        return
    reader.common += sorted(common)
    if all(rests):
        reader.lists.append(tuple(dict.fromkeys(symbol for rest in rests for symbol in rest)))
