"""CrysLLMGen as a generator: compositions or conditions in, crystals that a language model wrote out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from crystal_core.cards import ModelCard
from crystal_core.checks import check_whole
from crystal_core.conditions import Conditions, DraftOptions, check_declared
from crystal_core.crystal import CrystalBatch
from crystal_core.device import pick_device
from crystal_core.errors import IncompatibleSampler, RequestError
from crystal_core.frames import Draft, Frame
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.backends.choose import back_end_of, other_back_end
from crystal_core.generators.crysllmgen.backends.protocol import BackEnd, Wanted
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals
from crystal_core.generators.crysllmgen.drafting import Slots, write_crystals
from crystal_core.generators.crysllmgen.training import PUBLISHED
from crystal_core.generators.stages import may_be_missed
from crystal_core.requests import DeNovoRequest, GenerationRequest

NO_REFINER = "none"
N_STEPS = 1000  # of the progress of a run


class CrysLLMGenerator:
    """Structure prediction and de novo generation with one language model.

    Args:
        back_end: what writes.
        card: its conditions, the elements and sizes of its training crystals, its temperature.
    """

    def __init__(self, back_end: BackEnd, *, card: ModelCard) -> None:
        self.back_end, self.card = back_end, card
        self.device = back_end.device
        self.network_calls = 0
        self._others: dict[str, CrysLLMGenerator] = {}

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur in its training crystals."""
        return tuple(self.card.sampling.get("elements") or range(1, vocabulary.MAX_Z + 1))

    @property
    def atom_count_frequencies(self) -> dict[int, float]:
        """Atom count → share of the training crystals."""
        counts = self.card.sampling.get("atom_count_frequencies", {})
        return {int(n): float(share) for n, share in counts.items()}

    @property
    def batch_crystals(self) -> int:
        """Crystals that it writes together."""
        return self.back_end.batch

    @property
    def trained_atoms(self) -> int:
        """Atoms of the largest training crystal."""
        return max(self.atom_count_frequencies, default=self.back_end.max_atoms)

    def with_back_end(self, name: str) -> CrysLLMGenerator:
        """The same with another language model, named as in :func:`~.backends.choose.other_back_end`."""
        if name not in self._others:
            back_end, card = other_back_end(self.card, name, self.device)
            self._others = {name: CrysLLMGenerator(back_end, card=card)}  # one at a time: they are large
        return self._others[name]

    def settings_used(self, request: GenerationRequest | DeNovoRequest) -> dict[str, Any]:
        """The request's settings with all defaults resolved."""
        return {
            "back_end_used": self.back_end.name,
            "refiner_used": NO_REFINER,
            **{f"{name}_used": value for name, value in self.sampling_for(request).items()},
            **({"rewrites_used": request.draft.most_rewrites} if may_be_missed(request) else {}),
        }

    def fitting_elements(
        self, crystal: CrystalBatch, sites: Sequence[int], *, seed: int, elements: Sequence[int] | None = None
    ) -> dict[int, float]:
        """Atomic number → probability at some sites of one crystal, given all the rest; they add up to 1.

        Args:
            sites: atoms that are hidden, counted from 0; all are given the same element. What stands there is
                not read, so it may be an element beyond the training.
            elements: to choose from; None for all of the training.

        Raises:
            RequestError: no such site, a crystal that is too large, or other elements beyond its training.
        """
        numbers = crystal.atomic_numbers.tolist()
        for site in sites:
            check_whole("site", site, 0, len(numbers) - 1)
        chosen = tuple(self.elements if elements is None else elements)
        seen = {z for i, z in enumerate(numbers) if i not in set(sites)}
        self._checked(
            Wanted(
                conditions=Conditions(),
                least=len(numbers),
                most=len(numbers),
                elements=tuple({*seen, *chosen}),
            )
        )
        hidden = crystal.atomic_numbers.clone()
        hidden[list(sites)] = chosen[0]  # whatever stood there, it has a word
        grid = GridCrystals.from_crystals(replace(crystal, atomic_numbers=hidden))
        rng = torch.Generator().manual_seed(seed)
        chances = self.back_end.element_chances(grid, sites, chosen, rng)
        return dict(zip(chosen, chances, strict=True))

    def sample(self, request: GenerationRequest | DeNovoRequest) -> Iterator[Frame]:
        """Frames while the drafts are written, and a finished one with the crystals and their texts.

        A crystal that could not be written keeps its place as a cell that is no lattice.

        Raises:
            RequestError: an element, a size, a condition or an option that this model does not know.
            IncompatibleSampler: a start structure, a sampler or a number of steps.
        """
        self._check(request)
        wanted = (
            self._cells_of(request)
            if isinstance(request, GenerationRequest)
            else self._conditions_of(request)
        )
        sampling = self.sampling_for(request)
        generator = torch.Generator(self.device).manual_seed(request.seed)
        before, step = self.back_end.calls, 0
        self.network_calls = 0
        slots = Slots(wanted=wanted, rewrites=request.draft.most_rewrites)
        judge = request.judge if isinstance(request, DeNovoRequest) else None
        for done, progress in write_crystals(
            self.back_end,
            slots,
            generator=generator,
            trained_atoms=self.trained_atoms,
            judge=judge,
            **sampling,
        ):
            self.network_calls = self.back_end.calls - before
            reached = min(N_STEPS - 1, int(N_STEPS * done))
            if reached >= step + request.frame_every:
                step = reached
                yield Frame(
                    stage="draft", step=step, n_steps=N_STEPS, time=1 - step / N_STEPS, text=progress.text
                )
        crystals, drafts = self._finished(slots, request)
        yield Frame(
            stage="draft",
            step=N_STEPS,
            n_steps=N_STEPS,
            time=0.0,
            crystals=crystals.to("cpu"),
            sample_ids=tuple(range(len(wanted))),
            finished=True,
            text=drafts[0].text,
            drafts=drafts,
            rejected=dict(slots.rejected),
            left_out=tuple(slots.left_out),
        )

    def sampling_for(self, request: GenerationRequest | DeNovoRequest) -> dict[str, float]:
        """Temperature and top-p of a request.

        Only prompts that name elements at most leave the composition open. Other conditions are met more
        closely by likely tokens: with top-p 0.9 instead of 0.7, the correlation with a requested formation
        energy falls (100 validation prompts, :mod:`crystal_core.workflows.evaluate_conditions`).
        """
        open_ = {"elements", "contain", "any_of"}
        named = isinstance(request, GenerationRequest) or any(
            set(one.named) - open_ for one in request.conditions or ()
        )
        return self.sampling_of(request.draft, open_composition=not named)

    def sampling_of(self, options: DraftOptions, *, open_composition: bool = False) -> dict[str, float]:
        """Temperature and top-p: those of the options, else those of the card.

        Args:
            open_composition: the drafts choose their compositions, for which a card may have other values.
        """
        card = self.card.sampling
        chosen = PUBLISHED | dict(card.get("draft", {}))
        chosen |= dict(card.get("draft_open_composition", {})) if open_composition else {}
        for name in PUBLISHED:
            value = getattr(options, name)
            chosen[name] = chosen[name] if value is None else value
        return {name: float(chosen[name]) for name in PUBLISHED}

    def _check(self, request: GenerationRequest | DeNovoRequest) -> None:
        """Refuse what would change nothing."""
        options = request.draft
        if isinstance(request, GenerationRequest):
            check_declared(self.card, ("composition",), options)
            options.check_open_composition("the request")
        name = self.card.name
        if request.sampler != "fast" or request.steps is not None:
            raise IncompatibleSampler(
                f"{name} writes crystals token by token and has no sampler and no steps; leave both out."
            )
        if request.tuning != "card" or request.tuning_values:
            raise IncompatibleSampler(f"{name} has no sampler to tune; leave the tuning out.")
        if request.guide is not None:
            raise IncompatibleSampler(
                f"{name} cannot be guided while it writes; leave the target out or choose a KLDM model."
            )
        if not may_be_missed(request):
            options.check_no_rewrites("the request")
        if options.refiner not in (None, NO_REFINER):
            raise RequestError(
                f"{name} has no refiner '{options.refiner}'; "
                "leave it out to take the drafts as they are written."
            )
        for word, value in (("start", options.start_draft), ("tau", options.refine_from)):
            if value is not None:
                raise RequestError(f"Without a refiner, {word} would change nothing; leave it out.")

    def _cells_of(self, request: GenerationRequest) -> tuple[Wanted, ...]:
        if request.start is not None:
            raise IncompatibleSampler(
                f"{self.card.name} writes crystals from nothing and cannot start from one; "
                "choose a KLDM model to refine."
            )
        return tuple(
            self._checked(
                Wanted(
                    conditions=Conditions(composition=Counter(cell)),
                    least=len(cell),
                    most=len(cell),
                    elements=tuple(sorted(set(cell))),
                )
            )
            for cell in request.compositions
        )

    def _conditions_of(self, request: DeNovoRequest) -> tuple[Wanted, ...]:
        if request.known is not None or request.symmetry is not None:
            raise RequestError(
                f"{self.card.name} cannot keep parts of a structure or operations of a space "
                "group; choose a KLDM model."
            )
        elements = self.elements if request.elements is None else request.elements
        conditions = request.conditions or (Conditions(),) * len(request.n_atoms)
        least = request.at_least or request.n_atoms
        named = tuple(dict.fromkeys(name for one in conditions for name in one.named))
        check_declared(self.card, named, request.draft)
        if "composition" in named:
            request.draft.check_open_composition("the formula")
        balance = request.draft.charge_balance
        return tuple(
            self._checked(
                Wanted(conditions=one, least=low, most=high, elements=tuple(elements), charge_balance=balance)
            )
            for one, low, high in zip(conditions, least, request.n_atoms, strict=True)
        )

    def _checked(self, one: Wanted) -> Wanted:
        demanded = {*one.conditions.composition, *one.conditions.elements, *one.conditions.contain}
        unknown = sorted({*one.elements, *demanded} - set(self.elements))
        if unknown:
            raise RequestError(
                f"{self.card.name} was not trained on {_names(unknown)}; choose other elements."
            )
        barred = sorted(demanded - set(one.elements))
        if barred:
            raise RequestError(f"{_names(barred)} must not appear, but the crystal must hold it; allow it.")
        for some in one.conditions.any_of:
            if not set(some) & set(one.elements):
                raise RequestError(
                    f"None of {_names(some)} can appear, but the crystal must hold one of them; allow one."
                )
        if one.largest > self.back_end.max_atoms:
            raise RequestError(
                f"{self.card.name} writes cells of up to {self.back_end.max_atoms} atoms, not of "
                f"{one.largest}; ask for a smaller cell."
            )
        return one

    def _finished(
        self, slots: Slots, request: GenerationRequest | DeNovoRequest
    ) -> tuple[CrystalBatch, tuple[Draft, ...]]:
        """The crystals, with the atoms of a composition in the order in which it names them."""
        crystals, drafts = [], []
        for i, (crystal, draft, one) in enumerate(
            zip(slots.crystals, slots.drafts, slots.wanted, strict=True)
        ):
            cell = request.compositions[i] if isinstance(request, GenerationRequest) else ()
            if crystal is None:
                crystals.append(_no_lattice(cell or one.elements[:1]))
                drafts.append(draft or Draft(text="", prompt="", problem="no draft had what was asked for"))
            else:
                crystals.append(_in_order(crystal, cell) if cell else crystal)
                drafts.append(draft or Draft(text="", prompt=""))
        return CrystalBatch.concat(crystals), tuple(drafts)


