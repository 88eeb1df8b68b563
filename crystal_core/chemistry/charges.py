"""Charges of the ions in a compound: oxidation states that cancel, by the chemistry of common solids.

Each state of an element has a cost, and one search finds the cheapest states that cancel: with one state for
each element, with two for one of them (mixed valence), and with ions of several atoms as elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import gcd, prod

from crystal_core.chemistry.elements import ALSO_COMMON, CHALCOGENS, ElementData, periodic_table
from crystal_core.chemistry.metals import all_metals

MAX_BALANCED = 8  # elements
MAX_ASSIGNMENTS = 200_000  # of oxidation states to elements: a fraction of a second
ALKALI = {"Li", "Na", "K", "Rb", "Cs"}
CYANIDE = "(CN)"
POLYANIONS = {"superoxide": ("O", 2), "ozonide": ("O", 3), "azide": ("N", 3), "triiodide": ("I", 3)}
_IONS = {
    symbol: ElementData(symbol=symbol, name=name)
    for symbol, name in [(CYANIDE, "cyanide"), *((f"({s}{n})", name) for name, (s, n) in POLYANIONS.items())]
}
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
Unit = tuple[tuple[str, int], ...]  # (symbol, count) of a formula unit


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Charges of ions that cancel.

    Attributes:
        ions: (symbol, charge, count) by electronegativity; an element of mixed valence stands there twice,
            ions of several atoms as "(N3)" and "(CN)".
        cost: 0 if all oxidation states are common.
    """

    ions: tuple[tuple[str, int, int], ...]
    cost: int

    @property
    def how(self) -> str:
        """What is needed beyond one state per element, such as "with mixed valence"; else empty."""
        symbols = [s for s, _, _ in self.ions]
        if len(set(symbols)) < len(symbols):
            return "with mixed valence"
        # peroxides, pyrite
        pairs = [f"with {s}–{s} pairs" for s, q, _ in self.ions if s in CHALCOGENS and q == -1]
        return " ".join(pairs or [f"with {_IONS[s].name} ions" for s in symbols if s in _IONS])

    def words(self, symbols: Sequence[str] = ()) -> str:
        """The ions in the order of ``symbols``, such as "with mixed valence as Fe2+ 2 Fe3+ 4 O2−"."""
        places = {symbol: place for place, symbol in enumerate(symbols)}
        ordered = sorted(self.ions, key=lambda ion: places.get(ion[0], len(places)))
        words = [f"{n if n > 1 else ''} {s}{_charge(q)}".strip() for s, q, n in ordered]
        return f"{self.how} as {' '.join(words)}".strip()


def _charge(q: int) -> str:
    return f"{abs(q) if abs(q) > 1 else ''}{'+' if q > 0 else '−'}" if q else "0"


