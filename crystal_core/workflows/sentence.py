"""From an English sentence to the fields of a generation by rules; reports unused words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from crystal_core.chemistry.formula import atomic_number_of, parse_formula
from crystal_core.conditions import SPACE_GROUPS
from crystal_core.errors import RequestError
from crystal_core.evaluation.symmetry import space_group_number, space_group_symbol
from crystal_core.properties import shortest

NUMBER = r"(-?\d+(?:\.\d+)?|-?\.\d+)"
ABOUT = (
    r"(?:\s|of|is|at|near|nearly|around|about|roughly|approximately|approx\.?|close to|equal to|exactly|"
    r"a|an|the|value|[=:~≈])*"
)
ELECTRONVOLTS = r"\s*-?(m?eV)(?:\s*(?:/|per)\s*atom)?"
METASTABLE = 0.05  # eV/atom, the middle of what counts as metastable
ANIONS = {
    "oxynitride": "O N",
    "hydroxide": "O H",
    "oxide": "O",
    "sulfide": "S",
    "sulphide": "S",
    "selenide": "Se",
    "telluride": "Te",
    "nitride": "N",
    "phosphide": "P",
    "arsenide": "As",
    "antimonide": "Sb",
    "carbide": "C",
    "boride": "B",
    "silicide": "Si",
    "fluoride": "F",
    "chloride": "Cl",
    "bromide": "Br",
    "iodide": "I",
    "hydride": "H",
    "phosphate": "P O",
    "sulfate": "S O",
    "sulphate": "S O",
    "carbonate": "C O",
    "nitrate": "N O",
    "silicate": "Si O",
    "titanate": "Ti O",
    "borate": "B O",
    "tungstate": "W O",
    "vanadate": "V O",
    "niobate": "Nb O",
    "zirconate": "Zr O",
    "aluminate": "Al O",
}
SPELLINGS = {"aluminium": "Al", "aluminum": "Al", "sulphur": "S", "caesium": "Cs", "cesium": "Cs"}
SYSTEMS = {**{name: name for name in SPACE_GROUPS}, "rhombohedral": "trigonal"}
NUMBERS = {
    word: i
    for i, word in enumerate(
        "one two three four five six seven eight nine ten eleven twelve".split(), start=1
    )
}
SILENT = set(
    "a an and any are as at be being by can comes composed compound compounds consisting contain "
    "containing contains crystal crystals do does for formula from generate give has have having i in is "
    "it its let like made make material materials me new of on or phase please should show some solid "
    "solids structure structures system that the there this to want we which whose will with would atom "
    "atoms cell per unit only element elements all both also no not without".split()
)


@dataclass(frozen=True, kw_only=True)
class Understood:
    """The meaning of a sentence.

    Attributes:
        fields: of :class:`crystal_core.requests.CrystalGenerationRequest`. words: the same, in words.
        ignored: words that no rule took.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def understand(sentence: str) -> Understood:
    """The fields that a sentence asks for.

    >>> meaning = understand("A stable oxide with a band gap near 2 eV, space group 225")
    >>> meaning.fields
    {'space_group': '225', 'band_gap': 2.0, 'e_above_hull': 0.0, 'contain': ('O',)}
    >>> "; ".join(meaning.words)
    'space group Fm-3m (225); band gap 2 eV; energy above hull 0 eV/atom; with O'

    Raises:
        RequestError: nothing in it was understood, or two parts of it contradict each other.
    """
    reader = _Reader(" ".join(sentence.split()))
    for rule in (
        _space_group,
        _crystal_system,
        _band_gap,
        _formation_energy,
        _stability,
        _density,
        _atoms,
        _count,
        _formula,
        _elements,
    ):
        rule(reader)
    ignored = tuple(word for word in re.findall(r"[\w.-]*\w", reader.rest) if word.lower() not in SILENT)
    if not reader.fields:
        raise RequestError(
            "Nothing in this sentence was understood. Write for instance: a stable oxide with a band gap "
            "near 2 eV, space group 225."
        )
    return Understood(fields=reader.fields, words=tuple(reader.words), ignored=ignored)


