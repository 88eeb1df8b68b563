"""``crystal-core infill``: which elements fit at a site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystal_core.cli import options
from crystal_core.cli._files import read_crystal
from crystal_core.cli._run import command, emit, say, set_threads

MOST_ROWS = 10  # elements that people see; --json has all


@command
def infill(
    file: Annotated[Path, typer.Argument(help="Structure file.")],
    site: Annotated[
        list[int], typer.Option(help="Atom whose element is hidden, counted from 0; repeat for more.")
    ],
    model: Annotated[str, typer.Option(help="A language model.")] = "crysllmgen-tiny",
    all_alike: Annotated[
        bool, typer.Option("--all-alike", help="Hide every atom of the element at the site.")
    ] = False,
    exchangeable: Annotated[
        bool,
        typer.Option(
            "--exchangeable", help="Only elements with a similar ionic radius in a common oxidation state."
        ),
    ] = False,
    back_end: options.BackEnd = None,
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """List the elements that fit at a site of a crystal, with probabilities."""
    from crystal_core.workflows.infill import infill as fitting

    structure = read_crystal(file)
    set_threads(threads)
    answer = fitting(
        structure,
        site,
        model=model,
        all_alike=all_alike,
        exchangeable=exchangeable,
        seed=seed,
        device=device,
        back_end=back_end,
    )
    for note in answer["notes"]:
        if note not in structure.properties["notes"]:  # these were told when it was read
            say(note)
    if json:
        emit(answer)
        return
    typer.echo(
        f"{answer['present']} at site {', '.join(map(str, answer['sites']))}; the model would put there:"
    )
    for row in answer["rows"][:MOST_ROWS]:
        typer.echo(f"{row['element']:<3} {row['probability']:.3f}")