def balance_of(counts: Iterable[tuple[str, int]]) -> Balance | None:
    """The charges that balance a composition of (symbol, count); None for elements, alloys and no balance."""
    given = tuple(counts)
    if not all(s in periodic_table() for s, _ in given):  # deuterium
        return None
    divisor = gcd(*(n for _, n in given))
    # sorted: which of two balances comes first must not depend on the typed order
    return _balance(tuple((s, n // divisor) for s, n in sorted(given, key=lambda pair: _place(pair[0]))))


def hint_of_metals(counts: Iterable[tuple[str, int]]) -> str:
    """Why metals and one other element need not balance: "as in many borides of metals"; empty otherwise."""
    elements = periodic_table()
    others = [s for s, _ in counts if s not in elements or not elements[s].is_metal]
    name = OFTEN_METALLIC.get(others[0], "") if len(others) == 1 else ""
    return f"as in many {name}s of metals" if name else ""


def charge_hint(unit: Unit) -> str:
    """A hint on the charges of a formula unit of (symbol, count): the balance, or why there is none."""
    if len(unit) == 1:
        return "an element"
    if len(unit) > MAX_BALANCED:
        return "charge balance not checked for more than eight elements"
    symbols = [s for s, _ in unit]
    if balance := balance_of(unit):
        return f"charge-balanced {balance.words(symbols)}"
    if all_metals(symbols):
        return "an alloy: no charges to balance"
    words = "no common oxidation states balance"
    if of_metals := hint_of_metals(unit):
        return f"{words}, {of_metals}"
    common = [periodic_table()[s].common or (0,) for s in symbols]
    charges = (sum(q * n for q, (_, n) in zip(states, unit, strict=True)) for states in product(*common))
    least = min(charges, key=abs)
    # zero, where only an assignment against the electronegativities would balance
    best = f" (the best assignment leaves {least:+d})" if least else ""
    return f"{words}{best}, as in some real compounds; there may be bonds between like atoms"


@lru_cache(maxsize=2000)
def _balance(unit: Unit) -> Balance | None:
    if not 1 < len(unit) <= MAX_BALANCED:
        return None
    cyanide = _with_cyanide(unit)
    return (cyanide and _one_or_two_valences(cyanide)) or _one_or_two_valences(unit) or _with_polyanion(unit)


def _with_cyanide(unit: Unit) -> Unit:
    """The unit with CN as one ion if it has as much C as N beside metals, H and water; empty otherwise."""
    counts = dict(unit)
    others = tuple((s, n) for s, n in unit if s not in ("C", "N"))
    metals = {s for s, _ in others if periodic_table()[s].is_metal}
    n_ions, n_water = counts.get("C", 0), counts.get("O", 0)
    if not others or n_ions != counts.get("N") or {s for s, _ in others} - metals - {"H", "O"}:
        return ()
    if n_water if not metals else counts.get("H", 0) != 2 * n_water:
        return ()
    return (*others, (CYANIDE, n_ions))


def _one_or_two_valences(unit: Unit) -> Balance | None:
    """The balance with one state per element, or two of one element if fewer states are then uncommon."""
    elements, symbols = [_element(s) for s, _ in unit], {s for s, _ in unit}
    if all_metals(symbols):
        return _cheapest(
            unit, [[q for q in e.common if q not in ALSO_COMMON.get(e.symbol, ())] for e in elements]
        )
    common = [e.common or e.known for e in elements]  # first: fewer, and mostly enough
    balance = _cheapest(unit, common)
    if balance and not balance.cost:
        return balance
    known = [e.known_beside(symbols) for e in elements]
    balances = [balance, _cheapest(unit, known)]
    for ratio in (unit, tuple((s, 2 * n) for s, n in unit)):  # SbO2 is Sb3+ Sb5+ 4 O2−
        for i, element in enumerate(elements):
            pairs = [pair for pair in element.valences if pair[1] in known[i]]
            last = (*ratio[:i], *ratio[i + 1 :], ratio[i])
            balances += [_cheapest(last, [*common[:i], *common[i + 1 :]], pairs)] if pairs else []
    return min(filter(None, balances), key=lambda one: one.cost, default=None)


def _with_polyanion(unit: Unit) -> Balance | None:
    """The balance of metals against superoxide, ozonide, azide or triiodide ions; None where there is none.

    Azides are known of most metals, the others of alkali metals.
    """
    for name, (symbol, atoms) in POLYANIONS.items():
        n_ions, rest = divmod(dict(unit).get(symbol, 0), atoms)
        metals = tuple((s, n) for s, n in unit if s != symbol)
        form_it = all(periodic_table()[s].is_metal if name == "azide" else s in ALKALI for s, _ in metals)
        if n_ions and not rest and form_it:
            with_ion = (*metals, (f"({symbol}{atoms})", n_ions))
            if balance := _cheapest(with_ion, [_element(s).known for s, _ in with_ion]):
                return balance
    return None


def _element(symbol: str) -> ElementData:
    return _IONS.get(symbol) or periodic_table()[symbol]


def _place(symbol: str) -> tuple[float, str]:
    """Where an element stands among the ions."""
    return _element(symbol).electronegativity, symbol


def _cheapest(
    unit: Unit, states: Sequence[Sequence[int]], pairs: Sequence[tuple[int, int]] = ()
) -> Balance | None:
    """The cheapest oxidation states that cancel; None if there are none.

    Transition metals take uncommon states before other elements do: LaMnO3 holds Mn3+, not La2+. Phosphorus
    with four oxygen atoms is phosphate. Between two balances as good, copper and lead have the lower charge,
    and nitrogen of ammonium: kesterite holds Cu+ and Sn4+, wulfenite Pb2+ and Mo6+.

    Args:
        states: what each element may have; with ``pairs`` each but the last.
        pairs: (low, high) for the last element, which then has both.
    """
    if prod(map(len, states)) > MAX_ASSIGNMENTS:
        return None
    *others, own = [*states, pairs] if pairs else [*states[:-1], [(q, q) for q in states[-1]]]
    elements, numbers, counts = [_element(s) for s, _ in unit], [n for _, n in unit], dict(unit)
    n_hydrogen = counts.get("H", 0)
    phosphate = counts.get("O", 0) >= 4 * counts.get("P", 0)
    # beside copper a selenite, not a selenate, is formed
    lower = {s for s in counts if s in ("Cu", "Pb") or ("Cu" in counts and not _element(s).may_mix)}
    lower |= {"N"} if n_hydrogen >= 3 * counts.get("N", 0) else set()
    best: tuple[tuple[int, int], list[tuple[ElementData, int, int]]] | None = None
    for choice in product(*others):
        missing = -sum(q * n for q, n in zip(choice, numbers, strict=False))
        for low, high in own:
            left, gap = missing - low * numbers[-1], high - low
            n_high, rest = divmod(left, gap) if gap else (0, left)
            if rest or (gap and not 0 < n_high < numbers[-1]):
                continue
            ions = [*zip(elements, choice, numbers, strict=False), (elements[-1], low, numbers[-1] - n_high)]
            ions += [(elements[-1], high, n_high)] if gap else []
            if not _is_sound(ions, n_hydrogen):
                continue
            cost = bool(gap) + sum(
                e.cost(q) or 2 * (phosphate and (e.symbol, q) == ("P", 3)) for e, q, _ in ions
            )
            rank = cost, sum(q for e, q, _ in ions if e.symbol in lower)
            if best is None or rank < best[0]:
                best = rank, ions
    if best is None:
        return None
    ions = sorted(best[1], key=lambda ion: _place(ion[0].symbol))
    return Balance(ions=tuple((e.symbol, q, n) for e, q, n in ions), cost=best[0][0])


def _is_sound(ions: Sequence[tuple[ElementData, int, int]], n_hydrogen: int) -> bool:
    """Whether there are charges, and each cation is a metal or less electronegative than every anion.

    There is no S cation beside Sn, and no nitride beside nitrate. But nitrogen of ammonium is bound to
    hydrogen, however electronegative the other cations: NH4ClO4.
    """
    cations = [e for e, q, _ in ions if q > 0]
    anions = [e for e, q, n in ions if q < 0 and (e.symbol != "N" or n_hydrogen < 3 * n)]
    return any(q for _, q, _ in ions) and not any(
        c is a or (c.electronegativity > a.electronegativity and (not c.is_metal or a.is_metal))
        for c in cations
        for a in anions
    )
