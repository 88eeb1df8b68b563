"""``crystal-core evaluate latents``: elements, cells and crystals from the true latents of known crystals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._evaluation import named_path
from crystal_core.cli._run import command, conclude, goes_on_card, interruptible, progress, set_threads


@command
def latents(
    data: Annotated[Path, typer.Option("--data", help="Prepared file of 'crystal-core data prepare'.")],
    model: Annotated[
        str, typer.Option("--model", help="A generator that decodes latents.")
    ] = "crysldnet-generator",
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "val",
    limit: options.Limit = None,
    rebuild: Annotated[
        int, typer.Option("--rebuild", min=0, help="Crystals that are rebuilt from their latents, too.")
    ] = 0,
    start_time: Annotated[
        float | None,
        typer.Option(
            "--start-time",
            min=0.01,
            max=1.0,
            help="Where the placing begins with the decoded cell; 1 begins with noise. "
            "That of the card when absent.",
        ),
    ] = None,
    write_card: options.WriteCard = False,
    device: options.Device = "auto",
    seed: Annotated[
        int, typer.Option("--seed", help="Of the choice of crystals to rebuild, and their noise.")
    ] = 0,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Decode the latents of known crystals: elements, compositions, cells, and crystals with placed atoms."""
    from crystal_core.checks import check_choice
    from crystal_core.workflows.evaluate_latents import evaluate_latents

    check_choice("split", split, ("train", "val", "test"))
    set_threads(threads)
    stop = interruptible()
    with progress(quiet=quiet) as show:
        report = evaluate_latents(
            model,
            data,
            split=split,
            limit=limit,
            rebuild=rebuild,
            start_time=start_time,
            seed=seed,
            device=device,
            on_progress=show,
            stop=stop,
        )
    words = [f"crystal-core evaluate latents --data {named_path(data)} --model {model} --split {split}"]
    words += [f"--limit {limit}"] if limit else []
    words += [f"--rebuild {rebuild}"] if rebuild else []
    words += [f"--start-time {start_time:g}"] if start_time is not None else []
    report["settings"] = {"model": model, "data": data.name, "split": split, "seed": seed}
    if goes_on_card(stop, write_card=write_card):
        _keep(report, f"{' '.join(words)} --seed {seed}")
    conclude(report, stop, _show, json=json)


def _keep(report: dict[str, Any], used: str) -> None:
    """Shares with their 95 % intervals on the card; the errors of the cell stand with the compositions."""
    from crystal_core.cards import write_card
    from crystal_core.evaluation.statistics import wilson
    from crystal_core.registry.store import find_card

    settings = report["settings"]
    folder, split = find_card(settings["model"]).folder, settings["split"]
    if folder is None:
        return
    about = {"data": settings["data"], "command": used}
    protocol = (
        f"decoded from the true latents of {report['n']} rows of {split}, "
        "which the encoder did not learn from"
    )
    entries: dict[str, dict[str, Any]] = {}
    for key, n in (("elements_right", report["n_atoms"]), ("compositions_right", report["n"])):
        low, high = wilson(report[key] * n, n)
        ci95 = [round(low, 4), round(high, 4)]
        entries[f"{key}_{split}"] = {
            "value": report[key],
            "ci95": ci95,
            "n": n,
            "protocol": protocol,
            **about,
        }
    entries[f"elements_right_{split}"]["by_chance"] = report["elements_by_chance"]
    entries[f"compositions_right_{split}"] |= {
        key: report[key] for key in ("lengths_off", "angles_off", "volume_off", "volume_by_count")
    }
    if rebuilt := report.get("rebuilt"):
        begins = (
            f"from the decoded cell at t = {rebuilt['start_time_used']:g}"
            if "start_time_used" in rebuilt
            else "from noise"
        )
        entries[f"rebuilt_{split}"] = {
            "value": rebuilt["match_rate"],
            "ci95": rebuilt["ci95"],
            "n": rebuilt["n"],
            "protocol": f"{protocol}; placed by {rebuilt['placer_used']}, {begins}; "
            "StructureMatcher(0.5, 0.3, 10)",
            **about,
        }
    write_card(folder, {"metrics": entries})


def _show(report: dict[str, Any]) -> None:
    typer.echo(f"{report['n']} crystals, {report['n_atoms']} atoms of {report['settings']['split']}")
    typer.echo(
        f"elements right {100 * report['elements_right']:.1f} % (most frequent element "
        f"{100 * report['elements_by_chance']:.1f} %), compositions right "
        f"{100 * report['compositions_right']:.1f} %"
    )
    typer.echo(
        f"lengths off by {report['lengths_off']:.1f} %, angles by {report['angles_off']:.1f}°, volume by "
        f"{report['volume_off']:.1f} % (median volume per atom {report['volume_by_count']:.1f} %)"
    )
    if rebuilt := report.get("rebuilt"):
        low, high = rebuilt["ci95"]
        typer.echo(
            f"rebuilt and matched {100 * rebuilt['match_rate']:.1f} % "
            f"({100 * low:.1f}–{100 * high:.1f}) of {rebuilt['n']}"
        )
