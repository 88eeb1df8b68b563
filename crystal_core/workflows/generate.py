"""New crystals from a de novo model: draw atom counts, sample in batches, judge each crystal, count the distinct ones."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from crystal_core.conditions import DraftOptions
from crystal_core.errors import MemoryFull, RequestError
from crystal_core.evaluation.alike import alike_groups
from crystal_core.frames import RunUpdate
from crystal_core.guides.protocol import Guide
from crystal_core.records import FORMAT
from crystal_core.requests import (
    MAX_ATOMS,
    CrystalGenerationRequest,
    DeNovoRequest,
    KnownParts,
    from_json,
    seed_or_drawn,
)
from crystal_core.workflows.sampling_run import (
    BATCH,
    HALVED,
    PART_STEPS,
    path_for_player,
    provenance,
    sampled,
    sampler_used,
    with_back_end,
)
from crystal_core.workflows.wishes import PREDICTOR, check_wishes, guided_properties, plan_wishes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from pymatgen.core import Structure

    from crystal_core.frames import Draft
    from crystal_core.generators.prototype.space_groups import SpaceGroupAssignments
    from crystal_core.guides.protocol import DifferentiablePredictor
    from crystal_core.protocols import DeNovoGenerator
    from crystal_core.records import Novelty, RunResult, Snapshot
    from crystal_core.requests import CellSymmetry
    from crystal_core.workflows.wishes import Wish

WHOLE = 1e-3  # how near to whole numbers the axes of a reduced cell have to be, in those of the cell it was
WATCHED = 8  # crystals of the first batch that can be watched while they form, and whose paths are kept


@lru_cache(maxsize=2)
def load_de_novo(name: str, device: str) -> DeNovoGenerator:
    """A model that invents compositions.

    Raises:
        RequestError: it needs a formula. CheckpointMissing: it is not installed.
    """
    from crystal_core.registry.store import find_card, load_generator

    card = find_card(name)
    if card.task != "de novo generation":
        raise RequestError(
            f"{name} needs a formula and invents no composition; use it with 'predict-structure', or choose a de novo model here."
        )
    return cast("DeNovoGenerator", load_generator(name, device))


def run(request: CrystalGenerationRequest | Mapping[str, Any]) -> Iterator[RunUpdate]:
    """Work through a request; every update tells the stage, and with each finished batch the result so far.

    Raises:
        RequestError: an option is wrong. CheckpointMissing: the model is not installed.
    """
    from crystal_core.device import use_threads

    asked = (
        request
        if isinstance(request, CrystalGenerationRequest)
        else from_json(CrystalGenerationRequest, request)
    )
    model = with_back_end(load_de_novo(asked.model, asked.device), asked.back_end)
    asked = replace(asked, seed=seed_or_drawn(asked.seed))
    check_wishes(asked, model.card)
    elements = allowed_elements(asked, model.elements)
    note = check_atom_counts(asked, model.atom_count_frequencies)
    cells = plan_cells(asked, model)
    use_threads(asked.threads)
    size = getattr(model, "batch_crystals", BATCH[getattr(getattr(model, "device", None), "type", "cpu")])
    batches = [slice(i, i + size) for i in range(0, len(cells.counts), size)]
    state = _Run(asked, model, elements, len(batches), cells.symmetry, note)
    for part, batch in enumerate(batches):
        yield from state.part(part, cells[batch])
    yield RunUpdate(stage="done", step=state.total, n_steps=state.total, result=state.result())


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of a run, or of a part of it.

    Attributes:
        counts: atoms of each, or the most where the model may choose. symmetry: the operations of each, or None.
        wishes: what each is told to a model with a prompt, or None.
    """

    counts: tuple[int, ...]
    symmetry: tuple[CellSymmetry, ...] | None = None
    wishes: tuple[Wish, ...] | None = None

    def __getitem__(self, some: slice) -> Cells:
        return Cells(
            counts=self.counts[some],
            symmetry=None if self.symmetry is None else self.symmetry[some],
            wishes=None if self.wishes is None else self.wishes[some],
        )


