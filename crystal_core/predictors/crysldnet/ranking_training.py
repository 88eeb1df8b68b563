"""Train the ranking network on candidates of known crystals (:mod:`crystal_core.workflows.ranking_rows`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack, cast

import torch

from crystal_core.cards import checkpoint_folder, read_card
from crystal_core.errors import CheckpointMissing, RequestError
from crystal_core.evaluation.ranking import load_weights
from crystal_core.predictors.crysldnet.export import METHOD, statistics_of
from crystal_core.predictors.crysldnet.graph_rows import GraphBatch, GraphRows
from crystal_core.predictors.crysldnet.predictor import load_encoder
from crystal_core.predictors.crysldnet.ranking_network import (
    PRIOR,
    RankingNetwork,
    highest_of,
    listwise_loss,
)
from crystal_core.predictors.crysldnet.training import initial_weights
from crystal_core.training.checkpoint import write_checkpoint
from crystal_core.training.config import FitConfig
from crystal_core.training.data import RowSettings, load_rows
from crystal_core.training.settings import parse_settings
from crystal_core.training.slices import SliceOptions, fit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from crystal_core.graphs.crystal_graphs import GraphConfig
    from crystal_core.training.data import PreparedCrystals
    from crystal_core.training.fit import Trained, Trainer

__all__ = ["export_checkpoint", "initial_weights", "settings_from", "train"]

ROW, RIGHT = "row", "right"  # labels: the known crystal whose candidate it is, and whether it is that crystal
LABELS = (ROW, RIGHT, *PRIOR)
LOADER = "crysldnet-ranking"


@dataclass(frozen=True, kw_only=True)
class RankingTraining(RowSettings):
    """A training configuration file.

    Attributes:
        encoder: checkpoint whose encoder is trained on.
        init_from: checkpoint or folder of a run of such a network whose EMA weights start the run, or "".
        fit: ``batch_size`` counts known crystals, each with all its candidates; all other numbers count
            candidates.
    """

    name: str
    encoder: str = "crysldnet-encoder"
    init_from: str = ""
    fit: FitConfig = field(default_factory=FitConfig)


def settings_from(text: str) -> RankingTraining:
    """A typed configuration from TOML text; raises as :func:`parse_settings`."""
    return parse_settings(text, RankingTraining)


class CandidateRows:
    """The candidates of known crystals as graphs, those of one crystal side by side.

    Raises:
        RequestError: the prepared file holds no candidates.
    """

    def __init__(self, crystals: PreparedCrystals, graph: GraphConfig, device: torch.device) -> None:
        missing = [name for name in LABELS if name not in crystals.labels]
        if missing:
            raise RequestError(
                f"The prepared file has no label {', '.join(missing)}; make one with "
                "'python -m crystal_core.workflows.ranking_rows'."
            )
        order = torch.argsort(crystals.labels[ROW], stable=True)
        self.graphs = GraphRows(crystals.subset(order), graph, LABELS, device)
        counts = torch.unique_consecutive(self.graphs.labels[:, 0], return_counts=True)[1].cpu()
        self.counts, self.first = counts, torch.cumsum(counts, 0) - counts

    def __len__(self) -> int:
        return len(self.counts)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[GraphBatch]:
        """All candidates of ``size`` known crystals at a time, in random order with a generator."""
        order = (
            torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        )
        for some in order.split(size):
            places = [
                torch.arange(n) + start for start, n in zip(self.first[some], self.counts[some], strict=True)
            ]
            yield self.graphs.select(torch.cat(places).to(self.graphs.labels.device))


def row_losses(network: RankingNetwork, batch: GraphBatch) -> tuple[Tensor, Tensor]:
    """(rows,) the loss of each known crystal, and whether its likeliest candidate is right."""
    _, row = torch.unique_consecutive(batch.labels[:, 0], return_inverse=True)
    n_rows, right = int(row[-1]) + 1, batch.labels[:, 1]
    log_odds = network(batch.graphs).float() + batch.labels[:, 2:] @ network.prior
    losses = listwise_loss(log_odds, right, row, n_rows)
    is_first = log_odds.detach() == highest_of(log_odds, row, n_rows)[row]
    first = log_odds.new_zeros(n_rows).index_add(0, row, right * is_first)
    return losses, first.clamp(max=1.0)


def ranking_loss(
    network: torch.nn.Module, batch: GraphBatch, _: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss as the trainer calls it."""
    losses, first = row_losses(cast("RankingNetwork", network), batch)
    return losses.mean(), {"first_right": first.mean().detach()}


@torch.no_grad()
def validate(trainer: Trainer, held: CandidateRows) -> dict[str, Any]:
    """Loss, and share of known crystals whose likeliest candidate is right."""
    network = cast("RankingNetwork", trainer.ema)
    parts = [row_losses(network, batch) for batch in held.batches(trainer.config.batch_size)]
    losses, first = (torch.cat(part) for part in zip(*parts, strict=True))
    return {"loss": round(float(losses.mean()), 5), "first_right": round(float(first.mean()), 4)}


def train(
    config: RankingTraining,
    *,
    data_file: Path,
    initial: dict[str, Tensor] | None = None,
    **options: Unpack[SliceOptions],
) -> Trained:
    """Run one slice on the candidates of a prepared file.

    Raises:
        CheckpointMissing: the encoder is not installed.
    """
    device = options["device"]
    torch.manual_seed(config.fit.seed)
    folder = checkpoint_folder(config.encoder)
    if folder is None:
        raise CheckpointMissing(f"The ranking starts from '{config.encoder}', which is not installed.")
    weights = load_weights()
    prior = (weights.votes, weights.rank, weights.members, weights.ordered)
    network = RankingNetwork(load_encoder(read_card(folder)), prior)
    if initial is not None:
        network.load_state_dict(initial, strict=False)
    crystals, validation = load_rows(config, data_file, device)
    rows = CandidateRows(crystals, network.encoder.graph, device)
    held = None if validation is None else CandidateRows(validation, network.encoder.graph, device)
    return fit(
        network,
        config.fit,
        loss=ranking_loss,
        batches=lambda generator: rows.batches(config.fit.batch_size, generator),
        held=held,
        validate=validate,
        **options,
    )


def export_checkpoint(name: str, *, trained: Trained, settings: RankingTraining, log: Path) -> Path:
    """Write ``checkpoints/<name>/``: EMA weights, validation curve, and a card without metrics yet."""
    folder = checkpoint_folder(settings.encoder)
    assert folder is not None  # it was trained from there
    tables = read_card(folder).network
    return write_checkpoint(
        name,
        trainer=trained.trainer,
        log=log,
        fields={
            "kind": "predictor",
            "task": "ranking of candidates",
            "method": METHOD,
            "loader": LOADER,
            "network": {key: tables[key] for key in ("encoder_kind", "encoder", "graph") if key in tables},
        },
        about_training={},
        exact=statistics_of(trained.trainer.ema),
        without=("prior",),
    )
