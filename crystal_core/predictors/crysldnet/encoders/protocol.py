"""The interface of an encoder: its width, the graphs it reads, and a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from crystal_core.graphs.crystal_graphs import CrystalGraphs, GraphConfig


class Encoder(Protocol):
    """A network with one output row per atom, equal for every orientation, origin and order of the crystal.

    Attributes:
        graph: how its crystals become graphs.
    """

    graph: GraphConfig

    @property
    def width(self) -> int:
        """Features per atom."""
        ...

    def __call__(self, graphs: CrystalGraphs) -> Float[Tensor, "atoms width"]:
        """Features of every atom, crystals concatenated as in ``graphs``."""
        ...
