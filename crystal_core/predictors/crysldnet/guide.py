"""A predicted property as a guidance target: how near the prediction is to a target, differentiably."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from crystal_core.errors import RequestError
from crystal_core.geometry import mean_per_crystal, volume
from crystal_core.graphs.crystal_graphs import CrystalGraphs
from crystal_core.graphs.neighbours import find_neighbours
from crystal_core.graphs.pdd import relative_weights
from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from crystal_core.crystal import SoftCrystals
    from crystal_core.predictors.crysldnet.encoders.matformer import Matformer
    from crystal_core.predictors.crysldnet.heads import PropertyHeads
    from crystal_core.properties import PropertySpec

SPREAD = 0.3  # around the target at strength 1, in standard deviations of the training labels
VOLUME_RANGE = (4.0, 100.0)  # Å3 per atom; cells outside are still noise, and are not guided


class PropertyTarget:
    """The log of a normal distribution of a predicted property around a target.

    Gradients flow through elements, contacts and cell; the rows of far distances are held still.

    Args:
        heads: of the one property. target: in its unit.

    Raises:
        RequestError: the target has no logarithm, or the encoder or its graphs have no differentiable form.
    """

    def __init__(
        self, encoder: Pddformer | Matformer, heads: PropertyHeads, spec: PropertySpec, target: float
    ) -> None:
        graph = encoder.graph
        if (
            not isinstance(encoder, Pddformer)
            or graph.self_contacts != "once"
            or graph.lattice_edges != "none"
        ):
            raise RequestError("This predictor cannot guide: its graphs have no differentiable form.")
        self.encoder, self.heads, self.graph = encoder, heads, graph
        learned = spec.to_learned(target)
        if not np.isfinite(learned):
            raise RequestError(f"{spec.title} must be positive to guide towards, not {target:g}.")
        self.target = (learned - float(self.heads.mean[0])) / float(self.heads.std[0])

    def value(self, batch: SoftCrystals) -> Tensor:
        usable = self._usable(batch)
        nothing = 0.0 * (batch.types.sum() + batch.frac_coords.sum() + batch.lattice.sum())
        scores = nothing.expand(len(batch.n_atoms))
        if not bool(usable.any()):
            return scores
        predicted = self._predicted(batch, usable)
        return scores.index_add(
            0, torch.nonzero(usable).squeeze(-1), -0.5 * ((predicted - self.target) / SPREAD) ** 2
        )

    def _usable(self, batch: SoftCrystals) -> Bool[Tensor, "crystals"]:
        size = volume(batch.lattice.detach()) / batch.n_atoms
        low, high = VOLUME_RANGE
        return (size >= low) & (size <= high) & size.isfinite()

    def _predicted(self, batch: SoftCrystals, usable: Tensor) -> Float[Tensor, "usable"]:
        atoms = usable[batch.crystal_index]
        types, frac_coords = batch.types[atoms], batch.frac_coords[atoms]
        lattice, n_atoms = batch.lattice[usable], batch.n_atoms[usable]
        index = torch.repeat_interleave(torch.arange(len(n_atoms), device=n_atoms.device), n_atoms)
        neighbours = find_neighbours(
            lattice.detach().cpu().double().numpy(),
            frac_coords.detach().cpu().double().numpy() % 1.0,
            n_atoms.cpu().numpy(),
            n_neighbours=self.graph.n_neighbours,
            tolerance=self.graph.tolerance,
            n_nearest=self.graph.n_nearest,
        )
        device = types.device
        first, second = (torch.from_numpy(x).to(device) for x in (neighbours.first, neighbours.second))
        image = torch.from_numpy(neighbours.image).to(frac_coords)
        wrapped = frac_coords - frac_coords.detach().floor()
        step = wrapped[second] + image - wrapped[first]
        distance = torch.einsum("ci,cij->cj", step, lattice[index[first]]).norm(dim=-1)
        graphs = CrystalGraphs(
            atomic_numbers=types.detach().argmax(dim=-1) + 1,
            n_atoms=n_atoms,
            n_contacts=torch.bincount(index[first], minlength=len(n_atoms)),
            pair_i=first,
            pair_j=second,
            distance=distance.detach(),
            nearest=torch.from_numpy(neighbours.nearest).to(types),
        )
        protons = types @ torch.arange(1, types.shape[1] + 1, device=device).to(types)
        weights = relative_weights(protons, graphs, self.encoder.config.pdd_weight)
        features = self.encoder.soft(types, distance, weights, graphs)
        pooled = mean_per_crystal(features, graphs.crystal_index, len(graphs))
        return self.heads(pooled).value[:, 0]
