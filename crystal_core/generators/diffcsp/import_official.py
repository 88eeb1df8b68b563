"""An official DiffCSP checkpoint, or the refiner of CrysLLMGen, as one of ours, in the user's own folder.

The file is read as tensors and plain values only: nothing in it can run. Every name and shape in it is
checked against the network it implies, so that a foreign or newer layout is refused by name and never half
loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
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
    from torch import Tensor

    from crystal_core.generators.diffcsp.config import ProcessConfig
    from crystal_core.generators.diffcsp.network import CspNetworkConfig

DECODER = "decoder."
TELLING = "atom_latent_emb.weight"  # by whose name the network is found
BETAS, SIGMAS, NORMS = "beta_scheduler.betas", "sigma_scheduler.sigmas", "sigma_scheduler.sigmas_norm"
# what follows from the noise rates alone
DERIVED = {f"beta_scheduler.{name}" for name in ("alphas", "alphas_cumprod", "sigmas")}
EXPECTED = "the checkpoint of a DiffCSP run for structure prediction"
TASK = "structure prediction"


def import_diffcsp(file: Path, statistics: Path | None, name: str) -> Imported:
    """Write ``checkpoints/<name>/`` in the home folder from an official file.

    Args:
        file: Lightning checkpoint or state dictionary.
        statistics: not needed, DiffCSP has none.
        name: not yet in use.

    Raises:
        RequestError: the file cannot be read, statistics are given, or the name is taken.
        CheckpointMismatch: unknown or missing names, wrong shapes, or a noise schedule that this version does
            not sample with.
    """
    import torch

    from crystal_core.generators.diffcsp.schedules import schedules_of
    from crystal_core.generators.diffcsp.weights import SCORE_NORMS, write_score_norms
    from crystal_core.training.checkpoint import write_shards

    if statistics is not None:
        raise RequestError("A DiffCSP checkpoint has no lattice statistics; leave out --statistics.")
    check_free_name(name)
    weights, stored = _split(read_official_state(file, EXPECTED))
    config = _network_of(weights)
    process, norms = _process_of(stored)
    parameters = sum(value.numel() for value in weights.values())
    with new_checkpoint(name) as folder:
        files = write_shards(weights, folder, dtype=torch.float32)
        write_score_norms(schedules_of(process, norms).norms, folder / SCORE_NORMS)
        write_card(
            folder,
            {
                "name": name,
                "kind": "generator",
                "task": TASK,
                "method": "DiffCSP (NeurIPS 2023)",
                "loader": "diffcsp",
                "parameters": parameters,
                "trained_on": "not stated in the file",
                "source": f"imported from {file.name}, SHA-256 {sha256_of(file)}",
                "licence": "that of the imported file",
                "limits": _limits(has_schedule=BETAS in stored, has_norms=norms is not None),
                "files": {f: sha256_of(folder / f) for f in [*files, SCORE_NORMS]},
                "network": asdict(config),
                "training": {"process": asdict(process)},
                "extra": {"source_sha256": sha256_of(file)},
            },
        )
    return Imported(folder=home_dir() / "checkpoints" / name, task=TASK, parameters=parameters)


def _split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's weights under our names, and the tables of the noise levels."""
    ends = [key.removesuffix(TELLING) for key in state if key.endswith(TELLING)]
    if len(ends) != 1:
        raise CheckpointMismatch(
            f"The file holds {len(ends)} networks of DiffCSP (names ending in {TELLING}), expected one; "
            f"give {EXPECTED}."
        )
    inside = ends[0]
    outside = inside.removesuffix(DECODER)
    weights = {k.removeprefix(inside): v.float() for k, v in state.items() if k.startswith(inside)}
    rest = {
        k.removeprefix(outside): v
        for k, v in state.items()
        if k.startswith(outside) and not (inside != outside and k.startswith(inside))
    }
    if inside == outside:  # a bare network: its names and those of the tables lie side by side
        weights = {k: v for k, v in weights.items() if "_scheduler." not in k}
        rest = {k: v for k, v in rest.items() if "_scheduler." in k}
    foreign = [k for k in state if not k.startswith(outside)]
    foreign += [outside + k for k in rest if k not in {BETAS, SIGMAS, NORMS} | DERIVED]
    if foreign:
        raise CheckpointMismatch(f"The file has unknown names: {listed(foreign)}.")
    return weights, rest


