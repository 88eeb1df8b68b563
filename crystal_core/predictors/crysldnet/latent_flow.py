"""Stage 2 of CrysLDNet: flow matching in the latent space refines the encoder that stage 1 began.

The release trains encoder and transformer together on the deterministic features of the encoder, without any
other loss, so that the loss can also be lowered by shrinking the features. Our default diffuses the latents
of the autoencoder in units of their running spread, holds the target still, and keeps the losses of stage 1,
so that decoders and latents fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from crystal_core.checks import check_choice
from crystal_core.networks.dit import Dit, DitConfig
from crystal_core.predictors.crysldnet.vae import CrystalVae, draw_hidden
from crystal_core.sampling.flow_matching import EARLIEST, LATEST, data_loss, interpolate, masked_noise

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from crystal_core.graphs.crystal_graphs import CrystalGraphs

SPREAD_MOMENTUM = 0.01
GROUPS = 4  # groups of similar size in which a batch is padded


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Settings of stage 2.

    Attributes:
        mode: "published" is the release; "kept" is ours.
        dit: sizes of the transformer.

    Raises:
        RequestError: unknown mode.
    """

    mode: Literal["kept", "published"] = "kept"
    dit: DitConfig = field(default_factory=DitConfig)

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, ("kept", "published"))


@dataclass(frozen=True, kw_only=True)
class FlowLosses:
    """The terms of one batch; ``vae`` is 0 in published mode.

    ``latents`` (atoms, width) are those that diffuse, for their statistics.
    """

    flow: Float[Tensor, ""]
    vae: Float[Tensor, ""]
    total: Float[Tensor, ""]
    latents: Float[Tensor, "atoms width"]


class LatentFlow(nn.Module):
    """The autoencoder, and the transformer that learns to denoise its latents."""

    mean: Tensor
    spread: Tensor
    batches_measured: Tensor

    def __init__(self, vae: CrystalVae, config: FlowConfig | None = None) -> None:
        super().__init__()
        self.vae, self.config = vae, config or FlowConfig()
        width = vae.encoder.width
        self.denoiser = Dit(self.config.dit, width)
        # of the latents over the atoms seen so far; only the default mode measures latents in these units
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("batches_measured", torch.zeros((), dtype=torch.long))

    def forward(
        self,
        graphs: CrystalGraphs,
        frac_coords: Float[Tensor, "atoms 3"],
        cell_parameters: Float[Tensor, "crystals 6"],
        rng: torch.Generator,
    ) -> FlowLosses:
        """The losses of a batch; lengths of the cells in Å, angles in degrees."""
        if self.config.mode == "published":
            x = self.vae.encoder(graphs)
            flow = self._flow(x, x, graphs, torch.ones_like(graphs.n_atoms, dtype=torch.bool), rng)
            return FlowLosses(flow=flow, vae=torch.zeros_like(flow), total=flow, latents=x.detach())
        # half of the crystals hide elements, for the losses of stage 1; the others are diffused as they are
        whole = torch.rand(len(graphs), generator=rng, device=rng.device) < 0.5
        if not bool(whole.any()):
            whole[0] = True
        hidden = draw_hidden(graphs.n_atoms, self.vae.config.mask_fraction, rng)
        hidden = hidden & ~whole[graphs.crystal_index]
        losses = self.vae(graphs, frac_coords, cell_parameters, hidden, rng, shown_weight=1.0)
        latents = losses.latents
        self._measure(latents.detach())
        normal = (latents - self.mean) / self.spread
        flow = self._flow(normal, normal.detach(), graphs, whole, rng)
        return FlowLosses(
            flow=flow, vae=losses.total.detach(), total=losses.total + flow, latents=latents.detach()
        )

    def _measure(self, latents: Float[Tensor, "atoms width"]) -> None:
        if not self.training:
            return
        with torch.no_grad():
            # a plain average over the first batches, so that the first ones are not measured in units of 1
            weight = max(SPREAD_MOMENTUM, 1 / (int(self.batches_measured) + 1))
            self.mean.lerp_(latents.float().mean(dim=0), weight)
            self.spread.lerp_(latents.float().std(dim=0).clamp(min=1e-3), weight)
            self.batches_measured += 1

    def _flow(
        self,
        latents: Tensor,
        target: Tensor,
        graphs: CrystalGraphs,
        chosen: Bool[Tensor, "crystals"],
        rng: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Mean loss of the chosen crystals."""
        published = self.config.mode == "published"
        return denoising_losses(
            self.denoiser,
            latents,
            target,
            graphs.n_atoms,
            rng,
            chosen=chosen,
            # the release pads to the largest cell of the batch, over whose rows its noise is centred
            groups=1 if published else GROUPS,
            centred=published,
        ).mean()


def denoising_losses(
    denoiser: Dit,
    latents: Float[Tensor, "atoms width"],
    target: Float[Tensor, "atoms width"],
    n_atoms: Int[Tensor, "crystals"],
    rng: torch.Generator,
    *,
    chosen: Bool[Tensor, "crystals"] | None = None,
    conditions: Float[Tensor, "crystals n_conditions"] | None = None,
    groups: int = GROUPS,
    centred: bool = False,
) -> Float[Tensor, "chosen"]:
    """The flow-matching loss of the chosen crystals, smallest cells first, at random times and noise.

    Args:
        latents: that are noised. target: what the denoiser is to give back. chosen: None for all.
        groups: of similar size, each padded to its largest cell. centred: as in :func:`.masked_noise`.
    """
    chosen = torch.ones_like(n_atoms, dtype=torch.bool) if chosen is None else chosen
    crystals = torch.nonzero(chosen).squeeze(-1)
    crystals = crystals[torch.argsort(n_atoms[crystals], stable=True)]
    losses = []
    for group in crystals.tensor_split(min(groups, len(crystals))):
        index, present = padded(n_atoms, group)
        z1, aim = latents[index] * present.unsqueeze(-1), target[index]
        time = EARLIEST + (LATEST - EARLIEST) * torch.rand(len(group), generator=rng, device=rng.device).to(
            z1
        )
        noise = masked_noise(present, z1.shape[-1], rng, centred=centred)
        known = None if conditions is None else conditions[group]
        answer = denoiser(interpolate(noise, z1, time), time, present, known)
        losses.append(data_loss(answer.float(), aim.float(), time.float(), present))
    return torch.cat(losses)


def padded(
    n_atoms: Int[Tensor, "all"], crystals: Int[Tensor, "crystals"]
) -> tuple[Int[Tensor, "crystals atoms"], Bool[Tensor, "crystals atoms"]]:
    """Index of each atom of the chosen crystals among all, padded to the largest cell, and a mask."""
    counts, first = n_atoms[crystals], (torch.cumsum(n_atoms, 0) - n_atoms)[crystals]
    place = torch.arange(int(counts.max()), device=counts.device)
    present = place < counts[:, None]
    return torch.where(present, first[:, None] + place, 0), present
