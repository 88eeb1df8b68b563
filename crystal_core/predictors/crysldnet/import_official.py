"""Imports an official CrysLDNet checkpoint (state dictionary, stage 1 or 2) into the user's folder.

A stage-1 file holds the encoder and its decoders; a stage-2 file holds the same under ``net.`` beside
``denoiser.``. Every name and shape is checked against the network that the sizes in the file imply.
Layers that the release creates and never trains are left out and named. The number of attention heads of
the transformer leaves no trace in its shapes: the published 12 is taken, or the largest smaller number
that its width allows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.cards import sha256_of, write_card
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.paths import home_dir
from crystal_core.training.official_files import (
    Imported,
    check_free_name,
    check_layout,
    listed,
    new_checkpoint,
    read_official_state,
    shape_text,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from crystal_core.graphs.crystal_graphs import GraphConfig
    from crystal_core.networks.dit import DitConfig
    from crystal_core.predictors.crysldnet.encoders.pddformer import PddformerConfig

NET, DENOISER = "net.", "denoiser."  # begin the names of a stage-2 file
# layers of the release that no stage of the pretraining trains, and what ends their names
UNTRAINED = re.compile(
    r"(fc\.0|fc_out)\.(weight|bias)|denoiser\.(dataset|spacegroup)_embedder\.embedding_table\.weight"
)
# beside the encoder in an autoencoder
DECODERS = (
    "quant_conv.",
    "mlm_pred.",
    "position_mlp.",
    "lattice_mlp.",
)
OPTIONAL = ("mlm_pred.weight", "mlm_pred.bias")  # only where elements were hidden; no stage-2 file has them
CENTRES = "rbf.0.centers"
PUBLISHED_HEADS = 12
EXPECTED = "the state dictionary of a CrysLDNet run"
NETWORK = "a CrysLDNet network"


def import_crysldnet(file: Path, statistics: Path | None, name: str) -> Imported:
    """Write ``checkpoints/<name>/`` in the home folder from an official file.

    Args:
        statistics: None; the table of importers has one form for all methods.
        name: of the new checkpoint, not yet in use.

    Raises:
        RequestError: the file cannot be read, statistics are given, or the name is taken.
        CheckpointMismatch: unknown or missing names, wrong shapes, or numbers that are not finite.
    """
    if statistics is not None:
        raise RequestError("A CrysLDNet checkpoint has no lattice statistics; leave out --statistics.")
    check_free_name(name)
    state = read_official_state(file, EXPECTED)
    official, stage = _without_prefix(state)
    unused = {key: value for key, value in official.items() if UNTRAINED.fullmatch(key)}
    weights = {key: value for key, value in official.items() if key not in unused}
    config, graph = _encoder_sizes(weights)
    dit = _dit_sizes(weights) if stage == "latent" else None
    expected, published = _layout(config, graph, dit)
    absent = tuple(key for key in OPTIONAL if key not in weights)
    present = {key: shape for key, shape in expected.items() if key not in absent}
    numbers = {key: _as_float(key, value, expected) for key, value in weights.items()}
    check_layout(numbers, present, NETWORK)
    _check_centres(numbers[CENTRES])
    ours = {_our_name(key, stage): value for key, value in numbers.items()}
    parameters = sum(value.numel() for key, value in numbers.items() if not published[key])
    unmatched = tuple(sorted(key for key in state if _bare(key, stage) in unused))
    with new_checkpoint(name) as folder:
        _write(folder, file, stage, ours, parameters, _tables(config, graph, dit), dit)
    return Imported(
        folder=home_dir() / "checkpoints" / name,
        task="pretraining",
        parameters=parameters,
        unused=unmatched,
        absent=absent,
    )


def _bare(key: str, stage: str) -> str:
    return key.removeprefix(NET) if stage == "latent" else key


def _our_name(key: str, stage: str) -> str:
    """The name of a weight in :class:`.vae.CrystalVae` or, for stage 2, :class:`.latent_flow.LatentFlow`."""
    if key.startswith(DENOISER):
        return key
    own = key if key.startswith(DECODERS) else f"encoder.{key}"
    return f"vae.{own}" if stage == "latent" else own


def _without_prefix(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The weights without ``net.``, and which stage the file is of: "vae" or "latent"."""
    if not any(key.startswith((NET, DENOISER)) for key in state):
        return dict(state), "vae"
    foreign = [key for key in state if not key.startswith((NET, DENOISER)) or key.startswith(NET + DENOISER)]
    if foreign:
        raise CheckpointMismatch(
            f"The file has unknown names beside {NET} and {DENOISER}: {listed(foreign)}."
        )
    return {_bare(key, "latent"): value for key, value in state.items()}, "latent"


def _encoder_sizes(weights: Mapping[str, Tensor]) -> tuple[PddformerConfig, GraphConfig]:
    """Sizes as a few tensors tell them; whether the others agree is checked afterwards."""
    from crystal_core.graphs.crystal_graphs import CRYSLDNET_GRAPH
    from crystal_core.predictors.crysldnet.encoders.pddformer import PddformerConfig

    rows = _telling(weights, "embed_adj.0.weight", 2)[1] - 1
    try:
        config = PddformerConfig(
            width=_telling(weights, "atom_embedding.weight", 2)[0],
            n_layers=_count(weights, "att_layers"),
            n_centres=_telling(weights, CENTRES, 1)[0],
            n_nearest=rows,
            pdd_weight="share",
        )
        return config, replace(CRYSLDNET_GRAPH, n_nearest=rows)
    except RequestError as error:
        raise CheckpointMismatch(f"The file's sizes are none of a CrysLDNet encoder: {error}") from error


