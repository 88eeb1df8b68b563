"""Train CrysLDNet on a prepared file, stage by stage: autoencoder, latent flow, properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from crystal_core.cards import ModelCard
from crystal_core.checks import check_choice
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.graphs.crystal_graphs import GraphConfig
from crystal_core.predictors.crysldnet.encoders.build import KINDS, EncoderKind, build_encoder, encoder_tables
from crystal_core.predictors.crysldnet.encoders.matformer import MatformerConfig
from crystal_core.predictors.crysldnet.encoders.pddformer import PddformerConfig
from crystal_core.predictors.crysldnet.export import METHOD, export_bundle, statistics_of
from crystal_core.predictors.crysldnet.graph_rows import GraphBatch, GraphRows
from crystal_core.predictors.crysldnet.heads import IS_METAL, HeadsConfig, PropertyHeads
from crystal_core.predictors.crysldnet.latent_flow import FlowConfig, LatentFlow
from crystal_core.predictors.crysldnet.property_network import PropertyNetwork
from crystal_core.predictors.crysldnet.vae import CrystalVae, VaeConfig, draw_hidden
from crystal_core.predictors.crysldnet.validation import validate
from crystal_core.training.checkpoint import read_shards, write_checkpoint
from crystal_core.training.config import FitConfig
from crystal_core.training.data import PreparedCrystals, RowSettings, draws_per_epoch, fixed_sample, load_rows
from crystal_core.training.fit import Trained
from crystal_core.training.settings import parse_settings
from crystal_core.training.slices import SliceOptions, fit

Stage = Literal["vae", "latent", "properties"]
ENCODER = "encoder."
NO_TARGETS = ("spacegroup_number",)


@dataclass(frozen=True, kw_only=True)
class CrysldnetTraining(RowSettings):
    """A training configuration file: which stage, which rows, which sizes, how to optimise.

    Attributes:
        stage: "vae" and "latent" pretrain without labels; "properties" trains all properties at once.
        init_from: checkpoint, or folder of a run, whose EMA weights start this one, or "".
        targets: labels that the last stage learns; all of the file where none is named.
        encoder_kind: "pddformer", whose sizes are in ``encoder``, or "matformer", with
            its own in ``matformer``.
        graph: what either reads. vae: also of stage 2. flow: stage 2. heads: last stage.
    """

    name: str
    stage: Stage = "properties"
    init_from: str = ""
    targets: tuple[str, ...] = ()
    encoder_kind: EncoderKind = "pddformer"
    encoder: PddformerConfig = field(default_factory=PddformerConfig)
    matformer: MatformerConfig = field(default_factory=MatformerConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    vae: VaeConfig = field(default_factory=VaeConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("stage", self.stage, ("vae", "latent", "properties"))
        check_choice("encoder_kind", self.encoder_kind, KINDS)
        object.__setattr__(self, "targets", tuple(self.targets))

    @property
    def sizes(self) -> PddformerConfig | MatformerConfig:
        """Sizes of the encoder in training."""
        return self.matformer if self.encoder_kind == "matformer" else self.encoder


def settings_from(text: str) -> CrysldnetTraining:
    """A typed configuration from TOML text; raises as :func:`parse_settings`."""
    return parse_settings(text, CrysldnetTraining)


def build_network(settings: CrysldnetTraining, names: tuple[str, ...] = ()) -> nn.Module:
    """The untrained network of a stage; ``names`` are the properties of the last one."""
    encoder = build_encoder(settings.sizes, settings.graph)
    if settings.stage == "properties":
        return PropertyNetwork(encoder, PropertyHeads(names, encoder.width, settings.heads))
    vae = CrystalVae(encoder, settings.vae)
    return vae if settings.stage == "vae" else LatentFlow(vae, settings.flow)


@dataclass(frozen=True, kw_only=True)
class TrainedOnRows(Trained):
    """The outcome of a slice, and the data it read."""

    train: GraphRows
    validation: GraphRows | None


def train(
    config: CrysldnetTraining,
    *,
    data_file: Path,
    initial: dict[str, Tensor] | None = None,
    **options: Unpack[SliceOptions],
) -> TrainedOnRows:
    """Run one slice on the rows of a prepared file."""
    device = options["device"]
    rows, validation = load_rows(config, data_file, device)
    names = _targets(config, rows) if config.stage == "properties" else ()
    if names:
        rows = _labelled(rows, names)
    if config.stage == "vae" and config.vae.masks == "fixed":
        rows = rows.subset(torch.nonzero(rows.n_atoms > 1).squeeze(-1))
    train_set = GraphRows(rows, config.graph, names, device)
    held = (
        GraphRows(fixed_sample(validation, config.validation_rows), config.graph, names, device)
        if validation
        else None
    )
    return fit_rows(
        config, train_set, held, initial=initial, repeats=draws_per_epoch(config, rows), **options
    )


def fit_rows(
    config: CrysldnetTraining,
    train_set: GraphRows,
    held: GraphRows | None,
    *,
    initial: Mapping[str, Tensor] | None = None,
    repeats: Tensor | None = None,
    **options: Unpack[SliceOptions],
) -> TrainedOnRows:
    """Run one slice on graphs in memory; the last stage learns the labels of ``train_set``.

    Args:
        repeats: how often each row is drawn per epoch on average, (rows,); once where absent.

    Raises:
        RequestError: nothing to resume in ``folder``.
    """
    torch.manual_seed(config.fit.seed)
    network = build_network(config, train_set.names)
    if initial is not None:
        load_into(network, initial)
    if isinstance(network, PropertyNetwork):
        standardise(network.heads, train_set.labels)
    trained = fit(
        network,
        config.fit,
        loss=loss_of(config, train_set),
        batches=lambda generator: train_set.batches(config.fit.batch_size, generator, repeats),
        held=held,
        validate=lambda current, rows: validate(
            current.ema, rows, mask_fraction=config.vae.mask_fraction, batch_size=config.fit.batch_size
        ),
        **options,
    )
    return TrainedOnRows(trainer=trained.trainer, train=train_set, validation=held, last=trained.last)


Loss = Callable[[nn.Module, GraphBatch, torch.Generator], tuple["Tensor", dict[str, "Tensor"]]]


def loss_of(config: CrysldnetTraining, rows: GraphRows) -> Loss:
    """The loss of a stage as the trainer calls it."""
    if config.stage == "vae":
        fraction = config.vae.mask_fraction
        fixed = None
        if config.vae.masks == "fixed":
            fixed = draw_hidden(
                rows.graphs.n_atoms.cpu(), fraction, torch.Generator().manual_seed(config.fit.seed)
            ).to(rows.graphs.n_atoms.device)

        def vae_loss(
            network: nn.Module, batch: GraphBatch, rng: torch.Generator
        ) -> tuple[Tensor, dict[str, Tensor]]:
            hidden = (
                draw_hidden(batch.graphs.n_atoms, fraction, rng)
                if fixed is None
                else fixed[rows.crystals.atoms_of(batch.rows)]
            )
            losses = network(batch.graphs, batch.frac_coords, batch.cell_parameters, hidden, rng)
            names = ("types", "positions", "lattice", "kl")
            return losses.total, {name: getattr(losses, name).detach() for name in names}

        return vae_loss
    if config.stage == "latent":

        def flow_loss(
            network: nn.Module, batch: GraphBatch, rng: torch.Generator
        ) -> tuple[Tensor, dict[str, Tensor]]:
            losses = network(batch.graphs, batch.frac_coords, batch.cell_parameters, rng)
            return losses.total, {"flow": losses.flow.detach(), "vae": losses.vae.detach()}

        return flow_loss
    return _property_loss(config, rows)


def _property_loss(config: CrysldnetTraining, rows: GraphRows) -> Loss:
    """Each label weighs one over the root of its property's share: between equal labels and properties."""
    share = rows.labels.isfinite().float().mean(dim=0)
    weight = share.clamp(min=1e-4).rsqrt()
    seed = torch.Generator().manual_seed(config.fit.seed)
    shape = (len(rows), len(rows.names), config.heads.n_members)
    # how often each member's bootstrap sample holds each label; one member alone sees all labels
    bootstrap = torch.poisson(torch.ones(shape), generator=seed) if shape[-1] > 1 else torch.ones(shape)
    bootstrap = bootstrap.to(torch.uint8).to(rows.labels.device)

    def loss(network: nn.Module, batch: GraphBatch, _: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        if not isinstance(network, PropertyNetwork):
            raise TypeError("the last stage trains encoder and heads")
        outputs = network.heads(network.pooled(batch))
        values, scales = network.heads.losses(outputs, batch.labels, bootstrap[batch.rows].float())
        per_label = (values * weight).sum() / len(batch)
        return per_label + (scales * weight).sum() / len(batch), {"values": per_label.detach()}

    return loss


def standardise(heads: PropertyHeads, labels: Tensor) -> None:
    """Give heads the mean and standard deviation of training labels; probabilities keep their units."""
    for i, name in enumerate(heads.names):
        known = labels[:, i][labels[:, i].isfinite()]
        if name == IS_METAL or len(known) < 2:
            continue
        heads.mean[i], heads.std[i] = known.mean(), known.std(correction=0).clamp(min=1e-6)


def load_into(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Start a stage from the weights of an earlier stage or the same: all in common, the encoder at least.

    Raises:
        CheckpointMismatch: the weights hold no encoder of this configuration.
    """
    given = {key.removeprefix("vae."): value for key, value in state.items()}
    expected = {key.removeprefix("vae."): (key, value) for key, value in network.state_dict().items()}
    fitting = {
        own: given[key]
        for key, (own, value) in expected.items()
        if key in given and given[key].shape == value.shape
    }
    wrong = [key for key, (own, _) in expected.items() if key.startswith(ENCODER) and own not in fitting]
    if wrong:
        raise CheckpointMismatch(
            "The weights do not fit the encoder of this configuration; names that differ: "
            f"{', '.join(wrong[:8])}."
        )
    network.load_state_dict(fitting, strict=False)


def _targets(config: CrysldnetTraining, rows: PreparedCrystals) -> tuple[str, ...]:
    known = tuple(name for name in rows.labels if name not in NO_TARGETS)
    missing = [name for name in config.targets if name not in known]
    if missing:
        raise RequestError(f"The prepared file has no label {', '.join(missing)}; it has {', '.join(known)}.")
    return config.targets or known


def _labelled(rows: PreparedCrystals, names: tuple[str, ...]) -> PreparedCrystals:
    known = torch.stack([rows.labels[name].isfinite() for name in names]).any(dim=0)
    return rows.subset(torch.nonzero(known).squeeze(-1))


def export_checkpoint(name: str, *, trained: TrainedOnRows, settings: CrysldnetTraining, log: Path) -> Path:
    """Write checkpoints of a finished stage; the last one becomes the bundle of :mod:`.export`.

    Raises:
        RequestError: no validation rows, on which intervals are calibrated.
    """
    network = trained.trainer.ema
    configuration = encoder_tables(settings.sizes, settings.graph)
    if isinstance(network, PropertyNetwork):
        if trained.validation is None:
            raise RequestError("Intervals are calibrated on validation rows, and the prepared file has none.")
        return export_bundle(
            name,
            network=network,
            trainer=trained.trainer,
            train=trained.train,
            validation=trained.validation,
            configuration={**configuration, "heads": asdict(settings.heads)},
            log=log,
        )
    flow = {"flow": asdict(settings.flow)} if settings.stage == "latent" else {}
    return write_checkpoint(
        name,
        trainer=trained.trainer,
        log=log,
        fields={
            "kind": "predictor",
            "task": "pretraining",
            "method": METHOD,
            "loader": f"crysldnet-{settings.stage}",
            "network": {**configuration, "vae": asdict(settings.vae), **flow},
        },
        about_training={},
        exact=statistics_of(network),
    )


def initial_weights(card: ModelCard) -> dict[str, Tensor]:
    """The weights of a checkpoint, as the start of another run.

    Raises:
        CheckpointMismatch: a file is missing or changed.
    """
    return read_shards(card)
