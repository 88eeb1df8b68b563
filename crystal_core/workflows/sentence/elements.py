"""Formula and elements of a sentence."""

from __future__ import annotations

import re

from crystal_core.chemistry.alternatives import in_words
from crystal_core.chemistry.formula import atomic_number_of, parse_formula
from crystal_core.errors import RequestError
from crystal_core.workflows.sentence.reader import Reader
from crystal_core.workflows.sentence.vocabulary import (
    ANIONS,
    NO_FORMULA,
    ORDERS,
    PREFIX,
    SPELLINGS,
    WITH,
    element_names,
    item_pattern,
    symbol_of,
    symbols_of,
)

# English words, too, where they do not stand in a list or behind one of these words
DOUBTFUL = {"As", "At", "He", "I", "In", "No", "Be", "Am"}
HOLDING = r"(?:contains?|containing|with|includes?|including|of|has|have|and|or|\+|&)"
ONLY_OPENER = (
    r"\b(?:made (?:up )?(?:only )?(?:of|from)|composed (?:only )?of|consist(?:ing|s) (?:only )?of|"
    r"built from|only(?: contain(?:s|ing)?| with| of| from)?|contain(?:s|ing)? only|nothing but)\s+"
    r"(?:the elements\s+)?"
)


def structure_types(reader: Reader) -> None:
    """Types of structures, which no field can say, so that their names are no elements and no formulas."""
    names = "|".join(sorted((*element_names(), *SPELLINGS), key=len, reverse=True))
    anions = "|".join(sorted(ANIONS, key=len, reverse=True))
    compound = rf"(?:(?-i:[A-Z][a-z]?\d*(?:[A-Z][a-z]?\d*)+)|(?:{names})\s+{PREFIX}?(?:{anions}))"
    reader.ignore(r"\b(?:zinc[\s-]?blende|rock[\s-]?salt)(?:[\s-]+(?:structured?|type|lattice)\b)?")
    reader.ignore(rf"\b{compound}[\s-]+(?:structure[\s-]+)?(?:type|prototype)\b(?:[\s-]+structures?\b)?")
    place = r"\b(?:in|with|having|adopting)\s+(?:(?:the|an?)\s+)?"
    reader.ignore(rf"{place}{compound}[\s-]+structure\b")


def formula(reader: Reader) -> None:
    """A formula, or a chemical system such as Li-Fe-O, whose elements all occur and no others do.

    Raises:
        RequestError: two formulas.
    """
    symbol, place = r"[A-Z][a-z]?", 0
    system = re.compile(
        rf"\b{symbol}(?:\s*-\s*{symbol})+(?:\s+system)?\b(?![\s-]*(?:free|{WITH}|type|like)\b)"
    )
    while match := system.search(reader.rest, place):
        symbols = tuple(re.findall(symbol, match[0].replace("system", "")))
        place = match.end()
        if all(map(symbol_of, symbols)):
            reader.cut(match.start(), match.end())
            _exactly(reader, symbols)
            return
    word = r"(?<![\w-])\(?[A-Z][A-Za-z0-9().]*[A-Za-z0-9)](?![\w+-])(?!\s+(?:type|prototype)\b)"
    for found in re.findall(word, reader.rest):
        text = found if found.count("(") == found.count(")") else found.strip("()")
        capitals = len(re.findall(r"[A-Z]", text))
        if text in NO_FORMULA or not (re.search(r"\d", text) or capitals > 1):
            continue
        try:
            parsed = parse_formula(text)
        except RequestError:
            continue
        plain = rf"(?<![\w-]){re.escape(text)}(?![\w-])"
        named = rf"\bformula[\s:=]*(?:is\s+|of\s+)?{plain}"
        # B2, C15 and O3 are types of structures, and II is a numeral
        if len(parsed.unit) == 1 and not re.search(rf"{named}|^\W*{plain}\W*$", reader.rest):
            continue
        reader.take(rf"{named}|{plain}")
        reader.put("formula", text, f"formula {parsed.reduced_formula}")


def elements(reader: Reader) -> None:
    """Elements by symbol, by name or by the class of the compound, and the lists that were read before.

    Raises:
        RequestError: an element that is wanted and ruled out.
    """
    gone = reader.fields.get("exclude_elements", ())
    lists = [tuple(symbol for symbol in some if symbol not in gone) for some in dict.fromkeys(reader.lists)]
    if not all(lists):
        raise RequestError(
            f"The sentence asks for {in_words(reader.lists)[lists.index(())]} and rules all of them out; "
            "keep one of the two."
        )
    only = _only(reader)
    if only and lists:
        others = (symbol for some in lists for symbol in some)
        symbols = tuple(dict.fromkeys([*only, *others]))
        reader.put("elements", symbols, f"of {', '.join(symbols)} alone")
        reader.put("contain", only, f"with {', '.join(only)}")
    elif only:
        _exactly(reader, only)
    read = [*_holding(reader), *_named(reader), *_classes(reader), *reader.common]
    contain = tuple(dict.fromkeys(read))
    order = next(
        (n for name, n in ORDERS.items() if re.search(rf"\b{name}\b", reader.rest, re.IGNORECASE)), 0
    )
    if "formula" in reader.fields:
        held = {symbol for symbol, _ in parse_formula(reader.fields["formula"]).unit}
        reader.ignored += [f"{symbol} beside the formula" for symbol in contain if symbol not in held]
    elif "elements" in reader.fields:
        known = reader.fields["elements"]
        reader.ignored += [f"{symbol} beside {'-'.join(known)}" for symbol in contain if symbol not in known]
        held = set(known)
    else:
        held = set(contain)
        if contain and len(contain) == order:
            reader.take(rf"\b{next(name for name, n in ORDERS.items() if n == order)}\b")
            _exactly(reader, contain)
        elif contain:
            reader.put("contain", contain, f"with {', '.join(contain)}")
    _put_lists(reader, lists, held)
    if both := sorted(held & set(reader.fields.get("exclude_elements", ())), key=atomic_number_of):
        raise RequestError(f"The sentence asks for {', '.join(both)} and rules it out; keep one of the two.")


