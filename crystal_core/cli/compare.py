"""``crystal-core compare``: two to four columns on the same formulas and seeds."""

from __future__ import annotations

import json as json_module
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._files import check_output, make_output_folder, read_crystals, read_text
from crystal_core.cli._lists import words
from crystal_core.cli._queue import submitted, work_through
from crystal_core.cli._run import command, emit, say
from crystal_core.earlier_results import upgrade_result
from crystal_core.errors import RequestError
from crystal_core.paths import data_file
from crystal_core.records import RunResult, Trajectory, crystals_of
from crystal_core.requests import seed_or_drawn

if TYPE_CHECKING:
    from crystal_core.workflows.references import Reference

SUFFIXES = (".cif", ".vasp", ".poscar", ".xyz", ".extxyz", ".pdb", ".json", ".jsonl")


@command
def compare(
    column: Annotated[
        list[str],
        typer.Option(
            help="model=NAME[,sampler=NAME][,steps=N][,start=noise|prototype][,tau=X][,name=TEXT], run=ID or "
            "the folder of --out, or folder=DIR or one file; give two to four."
        ),
    ],
    formula: Annotated[list[str] | None, typer.Option(help="Formula to predict; may be repeated.")] = None,
    z: Annotated[
        int | None, typer.Option(help="Formula units per cell; the most frequent in training when absent.")
    ] = None,
    cell: Annotated[bool, typer.Option("--cell", help="Each formula is the exact cell content.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Known crystals to find, in place of formulas: a Parquet or CSV file.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of --data.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Size of a fixed random subset of --data.")] = None,
    n: Annotated[int, typer.Option(help="Samples of each formula or known crystal.")] = 4,
    reference: Annotated[Path | None, typer.Option(help="Known crystal of a single formula.")] = None,
    energies: Annotated[
        bool, typer.Option("--energies", help="Single-point energies of the plausible crystals with CHGNet.")
    ] = False,
    properties: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated properties that CrysLDNet predicts, or 'none'; the usual ones when absent."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write an HTML page.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write metrics and differences as a table.")] = None,
    out: options.Out = None,
    queue: options.Queue = False,
    seed: options.Seed = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Compare models, samplers, runs or files: metrics with 95 % intervals and paired differences."""
    from crystal_core.device import pick_device
    from crystal_core.workflows.compare.given import target_json
    from crystal_core.workflows.compare.request import ComparisonRequest
    from crystal_core.workflows.compare.run import run
    from crystal_core.workflows.references import read_references

    for file, option in ((html, "--html"), (csv, "--csv")):
        if file is not None:
            check_output(file, option)
    known = [] if data is None else read_references(data_file(data), split, limit, tell=say)
    request = ComparisonRequest(
        columns=tuple(_column(text, known) for text in column),
        formulas=tuple(formula or ()),
        z=z,
        exact_cell=cell,
        targets=tuple(map(target_json, known)),
        reference=_reference(reference),
        n=n,
        seed=seed_or_drawn(seed),
        energies=energies,
        properties=_names(properties),
        device=device,
        threads=threads,
        keep_trajectory=out is not None,
    )
    pick_device(device)
    make_output_folder(out, trajectory=False)
    updates = submitted("compare", request) if queue else run(request)
    work_through(updates, partial(_finish, html=html, csv=csv, out=out, json=json), quiet=quiet)


def _column(text: str, known: list[Reference]) -> dict[str, Any]:
    from crystal_core.registry.store import find_card
    from crystal_core.workflows.compare.request import model_column, read_column

    words = read_column(text)
    name = words.pop("name", "")
    for source in ("run", "folder"):
        if source in words:
            if set(words) != {source}:
                raise RequestError(f"A column with a {source} takes nothing else but a name, not '{text}'.")
            return (
                _of_run(words["run"], name)
                if source == "run"
                else _of_folder(Path(words["folder"]), name, known)
            )
    fields = model_column(words | ({"name": name} if name else {}))
    find_card(fields["model"])
    return fields


def _of_run(job_id: str, name: str) -> dict[str, Any]:
    from crystal_core.files.records import RUN_JSON
    from crystal_core.jobs.queue import JobQueue
    from crystal_core.structures import printable
    from crystal_core.workflows.compare.given import column_of_run

    if (Path(job_id) / RUN_JSON).is_file():
        return _of_run_folder(Path(job_id), name)
    job = JobQueue().get(job_id)
    if job is None:
        raise RequestError(
            f"There is no run {printable(job_id)[:80]} on this machine; 'History' in the app lists them. "
            f"A folder of --out is one with its {RUN_JSON}; give other files as folder=DIR."
        )
    return column_of_run(job.kind, job.result, name or job.request.get("formula") or job.id[:8])


def _of_run_folder(folder: Path, name: str) -> dict[str, Any]:
    """The column of a run from the folder that --out wrote, with the settings that its JSON holds."""
    from crystal_core.files.records import RUN_JSON
    from crystal_core.structures import printable
    from crystal_core.workflows.compare.given import KINDS, column_of_run

    folder_name = printable(folder.name)
    try:
        written = json_module.loads(read_text(folder / RUN_JSON))
        relaxed = [row["crystal"] for row in written.get("rows", ()) if "crystal" in row]  # of relax
        result = upgrade_result({"crystals": relaxed, **written})
        return column_of_run(KINDS[0], result, name or folder_name)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RequestError(
            f"{folder_name}/{RUN_JSON} is no result of a run ({type(error).__name__}); "
            "give the files of the folder as folder=DIR."
        ) from error


def _of_folder(folder: Path, name: str, known: list[Reference]) -> dict[str, Any]:
    from crystal_core.files.records import copies_in_runs, given_json
    from crystal_core.structures import printable
    from crystal_core.workflows.compare.given import column_of_candidates, column_of_files
    from crystal_core.workflows.references import read_candidates

    folder_name = printable(folder.name)
    if not folder.exists():
        raise RequestError(f"There is no folder {folder_name}, and no file.")
    if known:
        return column_of_candidates(read_candidates(folder, known), name or folder_name)
    crystals, notes = [], list[str]()
    paths = [folder]
    if folder.is_dir():
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    copies = copies_in_runs(path.name for path in paths)
    for path in (path for path in paths if path.name not in copies):
        for source, structure in read_crystals(path):
            if isinstance(structure, str):
                notes.append(structure)
            else:
                crystals.append(structure)
                notes += given_json(structure, source).get("notes", ())
    if not crystals:
        for note in notes:
            say(note)
        raise RequestError(
            f"{folder_name} holds no readable crystal; it needs CIF, POSCAR, extended XYZ, PDB or JSON files."
        )
    return column_of_files(crystals, name or folder_name, notes)


def _reference(path: Path | None) -> Any:
    from crystal_core.files.parse import parse_text
    from crystal_core.files.records import given_json
    from crystal_core.structures import printable

    if path is None:
        return None
    return dict(given_json(parse_text(read_text(path), path.name), printable(path.name)))


def _names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = words(text)
    return () if names == ("none",) else names


def _finish(
    result: RunResult | None,
    paths: list[Trajectory],
    html: Path | None,
    csv: Path | None,
    out: Path | None,
    json: bool,
) -> None:
    from crystal_core.files.records import write_run
    from crystal_core.whole_files import write_whole
    from crystal_core.workflows.compare.export import comparison_csv, comparison_html

    if result is None:
        return
    if html is not None:
        write_whole(html, comparison_html(result))
    if csv is not None:
        write_whole(csv, comparison_csv(result))
    if out is not None:
        write_run(crystals_of(result), out, result, paths)
    for note in result["notes"]:
        say(note)
    if json:
        emit(result)
        return
    _print(result)


def _print(result: RunResult) -> None:
    from crystal_core.workflows.compare.export import interval_text, number_text

    for column in result["columns"]:
        typer.echo(f"{column['letter']}  {column['name']}  ({column['n']} samples)")
    for name, values in result["differing_settings"].items():
        typer.echo(
            f"   {name}: " + " | ".join("–" if v is None else json_module.dumps(v).strip('"') for v in values)
        )
    width = max((len(metric["title"]) for metric in result["metrics"]), default=0)
    for metric in result["metrics"]:
        cells = []
        for column in result["columns"]:
            measured = column["metrics"].get(metric["name"])
            if measured is None:
                cells.append("–")
                continue
            interval = interval_text(measured["ci95"], metric["unit"])
            mark = "*" if measured["better"] else ""
            cells.append(
                number_text(measured["value"], metric["unit"], metric["kind"])
                + mark
                + (f" ({interval})" if interval else "")
            )
        typer.echo(f"{metric['title']:<{width}}  " + "  ".join(f"{cell:<28}" for cell in cells).rstrip())
    say(
        "In brackets 95 % intervals; * best, with an interval that overlaps no other. "
        "Paired differences: --json or --csv."
    )
