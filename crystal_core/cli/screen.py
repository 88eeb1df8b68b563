"""``crystal-core screen``: a campaign of many crystals, from generating to ranking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._campaign import read_campaign
from crystal_core.cli._energies import above_hull_words
from crystal_core.cli._files import trials_folder
from crystal_core.cli._run import command, conclude, interruptible, progress, say
from crystal_core.interruption import saying
from crystal_core.requests import seed_or_drawn
from crystal_core.requests.screening import ScreeningRequest

DEFAULT_N = 8
SHOWN = 20  # lines of the ranking on a terminal; all are in ranking.csv


@command
def screen(
    config: Annotated[
        Path,
        typer.Argument(help="TOML file: what to generate, filter, relax and rank by; see docs/commands.md."),
    ],
    n: Annotated[
        int | None, typer.Option(help="Crystals to generate; that of CONFIG when absent, or 8.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Crystals of a batch, which one process makes.")] = 16,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that work on batches.")] = 2,
    backend: Annotated[
        str, typer.Option(help="local: processes of this machine; ray: those of a Ray cluster.")
    ] = "local",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for finished batches and ranked crystals; the same call later continues from it.",
        ),
    ] = None,
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads of each process; 1 when absent.")
    ] = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Screen many crystals: generate, filter, relax and rank them over several processes."""
    given = read_campaign(config)
    n = n if n is not None else given.pop("n", DEFAULT_N)
    given.pop("n", None)
    given_seed = given.pop("seed", None)
    with trials_folder(out) as folder:
        from crystal_core.device import pick_device
        from crystal_core.workflows.screen.backends import backend_of
        from crystal_core.workflows.screen.campaign import run
        from crystal_core.workflows.screen.folder import begun_with

        chosen = seed if seed is not None else given_seed
        request = ScreeningRequest(
            **given,
            n=n,
            # the same call without a seed continues with the one that was drawn
            seed=seed_or_drawn(begun_with(folder).get("seed") if chosen is None else chosen),
            batch=batch,
            device=device,
        )
        over = backend_of(backend, workers, on_gpu=pick_device(device).type == "cuda")
        stop = interruptible()
        with progress(quiet=quiet) as show:
            report, crystals = run(
                request,
                folder,
                backend=over,
                threads=threads,
                settings={"backend": backend, "workers": workers},
                on_progress=show,
                stop=stop,
            )
        if out is None:
            report |= {"written": 0, "crystals": crystals}
        with saying(_left(report, out)):
            conclude(report, stop, _show, json=json)
    if not report["batches"]["finished"]:
        raise typer.Exit(1)


def _left(report: dict[str, Any], out: Path | None) -> str:
    """What an interruption leaves."""
    finished, of = report["batches"]["finished"], report["batches"]["of"]
    where = "" if out is None else f" in {out}, and the same call continues from there"
    return f"Interrupted; {finished} of {of} batches are finished{where}."


def _show(report: dict[str, Any]) -> None:
    for row in report["ranking"][:SHOWN]:
        typer.echo(f"{row['rank']:>5}  {row['id']:<32} {row['formula']:<16} {_value(row)}".rstrip())
    if len(report["ranking"]) > SHOWN:
        typer.echo(f"       and {len(report['ranking']) - SHOWN} more")
    counts = report["counts"]
    steps = [f"{counts['generated']} of {counts['requested']} generated", *_passed(counts["passed"])]
    if "relaxed" in counts:
        steps += [f"{counts['relaxed']} relaxed, {counts['converged']} of them to rest"]
        steps += _passed(counts["passed_relaxed"])
    typer.echo(f"{'; '.join(steps)}; {counts['different']} ranked, without repeats")
    for failure in report["failures"]:
        where = f"batch {failure['batch'] + 1}: " if "batch" in failure else ""
        typer.echo(f"{failure['n']} failed: {where}{failure['reason']}")
    for note in report["notes"]:
        say(note)


def _passed(passed: dict[str, int]) -> list[str]:
    """How many crystals are left after each check."""
    return ["left after " + ", ".join(f"{name} {n}" for name, n in passed.items())] if passed else []


def _value(row: dict[str, Any]) -> str:
    """What a crystal is ranked by, in words."""
    score = row["score"]
    marks = ("  not at rest" if row.get("converged") is False else "") + ("  known" if row["known"] else "")
    if score is None:
        return marks.strip()
    if score["name"] == "e_above_hull_ev" and "e_above_hull_error_ev" in row:
        return f"above the hull {above_hull_words(row)} (ML estimate){marks}"
    return f"{score['name']} {score['value']:.4g}{marks}"
