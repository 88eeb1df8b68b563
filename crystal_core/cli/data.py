"""``crystal-core data``: converts raw tables to tensor files and describes tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from crystal_core.cli import options
from crystal_core.cli._files import check_output
from crystal_core.cli._run import command, emit, progress, say
from crystal_core.errors import RequestError
from crystal_core.interruption import NOTHING_WRITTEN, saying
from crystal_core.paths import data_file, home_dir


@command
def prepare(
    inputs: Annotated[
        list[Path],
        typer.Option(
            "--input", help="Parquet of the data schema or CSV with CIFs; repeatable, later ones win."
        ),
    ],
    output: options.Output,
    without_matches_of_test: Annotated[
        bool,
        typer.Option(
            "--without-matches-of-test",
            help="Leave out training rows equal to a test row of the same formula and space group.",
        ),
    ] = False,
    workers: options.PreparingWorkers = 2,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Niggli-reduce and pack tables into one tensor file for training; list skipped rows with reasons."""
    from crystal_core.datasets.prepare import prepare as run
    from crystal_core.datasets.rows import words_on_rows

    files = [data_file(path) for path in inputs]
    check_output(output)
    with saying(NOTHING_WRITTEN), progress(quiet=quiet) as show:
        report = run(
            files,
            output,
            workers=workers,
            without_matches_of_test=without_matches_of_test,
            on_progress=lambda done, total: show(f"{done} of {total} rows reduced", done, total),
        )
    sources = ", ".join(path.name for path in files)
    for sentence in words_on_rows(sources, [], [(row["id"], row["note"]) for row in report.remarks]):
        say(sentence)
    if json:
        emit(asdict(report))
    else:
        typer.echo(f"{report.rows} rows {report.splits}, {len(report.skipped)} skipped")


@command
def prepare_properties(
    output: options.Output,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the raw tables; default: CRYSTAL_DATA.")
    ] = None,
    max_atoms: Annotated[int, typer.Option(min=1, help="Atoms of the largest cell that trains.")] = 40,
    workers: options.PreparingWorkers = 2,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Merge tables with property labels into one tensor file; benchmark test rows do not train."""
    from crystal_core.datasets.property_data import TABLES, label_counts
    from crystal_core.datasets.property_data import prepare_properties as run

    where = folder or data_file(Path(TABLES[0].file)).parent
    check_output(output)
    with saying(NOTHING_WRITTEN), progress(quiet=quiet) as show:
        report = run(
            where,
            output,
            workers=workers,
            max_atoms=max_atoms,
            on_progress=lambda done, total: show(f"{done} of {total} rows reduced", done, total),
        )
    labels = label_counts(output)
    if json:
        emit({"rows": report.rows, "splits": report.splits, "labels": labels, "skipped": report.skipped})
    else:
        typer.echo(f"{report.rows} rows {report.splits}, {len(report.skipped)} skipped, labels {labels}")


@command
def estimate_hull(
    source: Annotated[Path, typer.Option("--input", help="File of 'data prepare'.")],
    output: options.Output,
    workers: options.PreparingWorkers = 2,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Give training rows without a label an energy above the hull by CHGNet, in a column of its own."""
    from crystal_core.workflows.estimate_hull import estimate_hull as run

    check_output(output)
    kept = "Interrupted; the finished energies are kept, and the same command goes on with them."
    with saying(kept), progress(quiet=quiet) as show:
        report = run(
            source,
            output,
            workers=workers,
            on_progress=lambda done, total: show(f"{done} of {total} energies", done, total),
        )
    if json:
        emit(asdict(report))
    else:
        typer.echo(
            f"{report.labelled} training rows with a label, {report.estimated} estimated "
            f"({report.estimated_within} at most 0.1 eV/atom), {report.without} without"
        )


@command
def describe(
    path: Annotated[
        Path, typer.Argument(callback=data_file, help="Parquet or CSV; also by name from CRYSTAL_DATA.")
    ],
    json: options.Json = False,
) -> None:
    """Rows, splits, atom counts and labels of a raw table."""
    from crystal_core.datasets.cif_rows import NOTES
    from crystal_core.datasets.rows import read_table, words_on_rows

    table, bad = read_table(path)
    if not len(table):
        raise RequestError(
            f"{path.name} holds no crystal" + (f"; {bad[0][0]}: {bad[0][1].rstrip('.')}" if bad else "") + "."
        )
    noted = [
        (str(name), " ".join(notes))
        for name, notes in zip(table["material_id"], table.get(NOTES, [()] * len(table)), strict=True)
        if isinstance(notes, tuple) and notes
    ]
    splits = (
        Counter(table["split"].fillna("none").astype(str))
        if "split" in table.columns
        else {"none": len(table)}
    )
    labels = {c: int(table[c].notna().sum()) for c in table.columns if table[c].dtype.kind == "f"}
    counts = table["n_atoms"].describe()
    report = {
        "rows": len(table),
        "splits": dict(splits),
        "n_atoms": {
            "min": int(counts["min"]),
            "mean": round(float(counts["mean"]), 2),
            "max": int(counts["max"]),
        },
        "labels": labels,
        "skipped": [{"id": name, "reason": reason} for name, reason in bad],
        "remarks": [{"id": name, "note": note} for name, note in noted],
    }
    for sentence in words_on_rows(path.name, bad, noted):
        say(sentence)
    if json:
        emit(report)
    else:
        typer.echo(
            f"{report['rows']} rows, splits {report['splits']}, atoms {report['n_atoms']}, "
            f"labels {labels}, {len(bad)} skipped"
        )


@command
def download(
    name: Annotated[str, typer.Argument(help="mp_20, perov_5, carbon_24 or mpts_52.")],
    output: Annotated[Path | None, typer.Option(help="Folder for the files; default: the app's own.")] = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Fetch a public data set by name; the first download records a checksum, later ones verify it."""
    from crystal_core.datasets.download import count_rows
    from crystal_core.datasets.download import download as run

    folder = output or home_dir() / "datasets"
    kept = f"Interrupted; whole files stay in {folder / name}, and the same command fetches the others."
    with saying(kept), progress(quiet=quiet) as show:
        files = run(
            name,
            folder,
            on_progress=lambda file, size, of: show(f"{file} {size // 10**6} MB", size, of or size),
        )
    splits = {f.path.stem: count_rows(f.path) for f in files}
    if json:
        emit(
            {
                "rows": sum(splits.values()),
                "splits": splits,
                "skipped": [],
                "files": [{"name": f.path.name, "sha256": f.sha256, "verified": f.verified} for f in files],
                "folder": str(folder / name),
            }
        )
    else:
        for f in files:
            state = "verified" if f.verified else "recorded, first download"
            typer.echo(f"{f.path}  SHA-256 {f.sha256[:12]}… ({state})")
