"""Numbers of a sentence that are properties: band gap, energies and density, with their units."""

from __future__ import annotations

import re

from crystal_core.errors import RequestError
from crystal_core.properties import shortest
from crystal_core.workflows.sentence.reader import Reader
from crystal_core.workflows.sentence.vocabulary import NUMBERS

METASTABLE = 0.05  # eV/atom, the middle of what counts as metastable
NUMBER = r"(-?(?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?)(?!\d|\s*/\s*\d)"
UNSIGNED = r"(?<![\w./])((?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?)"
# a number in front of its property: "-1.2 eV/atom", but no hyphen between words
SIGNED = r"(?<![\w./-])(-?(?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?)"
SECOND = r"(-?(?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?)"  # behind "to" or a hyphen
LIMIT = (
    r"(?:\bnot? )?(?:below|under|above|over|beyond|exceeding|within|at most|at least|up to|"
    r"(?:less|lower|smaller|narrower|more|larger|greater|bigger|higher|wider) than)|"
    r"max(?:imum)?\.?|min(?:imum)?\.?|[<>≤≥]=?"
)
LINK = (
    rf"((?:[\s:=~≈]|{LIMIT}|value|of|is|at|near|nearly|around|about|roughly|approximately|approx\.?|"
    r"close to|equal to|exactly|in the range|range|between|from|should|be|by|an?|the)*)"
)
NEEDED_UNIT = (
    r"(?:\s*-?\s*(meV|eV|Ry|Ha|hartrees?|kJ(?:\s*/\s*mol|\s*mol-1)?|kcal(?:\s*/\s*mol|\s*mol-1)?|nm)\b)"
    r"(?:\s*(?:/|per\b|(?=atom-1))\s*(atom|f\.?u\.?|formula(?:\s+unit)?|(?:unit\s+)?cell|mol)\b(?:-1)?)?"
)
UNIT = f"(?:{NEEDED_UNIT})?"
SPREAD = r"(?:\s*(?:±|\+/-)\s*\d+(?:\.\d+)?)?"
OR_MORE = r"(\s+or\s+(?:less|lower|smaller|below|more|higher|larger|above)\b)?"
TO = r"\s*(?:to|and|-|\.\.\.?)\s*"
ELECTRONVOLTS = {"mev": 1e-3, "ev": 1.0, "ry": 13.605693, "ha": 27.211386, "hartree": 27.211386}

GAP = r"\b(?:(?:band[\s-]*)?gap(?:\s+energy|\s+width)?\b|(?-i:E_?g)\b)"
FORMATION = (
    r"(?:\bformation\s+(?:energy|enthalpy)|\b(?:energy|enthalpy|heat)\s+of\s+formation|"
    r"(?-i:\bE_?f(?:orm)?\b|Δ_?f?H_?f?\b))(?:\s+per\s+atom)?"
)
BARE_HULL = r"(?:convex[\s-]+)?hull\b"
HULL = rf"(?:the\s+)?{BARE_HULL}"
ABOVE_HULL = (
    rf"(?:\benerg(?:y|ies)\s+above\s+{HULL}|\b(?:convex[\s-]+)?hull(?:\s+|-)(?:energy|energies|distance)\b|"
    rf"\bdistance\s+(?:to|from|above)\s+{HULL}|\be[\s_-]*above[\s_-]*hull\b|(?-i:Δ?[Ee]_?hull\b|\bE hull\b)|"
    rf"\babove\s+{HULL}|\b{BARE_HULL}(?=[^.;,]*\d\s*m?eV))(?:\s+per\s+atom)?"
)
# of names of groups of elements, of counts, and of other words that make no metal of a compound
OTHER_METALS = "".join(
    f"(?<!{word} )"
    for word in (
        *"heavy mixed alkali transition noble precious earth light".split(),
        *"several different many more various multiple other with of and or".split(),
        *NUMBERS,
        r"\d",
    )
)
DENSITY_UNIT = r"\s*(k?g)\s*(?:/|per|[.·]?)\s*(?:cm\^?-?3|cm³|cm⁻³|cc|ml|m\^?-?3|m³)"


FORMULA_UNIT = r"\bm?eV\b[^.;]*?(?:\bper\s+|/\s*)(?:formula[\s-]units?\b|f\.?\s?u\b)"


def surroundings(reader: Reader) -> None:
    """Temperatures and voltages, which no field can say, so that K, C and V are no elements of theirs.

    Raises:
        RequestError: an energy of a formula unit.
    """
    if re.search(FORMULA_UNIT, reader.rest, flags=re.IGNORECASE):
        raise RequestError("An energy is given per formula unit; write it in eV/atom.")
    degrees = r"(?:\d{2,}(?:\.\d+)?|\d+\.\d+)\s*(?-i:K|°\s*C|C)(?![\w-])"
    reader.ignore(rf"(?-i:\bT_?[cCN])\b(?:[\s=~≈]|{LIMIT}|of|is|near|about)*{degrees}")
    reader.ignore(rf"(?<![\w.-]){degrees}")
    volts = r"\d+\.\d+\s*(?-i:V)(?![\w-])|\d+\s*(?-i:V)\s+(?:anode|battery|cathode|versus|vs\b)"
    reader.ignore(rf"(?<![\w.-])(?:(?:above|at|below|near|over|than|to)\s+\d+\s*(?-i:V)(?![\w-])|{volts})")


