"""KLDM as a generator: compositions (structure prediction) or atom counts (de novo) in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from crystal_core.cards import ModelCard
from crystal_core.conditions import check_declared
from crystal_core.crystal import CrystalBatch
from crystal_core.device import pick_device
from crystal_core.errors import RequestError
from crystal_core.frames import Frame
from crystal_core.generators.kldm.charge_balance import ChargeBalance
from crystal_core.generators.kldm.codec import LatticeCodec, decode, encode
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.coordinates import ScoreNorms
from crystal_core.generators.kldm.guidance import Guidance
from crystal_core.generators.kldm.samplers import Known, LatentSampler, LatentState, SamplerSettings
from crystal_core.generators.kldm.species import species_process
from crystal_core.generators.kldm.species_process import N_TYPES, TypeChoice, allowed_types
from crystal_core.generators.kldm.symmetry import Symmetry
from crystal_core.generators.kldm.weights import load_score_norms, load_weights
from crystal_core.guides.protocol import Guide
from crystal_core.networks.allocator import keep_freed_memory
from crystal_core.networks.inference import FastPairNetwork
from crystal_core.networks.packing import pack
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.requests import DeNovoRequest, GenerationRequest

DEFAULT_STEPS = {"em": 1000, "exp-em": 1000, "pc": 1000, "pc-pf": 1000, "ode": 200}
FAST = {"name": "pc", "steps": 50}
REFINE = {"name": "ode", "steps": 20}  # from a known crystal: little noise is added, and none on the way
START_TIME = 0.05
TUNED = ("tau", "noise_scale", "type_temperature", "remasking")


class _Kldm:
    """Shared by both tasks: weights, sampler settings and the loop.

    Args:
        network: with its weights. codec: lattice statistics of its training set.
        score_norms: those that an imported checkpoint was trained with; None for those by quadrature.
    """

    def __init__(
        self,
        network: PairNetwork,
        codec: LatticeCodec,
        *,
        card: ModelCard,
        process: ProcessConfig,
        device: torch.device,
        score_norms: ScoreNorms | None = None,
    ) -> None:
        self.card, self.codec, self.process, self.device = card, codec, process, device
        self.score_norms = score_norms
        self.network = network.to(device).eval().requires_grad_(False)
        self.network_calls = 0
        if device.type == "cpu":
            keep_freed_memory()

    def settings(self, request: GenerationRequest | DeNovoRequest) -> SamplerSettings:
        """The sampler, step count and tuning this request means for this model.

        "fast" depends on whether the request starts from a crystal. What the card names of ``TUNED``
        was chosen on validation rows; with the tuning "published", and where the card names nothing,
        the published values hold.

        Raises:
            RequestError: a value of the tuning would change nothing.
        """
        for name, reason in self.idle_tuning(request).items():
            raise RequestError(f"{reason}, so {name} would change nothing; leave it out.")
        return self._chosen(request)

    def idle_tuning(self, request: GenerationRequest | DeNovoRequest) -> dict[str, str]:
        """Tuning values that would change nothing: their names, and the reason as the start of a sentence."""
        chosen, idle = self._chosen(request), {}
        for name in request.tuning_values:
            if name == "remasking" and self.process.species != "masking":
                idle[name] = f"{self.card.name} hides no types while it samples"
            if name != "remasking" and chosen.calls_per_step == 1:
                idle[name] = f"{self.card.name} samples with {chosen.name} here, which has no corrector"
        return idle

    def _chosen(self, request: GenerationRequest | DeNovoRequest) -> SamplerSettings:
        chosen: dict[str, Any] = {"name": request.sampler, "steps": DEFAULT_STEPS.get(request.sampler)}
        if request.sampler == "fast":
            refine = {k: v for k, v in self.card.sampling.get("refine", {}).items() if k != "start_time"}
            from_noise = isinstance(request, DeNovoRequest) or request.start is None
            chosen = {**FAST, **self.card.sampling.get("fast", {})} if from_noise else {**REFINE, **refine}
        chosen = {name: self.card.sampling[name] for name in TUNED if name in self.card.sampling} | chosen
        if request.tuning == "published":  # the defaults of the settings are the published values
            chosen = {name: value for name, value in chosen.items() if name not in TUNED}
        return SamplerSettings(
            **{**chosen, **request.tuning_values, "steps": request.steps or chosen["steps"]}
        )

    def _guidance(
        self, guide: Guide | None, n_atoms: Tensor, atomic_numbers: Tensor | None = None
    ) -> Guidance | None:
        if guide is None:
            return None
        return Guidance(
            predictor=guide.predictor,
            strength=guide.strength,
            n_atoms=n_atoms,
            codec=self.codec,
            atomic_numbers=atomic_numbers,
        )

    def _symmetry(self, request: GenerationRequest | DeNovoRequest) -> Symmetry | None:
        return None if request.symmetry is None else Symmetry.of(request.symmetry, self.codec, self.device)

    def _frames(
        self,
        sampler: LatentSampler,
        state: LatentState,
        times: list[float],
        rng: torch.Generator,
        fast: FastPairNetwork,
        crystals_of: Callable[[LatentState], CrystalBatch],
        frame_every: int,
        balance: ChargeBalance | None = None,
    ) -> Iterator[Frame]:
        def predict(now: LatentState, t: float) -> tuple[Tensor, ...]:
            self.network_calls += 1
            return fast(t, now.frac_coords, now.velocity, now.lattice, now.species)

        self.network_calls = 0
        ids = tuple(range(sampler.packing.n_crystals))
        n_steps = len(times) - 1
        for step, (t, t_next) in enumerate(pairwise(times), start=1):
            state = sampler.step(predict, state, t, t_next, rng)
            last = step == n_steps
            if balance is not None and balance.is_due(t, t_next, last=last):
                state = balance.exchanged(predict, state, t_next, rng)
            drawn = last or step % frame_every == 0
            yield Frame(
                stage="denoise",
                step=step,
                n_steps=n_steps,
                time=t_next,
                crystals=crystals_of(state).to("cpu") if drawn else None,
                sample_ids=ids if drawn else (),
                finished=last,
            )


class KldmGenerator(_Kldm):
    """Structure prediction with a trained KLDM: (f, l | types)."""

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers it can place: those its card names, or all its table of types has a row for."""
        return tuple(self.card.sampling.get("elements") or range(1, self.network.config.n_types))

    @property
    def start_time(self) -> float:
        """The start time for refining a known crystal, chosen on validation rows."""
        return float(self.card.sampling.get("refine", {}).get("start_time", START_TIME))

    def sample(self, request: GenerationRequest) -> Iterator[Frame]:
        """Frames from noise, or ``request.start`` at ``start_time``, to crystals; the last one is finished.

        Raises:
            RequestError: an element that the model does not know, an option of a language model, or a start
                time at which sampling is over.
        """
        check_declared(self.card, (), request.draft)
        largest = self.network.config.n_types - 1
        if any(z > largest for c in request.compositions for z in c):
            raise RequestError(f"This model knows elements up to atomic number {largest}.")
        settings = self.settings(request)
        n_atoms = torch.tensor([len(c) for c in request.compositions], device=self.device)
        species = torch.tensor([z for c in request.compositions for z in c], device=self.device)
        rng = torch.Generator(self.device).manual_seed(request.seed)
        guidance = self._guidance(request.guide, n_atoms, species)
        sampler = LatentSampler(
            settings,
            pack(n_atoms),
            self.process,
            symmetry=self._symmetry(request),
            guidance=guidance,
            score_norms=self.score_norms,
        )
        start_time = request.start_time or 1.0
        if request.start is None:
            state = sampler.initial(rng)
        else:
            start = request.start.to(self.device)
            if (
                start.n_atoms.tolist() != n_atoms.tolist()
                or start.atomic_numbers.tolist() != species.tolist()
            ):
                raise RequestError(
                    "The start structures do not have the requested compositions, atom by atom."
                )
            state = sampler.start_from(*encode(start, self.codec), start_time, rng, request.start_kind)
        yield from self._frames(
            sampler,
            state,
            settings.times(start_time),
            rng,
            FastPairNetwork(self.network, species, n_atoms, getattr(torch, request.dtype)),
            lambda now: decode(now.frac_coords, now.lattice, species, n_atoms, self.codec),
            request.frame_every,
        )


