"""``crystal-core predict-structure``: formulas in, ranked candidate cells out."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from crystal_core.chemistry.formula import computed_formula
from crystal_core.cli import options
from crystal_core.cli._energies import above_hull_words
from crystal_core.cli._files import make_output_folder, read_crystal, read_text
from crystal_core.cli._lists import whole_numbers
from crystal_core.cli._queue import submitted
from crystal_core.cli._run import command, emit, progress, refiner_step, say, sentence_of
from crystal_core.conditions import DraftStart
from crystal_core.errors import CrystalCoreError, RequestError
from crystal_core.records import FORMAT, RunResult, Trajectory, published_above_hull
from crystal_core.reference.known_words import known_word, lengths_words
from crystal_core.requests import StructurePredictionRequest, seed_or_drawn

if TYPE_CHECKING:
    from pymatgen.core import Structure

CHECKPOINT_MISSING = 3  # exit code for something missing on this machine, for any formula


@command
def predict_structure(
    formulas: Annotated[list[str], typer.Argument(help="One or more formulas, e.g. TiO2 SrTiO3.")],
    model: options.Model = "kldm-csp-mp",
    z: Annotated[str | None, typer.Option(help="Formula units per cell, e.g. 1,2,4.")] = None,
    cell: Annotated[bool, typer.Option("--cell", help="The formula is the exact cell content.")] = False,
    n: Annotated[int, typer.Option(help="Samples per Z.")] = 10,
    sampler: options.Sampler = "fast",
    steps: options.Steps = None,
    tuning: options.Tuning = "card",
    tau: options.DraftTau = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    back_end: options.BackEnd = None,
    noise_scale: options.NoiseScale = None,
    remasking: options.Remasking = None,
    start: Annotated[
        str,
        typer.Option(
            help="noise, prototype, both, draft (of a language model, refined by --model) or all; for a "
            "model that writes drafts also how its refiner begins: inject, renoise or none."
        ),
    ] = "both",
    refiner: options.Refiner = None,
    rank: Annotated[
        str,
        typer.Option(
            help="consensus, energy (of the relaxed cells with --relax), "
            "pattern (likeness to --pattern), or evidence."
        ),
    ] = "consensus",
    effort: Annotated[
        str | None,
        typer.Option(
            help="quick, normal or thorough: decides on start, samples, "
            "relaxing and rank instead of those options."
        ),
    ] = None,
    relax: Annotated[
        bool,
        typer.Option(
            "--relax",
            help="Relax the most promising candidates with CHGNet; the sampled cells are stored too.",
        ),
    ] = False,
    relax_seconds: Annotated[int, typer.Option(help="Time limit of one relaxation.")] = 120,
    pattern: Annotated[
        Path | None, typer.Option(help="Measured powder pattern, two columns: 2theta in degrees, intensity.")
    ] = None,
    wavelength: Annotated[
        str | None,
        typer.Option(
            help="Wavelength of --pattern: CuKa, MoKa, CoKa, FeKa, AgKa, or a number in Å; CuKa when absent."
        ),
    ] = None,
    guide: Annotated[
        bool, typer.Option("--guide", help="Experimental: let --pattern guide sampling, too.")
    ] = False,
    reference: Annotated[
        Path | None, typer.Option(help="Known structure to match every candidate with.")
    ] = None,
    out: options.Out = None,
    trajectory: Annotated[
        bool,
        typer.Option("--trajectory", help="Also write the path of the first sample of each part into --out."),
    ] = False,
    queue: options.Queue = False,
    dtype: options.Dtype = "float32",
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Predict the structure of a formula."""
    from crystal_core.device import pick_device
    from crystal_core.files.records import write_run
    from crystal_core.registry.store import find_card
    from crystal_core.workflows.predict_structure import compare_with_reference, run

    units = whole_numbers("--z", z) if z else None
    drafts = find_card(model).writes_drafts
    begins = drafts and start in get_args(DraftStart)
    common: dict[str, Any] = {
        "z": units,
        "exact_cell": cell,
        "n_samples": n,
        "model": model,
        "sampler": sampler,
        "steps": steps,
        "tuning": tuning,
        "tau": None if drafts else tau,
        "refine_from": refiner_step(tau) if drafts else None,
        "refiner": refiner,
        "start_draft": start if begins else None,
        "temperature": temperature,
        "top_p": top_p,
        "back_end": back_end,
        "noise_scale": noise_scale,
        "remasking": remasking,
        "start": "both" if begins else start,
        "rank": rank,
        "pattern": _read_pattern(pattern, wavelength),
        "guide": guide,
        "relax": relax,
        "relax_seconds": relax_seconds,
        "seed": seed_or_drawn(seed),
        "dtype": dtype,
        "device": device,
        "threads": threads,
        "keep_trajectory": trajectory,
        "effort": effort,
    }
    # an error of all formulas ends the command; an error of one formula is reported with it
    StructurePredictionRequest(formula="H", **common)
    pick_device(device)
    make_output_folder(out, trajectory=trajectory)
    known = read_crystal(reference) if reference else None
    if known is not None:
        _check_reference(known, formulas)
    work = partial(submitted, "predict-structure") if queue else run
    total: dict[str, Any] = {
        "format": FORMAT,
        "results": [],
        "ranking": [],
        "n_failed": 0,
        "notes": [] if known is None else list(known.properties["notes"]),
        "settings": {},
        "seconds": 0.0,
        "network_calls": 0,
    }
    paths: list[Trajectory] = []

    def merge(result: RunResult | None) -> None:
        if result and known is not None:
            compare_with_reference(
                [record for item in result["results"] for record in item["candidates"]], known
            )
        _merge(total, result)
        for note in result.get("notes", []) if result else []:
            say(note)

    def finish() -> None:
        if len(formulas) > 1:
            total["settings"]["formula"] = list(formulas)
        else:
            total["ranking"] = total["ranking"][0] if total["ranking"] else []
        _finish(total, out, paths, json, write_run)

    for formula in formulas:
        result: RunResult | None = None
        try:
            with progress(quiet=quiet) as show:
                for update in work(StructurePredictionRequest(formula=formula, **common)):
                    result = update.result or result
                    paths += [update.trajectory] if update.trajectory else []
                    show(f"{formula}: {update.stage}", update.step, update.n_steps)
            if result is not None and not result["results"]:
                raise RequestError(_no_candidate(formula, result))
        except KeyboardInterrupt:
            merge(result)
            total["interrupted"] = True
            finish()
            raise
        except Exception as error:
            merge(result)  # its finished parts
            missing = isinstance(error, CrystalCoreError) and error.exit_code == CHECKPOINT_MISSING
            if len(formulas) == 1 or missing or os.environ.get("CRYSTAL_DEBUG"):
                if total["results"]:
                    finish()
                raise
            logging.getLogger(__name__).debug("%s failed", formula, exc_info=True)
            if result is None:
                total["ranking"].append([])
            total["results"].append({"formula": formula, "error": sentence_of(error)})
            continue
        merge(result)
    finish()


