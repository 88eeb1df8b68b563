"""Words of chemists and what they stand for."""

from __future__ import annotations

import re
from functools import lru_cache

from crystal_core.chemistry.formula import atomic_number_of
from crystal_core.conditions import SPACE_GROUPS
from crystal_core.errors import RequestError

# stem of a class of oxygen compounds:its element
OXIDISED = (
    "phosph:P sulf:S sulph:S carbon:C nitr:N silic:Si titan:Ti bor:B tungst:W vanad:V niob:Nb "
    "tantal:Ta zircon:Zr hafn:Hf alumin:Al molybd:Mo mangan:Mn chrom:Cr cupr:Cu german:Ge "
    "stann:Sn gall:Ga arsen:As selen:Se tellur:Te iod:I irid:Ir ruthen:Ru bismuth:Bi"
)
LESS_OXIDISED = "sulf:S nitr:N phosph:P selen:Se tellur:Te ferr:Fe"


def _classes(ending: str, stems: str) -> dict[str, str]:
    pairs = (pair.split(":") for pair in stems.split())
    return {f"{stem}{ending}": f"{symbol} O" for stem, symbol in pairs}


# of the number of anions: dioxide, disulfide, hexaboride
PREFIX = r"(?:(?:mon|di|tri|tetr|pent|hex|hept|sesqui)[oa]?|per|super|sub)"
WITH = r"containing|based|bearing|rich"
ANIONS = {  # the first symbol names the class
    **{f"oxy{name}": f"O {symbol}" for name, symbol in (("nitride", "N"), ("sulfide", "S"))},
    **{f"oxy{name}": f"O {symbol}" for name, symbol in (("fluoride", "F"), ("chloride", "Cl"))},
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
    "bismuthide": "Bi",
    "carbide": "C",
    "boride": "B",
    "silicide": "Si",
    "germanide": "Ge",
    "stannide": "Sn",
    "aluminide": "Al",
    "fluoride": "F",
    "chloride": "Cl",
    "bromide": "Br",
    "iodide": "I",
    "hydride": "H",
    "cyanide": "C N",
    **_classes("ate", OXIDISED),
    **_classes("ite", LESS_OXIDISED),
}
STRUCTURE_TYPES = (
    "perovskite antiperovskite spinel garnet zeolite pyrochlore clathrate rutile fluorite rocksalt wurtzite "
    "olivine delafossite chalcopyrite ilmenite apatite elpasolite kesterite skutterudite heusler Heusler "
    "half-Heusler"
).split()
TRANSITION = "Sc Ti V Cr Mn Fe Co Ni Cu Zn Y Zr Nb Mo Tc Ru Rh Pd Ag Cd Hf Ta W Re Os Ir Pt Au Hg"
LANTHANIDES = "La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"
GROUPS = {  # pattern → symbols
    r"halogens?|halides?": "F Cl Br I",
    r"chalcogens?": "O S Se Te",
    r"(?:mono|di|tri)?chalcogenides?": "S Se Te",
    r"pnictogens?|pnictides?": "N P As Sb Bi",
    r"alkali(?![\s-]earth)(?:[\s-]metals?)?": "Li Na K Rb Cs",
    r"alkali(?:ne)?[\s-]earths?(?:[\s-]metals?)?": "Be Mg Ca Sr Ba",
    r"transition[\s-]metals?": TRANSITION,
    r"rare[\s-]earths?(?:[\s-](?:metals?|elements?))?": f"Sc Y {LANTHANIDES}",
    r"lanthan(?:ide|oid)s?": LANTHANIDES,
    r"actin(?:ide|oid)s?": "Ac Th Pa U Np Pu",
    r"noble[\s-]gas(?:es)?": "He Ne Ar Kr Xe",
    r"(?:noble|precious)[\s-]metals?": "Ru Rh Pd Ag Os Ir Pt Au",
    r"radioactive[\s-]elements?": "Tc Pm Ac Th Pa U Np Pu",
}
SPELLINGS = {
    "aluminium": "Al",
    "aluminum": "Al",
    "sulphur": "S",
    "caesium": "Cs",
    "cesium": "Cs",
    "wolfram": "W",
}
SYSTEMS = {**{name: name for name in SPACE_GROUPS}, "rhombohedral": "trigonal"}
NUMBERS = {
    word: i
    for i, word in enumerate(
        "one two three four five six seven eight nine ten eleven twelve".split(), start=1
    )
}
ORDERS = {word: i for i, word in enumerate("binary ternary quaternary quinary".split(), start=2)}
# capitals that read as a formula and are none: lattices, bands, cells, and numerals of oxidation states
NO_FORMULA = set("CIF COF SOC OF BCC FCC HCP VB CB UV PV OPV IV VI VII VIII".split())
KEYWORDS = set("space group stable metastable containing formation energy density without metallic".split())
# words that say nothing of a crystal; a word of negation is none of them, so that it is named if left over
SILENT = set(
    "a an and any are as at be being by can comes composed compound compounds consisting contain "
    "containing contains crystal crystals do does for formula from generate give has have having i in is "
    "it its let like made make material materials me new of on or phase please should show some solid "
    "solids structure structures system that the there this to want we which whose will with would atom "
    "atoms cell per unit only alone element elements all both also".split()
)


def symbol_of(word: str) -> str | None:
    """The symbol that a word is or names; symbols need their capital, so "in" and "as" stay words."""
    if word[:1].islower() and len(word) <= 2:
        return None
    if len(word) > 2:
        return SPELLINGS.get(word.lower()) or element_names().get(word.lower())
    try:
        atomic_number_of(word)
    except RequestError:
        return None
    return word if word[0].isupper() else None


@lru_cache(maxsize=1)
def element_names() -> dict[str, str]:
    """Name of an element in small letters → its symbol."""
    from pymatgen.core import Element

    return {element.long_name.lower(): element.symbol for element in Element}


@lru_cache(maxsize=1)
def item_pattern() -> re.Pattern[str]:
    """An element, a class of compounds or a group of elements, as ``element``, ``anion`` or ``group``."""
    groups = "|".join(GROUPS)
    anions = "|".join(sorted(ANIONS, key=len, reverse=True))
    return re.compile(
        rf"\b(?:(?P<group>(?i:{groups}))|(?i:{PREFIX})?(?P<anion>(?i:{anions}))s?|(?P<element>[A-Za-z]+))\b"
        r"(?![\s-]*(?i:free)\b)"
    )


def symbols_of(match: re.Match[str]) -> tuple[str, ...]:
    """The symbols that an item stands for, of a class of compounds all; none for another word."""
    if match["group"]:
        named = match["group"].lower()
        return tuple(next(held for pattern, held in GROUPS.items() if re.fullmatch(pattern, named)).split())
    if match["anion"]:
        return tuple(ANIONS[match["anion"].lower()].split())
    symbol = symbol_of(match["element"])
    return (symbol,) if symbol else ()
