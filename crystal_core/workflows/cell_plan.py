"""Which cells a generation makes: atom counts, elements, space groups, conditions, from the seed."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crystal_core.chemistry.alternatives import in_words, still_needed
from crystal_core.chemistry.formula import atomic_number_of, parse_formula
from crystal_core.conditions import DraftOptions
from crystal_core.errors import RequestError
from crystal_core.registry.store import find_card
from crystal_core.requests import MAX_ATOMS, CellSymmetry, CrystalGenerationRequest
from crystal_core.workflows.generation_conditions import (
    PlannedCrystal,
    alternatives_of,
    crystals_of_counts,
    plan_crystals,
)
from crystal_core.workflows.training_range import note_on_sizes, refiner_card, trained_sizes

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard
    from crystal_core.generators.prototype.space_groups import SpaceGroupAssignments
    from crystal_core.protocols import DeNovoGenerator
    from crystal_core.workflows.redraft import Redraft


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of a run, or of a part of it.

    Attributes:
        counts: atoms of each, or the most where the model may choose.
        symmetry: the operations of each, or None.
        planned: conditions of each crystal, empty for none. starts: a crystal that each starts from, or None.
    """

    counts: tuple[int, ...]
    symmetry: tuple[CellSymmetry, ...] | None = None
    planned: tuple[PlannedCrystal, ...] = ()
    starts: tuple[Redraft, ...] | None = None

    def __getitem__(self, some: slice) -> Cells:
        return Cells(
            counts=self.counts[some],
            symmetry=None if self.symmetry is None else self.symmetry[some],
            planned=self.planned[some],
            starts=None if self.starts is None else self.starts[some],
        )


def plan_cells(request: CrystalGenerationRequest, model: DeNovoGenerator) -> Cells:
    """All cells of a run, drawn from its seed.

    Raises:
        RequestError: no cell meets the request.
    """
    frequencies = model.atom_count_frequencies
    if model.card.writes_drafts:
        planned = tuple(plan_crystals(request, model.card, frequencies=frequencies))
        return Cells(counts=tuple(crystal.most for crystal in planned), planned=planned)
    assignments = None if request.space_group is None else space_group_assignments(request, frequencies)
    possible = room_for_all(request) if assignments is None else assignments.atom_counts
    counts = draw_atom_counts(request, frequencies, possible)
    symmetry = None if assignments is None else draw_symmetry(assignments, counts, request.seed)
    planned = crystals_of_counts(request, model.card, counts)
    return Cells(counts=tuple(counts), symmetry=symmetry, planned=planned)


def allowed_elements(
    request: CrystalGenerationRequest, known: Collection[int], name: str | None = None
) -> tuple[int, ...]:
    """Atomic numbers the crystals may hold: requested ones, or all ``known``, without excluded ones.

    Args:
        name: of the models that know them, in messages; the model's where it is None.

    Raises:
        RequestError: an unknown symbol, an element the model was not trained on, no element is
            left, an excluded element is allowed by name, demanded, of the formula or of the kept part of a
            structure to complete, or a demanded one is not among the allowed ones.
    """
    name, fixed = name or request.model, _fixed_elements(request)
    wanted = [atomic_number_of(symbol) for symbol in request.elements]
    excluded = {atomic_number_of(symbol) for symbol in request.exclude_elements}
    foreign = [
        symbol for symbol, z in zip(request.elements, wanted, strict=True) if z not in known
    ] + _symbols(fixed - set(known))
    if foreign:
        raise RequestError(
            f"{name} was not trained on {', '.join(foreign)}, so it cannot place it; leave it out "
            "or choose another model."
        )
    if both := _symbols(set(wanted) & excluded):
        words, them = ("are", "each of them") if len(both) > 1 else ("is", "it")
        raise RequestError(
            f"{', '.join(both)} {words} both allowed and excluded; take {them} out of one of the two lists."
        )
    formula = parse_formula(request.formula) if request.formula else None
    if formula and (both := _symbols(excluded & set(formula.atomic_numbers_of(1)))):
        raise RequestError(
            f"{', '.join(both)} must not appear, but the formula {request.formula} holds it; allow it or "
            "choose another formula."
        )
    left = tuple(z for z in sorted(set(wanted or known)) if z not in excluded)
    if not left:
        raise RequestError(
            "The excluded elements leave none to build a crystal from; allow more elements or exclude fewer."
        )
    if barred := _symbols(fixed - set(left)):
        raise RequestError(
            f"{', '.join(barred)} must not appear, but the given structure keeps it; "
            "allow it or keep other parts."
        )
    required = set(required_elements(request))
    if lacking := _symbols(required - set(known)):
        raise RequestError(
            f"{name} was not trained on {', '.join(lacking)}, so it cannot place it; leave it out "
            "or choose another model."
        )
    if barred := _symbols(required & excluded):
        raise RequestError(
            f"{', '.join(barred)} must not appear, but every crystal must hold it; "
            "take it out of one of the two lists."
        )
    if absent := _symbols(required - set(left)):
        raise RequestError(
            f"Every crystal must hold {', '.join(absent)}, which the list of allowed elements lacks; add it "
            "to that list or demand it no longer."
        )
    for some, symbols in zip(alternatives_of(request), in_words(request.any_of), strict=True):
        if not set(some) & set(known):
            raise RequestError(
                f"{name} was not trained on {symbols}, so it cannot place one of them; name other "
                "elements or choose another model."
            )
        if not set(some) & set(left):
            raise RequestError(
                f"Every crystal must hold {symbols}, and the lists of elements allow none of them; allow one."
            )
    return left


