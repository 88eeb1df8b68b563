"""Train decoders and latent diffusion on a prepared file, on top of an encoder that stays as it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Unpack, cast

import torch

from crystal_core.cards import ModelCard, checkpoint_folder, read_card
from crystal_core.errors import CheckpointMissing
from crystal_core.predictors.crysldnet.export import METHOD, encoder_hash
from crystal_core.predictors.crysldnet.generation.accuracy import decoding_accuracy
from crystal_core.predictors.crysldnet.generation.latent_rows import CONDITIONS, latent_rows
from crystal_core.predictors.crysldnet.generation.network import GenerationConfig, LatentGenerator
from crystal_core.predictors.crysldnet.generation.sampling import sampled_latents
from crystal_core.predictors.crysldnet.latents import latent_statistics
from crystal_core.predictors.crysldnet.predictor import load_encoder
from crystal_core.training.checkpoint import read_shards, write_checkpoint
from crystal_core.training.config import FitConfig
from crystal_core.training.data import RowSettings, data_statistics, draws_per_epoch, fixed_sample, load_rows
from crystal_core.training.fit import Trained, Trainer
from crystal_core.training.settings import parse_settings
from crystal_core.training.slices import SliceOptions, fit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from crystal_core.predictors.crysldnet.encoders.matformer import Matformer
    from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer
    from crystal_core.predictors.crysldnet.generation.latent_rows import LatentBatch, LatentRows

STATISTICS = "statistics.json"  # in the folder of a run, for the export
LOADER = "placed"
EXACT = ("mean", "spread", "property_mean", "property_spread")
WATCHED, WATCHED_STEPS = 64, 10  # crystals that are sampled at every validation, and how


@dataclass(frozen=True, kw_only=True)
class GenerationTraining(RowSettings):
    """A training configuration file: which encoder and rows, which sizes, how to optimise.

    Attributes:
        encoder: checkpoint whose features are the latents.
        placer: checkpoint of structure prediction that places the atoms.
        init_from: checkpoint of such a generator whose EMA weights start the run, or "".
    """

    name: str
    encoder: str = "crysldnet-encoder"
    placer: str = "kldm-csp-mp"
    init_from: str = ""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    fit: FitConfig = field(default_factory=FitConfig)


def settings_from(text: str) -> GenerationTraining:
    """A typed configuration from TOML text; raises as :func:`parse_settings`."""
    return parse_settings(text, GenerationTraining)


def installed_encoder(name: str) -> tuple[Pddformer | Matformer, str]:
    """The encoder of a checkpoint, and the hash of its weights.

    Raises:
        CheckpointMissing: it is not installed. CheckpointMismatch: a file is missing or changed.
    """
    folder = checkpoint_folder(name)
    if folder is None:
        raise CheckpointMissing(f"The latents are features of '{name}', which is not installed.")
    card = read_card(folder)
    return load_encoder(card), encoder_hash(card)


def train(
    config: GenerationTraining,
    *,
    data_file: Path,
    initial: dict[str, Tensor] | None = None,
    **options: Unpack[SliceOptions],
) -> Trained:
    """Run one slice; the first computes the training latents and stores them in the run's folder."""
    device, folder = options["device"], options["folder"]
    torch.manual_seed(config.fit.seed)
    crystals, held = load_rows(config, data_file, device)
    encoder, digest = installed_encoder(config.encoder)
    encoder = encoder.to(device)
    rows = latent_rows(crystals, encoder, digest, folder / "latents-train.safetensors")
    validation = None
    if held is not None:
        some = fixed_sample(held, config.validation_rows)
        validation = latent_rows(some, encoder, digest, folder / "latents-validation.safetensors")
    network = LatentGenerator(encoder.width, config.generation).to(device)
    network.measure(rows)
    if initial is not None:
        network.load_state_dict(initial)
    repeats = draws_per_epoch(config, crystals)

    def batches(generator: torch.Generator) -> Iterator[LatentBatch]:
        return rows.batches(config.fit.batch_size, generator, repeats)

    return fit(
        network,
        config.fit,
        loss=generation_loss,
        batches=batches,
        files={STATISTICS: data_statistics(crystals) | {"encoder_sha256": digest}},
        held=validation,
        validate=validate,
        **options,
    )


def generation_loss(
    network: torch.nn.Module, batch: LatentBatch, rng: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss as the trainer calls it."""
    losses = network(batch, rng)
    return losses.total, {name: getattr(losses, name).detach() for name in ("flow", "types", "lattice")}


@torch.no_grad()
def validate(trainer: Trainer, held: LatentRows) -> dict[str, Any]:
    """Losses and accuracy on held-out rows; spread and effective rank of new latents over true ones."""
    network = cast("LatentGenerator", trainer.ema)
    rng = torch.Generator(held.latents.device).manual_seed(0)
    totals: dict[str, float] = {}
    for batch in held.in_order(256):
        losses = network(batch, rng)
        for name in ("flow", "types", "lattice"):
            totals[name] = totals.get(name, 0.0) + float(getattr(losses, name)) * len(batch)
    every = torch.arange(0, len(held), max(1, len(held) // WATCHED), device=held.latents.device)
    some = held.select(every)
    open_ = torch.full_like(some.properties, torch.nan)
    *_, (_, new) = sampled_latents(network, some.n_atoms, open_, steps=WATCHED_STEPS, guidance=1.0, rng=rng)
    true = latent_statistics(network.normalised(some.latents))
    drawn = latent_statistics(new)
    accuracy = decoding_accuracy(network, held)
    return {
        **{name: round(total / len(held), 5) for name, total in totals.items()},
        **{name: accuracy[name] for name in ("elements_right", "compositions_right", "volume_off")},
        "latent_std": round(true.std, 4),
        "new_latent_std": round(drawn.std, 4),
        "effective_rank": round(true.effective_rank, 1),
        "new_effective_rank": round(drawn.effective_rank, 1),
    }


def export_checkpoint(name: str, *, trained: Trained, settings: GenerationTraining, log: Path) -> Path:
    """Write ``checkpoints/<name>/``: EMA weights, validation curve, and a card without metrics yet."""
    seen = json.loads((log.parent / STATISTICS).read_text(encoding="utf-8"))
    digest = seen.pop("encoder_sha256")
    network = cast("LatentGenerator", trained.trainer.ema)
    return write_checkpoint(
        name,
        trainer=trained.trainer,
        log=log,
        fields={
            "task": "de novo generation",
            "method": METHOD,
            "loader": LOADER,
            "network": {
                "proposer": "crysldnet",
                "placer": settings.placer,
                "encoder": settings.encoder,
                "encoder_sha256": digest,
                "width": network.width,
                "generation": asdict(settings.generation),
            },
            "sampling": {
                **seen,
                "most_atoms": max(map(int, seen["atom_count_frequencies"])),
                "conditions": list(CONDITIONS),
            },
        },
        about_training={},
        exact=EXACT,
    )


def initial_weights(card: ModelCard) -> dict[str, Tensor]:
    """The weights of a checkpoint, as the start of another run.

    Raises:
        CheckpointMismatch: a file is missing or changed.
    """
    return read_shards(card)
