"""What a sentence rules out: elements go into a field, the rest is named and never taken for a wish.

Runs before all other rules.
"""

from __future__ import annotations

import re

from crystal_core.chemistry.formula import parse_formula
from crystal_core.errors import RequestError
from crystal_core.workflows.sentence.reader import Reader
from crystal_core.workflows.sentence.symmetry import NAMED, is_bare_symbol
from crystal_core.workflows.sentence.vocabulary import GROUPS, SYSTEMS, item_pattern, symbols_of

VERB = r"(?:contain|include|have|hold|comprise|use)"
OPENER = (
    r"(?:\bwithout\b|\bw/o\b|\bexclud(?:ing|es?)\b|\bexcept(?:ing)?\b(?:\s+for\b)?|\bfree\s+(?:of|from)\b|"
    r"\bdevoid\s+of\b|\black(?:ing|s)?\b|\bavoid(?:ing|s)?\b|\bomit(?:ting|s)?\b|\b(?:rul|leav)(?:e|es|ing)\s+out\b|"
    r"\b(?:any|every)thing\s+but\b|\bnone\s+of\b|\bzero\b|\bother\s+than\b|\brather\s+than\b|"
    r"\b(?:do|does|must|should|may|can|shall|wo|will)(?:n't|\s*not)\s+" + VERB + r"\b|"
    r"\bnot\s+(?:" + VERB + r"|containing|including|having|holding|with|of|made\s+of)\b|"
    r"\bneither\b|\bnor\b|\bnever\b|\bminus\b|\bno\b(?!\.)|\bnot\b|\bnon\b)"
    r"[\s-]*(?:(?:any|an?|the|elements?|those|ones|of|with|even|traces?)\s+)*"
)
NOT = r"\b(?:not|non|neither|never|nor|no|without|isn't|aren't|other\s+than|except)\b[\s-]*"
GONE = (
    r"\s*,?\s*(?:(?:is|are|be|to|should|must|shall|has|have|may|can|will)\s+)*"
    r"(?:(?:absent|excluded|avoided|forbidden|banned|omitted|missing|unwanted|(?:left|ruled)\s+out)\b|"
    r"(?:not|never|cannot)\s+(?:be\s+)?(?:allowed|present|wanted|included|contained|used|occur|appear)\b)"
)
BEFORE = re.compile(r"(?<![\w-])([A-Za-z]+)(?:\s*,\s*(?:(?:and|or|nor)\s+)?|\s+(?:and|or|nor|&)\s+)$")
FILLER = r"(?:(?:an?|the|in|be|being|any|very|necessarily|have|has)\s+)*"
PROPERTIES = (
    r"meta-?stable|stable|metallic|metals?\b(?!\s+\w+ide)|semi-?metal(?:lic)?|gapless|"
    rf"{'|'.join(SYSTEMS)}"
)


def negations(reader: Reader) -> None:
    """Excluded elements, and phrases that no field can say."""
    gone = [*_free(reader), *_said_to_be_gone(reader), *_excluded(reader)]
    if gone:
        none = tuple(dict.fromkeys(gone))
        reader.put("exclude_elements", none, f"without {', '.join(none)}")
    reader.ignore(rf"{NOT}{FILLER}(?:{PROPERTIES})\b(?:\s*(?:,|or|nor|and)\s+(?:{PROPERTIES})\b)*")
    reader.ignore(r"\b(?:non|un|in)(?:stable|metallic|cubic)\b")
    reader.ignore(rf"{NOT}{FILLER}{NAMED}[\s:=#]*(?:number\s*)?[\w/-]+")
    for match in re.finditer(rf"{NOT}{FILLER}([A-Z][\w/()-]*)", reader.rest):
        if is_bare_symbol(match[1]) or _is_formula(match[1]):
            reader.ignore(re.escape(match[0]))


def _free(reader: Reader) -> list[str]:
    """The elements of "lead-free", "Pb- and Cd-free", "rare-earth-free"."""
    reader.ignore(r"\bnot?\s+[\w-]+[\s-]free\b")
    word = rf"(?:{'|'.join(GROUPS)}|[a-z]+)"
    pattern = rf"\b((?:{word}(?:-\s*(?:,|and|or)|\s*/)\s*)*)({word})(?:[\s-]free|-less)\b(?!\s+(?:of|from)\b)"

    def read(match: re.Match[str]) -> tuple[list[str], int, int]:
        items = [*re.findall(word, match[1], re.IGNORECASE), match[2]]
        found = [item_pattern().fullmatch(item) for item in items if item.lower() not in ("and", "or")]
        symbols = [symbol for item in found if item for symbol in _ruled_out(item)]
        return symbols, match.start(), match.end()

    return reader.gather(re.compile(pattern, re.IGNORECASE), read)


def _said_to_be_gone(reader: Reader) -> list[str]:
    """The elements of "Pb and Cd should be absent" and "lead excluded"; classes only beside these words."""

    def read(match: re.Match[str]) -> tuple[list[str], int, int]:
        last = item_pattern().fullmatch(match[1])
        symbols = [*_ruled_out(last)] if last else []
        start = match.start()
        while symbols and (before := BEFORE.search(reader.rest[:start])):
            item = item_pattern().fullmatch(before[1])
            if not item or not item["element"] or not symbols_of(item):
                break
            symbols = [*symbols_of(item), *symbols]
            start = before.start()
        return symbols, start, match.end()

    return reader.gather(re.compile(rf"((?:{'|'.join(GROUPS)})|[a-z]+){GONE}", re.IGNORECASE), read)


def _excluded(reader: Reader) -> list[str]:
    """The elements of lists behind words such as "without"; the words stay where no element follows."""

    def read(begun: re.Match[str]) -> tuple[list[str], int, int]:
        symbols, end = _list(reader.rest, begun.end())
        return symbols, begun.start(), end

    return reader.gather(re.compile(OPENER, re.IGNORECASE), read)


def _list(text: str, start: int) -> tuple[list[str], int]:
    """The elements of a list, and where it ends.

    Behind a bare comma a class of compounds belongs to a list of classes alone: "without cobalt, oxides".
    """
    symbols: list[str] = []
    end, classes = start, True
    joint = re.compile(r"\s*,?\s*(?P<word>(?:and|or|nor|&|\+|/|no|any)\b\s*)*(?:an?\s+)?")
    while True:
        between = joint.match(text, end) if symbols else None
        item = item_pattern().match(text, between.end() if between else end)
        found = _ruled_out(item) if item else ()
        if not item or not found:
            return symbols, end
        if between and not between["word"] and not item["element"] and not (classes and "," in between[0]):
            return symbols, end
        classes = classes and not item["element"]
        symbols += found
        end = item.end()


def _ruled_out(item: re.Match[str]) -> tuple[str, ...]:
    """The elements that an item rules out: no phosphate means no phosphorus, oxygen may stay."""
    symbols = symbols_of(item)
    return symbols[:1] if item["anion"] else symbols


def _is_formula(word: str) -> bool:
    try:
        return len(parse_formula(word).unit) > 1
    except RequestError:
        return False
