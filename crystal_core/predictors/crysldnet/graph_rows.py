"""Prepared crystals as graphs, with labels in the learned form, and the batches drawn from them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.geometry import lattice_from_parameters
from crystal_core.graphs.crystal_graphs import CrystalGraphs, GraphConfig, build_graphs
from crystal_core.properties import PROPERTIES
from crystal_core.training.data import PreparedCrystals, epoch_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Int
    from torch import Tensor


AT_ONCE = 1024  # crystals whose contacts are searched together


@dataclass(frozen=True, kw_only=True)
class GraphBatch:
    """Crystals drawn for one step.

    Attributes:
        rows: (crystals,) their places in the data set. cell_parameters: lengths in Å, angles in degrees.
        labels: in the form that is learned; NaN where unknown.
    """

    rows: Int[Tensor, "crystals"]
    graphs: CrystalGraphs
    frac_coords: Float[Tensor, "atoms 3"]
    cell_parameters: Float[Tensor, "crystals 6"]
    labels: Float[Tensor, "crystals properties"]

    def __len__(self) -> int:
        return len(self.graphs)


class GraphRows:
    """A data set as graphs on one device.

    Args:
        names: labels to keep, in order; a name that ends in that of a logarithmic property is
            learned as a logarithm.
    """

    def __init__(
        self,
        crystals: PreparedCrystals,
        config: GraphConfig,
        names: tuple[str, ...],
        device: torch.device | str,
    ) -> None:
        self.crystals, self.names = crystals, names
        self.graphs = graphs_of(crystals, config).to(device)
        self.labels = _labels(crystals, names).to(device)

    def __len__(self) -> int:
        return len(self.graphs)

    def subset(self, rows: Int[Tensor, "selected"]) -> GraphRows:
        """The crystals at these places as a data set of their own, whose graphs are not built again."""
        part = copy.copy(self)
        part.crystals = self.crystals.subset(rows)
        part.graphs, part.labels = self.graphs.select(rows), self.labels[rows]
        return part

    def select(self, rows: Int[Tensor, "selected"]) -> GraphBatch:
        """The crystals at these places, in that order."""
        batch = self.crystals.select(rows)
        return GraphBatch(
            rows=rows,
            graphs=self.graphs.select(rows),
            frac_coords=batch.frac_coords,
            cell_parameters=batch.cell_parameters,
            labels=self.labels[rows],
        )

    def batches(
        self, size: int, generator: torch.Generator, repeats: Tensor | None = None
    ) -> Iterator[GraphBatch]:
        """An epoch in random order, without a last batch of one crystal: batch norms need two atoms."""
        order = epoch_order(len(self), generator, repeats).to(self.graphs.n_atoms.device)
        for rows in order.split(size):
            if len(rows) > 1:
                yield self.select(rows)

    def in_order(self, size: int) -> Iterator[GraphBatch]:
        """All crystals, those of similar size together."""
        order = torch.argsort(self.graphs.n_atoms, stable=True)
        yield from map(self.select, order.split(size))


def _labels(crystals: PreparedCrystals, names: tuple[str, ...]) -> Float[Tensor, "crystals properties"]:
    if not names:
        return torch.zeros(len(crystals), 0)
    return torch.stack([learned(name, crystals.labels[name]) for name in names], dim=1)


def learned(name: str, values: Tensor) -> Tensor:
    """Label values in the form that is learned: logarithms to base 10 of what has none below 0."""
    spec = next((s for key, s in PROPERTIES.items() if name == key or name.endswith(f"_{key}")), None)
    if spec is None or not spec.logarithmic:
        return values
    return torch.where(values > 0, values, torch.nan).log10()


def graphs_of(data: PreparedCrystals, config: GraphConfig) -> CrystalGraphs:
    """The graphs of prepared crystals, in order, on the CPU."""
    parts = []
    for begin in range(0, max(len(data), 1), AT_ONCE):
        chosen = torch.arange(begin, min(begin + AT_ONCE, len(data)), device=data.n_atoms.device)
        batch = data.select(chosen)
        crystals = CrystalBatch(
            atomic_numbers=batch.atomic_numbers,
            frac_coords=batch.frac_coords.double(),
            lattice=lattice_from_parameters(batch.cell_parameters.double()),
            n_atoms=batch.n_atoms,
        )
        parts.append(build_graphs(crystals, config))
    return CrystalGraphs.concat(parts)
