"""A generator in one file: atoms as soft spheres that repel each other.

The example of docs/add-a-model.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import IncompatibleSampler
from crystal_core.frames import Frame
from crystal_core.geometry import wrap, wrap_unit

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard
    from crystal_core.requests import GenerationRequest


class SoftSpheres:
    """Random positions in a cube, relaxed under a repulsion of every pair of atoms within a reach."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.volume = float(card.network["volume_per_atom"])  # Å³
        self.reach = float(card.network["reach"])  # Å

    def sample(self, request: GenerationRequest) -> Iterator[Frame]:
        """A frame every ``request.frame_every`` steps; the last one is finished."""
        if request.start is not None:
            raise IncompatibleSampler("Soft spheres begin with random positions; leave the start out.")
        rng = torch.Generator().manual_seed(request.seed)  # never the global generator
        n_atoms = torch.tensor([len(numbers) for numbers in request.compositions])
        edges = (self.volume * n_atoms) ** (1 / 3)
        coords = [torch.rand((int(n), 3), generator=rng) for n in n_atoms]
        n_steps = request.steps or 50
        for step in range(1, n_steps + 1):
            coords = [self._apart(x, float(edge)) for x, edge in zip(coords, edges, strict=True)]
            if step % request.frame_every and step < n_steps:
                continue
            yield Frame(
                stage="pushing apart",
                step=step,
                n_steps=n_steps,
                time=1 - step / n_steps,
                crystals=CrystalBatch(
                    atomic_numbers=torch.tensor([z for cell in request.compositions for z in cell]),
                    frac_coords=torch.cat(coords),
                    lattice=edges.view(-1, 1, 1) * torch.eye(3),
                    n_atoms=n_atoms,
                ),
                sample_ids=tuple(range(len(n_atoms))),
                finished=step == n_steps,
            )

    def _apart(self, x: torch.Tensor, edge: float) -> torch.Tensor:
        """One step: every pair nearer than the reach moves apart by a tenth of what is missing."""
        away = wrap(x[:, None] - x[None]) * edge  # (n, n, 3) Å, minimal image
        distance = away.norm(dim=-1).clamp(min=1e-6)
        missing = (self.reach - distance).clamp(min=0)
        push = (away / distance.unsqueeze(-1) * missing.unsqueeze(-1)).sum(1)
        return wrap_unit(x + 0.1 * push / edge)


def load_soft_spheres(card: ModelCard, device: str) -> SoftSpheres:  # noqa: ARG001 (every loader takes a device)
    """What the registry calls: the card and a device in, the model out."""
    return SoftSpheres(card)