def _check_reference(known: Structure, formulas: Sequence[str]) -> None:
    """Before the work, because no candidate could match.

    Raises:
        RequestError: the reference has none of the formulas.
    """
    from pymatgen.core import Composition

    try:
        compositions = {Composition(computed_formula(text)).reduced_formula for text in formulas}
    except ValueError:  # what is no formula is told with the others
        return
    own = known.composition.reduced_formula
    if own not in compositions:
        raise RequestError(
            f"The reference is {own}, and no formula is; give the crystal of a formula, or leave out "
            "--reference."
        )


def _no_candidate(formula: str, result: RunResult) -> str:
    if "prototype" in (result["settings"]["start"], result["settings"]["model"]):
        return (
            f"No known arrangement makes a cell of {formula}: try another Z, or a model with --start noise."
        )
    return (
        f"No candidate for {formula} could be made: none of its {result['n_failed']} samples is a cell. "
        "Try more samples, another Z or another model."
    )


def _read_pattern(path: Path | None, wavelength: str | None) -> dict[str, Any] | None:
    from crystal_core.evaluation.powder_pattern import read_pattern, wavelength_of
    from crystal_core.structures import printable

    if path is None:
        if wavelength is not None:
            raise RequestError(
                "--wavelength is that of a measured pattern; add --pattern FILE or leave it out."
            )
        return None
    return read_pattern(
        read_text(path), printable(path.name), wavelength_of("CuKa" if wavelength is None else wavelength)
    ).to_json()