def _exactly(reader: Reader, symbols: tuple[str, ...]) -> None:
    reader.put("elements", symbols, f"of {', '.join(symbols)} alone")
    reader.fields["contain"] = symbols


def _put_lists(reader: Reader, lists: list[tuple[str, ...]], held: set[str]) -> None:
    """The lists of alternatives, but for those that a formula or a chemical system rules out or meets."""
    exact = "formula" in reader.fields or "elements" in reader.fields
    given = "the formula" if "formula" in reader.fields else "-".join(reader.fields.get("elements", ()))
    possible = [some for some in lists if not exact or held & set(some)]
    reader.ignored += [
        f"{words} beside {given}" for words in in_words([s for s in lists if s not in possible])
    ]
    if possible and "formula" not in reader.fields:
        words = " and ".join(f"at least one of {', '.join(some)}" for some in possible)
        reader.put("any_of", tuple(possible), f"with {words}")


def _only(reader: Reader) -> tuple[str, ...]:
    """The elements of "made of Li and O", "only Li and O" or "Li and O only"."""
    word = r"([A-Za-z]+)\b"
    joint = r"\s*(?:(?:,|and|&|\+)\s*)*"
    if begun := re.search(ONLY_OPENER, reader.rest, flags=re.IGNORECASE):
        symbols, end = [], begun.end()
        while match := re.compile(joint + word).match(reader.rest, end):
            if not (symbol := symbol_of(match[1])):
                break
            symbols.append(symbol)
            end = match.end()
        if symbols:
            reader.cut(begun.start(), end)
            return tuple(dict.fromkeys(symbols))
    trailing = r"\b([A-Za-z]+(?:(?:\s*,\s*|\s+)(?:(?:and|&|\+)\s+)?[A-Za-z]+)+)\s+(?:only|alone)\b"
    for match in re.finditer(trailing, reader.rest):
        names = [name for name in re.findall(r"[A-Za-z]+", match[1]) if name != "and"]
        while names and not symbol_of(names[0]):  # words before the list
            names.pop(0)
        found = [symbol for name in names if (symbol := symbol_of(name))]
        if len(found) > 1 and len(found) == len(names):
            reader.cut(match.start() + match[0].index(names[0]), match.end())
            return tuple(dict.fromkeys(found))
    return ()


def _holding(reader: Reader) -> list[str]:
    """The elements of "Li-containing" and "tin-based"."""
    pattern = re.compile(rf"\b((?:[A-Za-z]+-?\s*(?:,|and)\s*)*)([A-Za-z]+)[\s-](?:{WITH})\b")

    def read(match: re.Match[str]) -> tuple[list[str], int, int]:
        earlier = re.findall(r"([A-Za-z]+)-", match[1])
        found = [symbol for word in (*earlier, match[2]) if (symbol := symbol_of(word))]
        start = match.start() if earlier else match.start(2)
        return found if symbol_of(match[2]) else [], start, match.end()

    return reader.gather(pattern, read)


def _named(reader: Reader) -> list[str]:
    """Elements by name or symbol in the rest; a word such as "In" counts only in a list of others."""
    symbols: list[str] = []
    text = reader.rest
    for match in re.finditer(r"(?<![\w-])[A-Za-z]+(?![\w-])(?!\s+(?:type|prototype)\b)", text):
        word = match[0]
        symbol = symbol_of(word)
        if symbol is None or (word in DOUBTFUL and not _is_listed(text, match)):
            continue
        if word == "lead" and re.match(r"\s+to\b", text[match.end() :]):
            continue
        symbols.append(symbol)
        reader.take(rf"(?<![\w-])(?-i:{word})(?![\w-])")
    return symbols


def _is_listed(text: str, match: re.Match[str]) -> bool:
    """Whether a word stands beside an element, or behind a word such as "with"."""
    before, after = text[: match.start()], text[match.end() :]
    if re.search(rf"(?:^|\W){HOLDING}\s+$", before, re.IGNORECASE):
        return True
    last = re.search(r"([A-Za-z]+)\s*,?\s*$", before)
    following = re.match(r"\s*(?:,|and\b|&|\+)\s*([A-Za-z]+)", after)
    others = [found[1] for found in (last, following) if found and found[1] not in DOUBTFUL]
    return any(map(symbol_of, others))


def _classes(reader: Reader) -> list[str]:
    """The elements of oxides, nitrides and the like."""

    def read(match: re.Match[str]) -> tuple[tuple[str, ...], int, int]:
        return symbols_of(match) if match["anion"] else (), match.start(), match.end()

    return reader.gather(item_pattern(), read)