def plan_cells(asked: CrystalGenerationRequest, model: DeNovoGenerator) -> Cells:
    """All cells of a run, drawn from its seed.

    Raises:
        RequestError: no cell can have what is asked for.
    """
    frequencies = model.atom_count_frequencies
    if model.card.writes_drafts:
        wishes = tuple(plan_wishes(asked, model.card, frequencies=frequencies))
        return Cells(counts=tuple(wish.most for wish in wishes), wishes=wishes)
    assignments = None if asked.space_group is None else space_group_assignments(asked, frequencies)
    possible = room_for_all(asked) if assignments is None else assignments.atom_counts
    counts = draw_atom_counts(asked, frequencies, possible)
    symmetry = None if assignments is None else draw_symmetry(assignments, counts, asked.seed)
    return Cells(counts=tuple(counts), symmetry=symmetry)


def allowed_elements(asked: CrystalGenerationRequest, known: Collection[int]) -> tuple[int, ...]:
    """Atomic numbers the crystals may hold: those asked for, or all ``known`` to the model, less the excluded ones.

    Raises:
        RequestError: an unknown symbol, an element the model was not trained on, nothing is left, or not all of what shall
            stay of a structure to complete, or an element that every crystal shall hold is excluded.
    """
    from crystal_core.chemistry.formula import atomic_number_of

    kept = _kept_elements(asked)
    wanted = [atomic_number_of(symbol) for symbol in asked.elements]
    excluded = {atomic_number_of(symbol) for symbol in asked.exclude_elements}
    foreign = [symbol for symbol, z in zip(asked.elements, wanted, strict=True) if z not in known] + _symbols(
        kept - set(known)
    )
    if foreign:
        raise RequestError(
            f"{asked.model} was not trained on {', '.join(foreign)}, so it cannot place it; leave it out or choose another model."
        )
    left = tuple(z for z in sorted(set(wanted or known)) if z not in excluded)
    if not left:
        raise RequestError(
            "The excluded elements leave none to build a crystal from; allow more elements or exclude fewer."
        )
    if barred := _symbols(kept - set(left)):
        raise RequestError(
            f"{', '.join(barred)} shall stay of the given structure but may not appear; allow it or keep other parts."
        )
    required = set(_required(asked))
    if lacking := _symbols(required - set(known)):
        raise RequestError(
            f"{asked.model} was not trained on {', '.join(lacking)}, so it cannot place it; leave it out or choose another model."
        )
    if barred := _symbols(required - set(left)):
        raise RequestError(
            f"{', '.join(barred)} shall be in every crystal but may not appear; take it out of one of the two lists."
        )
    return left


def room_for_all(asked: CrystalGenerationRequest) -> range | None:
    """The atom counts of cells with room for the kept sites and all wished elements; None where not all have to be there."""
    return range(_least_atoms(asked), MAX_ATOMS + 1) if asked.must_hold else None


def _required(asked: CrystalGenerationRequest) -> list[int]:
    """Atomic numbers that every crystal shall hold, each once."""
    from crystal_core.chemistry.formula import atomic_number_of

    return list(dict.fromkeys(map(atomic_number_of, asked.must_hold)))


def _least_atoms(asked: CrystalGenerationRequest) -> int:
    """Atoms of the smallest cell with the kept sites and all wished elements."""
    kept = (
        0
        if asked.fix is None
        else len(asked.fix["atomic_numbers"] if asked.fix_elements else set(asked.fix_sites))
    )
    return kept + len(set(_required(asked)) - _kept_elements(asked))


def _symbols(atomic_numbers: Collection[int]) -> list[str]:
    from pymatgen.core import Element

    return [Element.from_Z(z).symbol for z in sorted(atomic_numbers)]


def _kept_elements(asked: CrystalGenerationRequest) -> set[int]:
    """Atomic numbers of what shall stay of the structure to complete."""
    if asked.fix is None:
        return set()
    numbers = asked.fix["atomic_numbers"]
    return set(numbers if asked.fix_elements else [numbers[site] for site in asked.fix_sites])