def note_on_formula(text: str | None) -> str | None:
    """Notes on how a formula is read, and on a multiple of another one, of which cells hold whole units."""
    formula = None if text is None else parse_formula(text)
    if formula is None:
        return None
    unit = formula.reduced_formula
    multiple = (
        ""
        if formula.counts == formula.unit
        else f"{text} is a multiple of {unit}; a cell holds units of {unit}."
    )
    return " ".join(filter(None, (formula.note, multiple))) or None


def note_on_alternatives(request: CrystalGenerationRequest, known: Collection[int]) -> str | None:
    """A note on alternatives that the model was not trained on, so that no crystal holds them."""
    unknown = {z for some in alternatives_of(request) for z in some} - set(known)
    if not unknown:
        return None
    return f"{request.model} was not trained on {', '.join(_symbols(unknown))}, so no crystal holds it."


def room_for_all(request: CrystalGenerationRequest) -> range | None:
    """Atom counts with room for kept sites and all requested elements; None if some may be missing."""
    return range(_least_atoms(request), MAX_ATOMS + 1) if request.demands_elements else None


def required_elements(request: CrystalGenerationRequest) -> list[int]:
    """Atomic numbers that every crystal must hold, each once."""
    return list(dict.fromkeys(map(atomic_number_of, request.must_hold)))


def held_elements(
    request: CrystalGenerationRequest,
    allowed: Collection[int],
    held: Collection[int],
    room: int,
    draw: random.Random,
) -> list[int]:
    """Atomic numbers that one crystal still has to hold: the required ones, and one of each list, drawn.

    Every allowed element of a list is as likely as the others, where the room permits.

    Args:
        held: elements of the kept part. room: atoms beside it.
    """
    chosen = [z for z in required_elements(request) if z not in held]
    lists = tuple(frozenset(some) & frozenset(allowed) for some in alternatives_of(request))
    while True:
        now = frozenset({*held, *chosen})
        n, useful = still_needed(lists, now)
        if not n:
            return chosen
        if len(chosen) >= room:
            raise RequestError(
                f"No crystal of so few atoms can hold {', '.join(in_words(request.any_of))} beside its other "
                "elements; allow more atoms."
            )
        first = next(one for one in lists if not one & now)
        chosen.append(draw.choice(sorted(useful if n >= room - len(chosen) else first)))


def _least_atoms(request: CrystalGenerationRequest) -> int:
    """Atoms of the smallest cell with the kept sites and all requested elements."""
    n_fixed = (
        0
        if request.fix is None
        else len(request.fix["atomic_numbers"] if request.fix_elements else set(request.fix_sites))
    )
    fixed = frozenset(_fixed_elements(request))
    barred = frozenset(map(atomic_number_of, request.exclude_elements))
    wanted = frozenset(map(atomic_number_of, request.elements))
    lists = tuple(
        frozenset(z for z in some if z not in barred and (z in wanted or not wanted))
        for some in alternatives_of(request)
    )
    return n_fixed + still_needed(lists, fixed, frozenset(required_elements(request)) - fixed)[0]


def _symbols(atomic_numbers: Collection[int]) -> list[str]:
    from pymatgen.core import Element

    return [Element.from_Z(z).symbol for z in sorted(atomic_numbers)]


def _fixed_elements(request: CrystalGenerationRequest) -> set[int]:
    """Atomic numbers of the kept part of the structure to complete."""
    if request.fix is None:
        return set()
    numbers = request.fix["atomic_numbers"]
    return set(numbers if request.fix_elements else [numbers[site] for site in request.fix_sites])


def check_atom_counts(request: CrystalGenerationRequest, frequencies: Mapping[int, float]) -> str | None:
    """A note on atom counts beyond those of the training crystals; None within them.

    Raises:
        RequestError: all requested counts, or those of the structure to complete, are below the least trained
            one, or other than the only one; or no cell of such counts can hold all requested elements.
    """
    _check_room(request, frequencies)
    if not frequencies or (request.n_atoms is None and request.fix is None):
        return None
    low, high = request.n_atoms or (len((request.fix or {})["atomic_numbers"]),) * 2
    least, most = min(frequencies), max(frequencies)
    trained = f"{request.model} was trained on cells of {_span(least, most)} atoms"
    if high < least or (least == most and not low <= least <= high):
        raise RequestError(
            f"{trained} and knows none of {_span(low, high)}; ask for another number or choose another model."
        )
    return f"{trained}; other numbers of atoms are a guess." if low < least or high > most else None