def band_gap(reader: Reader) -> None:
    """Band gap in eV: a number, a range (its middle), or 0 for metals.

    Raises:
        RequestError: two gaps, or another unit.
    """
    reader.ignore(rf"\bnon-?zero\s+{GAP}|\bfinite\s+{GAP}")
    kind = rf"\b((?:in)?direct|wide|narrow|large|small)(?=[\s-]+(?:electronic\s+)?{GAP})"
    kinds = 0
    while match := reader.take(kind):
        reader.ignored.append(f"{match[1]} gap")
        kinds += 1
    _property(reader, "band_gap", "band gap", GAP, rf"[\s,-]*(?:electronic\s+|optical\s+)?{GAP}", "eV")
    for _ in range(kinds):  # without a number they are left
        reader.take(rf"[\s,-]*{GAP}")
    metal = (
        r"\b(?:metallic|semi-?metal(?:lic)?|gapless|zero[\s-]gap)\b|"
        rf"(?<![\w-]){OTHER_METALS}metals?\b"
        r"(?![\s-]+(?:\w+(?:ide|ate|ite)s?|free|organic|atoms?|ions?|cations?)\b)|"
        rf"\b(?:no|zero|without(?:\s+an?)?)\s+{GAP}"
    )
    while reader.take(metal):
        reader.put("band_gap", 0.0, "band gap 0 eV")


def formation_energy(reader: Reader) -> None:
    """Formation energy in eV/atom; raises as :func:`band_gap`."""
    _property(reader, "formation_energy", "formation energy", FORMATION, rf"\s*{FORMATION}", "eV/atom")


def stability(reader: Reader) -> None:
    """Energy above the hull in eV/atom, by number or by "stable" and "metastable".

    Raises:
        RequestError: two values, or another unit.
    """
    after = rf"\s*(?:above|of|from|over|to)\s+{HULL}"
    _property(reader, "e_above_hull", "energy above hull", ABOVE_HULL, after, "eV/atom")
    other = r"\b(?:dynamically|mechanically|thermally|chemically|kinetically|air|water)[\s-]+stable\b"
    reader.ignore(other)
    either = r"\b(?:meta-?stable(?:\s*(?:or|and|/)\s*stable)?|stable\s*(?:or|and|/)\s*meta-?stable)\b"
    said = "e_above_hull" in reader.fields  # by a number, which says more than these words
    for pattern, value in (
        (either, METASTABLE),
        (rf"\b(?:thermodynamically\s+)?stable\b|\bon\s+{HULL}", 0.0),
    ):
        while reader.take(pattern):
            if not said:
                reader.put("e_above_hull", value, f"energy above hull {shortest(value)} eV/atom")


def density(reader: Reader) -> None:
    """Density in g/cm³; raises RequestError for two of them."""
    while match := reader.take(rf"\bdensity{LINK}{NUMBER}{DENSITY_UNIT}") or reader.take(
        rf"(){UNSIGNED}{DENSITY_UNIT}\s+density"
    ):
        value = float(match[2]) / (1000 if match[3].lower() == "kg" else 1)
        reader.put("density", value, f"density {shortest(value)} g/cm³{_limit(match[1])}")


def _property(reader: Reader, name: str, words: str, named: str, after: str, unit: str) -> None:
    """Every value of a property, with its name before the number or, by ``after``, behind it."""
    before = r"((?:\b(?:between|from|within|by|at most|at least|less than|more than|up to|about)\s*)*)"
    ranges = (
        rf"{named}{LINK}{NUMBER}{UNIT}{TO}{NUMBER}{UNIT}",
        rf"{before}{SIGNED}{UNIT}{TO}{SECOND}{NEEDED_UNIT}{after}",
    )
    single = (
        rf"{named}{LINK}{NUMBER}{SPREAD}{UNIT}{OR_MORE}",
        rf"{before}{SIGNED}{SPREAD}{NEEDED_UNIT}{after}",
    )
    for pattern in ranges:
        while match := reader.take(pattern):
            # a unit behind one of two numbers is that of both
            low, high = sorted(
                (
                    _value(match[2], match[3] or match[6], match[4] or match[7], words, unit),
                    _value(match[5], match[6] or match[3], match[7] or match[4], words, unit),
                )
            )
            middle = round((low + high) / 2, 6)
            text = f"{words} {shortest(middle)} {unit}, the middle of {shortest(low)} to {shortest(high)}"
            reader.put(name, middle, text)
    for pattern in single:
        while match := reader.take(pattern):
            value = _value(match[2], match[3], match[4], words, unit)
            link = " ".join(filter(None, (match[1], *match.groups()[4:])))  # the rest is "or more"
            reader.put(name, value, f"{words} {shortest(value)} {unit}{_limit(link)}")


def _limit(link: str) -> str:
    """What the words say where a limit was asked for: the field holds a target."""
    limits = re.search(rf"{LIMIT}|\bor\b", link, flags=re.IGNORECASE)
    return " as the target, for the limit asked for" if limits else ""


def _value(number: str, unit: str | None, per: str | None, words: str, wanted: str) -> float:
    plain = re.sub(r"\s|/?mol(-1)?$|s$", "", (unit or "eV").lower()) if unit else "ev"
    if plain not in ELECTRONVOLTS or (per and (wanted == "eV" or per.lower() != "atom")):
        said = f"{unit or 'eV'}{f' per {per}' if per else ''}"
        raise RequestError(f"The {words} is given in {said}; write it in {wanted}.")
    return round(float(number) * ELECTRONVOLTS[plain], 6) + 0.0
