"""What a chemist types as a formula: parsed, weighed, charge-checked, and the numbers of formula units worth trying."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import compress, pairwise, product
from math import gcd, prod
from pathlib import Path
from typing import TYPE_CHECKING

from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from pymatgen.core import Composition

MAX_LENGTH, MAX_COUNT, MAX_DEPTH = 200, 1000, 5
MAX_BATCH = 20  # formulas run together; as many as may wait in the queue
BETWEEN = re.compile(r"[\n\r;\t]+|(?<!\d),|,(?!\d)")  # a comma between two digits is a decimal one
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
TOKEN = re.compile(r"([A-Z][a-z]?)(\d*)|([(\[])|([)\]])(\d*)")
CLOSING = {"(": ")", "[": "]"}
MAX_BALANCED = 8  # elements
MAX_ASSIGNMENTS = 200_000  # of oxidation states to elements: a fraction of a second
CHALCOGENS = ("O", "S", "Se", "Te")
ALSO_COMMON = {"Cu": (1,)}  # pymatgen calls only Cu2+ common, but chalcopyrite, kesterite and delafossites hold Cu+
ALKALI = ("Li", "Na", "K", "Rb", "Cs")
POLYANIONS = (("O", 2, "superoxide"), ("O", 3, "ozonide"), ("N", 3, "azide"), ("I", 3, "triiodide"))  # of charge −1, with their atoms
# With metals alone these often form compounds that bonds between like atoms or free electrons hold together: MgB2, Fe3C, FeSi2.
OFTEN_METALLIC = {"B": "boride", "C": "carbide", "Si": "silicide", "P": "phosphide", "As": "arsenide", "N": "nitride", "H": "hydride"}


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Charges of ions that cancel.

    Attributes:
        ions: (symbol, charge, count) by electronegativity; an element of mixed valence stands there twice, an ion of like atoms as "(N3)".
        how: by what but one state for each element, such as "with mixed valence"; else empty.
    """

    ions: tuple[tuple[str, int, int], ...]
    how: str = ""

    def words(self, symbols: Sequence[str] = ()) -> str:
        """To go on after "it balances", such as "with mixed valence as Fe2+ 2 Fe3+ 4 O2−"; in the order of ``symbols`` where given."""
        places = {symbol: place for place, symbol in enumerate(symbols)}
        return f"{self.how} as {_ions(sorted(self.ions, key=lambda ion: places.get(ion[0], len(places))))}".strip()


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A parsed formula.

    Attributes:
        counts: (symbol, count) as typed. unit: the same over their greatest common divisor: one formula unit.
        molar_mass: g/mol of one formula unit. hint: charge balance in words.
    """

    text: str
    counts: tuple[tuple[str, int], ...]
    unit: tuple[tuple[str, int], ...]
    molar_mass: float
    hint: str

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
        numbers = _elements()
        chosen = self.counts if exact else tuple((s, z * n) for s, n in self.unit)
        return sorted(numbers[s].number for s, n in chosen for _ in range(n))


def formula_of(composition: Composition) -> str:
    """The formula to show of a composition: elements by electronegativity, counts over their greatest common divisor.

    Unlike pymatgen's ``reduced_formula`` it names no molecule: five atoms of oxygen are O and not O2, LiO is not Li2O2.

    >>> from pymatgen.core import Composition
    >>> [formula_of(Composition(text)) for text in ("O5", "I6Pb2Cs2", "LiO", "Li3Fe2P3O12")]
    ['O', 'CsPbI3', 'LiO', 'Li3Fe2(PO4)3']
    """
    from pymatgen.core.composition import reduce_formula

    counts = {symbol: round(n, 3) for symbol, n in composition.get_el_amt_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases have no electronegativity to sort symbols by
        return str(reduce_formula(counts)[0])


def parse_formula(text: str) -> Formula:
    """Element symbols with whole counts, brackets, hydrates with a dot, subscript digits.

    Raises:
        RequestError: anything else, with what is wrong and what to write.
    """
    if len(text) > MAX_LENGTH:
        raise RequestError(f"The formula is longer than {MAX_LENGTH} characters; write e.g. TiO2.")
    plain = re.sub(r"\s+", "", text.translate(SUBSCRIPTS))
    if not plain:
        raise RequestError("Type a formula, e.g. TiO2.")
    if re.search(r"\d[.,]\d", plain):
        raise RequestError(f"'{_short(text)}' has fractional counts; a unit cell holds whole atoms. Multiply the formula until all counts are whole.")
    if re.search(r"[+\-−⁺⁻^]", plain):
        raise RequestError(f"'{_short(text)}' carries a charge; a crystal is neutral. Write the neutral formula, e.g. NaCl.")
    counts: dict[str, int] = {}
    for part in re.split(r"[·•∙*.]", plain):
        lead = re.match(r"\d*", part)
        factor = int(lead.group()) if lead and lead.group() else 1
        found = _parse_part(part[lead.end() if lead else 0 :], text)
        if not found:
            raise RequestError(f"'{_short(text)}' holds no atoms in one of its parts. Write element symbols and counts, e.g. NaCl or CuSO4·5H2O.")
        for symbol, n in found.items():
            counts[symbol] = counts.get(symbol, 0) + factor * n
    missing = [symbol for symbol, n in counts.items() if not n]
    if missing:
        raise RequestError(f"'{_short(text)}' counts no atoms of {', '.join(missing)}. Leave the element out or write how many there are.")
    if max(counts.values()) > MAX_COUNT:
        raise RequestError(f"'{_short(text)}' has more than {MAX_COUNT} atoms of one element; write one formula unit.")
    divisor = gcd(*counts.values())
    unit = tuple((s, n // divisor) for s, n in counts.items())
    elements = _elements()
    mass = sum(elements[s].mass * n for s, n in unit)
    return Formula(text=text.strip(), counts=tuple(counts.items()), unit=unit, molar_mass=round(mass, 3), hint=_charge_hint(unit))


@dataclass(frozen=True, kw_only=True)
class BatchLine:
    """One entry of a list of formulas: either the formula or, in one sentence, what is wrong with it."""

    text: str
    formula: Formula | None = None
    error: str = ""


def parse_formulas(text: str) -> list[BatchLine]:
    """The entries of a list, one a line or between commas or semicolons; empty ones and repetitions are left out.

    Raises:
        RequestError: more than :data:`MAX_BATCH`.
    """
    entries = list(dict.fromkeys(entry for part in BETWEEN.split(text) if (entry := part.strip())))
    if len(entries) > MAX_BATCH:
        raise RequestError(f"The list has {len(entries)} formulas and {MAX_BATCH} can run together; split it.")
    lines = []
    for entry in entries:
        try:
            lines.append(BatchLine(text=entry, formula=parse_formula(entry)))
        except RequestError as error:
            lines.append(BatchLine(text=_short(entry), error=str(error)))
    return lines


def atomic_number_of(symbol: str) -> int:
    """The proton number of an element symbol.

    Raises:
        RequestError: there is no such element.
    """
    found = _elements().get(symbol.strip())
    if found is None:
        near = get_close_matches(symbol.strip().capitalize(), list(_elements()), n=1, cutoff=0.4)
        tip = f" Did you mean {near[0]}?" if near else ""
        raise RequestError(f"'{_short(symbol)}' is not an element.{tip} Write symbols such as Li or O.")
    return found.number


def parse_elements(text: str) -> tuple[str, ...]:
    """The element symbols of a text such as ``Li-Fe-O``, ``Li, Fe, O`` or ``LiFeO``, each once and in order; empty for an empty text.

    Raises:
        RequestError: a part is no element, or carries a number.

    >>> parse_elements("Li-Fe–O, Fe")
    ('Li', 'Fe', 'O')
    """
    found: list[str] = []
    for part in re.split(r"[\s,;/+–—-]+", text):
        if any(c.isdigit() for c in part.translate(SUBSCRIPTS)):
            raise RequestError(
                f"'{_short(part)}' holds numbers; only elements are named here, e.g. Li-Fe-O. For a formula there is structure prediction."
            )
        together = re.findall(r"[A-Z][a-z]?", part)
        symbols = together if "".join(together) == part and part not in _elements() else [part]
        for symbol in filter(None, symbols):
            atomic_number_of(symbol)
            found.append(symbol)
    return tuple(dict.fromkeys(found))


def default_z(formula: Formula, max_atoms: int = 20, at_most: int = 3, *, atom_counts: Collection[int] | None = None) -> tuple[int, ...]:
    """Formula units per cell that are most frequent in training for this stoichiometry, at most ``max_atoms`` atoms.

    Args:
        atom_counts: the sizes of cell that a model is confined to, which then give all its formula units; None or empty for no such bound.
    """
    if atom_counts:
        return tuple(n // formula.n_atoms for n in atom_counts if n % formula.n_atoms == 0)
    if len(formula.unit) == 1:
        return (1, 2, 4)[:at_most]  # the many known forms of a few elements would hide bcc, hcp and fcc
    key = "-".join(map(str, sorted(n for _, n in formula.unit)))
    seen = {int(z): n for z, n in _z_counts().get(key, {}).items()}
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
            raise RequestError(_unknown(part[position : position + 2], text))
        symbol, count, opening, closing, times = match.groups()
        if symbol:
            if symbol not in _elements():
                raise RequestError(_unknown(symbol, text))
            stack[-1][symbol] = stack[-1].get(symbol, 0) + (int(count) if count else 1)
        elif opening:
            stack.append({})
            opened.append(opening)
            if len(stack) > MAX_DEPTH:
                raise RequestError(f"'{_short(text)}' nests brackets too deeply.")
        elif closing:
            if len(stack) == 1:
                raise RequestError(f"'{_short(text)}' closes a bracket that was never opened.")
            if closing != CLOSING[opened.pop()]:
                raise RequestError(f"'{_short(text)}' closes a round bracket with a square one or the reverse. Write both alike.")
            inner = stack.pop()
            for name, n in inner.items():
                stack[-1][name] = stack[-1].get(name, 0) + n * (int(times) if times else 1)
        position = match.end()
    if len(stack) > 1:
        raise RequestError(f"'{_short(text)}' has an open bracket without its end.")
    return stack[0]


def _unknown(symbol: str, text: str) -> str:
    near = get_close_matches(symbol.capitalize(), list(_elements()), n=1, cutoff=0.4)
    tip = f" Did you mean {near[0]}?" if near else ""
    return f"Formula '{_short(text)}' has an unknown symbol '{_short(symbol)}'.{tip} Write element symbols and counts, e.g. NaCl."


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.strip()[:60])


@dataclass(frozen=True, kw_only=True)
class _Element:
    """What this file needs of the periodic table.

    Attributes:
        common: oxidation states that pymatgen calls common, and those of ALSO_COMMON. known: these, those seen in ICSD, and -1 of the chalcogens, ascending.
        is_metal: without the metalloids. may_mix: metals and metalloids, which may have two valences in one crystal.
    """

    symbol: str
    number: int
    mass: float
    electronegativity: float
    common: tuple[int, ...]
    known: tuple[int, ...]
    is_metal: bool
    is_d_block: bool
    may_mix: bool


@lru_cache(maxsize=1)
def _elements() -> dict[str, _Element]:
    """Symbol → element, from pymatgen's periodic table."""
    from pymatgen.core.periodic_table import Element

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # helium, neon and argon have no electronegativity
        for e in Element:
            if e.symbol in ("D", "T"):
                continue
            common = (*ALSO_COMMON.get(e.symbol, ()), *e.common_oxidation_states)
            known = {*common, *e.icsd_oxidation_states, *((-1,) if e.symbol in CHALCOGENS else ())}
            found[e.symbol] = _Element(
                symbol=e.symbol, number=e.Z, mass=float(e.atomic_mass), electronegativity=float(e.X), common=common,
                known=tuple(sorted(known)), is_metal=e.is_metal, is_d_block=e.is_transition_metal and not e.is_lanthanoid,
                may_mix=e.is_metal or e.is_metalloid,
            )  # fmt: skip
    return found