def check_atom_counts(asked: CrystalGenerationRequest, frequencies: Mapping[int, float]) -> str | None:
    """What is to be said of atom counts that reach beyond those of the training crystals; None where they do not.

    Raises:
        RequestError: all that are asked for, or those of the structure to complete, are below the least trained one, or other than the
            only one; or no cell of such counts can hold all wished elements.
    """
    _check_room(asked, frequencies)
    if not frequencies or (asked.n_atoms is None and asked.fix is None):
        return None
    low, high = asked.n_atoms or (len((asked.fix or {})["atomic_numbers"]),) * 2
    least, most = min(frequencies), max(frequencies)
    trained = f"{asked.model} was trained on cells of {_span(least, most)} atoms"
    if high < least or (least == most and not low <= least <= high):
        raise RequestError(
            f"{trained} and knows none of {_span(low, high)}; ask for another number or choose another model."
        )
    return f"{trained}; other numbers of atoms are a guess." if low < least or high > most else None


def _check_room(asked: CrystalGenerationRequest, frequencies: Mapping[int, float]) -> None:
    """Raise RequestError unless a cell of the atom counts asked for can hold all elements that have to be there."""
    if not asked.must_hold:
        return
    most, least = max(frequencies, default=MAX_ATOMS), _least_atoms(asked)
    if asked.n_atoms is not None or asked.fix is not None:
        most = asked.n_atoms[1] if asked.n_atoms else len((asked.fix or {})["atomic_numbers"])
    if least > most:
        raise RequestError(
            f"A crystal that holds all of {', '.join(asked.must_hold)} needs at least {least} atoms, more than the {most} it may have; allow more atoms "
            "or let some elements be absent."
        )


