"""Formulas as typed: counts, molar mass, charge balance, and the usual numbers of formula units per cell."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from math import gcd

from crystal_core.chemistry.charges import charge_hint
from crystal_core.chemistry.elements import periodic_table
from crystal_core.chemistry.formula_markup import DOTS, SUBSCRIPTS, without_markup
from crystal_core.chemistry.formula_slips import (
    capitals,
    isotope_or_count,
    not_one_composition,
    zero_for_letter,
)
from crystal_core.chemistry.training_counts import RARE, element_counts, z_counts
from crystal_core.chemistry.whole_atoms import in_whole_atoms
from crystal_core.errors import RequestError

MAX_LENGTH, MAX_COUNT, MAX_DEPTH = 200, 1000, 5
TOKEN = re.compile(r"([A-Z][a-z]?)(\d*)|([(\[])|([)\]])(\d*)")
CLOSING = {"(": ")", "[": "]"}
# CuSO4.5H2O or CuSO4,5H2O: the mark of a hydrate, but not the decimal point of Na0.5H2O or NaF·1.5H2O
HYDRATE = re.compile(r"(?<![^\d]0)(?<!^0)(?<!·\d)(?:\.|,(?=\d))(?=\d*[HD]2O(?:[·•∙*.]|$))", re.IGNORECASE)
# CuSO4 5H2O: a number before an element or bracket begins a new part
PART = re.compile(r"(?<=\S)\s+(?=\d+[A-Za-z(\[])|(?<=\d)\s+(?=\d+\s+[HD]2O\b)")
BLANK_BEFORE_COUNT = re.compile(r"(?<=[\w)\]])[A-Z][a-z]?\s+\d+(?:\s|$)")  # TiO 2, but also NaCl 225
BRACES = str.maketrans("{}", "()")
DOT_BEFORE_NUMBER = re.compile(r"(?<=[A-Za-z)\]])\.(?=\d)")
LEADING_ZERO = re.compile(r"(?<!\d)0(?=\d)|(?<=[(\[])0")
BRITISH = {"aluminium": "aluminum", "caesium": "cesium", "sulphur": "sulfur"}
DEUTERIUM = 2.014  # g/mol
MAX_RESPELT = 40  # characters of a formula that is corrected
MAX_SPELLINGS = 60  # ways to correct it that are compared


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A parsed formula.

    Attributes:
        counts: (symbol, count) as typed. unit: the same over their greatest common divisor: one formula unit.
        molar_mass: g/mol of one formula unit. hint: charge balance in words.
        note: how the text is read where it might be read otherwise, as sentences; often empty.
    """

    text: str
    counts: tuple[tuple[str, int], ...]
    unit: tuple[tuple[str, int], ...]
    molar_mass: float
    hint: str
    note: str = ""

    @property
    def reduced_formula(self) -> str:
        """One formula unit, elements as typed."""
        return "".join(f"{s}{n if n > 1 else ''}" for s, n in self.unit)

    @property
    def n_atoms(self) -> int:
        """Atoms of one formula unit."""
        return sum(n for _, n in self.unit)

    def atomic_numbers_of(self, z: int, *, exact: bool = False) -> list[int]:
        """Proton numbers of a cell of ``z`` formula units (``exact``: of what was typed), sorted."""
        numbers = periodic_table()
        chosen = self.counts if exact else tuple((s, z * n) for s, n in self.unit)
        return sorted(numbers[s].number for s, n in chosen for _ in range(n))


