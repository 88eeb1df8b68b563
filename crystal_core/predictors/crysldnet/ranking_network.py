"""The network that ranks the candidates of a formula: the encoder and a head with one number per crystal.

The number is the log odds that a candidate is the right one, up to a constant of the formula. The network
learns them from candidates of crystals whose structure is known: the loss is minus the log of the probability
that a draw with softmax over the candidates of a formula picks a right one (the conditional logit of McFadden
1974; ListNet, Cao et al., ICML 2007, doi:10.1145/1273496.1273513).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from crystal_core.device import pick_device
from crystal_core.geometry import mean_per_crystal
from crystal_core.graphs.crystal_graphs import build_graphs
from crystal_core.predictors.crysldnet.encoders.build import encoder_of
from crystal_core.training.checkpoint import load_exactly, read_shards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from crystal_core.cards import ModelCard
    from crystal_core.crystal import CrystalBatch
    from crystal_core.graphs.crystal_graphs import CrystalGraphs
    from crystal_core.predictors.crysldnet.encoders.matformer import Matformer
    from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer

HIDDEN = 128
# of a candidate, beside its cell: what the prior of the ranking knows of its prototype
PRIOR = ("log_votes", "log_rank", "log_members", "ordered")
AT_ONCE = 128  # crystals of one forward pass
SMALLEST = 1e-6  # of a variance, where its root still has a gradient


class RankingNetwork(nn.Module):
    """An encoder, mean and standard deviation over a crystal's atoms, and a head.

    The encoder keeps the statistics of its batch norms, so that a candidate has the same log odds in every
    batch.

    Args:
        prior: weights of :data:`PRIOR` to begin with. They are learned beside the network, which so learns
            what the prior does not tell; the ranking has weights of its own for them.
    """

    def __init__(self, encoder: Pddformer | Matformer, prior: Sequence[float] = (0.0,) * len(PRIOR)) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(True)
        last = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Linear(2 * encoder.width, HIDDEN), nn.SiLU(), last)
        self.prior = nn.Parameter(torch.tensor(list(prior)))
        self.train()

    def train(self, mode: bool = True) -> RankingNetwork:
        """:meth:`Module.train`; the encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, graphs: CrystalGraphs) -> Float[Tensor, "crystals"]:
        """Log odds without the prior."""
        atoms = self.encoder(graphs)
        mean = mean_per_crystal(atoms, graphs.crystal_index, len(graphs))
        squares = mean_per_crystal(atoms.square(), graphs.crystal_index, len(graphs))
        spread = (squares - mean.square()).clamp(min=0.0).add(SMALLEST).sqrt()
        return self.head(torch.cat([mean, spread], dim=-1)).squeeze(-1)


def listwise_loss(
    log_odds: Float[Tensor, "crystals"], right: Float[Tensor, "crystals"], row: Tensor, n_rows: int
) -> Float[Tensor, "rows"]:
    """-log of the probability to draw a right candidate, of each row.

    Args:
        right: 1 or 0; each row has a right candidate.
        row: (crystals,) whose candidate each is, from 0 to ``n_rows`` - 1.
    """
    odds = (log_odds - highest_of(log_odds, row, n_rows)[row]).exp()
    all_odds, right_odds = log_odds.new_zeros(n_rows), log_odds.new_zeros(n_rows)
    all_odds, right_odds = all_odds.index_add(0, row, odds), right_odds.index_add(0, row, odds * right)
    return all_odds.log() - right_odds.clamp(min=1e-30).log()


def highest_of(log_odds: Float[Tensor, "crystals"], row: Tensor, n_rows: int) -> Float[Tensor, "rows"]:
    """The highest log odds of each row, as numbers without gradient."""
    lowest = log_odds.new_full((n_rows,), -torch.inf)
    return lowest.scatter_reduce(0, row, log_odds.detach(), "amax")


class Ranker:
    """The :class:`crystal_core.protocols.CandidateRanker` of this method."""

    def __init__(self, card: ModelCard, network: RankingNetwork, device: torch.device) -> None:
        self.card, self.network, self.device = card, network.to(device).eval(), device

    @torch.no_grad()
    def log_odds(self, crystals: CrystalBatch) -> list[float]:
        """See :meth:`crystal_core.protocols.CandidateRanker.log_odds`."""
        graphs = build_graphs(crystals, self.network.encoder.graph)
        order = torch.argsort(graphs.n_atoms, stable=True)
        parts = [self.network(graphs.select(some).to(self.device)) for some in order.split(AT_ONCE)]
        values: list[float] = torch.cat(parts).cpu()[torch.argsort(order)].tolist()
        return values


def load_ranker(card: ModelCard, device: str = "auto") -> Ranker:
    """The network of a card.

    Raises:
        CheckpointMismatch: a file is missing or changed, or the weights do not fit.
    """
    network = RankingNetwork(encoder_of(card.network))
    problem = f"The weights of '{card.name}' do not fit its card"
    load_exactly(network, read_shards(card), problem, without=("prior",))
    return Ranker(card, network, pick_device(device))
