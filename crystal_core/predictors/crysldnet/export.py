"""From a finished last stage to checkpoints: encoder with index, a folder per property, the bundle."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from crystal_core.cards import ModelCard, read_card, sha256_of, write_card
from crystal_core.errors import RequestError
from crystal_core.paths import checkpoints_dir
from crystal_core.predictors.calibration import calibrate
from crystal_core.predictors.crysldnet.heads import IS_METAL, HeadOutputs
from crystal_core.predictors.latent_index import INDEX, LatentIndex, save_known
from crystal_core.properties import PROPERTIES, PropertySpec
from crystal_core.training.checkpoint import WEIGHTS, write_checkpoint, write_shards

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from crystal_core.predictors.crysldnet.adapters import AdapterNetwork
    from crystal_core.predictors.crysldnet.graph_rows import GraphRows
    from crystal_core.predictors.crysldnet.property_network import PropertyNetwork
    from crystal_core.training.fit import Trainer

Network = TypeVar("Network", bound="torch.nn.Module")

ADAPTER = "crysldnet-adapter"  # loader of the folder of one property
METHOD = "CrysLDNet (ICML 2026)"
BINS = 40
AT_ONCE = 200  # crystals of one forward pass


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """A network's outputs on a data set, in its order.

    Attributes:
        vectors: (crystals, width) means over atoms.
        members: (crystals, properties, members).
        log_scale: (crystals, properties).
    """

    vectors: Tensor
    members: Tensor
    log_scale: Tensor


@torch.no_grad()
def outputs_of(network: PropertyNetwork | AdapterNetwork, rows: GraphRows) -> Outputs:
    """The outputs for every crystal, in evaluation mode."""
    parts: list[tuple[Tensor, Tensor, HeadOutputs]] = []
    for batch in rows.in_order(AT_ONCE):
        vectors = network.pooled(batch)
        parts.append((batch.rows, vectors, network.heads(vectors)))
    back = torch.argsort(torch.cat([places for places, _, _ in parts]))
    return Outputs(
        vectors=torch.cat([vectors for _, vectors, _ in parts]).float()[back].cpu(),
        members=torch.cat([heads.members for _, _, heads in parts])[back].cpu(),
        log_scale=torch.cat([heads.log_scale for _, _, heads in parts])[back].cpu(),
    )


def expected_errors(members: Tensor, log_scale: Tensor) -> Tensor:
    """Expected size of the error in the heads' units: the last head's output, and the members' spread."""
    spread = members.std(dim=-1, correction=0)
    return (torch.exp(2 * log_scale) + spread.square()).sqrt().clamp(min=1e-4)


def as_stored(network: Network) -> Network:
    """A copy with rounded weights as in files: other weights would shift calibrated intervals."""
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for weight in copied.parameters():
            weight.copy_(weight.to(torch.bfloat16))
    return copied


def statistics_of(network: torch.nn.Module) -> tuple[str, ...]:
    """Names of the statistics of batch norms, which files keep in float32."""
    return tuple(key for key in network.state_dict() if "running_" in key)


def export_bundle(
    name: str,
    *,
    network: PropertyNetwork,
    trainer: Trainer,
    train: GraphRows,
    validation: GraphRows,
    configuration: dict[str, Any],
    log: Path,
) -> Path:
    """Write ``<name>-encoder``, ``<name>-<property>`` of :mod:`crystal_core.properties`, and ``<name>``.

    Args:
        configuration: tables of the card that say how the network is built.

    Returns:
        the folder of the bundle.
    """
    stored = as_stored(network)
    known, held = outputs_of(stored, train), outputs_of(stored, validation)
    encoder = _export_encoder(f"{name}-encoder", network, trainer, train, (known, held), configuration, log)
    for i, target in enumerate(network.heads.names):
        if target in PROPERTIES:
            head = {key: value[i].clone() for key, value in network.heads.state_dict().items()}
            export_adapter(
                checkpoints_dir() / f"{name}-{target}",
                spec=PROPERTIES[target],
                state={f"heads.{key}": value for key, value in head.items()},
                outputs=(held.members[:, i], held.log_scale[:, i]),
                labels=(train.labels[:, i].cpu(), validation.labels[:, i].cpu()),
                scale=(float(network.heads.mean[i]), float(network.heads.std[i])),
                encoder=encoder,
                trained_on=f"{int(train.labels[:, i].isfinite().sum()):,} crystals",
                network={"head_form": network.heads.config.form},
            )
    folder = checkpoints_dir() / name
    folder.mkdir(parents=True, exist_ok=True)
    return write_card(
        folder,
        {
            "name": name,
            "kind": "predictor",
            "task": "property prediction",
            "method": METHOD,
            "loader": "crysldnet",
            "parameters": 0,
            "network": {"encoder": encoder.name},
        },
    )