@lru_cache(maxsize=1000)
def parse_formula(text: str) -> Formula:
    """Element symbols with whole counts, brackets, hydrates with a dot, subscript digits.

    Raises:
        RequestError: anything else, with what is wrong and what to write.
    """
    if len(text) > MAX_LENGTH:
        raise RequestError(f"The formula is longer than {MAX_LENGTH} characters; write e.g. TiO2.")
    spaced = PART.sub("·", without_markup(text))
    if re.search(r"\d\s+\d", spaced):
        raise RequestError(
            f"'{shortened(text)}' has a blank between two numbers. "
            "Write CuSO4·5H2O for a hydrate, or counts without blanks."
        )
    plain = HYDRATE.sub("·", re.sub(r"\s+", "", spaced))
    if not plain:
        raise RequestError("Type a formula, e.g. TiO2.")
    if reason := not_one_composition(spaced):
        raise RequestError(f"'{shortened(text)}' {reason}")
    if re.search(r"\d[.,]\d", plain):
        raise RequestError(
            f"'{shortened(text)}' has fractional counts; a unit cell holds whole atoms. "
            + (f"Use {whole}." if (whole := in_whole_atoms(plain)) else "Multiply it until all are whole.")
        )
    if DOT_BEFORE_NUMBER.search(plain):
        fraction, parts = (DOT_BEFORE_NUMBER.sub(dot, plain) for dot in ("0.", "·"))
        raise RequestError(
            f"'{shortened(text)}' has a dot before a number. Write {shortened(fraction)} for a fraction, or "
            f"{shortened(parts)} for two parts."
        )
    plain = plain.translate(BRACES)
    if LEADING_ZERO.search(plain):
        raise RequestError(
            f"'{shortened(text)}' has a count that begins with the digit zero; {_with_letter(plain)}"
        )
    try:
        counts = _counted(plain, text)
    except _UnknownSymbolError as error:
        raise RequestError(_unknown(error.symbol, plain, text)) from None
    n_heavy = counts.get("D", 0)
    counts = _with_light_hydrogen(counts)
    divisor = gcd(*counts.values())
    unit = tuple((s, n // divisor) for s, n in counts.items())
    elements = periodic_table()
    mass = sum(elements[s].mass * n for s, n in unit)
    doubtful = ("·" in plain and "·" not in text.translate(DOTS)) or bool(
        BLANK_BEFORE_COUNT.search(text.strip())
    )
    notes = [f"'{shortened(text)}' is read as {shortened(plain)}."] if doubtful else []
    notes += isotope_or_count(plain, counts, _counted_or_none) or zero_for_letter(
        plain, counts, _counted_or_none
    )
    notes += capitals(plain, counts, _in_right_case, _counted_or_none)
    if n_heavy:
        mass += (DEUTERIUM - elements["H"].mass) * n_heavy / divisor
        notes.append("D is deuterium: the molar mass is its own, and models treat it as hydrogen.")
    return Formula(
        text=text.strip(),
        counts=tuple(counts.items()),
        unit=unit,
        molar_mass=round(mass, 3),
        hint=charge_hint(unit),
        note=" ".join(notes),
    )


def computed_formula(text: str, *, exact: bool = False) -> str:
    """The computed formula: one formula unit (``exact``: the counts of the text), deuterium as hydrogen.

    What is no formula comes back as it is.

    >>> computed_formula("Ti2O4"), computed_formula("Ti2O4", exact=True), computed_formula("CuSO4 5H2O")
    ('TiO2', 'Ti2O4', 'CuSO9H10')
    """
    try:
        formula = parse_formula(text)
    except RequestError:
        return text.strip()
    return "".join(f"{s}{n if n > 1 else ''}" for s, n in (formula.counts if exact else formula.unit))


def typed_and_computed(text: str, *, exact: bool = False) -> str:
    """The computed formula, followed in brackets by the typed one if it differs.

    >>> typed_and_computed(" TiO2"), typed_and_computed("D2O")
    ('TiO2', 'H2O (typed: D2O)')
    """
    typed, computed = text.strip(), computed_formula(text, exact=exact)
    return computed if typed.translate(SUBSCRIPTS) == computed else f"{computed} (typed: {typed})"


def _with_light_hydrogen(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts with deuterium added to hydrogen, at the place of whichever comes first."""
    merged: dict[str, int] = {}
    for symbol, n in counts.items():
        name = "H" if symbol == "D" else symbol
        merged[name] = merged.get(name, 0) + n
    return merged


def _counted(plain: str, text: str) -> dict[str, int]:
    """Atoms of each element; ``text`` is what was typed, for the refusals."""
    counts: dict[str, int] = {}
    for part in re.split(r"[·.]", plain):
        lead = re.match(r"\d*", part)
        factor = int(lead.group()) if lead and lead.group() else 1
        part_counts = _parse_part(part[lead.end() if lead else 0 :], text)
        if not part_counts:
            raise RequestError(
                f"'{shortened(text)}' holds no atoms in one of its parts. Write element symbols and counts, "
                "e.g. NaCl or CuSO4·5H2O."
            )
        for symbol, n in part_counts.items():
            counts[symbol] = counts.get(symbol, 0) + factor * n
    missing = [symbol for symbol, n in counts.items() if not n]
    if missing:
        letter = re.sub(r"(?<=[A-Za-z])0(?!\d)", "O", plain)
        tip = f", or {shortened(letter)} if the letter O was meant" if letter != plain else ""
        raise RequestError(
            f"'{shortened(text)}' counts no atoms of {', '.join(missing)}. "
            f"Leave the element out or write how many there are{tip}."
        )
    if max(counts.values()) > MAX_COUNT:
        raise RequestError(
            f"'{shortened(text)}' has more than {MAX_COUNT} atoms of one element; write one formula unit."
        )
    return counts


def atomic_number_of(symbol: str) -> int:
    """The proton number of an element symbol.

    Raises:
        RequestError: there is no such element.
    """
    element = periodic_table().get(symbol.strip())
    if element is None and symbol.strip() in ("D", "T"):
        raise RequestError(f"{symbol.strip()} is an isotope, which models treat as hydrogen. Write H for it.")
    if element is None:
        raise RequestError(
            f"'{shortened(symbol)}' is not an element.{_nearest(symbol)} Write symbols such as Li or O."
        )
    return element.number


def parse_elements(text: str) -> tuple[str, ...]:
    """The element symbols of ``Li-Fe-O``, ``Li, Fe, O`` or ``LiFeO``, each once and in order.

    Raises:
        RequestError: a part is no element, or carries a number.

    >>> parse_elements("Li-Fe–O, Fe")
    ('Li', 'Fe', 'O')
    """
    elements: list[str] = []
    for part in re.split(r"[\s,;/+–—-]+", text):
        if any(c.isdigit() for c in part.translate(SUBSCRIPTS)):
            raise RequestError(
                f"'{shortened(part)}' holds numbers; only elements are named here, e.g. Li-Fe-O. "
                "For a formula there is structure prediction."
            )
        together = re.findall(r"[A-Z][a-z]?", part)
        symbols = together if "".join(together) == part and part not in periodic_table() else [part]
        for symbol in filter(None, symbols):
            atomic_number_of(symbol)
            elements.append(symbol)
    return tuple(dict.fromkeys(elements))


def default_z(
    formula: Formula, max_atoms: int = 20, at_most: int = 3, *, atom_counts: Collection[int] | None = None
) -> tuple[int, ...]:
    """The most frequent formula units per cell for this stoichiometry in training, up to ``max_atoms`` atoms.

    Args:
        atom_counts: the sizes of cell that a model is confined to, which then give all its formula units;
            None or empty for no such bound.
    """
    if atom_counts:
        return tuple(n // formula.n_atoms for n in atom_counts if n % formula.n_atoms == 0)
    if len(formula.unit) == 1:
        return (1, 2, 4)[:at_most]  # the many known forms of a few elements would hide bcc, hcp and fcc
    key = "-".join(map(str, sorted(n for _, n in formula.unit)))
    seen = {int(z): n for z, n in z_counts().get(key, {}).items()}
    fitting = [z for z in seen if z * formula.n_atoms <= max_atoms]
    if fitting:
        return tuple(sorted(sorted(fitting, key=lambda z: -seen[z])[:at_most]))
    return tuple(z for z in (1, 2, 4) if z * formula.n_atoms <= max_atoms)[:at_most] or (1,)


def _parse_part(part: str, text: str) -> dict[str, int]:
    stack: list[dict[str, int]] = [{}]
    opened: list[str] = []
    position = 0
    while position < len(part):
        match = TOKEN.match(part, position)
        if match is None:
            raise _UnknownSymbolError(part[position : position + 2])
        symbol, count, opening, closing, times = match.groups()
        if symbol:
            if symbol not in periodic_table() and symbol != "D":
                raise _UnknownSymbolError(symbol)
            stack[-1][symbol] = stack[-1].get(symbol, 0) + (int(count) if count else 1)
        elif opening:
            stack.append({})
            opened.append(opening)
            if len(stack) > MAX_DEPTH:
                raise RequestError(f"'{shortened(text)}' nests brackets too deeply.")
        elif closing:
            if len(stack) == 1:
                raise RequestError(f"'{shortened(text)}' closes a bracket that was never opened.")
            if closing != CLOSING[opened.pop()]:
                raise RequestError(
                    f"'{shortened(text)}' closes a round bracket with a square one or the "
                    "reverse. Write both alike."
                )
            inner = stack.pop()
            for name, n in inner.items():
                stack[-1][name] = stack[-1].get(name, 0) + n * (int(times) if times else 1)
        position = match.end()
    if len(stack) > 1:
        raise RequestError(f"'{shortened(text)}' has an open bracket without its end.")
    return stack[0]


class _UnknownSymbolError(RequestError):
    def __init__(self, symbol: str) -> None:
        super().__init__(symbol)
        self.symbol = symbol


def _unknown(symbol: str, plain: str, text: str) -> str:
    spelt = "" if _named(plain) else _in_right_case(plain)
    if symbol.startswith("T") and not spelt and _counted_or_none(plain.replace("T", "H")):
        return f"'{shortened(text)}' names tritium (T), which models treat as hydrogen. Write H for it."
    tip = f" Did you mean {spelt}?" if spelt else _nearest(plain if _named(plain) else symbol)
    return (
        f"Formula '{shortened(text)}' has an unknown symbol '{shortened(symbol)}'.{tip} Write element "
        "symbols and counts, e.g. NaCl."
    )


def _named(name: str) -> str:
    """The symbol of an element's English name, in either spelling; empty for another word."""
    lowered = name.strip().lower()
    return next((e.symbol for e in periodic_table().values() if e.name == BRITISH.get(lowered, lowered)), "")


def _nearest(symbol: str) -> str:
    """The question whether another symbol was meant; empty if no symbol is similar."""
    word = symbol.strip()
    names = {e.name: e.symbol for e in periodic_table().values()} if len(word) > 3 else {}
    near = get_close_matches(word.lower(), list(names), n=1) or get_close_matches(
        word.capitalize(), list(periodic_table()), n=1, cutoff=0.4
    )
    suggestion = _named(word) or (names.get(near[0], near[0]) if near else "")
    return f" Did you mean {suggestion}?" if suggestion else ""


def _with_letter(plain: str) -> str:
    """The rest of a sentence on a count such as 04: the formula with the letter O instead, if it is one."""
    spelt = LEADING_ZERO.sub("O", plain)
    if LEADING_ZERO.search(spelt) or not _counted_or_none(spelt):
        return "write counts without it, and oxygen with the letter O."
    return f"was the letter O meant, as in {spelt}?"


def _in_right_case(plain: str) -> str:
    """TiO2 for TIO2: the formula of the fewest and commonest elements in another case; or empty."""
    # not by charge balance: alloys have none, and cshg is CsHg rather than the balanced CSHg
    ranks = {
        spelt: (sum(_crystals_with(s) < RARE for s in counts), len(counts))
        for spelt in _spellings(plain.lower() if len(plain) <= MAX_RESPELT else "")
        if (counts := _counted_or_none(spelt))
    }
    return min(ranks, key=lambda spelt: ranks[spelt], default="")


@lru_cache(maxsize=MAX_RESPELT)
def _spellings(letters: str) -> tuple[str, ...]:
    """At most MAX_SPELLINGS readings of lower-case letters as element symbols, digits, brackets and dots."""
    if not letters:
        return ("",)
    heads = {letters[:length].capitalize(): None for length in (2, 1)}  # a dict keeps the order
    known = [head for head in heads if head in periodic_table() or head in {*"0123456789()[]·"}]
    return tuple(head + rest for head in known for rest in _spellings(letters[len(head) :]))[:MAX_SPELLINGS]


def _counted_or_none(spelt: str) -> dict[str, int] | None:
    """The atoms of a spelling; None if it is no formula or longer than a mistake that is worth correcting."""
    try:
        return _counted(spelt, spelt) if len(spelt) <= MAX_RESPELT else None
    except RequestError:
        return None


def shortened(text: str) -> str:
    """What was typed, for a message: its first 60 characters, with ? for each that does not print."""
    return "".join(c if c.isprintable() else "?" for c in text.strip()[:60])


def rare_elements(formula: Formula, fewer_than: int = RARE) -> dict[str, int]:
    """Elements of the formula that are rare in training, with their counts: predictions are weak there."""
    return {s: n for s, _ in formula.unit if (n := _crystals_with(s)) < fewer_than}


def _crystals_with(symbol: str) -> int:
    """The number of training crystals that hold an element."""
    return element_counts().get(str(periodic_table()[symbol].number), 0)
