"""KLDM as a generator: compositions in, frames out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from crystal_core.errors import RequestError
from crystal_core.generators.kldm.codec import LatticeCodec, decode, encode
from crystal_core.generators.kldm.process import ProcessConfig
from crystal_core.generators.kldm.samplers import TAU, KineticLangevinSampler, LatentState, SamplerSettings
from crystal_core.generators.kldm.weights import load_weights
from crystal_core.networks.allocator import keep_freed_memory
from crystal_core.networks.inference import FastPairNetwork
from crystal_core.networks.packing import pack
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.requests import Frame, GenerationRequest
from crystal_core.sampling.device import pick_device

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.registry.card import ModelCard

DEFAULT_STEPS = {"em": 1000, "exp-em": 1000, "pc": 1000, "pc-pf": 1000, "ode": 200}
FAST = {"name": "pc", "steps": 50}
REFINE = {"name": "ode", "steps": 20}  # from a known crystal: little noise is added, and none on the way
START_TIME = 0.05


class KldmGenerator:
    """Structure prediction with a trained KLDM: (f, l | types).

    Args:
        network: with its weights. codec: lattice statistics of its training set.
        fast: sampler settings that the name "fast" stands for.
    """

    def __init__(self, network: PairNetwork, codec: LatticeCodec, *, card: ModelCard, process: ProcessConfig, device: torch.device) -> None:
        self.card, self.codec, self.process, self.device = card, codec, process, device
        self.network = network.to(device).eval().requires_grad_(False)
        self.network_calls = 0
        if device.type == "cpu":
            keep_freed_memory()

    def settings(self, request: GenerationRequest) -> SamplerSettings:
        """The sampler and step count this request means for this model; "fast" depends on whether it starts from a crystal.

        The corrector's strength is the card's ``tau``, chosen on validation rows, or the published one.
        """
        tau = self.card.sampling.get("tau", TAU)
        if request.sampler == "fast":
            refine = {k: v for k, v in self.card.sampling.get("refine", {}).items() if k != "start_time"}
            fast = {**FAST, **self.card.sampling.get("fast", {})} if request.start is None else {**REFINE, **refine}
            return SamplerSettings(**{"tau": tau, **fast, "steps": request.steps or fast["steps"]})
        return SamplerSettings(name=request.sampler, steps=request.steps or DEFAULT_STEPS[request.sampler], tau=tau)

    @property
    def start_time(self) -> float:
        """Where the refinement of a known crystal starts, as chosen on validation rows."""
        return float(self.card.sampling.get("refine", {}).get("start_time", START_TIME))

    def sample(self, request: GenerationRequest) -> Iterator[Frame]:
        """Frames from noise (or from ``request.start`` at ``start_time``) to crystals; the last one is finished."""
        largest = self.network.config.n_types - 1
        if any(z > largest for c in request.compositions for z in c):
            raise RequestError(f"This model knows elements up to atomic number {largest}.")
        settings = self.settings(request)
        n_atoms = torch.tensor([len(c) for c in request.compositions], device=self.device)
        species = torch.tensor([z for c in request.compositions for z in c], device=self.device)
        rng = torch.Generator(self.device).manual_seed(request.seed)
        fast = FastPairNetwork(self.network, species, n_atoms)
        packing = pack(n_atoms)
        sampler = KineticLangevinSampler(settings, packing, self.process)
        self.network_calls = 0

        def predict(state: LatentState, t: float) -> tuple[Tensor, Tensor]:
            self.network_calls += 1
            return fast(t, state.frac_coords, state.velocity, state.lattice)

        ids = tuple(range(len(request.compositions)))
        start_time = request.start_time or 1.0
        times = settings.times(start_time)
        if request.start is None:
            state = sampler.initial(rng)
        else:
            start = request.start.to(self.device)
            if start.n_atoms.tolist() != n_atoms.tolist() or start.atomic_numbers.tolist() != species.tolist():
                raise RequestError("The start structures do not have the requested compositions, atom by atom.")
            state = sampler.start_from(*encode(start, self.codec), start_time, rng)
        for step, (t, t_next) in enumerate(pairwise(times), start=1):
            state = sampler.step(predict, state, t, t_next, rng)
            last = step == settings.steps
            drawn = last or step % request.frame_every == 0
            crystals = decode(state.frac_coords, state.lattice, species, n_atoms, self.codec).to("cpu") if drawn else None
            yield Frame(
                stage="denoise", step=step, n_steps=settings.steps, time=t_next, crystals=crystals,
                sample_ids=ids if drawn else (), finished=last,
            )  # fmt: skip


def load_kldm(card: ModelCard, device: str = "auto") -> KldmGenerator:
    """A KLDM checkpoint, ready to sample."""
    state, codec = load_weights(card)
    network = PairNetwork(PairNetworkConfig(**card.network))
    network.load_state_dict(state)
    process = ProcessConfig(**card.training.get("process", {}))
    return KldmGenerator(network, codec, card=card, process=process, device=pick_device(device))