def _dit_sizes(weights: Mapping[str, Tensor]) -> DitConfig:
    from crystal_core.networks.dit import DitConfig

    width = _telling(weights, f"{DENOISER}x_embedder.weight", 2)[0]
    heads = next((n for n in range(PUBLISHED_HEADS, 0, -1) if width % (2 * n) == 0), 1)
    try:
        return DitConfig(
            width=width,
            n_layers=_count(weights, f"{DENOISER}blocks"),
            n_heads=heads,
            time_scale=1.0,
            positions=True,
        )
    except RequestError as error:
        raise CheckpointMismatch(f"The file's sizes are none of a CrysLDNet transformer: {error}") from error


def _telling(weights: Mapping[str, Tensor], key: str, dimensions: int) -> torch.Size:
    if key not in weights:
        raise CheckpointMismatch(f"The file's names do not fit {NETWORK}; missing: {key}.")
    shape = weights[key].shape
    if len(shape) != dimensions:
        raise CheckpointMismatch(
            f"The file's shapes do not fit {NETWORK}: {key} is {shape_text(shape)}, "
            f"expected {dimensions} dimensions."
        )
    return shape


def _count(weights: Mapping[str, Tensor], group: str) -> int:
    """How many numbered layers a group has."""
    indices = {match[1] for key in weights if (match := re.match(rf"{re.escape(group)}\.(\d+)\.", key))}
    if not indices:
        raise CheckpointMismatch(f"The file's names do not fit {NETWORK}; missing: {group}.0.")
    return len(indices)


def _layout(
    config: PddformerConfig, graph: GraphConfig, dit: DitConfig | None
) -> tuple[dict[str, tuple[int, ...]], dict[str, bool]]:
    """Official name → shape of every tensor in use, and whether it is a buffer."""
    import torch

    from crystal_core.networks.dit import Dit
    from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer
    from crystal_core.predictors.crysldnet.vae import CrystalVae, VaeConfig

    with torch.device("meta"):
        parts = {"": CrystalVae(Pddformer(config, graph), VaeConfig(targets="published"))}
        modules: dict[str, torch.nn.Module] = dict(parts)
        if dit is not None:
            modules[DENOISER] = Dit(dit, config.width)
    shapes, buffers = {}, {}
    for prefix, module in modules.items():
        trained = {key for key, _ in module.named_parameters()}
        for key, value in module.state_dict().items():
            official = prefix + key.removeprefix("encoder.")
            shapes[official], buffers[official] = tuple(value.shape), key not in trained
    return shapes, buffers


def _as_float(key: str, value: Tensor, expected: Mapping[str, Any]) -> Tensor:
    """The numbers as float32; counters of batch norms keep their integers."""
    import torch

    if key.endswith("num_batches_tracked"):
        if value.is_floating_point() or value.is_complex():
            raise CheckpointMismatch(f"{key} holds {value.dtype}, expected whole numbers.")
        return value
    if key in expected and not value.is_floating_point():
        raise CheckpointMismatch(f"{key} holds {value.dtype}, expected floating-point numbers.")
    return value.to(torch.float32)


def _check_centres(centres: Tensor) -> None:
    """Raise CheckpointMismatch unless the radial basis has its centres where the published code puts them."""
    import torch

    if not torch.allclose(centres, torch.linspace(-4.0, 0.0, len(centres)), atol=1e-4):
        raise CheckpointMismatch(
            f"{CENTRES} runs from {float(centres[0]):g} to {float(centres[-1]):g}; "
            "expected even centres from -4 to 0."
        )


def _tables(config: PddformerConfig, graph: GraphConfig, dit: DitConfig | None) -> dict[str, Any]:
    """The card's network tables, which :func:`.encoders.build.encoder_of` and configurations read."""
    from crystal_core.predictors.crysldnet.encoders.build import encoder_tables
    from crystal_core.predictors.crysldnet.latent_flow import FlowConfig
    from crystal_core.predictors.crysldnet.vae import VaeConfig

    flow = {} if dit is None else {"flow": asdict(FlowConfig(mode="published", dit=dit))}
    return {**encoder_tables(config, graph), "vae": asdict(VaeConfig(targets="published")), **flow}


def _write(
    folder: Path,
    file: Path,
    stage: str,
    weights: Mapping[str, Tensor],
    parameters: int,
    tables: dict[str, Any],
    dit: DitConfig | None,
) -> None:
    import torch

    from crystal_core.training.checkpoint import write_shards

    names = write_shards(weights, folder, dtype=torch.float32)
    digest = sha256_of(file)
    write_card(
        folder,
        {
            "name": folder.name,
            "kind": "predictor",
            "task": "pretraining",
            "method": "CrysLDNet (ICML 2026)",
            "loader": f"crysldnet-{stage}",
            "parameters": parameters,
            "trained_on": "not stated in the file",
            "source": f"imported from {file.name}, SHA-256 {digest}",
            "licence": "that of the imported file",
            "limits": _limits(dit),
            "files": {name: sha256_of(folder / name) for name in names},
            "network": tables,
            "extra": {"source_sha256": digest},
        },
    )


def _limits(dit: DitConfig | None) -> str:
    start = "Imported weights, not measured here, and without property heads: the start of a training."
    if dit is None:
        return start
    return (
        f"{start} The decoders are those of stage 1 and do not fit the encoder that stage 2 moved; the "
        f"transformer is taken to have {dit.n_heads} attention heads, which the file does not tell."
    )
