"""Prepared crystals as latents of the frozen encoder: computed once, kept in a file, and drawn in batches."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from crystal_core.predictors.crysldnet.graph_rows import graphs_of
from crystal_core.training.data import epoch_order
from crystal_core.whole_files import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jaxtyping import Float, Int
    from torch import Tensor

    from crystal_core.predictors.crysldnet.encoders.protocol import Encoder
    from crystal_core.training.data import PreparedCrystals

# condition of a request → label of the prepared file
CONDITIONS = {
    "formation_energy": "formation_energy_per_atom_ev",
    "band_gap": "band_gap_ev",
    "e_above_hull": "e_above_hull_ev",
}
AT_ONCE = 64  # crystals of one forward pass
KEY = "made_of"  # in the metadata of the file


@dataclass(frozen=True, kw_only=True)
class LatentBatch:
    """Crystals drawn for one step, atoms concatenated.

    Attributes:
        latents: of the encoder, in its own units. cell_parameters: lengths in Å, angles in degrees.
        properties: in the order of :data:`CONDITIONS`, in eV and eV/atom; NaN where unknown.
    """

    latents: Float[Tensor, "atoms width"]
    atomic_numbers: Int[Tensor, "atoms"]
    n_atoms: Int[Tensor, "crystals"]
    cell_parameters: Float[Tensor, "crystals 6"]
    properties: Float[Tensor, "crystals conditions"]

    def __len__(self) -> int:
        return int(self.n_atoms.shape[0])


class LatentRows:
    """A data set whose atoms have their latents."""

    def __init__(self, crystals: PreparedCrystals, latents: Float[Tensor, "atoms width"]) -> None:
        self.crystals, self.latents = crystals, latents
        unknown = torch.full((len(crystals),), torch.nan, device=latents.device)
        self.properties = torch.stack(
            [crystals.labels.get(label, unknown).to(latents.device) for label in CONDITIONS.values()], dim=1
        )

    def __len__(self) -> int:
        return len(self.crystals)

    def select(self, rows: Int[Tensor, "selected"]) -> LatentBatch:
        """The crystals at these places, in that order."""
        batch = self.crystals.select(rows)
        return LatentBatch(
            latents=self.latents[self.crystals.atoms_of(rows)].float(),
            atomic_numbers=batch.atomic_numbers,
            n_atoms=batch.n_atoms,
            cell_parameters=batch.cell_parameters,
            properties=self.properties[rows],
        )

    def batches(
        self, size: int, generator: torch.Generator, repeats: Tensor | None = None
    ) -> Iterator[LatentBatch]:
        """An epoch in random order."""
        order = epoch_order(len(self), generator, repeats).to(self.latents.device)
        yield from map(self.select, order.split(size))

    def in_order(self, size: int) -> Iterator[LatentBatch]:
        """All crystals, those of similar size together."""
        order = torch.argsort(self.crystals.n_atoms, stable=True)
        yield from map(self.select, order.split(size))


def latent_rows(crystals: PreparedCrystals, encoder: Encoder, encoder_hash: str, file: Path) -> LatentRows:
    """The latents of all atoms, from ``file`` if it fits crystals and encoder, else computed and stored."""
    device = crystals.n_atoms.device
    made_of = hashlib.sha256(f"{encoder_hash} {' '.join(crystals.ids)}".encode()).hexdigest()
    latents = _read(file, made_of)
    if latents is None:
        latents = encoded(crystals, encoder).to(torch.bfloat16)
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as part:
            save_file({"latents": latents.cpu()}, part, metadata={KEY: made_of})
    return LatentRows(crystals, latents.to(device))


@torch.no_grad()
def encoded(crystals: PreparedCrystals, encoder: Encoder) -> Float[Tensor, "atoms width"]:
    """The encoder's features of every atom, in the order of the crystals."""
    order = torch.argsort(crystals.n_atoms, stable=True)
    device = crystals.n_atoms.device
    latents = torch.empty(len(crystals.atomic_numbers), encoder.width, device=device)
    for rows in order.split(AT_ONCE):
        graphs = graphs_of(crystals.subset(rows), encoder.graph).to(device)
        latents[crystals.atoms_of(rows)] = encoder(graphs)
    return latents


def _read(file: Path, made_of: str) -> Tensor | None:
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as handle:
            return handle.get_tensor("latents") if handle.metadata().get(KEY) == made_of else None
    except SafetensorError:  # a file that was cut off while it was written
        return None
