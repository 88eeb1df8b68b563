"""``crystal-core evaluate adapters``: ways to fit a property on the encoder, by share of its labels."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._files import trials_folder
from crystal_core.cli._lists import numbers, words
from crystal_core.cli._run import command, emit, progress, set_threads


@command
def adapters(
    name: Annotated[str, typer.Option("--property", help="A property of the raw data (CRYSTAL_DATA).")],
    ways: Annotated[
        str,
        typer.Option(
            help="Comma separated: lora, heads (alone), full (the whole encoder); with --start also start "
            "(its heads as they are) and line (behind a straight line)."
        ),
    ] = "lora,full",
    shares: Annotated[
        str, typer.Option(help="Shares of the training rows, comma separated, such as 0.2,1.")
    ] = "1",
    fold: Annotated[str, typer.Option(help="Folds of Matbench: 0 to 4, comma separated, or 'all'.")] = "0",
    start: Annotated[str, typer.Option(help="Property whose shipped heads every way begins with.")] = "",
    seeds: Annotated[
        int, typer.Option(min=1, help="Trainings per way and share, each with its own seed.")
    ] = 3,
    samples: Annotated[int, typer.Option(min=2, help="Crystals seen by each training.")] = 10_000,
    out: options.Trials = None,
    write_card: options.WriteCard = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Fit a property in several ways on the same rows and budget; read test rows once, at the end."""
    from crystal_core.workflows.adapter_trials import AdapterTrials, evaluate_adapters

    began = time.monotonic()
    trials = AdapterTrials(
        name=name,
        ways=words(ways),
        shares=numbers("--shares", shares),
        folds=(0, 1, 2, 3, 4) if fold == "all" else tuple(int(f) for f in numbers("--fold", fold)),
        seeds=seeds,
        start=start,
        samples=samples,
    )
    set_threads(threads)
    with trials_folder(out) as folder, progress(quiet=quiet) as show:
        report = evaluate_adapters(trials, out=folder, device=device, on_progress=show)
    report["seconds"] = round(time.monotonic() - began, 1)
    if write_card:
        _keep(report, _command(name, ways, shares, fold, start, seeds, samples))
    if json:
        emit(report)
        return
    for line in table_lines(report):
        typer.echo(line)


def table_lines(report: dict[str, Any]) -> list[str]:
    """The report for people: a row per way and share."""
    unit = f" {report['unit']}" if report["unit"] else ""
    lines = [
        (
            f"MAE of {report['property']}{unit}; {report['protocol']}; {report['samples']:,} crystals seen, "
            f"{report['seeds']} seeds"
        )
    ]
    lines.append(
        f"{'way':<7}{'labels':>8}{'n train':>9}{'validation':>12}{'test':>10}{'±':>9}  "
        f"{'95 %':<20}{'trained':>10}{'s':>8}"
    )
    for row in report["rows"]:
        spread = "" if row["std"] is None else f"{row['std']:.3g}"
        interval = " to ".join(f"{end:g}" for end in row["ci95"])
        lines.append(
            f"{row['way']:<7}{100 * row['share']:>6g} "
            f"%{row['n_train']:>9,}{row['validation_mae']:>12.4g}{row['test_mae']:>10.4g}{spread:>9}  "
            f"{interval:<20}{row['trained_parameters']:>10,}{row['seconds']:>8.0f}"
        )
        if "not_seen" in row:
            new = row["not_seen"]
            lines.append(f"{'':<7}{new['value']:g} on the {new['n']} crystals that the encoder has not seen")
        if len(row["by_fold"]) > 1:
            lines.append(f"{'':<7}folds: {', '.join(f'{value:g}' for value in row['by_fold'])}")
    return lines


def _command(name: str, ways: str, shares: str, fold: str, start: str, seeds: int, samples: int) -> str:
    words = [f"crystal-core evaluate adapters --property {name} --ways {ways} --shares {shares}"]
    words += [f"--fold {fold}"] if fold != "0" else []
    words += [f"--start {start}"] if start else []
    return " ".join([*words, f"--seeds {seeds} --samples {samples}"])


def _keep(report: dict[str, Any], used: str) -> None:
    """One entry for each way and share on the card of the property's shipped adapter."""
    from crystal_core.cards import write_card
    from crystal_core.registry.property_cards import property_part

    card = property_part("crysldnet", report["property"])
    if card.folder is None:
        return
    folds = f"_{len(report['folds'])}_folds" if len(report["folds"]) > 1 else ""
    metrics = {}
    for row in report["rows"]:
        label = f"_{100 * row['share']:g}_percent".replace(".", "_") if row["share"] else ""
        entry = {
            "way": row["way"],
            "share": row["share"],
            "start": report["start"],
            "metric": "MAE",
            "unit": report["unit"],
            "value": row["test_mae"],
            "ci95": row["ci95"],
            "std": row["std"],
            "n": row["n_test"],
            "n_train": row["n_train"],
            "seeds": report["seeds"],
            "validation_mae": row["validation_mae"],
            "trained_parameters": row["trained_parameters"],
            "protocol": f"{report['protocol']}; split test; {report['samples']:,} crystals seen",
            "data": report["source"],
            "command": used,
        }
        entry |= {"by_fold": row["by_fold"]} if folds else {}
        if "not_seen" in row:
            entry |= {"not_seen": row["not_seen"]["value"], "n_not_seen": row["not_seen"]["n"]}
        metrics[f"mae_{report['property']}_test_{row['way']}{label}{folds}"] = {
            k: v for k, v in entry.items() if v not in (None, "")
        }
    write_card(card.folder, {"metrics": metrics})
