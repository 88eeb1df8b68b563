"""Formulas that may mean something else: no single composition (α-Fe2O3, Mg1-xFexO), a zero, an isotope."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from crystal_core.chemistry.charges import balance_of
from crystal_core.chemistry.elements import periodic_table

SIGNS = "+\\-−‐‑–—±"  # in a set of characters; people write every dash as a minus
# without brackets, VI may be vanadium and iodine (CsVI3), but nobody writes two iodines side by side
_ROMAN = re.compile(r"(?<=[A-Za-z\d])\^?[({](I{1,3}|IV|VI{0,3})[)}]|(?<=[A-Za-z])(?<!I)(I{2,3}|IV)(?![a-z])")
# Ramsdell's symbols of stackings: 4H-SiC, 3R MoS2, SiC (6H)
_STACKING = r"(3C|\d{1,3}[HR]|[12]T['′]?)"
_POLYTYPE = re.compile(
    rf"^{_STACKING}[\s{SIGNS}]+(?P<before>.+)$|^(?P<behind>.+?)[\s{SIGNS}]+\(?{_STACKING}\)?$"
)
_WATERS = {"hemi": "0.5", "mono": ""} | {
    name: str(n) for n, name in enumerate("di tri tetra penta hexa hepta octa nona deca".split(), start=2)
}
_HYDRATE = re.compile(rf"^(.+?)\s+({'|'.join(_WATERS)})?hydrate$", re.IGNORECASE)
_DATABASE_ID = re.compile(rf"^(mp|mvc|icsd|cod|oqmd|jvasp|agm|nomad)[\s_:{SIGNS}]*\d+$", re.IGNORECASE)
_DOPED = re.compile(rf"(?<=[{SIGNS}\s])doped\b", re.IGNORECASE)
_POLYMORPH = re.compile(rf"^([α-ω]|[a-z]{{1,2}}|alpha|beta|gamma|delta)['′]?[{SIGNS}]\s*(?=[A-Z(\[])")
_OPEN = re.compile(
    rf"(?<=[#)\]])[xyzδ](?![a-z])|[\d.)\]][{SIGNS}](?:[xyzdδ](?![a-z])|delta\b)|[·.*][xn](?=#2#)"
)
_ONE_OF = re.compile(r"[(\[][A-Z][a-z]?[\d.]*[,/][A-Z]")
_JOINED = re.compile(
    r"\s[+]\s|(?:[A-Z][a-z]?\d*){2}[+]\d*(?:[A-Z][a-z]?\d*){2}|(?<=[A-Za-z\d)\]])(?:[-‐‑–—/@:|](?=[\d.%]*[A-Z(\[])|[,;]\s*(?=[A-Z(\[]))"
)
_PLUS_WATER = re.compile(r"[+](?=\d*[HD]2O$)")
_LAST_WORD = re.compile(rf"^(.*[^\s({SIGNS}])(?:\s+\(?|\s*[({SIGNS}]\s*)([a-z]{{3,}}|[α-ω])\)?$")
_LAST_GROUP = re.compile(r"^(.*\S)\s+\(?([PABCFIR][-/_\dabcdmn]{2,})\)?$")
_MARKED_FORMULA = re.compile(r"[#\d.·()\[\]]+")
_PERCENT = re.compile(r"%|(?<=\d)(?:at|wt|mol)\.?$")
_STATE = re.compile(r"^(.+?)\s*\((s|l|g|aq|cr|am)\)$")
_VACANCY = re.compile(r"[□◻☐▢]\d*")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
# [18O], ^18O, ^{18}O, ¹⁸O; U-235; and H2 18O or H2·18O
_ISOTOPES = (
    re.compile(r"[\[(]\^?\{?(?P<n>\d{1,3})\}?(?P<s>[A-Z][a-z]?)[\])]"),
    re.compile(r"\^\{?(?P<n>\d{1,3})\}?(?P<s>[A-Z][a-z]?)"),
    re.compile(r"(?P<n>[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3})(?P<s>[A-Z][a-z]?)"),
    re.compile(rf"(?<![A-Za-z\d])(?P<s>[A-Z][a-z]?)[{SIGNS}](?P<n>\d{{1,3}})$"),
    re.compile(r"^(?P<n>\d{1,3})(?P<s>[A-Z][a-z]?)\d*(?=·)"),
    re.compile(r"(?<=·)(?P<n>\d{1,3})(?P<s>[A-Z][a-z]?)\d*(?=·|$)"),
)
# without such marks, a mass number reads as a count: 13CO2, U235, Li7F
_LEADING_NUMBER = re.compile(r"(?P<n>\d{1,3})(?P<s>[A-Z][a-z]?)[^·.]*$")
_COUNT_ALONE = re.compile(r"(?P<s>[A-Z][a-z]?)(?P<n>\d{1,3})")
_COUNT = re.compile(r"(?P<s>[A-Z][a-z]?)(?P<n>\d{1,3})(?!\d)")
LIGHT_ISOTOPES = {"H": (), "Li": (6, 7), "B": (10, 11), "C": (13, 14), "N": (15,), "O": (17, 18)}
MOST_OF_MOLECULE = 12  # atoms of one element: S8 and B12 are molecules and units of crystals
_CHARGE = re.compile(rf"[{SIGNS}⁺⁻^]")


def not_one_composition(text: str) -> str:
    """What a typed text names instead of one neutral composition, and what to write; empty for a formula.

    >>> not_one_composition("α-Fe2O3")
    'names a polymorph (α). Write the formula alone: Fe2O3.'
    >>> not_one_composition("Fe(CN)2"), not_one_composition("Dy2O3")
    ('', '')
    """
    plain = re.sub(r"\s+", "", text)
    if marked := _named_otherwise(text.strip()) or _marked_otherwise(plain, text.strip()):
        return marked
    if roman := _ROMAN.search(plain):
        where, rest = " in brackets" if roman[1] else "", _ROMAN.sub("", plain)
        advice = f"Leave them out: {rest}" if _is_formula(rest) else "Write the formula, e.g. Fe2O3"
        return f"gives oxidation states{where}, which also read as iodine or vanadium. {advice}."
    if prefix := _POLYMORPH.match(plain):
        return f"names a polymorph ({prefix[1]}). Write the formula alone: {plain[prefix.end() :]}."
    is_open = _OPEN.search(_marked(plain))
    if ending := "" if is_open else _last_word(text.strip()):
        return ending
    if plus := _PLUS_WATER.search(plain):
        return f"joins water with a plus. Write {plain[: plus.start()]}·{plain[plus.end() :]}."
    charged = plain[-1:] in ("+", "-", "−") or "^" in plain
    rules = (
        (
            is_open,
            "leaves its composition open. Choose one with whole counts, e.g. MgFeO2.",
        ),
        (
            _ONE_OF.search(plain),
            "names several elements for one site. Write how many of each, e.g. FeMgSiO4.",
        ),
        (
            not charged and _JOINED.search(text.strip()),
            "joins several substances. Give one formula at a time, e.g. BaTiO3.",
        ),
        (
            _CHARGE.search(plain),
            "carries a charge; a crystal is neutral. Write the neutral formula, e.g. NaCl.",
        ),
    )
    return next((sentence for applies, sentence in rules if applies), "")


def open_composition(word: str) -> bool:
    """Whether a word is a formula of several elements with a variable count.

    >>> open_composition("La2-xSrxCuO4"), open_composition("Six"), open_composition("TiO2")
    (True, False, False)
    """
    marked = _marked(word)
    is_formula = re.fullmatch(rf"[#\d.()\[\]{SIGNS}xyzdδ]+", marked) and marked.count("#") > 1
    return bool(is_formula and _OPEN.search(marked))


def _named_otherwise(text: str) -> str:
    """The sentence on polytypes, hydrates by name, dopants and entries of databases; empty without one."""
    if _DATABASE_ID.match(text):
        return "is an entry of a database. Write its formula, e.g. NaCl, or open its CIF in the viewer."
    if _DOPED.search(text):
        return "names a dopant. Write one composition with whole counts, e.g. Zn15AlO16."
    if (hydrate := _HYDRATE.match(text)) and _is_formula(hydrate[1]):
        prefix = (hydrate[2] or "").lower()
        water = f"{hydrate[1]}·{_WATERS.get(prefix, '2')}H2O"
        return f"names a hydrate. Write its water{':' if prefix else ', e.g.'} {water}."
    if polytype := _POLYTYPE.match(text):
        formula = polytype["before"] or polytype["behind"]
        # an oxygen behind 2H is rather a molecule
        if _is_formula(formula) and len(re.findall("[A-Z]", formula)) > 1:
            return f"names a polytype ({polytype[1] or polytype[4]}). Write the formula alone: {formula}."
    return ""


def _is_formula(text: str) -> bool:
    """Whether a text has the marks of a formula alone, and begins with an element."""
    return bool(_MARKED_FORMULA.fullmatch(_marked(re.sub(r"\s+", "", text))) and re.match(r"[A-Z(\[]", text))


def _marked_otherwise(plain: str, text: str) -> str:
    """The sentence on percentages, isotopes, states, vacancies and superscripts; empty without one."""
    if _PERCENT.search(plain):
        return "gives percentages. Write whole counts, e.g. Ti3Al for 75 and 25 %."
    for pattern in _ISOTOPES:
        for match in pattern.finditer(plain):
            number, symbol = match["n"], match["s"]
            if _is_isotope(int(number.translate(_SUPERSCRIPTS)), symbol):
                what = f"names an isotope ({number}{symbol}), which models do not tell apart."
                return f"{what} Write {symbol} alone."
    if state := _STATE.match(text):
        return f"names a state of matter ({state[2]}). Write the formula alone: {state[1]}."
    if _VACANCY.search(plain):
        return f"holds a vacancy. Leave it out: {_VACANCY.sub('', plain)}."
    if re.search("[⁰¹²³⁴⁵⁶⁷⁸⁹](?![⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻+-])", plain):
        return "has a superscript. Write counts on the line or below it, e.g. TiO2."
    return ""


def _is_isotope(number: int, symbol: str) -> bool:
    """Whether an element has isotopes of about this mass number."""
    element = periodic_table().get(symbol)
    if element is None or number < element.number:
        return False
    return abs(number - round(element.mass)) <= max(2, round(0.06 * element.mass))


def _last_word(text: str) -> str:
    """The sentence on a polymorph or a space group that follows a formula; empty without one."""
    for pattern, what in ((_LAST_WORD, "polymorph"), (_LAST_GROUP, "space group")):
        match = pattern.match(text)
        if match is None or not _MARKED_FORMULA.fullmatch(_marked(re.sub(r"\s+", "", match[1]))):
            continue
        if what == "polymorph" or not _MARKED_FORMULA.fullmatch(_marked(match[2])):
            return f"names a {what} ({match[2]}). Write the formula alone: {match[1].strip()}."
    return ""


def _marked(plain: str) -> str:
    """The text with # for each element symbol, so that the y of Dy is no variable."""
    elements = periodic_table()
    symbol = "|".join(sorted(elements, key=len, reverse=True))
    return re.sub(symbol, "#", plain)


