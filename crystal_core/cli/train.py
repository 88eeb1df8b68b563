"""``crystal-core train``: one training run, in slices that stop cleanly and resume."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._idle import ADAPTER
from crystal_core.cli._run import command, emit, say
from crystal_core.errors import RequestError
from crystal_core.interruption import NOTHING_WRITTEN, saying
from crystal_core.paths import data_file
from crystal_core.requests import seed_or_drawn

CIFS_BETWEEN_LINES = 500


@command
def train(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="TOML file, the name of a shipped configuration, or 'adapter' for a property of your own."
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Repeat the recorded training slices of this checkpoint.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Stop cleanly and save after this many minutes.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of an earlier slice to continue.")] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Crystals of the whole run, instead of the configuration's plan."),
    ] = None,
    branch: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a run: "
            "copy it and let the learning rate fall to zero over the next tenth of its samples."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Prepared file; overrides the configuration's. For 'adapter': Parquet of the data schema, "
            "or CSV with a column cif."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="adapter: the column to learn.")] = None,
    unit: Annotated[str, typer.Option(help="adapter: of the column.")] = "",
    title: Annotated[str, typer.Option(help="adapter: name for display.")] = "",
    logarithmic: Annotated[
        bool, typer.Option("--log", help="adapter: learn the logarithm of a positive column.")
    ] = False,
    rank: Annotated[
        int, typer.Option(min=0, help="adapter: of its changes to the encoder; 0 for heads alone.")
    ] = 8,
    full: Annotated[
        bool, typer.Option("--full", help="adapter: train the whole encoder instead of low-rank changes.")
    ] = False,
    measured: Annotated[
        str | None,
        typer.Option(
            "--property",
            help="adapter: a property of the raw data (CRYSTAL_DATA), "
            "trained on the training rows of its own split.",
        ),
    ] = None,
    fold: Annotated[
        int, typer.Option(min=0, max=4, help="adapter: fold of Matbench whose test rows are left out.")
    ] = 0,
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate", help="adapter --property: keep the weights and measure their intervals anew."
        ),
    ] = False,
    start: Annotated[str, typer.Option(help="adapter: property whose heads the new ones begin with.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for log and snapshot; runs/NAME when absent.")
    ] = None,
    export: Annotated[
        str | None, typer.Option(help="Write the averaged (EMA) weights as a checkpoint of this name.")
    ] = None,
    device: options.Device = "auto",
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of weights, order and noise; if absent the configuration's, or drawn for an adapter."
        ),
    ] = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a model; stdout is the log's last line in JSON: step, epoch, loss, validation, seconds."""
    from crystal_core.datasets.rows import words_on_rows
    from crystal_core.workflows.adapter_rows import OwnProperty
    from crystal_core.workflows.property_adapter import recalibrate_property, train_property
    from crystal_core.workflows.train import run_training
    from crystal_core.workflows.train_adapter import train_adapter

    del json  # it is JSON always
    shared: dict[str, Any] = {"minutes": minutes, "samples": samples, "device": device, "threads": threads}
    adapter_seed = seed_or_drawn(seed)
    of_adapter = shared | {"seed": adapter_seed, "on_line": None if quiet else lambda line: say(dumps(line))}
    is_adapter = str(config) == ADAPTER
    if is_adapter and measured is not None and recalibrate:
        recalibrate_property(measured, device=device, threads=threads)
        emit({"property": measured, "recalibrated": True})
        return
    if is_adapter and measured is not None:
        refused = {"--data": data, "--target": target, "--export": export, "--unit": unit, "--title": title}
        if named := [option for option, value in refused.items() if value]:
            raise RequestError(
                f"--property takes rows, name and unit from the raw data; leave out {', '.join(named)}."
            )
        from crystal_core.predictors.crysldnet.adapters import AdapterConfig

        adapter = AdapterConfig(rank=rank, full=full)
        with saying(NOTHING_WRITTEN):
            report = train_property(measured, config=adapter, fold=fold, start=start, **of_adapter)
        emit(asdict(report) | {"seed": adapter_seed})
        return
    for option, value in (
        ("--property", measured),
        ("--fold", fold),
        ("--start", start),
        ("--recalibrate", recalibrate),
    ):
        if value:
            raise RequestError(f"{option} belongs to 'crystal-core train adapter --property NAME'.")
    if is_adapter:
        if data is None or target is None:
            raise RequestError("Name the table with --data and its column with --target.")
        own = OwnProperty(column=target, title=title, unit=unit, logarithmic=logarithmic)
        of_table = of_adapter | {"on_read": None if quiet else _say_read}
        with saying(NOTHING_WRITTEN):
            report = train_adapter(data_file(data), own, name=export or "", rank=rank, full=full, **of_table)
        for sentence in words_on_rows(data.name, [], [(row["id"], row["note"]) for row in report.remarks]):
            say(sentence)
        emit(asdict(report) | {"seed": adapter_seed})
        return
    training = recipe or (config.name if config else "")
    if training and not quiet:
        say(f"training {training}")
    emit(
        run_training(
            config,
            recipe=recipe,
            resume=resume,
            branch=branch,
            data=data,
            out=out,
            export=export,
            seed=seed,
            quiet=quiet,
            **shared,
        )
    )


def _say_read(done: int, of: int) -> None:
    if done % CIFS_BETWEEN_LINES == 0 or done == of:
        say(f"{done:,} of {of:,} CIFs read")
