"""Charges of the ions in a compound: oxidation states that cancel, by the chemistry of common solids."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress, pairwise, product
from math import gcd, prod

MAX_BALANCED = 8  # elements
MAX_ASSIGNMENTS = 200_000  # of oxidation states to elements: a fraction of a second
CHALCOGENS = ("O", "S", "Se", "Te")
# pymatgen calls only Cu2+, Au3+ and Np5+ common, but chalcopyrite, kesterite and delafossites hold Cu+
ALSO_COMMON = {"Cu": (1,), "Au": (1,), "Np": (4,)}
# but not beside another valence
ALSO_KNOWN = {"Ga": (1,), "Si": (2,), "Pa": (4,), "Np": (3,), "Pu": (3,), "Am": (4,), "Bk": (4,)}
BINARY = {"Ga": 1, "Si": 2}  # states of two-element compounds alone: GaCl, SiO
# known beside oxygen and fluorine
OXIDISED = {"Ru": (7, 8), "Os": (5, 6, 7, 8), "Pt": (5, 6), "Au": (5,), "Np": (6,), "Pu": (6,)}
ALKALI = ("Li", "Na", "K", "Rb", "Cs")
# of charge −1, with their atoms
POLYANIONS = (("O", 2, "superoxide"), ("O", 3, "ozonide"), ("N", 3, "azide"), ("I", 3, "triiodide"))
# with metals alone these often form compounds held by bonds between like atoms or by free electrons
OFTEN_METALLIC = {
    "B": "boride",
    "C": "carbide",
    "Si": "silicide",
    "P": "phosphide",
    "As": "arsenide",
    "N": "nitride",
    "H": "hydride",
}


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Charges of ions that cancel.

    Attributes:
        ions: (symbol, charge, count) by electronegativity; an element of mixed valence stands there twice,
            ions of several atoms as "(N3)" and "(CN)".
        how: what was needed beyond one oxidation state per element, such as "with mixed valence"; else empty.
    """

    ions: tuple[tuple[str, int, int], ...]
    how: str = ""

    def words(self, symbols: Sequence[str] = ()) -> str:
        """The ions in the order of ``symbols``, such as "with mixed valence as Fe2+ 2 Fe3+ 4 O2−"."""
        places = {symbol: place for place, symbol in enumerate(symbols)}
        ordered = sorted(self.ions, key=lambda ion: places.get(ion[0], len(places)))
        return f"{self.how} as {_ions(ordered)}".strip()


@dataclass(frozen=True, kw_only=True)
class _Element:
    """Data of an element for this file.

    Attributes:
        common: oxidation states that pymatgen calls common, and those of ALSO_COMMON.
        known: ascending: these, those of ALSO_KNOWN, OXIDISED and ICSD, and -1 of the chalcogens.
        is_metal: without the metalloids. may_mix: may have two valences in one crystal (with the metalloids).
        valences: these pairs: neighbours among the known; among the common in the main groups (Sn2+, Sn4+).
    """

    symbol: str
    name: str
    number: int
    mass: float
    electronegativity: float
    common: tuple[int, ...]
    known: tuple[int, ...]
    is_metal: bool
    is_d_block: bool
    may_mix: bool
    valences: tuple[tuple[int, int], ...]

    def cost(self, state: int) -> int:
        """0 for a common oxidation state; an uncommon one costs 1 for transition metals and P4+, else 2."""
        if state and state in self.common:
            return 0
        return 1 if self.is_d_block or (self.symbol, state) == ("P", 4) else 2


CYANIDE = _Element(
    symbol="(CN)",
    name="cyanide",
    number=0,
    mass=26.018,
    electronegativity=3.3,
    common=(-1,),
    known=(-1,),
    is_metal=False,
    is_d_block=False,
    may_mix=False,
    valences=(),
)


def _element(symbol: str) -> _Element:
    return CYANIDE if symbol == CYANIDE.symbol else periodic_table()[symbol]


