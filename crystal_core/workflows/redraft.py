"""A user's crystal as the start of a generation, with new elements by a language model if asked."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from crystal_core.conditions import DraftOptions
from crystal_core.errors import RequestError
from crystal_core.files.records import snapshot, structure_from_record
from crystal_core.frames import Draft, Stage
from crystal_core.structures import from_structures, niggli_reduced
from crystal_core.workflows.training_range import known_to_both, names_in_use

if TYPE_CHECKING:
    from crystal_core.crystal import CrystalBatch
    from crystal_core.requests import CrystalGenerationRequest


@dataclass(frozen=True, kw_only=True)
class Change:
    """Another element on some sites (counted from 0): symbols before and after, its probability."""

    sites: tuple[int, ...]
    before: str
    after: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Redraft:
    """One start: a crystal in its reduced cell, and how its elements differ from those given."""

    crystal: CrystalBatch
    changes: tuple[Change, ...] = ()

    @property
    def draft(self) -> Draft | None:
        """The change as a draft of the language model; None where nothing changed."""
        if not self.changes:
            return None
        from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, to_lines

        hidden = "; ".join(f"{c.before} at {', '.join(map(str, c.sites))}" for c in self.changes)
        return Draft(
            text=to_lines(GridCrystals.from_crystals(self.crystal))[0],
            prompt=f"hidden, one after the other: {hidden}",
            cell=snapshot(self.crystal),
        )

    @property
    def changes_json(self) -> list[dict[str, Any]]:
        """The changes as JSON."""
        return [asdict(change) | {"sites": list(change.sites)} for change in self.changes]


@dataclass(frozen=True, kw_only=True)
class Redrafts:
    """The starts of a run, and the stage that made them; None where no element was changed."""

    starts: tuple[Redraft, ...]
    stage: Stage | None = None


def plan_redrafts(
    request: CrystalGenerationRequest, model: Any, elements: Sequence[int], seed: int
) -> Redrafts:
    """The starts of a run: copies of ``request.start_from``, each with its own elements on some sites.

    All chosen sites of one element get the same new one, drawn with the temperature and top-p of the drafts
    from what the model finds fitting there, given all other sites as they are by then. It differs from the
    present one and, where all sites are redrafted, from those of the other sites, so that the formula keeps
    its form. The first starts do not depend on the number of crystals.

    Args:
        elements: atomic numbers that may be drawn.

    Raises:
        RequestError: the model cannot refine a crystal, does not know an element of it, or no
            other element is allowed.
        StructureParseError: what is given is no crystal.
    """
    assert request.start_from is not None
    _check(request, model)
    crystal = from_structures([niggli_reduced(structure_from_record(request.start_from))])
    numbers = crystal.atomic_numbers.tolist()
    sites = list(range(len(numbers))) if request.redraft_all else list(request.redraft_sites)
    other_elements = {z for i, z in enumerate(numbers) if i not in set(sites)}
    options = DraftOptions(**request.draft_fields)
    known = known_to_both(model.elements, model.card, options)
    if foreign := sorted(other_elements - set(known)):
        raise RequestError(
            f"{names_in_use(model.card, options)} was not trained on {', '.join(map(_symbol, foreign))}, "
            "so it cannot place it; redraft these sites or choose another model."
        )
    if not sites:
        return Redrafts(starts=(Redraft(crystal=crystal),) * request.n)
    before = model.back_end.calls
    writer = _Writer(model, request, elements, seed)
    starts = tuple(writer.redraft(crystal, sites, k) for k in range(request.n))
    return Redrafts(
        starts=starts,
        stage=Stage(
            stage="redraft",
            model=model.drafter.card.name,
            weights_sha256=model.drafter.card.weights_sha256,
            network_calls=model.back_end.calls - before,
            settings=writer.sampling,
        ),
    )


class _Writer:
    """Draws elements; what the model says of the same sites of the same crystal is asked once."""

    def __init__(
        self, model: Any, request: CrystalGenerationRequest, elements: Sequence[int], seed: int
    ) -> None:
        self.model, self.request, self.elements, self.seed = model, request, tuple(elements), seed
        self.sampling: dict[str, float] = model.sampling_of(DraftOptions(**request.draft_fields))
        self._chances: dict[tuple[tuple[int, ...], tuple[int, ...]], dict[int, float]] = {}

    def redraft(self, crystal: CrystalBatch, sites: Sequence[int], k: int) -> Redraft:
        """The ``k``-th start."""
        import torch

        draw = random.Random(f"{self.seed} redraft {k}")  # noqa: S311 (no secret)
        given = crystal.atomic_numbers.tolist()
        groups = [[i for i in sites if given[i] == z] for z in sorted({given[i] for i in sites})]
        draw.shuffle(groups)
        # an element that the model cannot read goes first, so that it reads none of it for the other sites
        groups.sort(key=lambda group: given[group[0]] in self.model.elements)
        numbers, changes = list(given), []
        for group in groups:
            present = numbers[group[0]]
            barred = {present} | (set(numbers) if self.request.redraft_all else set())
            z, chance = self._drawn(crystal, numbers, group, barred, draw)
            changes.append(
                Change(
                    sites=tuple(group),
                    before=_symbol(present),
                    after=_symbol(z),
                    probability=round(chance, 4),
                )
            )
            for i in group:
                numbers[i] = z
        return Redraft(crystal=replace(crystal, atomic_numbers=torch.tensor(numbers)), changes=tuple(changes))

    def _drawn(
        self,
        crystal: CrystalBatch,
        numbers: list[int],
        group: list[int],
        barred: set[int],
        draw: random.Random,
    ) -> tuple[int, float]:
        """An element for the sites of a group, and its probability before temperature and top-p."""
        import torch

        # the elements at hidden sites are not read, so any element there gives the same answer
        key = (tuple(0 if i in group else z for i, z in enumerate(numbers)), tuple(group))
        if key not in self._chances:
            now = replace(crystal, atomic_numbers=torch.tensor(numbers))
            self._chances[key] = self.model.fitting_elements(
                now, group, seed=self.seed, elements=self.elements
            )
        chances = {z: p for z, p in self._chances[key].items() if z not in barred and p > 0}
        if not chances:
            symbols = ", ".join(sorted({_symbol(numbers[i]) for i in group}))
            raise RequestError(
                f"No other element than those present may take the place of {symbols}; allow more elements."
            )
        weights = _likeliest(chances, **self.sampling)
        z = draw.choices(list(weights), list(weights.values()))[0]
        return z, chances[z]


def _likeliest(chances: Mapping[int, float], *, temperature: float, top_p: float) -> dict[int, float]:
    """Weights after temperature of the likeliest elements that share ``top_p``; at least one.

    >>> _likeliest({3: 0.5, 11: 0.25, 19: 0.25}, temperature=1.0, top_p=0.7)
    {3: 1.0, 11: 0.5}
    """
    top = max(chances.values())
    weights = {z: (p / top) ** (1.0 / temperature) for z, p in chances.items()}
    enough, reached, likeliest = top_p * sum(weights.values()), 0.0, dict[int, float]()
    for z, weight in sorted(weights.items(), key=lambda item: -item[1]):
        if likeliest and reached >= enough:
            break
        likeliest[z], reached = weight, reached + weight
    return likeliest


def _check(request: CrystalGenerationRequest, model: Any) -> None:
    if not hasattr(model, "refinement"):
        raise RequestError(
            f"{request.model} cannot start from a crystal; "
            "choose a model that drafts and refines, such as crysllmgen-mp."
        )
    refinement = model.refinement(DraftOptions(**request.draft_fields))
    if refinement is None:
        raise RequestError("A given crystal is refined, so a refiner is needed; leave out --refiner none.")
    if refinement.start == "none":
        raise RequestError(
            "A refiner that starts from noise would forget the given crystal; let it inject or renoise."
        )


def _symbol(z: int) -> str:
    from pymatgen.core import Element

    return Element.from_Z(z).symbol
