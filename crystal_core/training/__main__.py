"""``python -m crystal_core.training CONFIG``: the trainer for machines that have only torch, numpy and safetensors."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parent / "configs"


def run_training(
    config: Path,
    *,
    minutes: float | None = None,
    resume: Path | None = None,
    anneal: bool = False,
    data: Path | None = None,
    out: Path | None = None,
    export: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run one slice of a training configuration and, if asked, export a checkpoint; returns the last log line."""
    import torch

    from crystal_core.errors import RequestError
    from crystal_core.generators.kldm.weights import export_checkpoint, load_weights
    from crystal_core.registry.store import find_card
    from crystal_core.sampling.device import pick_device
    from crystal_core.training.fit import LOG, SNAPSHOT
    from crystal_core.training.kldm import read_config, train

    path = config if config.suffix == ".toml" else CONFIGS / f"{config.name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.toml")))
        raise RequestError(f"There is no training configuration '{config}'. Shipped are: {known}.")
    settings = read_config(path)
    if seed is not None:
        settings = replace(settings, fit=replace(settings.fit, seed=seed))
    data_file = data or (Path(settings.data) if settings.data else None)
    if data_file is None:
        raise RequestError("Name the prepared file with --data (made by 'crystal-core data prepare').")
    if threads:
        torch.set_num_threads(threads)
    folder = resume or out or Path("runs") / settings.name
    if resume is None and (folder / SNAPSHOT).is_file():
        raise RequestError(f"{folder} holds a training already: go on with it by --resume {folder}, or name another folder with --out.")
    initial = load_weights(find_card(settings.init_from))[0] if settings.init_from else None
    trainer, codec, last = train(
        settings, data_file=data_file, folder=folder, device=pick_device(device), minutes=minutes,
        resume=resume is not None, anneal=anneal, initial=initial, on_line=None if quiet else lambda line: print(json.dumps(line), file=sys.stderr, flush=True),
    )  # fmt: skip
    if export:
        export_checkpoint(export, trainer=trainer, codec=codec, settings=settings, log=folder / LOG)
    return last


def main() -> None:
    """Parse the command line and print the last log line as JSON."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="python -m crystal_core.training", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--anneal", action="store_true", help="let the rate fall to zero by the end of --minutes")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--export")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--quiet", action="store_true")
    print(json.dumps(run_training(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
