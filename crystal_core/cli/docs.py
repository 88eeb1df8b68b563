"""``crystal-core docs``: the tables and figures of README.md and docs/."""

from __future__ import annotations

from typing import Annotated

import typer

from crystal_core.cli import options
from crystal_core.cli._run import command, emit


@command
def tables(
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit with 1 where a document differs from the cards."),
    ] = False,
    json: options.Json = False,
) -> None:
    """Write every table and figure of README.md and docs/ from the cards and the stored results."""
    from crystal_core.workflows.documents.tables import fill_documents

    stale = fill_documents(write=not check)
    if json:
        emit({"documents": [{"file": name, "stale": old} for name, old in stale.items()]})
    else:
        words = "out of date" if check else "written"
        for name, old in stale.items():
            typer.echo(f"{name:<24} {words if old else 'up to date'}")
    if check and any(stale.values()):
        raise typer.Exit(1)