Reader = Callable[[str], Mapping[str, int] | None]  # formula → symbol → count; None for what is no formula


def isotope_or_count(plain: str, counts: Mapping[str, int], read: Reader) -> list[str]:
    """Whether a number that is read as a count is rather a mass number: 13CO2, U235; else empty.

    One inside a formula is asked about where only the formula without it is balanced and it is at least
    three times the number of all other atoms: Li7F, but not YB12 or K2PrN5O17.

    Args:
        plain: the formula as typed, without blanks. counts: its atoms as it is read.
    """
    if (lead := _LEADING_NUMBER.match(plain)) and lead["s"] != "H":  # 2H2O is rather water twice
        number, symbol, rest = lead["n"], lead["s"], plain[lead.end("n") :]
        meaning = f"'{plain}' is read as {number} times {rest}."
        places = [(number, symbol, rest)]
    elif len(counts) == 1 and (alone := _COUNT_ALONE.fullmatch(plain)):
        number, symbol = alone["n"], alone["s"]
        meaning = f"'{plain}' is read as {number} atoms of {symbol}."
        places = [(number, symbol, symbol)] if int(number) > MOST_OF_MOLECULE else []
    else:
        meaning = f"'{plain}' is read with all its numbers as counts."
        places = [
            (match["n"], match["s"], rest)
            for match in _COUNT.finditer(plain)
            if int(match["n"]) >= 3 * (sum(counts.values()) - int(match["n"]))
            and int(match["n"]) in LIGHT_ISOTOPES.get(match["s"], (int(match["n"]),))
            and (meant := read(rest := plain[: match.start("n")] + plain[match.end("n") :]))
            and balance_of(meant.items())
            and not balance_of(counts.items())
        ]
    for number, symbol, rest in places:
        if _is_isotope(int(number), symbol):
            question = f"If {number}{symbol} is meant as an isotope, write {rest}"
            return [f"{meaning} {question}: models do not tell isotopes apart."]
    return []


