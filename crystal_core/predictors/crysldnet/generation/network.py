"""Parts on the frozen encoder: units of its latents, decoders of elements and cell, a denoiser.

An invariant latent fixes neither origin nor orientation, and equivalent atoms have one and the same:
places are not decoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from crystal_core.checks import check_number, check_whole
from crystal_core.geometry import mean_per_crystal
from crystal_core.networks.dit import Dit, DitConfig
from crystal_core.predictors.crysldnet.encoders.pddformer import N_TYPES
from crystal_core.predictors.crysldnet.generation.latent_rows import CONDITIONS
from crystal_core.predictors.crysldnet.latent_flow import denoising_losses

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from crystal_core.predictors.crysldnet.generation.latent_rows import LatentBatch, LatentRows

N_CONDITIONS = 1 + 2 * len(CONDITIONS)  # the size of the cell; each property, and whether it is known
GROUPS = 4  # groups of similar size in which a batch is padded
REFERENCE_ATOMS = 10.0


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Sizes, and how the network trains.

    Attributes:
        dit: of the transformer. hidden: width of the decoders' hidden layer.
        dropped: share of the properties that are hidden in training, so that the network
            also learns without them.
        noise: most that the latents are blurred by, in units of their spread, before the decoders read them:
            generated latents are never exact.
        lattice_weight: of the decoder of the cell in the loss.

    Raises:
        RequestError: a value is out of range.
    """

    dit: DitConfig = field(default_factory=DitConfig)
    hidden: int = 256
    dropped: float = 0.3
    noise: float = 0.5
    lattice_weight: float = 1.0

    def __post_init__(self) -> None:
        check_whole("hidden", self.hidden, 1, 4096)
        check_number("dropped", self.dropped, 0.0, 1.0)
        check_number("noise", self.noise, 0.0, 10.0)
        check_number("lattice_weight", self.lattice_weight, 0.0, 1e6)


@dataclass(frozen=True, kw_only=True)
class GenerationLosses:
    """The terms of one batch; ``total`` is their weighted sum."""

    flow: Float[Tensor, ""]
    types: Float[Tensor, ""]
    lattice: Float[Tensor, ""]
    total: Float[Tensor, ""]


class LatentGenerator(nn.Module):
    """Latents in units of their mean and spread over the training atoms, their decoders, and their denoiser.

    Args:
        width: of the encoder.
    """

    mean: Tensor
    spread: Tensor
    property_mean: Tensor
    property_spread: Tensor

    def __init__(self, width: int, config: GenerationConfig | None = None) -> None:
        super().__init__()
        self.config = config or GenerationConfig()
        hidden = self.config.hidden
        self.type_decoder = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, N_TYPES))
        self.lattice_decoder = nn.Sequential(nn.Linear(width + 1, hidden), nn.SiLU(), nn.Linear(hidden, 6))
        self.denoiser = Dit(self.config.dit, width, N_CONDITIONS)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("property_mean", torch.zeros(len(CONDITIONS)))
        self.register_buffer("property_spread", torch.ones(len(CONDITIONS)))

    @property
    def width(self) -> int:
        """Numbers per latent."""
        return len(self.mean)

    def measure(self, rows: LatentRows) -> None:
        """Take mean and spread of latents and properties from the training rows."""
        latents = rows.latents.float()
        self.mean.copy_(latents.mean(dim=0))
        self.spread.copy_(latents.std(dim=0).clamp(min=1e-3))
        for i, values in enumerate(rows.properties.unbind(dim=1)):
            known = values[values.isfinite()]
            if len(known) > 1:
                self.property_mean[i] = known.mean()
                self.property_spread[i] = known.std().clamp(min=1e-3)

    def normalised(self, latents: Float[Tensor, "atoms width"]) -> Float[Tensor, "atoms width"]:
        """Latents of the encoder with mean 0 and spread 1 in every dimension."""
        return (latents - self.mean) / self.spread

    def conditions(
        self, n_atoms: Int[Tensor, "crystals"], properties: Float[Tensor, "crystals conditions"]
    ) -> Float[Tensor, "crystals n_conditions"]:
        """The denoiser's conditions of every crystal: its size, and properties that are not NaN."""
        known = properties.isfinite()
        scaled = torch.where(known, (properties - self.property_mean) / self.property_spread, 0.0)
        return torch.cat([_size(n_atoms), scaled, known.float()], dim=-1)

    def decode_types(self, normal: Float[Tensor, "atoms width"]) -> Float[Tensor, "atoms types"]:
        """Logarithms of probabilities by atomic number; column 0 is no element."""
        return functional.log_softmax(self.type_decoder(normal).float(), dim=-1)

    def decode_lattice(
        self, normal: Float[Tensor, "atoms width"], n_atoms: Int[Tensor, "crystals"]
    ) -> Float[Tensor, "crystals 6"]:
        """Lengths (Å) and angles (°) of every cell, from the mean of its latents and its atom count."""
        index = torch.repeat_interleave(torch.arange(len(n_atoms), device=normal.device), n_atoms)
        pooled = mean_per_crystal(normal, index, len(n_atoms))
        raw = self.lattice_decoder(torch.cat([pooled, _size(n_atoms)], dim=-1)).float()
        lengths = torch.exp(raw[:, :3].clamp(-6.0, 6.0)) * (n_atoms[:, None] ** (1 / 3))
        return torch.cat([lengths, torch.rad2deg(raw[:, 3:]) + 90.0], dim=-1)

    def forward(self, batch: LatentBatch, rng: torch.Generator) -> GenerationLosses:
        """The losses of a batch."""
        normal = self.normalised(batch.latents)
        known = torch.rand(batch.properties.shape, generator=rng, device=rng.device) >= self.config.dropped
        properties = batch.properties.masked_fill(~known.to(batch.properties.device), torch.nan)
        flow = denoising_losses(
            self.denoiser,
            normal,
            normal,
            batch.n_atoms,
            rng,
            conditions=self.conditions(batch.n_atoms, properties),
            groups=GROUPS,
        ).mean()
        size = self.config.noise * torch.rand(len(batch), 1, generator=rng, device=rng.device)
        size = torch.repeat_interleave(size.to(normal), batch.n_atoms, dim=0)
        blurred = normal + size * torch.randn(normal.shape, generator=rng, device=rng.device).to(normal)
        types = functional.nll_loss(self.decode_types(blurred), batch.atomic_numbers)
        lattice = lattice_loss(self.decode_lattice(blurred, batch.n_atoms), batch.cell_parameters)
        total = flow + types + self.config.lattice_weight * lattice
        return GenerationLosses(flow=flow, types=types, lattice=lattice, total=total)


def lattice_loss(
    decoded: Float[Tensor, "crystals 6"], true: Float[Tensor, "crystals 6"]
) -> Float[Tensor, ""]:
    """Mean absolute error of the logarithms of the lengths and of the angles in radians."""
    lengths = (decoded[:, :3].log() - true[:, :3].log()).abs()
    return torch.cat([lengths, torch.deg2rad(decoded[:, 3:] - true[:, 3:]).abs()], dim=-1).mean()


def _size(n_atoms: Int[Tensor, "crystals"]) -> Float[Tensor, "crystals 1"]:
    return (n_atoms.float() / REFERENCE_ATOMS).log().unsqueeze(-1)