class _Reader:
    """The unread part of a sentence, and the fields read so far."""

    def __init__(self, text: str) -> None:
        self.rest = text
        self.fields: dict[str, Any] = {}
        self.words: list[str] = []

    def take(self, pattern: str) -> re.Match[str] | None:
        """Find a pattern and cut it out."""
        match = re.search(pattern, self.rest, flags=re.IGNORECASE)
        if match:
            self.rest = f"{self.rest[: match.start()]} , {self.rest[match.end() :]}"
        return match

    def put(self, name: str, value: Any, words: str) -> None:
        """Set a field.

        Raises:
            RequestError: it has another value already.
        """
        if self.fields.get(name, value) != value:
            raise RequestError(
                f"The sentence asks for two values of {name.replace('_', ' ')}; keep one of them."
            )
        self.fields[name] = value
        self.words.append(words)


def _space_group(reader: _Reader) -> None:
    pattern = (
        r"\bspace[\s-]*group"
        + ABOUT
        + r"(?:number|no\.?)?[\s:=#]*([A-Za-z0-9/_-]+(?:\s[-0-9/_a-z]*[0-9/][-0-9/_a-z]*)?)"
    )
    match = re.search(pattern, reader.rest, flags=re.IGNORECASE)
    for words in [match[1], match[1].split()[0]] if match else []:
        try:
            number = space_group_number(words)
        except RequestError:
            continue
        reader.take(re.escape(match[0][: match[0].rindex(match[1])] + words) if match else "")
        reader.put("space_group", str(number), f"space group {space_group_symbol(number)} ({number})")
        return
    if match:
        raise RequestError(
            f"There is no space group '{match[1].split()[0]}'; give a number from 1 to 230 or a symbol."
        )
    # a symbol alone: a letter of the lattice and a sign that no word or formula has
    for word in re.findall(r"\b[PIFCAR][-\d/_a-z]+\b", reader.rest):
        if re.search(r"-\d|/m|/[abcnd]|^P[nmcab]{3}$|^[CIF]m{2,3}[am]?$|^[IPRF]\d", word) and _is_group(word):
            number = space_group_number(word)
            reader.take(rf"\b{re.escape(word)}(?!\w)")
            reader.put("space_group", str(number), f"space group {space_group_symbol(number)} ({number})")
            return


def _is_group(word: str) -> bool:
    try:
        return bool(space_group_number(word))
    except RequestError:
        return False


def _crystal_system(reader: _Reader) -> None:
    match = reader.take(rf"\b({'|'.join(SYSTEMS)})\b")
    if match and "space_group" not in reader.fields:
        system = SYSTEMS[match[1].lower()]
        reader.put("crystal_system", system, f"crystal system {system}")


def _value(number: str, unit: str | None) -> float:
    return float(number) / (1000 if unit and unit.lower().startswith("m") else 1)


def _band_gap(reader: _Reader) -> None:
    gap = r"\b(?:electronic |optical )?(?:band[\s-]*)?gap\b"
    between = reader.take(
        rf"{gap}{ABOUT}(?:between|from|in the range)?{ABOUT}"
        rf"{NUMBER}\s*(?:m?eV)?\s*(?:and|to|-|–)\s*{NUMBER}{ELECTRONVOLTS}"
    )
    if between:
        low, high = (_value(between[i], between[3]) for i in (1, 2))
        reader.put(
            "band_gap",
            (low + high) / 2,
            f"band gap {(low + high) / 2:g} eV, the middle of {low:g} to {high:g}",
        )
        return
    match = reader.take(rf"{gap}{ABOUT}{NUMBER}(?:{ELECTRONVOLTS})?") or reader.take(
        rf"{NUMBER}{ELECTRONVOLTS}\s+{gap}"
    )
    if match:
        value = _value(match[1], match[2])
        reader.put("band_gap", value, f"band gap {value:g} eV")
    elif reader.take(rf"\b(?:metallic|metal(?!\s+\w+(?:ide|ate))|(?:no|zero|without(?: a)?)\s+{gap[2:]})"):
        reader.put("band_gap", 0.0, "band gap 0 eV")