class KldmDeNovoGenerator(_Kldm):
    """De novo generation with a trained KLDM: (f, l, types) for given atom counts."""

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur in its training crystals."""
        return tuple(self.card.sampling.get("elements") or range(1, N_TYPES + 1))

    @property
    def atom_count_frequencies(self) -> dict[int, float]:
        """Atom count → share of the training crystals."""
        return {
            int(n): float(share) for n, share in self.card.sampling.get("atom_count_frequencies", {}).items()
        }

    def sample(self, request: DeNovoRequest) -> Iterator[Frame]:
        """Frames from noise to crystals; the last one is finished.

        Before it, types are the network's likeliest.

        Excluded elements are masked at every step, so no sample is rejected for them. With charge balance, a
        crystal whose composition fails exchanges an element near the end (see
        :class:`.charge_balance.ChargeBalance`).

        Raises:
            RequestError: an allowed or given element does not occur in the training crystals, a condition is
                given, or charge balance where types are not hidden and revealed.
        """
        named = tuple(dict.fromkeys(name for one in request.conditions or () for name in one.named))
        check_declared(self.card, named, request.draft)
        elements = self.elements if request.elements is None else request.elements
        given = (
            [
                z
                for z, fixed in zip(
                    request.known.crystals.atomic_numbers.tolist(), request.known.types, strict=True
                )
                if fixed
            ]
            if request.known
            else []
        )
        unknown = sorted({*elements, *given} - set(self.elements))
        if unknown:
            raise RequestError(
                f"{self.card.name} was not trained on atomic number(s) "
                f"{', '.join(map(str, unknown))}; choose other elements."
            )
        settings = self.settings(request)
        n_atoms = torch.tensor(request.n_atoms, device=self.device)
        rng = torch.Generator(self.device).manual_seed(request.seed)
        choice = TypeChoice(
            allowed=allowed_types(elements, self.device),
            constrained=request.elements is not None,
            temperature=settings.type_temperature,
            remasking=settings.remasking,
        )
        sampler = LatentSampler(
            settings,
            pack(n_atoms),
            self.process,
            species=species_process(self.process, choice),
            known=self._known(request),
            symmetry=self._symmetry(request),
            guidance=self._guidance(request.guide, n_atoms),
            score_norms=self.score_norms,
        )

        def crystals_of(now: LatentState) -> CrystalBatch:
            assert now.atomic_numbers is not None
            return decode(now.frac_coords, now.lattice, now.atomic_numbers, n_atoms, self.codec)

        fast = FastPairNetwork(self.network, None, n_atoms, getattr(torch, request.dtype))
        yield from self._frames(
            sampler,
            sampler.initial(rng),
            settings.times(),
            rng,
            fast,
            crystals_of,
            request.frame_every,
            self._balance(request, sampler, choice),
        )

    def _balance(
        self, request: DeNovoRequest, sampler: LatentSampler, choice: TypeChoice
    ) -> ChargeBalance | None:
        if not request.draft.charge_balance:
            return None
        assert choice.allowed is not None
        packing = sampler.packing
        given = torch.zeros_like(packing.crystal_index, dtype=torch.bool)
        return ChargeBalance(
            packing=packing,
            allowed=choice.allowed,
            free=~(given if sampler.known is None else sampler.known.types),
        )

    def _known(self, request: DeNovoRequest) -> Known | None:
        if request.known is None:
            return None
        crystals = request.known.crystals.to(self.device)
        frac_coords, lattice = encode(crystals, self.codec)
        return Known(
            places=torch.tensor(request.known.places, device=self.device),
            frac_coords=frac_coords,
            types=torch.tensor(request.known.types, device=self.device),
            atomic_numbers=crystals.atomic_numbers.clamp(max=N_TYPES),  # those not kept may be any
            cells=torch.full((len(crystals),), request.known.lattice, device=self.device),
            lattice=lattice,
        )


def load_kldm(card: ModelCard, device: str = "auto") -> KldmGenerator | KldmDeNovoGenerator:
    """A KLDM checkpoint, ready to sample."""
    state, codec = load_weights(card)
    network = PairNetwork(PairNetworkConfig(**card.network))
    network.load_state_dict(state)
    process = ProcessConfig(**card.training.get("process", {}))
    task = KldmGenerator if process.species == "fixed" else KldmDeNovoGenerator
    return task(
        network,
        codec,
        card=card,
        process=process,
        device=pick_device(device),
        score_norms=load_score_norms(card),
    )