def notes_on_sizes(
    request: CrystalGenerationRequest, card: ModelCard, frequencies: Mapping[int, float]
) -> str | None:
    """What :func:`check_atom_counts` notes, and the same on the refiner of the drafts; None within both.

    Raises:
        RequestError: as :func:`check_atom_counts`; or no cell of the requested formula has the
            requested atoms.
    """
    note, sizes = check_atom_counts(request, frequencies), _possible_sizes(request, card, frequencies)
    refiner = refiner_card(card, DraftOptions(**request.draft_fields))
    drafts = request.start_from is None or request.redraft_all or bool(request.redraft_sites)
    cards = [card] if drafts and note is None else []
    if refiner is not None and (note is None or trained_sizes(refiner) != trained_sizes(card)):
        cards.append(refiner)
    return " ".join(filter(None, (note, note_on_sizes(cards, sizes)))) or None


def _possible_sizes(
    request: CrystalGenerationRequest, card: ModelCard, frequencies: Mapping[int, float]
) -> Collection[int]:
    """Numbers of atoms that the cells of a run may have."""
    if request.start_from is not None:
        return {len(request.start_from["atomic_numbers"])}
    if card.writes_drafts and request.formula:
        return {crystal.most for crystal in plan_crystals(request, card, frequencies=frequencies)}
    if request.n_atoms is not None:
        return range(request.n_atoms[0], request.n_atoms[1] + 1)
    return list(frequencies) if request.fix is None else {len(request.fix["atomic_numbers"])}


def _check_room(request: CrystalGenerationRequest, frequencies: Mapping[int, float]) -> None:
    """Raise RequestError unless a cell of the requested atom counts can hold all required elements."""
    if not request.demands_elements:
        return
    most, least = max(frequencies, default=MAX_ATOMS), _least_atoms(request)
    if request.n_atoms is not None or request.fix is not None:
        most = request.n_atoms[1] if request.n_atoms else len((request.fix or {})["atomic_numbers"])
    if least > most:
        held = ", ".join([*request.must_hold, *in_words(request.any_of)])
        raise RequestError(
            f"A crystal that holds all of {held} needs at least {least} atoms, more "
            f"than the {most} it may have; allow more atoms or let some elements be absent."
        )


def _span(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def space_group_assignments(
    request: CrystalGenerationRequest, frequencies: Mapping[int, float]
) -> SpaceGroupAssignments:
    """Wyckoff assignments of the requested space group, for requested or trained atom counts.

    Raises:
        RequestError: there is no such group, no assignment of such cells, or elements that
            every crystal must hold.
        CheckpointMissing: the table is not installed.
    """
    from crystal_core.evaluation.symmetry import space_group_number, space_group_symbol
    from crystal_core.generators.prototype.space_groups import assignments_of

    if request.demands_elements:
        raise RequestError(
            "A crystal can be made to hold all requested elements or to keep a space group, "
            "not both; leave one of the two out."
        )
    number = space_group_number(request.space_group or "")
    counts = (
        list(frequencies)
        if request.n_atoms is None
        else list(range(request.n_atoms[0], request.n_atoms[1] + 1))
    )
    assignments = assignments_of(find_card("prototype"), number, counts)
    if counts and not assignments.atom_counts:
        size = _span(min(counts), max(counts))
        raise RequestError(
            f"The table of prototypes has no Wyckoff assignment of {size} atoms per primitive cell in "
            f"{space_group_symbol(number)} ({number}); ask for another number of atoms or another group."
        )
    return assignments


def draw_symmetry(
    assignments: SpaceGroupAssignments, counts: list[int], seed: int | None
) -> tuple[CellSymmetry, ...]:
    """An assignment for each crystal, drawn from the seed as often as among known crystals."""
    draw = random.Random(f"{seed} assignments")  # noqa: S311 (no secret)
    return tuple(assignments.draw(count, draw) for count in counts)


def draw_atom_counts(
    request: CrystalGenerationRequest,
    frequencies: Mapping[int, float],
    possible: Collection[int] | None = None,
) -> list[int]:
    """Atom counts drawn up front from the seed: the first do not depend on the number of crystals.

    Without a range, counts come as often as in training; in a range, every count alike, both ends included. A
    structure to complete gives its own count where no other is requested. ``possible`` are the counts of a
    space group, or those with room for all requested elements; None for all.
    """
    draw = random.Random(request.seed)  # noqa: S311 (no secret)
    if request.fix is not None and request.n_atoms is None:
        return [len(request.fix["atomic_numbers"])] * request.n
    if request.n_atoms is not None:
        low, high = request.n_atoms
        if possible is not None:
            return draw.choices([n for n in range(low, high + 1) if n in possible], k=request.n)
        return [draw.randint(low, high) for _ in range(request.n)]
    if not frequencies:
        raise RequestError(
            f"The card of {request.model} does not tell how many atoms its training crystals have; give a "
            "number or range of atoms."
        )
    shares = {n: share for n, share in frequencies.items() if possible is None or n in possible}
    return [draw.choices(list(shares), list(shares.values()))[0] for _ in range(request.n)]
