"""Stage 1 of CrysLDNet: a variational autoencoder that predicts hidden elements and the geometry.

The published targets are fractional coordinates and the cell matrix. Both depend on origin and orientation,
but the latents do not, so a network can learn them only as far as the data set follows a convention. Our
default targets are invariant: the distances of an atom to its nearest neighbours, and the lengths and angles
of the reduced cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystal_core.checks import check_choice, check_number, check_whole
from crystal_core.errors import RequestError
from crystal_core.geometry import lattice_from_parameters, mean_per_crystal
from crystal_core.predictors.crysldnet.encoders.pddformer import N_TYPES

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from crystal_core.graphs.crystal_graphs import CrystalGraphs
    from crystal_core.predictors.crysldnet.encoders.protocol import Encoder

HIDDEN = 0  # atomic number of an atom whose element the network has to predict
LOG_VARIANCE_RANGE = (-30.0, 20.0)


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """The reconstruction targets of stage 1, and the weights of its losses.

    Attributes:
        targets: "invariant" (ours), or "published": fractional coordinates and the transposed cell matrix in
            Å, with sampled latents in evaluation mode, too.
        mask_fraction: share of hidden elements in each crystal, rounded up to whole atoms.
        masks: "fresh" draws the hidden atoms for every batch; "fixed", as published, once for the
            whole training, and leaves out crystals of one atom.
        n_distances: number of nearest distances decoded from the latent of an atom; invariant targets only.
        type_weight, position_weight, lattice_weight, kl_weight: weights of the losses; published: 1, 1, 1 and
            1e-5.

    Raises:
        RequestError: a value is out of range.
    """

    targets: Literal["invariant", "published"] = "invariant"
    mask_fraction: float = 0.3
    masks: Literal["fresh", "fixed"] = "fresh"
    n_distances: int = 12
    type_weight: float = 1.0
    position_weight: float = 1.0
    lattice_weight: float = 1.0
    kl_weight: float = 1e-5

    def __post_init__(self) -> None:
        check_choice("targets", self.targets, ("invariant", "published"))
        check_choice("masks", self.masks, ("fresh", "fixed"))
        check_whole("n_distances", self.n_distances, 1, 200)
        if not 0 < self.mask_fraction <= 1:
            raise RequestError(f"mask_fraction lies above 0 and at most at 1, not {self.mask_fraction!r}.")
        for name in ("type_weight", "position_weight", "lattice_weight", "kl_weight"):
            check_number(name, getattr(self, name), 0.0, 1e6)


@dataclass(frozen=True, kw_only=True)
class VaeLosses:
    """The losses of one batch; ``total`` is their weighted sum, ``latents`` (atoms, width) are the means."""

    types: Float[Tensor, ""]
    positions: Float[Tensor, ""]
    lattice: Float[Tensor, ""]
    kl: Float[Tensor, ""]
    total: Float[Tensor, ""]
    latents: Float[Tensor, "atoms width"]


class CrystalVae(nn.Module):
    """Encoder, Gaussian latent per atom, and linear decoders of types, positions and lattice, as released.

    Raises:
        RequestError: the graphs of the encoder hold fewer distances per atom than the decoder returns.
    """

    def __init__(self, encoder: Encoder, config: VaeConfig | None = None) -> None:
        super().__init__()
        self.encoder, self.config = encoder, config or VaeConfig()
        width, invariant = encoder.width, self.config.targets == "invariant"
        if invariant and encoder.graph.n_nearest < self.config.n_distances:
            raise RequestError(
                f"The graphs hold {encoder.graph.n_nearest} distances per atom, and the decoder gives back "
                f"{self.config.n_distances}. Raise n_nearest or lower n_distances."
            )
        self.quant_conv = nn.Linear(width, 2 * width, bias=False)
        self.mlm_pred = nn.Linear(width, N_TYPES)
        self.position_mlp = nn.Linear(width, self.config.n_distances if invariant else 3)
        self.lattice_mlp = nn.Linear(width, 6 if invariant else 9)

    def forward(
        self,
        graphs: CrystalGraphs,
        frac_coords: Float[Tensor, "atoms 3"],
        cell_parameters: Float[Tensor, "crystals 6"],
        hidden: Bool[Tensor, "atoms"],
        rng: torch.Generator,
        shown_weight: float = 0.0,
    ) -> VaeLosses:
        """The losses of a batch.

        Args:
            graphs: with all elements; this method hides those of the ``hidden`` atoms.
            cell_parameters: lengths in Å and angles in degrees.
            shown_weight: weight of visible elements in the loss of types; published: 0. At 0 the decoder
                never learns to name an element that the encoder has seen.
        """
        mean, log_variance = self.moments(hide(graphs, hidden))
        z = mean
        if self.training or self.config.targets == "published":
            noise = torch.randn(mean.shape, generator=rng, device=rng.device).to(mean)
            z = mean + torch.exp(0.5 * log_variance) * noise
        types = self._type_loss(z, graphs, hidden)
        if shown_weight:
            types = types + shown_weight * self._type_loss(z, graphs, ~hidden)
        positions, lattice = self._geometry(graphs, frac_coords, cell_parameters)
        position_loss = functional.l1_loss(self.position_mlp(z), positions)
        pooled = mean_per_crystal(z, graphs.crystal_index, len(graphs))
        lattice_loss = functional.l1_loss(self.lattice_mlp(pooled), lattice)
        # the sum over dimensions, then the mean over atoms: the weight is small because the sum is large
        kl = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(dim=-1).mean()
        config = self.config
        reconstruction = (
            config.type_weight * types
            + config.position_weight * position_loss
            + config.lattice_weight * lattice_loss
        )
        return VaeLosses(
            types=types,
            positions=position_loss,
            lattice=lattice_loss,
            kl=kl,
            total=reconstruction + config.kl_weight * kl,
            latents=mean,
        )

    def _type_loss(self, z: Tensor, graphs: CrystalGraphs, chosen: Tensor) -> Tensor:
        """Cross entropy of the elements of the chosen atoms; 0 for none."""
        if not bool(chosen.any()):
            return z.sum() * 0.0
        return functional.cross_entropy(self.mlm_pred(z[chosen]).float(), graphs.atomic_numbers[chosen])

    def moments(self, graphs: CrystalGraphs) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of each atom's latent, both (atoms, width)."""
        mean, log_variance = self.quant_conv(self.encoder(graphs)).chunk(2, dim=-1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def name_hidden(
        self, graphs: CrystalGraphs, hidden: Bool[Tensor, "atoms"]
    ) -> Int[Tensor, "hidden_atoms"]:
        """The most likely atomic number of every hidden atom."""
        mean, _ = self.moments(hide(graphs, hidden))
        return self.mlm_pred(mean[hidden])[:, 1:].argmax(dim=-1) + 1

    def _geometry(
        self, graphs: CrystalGraphs, frac_coords: Tensor, cell_parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Targets of the two geometric decoders."""
        if self.config.targets == "published":
            # the release stacks column vectors: its target is the transposed matrix
            return frac_coords, lattice_from_parameters(cell_parameters).transpose(1, 2).flatten(1)
        # logarithms: an error of 2 % weighs the same for a bond and for a long axis
        lattice = torch.cat([cell_parameters[:, :3].log(), torch.deg2rad(cell_parameters[:, 3:])], dim=-1)
        return graphs.nearest[:, : self.config.n_distances].log(), lattice


def hide(graphs: CrystalGraphs, hidden: Bool[Tensor, "atoms"]) -> CrystalGraphs:
    """The graphs without the elements of these atoms, which also sets their weights in distance rows to 0."""
    return replace(graphs, atomic_numbers=graphs.atomic_numbers.masked_fill(hidden, HIDDEN))


def draw_hidden(
    n_atoms: Int[Tensor, "crystals"], fraction: float, rng: torch.Generator
) -> Bool[Tensor, "atoms"]:
    """True for the atoms whose element is hidden: ceil(fraction N) random atoms of every crystal.

    The release draws them once for the whole training. Drawing them for every batch shows the network each
    atom both hidden and visible.
    """
    n_atoms = n_atoms.to(rng.device)
    atoms = int(n_atoms.sum())
    crystal = torch.repeat_interleave(torch.arange(len(n_atoms), device=rng.device), n_atoms)
    shuffled = torch.randperm(atoms, generator=rng, device=rng.device)
    order = shuffled[torch.argsort(crystal[shuffled], stable=True)]  # by crystal, at random inside
    rank = torch.arange(atoms, device=rng.device) - (torch.cumsum(n_atoms, 0) - n_atoms)[crystal]
    # 0.3 * 10 is a little above 3 in binary: ceil would hide a fourth atom
    chosen = rank < torch.ceil(fraction * n_atoms - 1e-6)[crystal]
    hidden = torch.zeros(atoms, dtype=torch.bool, device=rng.device)
    hidden[order[chosen]] = True
    return hidden