def _names(atomic_numbers: Sequence[int]) -> str:
    from pymatgen.core import Element

    return ", ".join(Element.from_Z(z).symbol for z in atomic_numbers)


def _in_order(crystal: CrystalBatch, cell: tuple[int, ...]) -> CrystalBatch:
    """The crystal with its atoms in the order of ``cell``, which names the same atoms."""
    wanted = torch.tensor(cell)
    order = torch.empty(len(cell), dtype=torch.long)
    # two stable sorts by element pair the k-th atom of an element with its k-th
    order[torch.argsort(wanted, stable=True)] = torch.argsort(crystal.atomic_numbers, stable=True)
    return replace(
        crystal, atomic_numbers=crystal.atomic_numbers[order], frac_coords=crystal.frac_coords[order]
    )


def _no_lattice(cell: tuple[int, ...]) -> CrystalBatch:
    return CrystalBatch(
        atomic_numbers=torch.tensor(cell),
        frac_coords=torch.zeros(len(cell), 3),
        lattice=torch.full((1, 3, 3), torch.nan),
        n_atoms=torch.tensor([len(cell)]),
    )


def load_crysllmgen(card: ModelCard, device: str = "auto") -> CrysLLMGenerator:
    """A CrysLLMGen checkpoint, ready to write.

    Raises:
        CheckpointMismatch: the weights do not fit the card. MissingExtra, CheckpointMissing: their
            base is not installed.
    """
    return CrysLLMGenerator(back_end_of(card, pick_device(device)), card=card)