def _formation_energy(reader: _Reader) -> None:
    match = reader.take(
        rf"\bformation\s+(?:energy|enthalpy)(?:\s+per\s+atom)?{ABOUT}{NUMBER}(?:{ELECTRONVOLTS})?"
    )
    if match:
        value = _value(match[1], match[2])
        reader.put("formation_energy", value, f"formation energy {shortest(value)} eV/atom")


def _stability(reader: _Reader) -> None:
    hull = r"(?:the\s+)?(?:convex\s+)?hull"
    match = reader.take(
        rf"\benerg(?:y|ies)\s+above\s+{hull}{ABOUT}{NUMBER}(?:{ELECTRONVOLTS})?"
    ) or reader.take(
        rf"(?:\bwithin\b|\bat most\b|\bless than\b|\bup to\b)?{ABOUT}{NUMBER}{ELECTRONVOLTS}"
        rf"\s*(?:above|of|from|over)\s+{hull}"
    )
    if match:
        value = _value(match[1], match[2])
    elif reader.take(r"\bmeta-?stable\b"):
        value = METASTABLE
    elif reader.take(rf"\b(?:thermodynamically\s+)?stable\b|\bon\s+{hull}"):
        value = 0.0
    else:
        return
    reader.put("e_above_hull", value, f"energy above hull {shortest(value)} eV/atom")


def _density(reader: _Reader) -> None:
    match = reader.take(rf"\bdensity{ABOUT}{NUMBER}\s*g\s*(?:/|per)\s*(?:cm\^?3|cm³|cc|ml)")
    if match:
        reader.put("density", float(match[1]), f"density {float(match[1]):g} g/cm³")


def _atoms(reader: _Reader) -> None:
    atoms = r"\s*-?\s*atoms?\b(?:\s*(?:per|in the|in a|in each)?\s*(?:primitive\s+)?(?:unit\s+)?cells?)?"
    number = rf"(\d+|{'|'.join(NUMBERS)})"
    between = reader.take(rf"\b(?:between\s+|from\s+)?{number}\s*(?:to|and|-|–)\s*{number}{atoms}")
    if between:
        low, high = sorted(map(_whole, (between[1], between[2])))
    elif match := reader.take(
        rf"\b(?:at most|up to|no more than|not more than|max(?:imum)?(?: of)?)\s+{number}{atoms}"
    ):
        low, high = 1, _whole(match[1])
    elif match := reader.take(rf"\b(?:fewer|less) than\s+{number}{atoms}"):
        low, high = 1, _whole(match[1]) - 1
    elif match := reader.take(rf"\b{number}{atoms}"):
        low = high = _whole(match[1])
    else:
        return
    reader.put("n_atoms", (low, high), f"{low} atoms" if low == high else f"{low} to {high} atoms")


def _whole(word: str) -> int:
    return NUMBERS.get(word.lower()) or int(word)


def _count(reader: _Reader) -> None:
    number = rf"(\d+|{'|'.join(NUMBERS)})"
    kinds = "|".join(
        [
            "crystals",
            "structures",
            "candidates",
            "materials",
            "compounds",
            "samples",
            *(f"{a}s" for a in ANIONS),
        ]
    )
    if match := reader.take(rf"\b{number}(?=[\s,]+(?:[\w-]+[\s,]+){{0,3}}?(?:{kinds})\b)"):
        reader.put("n", _whole(match[1]), f"{_whole(match[1])} crystals")