def _export_encoder(
    name: str,
    network: PropertyNetwork,
    trainer: Trainer,
    train: GraphRows,
    outputs: tuple[Outputs, Outputs],
    configuration: dict[str, Any],
    log: Path,
) -> ModelCard:
    known, held = outputs
    values = {
        target: physical(PROPERTIES[target], train.labels[:, i].cpu().double()).float().numpy()
        for i, target in enumerate(network.heads.names)
        if target in PROPERTIES
    }
    index = LatentIndex.build(
        known.vectors.numpy(),
        held.vectors.numpy(),
        ids=train.crystals.ids,
        formulas=train.crystals.formulas,
        values=values,
    )
    statistics = statistics_of(network)
    heads = tuple(key for key in network.state_dict() if not key.startswith("encoder."))
    folder = write_checkpoint(
        name,
        trainer=trainer,
        log=log,
        fields={
            "kind": "predictor",
            "task": "features of crystals",
            "method": METHOD,
            "loader": "crysldnet-encoder",
            "parameters": sum(p.numel() for p in network.encoder.parameters()),
            "network": configuration,
        },
        about_training={},
        exact=statistics,
        without=heads,
        save_files={INDEX: index.save},
    )
    return read_card(folder)


def export_adapter(
    folder: Path,
    *,
    spec: PropertySpec,
    state: dict[str, Tensor],
    outputs: tuple[Tensor, Tensor],
    labels: tuple[Tensor, Tensor],
    scale: tuple[float, float],
    encoder: ModelCard,
    trained_on: str,
    network: dict[str, Any] | None = None,
    texts: dict[str, str] | None = None,
    examples: dict[str, float] | None = None,
) -> Path:
    """Write one property's folder: heads, their calibration on held-out crystals, label histogram.

    Args:
        outputs: members (crystals, members) and log scales (crystals,) of the held-out crystals.
        labels: of training and held-out crystals, (crystals,) each, as they are learned, NaN where unknown.
        scale: mean and standard deviation that the heads are in units of, as they are learned.
        texts: sentences of the card: source, licence, limits, what it is good for.
        examples: id → true value of the training crystals that are in the encoder's index, to be
            named as known examples.

    Raises:
        RequestError: fewer than ten held-out crystals have the property.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{WEIGHTS}*.safetensors"):
        old.unlink()
    exact = [key for key in state if "running_" in key or key.rpartition(".")[2] in ("mean", "std")]
    written = write_shards(state, folder, exact=exact)
    written += [save_known(folder, examples)] if examples else []
    train_labels, held_labels = labels
    known = held_labels.isfinite()
    if int(known.sum()) < 10:
        raise RequestError(
            f"Only {int(known.sum())} held-out crystals have {spec.name}; an interval needs at least 10."
        )
    trained = train_labels[train_labels.isfinite()]
    extra: dict[str, Any] = {"histogram": histogram(spec, trained)}
    if spec.name != IS_METAL:
        mean, std = scale
        members, log_scale = (values[known].double() for values in outputs)
        errors = (members.mean(dim=-1) * std + mean - held_labels[known].double()).abs()
        expected = expected_errors(members, log_scale) * std
        calibration = calibrate(errors.numpy(), expected.numpy())
        extra["calibration"] = {
            "interval": round(calibration.interval, 5),
            "std": round(calibration.std, 5),
            "n": calibration.n,
            "validation_mae": round(float(errors.mean()), 5),
            "lowest": significant(float(trained.min())),
            "highest": significant(float(trained.max())),
        }
    return write_card(
        folder,
        {
            "name": folder.name,
            "kind": "predictor",
            "task": spec.title.lower(),
            "method": METHOD,
            "loader": ADAPTER,
            "parameters": sum(value.numel() for value in state.values()),
            "trained_on": trained_on,
            "files": {file: sha256_of(folder / file) for file in written},
            "network": {
                "encoder": encoder.name,
                "encoder_sha256": encoder_hash(encoder),
                "property": spec.name,
                "title": spec.title,
                "unit": spec.unit,
                "logarithmic": spec.logarithmic,
                **(network or {}),
            },
            "extra": extra,
            **(texts or {}),
        },
    )


def significant(value: float) -> float:
    """Seven digits, for the card."""
    return float(f"{value:.7g}")


def encoder_hash(card: ModelCard) -> str:
    """The hash of the encoder's weights, which an adapter stores."""
    joined = "".join(card.files[file] for file in sorted(card.files) if file.startswith(WEIGHTS))
    return hashlib.sha256(joined.encode()).hexdigest()


def histogram(spec: PropertySpec, labels: Tensor) -> dict[str, list[float]]:
    """Training labels in physical units: edges and counts of 40 bins from the 0.5 % to 99.5 % quantile."""
    values = labels.double().numpy()
    low, high = np.quantile(values, [0.005, 0.995])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    counts, _ = np.histogram(np.clip(values, low, high), edges)
    ticks = physical(spec, torch.from_numpy(edges)).tolist()
    return {"edges": [float(f"{edge:.6g}") for edge in ticks], "counts": counts.tolist()}


def physical(spec: PropertySpec, learned: Sequence[float] | Tensor) -> Tensor:
    """Physical values of learned numbers; NaN stays NaN."""
    values = torch.as_tensor(learned)
    values = 10.0**values if spec.logarithmic else values
    return values if spec.lowest is None else values.clamp(min=spec.lowest)
