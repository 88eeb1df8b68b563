"""New atoms and cells from CrysLDNet's latent diffusion; another model places the atoms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.device import pick_device
from crystal_core.errors import CheckpointMismatch
from crystal_core.generators.propose_place import Proposal
from crystal_core.geometry import lattice_from_parameters, volume
from crystal_core.networks.dit import DitConfig
from crystal_core.predictors.crysldnet.generation.latent_rows import CONDITIONS
from crystal_core.predictors.crysldnet.generation.network import GenerationConfig, LatentGenerator
from crystal_core.predictors.crysldnet.generation.sampling import sampled_latents
from crystal_core.training.checkpoint import load_exactly, read_shards

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Int
    from torch import Tensor

    from crystal_core.cards import ModelCard
    from crystal_core.requests import DeNovoRequest

STEPS, GUIDANCE = 50, 1.5  # of the flow, where the card has none
VOLUME_RANGE = (4.0, 100.0)  # Å3 per atom of a cell that is taken as it is decoded
USUAL_VOLUME = 18.0  # of the cube that takes the place of another one


class LatentProposer:
    """The first stage of :class:`.ProposePlaceGenerator`: latents by flow matching, then decoders.

    Args:
        card: ``sampling["latents"]`` has the steps of the flow and the strength of the conditions.
    """

    def __init__(self, network: LatentGenerator, *, card: ModelCard, device: torch.device) -> None:
        self.network, self.card, self.device = network.to(device).eval().requires_grad_(False), card, device
        self.network_calls = 0

    def settings_used(self, request: DeNovoRequest) -> dict[str, Any]:
        """Steps of the flow, and the strength of the conditions where there are any."""
        used: dict[str, Any] = {"latent_steps_used": self._steps}
        if any(one.named for one in request.conditions or ()):
            used["guidance_used"] = self._guidance(request)
        return used

    def propose(self, request: DeNovoRequest) -> Iterator[Proposal]:
        """See :meth:`.Proposer.propose`."""
        n_atoms = torch.tensor(request.n_atoms, device=self.device)
        rng = torch.Generator(self.device).manual_seed(request.seed)
        steps, guidance = self._steps, self._guidance(request)
        targets = _targets(request).to(self.device)
        calls_per_step = 2 if guidance != 1.0 and bool(targets.isfinite().any()) else 1
        drawn = sampled_latents(self.network, n_atoms, targets, steps=steps, guidance=guidance, rng=rng)
        self.network_calls = 0
        latents = targets
        for step, (_, now) in enumerate(drawn, start=1):
            latents, self.network_calls = now, step * calls_per_step
            if step < steps and step % request.frame_every == 0:
                yield Proposal(step=step, n_steps=steps)
        elements = self.card.elements if request.elements is None else request.elements
        yield self.decoded(latents, n_atoms, elements)

    @torch.no_grad()
    def decoded(
        self,
        latents: Float[Tensor, "atoms width"],
        n_atoms: Int[Tensor, "crystals"],
        elements: tuple[int, ...],
    ) -> Proposal:
        """The likeliest allowed element of every atom, and the cells, of latents in units of their spread."""
        scores = self.network.decode_types(latents)
        allowed = torch.tensor(sorted(elements), device=scores.device)
        return Proposal(
            step=self._steps,
            n_steps=self._steps,
            atomic_numbers=allowed[scores[:, allowed].argmax(dim=-1)],
            lattice=sound_lattice(self.network.decode_lattice(latents, n_atoms), n_atoms),
        )

    @property
    def _steps(self) -> int:
        return int(self.card.sampling.get("latents", {}).get("steps", STEPS))

    def _guidance(self, request: DeNovoRequest) -> float:
        usual = self.card.sampling.get("latents", {}).get("guidance", GUIDANCE)
        return float(usual if request.guidance is None else request.guidance)


def _targets(request: DeNovoRequest) -> Float[Tensor, "crystals conditions"]:
    """The properties that the request names, NaN where it leaves them open."""
    rows = [
        [math.nan if (value := getattr(one, name)) is None else value for name in CONDITIONS]
        for one in request.conditions or ()
    ]
    return torch.tensor(rows) if rows else torch.full((len(request.n_atoms), len(CONDITIONS)), torch.nan)


def sound_lattice(
    parameters: Float[Tensor, "crystals 6"], n_atoms: Int[Tensor, "crystals"]
) -> Float[Tensor, "crystals 3 3"]:
    """Lattice rows; a cube of usual volume replaces a flat, tiny or huge cell, which cannot be refined."""
    lattice = lattice_from_parameters(parameters)
    low, high = VOLUME_RANGE
    size = volume(lattice) / n_atoms
    sound = (size >= low) & (size <= high)
    edge = (USUAL_VOLUME * n_atoms.to(lattice)) ** (1 / 3)
    cube = torch.eye(3, device=lattice.device) * edge[:, None, None]
    return torch.where(sound[:, None, None], lattice, cube)


def load_proposer(card: ModelCard, device: str = "auto") -> LatentProposer:
    """The proposer of a checkpoint.

    Raises:
        CheckpointMismatch: a file is missing or changed, or the weights do not fit the card.
    """
    return LatentProposer(network_of(card), card=card, device=pick_device(device))


def network_of(card: ModelCard) -> LatentGenerator:
    """The network of a checkpoint, on the CPU, in evaluation mode.

    Raises:
        CheckpointMismatch: a file is missing or changed, or the weights do not fit the card.
    """
    sizes = dict(card.network.get("generation", {}))
    try:
        sizes["dit"] = DitConfig(**sizes.get("dit", {}))
        network = LatentGenerator(int(card.network["width"]), GenerationConfig(**sizes))
    except (KeyError, TypeError) as error:
        raise CheckpointMismatch(
            f"The card of '{card.name}' describes no latent diffusion: {error}."
        ) from error
    load_exactly(network, read_shards(card), f"The weights of '{card.name}' do not fit its card")
    return network.eval().requires_grad_(False)