def _merge(total: dict[str, Any], result: RunResult | None) -> None:
    from crystal_core.files.records import unique_name

    if result is None:
        return
    taken = {record["id"] for item in total["results"] for record in item.get("candidates", [])}
    names: dict[str, str] = {}
    for record in (record for item in result["results"] for record in item["candidates"]):
        # two spellings of a formula give the same ids
        names[record["id"]] = record["id"] = unique_name(record["id"], taken)
        taken.add(record["id"])
    total["results"] += result["results"]
    total["ranking"].append([names[name] for name in result.get("ranking", [])])
    total["n_failed"] += result["n_failed"]
    total["notes"] += result.get("notes", [])
    total["settings"] = result["settings"]
    total["seconds"] = round(total["seconds"] + result["seconds"], 2)
    total["network_calls"] += result["network_calls"]
    if "rejected" in result:
        total["rejected"] = dict(Counter(total.get("rejected", {})) + Counter(result["rejected"]))


def _finish(
    total: dict[str, Any], out: Path | None, paths: list[Trajectory], json: bool, write_run: Any
) -> None:
    from crystal_core.chemistry.formula import typed_and_computed

    records = [record for item in total["results"] for record in item.get("candidates", [])]
    if out:
        write_run(records, out, total, paths)
    if json:
        emit(total)
        return
    lists = total["ranking"] if isinstance(total["settings"].get("formula"), list) else [total["ranking"]]
    by_id = {
        record["id"]: (item, record) for item in total["results"] for record in item.get("candidates", [])
    }
    for names in lists:
        for place, name in enumerate(names, start=1):
            typer.echo(_line(place, *by_id[name]))
        if names:
            item, record = by_id[names[0]]
            name = typed_and_computed(item["formula"], exact=bool(total["settings"].get("exact_cell")))
            typer.echo(f"{name}: ranked by {record['score']['name']}, all Z in one list")
    for item in total["results"]:
        if "error" in item:
            typer.echo(f"{item['formula']}: {item['error']}")


def _line(place: int, item: dict[str, Any], record: dict[str, Any]) -> str:
    """One candidate of the table."""
    group = record["space_group"]["symbol"] if record["space_group"] else "–"
    match = record.get("reference")
    known = (
        ""
        if match is None
        else f"  matches the reference (rmsd {match['rmsd']})"
        if match["matches"]
        else "  no match"
    )
    note = (
        "" if record["validity"]["plausible"] else "  implausible: " + " ".join(record["validity"]["reasons"])
    )
    return (
        f"{item['formula']} #{place:<3} Z={item['z']:<2} {group:<10} {record['density']:6.2f} g/cm3  "
        f"{_energy(record)}{_likeness(record)}alike {record['n_alike']:<3} "
        f"{record['origin']}{_rest(record)}{_known(record)}{known}{note}"
    )


def _known(record: dict[str, Any]) -> str:
    """The known crystal that it is, with its published energy; nothing for a new one."""
    novelty = record.get("novelty") or {}
    if not novelty.get("known"):
        return ""
    above = published_above_hull(record)
    energy = "" if above is None else f" (published above the hull {above:.3f} eV/atom)"
    lengths = f", {words}" if (words := lengths_words(novelty)) else ""
    return f"  {known_word(novelty, 'known as')} {novelty['nearest_id']}{energy}{lengths}"


def _rest(record: dict[str, Any]) -> str:
    """Whether the relaxation converged; empty without relaxation."""
    relaxation = record.get("relaxation")
    if relaxation is None or relaxation["converged"]:
        return ""
    return "  not relaxed" if "error" in relaxation else "  not converged"


def _likeness(record: dict[str, Any]) -> str:
    """Similarity to the measured pattern; empty without one."""
    if "pattern" not in record:
        return ""
    likeness = record["pattern"]
    return "no pattern  " if likeness["similarity"] is None else f"pattern {likeness['similarity']:.3f}  "


def _energy(record: dict[str, Any]) -> str:
    """Energy, and above the hull with its error, or why there is none; nothing where none was requested."""
    if "energies" not in record:
        return f"no energy: {record['relaxation']['error']}  " if "relaxation" in record else ""
    energies = record["energies"]
    hull = (
        f" (above the hull {above_hull_words(energies)}, ML estimate)"
        if energies["e_above_hull_ev"] is not None
        else ""
    )
    return f"{energies['energy_per_atom_ev']:.3f} eV/atom{hull}  "
