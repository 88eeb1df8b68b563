"""A snapshot of a training in half precision.

Small enough to travel with the code: ``python -m crystal_core.training.packed``.

``pack RUN FOLDER`` writes it, ``unpack FOLDER RUN`` makes a run folder that ``--resume``
continues. Weights, averages and the optimisers' moments lose bits beyond bfloat16; the log, the
slices and all counters stay exact.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from crystal_core.errors import RequestError
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code
from crystal_core.training.checkpoint import save_shards
from crystal_core.training.fit import LOG, SLICES, SNAPSHOT
from crystal_core.whole_files import whole_file, write_whole

STATE, BEGIN = "state.json", "state-"
BESIDE = (LOG, SLICES, "lattice.json", "statistics.json")  # files of a run that go along where it has them


def pack(run: Path, folder: Path) -> list[str]:
    """Write a run's last snapshot into ``folder`` as bfloat16 shards of at most 14 MB; returns names.

    Raises:
        RequestError: the run holds no snapshot.
    """
    if not (run / SNAPSHOT).is_file():
        raise RequestError(f"There is no snapshot in {run.name} to pack.")
    tensors: dict[str, torch.Tensor] = {}
    state = _without_tensors(torch.load(run / SNAPSHOT, map_location="cpu", weights_only=True), "", tensors)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{BEGIN}*.safetensors"):
        old.unlink()
    # steps and frequencies of time features are small and exact
    stored = {
        name: (
            value if value.numel() < 1000 or not value.is_floating_point() else value.to(torch.bfloat16)
        ).contiguous()
        for name, value in tensors.items()
    }
    names = save_shards(stored, folder, BEGIN)
    write_whole(folder / STATE, json.dumps(state))
    for name in BESIDE:
        if (run / name).is_file():
            shutil.copyfile(run / name, folder / name)
    return names


def unpack(folder: Path, run: Path) -> None:
    """Make a run folder of a packed snapshot.

    Raises:
        RequestError: the folder holds none, or the run folder holds a snapshot already.
    """
    if not (folder / STATE).is_file():
        raise RequestError(f"{folder.name} holds no packed snapshot.")
    if (run / SNAPSHOT).is_file():
        raise RequestError(f"{run} holds a training already; name another folder.")
    tensors = {
        name: value
        for shard in sorted(folder.glob(f"{BEGIN}*.safetensors"))
        for name, value in load_file(shard).items()
    }
    state = _with_tensors(json.loads((folder / STATE).read_text(encoding="utf-8")), tensors)
    run.mkdir(parents=True, exist_ok=True)
    with whole_file(run / SNAPSHOT) as file:
        torch.save(state, file)
    for name in BESIDE:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, run / name)


def _without_tensors(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Plain JSON with tensors replaced by names; dictionaries with number keys become pairs."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {"tensor": name, "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, dict):
        return {"pairs": [[k, _without_tensors(v, f"{name}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_without_tensors(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict) and "tensor" in value:
        return tensors[value["tensor"]].to(getattr(torch, value["dtype"]))
    if isinstance(value, dict):
        return {k: _with_tensors(v, tensors) for k, v in value["pairs"]}
    if isinstance(value, list):
        return [_with_tensors(v, tensors) for v in value]
    return value


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m crystal_core.training.packed", description=__doc__)
    parser.add_argument("action", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    (pack if options.action == "pack" else unpack)(options.source, options.target)


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
