"""Train an adapter on rows of a table, calibrate it on held-out ones, and write its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.errors import RequestError
from crystal_core.geometry import lattice_parameters
from crystal_core.predictors.crysldnet.adapters import AdapterConfig, AdapterNetwork
from crystal_core.predictors.crysldnet.export import as_stored, export_adapter, outputs_of, physical
from crystal_core.predictors.crysldnet.graph_rows import GraphBatch, GraphRows
from crystal_core.predictors.crysldnet.heads import HeadsConfig
from crystal_core.predictors.crysldnet.predictor import load_encoder
from crystal_core.predictors.crysldnet.training import standardise
from crystal_core.predictors.latent_index import INDEX, LatentIndex
from crystal_core.properties import PropertySpec, spec_of
from crystal_core.training.checkpoint import read_shards
from crystal_core.training.config import FitConfig
from crystal_core.training.data import PreparedCrystals
from crystal_core.training.fit import Trainer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor, nn

    from crystal_core.cards import ModelCard
    from crystal_core.datasets.rows import CrystalRow
    from crystal_core.graphs.crystal_graphs import GraphConfig
    from crystal_core.predictors.crysldnet.encoders.matformer import Matformer
    from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer

BATCH = 32
RATE = 1e-3
# label name of a row, learned unchanged: under a shipped property's name its logarithm would be taken again
LABEL = "learned"


@dataclass(frozen=True, kw_only=True)
class AdapterProgress:
    """How far a training is.

    Attributes:
        samples: crystals seen, of those planned.
        validation_mae: after an epoch, in the unit of the property; else None.
    """

    samples: int
    of: int
    validation_mae: float | None = None


@dataclass(frozen=True, kw_only=True)
class StartHeads:
    """Trained heads of another property, which predict in their own mean and standard deviation."""

    state: dict[str, Tensor]
    config: HeadsConfig


@dataclass(frozen=True, kw_only=True)
class AdapterPlan:
    """The plan of an adapter's training.

    Attributes:
        samples: crystals seen in all, whatever the number of rows. minutes: at most; None for no limit.
        start: heads to begin with, whose sizes then count, as :func:`heads_of` reads them;
            new ones where absent.
        seed: of weights, order and bootstrap.
        watched: whether the validation error is measured after each epoch.
    """

    config: AdapterConfig
    samples: int
    device: torch.device
    minutes: float | None = None
    start: StartHeads | None = None
    seed: int = 0
    watched: bool = True

    def network(self, encoder: Pddformer | Matformer, name: str) -> AdapterNetwork:
        """The adapter before its training, with the heads that it begins with."""
        if self.start is None:
            return AdapterNetwork(encoder, name, self.config)
        network = AdapterNetwork(encoder, name, replace(self.config, heads=self.start.config))
        network.heads.load_state_dict(self.start.state)
        return network


@dataclass(frozen=True, kw_only=True)
class FittedAdapter:
    """The outcome of a training, in physical units.

    True and predicted values of the held-out crystals, and the mean of the training ones.
    """

    true: list[float]
    predicted: list[float]
    mean: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AdapterRows:
    """Training and held-out crystals as graphs, with the property in the form that is learned."""

    spec: PropertySpec
    train: GraphRows
    held: GraphRows


def adapter_rows(
    spec: PropertySpec,
    column: str,
    train: Sequence[CrystalRow],
    held: Sequence[CrystalRow],
    graph: GraphConfig,
    device: torch.device,
) -> AdapterRows:
    """The graphs of rows whose labels hold ``column``."""
    parts = [GraphRows(crystals_of(rows, column, spec), graph, (LABEL,), device) for rows in (train, held)]
    return AdapterRows(spec=spec, train=parts[0], held=parts[1])


def fit_adapter(
    card: ModelCard,
    spec: PropertySpec,
    column: str,
    train: Sequence[CrystalRow],
    held: Sequence[CrystalRow],
    *,
    plan: AdapterPlan,
    run: Path,
    checkpoint: Path,
    source: str,
    about: dict[str, Any] | None = None,
    texts: dict[str, str] | None = None,
) -> Generator[AdapterProgress, None, FittedAdapter]:
    """Train on ``train``, calibrate on ``held``, write the checkpoint; closing earlier writes nothing.

    Args:
        card: of the encoder.
        column: the label of the rows.
        run: folder for snapshots.
        checkpoint: folder to write.
        source: name of the table, for the card. about: what the card's table ``network`` says besides.
        texts: sentences of the card: source, licence, limits, what it is good for.
    """
    encoder = load_encoder(card)
    rows = adapter_rows(spec, column, train, held, encoder.graph, plan.device)
    final, seconds = yield from fit_network(encoder, rows, plan, run)
    outputs, seen = outputs_of(as_stored(final), rows.held), seen_ids(card)
    mean, std = float(final.heads.mean[0]), float(final.heads.std[0])
    config = final.config
    form = {"head_form": config.heads.form, "full": True} if config.full else {"head_form": config.heads.form}
    low_rank = {} if config.full else {"rank": config.rank, "scaling": config.scaling}
    export_adapter(
        checkpoint,
        spec=spec,
        state=final.adapter_state(),
        outputs=(outputs.members[:, 0], outputs.log_scale[:, 0]),
        labels=(rows.train.labels[:, 0].cpu(), rows.held.labels[:, 0].cpu()),
        scale=(mean, std),
        encoder=card,
        trained_on=f"{len(train):,} crystals of {source}",
        network={**low_rank, **form, **(about or {})},
        texts=texts,
        examples={row.id: row.labels[column] for row in train if row.id in seen},
    )
    learned = rows.train.labels[:, 0].double()
    return FittedAdapter(
        true=physical(spec, rows.held.labels[:, 0].double().cpu()).tolist(),
        predicted=values_of(final, rows.held, spec).tolist(),
        mean=spec.from_learned(float(learned.mean())),
        seconds=seconds,
    )


def fit_network(
    encoder: Pddformer | Matformer, rows: AdapterRows, plan: AdapterPlan, run: Path
) -> Generator[AdapterProgress, None, tuple[AdapterNetwork, float]]:
    """Train an adapter; returns its averaged weights and the seconds that it took."""
    torch.manual_seed(plan.seed)
    spec = rows.spec
    network = plan.network(encoder, spec.name)
    if plan.start is None:
        standardise(network.heads, rows.train.labels)
    network = network.to(plan.device)
    # an encoder that nothing changes gives the same vectors in every epoch
    frozen = not network.config.rank and not network.config.full
    still = outputs_of(network, rows.train).vectors.to(plan.device) if frozen else None
    draws = torch.Generator().manual_seed(plan.seed)
    shape = torch.ones(len(rows.train), 1, network.config.heads.n_members)
    bootstrap = torch.poisson(shape, generator=draws).to(plan.device)

    def loss(net: nn.Module, batch: GraphBatch, _: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        if not isinstance(net, AdapterNetwork):
            raise TypeError("an adapter's network is trained")
        outputs = net.heads(net.pooled(batch) if still is None else still[batch.rows])
        values, scales = net.heads.losses(outputs, batch.labels, bootstrap[batch.rows])
        return values.mean() + scales.mean(), {"values": values.mean().detach()}

    trainer = Trainer(
        network,
        FitConfig(
            batch_size=BATCH,
            learning_rate=RATE,
            weight_decay=1e-4,
            amsgrad=False,
            planned_samples=plan.samples,
            decay_fraction=0.7,
            warmup_steps=20,
            ema_decay=0.99,
            clip_norm=1.0,
            seed=plan.seed,
        ),
        loss=loss,
        batches=lambda generator: rows.train.batches(BATCH, generator),
        batch_crystals=len,
        folder=run,
        device=plan.device,
    )

    def on_epoch(current: Trainer) -> dict[str, Any]:
        return {"validation_mae": _error(current.ema, rows.held, spec)} if plan.watched else {}

    for line in trainer.steps(plan.minutes, on_epoch):
        error = None if line is None else line["validation"].get("validation_mae")
        yield AdapterProgress(samples=trainer.samples, of=plan.samples, validation_mae=error)
    final = trainer.ema
    if not isinstance(final, AdapterNetwork):
        raise TypeError("an adapter's network is trained")
    return final, trainer.seconds


def seen_ids(card: ModelCard) -> frozenset[str]:
    """Ids of an encoder's training crystals, with any labels; empty where its index is not installed."""
    path = None if card.folder is None else card.folder / INDEX
    return frozenset() if path is None or not path.is_file() else frozenset(LatentIndex.load(path).ids)