def _formula(reader: _Reader) -> None:
    system = reader.take(r"\b(?:[A-Z][a-z]?)(?:\s*[-–]\s*(?:[A-Z][a-z]?))+(?:\s+system)?\b(?!-?free)")
    if system:
        symbols = tuple(re.findall(r"[A-Z][a-z]?", system[0].replace("system", "")))
        if all(_symbol_of(symbol) for symbol in symbols):
            _exactly(reader, symbols)
            return
        reader.rest = f"{reader.rest} {system[0]}"
    for word in re.findall(r"(?<![\w-])[A-Z][A-Za-z0-9()₀-₉.]*[A-Za-z0-9)₀-₉](?![\w-])", reader.rest):
        if not (re.search(r"[0-9₀-₉]", word) or len(re.findall(r"[A-Z]", word)) > 1):
            continue
        try:
            formula = parse_formula(word)
        except RequestError:
            continue
        reader.take(rf"(?:\bformula{ABOUT})?(?<![\w-]){re.escape(word)}(?![\w-])")
        reader.put("formula", word, f"formula {formula.reduced_formula}")
        return


def _elements(reader: _Reader) -> None:
    gone: list[str] = _listed(
        reader, r"\b(?:without|excluding|free of|but no|and no|with no|no)\s+(?:any\s+)?"
    )
    while match := reader.take(r"\b([A-Za-z]+)[\s-]free\b"):
        if symbol := _symbol_of(match[1]):
            gone.append(symbol)
    only = _listed(
        reader,
        r"\b(?:made (?:up )?(?:only )?(?:of|from)|composed (?:only )?of|"
        r"consisting (?:only )?of|consists (?:only )?of|built from|only|nothing but)\s+(?:the elements\s+)?",
    )
    if only:
        _exactly(reader, tuple(dict.fromkeys(only)))
    contain: list[str] = []
    for name, held in ANIONS.items():
        if reader.take(rf"\b{name}s?\b"):
            contain += held.split()
    contain = [*_words(reader), *contain]
    if contain and "formula" not in reader.fields and "elements" not in reader.fields:
        all_ = tuple(dict.fromkeys(contain))
        reader.put("contain", all_, f"with {', '.join(all_)}")
    if gone:
        none = tuple(dict.fromkeys(gone))
        reader.put("exclude_elements", none, f"without {', '.join(none)}")


def _exactly(reader: _Reader, symbols: tuple[str, ...]) -> None:
    reader.put("elements", symbols, f"of {', '.join(symbols)} alone")
    reader.fields["contain"] = symbols


def _listed(reader: _Reader, opener: str) -> list[str]:
    """The elements of a list behind some words; the words stay where no element follows."""
    symbols: list[str] = []
    begun = re.search(opener, reader.rest, flags=re.IGNORECASE)
    if not begun:
        return symbols
    end = begun.end()
    while match := re.compile(r"(?:\s*(?:,|and|or|nor|&|\+)\s*)*([A-Za-z]+)\b").match(reader.rest, end):
        symbol = _symbol_of(match[1])
        if not symbol:
            break
        symbols.append(symbol)
        end = match.end()
    if symbols:
        reader.rest = f"{reader.rest[: begun.start()]} , {reader.rest[end:]}"
    return symbols


def _words(reader: _Reader) -> list[str]:
    """Elements by name or symbol in the rest; an English word such as "in" counts only beside others."""
    symbols = []
    for word in re.findall(r"(?<![\w-])[A-Za-z]+(?![\w-])", reader.rest):
        symbol = _symbol_of(word)
        doubtful = (
            word in ("As", "At", "He", "I", "In", "No", "Be", "Am", "lead", "tin") and word[0].isupper()
        )
        if symbol and not doubtful:
            symbols.append(symbol)
            reader.take(rf"(?<![\w-]){word}(?![\w-])")
    return symbols


def _symbol_of(word: str) -> str | None:
    """The symbol that a word is or names; symbols need their capital, so "in" and "as" stay words."""
    from pymatgen.core import Element

    if word[:1].islower() and len(word) <= 2:
        return None
    if word.lower() in SPELLINGS:
        return SPELLINGS[word.lower()]
    if len(word) <= 2:
        try:
            return Element.from_Z(atomic_number_of(word)).symbol if word[0].isupper() else None
        except RequestError:
            return None
    return next((e.symbol for e in Element if e.long_name.lower() == word.lower()), None)
