"""``crystal-core train``: one training run, in slices that stop cleanly and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystal_core.cli._run import Device, Json, Quiet, Threads, command, emit, say


@command
def train(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file, or the name of a shipped configuration.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Repeat the recorded slices of this checkpoint instead.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.01, help="Stop cleanly and save after so long.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Folder of an earlier slice to continue.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=1, help="Crystals of the whole run, instead of the configuration's plan."
        ),
    ] = None,
    branch: Annotated[
        Path | None,
        typer.Option(
            "--branch",
            help="Folder of a run: let its rate fall to zero over the next tenth of its samples, in a copy.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Prepared file; overrides the configuration's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for log and snapshot; runs/NAME when absent.")
    ] = None,
    export: Annotated[
        str | None, typer.Option("--export", help="Write the EMA weights as checkpoint of this name.")
    ] = None,
    device: Device = "auto",
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Of weights, order and noise; the configuration's when absent."),
    ] = None,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a model; stdout is one JSON object, the last line of the log: step, epoch, loss, validation, seconds."""
    from crystal_core.workflows.train import run_training

    del json  # it is JSON always
    if not quiet:
        say(f"training {recipe or (config.name if config else '')}")
    emit(
        run_training(
            config,
            recipe=recipe,
            minutes=minutes,
            samples=samples,
            resume=resume,
            branch=branch,
            data=data,
            out=out,
            export=export,
            device=device,
            threads=threads,
            seed=seed,
            quiet=quiet,
        )
    )