@lru_cache(maxsize=1)
def _z_counts() -> dict[str, dict[str, int]]:
    path = Path(__file__).parent / "reference" / "z_counts.json"
    return json.loads(path.read_text(encoding="utf-8"))


def balance_of(counts: Iterable[tuple[str, int]]) -> Balance | None:
    """The charges by which a composition of (symbol, count) balances; None for an element, for an alloy and where nothing is known to balance."""
    given, elements = tuple(counts), _elements()
    if not all(s in elements for s, _ in given):  # deuterium
        return None
    divisor = gcd(*(n for _, n in given))
    # always in the same order: which of two balances comes first must not depend on how the formula was typed
    return _balance(tuple(sorted(((s, n // divisor) for s, n in given), key=lambda pair: (elements[pair[0]].electronegativity, pair[0]))))


def hint_of_metals(counts: Iterable[tuple[str, int]]) -> str:
    """Why no charges are to be expected in a compound of metals with one other element, such as "as in many borides of metals"; else empty."""
    elements = _elements()
    others = [s for s, _ in counts if s not in elements or not elements[s].is_metal]
    return f"as in many {OFTEN_METALLIC[others[0]]}s of metals" if len(others) == 1 and others[0] in OFTEN_METALLIC else ""


def _charge_hint(unit: tuple[tuple[str, int], ...]) -> str:
    from crystal_core.evaluation.validity import all_metals

    if len(unit) == 1:
        return "an element"
    if len(unit) > MAX_BALANCED:
        return "charge balance not checked for more than eight elements"
    symbols = [s for s, _ in unit]
    if found := balance_of(unit):
        return f"charge-balanced {found.words(symbols)}"
    return "an alloy: no charges to balance" if all_metals(symbols) else _unbalanced(unit)


@lru_cache(maxsize=2000)
def _balance(unit: tuple[tuple[str, int], ...]) -> Balance | None:
    from crystal_core.evaluation.validity import all_metals

    symbols = [s for s, _ in unit]
    if not 1 < len(unit) <= MAX_BALANCED:
        return None
    alloy = all_metals(symbols)
    common = [[q for q in _elements()[s].common if not alloy or q not in ALSO_COMMON.get(s, ())] for s in symbols]
    choice = _balanced(unit, [tuple(states) or (0,) for states in common])
    if choice is None and alloy:
        return None
    choice = choice or _balanced(unit, [_elements()[s].known or (0,) for s in symbols])
    if choice is not None:
        pairs = [s for s, q in zip(symbols, choice, strict=True) if s in CHALCOGENS and q == -1]
        with_pairs = " ".join(f"with {s}–{s} pairs" for s in pairs)  # peroxides, pyrite
        return Balance(ions=tuple((s, q, n) for q, (s, n) in zip(choice, unit, strict=True)), how=with_pairs)
    twice = tuple((s, 2 * n) for s, n in unit)  # SbO2 is Sb3+ Sb5+ 4 O2−
    for ratio, (place, symbol) in product((unit, twice), enumerate(symbols)):
        if _elements()[symbol].may_mix and (ions := _mixed_valence(ratio, place)):
            return Balance(ions=tuple(ions), how="with mixed valence")
    return _with_polyanions(unit)


def _unbalanced(unit: tuple[tuple[str, int], ...]) -> str:
    """What is said where nothing balances: a hint, as real compounds are like that."""
    words = "no common oxidation states balance"
    if of_metals := hint_of_metals(unit):
        return f"{words}, {of_metals}"
    common = [_elements()[s].common or (0,) for s, _ in unit]
    least = min((sum(q * n for q, (_, n) in zip(states, unit, strict=True)) for states in product(*common)), key=abs)
    # zero, where only an assignment against the electronegativities would balance
    best = f" (the best assignment leaves {least:+d})" if least else ""
    return f"{words}{best}, as in some real compounds with bonds between like atoms"


def _with_polyanions(unit: tuple[tuple[str, int], ...]) -> Balance | None:
    """The balance of metals against superoxide, ozonide, azide or triiodide ions; None where there is none.

    Azides are known of most metals, the others of alkali metals.
    """
    for symbol, atoms, name in POLYANIONS:
        n_ions, rest = divmod(dict(unit).get(symbol, 0), atoms)
        others = [(s, n) for s, n in unit if s != symbol]
        if rest or not n_ions or not others or not all(s in ALKALI if name != "azide" else _elements()[s].is_metal for s, _ in others):
            continue
        states = [[q for q in _elements()[s].known if q > 0] for s, _ in others]
        for choice in product(*states) if prod(map(len, states)) <= MAX_ASSIGNMENTS else ():
            if sum(q * n for q, (_, n) in zip(choice, others, strict=True)) == n_ions:
                cations = ((s, q, n) for q, (s, n) in zip(choice, others, strict=True))
                return Balance(ions=(*cations, (f"({symbol}{atoms})", -1, n_ions)), how=f"with {name} ions")
    return None


def _balanced(unit: tuple[tuple[str, int], ...], states: list[tuple[int, ...]]) -> tuple[int, ...] | None:
    """One oxidation state per element whose charges cancel, with as few uncommon ones as possible; None where there is none.

    A cation is a metal, or less electronegative than every anion: sulfur is no cation beside tin. A transition metal takes
    an uncommon state sooner than another element: LaMnO3 holds Mn3+, not La2+. Between two balances as good, copper and
    lead have the lower charge: kesterite holds Cu+ and Sn4+, wulfenite Pb2+ and Mo6+.
    """
    elements = [_elements()[s] for s, _ in unit]
    with_copper = any(e.symbol == "Cu" for e in elements)  # beside which a selenite, not a selenate, is formed
    lower = [e.symbol in ("Cu", "Pb") or (with_copper and not e.may_mix) for e in elements]
    best: tuple[tuple[int, int], tuple[int, ...]] | None = None
    if prod(map(len, states)) > MAX_ASSIGNMENTS:
        return None
    for choice in product(*states):
        if sum(q * n for q, (_, n) in zip(choice, unit, strict=True)) or not any(choice):
            continue
        anions = [e for e, q in zip(elements, choice, strict=True) if q < 0]
        cations = [e for e, q in zip(elements, choice, strict=True) if q > 0]
        if any(c.electronegativity > a.electronegativity and (not c.is_metal or a.is_metal) for c in cations for a in anions):
            continue
        uncommon = sum((1 if e.is_d_block else 2) for e, q in zip(elements, choice, strict=True) if not q or q not in e.common)
        rank = uncommon, sum(compress(choice, lower))
        if best is None or rank < best[0]:
            best = rank, choice
    return None if best is None else best[1]


def _mixed_valence(unit: tuple[tuple[str, int], ...], place: int) -> list[tuple[str, int, int]]:
    """(symbol, charge, count) of a balance that gives the element at ``place`` two neighbouring cation states; empty where there is none."""
    symbol, count = unit[place]
    own = [q for q in _elements()[symbol].known if q > 0]
    others = [*unit[:place], *unit[place + 1 :]]
    for choice in product(*(_elements()[s].common or (0,) for s, _ in others)):
        needed = -sum(q * n for q, (_, n) in zip(choice, others, strict=True))
        for low, high in pairwise(own):
            n_high, rest = divmod(needed - low * count, high - low)
            if not rest and 0 < n_high < count:
                ions = [(s, q, n) for q, (s, n) in zip(choice, others, strict=True)]
                return [*ions[:place], (symbol, low, count - n_high), (symbol, high, n_high), *ions[place:]]
    return []


def _ions(ions: Iterable[tuple[str, int, int]]) -> str:
    return " ".join(f"{f'{n} ' if n > 1 else ''}{s}{abs(q) if abs(q) != 1 else ''}{'+' if q > 0 else '−'}" for s, q, n in ions)


def rare_elements(formula: Formula, fewer_than: int = 200) -> dict[str, int]:
    """Elements of the formula that fewer than so many training crystals hold, with how many: predictions are weak there."""
    counts = element_counts()
    numbers = _elements()
    return {s: n for s, _ in formula.unit if (n := counts.get(str(numbers[s].number), 0)) < fewer_than}


@lru_cache(maxsize=1)
def element_counts() -> dict[str, int]:
    """Atomic number (as text) → how many MP-20 training crystals hold the element."""
    return json.loads((Path(__file__).parent / "reference" / "element_counts.json").read_text(encoding="utf-8"))
