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
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from crystal_core.cards import ModelCard
    from crystal_core.datasets.rows import CrystalRow
    from crystal_core.properties import PropertySpec
    from crystal_core.training.data import PreparedCrystals

BATCH = 32
RATE = 1e-3


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
    on_line: Callable[[dict[str, Any]], None] | None = None,
) -> FittedAdapter:
    """Train on ``train``, calibrate on ``held`` and write the checkpoint.

    Args:
        card: of the encoder. run: folder for snapshots. checkpoint: folder to write. source: name of the table, for the card.
    """
    torch.manual_seed(seed)
    encoder = load_encoder(card)
    network = AdapterNetwork(encoder, spec.name, config)
    sets = [GraphRows(crystals_of(rows, spec), encoder.graph, (spec.name,), device) for rows in (train, held)]
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
        line = {
            "samples": current.samples,
            "of": samples,
            "validation_mae": _learned_error(current.ema, held_set),
        }
        if on_line:
            on_line(line)
        return line

    trainer.run(minutes, on_epoch)
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
def _learned_error(network: nn.Module, held: GraphRows) -> float:
    if not isinstance(network, AdapterNetwork):
        raise TypeError("an adapter's network is trained")
    outputs = outputs_of(network, held)
    values = outputs.members[:, 0].mean(dim=-1) * float(network.heads.std[0]) + float(network.heads.mean[0])
    return round(float((values - held.labels[:, 0].cpu()).abs().mean()), 5)


def crystals_of(rows: Sequence[CrystalRow], spec: PropertySpec) -> PreparedCrystals:
    """Rows of a table as tensors, with the label of one property."""
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
        labels={spec.name: torch.tensor([row.labels[spec.name] for row in rows])},
    )