def _network_of(weights: Mapping[str, Tensor]) -> CspNetworkConfig:
    """The network that these weights fit: sizes come from a few tensors, the others are checked."""
    import torch

    from crystal_core.generators.diffcsp.network import GRAM, CspNetwork, CspNetworkConfig

    telling = ("node_embedding.weight", TELLING, "csp_layer_0.edge_mlp.0.weight")
    missing = [key for key in telling if key not in weights or weights[key].dim() != 2]
    if missing:
        raise CheckpointMismatch(f"The file's names do not fit a CSPNet; missing: {listed(missing)}.")
    hidden, joined = weights[TELLING].shape
    features = weights[telling[2]].shape[1] - 2 * hidden - GRAM
    if features < 6 or features % 6 or joined <= hidden:
        raise CheckpointMismatch(
            f"csp_layer_0.edge_mlp.0.weight has {weights[telling[2]].shape[1]} columns and {TELLING} "
            f"{joined}: no CSPNet with Fourier features, L Lᵀ and time features has these."
        )
    layers = {int(match[1]) for key in weights if (match := re.match(r"csp_layer_(\d+)\.", key))}
    config = CspNetworkConfig(
        hidden_dim=hidden,
        n_layers=len(layers),
        n_frequencies=features // 6,
        time_dim=joined - hidden,
        n_types=len(weights["node_embedding.weight"]),
    )
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in CspNetwork(config).state_dict().items()}
    check_layout(weights, expected, "a CSPNet for structure prediction")
    return config


def _process_of(stored: Mapping[str, Tensor]) -> tuple[ProcessConfig, Tensor | None]:
    """The noise levels and the score norms that the file tells; the published ones where it tells none."""
    import torch

    from crystal_core.generators.diffcsp.config import ProcessConfig
    from crystal_core.generators.diffcsp.schedules import cosine_betas, schedules_of

    wrong = [k for k, v in stored.items() if v.dim() != 1 or len(v) < 3 or not torch.isfinite(v).all()]
    if wrong:
        raise CheckpointMismatch(f"The file holds no rows of finite numbers in {listed(wrong)}.")
    process = ProcessConfig()
    if SIGMAS in stored:
        sigmas = stored[SIGMAS].double()
        process = ProcessConfig(
            n_times=len(sigmas) - 1, sigma_min=float(sigmas[1]), sigma_max=float(sigmas[-1])
        )
    known: dict[str, Any] = {
        BETAS: partial(cosine_betas, process.n_times),
        SIGMAS: lambda: schedules_of(process).sigmas,
    }
    for key, table in known.items():
        if key in stored and not _close(stored[key].double(), table()):
            raise CheckpointMismatch(
                f"{key} is no {'cosine' if key == BETAS else 'geometric'} schedule of {process.n_times} "
                "times; this version samples with no other."
            )
    norms = stored.get(NORMS)
    if norms is not None and (len(norms) != process.n_times + 1 or not bool((norms > 0).all())):
        raise CheckpointMismatch(
            f"{NORMS} is {shape_text(norms.shape)}, expected {process.n_times + 1} positive numbers."
        )
    return process, norms


def _close(table: Tensor, expected: Tensor) -> bool:
    import torch

    return table.shape == expected.shape and torch.allclose(table, expected, rtol=1e-3, atol=1e-6)


def _limits(*, has_schedule: bool, has_norms: bool) -> str:
    schedule = (
        "" if has_schedule else "The file has no noise rates, so the published cosine schedule is taken. "
    )
    norms = (
        "The score norms are those of the file."
        if has_norms
        else "The file has no score norms, so they are calculated, some per cent off those of its training."
    )
    return f"Imported weights, not measured here. {schedule}{norms}"
