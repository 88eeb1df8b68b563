"""Train an adapter on rows of a table, calibrate it on held-out ones, and write its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.predictors.crysldnet.adapters import AdapterConfig, AdapterNetwork
from crystal_core.predictors.crysldnet.export import export_adapter, outputs_of, physical
from crystal_core.predictors.crysldnet.graph_rows import GraphBatch, GraphRows
from crystal_core.predictors.crysldnet.predictor import load_encoder
from crystal_core.predictors.crysldnet.training import standardise
from crystal_core.training.fit import FitConfig, Trainer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from crystal_core.cards import ModelCard
    from crystal_core.datasets.rows import CrystalRow
    from crystal_core.properties import PropertySpec
    from crystal_core.training.data import PreparedCrystals

BATCH = 32
RATE = 1e-3
# the label of a row, which is learned as it stands: a name of a shipped property would have its logarithm taken again
LABEL = "learned"


@dataclass(frozen=True, kw_only=True)
class AdapterProgress:
    """How far a training is.

    Attributes:
        samples: crystals seen, of those planned. validation_mae: after an epoch, in the unit of the property; else None.
    """

    samples: int
    of: int
    validation_mae: float | None = None


@dataclass(frozen=True, kw_only=True)
class FittedAdapter:
    """What came of a training; true and predicted values of the held-out crystals in physical units, mean of the training ones."""

    true: list[float]
    predicted: list[float]
    mean: float
    seconds: float


def fit_adapter(
    card: ModelCard,
    spec: PropertySpec,
    column: str,
    train: Sequence[CrystalRow],
    held: Sequence[CrystalRow],
    *,
    config: AdapterConfig,
    samples: int,
    minutes: float | None,
    device: torch.device,
    seed: int,
    run: Path,
    checkpoint: Path,
    source: str,
) -> Generator[AdapterProgress, None, FittedAdapter]:
    """Train on ``train``, calibrate on ``held`` and write the checkpoint; closing the iterator stops before it is written.

    Args:
        card: of the encoder. column: the label of the rows. run: folder for snapshots. checkpoint: folder to write.
        source: name of the table, for the card.
    """
    torch.manual_seed(seed)
    encoder = load_encoder(card)
    network = AdapterNetwork(encoder, spec.name, config)
    sets = [
        GraphRows(crystals_of(rows, column, spec), encoder.graph, (LABEL,), device) for rows in (train, held)
    ]
    train_set, held_set = sets
    standardise(network.heads, train_set.labels)
    bootstrap = torch.poisson(
        torch.ones(len(train), 1, config.heads.n_members), generator=torch.Generator().manual_seed(seed)
    ).to(device)

    def loss(net: nn.Module, batch: GraphBatch, _: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        if not isinstance(net, AdapterNetwork):
            raise TypeError("an adapter's network is trained")
        outputs = net.heads(net.pooled(batch))
        values, scales = net.heads.losses(outputs, batch.labels, bootstrap[batch.rows])
        return values.mean() + scales.mean(), {"values": values.mean().detach()}

    trainer = Trainer(
        network,
        FitConfig(
            batch_size=BATCH,
            learning_rate=RATE,
            weight_decay=1e-4,
            amsgrad=False,
            planned_samples=samples,
            decay_fraction=0.7,
            warmup_steps=20,
            ema_decay=0.99,
            clip_norm=1.0,
            seed=seed,
        ),
        loss=loss,
        batches=lambda generator: train_set.batches(BATCH, generator),
        batch_crystals=len,
        folder=run,
        device=device,
    )

    def on_epoch(current: Trainer) -> dict[str, Any]:
        return {"validation_mae": _error(current.ema, held_set, spec)}

    for line in trainer.steps(minutes, on_epoch):
        error = None if line is None else line["validation"]["validation_mae"]
        yield AdapterProgress(samples=trainer.samples, of=samples, validation_mae=error)
    final = trainer.ema
    if not isinstance(final, AdapterNetwork):
        raise TypeError("an adapter's network is trained")
    outputs = outputs_of(final, held_set)
    mean, std = float(final.heads.mean[0]), float(final.heads.std[0])
    export_adapter(
        checkpoint,
        spec=spec,
        state=final.adapter_state(),
        outputs=(outputs.members[:, 0], outputs.log_scale[:, 0]),
        labels=(train_set.labels[:, 0].cpu(), held_set.labels[:, 0].cpu()),
        scale=(mean, std),
        encoder=card,
        trained_on=f"{len(train):,} crystals of {source}",
        network={"rank": config.rank, "scaling": config.scaling, "head_form": config.heads.form},
    )
    predicted = physical(spec, outputs.members[:, 0].mean(dim=-1).double() * std + mean)
    return FittedAdapter(
        true=physical(spec, held_set.labels[:, 0].double().cpu()).tolist(),
        predicted=predicted.tolist(),
        mean=spec.from_learned(mean),
        seconds=trainer.seconds,
    )


@torch.no_grad()
def _error(network: nn.Module, held: GraphRows, spec: PropertySpec) -> float:
    """Mean absolute error in the unit of the property."""
    if not isinstance(network, AdapterNetwork):
        raise TypeError("an adapter's network is trained")
    members = outputs_of(network, held).members[:, 0].mean(dim=-1).double()
    values = physical(spec, members * float(network.heads.std[0]) + float(network.heads.mean[0]))
    return float(f"{float((values - physical(spec, held.labels[:, 0].double().cpu())).abs().mean()):.5g}")


def crystals_of(rows: Sequence[CrystalRow], column: str, spec: PropertySpec) -> PreparedCrystals:
    """Rows of a table as tensors, with the label of one column in the form that is learned."""
    from crystal_core.geometry import lattice_parameters
    from crystal_core.training.data import PreparedCrystals

    n_atoms = torch.tensor([len(row.atomic_numbers) for row in rows])
    lattice = torch.stack([torch.tensor(row.lattice) for row in rows])
    return PreparedCrystals(
        atomic_numbers=torch.cat([torch.tensor(row.atomic_numbers) for row in rows]),
        frac_coords=torch.cat([torch.tensor(row.frac_coords) for row in rows]).float() % 1.0,
        cell_parameters=lattice_parameters(lattice).float(),
        n_atoms=n_atoms,
        first_atom=torch.cumsum(n_atoms, 0) - n_atoms,
        ids=tuple(row.id for row in rows),
        formulas=tuple(row.formula for row in rows),
        labels={LABEL: torch.tensor([spec.to_learned(row.labels[column]) for row in rows])},
    )
