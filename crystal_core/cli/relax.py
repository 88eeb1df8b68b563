"""``crystal-core relax``: structures in, relaxed structures with energies out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._energies import above_hull_words
from crystal_core.cli._files import make_output_folder, read_files
from crystal_core.cli._run import command, emit, error_line, progress, sentence_of, set_threads
from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from crystal_core.records import Trajectory


@command
def relax(
    files: Annotated[list[Path], typer.Argument(help="CIF, POSCAR, extended XYZ, PDB or JSON files.")],
    potential: Annotated[str, typer.Option(help="chgnet.")] = "chgnet",
    fmax: Annotated[float, typer.Option(help="Done when no force is larger, eV/Å.")] = 0.05,
    steps: Annotated[
        int, typer.Option(help="Largest number of steps; 0 computes the energy of the unchanged cell.")
    ] = 250,
    seconds: Annotated[
        float, typer.Option(help="Time limit per structure, seconds; the cell reached by then is returned.")
    ] = 120.0,
    out: options.Out = None,
    trajectory: Annotated[
        bool, typer.Option("--trajectory", help="Also write the path of every relaxation into --out.")
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Relax with a machine-learning potential: energy, energy above hull, decomposition products."""
    from crystal_core.relax.potential import load_potential
    from crystal_core.relax.relaxation import check_limits
    from crystal_core.workflows.relax import relaxed_row

    make_output_folder(out, trajectory=trajectory)
    check_limits(fmax, steps, seconds)
    items = read_files(files)
    if len(items) == 1 and isinstance(items[0][1], str):
        raise RequestError(items[0][1])
    set_threads(threads)
    settings = {
        "potential": potential,
        "fmax": fmax,
        "steps": steps,
        "seconds": seconds,
        "device": device,
        "threads": threads,
    }
    loaded = load_potential(potential, device)
    total: dict[str, Any] = {"rows": [], "settings": settings | {"potential_label": loaded.label}}
    paths: list[Trajectory] = []
    try:
        with progress(quiet=quiet) as show:
            for k, (source, structure) in enumerate(items):
                if isinstance(structure, str):
                    total["rows"].append({"source": source, "error": structure})
                    continue

                def tell(moment: Any, k: int = k, source: str = source) -> None:
                    show(f"{source}: relaxing", k * max(1, steps) + moment.step, len(items) * max(1, steps))

                try:
                    row, frames = relaxed_row(
                        structure,
                        loaded,
                        id=_id(source, total["rows"]),
                        fmax=fmax,
                        steps=steps,
                        seconds=seconds,
                        settings=settings,
                        on_step=tell,
                    )
                except Exception as error:
                    if len(items) == 1 or os.environ.get("CRYSTAL_DEBUG"):
                        raise
                    row = {"error": sentence_of(error)}
                    frames = []
                notes = list(structure.properties.get("notes", []))
                total["rows"].append({"source": source} | row | {"notes": notes})
                if trajectory and frames:
                    paths.append({"label": f"Relaxation of {source}", "frames": frames})
    except KeyboardInterrupt:
        total["interrupted"] = True
        _finish(total, out, paths, json)
        raise
    _finish(total, out, paths, json)


def _id(source: str, rows: list[dict[str, Any]]) -> str:
    """A file name from the source's name, unlike those taken."""
    from crystal_core.files.records import unique_name

    stem = "".join(
        c if c.isascii() and c.isalnum() else "-" for c in source.rsplit(".", 1)[0] + source.partition("#")[2]
    )
    first = f"{stem.strip('-')[:80] or 'crystal'}-relaxed"
    taken = {row["crystal"]["id"] for row in rows if "crystal" in row}
    return unique_name(first, taken)


def _finish(total: dict[str, Any], out: Path | None, paths: list[Trajectory], json: bool) -> None:
    from crystal_core.files.records import write_run

    if out:
        write_run([row["crystal"] for row in total["rows"] if "crystal" in row], out, total, paths)
    if json:
        emit(total)
        return
    for row in total["rows"]:
        error = row.get("error")
        typer.echo(error_line(row["source"], error) if error else f"{row['source']}: {_sentence(row)}")
        for note in row["notes"] if "error" not in row else ():
            typer.echo(f"  Note: {note}")


def _sentence(row: dict[str, Any]) -> str:
    text = f"{row['crystal']['formula']}  {row['energy_per_atom_ev']:.3f} eV/atom"
    if row["e_above_hull_ev"] is None:
        text += f"  {row['note']}"
    else:
        products = " + ".join(f"{share:.3g} {name}" for name, share in row["decomposition"].items())
        text += f"  above the hull {above_hull_words(row)} (ML estimate; against {products} by atoms)"
    return f"{text}  moved {row['displacement_angstrom']:.3f} Å. {row['status']}"
