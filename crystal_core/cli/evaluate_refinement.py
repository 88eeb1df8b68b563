"""``crystal-core evaluate refinement``: how the refiner of drafts best begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.checks import check_choice
from crystal_core.cli import options
from crystal_core.cli._lists import numbers, words
from crystal_core.cli._run import command, emit, progress, say, set_threads
from crystal_core.conditions import DraftOptions
from crystal_core.errors import RequestError
from crystal_core.requests import seed_or_drawn

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard

COLUMNS = ("start", "start_time", "match_rate", "rmse", "structure_valid", "plausible", "network_calls")
ENERGY = "energy_above_known"


@command
def refinement(
    data: options.Data,
    model: Annotated[str, typer.Option(help="A model that drafts and refines.")] = "crysllmgen-mp",
    split: options.Split = "val",
    n: Annotated[int, typer.Option(min=1, help="Size of a fixed random subset (seed 0) of the rows.")] = 100,
    start: Annotated[str, typer.Option(help="inject, renoise or both with a comma.")] = "inject,renoise",
    start_time: Annotated[
        str, typer.Option(help="Start times in (0, 1]; 0.1 is --tau 100 of the other commands.")
    ] = "0.02,0.05,0.1,0.2,0.4",
    source: Annotated[
        str,
        typer.Option(
            help="Refine drafts for the formulas of the rows, or the rows themselves, rounded as text."
        ),
    ] = "drafts",
    refiner: Annotated[
        str | None, typer.Option(help="As in 'generate'; that of the card when absent.")
    ] = None,
    sampler: options.Sampler = "fast",
    steps: options.Steps = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    back_end: options.BackEnd = None,
    energies: Annotated[
        bool, typer.Option("--energies", help="Also CHGNet's energy above the known crystal's, eV/atom.")
    ] = False,
    write_card: options.WriteCard = False,
    workers: options.Workers = 1,
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Match rate and RMSE of refined drafts by start and start time, on known rows."""
    from crystal_core.datasets.rows import split_named
    from crystal_core.workflows import evaluate_refinement as workflow
    from crystal_core.workflows.generate import load_de_novo
    from crystal_core.workflows.references import read_references
    from crystal_core.workflows.sampling_run import with_back_end
    from crystal_core.workflows.training_range import notes_on_rows

    check_choice("source", source, workflow.SOURCES)
    begins = workflow.grid(words(start), numbers("--start-time", start_time))
    loaded: Any = with_back_end(load_de_novo(model, device), back_end)
    chosen = refinement_of(loaded, model, refiner)
    seed, split = seed_or_drawn(seed), split_named(split, data)
    set_threads(threads)
    known = set(loaded.elements)
    read = read_references(data, split, n, tell=say)
    references = [r for r in read if known.issuperset(r.atomic_numbers)]
    if left_out := len(read) - len(references):
        say(f"{left_out:,} of {len(read):,} rows hold an element that {model} does not know: left out.")
    for note in notes_on_rows(loaded, DraftOptions(refiner=refiner), [r.atomic_numbers for r in references]):
        say(note)
    settings: dict[str, Any] = {
        "model": model,
        "refiner": chosen.model,
        "source": source,
        "data": data.name,
        "split": split,
        "limit": n,
        "sampler": sampler,
        "steps": steps,
        "seed": seed,
    }
    rows: list[dict[str, Any]] = []
    columns = (*COLUMNS, *([ENERGY] if energies else []))
    if not json:
        typer.echo("  ".join(f"{name:>14}" for name in columns))
    try:
        with progress(quiet=quiet) as show:
            for row in workflow.evaluate_refinement(
                loaded,
                references,
                begins,
                source=source,
                refiner=refiner,
                sampler=sampler,
                steps=steps,
                options=DraftOptions(temperature=temperature, top_p=top_p),
                seed=seed,
                energies=energies,
                workers=workers,
                on_progress=show,
            ):
                rows.append(row)
                if not json:
                    typer.echo("  ".join(f"{_cell_text(row[name]):>14}" for name in columns))
    except KeyboardInterrupt:
        if json:  # else each row is printed already
            best = workflow.best_of(rows)
            emit({"rows": rows, "best": best, "settings": settings, "interrupted": True})
        raise
    best = workflow.best_of(rows)
    if write_card:
        _keep_table(loaded.card, rows, best, settings)
    if json:
        emit({"rows": rows, "best": best, "settings": settings})
    elif best:
        say(f"Best: {best['start']} at {best['start_time']:g}.")


def refinement_of(loaded: Any, model: str, refiner: str | None) -> Any:
    """The refinement of a model's drafts.

    Raises:
        RequestError: it does not.
    """
    chosen = loaded.refinement(DraftOptions(refiner=refiner)) if hasattr(loaded, "refinement") else None
    if chosen is None:
        raise RequestError(f"{model} refines no drafts here; choose crysllmgen-mp, with a refiner.")
    return chosen


def _cell_text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _keep_table(
    card: ModelCard, rows: list[dict[str, Any]], best: dict[str, Any] | None, settings: dict[str, Any]
) -> None:
    """Write the table onto the card; the best row of drafts becomes the default of the model."""
    from crystal_core.cards import read_card, write_card

    if card.folder is None:
        return
    own = read_card(card.folder)  # as it is in the file, without what its parts tell
    names = own.network.get("refiners", {})
    short = next((key for key, name in names.items() if name == settings["refiner"]), settings["refiner"])
    used = {key: settings[key] for key in ("sampler", "steps") if settings[key] not in (None, "fast")}
    words = "".join(f" --{name} {value}" for name, value in used.items())
    times = sorted({row["start_time"] for row in rows if row["start_time"] is not None})
    starts = list(dict.fromkeys(row["start"] for row in rows if row["start_time"] is not None))
    table = {
        name: ["" if row[name] is None else row[name] for row in rows]
        for name in (*COLUMNS[:2], "match_rate", "rmse", "structure_valid", "network_calls", ENERGY)
        if name in rows[0]
    } | {
        "protocol": f"{rows[0]['n']} rows of {settings['data']} ({settings['split']}, fixed random subset), "
        + (
            "one draft each for the formula"
            if settings["source"] == "drafts"
            else "the known crystals, rounded as text"
        )
        + f", seed {settings['seed']}",
        "command": f"crystal-core evaluate refinement --data {settings['data']} --model {card.name} --split "
        f"{settings['split']} --n {settings['limit']} --start {','.join(starts)} --start-time "
        f"{','.join(f'{t:g}' for t in times)} --source {settings['source']} --refiner "
        f"{short}{words}{' --energies' if ENERGY in rows[0] else ''} --seed {settings['seed']}",
    }
    sampling: dict[str, Any] = {f"refinement_of_{settings['source']}_{short}": table}
    if best is not None and settings["source"] == "drafts":
        chosen = {"start": best["start"], "start_time": best["start_time"]} | used
        sampling["refine_draft"] = {**own.sampling.get("refine_draft", {}), short: chosen}
    write_card(card.folder, {"sampling": sampling})