def zero_for_letter(plain: str, counts: Mapping[str, int], read: Reader) -> list[str]:
    """The question whether Al203 means Al2O3, where only that is balanced; else empty."""
    spelt = re.sub(r"(?<=[2-9])0", "O", plain)
    meant = None if "O" in counts or spelt == plain else read(spelt)
    if meant is None or balance_of(counts.items()) or not balance_of(meant.items()):
        return []
    return [f"'{plain}' is read with the digit zero. Was {spelt} meant, with the letter O?"]


def capitals(plain: str, counts: Mapping[str, int], respelt: Callable[[str], str], read: Reader) -> list[str]:
    """The question whether SIO2 means SiO2: balanced, where the capitals hold no metal; else empty.

    Asked too where the other reading has fewer elements and more usual charges (KNBO3), or no uranium (CUO).

    Args:
        plain: the formula as typed, without blanks. counts: its atoms as it is read.
        respelt: the likeliest formula of the same letters in another case; empty for none.
    """
    if plain != plain.upper() or len(re.findall("[A-Z]", plain)) < 2:
        return []
    spelt = respelt(plain)
    meant = (read(spelt) if spelt and spelt != plain else None) or {}
    elements = periodic_table()
    balance, own = balance_of(meant.items()), balance_of(counts.items())
    if len(meant) < 2 or balance is None or not any(elements[s].may_mix for s in meant):
        return []
    if any(elements[s].is_metal for s in counts):
        likelier = own is None or own.cost > balance.cost or "U" in counts.keys() - meant.keys()
        if not likelier or len(meant) >= len(counts):
            return []
    read_as = ", ".join(counts)
    return [f"'{plain}' is read as {read_as}. Was {spelt} meant?"]
