"""``crystal-core predict-property``: structures in, predicted properties out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._files import check_output, read_files
from crystal_core.cli._lists import words
from crystal_core.cli._queue import submitted
from crystal_core.cli._run import command, emit, error_line, progress, say
from crystal_core.errors import RequestError
from crystal_core.interruption import is_interrupted
from crystal_core.properties import shown_unit, shown_value
from crystal_core.requests import PropertyPredictionRequest

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import PropertyColumn, PropertyRow, RunResult


@command
def predict_property(
    files: Annotated[list[Path], typer.Argument(help="CIF, POSCAR, extended XYZ, PDB or JSON files.")],
    properties: Annotated[
        str | None, typer.Option(help="Comma-separated names, e.g. band_gap_ev; all when absent.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the rows into this table.")] = None,
    model: Annotated[str, typer.Option(help="A property predictor.")] = "crysldnet",
    queue: options.Queue = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Predict properties with units, 90 % intervals, training range and the closest known crystal."""
    from crystal_core.device import pick_device
    from crystal_core.registry.store import find_card
    from crystal_core.workflows.predict_properties import run

    if csv is not None:
        check_output(csv, "--csv")
    items = [_item(source, crystal) for source, crystal in read_files(files)]
    if len(items) == 1 and "error" in items[0]:
        raise RequestError(items[0]["error"])
    request = PropertyPredictionRequest(
        crystals=tuple(items), properties=_names(properties), model=model, device=device, threads=threads
    )
    find_card(model)
    pick_device(device)
    work = partial(submitted, "predict-property") if queue else run
    result: RunResult | None = None
    try:
        with progress(quiet=quiet) as show:
            for update in work(request):
                result = update.result or result
                show("predicting properties", update.step, update.n_steps)
    except (KeyboardInterrupt, Exception):
        if result is not None and is_interrupted():
            result["interrupted"] = True
        _finish(result, csv, json)  # finished rows are kept whatever ends the others
        raise
    assert result is not None
    (only, *others) = result["rows"]
    if not others and "error" in only:
        raise RequestError(only["error"])
    _finish(result, csv, json)


def _item(source: str, crystal: Structure | str) -> dict[str, Any]:
    from crystal_core.files.records import cell_json

    if isinstance(crystal, str):
        return {"source": source, "error": crystal}
    return {"source": source, **cell_json(crystal), "notes": list(crystal.properties.get("notes", ()))}


def _names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = words(text)
    if not names:
        raise RequestError("--properties names none; write names with commas, or leave the option out.")
    return names


def _finish(result: RunResult | None, csv: Path | None, json: bool) -> None:
    from crystal_core.files.property_table import property_csv
    from crystal_core.whole_files import write_whole

    if result is None:
        return
    if csv is not None:
        write_whole(csv, property_csv(result["rows"], result["properties"]))
    if json:
        emit(result)
        return
    for row in result["rows"]:
        typer.echo("\n".join(lines_of(row, result["properties"])))
    say("ML estimates, with 90 % intervals where the model gives one.")


def lines_of(row: PropertyRow, properties: list[PropertyColumn]) -> list[str]:
    """The lines of one crystal: what it is, notes on its file, and a line for each property."""
    if "error" in row:
        return [error_line(row["source"], row["error"])]
    near = row["nearest"][0] if row["nearest"] else None
    known = (
        f", closest known {near['formula']} ({near['id']}, distance {near['distance']:.2f})" if near else ""
    )
    where = "at the edge of" if row["domain"] == "edge" else row["domain"]
    first = f"{row['source']}: {row['formula']}, {row['n_atoms']} atoms, {where} the training range{known}"
    notes = [f"  Note: {note}" for note in row.get("notes", ())]
    return [
        first,
        *notes,
        *(_line(row, column) for column in properties if column["name"] in row["predictions"]),
    ]


def _line(row: PropertyRow, column: PropertyColumn) -> str:
    from crystal_core.files.property_table import known_example

    prediction, digits = row["predictions"][column["name"]], column["decimals"]

    def words(value: float) -> str:
        return f"{shown_value(value, column):.{digits}f}"

    text = f"  {column['title']:<30} {words(prediction['value']):>12} {shown_unit(column):<11}"
    if "low" in prediction:
        text += f" {words(prediction['low'])} to {words(prediction['high'])}"
    if near := known_example(row, column["name"]):
        text += f"  known: {words(near['values'][column['name']])} ({near['formula']}, {near['id']})"
    return text.rstrip()
