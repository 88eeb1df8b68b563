"""DiffCSP as a generator: compositions in, frames out, from noise or from crystals that it refines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.conditions import check_declared
from crystal_core.device import pick_device
from crystal_core.errors import IncompatibleSampler, RequestError
from crystal_core.frames import Frame
from crystal_core.generators.diffcsp.config import ProcessConfig
from crystal_core.generators.diffcsp.inference import FastCspNetwork
from crystal_core.generators.diffcsp.network import CspNetwork
from crystal_core.generators.diffcsp.samplers import LatticeSampler, SamplerSettings, State, to_crystals
from crystal_core.generators.diffcsp.schedules import Schedules
from crystal_core.generators.diffcsp.weights import load_network, load_schedules, process_of
from crystal_core.networks.allocator import keep_freed_memory
from crystal_core.networks.packing import pack

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.cards import ModelCard
    from crystal_core.requests import GenerationRequest

DEFAULT_STEPS = {"em": 1000, "pc": 1000, "pc-pf": 1000, "ode": 200}
FAST = {"name": "pc", "steps": 50}  # 100 network calls
START_TIME = 0.2
TUNED = ("tau", "noise_scale")


class DiffcspGenerator:
    """Structure prediction with a trained CSPNet.

    Args:
        network: with its weights. schedules: noise levels it was trained with.
    """

    def __init__(
        self,
        network: CspNetwork,
        schedules: Schedules,
        *,
        card: ModelCard,
        process: ProcessConfig,
        device: torch.device,
    ) -> None:
        self.card, self.process, self.schedules, self.device = card, process, schedules, device
        self.network = network.to(device).eval().requires_grad_(False)
        self.network_calls = 0
        if device.type == "cpu":
            keep_freed_memory()

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers it can place: those its card names, or all its table of types has a row for."""
        return tuple(self.card.sampling.get("elements") or range(1, self.network.config.n_types + 1))

    @property
    def start_time(self) -> float:
        """The start time for refining a known crystal, chosen on validation rows."""
        return float(self.card.sampling.get("refine", {}).get("start_time", START_TIME))

    def settings(self, request: GenerationRequest) -> SamplerSettings:
        """The sampler, step count and tuning this request means for this model.

        "fast" depends on whether the request starts from a crystal. What the card names of ``TUNED`` was
        chosen on validation rows; with the tuning "published", and where the card names nothing, the
        published values hold.

        Raises:
            RequestError: a value of the tuning would change nothing.
            IncompatibleSampler: there is no such sampler.
        """
        for name, reason in self.idle_tuning(request).items():
            raise RequestError(f"{reason}, so {name} would change nothing; leave it out.")
        return self._chosen(request)

    def idle_tuning(self, request: GenerationRequest) -> dict[str, str]:
        """The values of the tuning that change nothing, each with the reason as the start of a sentence."""
        chosen, idle = self._chosen(request), {}
        for name in request.tuning_values:
            if name == "remasking":
                idle[name] = f"{self.card.name} hides no types while it samples"
            elif chosen.calls_per_step == 1:
                idle[name] = f"{self.card.name} samples with {chosen.name} here, which has no corrector"
        return idle

    def _chosen(self, request: GenerationRequest) -> SamplerSettings:
        chosen: dict[str, Any] = {"name": request.sampler, "steps": DEFAULT_STEPS.get(request.sampler)}
        if request.sampler == "fast":
            of_card = self.card.sampling.get("fast" if request.start is None else "refine", {})
            chosen = {**FAST, **{k: v for k, v in of_card.items() if k in ("name", "steps", *TUNED)}}
        chosen = {name: self.card.sampling[name] for name in TUNED if name in self.card.sampling} | chosen
        if request.tuning == "published":  # the defaults of the settings are the published values
            chosen = {name: value for name, value in chosen.items() if name not in TUNED}
        values = {k: v for k, v in request.tuning_values.items() if k in TUNED}
        return SamplerSettings(**{**chosen, **values, "steps": request.steps or chosen["steps"] or 1})

    def sample(self, request: GenerationRequest) -> Iterator[Frame]:
        """Frames from noise, or from ``request.start``, to crystals; the last one is finished.

        Frames show the cell that the network expects at the end, since the noisy one has no meaning before. A
        start at a time that rounds to index 0 is handed back as it is. Cells are taken as they are: the
        training cells were reduced.

        Raises:
            RequestError: an element that the model does not know, start structures of other compositions, or
                an option of a language model.
            IncompatibleSampler: an unknown sampler, or a guidance target, which this model cannot follow.
        """
        check_declared(self.card, (), request.draft)
        if request.guide is not None:
            raise IncompatibleSampler(
                f"{self.card.name} cannot be guided; leave the target out or choose a KLDM model."
            )
        largest = self.network.config.n_types
        if any(z > largest for c in request.compositions for z in c):
            raise RequestError(f"This model knows elements up to atomic number {largest}.")
        settings = self.settings(request)
        n_atoms = torch.tensor([len(c) for c in request.compositions], device=self.device)
        species = torch.tensor([z for c in request.compositions for z in c], device=self.device)
        rng = torch.Generator(self.device).manual_seed(request.seed)
        sampler = LatticeSampler(settings, pack(n_atoms), self.schedules, centred=self.process.centred)
        first = None
        if request.start is None:
            state = sampler.initial(rng)
        else:
            first = round((request.start_time or 1.0) * self.schedules.n_times)
            state = self._started(request, sampler, species, first, rng)
        fast = FastCspNetwork(self.network, species, n_atoms, getattr(torch, request.dtype))

        def predict(frac_coords: Tensor, lattice: Tensor, t: int) -> tuple[Tensor, Tensor]:
            self.network_calls += 1
            return fast(t, frac_coords, lattice)

        self.network_calls = 0
        indices = settings.indices(self.schedules.n_times, first)
        n_steps, ids = max(1, len(indices) - 1), tuple(range(len(n_atoms)))
        for step in range(1, n_steps + 1):
            if len(indices) > 1:
                state = sampler.step(predict, state, indices[step - 1], indices[step], rng)
            drawn = step == n_steps or step % request.frame_every == 0
            yield Frame(
                stage="denoise",
                step=step,
                n_steps=n_steps,
                time=indices[step] / self.schedules.n_times if len(indices) > 1 else 0.0,
                crystals=to_crystals(state, species, n_atoms).to("cpu") if drawn else None,
                sample_ids=ids if drawn else (),
                finished=step == n_steps,
            )

    def _started(
        self,
        request: GenerationRequest,
        sampler: LatticeSampler,
        species: Tensor,
        first: int,
        rng: torch.Generator,
    ) -> State:
        """The state at index ``first`` that begins with the start structures, renoised or as they are."""
        assert request.start is not None
        start = request.start.to(self.device)
        wanted = [len(c) for c in request.compositions]
        if start.n_atoms.tolist() != wanted or start.atomic_numbers.tolist() != species.tolist():
            raise RequestError("The start structures do not have the requested compositions, atom by atom.")
        if request.start_kind == "renoise" and first > 0:
            return sampler.renoised(start.frac_coords, start.lattice, first, rng)
        return State(start.frac_coords, start.lattice, start.lattice)


def load_diffcsp(card: ModelCard, device: str = "auto") -> DiffcspGenerator:
    """A DiffCSP checkpoint, ready to sample.

    Raises:
        CheckpointMismatch: a file is missing, changed, or does not fit the card.
    """
    return DiffcspGenerator(
        load_network(card),
        load_schedules(card),
        card=card,
        process=process_of(card),
        device=pick_device(device),
    )
