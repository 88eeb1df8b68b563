"""``crystal-core fuzz``: mutated and hostile structure files through the same reader as uploads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystal_core.cli import options
from crystal_core.cli._files import read_text
from crystal_core.cli._run import command, emit, progress
from crystal_core.errors import RequestError
from crystal_core.interruption import is_interrupted

if TYPE_CHECKING:
    from crystal_core.workflows.fuzz_files import FuzzReport


@command
def fuzz(
    n: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of files to try.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed mutates in the same way.")] = 0,
    corpus: Annotated[
        Path | None, typer.Option(help="Folder of files to mutate; default: built-in crystals.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Try mutated and hostile structure files on the reader of uploads."""
    from crystal_core.workflows.fuzz_files import FuzzReport, fuzz_files

    texts = None
    if corpus is not None:
        if not corpus.is_dir():
            raise RequestError(f"There is no folder {corpus.name}.")
        paths = [path for path in sorted(corpus.rglob("*")) if path.is_file()]
        texts = {path.relative_to(corpus).as_posix(): read_text(path) for path in paths}
        if not texts:
            raise RequestError(f"{corpus.name} holds no files.")
    report = FuzzReport()
    try:
        with progress(quiet=quiet) as show:
            fuzz_files(
                n,
                seed=seed,
                corpus=texts,
                on_progress=show,
                report=report,
            )
    finally:
        if report.tried:  # the tally so far is kept whatever ends the rest
            _show(report, n, json=json)
    if not report.is_clean:
        raise typer.Exit(1)


def _show(report: FuzzReport, n: int, *, json: bool) -> None:
    if json:
        emit(asdict(report) | ({"interrupted": True} if is_interrupted() else {}))
        return
    tried = f"{report.tried} files" if report.tried == n else f"{report.tried} of {n} files"
    typer.echo(
        f"{tried}: {report.read} read, {report.refused} refused, {report.crashed} crashed, "
        f"{report.hung} hung, {report.changed_silently} changed silently."
    )
    for example in report.examples[:5]:
        typer.echo(f"{example['name']}: {example['kind']}: {example['what']}")