def heads_of(card: ModelCard, spec: PropertySpec) -> StartHeads:
    """The heads of another property's adapter, for :class:`AdapterPlan`.

    Raises:
        RequestError: that property has another unit, is learned as a logarithm where ``spec`` is not,
            or changes the encoder.
        CheckpointMismatch: a file is missing or changed.
    """
    other = spec_of(str(card.network["property"]), card.network)
    if (other.unit, other.logarithmic) != (spec.unit, spec.logarithmic):
        raise RequestError(
            f"'{spec.name}' cannot begin with the heads of '{other.name}': its unit or its form is another. "
            "Name a property of the same kind, or leave the start out."
        )
    state = read_shards(card)
    heads = {
        key.removeprefix("heads."): v.unsqueeze(0) for key, v in state.items() if key.startswith("heads.")
    }
    if len(heads) < len(state):
        raise RequestError(f"'{card.name}' changes the encoder, so its heads alone are no start.")
    n_members, hidden = heads["weight_1"].shape[1:3]
    form = card.network.get("head_form", "mlp")
    return StartHeads(state=heads, config=HeadsConfig(n_members=n_members, hidden=hidden, form=form))


def values_of(network: AdapterNetwork, rows: GraphRows, spec: PropertySpec) -> Float[Tensor, "crystals"]:
    """The network's predictions in the unit of the property, float64."""
    members = outputs_of(network, rows).members[:, 0].mean(dim=-1).double()
    return physical(spec, members * float(network.heads.std[0]) + float(network.heads.mean[0]))


@torch.no_grad()
def _error(network: nn.Module, held: GraphRows, spec: PropertySpec) -> float:
    """Mean absolute error in the unit of the property."""
    if not isinstance(network, AdapterNetwork):
        raise TypeError("an adapter's network is trained")
    values = values_of(network, held, spec)
    return float(f"{float((values - physical(spec, held.labels[:, 0].double().cpu())).abs().mean()):.5g}")


def crystals_of(rows: Sequence[CrystalRow], column: str, spec: PropertySpec) -> PreparedCrystals:
    """Rows of a table as tensors, with the label of one column in the form that is learned."""
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