@lru_cache(maxsize=1)
def periodic_table() -> dict[str, _Element]:
    """Symbol → element, from pymatgen's periodic table."""
    from pymatgen.core.periodic_table import Element

    table = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # helium, neon and argon have no electronegativity
        for e in Element:
            if e.symbol in ("D", "T"):
                continue
            common = (*ALSO_COMMON.get(e.symbol, ()), *e.common_oxidation_states)
            paired = {
                *common,
                *OXIDISED.get(e.symbol, ()),
                *e.icsd_oxidation_states,
                *((-1,) if e.symbol in CHALCOGENS else ()),
            }
            known = {*paired, *ALSO_KNOWN.get(e.symbol, ())}
            states = [sorted(paired), sorted(common) if e.is_post_transition_metal or e.is_metalloid else []]
            valences = {pair: None for own in states for pair in pairwise(q for q in own if q > 0)}
            table[e.symbol] = _Element(
                symbol=e.symbol,
                name=e.long_name.lower(),
                number=e.Z,
                mass=float(e.atomic_mass),
                electronegativity=float(e.X),
                common=common,
                known=tuple(sorted(known)),
                is_metal=e.is_metal,
                is_d_block=e.is_transition_metal and not e.is_lanthanoid,
                may_mix=e.is_metal or e.is_metalloid,
                valences=tuple(valences),
            )
    return table


