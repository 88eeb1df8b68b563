"""Trained weights on disk: half-precision safetensors shards with their card.

Needs torch, numpy, safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from crystal_core.cards import CURVE, ModelCard, forget_measurements, sha256_of, write_card
from crystal_core.errors import CheckpointMismatch
from crystal_core.paths import checkpoints_dir
from crystal_core.whole_files import whole_file, write_whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from crystal_core.training.fit import Trainer

SHARD_BYTES = 13_900_000  # of tensors: with its header a file stays below 14 MB
WEIGHTS = "weights-"  # begins the names of the files with weights
CURVE_POINTS = 40


def write_shards(
    state: Mapping[str, Tensor],
    folder: Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    exact: Collection[str] = (),
) -> list[str]:
    """Write tensors as safetensors files; returns their names.

    A file has at most 14 MB, unless a single tensor is larger, which then has a file of its own.

    Args:
        dtype: bfloat16, or float32 to keep all digits. exact: names of tensors that are float32 always.
    """
    stored = {
        name: value.detach().cpu().contiguous().to(torch.float32 if name in exact else dtype)
        for name, value in state.items()
    }
    return save_shards(stored, folder, WEIGHTS)


def save_shards(tensors: Mapping[str, Tensor], folder: Path, begin: str) -> list[str]:
    """Write tensors into ``<begin>1-of-2.safetensors`` … of at most 14 MB each; returns the names."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in tensors.items():
        if size + value.nbytes > SHARD_BYTES and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][name] = value
        size += value.nbytes
    names = []
    for i, shard in enumerate(shards):
        names.append(f"{begin}{i + 1}-of-{len(shards)}.safetensors")
        with whole_file(folder / names[-1]) as file:
            save_file(shard, file)
    return names


def read_shards(card: ModelCard) -> dict[str, Tensor]:
    """The tensors (float32) of all shards of a checkpoint.

    Raises:
        CheckpointMismatch: a file is missing or changed.
    """
    problem = card.problem()
    if problem or card.folder is None:
        raise CheckpointMismatch(f"The checkpoint '{card.name}' cannot be used. {problem}")
    state: dict[str, Tensor] = {}
    for name in card.files:
        if name.startswith(WEIGHTS):
            state.update({key: value.float() for key, value in load_file(card.folder / name).items()})
    return state


def check_tensors(
    network: nn.Module, state: Mapping[str, Tensor], problem: str, *, without: Collection[str] = ()
) -> None:
    """Check that weights have the names and shapes of a network's, but for those of ``without``.

    Raises:
        CheckpointMismatch: names or shapes differ; the sentence begins with ``problem``.
    """
    expected = {key: value.shape for key, value in network.state_dict().items() if key not in without}
    wrong = sorted(set(expected) ^ set(state)) or [k for k in expected if expected[k] != state[k].shape]
    if wrong:
        raise CheckpointMismatch(f"{problem}; names that differ: {', '.join(wrong[:8])}.")


def load_exactly(
    network: nn.Module, state: Mapping[str, Tensor], problem: str, *, without: Collection[str] = ()
) -> None:
    """Put weights into a network; raises as :func:`check_tensors`."""
    check_tensors(network, state, problem, without=without)
    network.load_state_dict(dict(state), strict=not without)


def write_checkpoint(
    name: str,
    *,
    trainer: Trainer,
    log: Path,
    fields: Mapping[str, Any],
    about_training: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    save_files: Mapping[str, Callable[[Path], None]] | None = None,
    exact: Collection[str] = (),
    without: Collection[str] = (),
) -> Path:
    """Write ``checkpoints/<name>/``: EMA weights, validation curve and card; returns the folder.

    Of an older card of that name, what was measured with other weights goes; data and source,
    which people write, stay.

    Args:
        log: the run's log of JSON lines.
        fields: of the card, what the method knows.
        about_training: of its table ``training``.
        files: further file → text.
        save_files: further file → what writes it.
        exact: names of weights kept in float32.
        without: names of weights left out.
    """
    folder = checkpoints_dir() / name
    folder.mkdir(parents=True, exist_ok=True)
    before = {file.name: sha256_of(file) for file in folder.glob(f"{WEIGHTS}*.safetensors")}
    for old in before:
        (folder / old).unlink()
    state = {key: value for key, value in trainer.ema.state_dict().items() if key not in without}
    written = write_shards(state, folder, exact=exact)
    if before and before != {file: sha256_of(folder / file) for file in written}:
        forget_measurements(folder)
    curve = (
        [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
    )
    every = max(1, len(curve) // CURVE_POINTS)
    points = [entry for i, entry in enumerate(curve) if i % every == 0 or i == len(curve) - 1]
    texts = {**(files or {}), CURVE: json.dumps(points, indent=0)}
    for file, text in texts.items():
        write_whole(folder / file, text)
    for file, save in (save_files or {}).items():
        save(folder / file)
    on_cpu = trainer.device.type == "cpu"
    return write_card(
        folder,
        {
            "name": name,
            "kind": "generator",
            "parameters": sum(p.numel() for p in trainer.network.parameters()),
            "files": {file: sha256_of(folder / file) for file in [*written, *texts, *(save_files or {})]},
            **fields,
            "training": {
                "steps": trainer.step,
                "epochs": trainer.epoch,
                "samples": trainer.samples,
                "hours": round(trainer.seconds / 3600, 2),
                "hardware": f"cpu, {torch.get_num_threads()} threads"
                if on_cpu
                else torch.cuda.get_device_name(),
                "precision": str(trainer.dtype).removeprefix("torch."),
                **about_training,
                "validation": curve[-1].get("validation", {}) if curve else {},
            },
        },
    )
