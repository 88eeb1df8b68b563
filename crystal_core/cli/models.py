"""``crystal-core models``: lists shipped and installed models from their cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crystal_core.checks import check_choice
from crystal_core.cli import options
from crystal_core.cli._run import command, emit
from crystal_core.errors import CheckpointMismatch, CheckpointMissing


def _row(card: Any) -> dict[str, Any]:
    return {
        "name": card.name,
        "kind": card.kind,
        "task": card.task,
        "method": card.method,
        "parameters": card.parameters,
        "size_mb": round(card.size_mb, 2),
        "trained_on": card.trained_on,
        "metrics": dict(card.metrics),
        "licence": card.licence,
        "limits": card.limits,
        "sha256_ok": card.problem() is None,
    }


@command
def list_models(
    kind: Annotated[str | None, typer.Option(help="generator or predictor.")] = None,
    json: options.Json = False,
) -> None:
    """List the shipped and installed checkpoints."""
    from crystal_core.registry.store import list_cards

    if kind is not None:
        check_choice("kind", kind, ("generator", "predictor"))
    rows = [_row(card) for card in list_cards(kind)]
    if json:
        emit({"models": rows})
        return
    for row in rows:
        typer.echo(
            f"{row['name']:<22} {row['kind']:<10} {row['task']:<24} {row['parameters']:>11,} "
            f"{row['size_mb']:>7.1f} MB"
        )


@command
def show(
    name: Annotated[str, typer.Argument(help="A name of 'crystal-core models list'.")],
    json: options.Json = False,
) -> None:
    """Show one card in full."""
    from crystal_core.registry.store import find_card

    card = find_card(name)
    if json:
        emit({"models": [_row(card) | {"source": card.source, "training": dict(card.training)}]})
        return
    typer.echo((card.folder / "card.toml").read_text(encoding="utf-8") if card.folder else card.name)


@command
def import_model(
    method: Annotated[str, typer.Argument(help="Method of the checkpoint: kldm, crysldnet or diffcsp.")],
    file: Annotated[Path, typer.Argument(help="The official checkpoint.")],
    name: Annotated[str, typer.Option(help="Name of the new checkpoint.")],
    statistics: Annotated[
        Path | None, typer.Option(help="kldm: train_loc_scale.json of the same run.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Turn an official checkpoint into one of ours, in the user's own folder."""
    from crystal_core.registry.methods import IMPORTERS, find

    done = find(IMPORTERS, method, "import")(file, statistics, name)
    if json:
        emit(
            {
                "name": name,
                "task": done.task,
                "parameters": done.parameters,
                "unmatched": [*done.unused, *done.absent],
            }
        )
        return
    typer.echo(f"{name}: {done.task}, {done.parameters:,} parameters")
    for words, names in (("not used", done.unused), ("not in the file", done.absent)):
        if names:
            typer.echo(f"{words}: {', '.join(names)}")


@command
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Checkpoints; all when absent.")] = None,
    json: options.Json = False,
) -> None:
    """Compare the hash of every weight file with its card."""
    from crystal_core.cards import checkpoint_folders
    from crystal_core.registry.store import find_card

    rows: list[dict[str, Any]] = []
    installed = [folder.name for folder in checkpoint_folders()]
    for name in names or installed:
        try:
            problem = find_card(name).problem()
        except (CheckpointMismatch, CheckpointMissing) as error:
            if name not in installed:
                raise
            problem = str(error)  # a part of it is missing
        rows.append({"name": name, "ok": problem is None, "problem": problem})
    if json:
        emit({"models": rows})
    else:
        for row in rows:
            typer.echo(f"{row['name']:<22} {'ok' if row['ok'] else row['problem']}")
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)