def _span(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def space_group_assignments(
    asked: CrystalGenerationRequest, frequencies: Mapping[int, float]
) -> SpaceGroupAssignments:
    """Wyckoff assignments of the space group asked for, in cells of the atom counts asked for or else of the training crystals.

    Raises:
        RequestError: there is no such group, no assignment of such cells, or elements that every crystal shall hold. CheckpointMissing: the table is not installed.
    """
    from crystal_core.evaluation.symmetry import space_group_number, space_group_symbol
    from crystal_core.generators.prototype.space_groups import assignments_of
    from crystal_core.registry.store import find_card

    if asked.must_hold:
        raise RequestError(
            "A crystal can be made to hold all wished elements or to keep a space group, not both; leave one of the two out."
        )
    number = space_group_number(asked.space_group or "")
    counts = (
        list(frequencies) if asked.n_atoms is None else list(range(asked.n_atoms[0], asked.n_atoms[1] + 1))
    )
    found = assignments_of(find_card("prototype"), number, counts)
    if counts and not found.atom_counts:
        size = _span(min(counts), max(counts))
        raise RequestError(
            f"The table of prototypes has no Wyckoff assignment of {size} atoms per primitive cell in {space_group_symbol(number)} ({number}); "
            "ask for another number of atoms or another group."
        )
    return found


def draw_symmetry(
    assignments: SpaceGroupAssignments, counts: list[int], seed: int | None
) -> tuple[CellSymmetry, ...]:
    """An assignment for each crystal, drawn from the seed as often as among known crystals."""
    import random

    draw = random.Random(f"{seed} assignments")  # noqa: S311 (no secret)
    return tuple(assignments.draw(count, draw) for count in counts)


def draw_atom_counts(
    asked: CrystalGenerationRequest, frequencies: Mapping[int, float], possible: Collection[int] | None = None
) -> list[int]:
    """Atoms of each crystal, all drawn up front from the seed: the first ones do not depend on how many are asked for.

    Without a range, counts come as often as in training; in a range, every count alike, both ends included. A structure
    to complete gives its own count where no other is asked for. ``possible`` are the counts of a space group, or those with
    room for all wished elements; None for all.
    """
    import random

    draw = random.Random(asked.seed)  # noqa: S311 (no secret)
    if asked.fix is not None and asked.n_atoms is None:
        return [len(asked.fix["atomic_numbers"])] * asked.n
    if asked.n_atoms is not None:
        low, high = asked.n_atoms
        if possible is not None:
            return draw.choices([n for n in range(low, high + 1) if n in possible], k=asked.n)
        return [draw.randint(low, high) for _ in range(asked.n)]
    if not frequencies:
        raise RequestError(
            f"The card of {asked.model} does not tell how many atoms its training crystals have; give a number or range of atoms."
        )
    shares = {n: share for n, share in frequencies.items() if possible is None or n in possible}
    return [draw.choices(list(shares), list(shares.values()))[0] for _ in range(asked.n)]


def known_parts(asked: CrystalGenerationRequest, counts: tuple[int, ...]) -> KnownParts | None:
    """What is given of cells of these atom counts.

    The kept sites of ``asked.fix`` come first, then a type each of the elements that every crystal shall hold and no kept
    site has, then those to be sampled.

    Raises:
        StructureParseError: the given structure is no crystal.
    """
    if asked.fix is None and not asked.must_hold:
        return None
    import torch

    from crystal_core.crystal import CrystalBatch
    from crystal_core.files.records import structure_from_record
    from crystal_core.structures import from_structures

    if asked.fix is None:
        # only its types are used; any cell will do
        required = _required(asked)
        given = CrystalBatch(
            atomic_numbers=torch.tensor(required),
            frac_coords=torch.zeros(len(required), 3),
            lattice=5.0 * torch.eye(3)[None],
            n_atoms=torch.tensor([len(required)]),
        )
    else:
        # the models know Niggli-reduced cells; reducing keeps the order of the sites, and in_given_setting undoes it
        given = from_structures([structure_from_record(asked.fix).get_reduced_structure()])
    atoms = len(given.atomic_numbers)
    kept = list(dict.fromkeys(asked.fix_sites))
    order = kept + [i for i in range(atoms) if i not in kept]
    crystals, places, types = [], [], []
    for count in counts:
        chosen = torch.tensor([order[i] if i < atoms else 0 for i in range(count)])
        numbers, typed = (
            given.atomic_numbers[chosen],
            [i < len(kept) or asked.fix_elements for i in range(count)],
        )
        free = (i for i, is_given in enumerate(typed) if not is_given)
        held = {z for z, is_given in zip(numbers.tolist(), typed, strict=True) if is_given}
        for z in _required(asked):
            if z not in held:
                place = next(free)
                numbers[place], typed[place] = z, True
        crystals.append(
            replace(
                given,
                atomic_numbers=numbers,
                frac_coords=given.frac_coords[chosen],
                n_atoms=torch.tensor([count]),
            )
        )
        places += [i < len(kept) for i in range(count)]
        types += typed
    return KnownParts(
        crystals=CrystalBatch.concat(crystals),
        places=tuple(places),
        types=tuple(types),
        lattice=asked.fix_lattice,
    )


def reduction_of(given: Structure) -> NDArray | None:
    """(3, 3) whole numbers: the axes of the reduced cell in those of ``given``, a row each; None where it is reduced already."""
    import numpy as np

    change = given.get_reduced_structure().lattice.matrix @ np.linalg.inv(given.lattice.matrix)
    whole = np.rint(change)
    return None if np.abs(change - whole).max() > WHOLE or (whole == np.eye(3)).all() else whole


def in_given_setting(made: Structure, reduction: NDArray) -> Structure:
    """A crystal sampled in a reduced cell with the axes of the cell that was reduced; kept sites have the coordinates they were given with."""
    from pymatgen.core import Structure

    lattice, frac_coords = _in_axes(made.lattice.matrix, made.frac_coords, reduction)
    return Structure(lattice, made.species, frac_coords)


def _in_axes(lattice: ArrayLike, frac_coords: ArrayLike, reduction: NDArray) -> tuple[NDArray, NDArray]:
    import numpy as np

    from crystal_core.structures import in_cell

    return np.linalg.solve(reduction, np.asarray(lattice)), in_cell(np.asarray(frac_coords) @ reduction)


def _guide(asked: CrystalGenerationRequest, *, writes_drafts: bool) -> Guide | None:
    """Every wish that bends the sampler, as one; None for none, and for a model that is told its wishes."""
    from crystal_core.guides.density import DensityTarget
    from crystal_core.guides.protocol import AllOf

    targets: list[DifferentiablePredictor] = []
    if asked.density is not None:
        targets.append(DensityTarget(asked.density))
    wished = {} if writes_drafts else guided_properties(asked)
    if wished:
        from crystal_core.workflows.predict_properties import load_property_predictor

        predictor = load_property_predictor(PREDICTOR, asked.device)
        targets += [predictor.guide(name, target) for name, target in wished.values()]
    if not targets:
        return None
    strength = 1.0 if asked.guidance is None else asked.guidance
    return Guide(predictor=AllOf(targets), strength=strength)


class _Run:
    """The state of one request: what is planned, what is finished."""

    def __init__(
        self,
        asked: CrystalGenerationRequest,
        model: DeNovoGenerator,
        elements: tuple[int, ...],
        n_parts: int,
        symmetry: tuple[CellSymmetry, ...] | None = None,
        note: str | None = None,
    ) -> None:
        from crystal_core.files.records import structure_from_record

        self.asked, self.model, self.elements, self.symmetry = asked, model, elements, symmetry
        self.notes = [note] if note else []
        self.guide = _guide(asked, writes_drafts=model.card.writes_drafts)
        self.reduction = None if asked.fix is None else reduction_of(structure_from_record(asked.fix))
        self.began = time.monotonic()
        self.structures: list[Structure | None] = []
        self.novelties: list[Novelty] = []  # of the structures that are cells: each is looked up once
        self.drafts: list[Draft] = []  # of all structures, where a language model wrote them
        self.rejected: Counter[str] = Counter()
        self.calls, self.total = 0, PART_STEPS * n_parts

    def part(self, part: int, cells: Cells, *, half: int | None = None) -> Iterator[RunUpdate]:
        """Sample one batch; where the memory does not hold it, its two halves."""
        from crystal_core.structures import to_structures

        counts = cells.counts
        known = None if cells.wishes else known_parts(self.asked, counts)
        request = self._request(cells, (self.asked.seed or 0) + 1000 * part + 500 * (half or 0), known)
        first = len(self.structures) + 1
        stage = f"crystals {first} to {first + len(counts) - 1} of {self.asked.n}"
        watched = 1 if part or half else WATCHED
        try:
            frame, paths = yield from sampled(
                self.model,
                request,
                stage=stage,
                part=part,
                n_steps=self.total,
                watched=watched,
                drawn=self._drawn,
            )
        except MemoryFull:
            if half is not None or len(counts) < 2:
                raise
            self.notes += [] if HALVED in self.notes else [HALVED]
            middle = len(counts) // 2
            for k, some in enumerate((slice(middle), slice(middle, None))):
                yield from self.part(part, cells[some], half=k)
            return
        if frame is None or frame.crystals is None:
            return
        self.calls += getattr(self.model, "network_calls", 0)
        self.drafts += frame.drafts
        self.rejected.update(frame.rejected)
        made, axes = to_structures(frame.crystals), self.reduction
        self.structures += (
            made
            if axes is None
            else [None if structure is None else in_given_setting(structure, axes) for structure in made]
        )
        done, keep = PART_STEPS * (part + 1), self.asked.keep_trajectory and not part and not half
        yield RunUpdate(stage=stage, step=done, n_steps=self.total, result=self.result())
        for k, frames in enumerate(paths, start=first):
            yield RunUpdate(
                stage=stage,
                step=done,
                n_steps=self.total,
                trajectory=path_for_player(f"crystal {k}", frames, keep=keep),
            )

    def _drawn(self, cell: Snapshot) -> Snapshot:
        """A forming cell with the axes of the one that is completed."""
        if self.reduction is None:
            return cell
        lattice, frac_coords = _in_axes(cell["lattice"], cell["frac_coords"], self.reduction)
        return {
            **cell,
            "lattice": lattice.round(4).tolist(),
            "frac_coords": frac_coords.round(4).tolist(),
        }

    def result(self) -> RunResult:
        """All finished crystals in the order drawn, as the JSON of the command line.

        ``summary``: n generated (those that are no cell included), valid by structure and composition, unique groups of
        like cells among all decodable ones; novel ones are not in the reference set named beside them; with a space group,
        how many crystals have it or a supergroup of it; a ``note`` where something is to be said, as of atom counts beyond the training.
        """
        from crystal_core.files.records import crystal_record, is_valid
        from crystal_core.reference.known import load_known, novelty

        settings = (
            asdict(self.asked)
            | {"elements_allowed": list(self.elements)}
            | sampler_used(self.model, self._request(Cells(counts=(1,)), 0))
        )
        made_by = provenance(self.asked.model, self.model, seed=self.asked.seed, settings=settings)
        whole = [(i, s) for i, s in enumerate(self.structures) if s is not None]
        groups = alike_groups([s for _, s in whole])
        self.novelties += [novelty(s) for _, s in whole[len(self.novelties) :]]
        crystals = [
            crystal_record(
                s,
                id=f"{self.asked.model}-{self.asked.seed}-{i + 1}",
                origin="draft" if self.drafts else "noise",
                provenance=made_by | {"draft": asdict(self.drafts[i])} if self.drafts else made_by,
                group=group,
                novelty=known,
            )
            for (i, s), group, known in zip(whole, groups, self.novelties, strict=True)
        ]
        valid = sum(map(is_valid, crystals))
        failed = [asdict(d) for d, s in zip(self.drafts, self.structures, strict=False) if s is None]
        result: RunResult = {
            "format": FORMAT,
            "notes": list(self.notes),
            "crystals": crystals,
            "n_failed": len(self.structures) - len(whole),
            "settings": settings,
            "seconds": round(time.monotonic() - self.began, 2),
            "network_calls": self.calls,
            "summary": {
                "n": len(self.structures),
                "valid": valid,
                "unique": len(set(groups)),
                "novel": sum(not known["known"] for known in self.novelties),
                "reference": load_known().reference,
            }
            | self._space_group()
            | ({"note": " ".join(self.notes)} if self.notes else {}),
        }
        if self.drafts:
            result |= {"rejected": dict(self.rejected), "failed_drafts": failed}
        return result

    def _space_group(self) -> dict[str, Any]:
        """What became of the space group asked for: within a tight and a usual tolerance (Å)."""
        from crystal_core.evaluation.symmetry import has_operations, space_group_number, space_group_symbol

        if self.symmetry is None or self.asked.space_group is None:
            return {}
        number = space_group_number(self.asked.space_group)
        pairs = [(s, cell) for s, cell in zip(self.structures, self.symmetry, strict=False) if s is not None]
        kept = {
            f"kept_within_{symprec}": sum(
                has_operations(s, c.rotations, c.translations, symprec) for s, c in pairs
            )
            for symprec in (0.01, 0.1)
        }
        return {
            "space_group": {"number": number, "symbol": space_group_symbol(number), "experimental": True}
            | kept
        }

    def _request(self, cells: Cells, seed: int, known: KnownParts | None = None) -> DeNovoRequest:
        wished = bool(self.asked.elements or self.asked.exclude_elements)
        return DeNovoRequest(
            n_atoms=cells.counts,
            at_least=tuple(wish.least for wish in cells.wishes) if cells.wishes else None,
            conditions=tuple(wish.conditions for wish in cells.wishes) if cells.wishes else None,
            draft=DraftOptions(**self.asked.draft_fields),
            known=known,
            symmetry=cells.symmetry,
            guide=self.guide,
            elements=self.elements if wished else None,
            sampler=self.asked.sampler,
            steps=self.asked.steps,
            seed=seed,
            frame_every=1,
            dtype=self.asked.dtype,
            **self.asked.tuning_fields,
        )