def balance_of(counts: Iterable[tuple[str, int]]) -> Balance | None:
    """The charges that balance a composition of (symbol, count); None for elements, alloys and no balance."""
    given, elements = tuple(counts), periodic_table()
    if not all(s in elements for s, _ in given):  # deuterium
        return None
    divisor = gcd(*(n for _, n in given))
    # sorted: which of two balances comes first must not depend on the typed order
    return _balance(
        tuple(
            sorted(
                ((s, n // divisor) for s, n in given),
                key=lambda pair: (elements[pair[0]].electronegativity, pair[0]),
            )
        )
    )


def hint_of_metals(counts: Iterable[tuple[str, int]]) -> str:
    """Why metals and one other element need not balance: "as in many borides of metals"; empty otherwise."""
    elements = periodic_table()
    others = [s for s, _ in counts if s not in elements or not elements[s].is_metal]
    return (
        f"as in many {OFTEN_METALLIC[others[0]]}s of metals"
        if len(others) == 1 and others[0] in OFTEN_METALLIC
        else ""
    )


def charge_hint(unit: tuple[tuple[str, int], ...]) -> str:
    """A hint on the charges of a formula unit of (symbol, count): the balance, or why there is none."""
    from crystal_core.chemistry.metals import all_metals

    if len(unit) == 1:
        return "an element"
    if len(unit) > MAX_BALANCED:
        return "charge balance not checked for more than eight elements"
    symbols = [s for s, _ in unit]
    if balance := balance_of(unit):
        return f"charge-balanced {balance.words(symbols)}"
    return "an alloy: no charges to balance" if all_metals(symbols) else _unbalanced(unit)


@lru_cache(maxsize=2000)
def _balance(unit: tuple[tuple[str, int], ...]) -> Balance | None:
    if not 1 < len(unit) <= MAX_BALANCED:
        return None
    with_cyanide = _as_cyanide(unit)
    if with_cyanide and (balance := _one_or_two_valences(with_cyanide)):
        return balance if balance.how else Balance(ions=balance.ions, how="with cyanide ions")
    return _one_or_two_valences(unit) or _with_polyanions(unit)


def _as_cyanide(unit: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """The unit with CN as one ion if it has as much C as N beside metals, H and water; empty otherwise."""
    counts = dict(unit)
    n_ions, n_hydrogen, n_oxygen = (counts.get(s, 0) for s in ("C", "H", "O"))
    others = [(s, n) for s, n in unit if s not in ("C", "N")]
    metals = [s for s, _ in others if periodic_table()[s].is_metal]
    alone = n_hydrogen == 2 * n_oxygen if metals else not n_oxygen
    if (
        not n_ions
        or n_ions != counts.get("N")
        or not others
        or not alone
        or {s for s, _ in others} - {*metals, "H", "O"}
    ):
        return ()
    return (*others, (CYANIDE.symbol, n_ions))


def _one_or_two_valences(unit: tuple[tuple[str, int], ...]) -> Balance | None:
    """The balance with one state per element, or two of one element if fewer states are then uncommon."""
    from crystal_core.chemistry.metals import all_metals

    symbols = [s for s, _ in unit]
    alloy = all_metals(symbols)
    common = [
        [q for q in _element(s).common if not alloy or q not in ALSO_COMMON.get(s, ())] for s in symbols
    ]
    balance = _balanced(unit, [tuple(states) or (0,) for states in common])
    if alloy and balance is None:
        return None
    if not alloy and (balance is None or balance[0]):
        others = [
            choice
            for choice in (balance, _balanced(unit, [_known(s, symbols) or (0,) for s in symbols]))
            if choice
        ]
        balance = min(others, key=lambda choice: choice[0], default=None)
        twice = tuple((s, 2 * n) for s, n in unit)  # SbO2 is Sb3+ Sb5+ 4 O2−
        mixed = [
            one
            for ratio, place in product((unit, twice), range(len(unit)))
            if (one := _mixed_valence(ratio, place))
        ]
        two = min(mixed, key=lambda one: one[0], default=None)
        if two and (balance is None or two[0] < balance[0]):
            return Balance(ions=tuple(two[1]), how="with mixed valence")
    if balance is None:
        return None
    choice = balance[1]
    pairs = [s for s, q in zip(symbols, choice, strict=True) if s in CHALCOGENS and q == -1]
    with_pairs = " ".join(f"with {s}–{s} pairs" for s in pairs)  # peroxides, pyrite
    return Balance(ions=tuple((s, q, n) for q, (s, n) in zip(choice, unit, strict=True)), how=with_pairs)


def _unbalanced(unit: tuple[tuple[str, int], ...]) -> str:
    """The hint for an unbalanced formula; real compounds may be unbalanced."""
    words = "no common oxidation states balance"
    if of_metals := hint_of_metals(unit):
        return f"{words}, {of_metals}"
    common = [periodic_table()[s].common or (0,) for s, _ in unit]
    least = min(
        (sum(q * n for q, (_, n) in zip(states, unit, strict=True)) for states in product(*common)), key=abs
    )
    # zero, where only an assignment against the electronegativities would balance
    best = f" (the best assignment leaves {least:+d})" if least else ""
    return f"{words}{best}, as in some real compounds; there may be bonds between like atoms"


def _with_polyanions(unit: tuple[tuple[str, int], ...]) -> Balance | None:
    """The balance of metals against superoxide, ozonide, azide or triiodide ions; None where there is none.

    Azides are known of most metals, the others of alkali metals.
    """
    for symbol, atoms, name in POLYANIONS:
        n_ions, rest = divmod(dict(unit).get(symbol, 0), atoms)
        others = [(s, n) for s, n in unit if s != symbol]
        if (
            rest
            or not n_ions
            or not others
            or not all(s in ALKALI if name != "azide" else periodic_table()[s].is_metal for s, _ in others)
        ):
            continue
        states = [[q for q in periodic_table()[s].known if q > 0] for s, _ in others]
        for choice in product(*states) if prod(map(len, states)) <= MAX_ASSIGNMENTS else ():
            if sum(q * n for q, (_, n) in zip(choice, others, strict=True)) == n_ions:
                cations = ((s, q, n) for q, (s, n) in zip(choice, others, strict=True))
                return Balance(ions=(*cations, (f"({symbol}{atoms})", -1, n_ions)), how=f"with {name} ions")
    return None


def _known(symbol: str, beside: Collection[str]) -> tuple[int, ...]:
    """The oxidation states of an element in a compound of these."""
    high = () if "O" in beside or "F" in beside else OXIDISED.get(symbol, ())
    return tuple(
        q for q in _element(symbol).known if q not in high and (len(beside) == 2 or q != BINARY.get(symbol))
    )


def _balanced(
    unit: tuple[tuple[str, int], ...], states: list[tuple[int, ...]]
) -> tuple[int, tuple[int, ...]] | None:
    """Cost and oxidation states, one per element, of the cheapest balance; None if there is none.

    Transition metals take uncommon states before other elements do: LaMnO3 holds Mn3+, not La2+. Phosphorus
    with four oxygen atoms is phosphate. Between two balances as good, copper and lead have the lower charge,
    and nitrogen of ammonium: kesterite holds Cu+ and Sn4+, wulfenite Pb2+ and Mo6+.
    """
    elements, counts = [_element(s) for s, _ in unit], dict(unit)
    with_copper = "Cu" in counts  # beside which a selenite, not a selenate, is formed
    ammonium = counts.get("H", 0) >= 3 * counts.get("N", 0)
    lower = [
        e.symbol in ("Cu", "Pb") or (with_copper and not e.may_mix) or (e.symbol == "N" and ammonium)
        for e in elements
    ]
    phosphate = counts.get("O", 0) >= 4 * counts.get("P", 0)
    best: tuple[tuple[int, int], tuple[int, ...]] | None = None
    if prod(map(len, states)) > MAX_ASSIGNMENTS:
        return None
    for choice in product(*states):
        if sum(q * n for q, (_, n) in zip(choice, unit, strict=True)) or not any(choice):
            continue
        # nitrogen of ammonium is bound to hydrogen, however electronegative the other cations: NH4ClO4
        if not _attracts_right(
            (e, q)
            for e, q in zip(elements, choice, strict=True)
            if not (ammonium and e.symbol == "N" and q < 0)
        ):
            continue
        uncommon = sum(
            e.cost(q) or 2 * (phosphate and (e.symbol, q) == ("P", 3))
            for e, q in zip(elements, choice, strict=True)
        )
        rank = uncommon, sum(compress(choice, lower))
        if best is None or rank < best[0]:
            best = rank, choice
    return None if best is None else (best[0][0], best[1])


def _attracts_right(charges: Iterable[tuple[_Element, int]]) -> bool:
    """Whether each cation is a metal or less electronegative than every anion: no S cation beside Sn."""
    given = tuple(charges)
    cations, anions = [e for e, q in given if q > 0], [e for e, q in given if q < 0]
    return not any(
        c.electronegativity > a.electronegativity and (not c.is_metal or a.is_metal)
        for c in cations
        for a in anions
    )


def _mixed_valence(
    unit: tuple[tuple[str, int], ...], place: int
) -> tuple[int, list[tuple[str, int, int]]] | None:
    """Cost and ions (symbol, charge, count) of a balance with two states at ``place``; None if there is none.

    The states are of two cations, and of nitrogen those in ammonium and in nitrate or nitrite.
    """
    symbol, count = unit[place]
    own, counts = _element(symbol), dict(unit)
    pairs = own.valences if own.may_mix else ((-3, 5), (-3, 3)) if symbol == "N" and "O" in counts else ()
    others = [*unit[:place], *unit[place + 1 :]]
    best: tuple[int, list[tuple[str, int, int]]] | None = None
    pairs = tuple(pair for pair in pairs if pair[1] in _known(symbol, counts))
    for choice in product(*(_element(s).common or (0,) for s, _ in others)) if pairs else ():
        needed = -sum(q * n for q, (_, n) in zip(choice, others, strict=True))
        for low, high in pairs:
            n_high, rest = divmod(needed - low * count, high - low)
            n_low = count - n_high
            if rest or not 0 < n_high < count or (low < 0 and counts.get("H", 0) < 3 * n_low):
                continue
            ions = [(s, q, n) for q, (s, n) in zip(choice, others, strict=True)]
            cost = 1 + sum(
                _element(s).cost(q) for s, q, _ in (*ions, (symbol, low, n_low), (symbol, high, n_high))
            )
            if (best is None or cost < best[0]) and _attracts_right(
                [*((_element(s), q) for s, q, _ in ions), (own, low), (own, high)]
            ):
                best = cost, [*ions[:place], (symbol, low, n_low), (symbol, high, n_high), *ions[place:]]
    return best


def _ions(ions: Iterable[tuple[str, int, int]]) -> str:
    return " ".join(
        f"{f'{n} ' if n > 1 else ''}{s}{abs(q) if abs(q) != 1 else ''}{'+' if q > 0 else '−'}"
        for s, q, n in ions
    )
