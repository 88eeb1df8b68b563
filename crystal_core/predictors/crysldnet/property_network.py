"""The network of the last stage: encoder, mean over atoms, heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from crystal_core.geometry import mean_per_crystal

if TYPE_CHECKING:
    from jaxtyping import Float

    from crystal_core.predictors.crysldnet.encoders.matformer import Matformer
    from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer
    from crystal_core.predictors.crysldnet.graph_rows import GraphBatch
    from crystal_core.predictors.crysldnet.heads import PropertyHeads


class PropertyNetwork(nn.Module):
    """An encoder, the mean over a crystal's atoms, and the heads of several properties."""

    def __init__(self, encoder: Pddformer | Matformer, heads: PropertyHeads) -> None:
        super().__init__()
        self.encoder, self.heads = encoder, heads

    def pooled(self, batch: GraphBatch) -> Float[Tensor, "crystals width"]:
        """One vector per crystal."""
        graphs = batch.graphs
        return mean_per_crystal(self.encoder(graphs), graphs.crystal_index, len(graphs))
