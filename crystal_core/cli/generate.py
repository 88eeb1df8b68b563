"""``crystal-core generate``: new crystals out of noise."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._files import make_output_folder, read_crystal
from crystal_core.cli._lists import whole_numbers, words
from crystal_core.cli._queue import submitted, work_through
from crystal_core.cli._run import command, emit, refiner_step, say
from crystal_core.errors import RequestError
from crystal_core.requests import CrystalGenerationRequest, seed_or_drawn

if TYPE_CHECKING:
    from crystal_core.records import GivenCell, RunResult, Trajectory

ALL_SITES = "all"
CONDITIONS = (
    *("space_group", "crystal_system", "formula"),
    *("band_gap", "formation_energy", "e_above_hull", "density"),
)
AS_GIVEN = (  # parameters that are fields of the request as they are
    *("model", "sampler", "steps", "tuning", "noise_scale", "remasking", "require_all", "guidance"),
    *("fix_elements", "fix_lattice", "temperature", "top_p", "charge_balance", "rewrites"),
    *("back_end", "refiner", "symmetrise"),
    *("dtype", "device", "threads"),
)


@command
def generate(
    model: options.Model = "kldm-dng-mp",
    n: Annotated[int | None, typer.Option(help="Number of crystals; 8 when absent.")] = None,
    sentence: Annotated[
        str | None,
        typer.Option(
            "--wish",
            help="A sentence: 'a stable oxide with a band gap near 2 eV, space group 225'. "
            "Other options override it.",
        ),
    ] = None,
    n_atoms: Annotated[
        str | None,
        typer.Option(
            "--n-atoms",
            "--atoms",
            help="Atoms per cell, e.g. 8 or 4-12; as often as in training when absent.",
        ),
    ] = None,
    elements: Annotated[str | None, typer.Option(help="Elements that may appear, e.g. Li,Fe,O.")] = None,
    exclude: Annotated[
        str | None, typer.Option("--exclude-elements", "--exclude", help="Elements that may not appear.")
    ] = None,
    contain: Annotated[
        str | None, typer.Option(help="Elements that every crystal holds, beside others, e.g. O.")
    ] = None,
    any_of: Annotated[
        list[str] | None,
        typer.Option(
            help="Every crystal holds at least one of these elements, e.g. F,Cl,Br,I; repeat for more lists."
        ),
    ] = None,
    require_all: Annotated[
        bool,
        typer.Option(
            "--require-all", help="Each crystal holds every one of --elements, not only some of them."
        ),
    ] = False,
    space_group: Annotated[
        str | None,
        typer.Option(
            help="Number or symbol, e.g. 225 or Fm-3m: part of the prompt of a language model; other models "
            "keep its operations while sampling (experimental)."
        ),
    ] = None,
    crystal_system: Annotated[
        str | None, typer.Option(help="Any space group of this crystal system, e.g. cubic.")
    ] = None,
    formula: Annotated[str | None, typer.Option(help="Formula of the crystals, e.g. SrTiO3.")] = None,
    band_gap: Annotated[
        float | None, typer.Option(help="Target in eV, for models whose prompt or guidance takes it.")
    ] = None,
    formation_energy: Annotated[
        float | None, typer.Option(help="Target in eV/atom, for models whose prompt or guidance takes it.")
    ] = None,
    e_above_hull: Annotated[
        float | None, typer.Option(help="Target in eV/atom, for models whose prompt or guidance takes it.")
    ] = None,
    density: Annotated[
        float | None, typer.Option(help="Guide the crystals towards this density, g/cm³.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="Strength of the guidance, 0 to 100: 1 bends gently, 5 firmly; 1 when absent."),
    ] = None,
    fix: Annotated[
        Path | None, typer.Option(help="Structure to complete; other options name the parts to keep.")
    ] = None,
    fix_sites: Annotated[
        str | None, typer.Option(help="Sites of --fix to keep, counted from 0, e.g. 0,1.")
    ] = None,
    fix_elements: Annotated[bool, typer.Option("--fix-elements", help="Keep all elements of --fix.")] = False,
    fix_lattice: Annotated[bool, typer.Option("--fix-lattice", help="Keep the cell of --fix.")] = False,
    start_from: Annotated[
        Path | None,
        typer.Option(
            help="Structure whose cell is refined, for models that draft and refine; --n variants of it."
        ),
    ] = None,
    redraft_sites: Annotated[
        str | None,
        typer.Option(help="Sites of --start-from that get other elements: counted from 0, e.g. 0,1, or all."),
    ] = None,
    sampler: options.Sampler = "fast",
    steps: options.Steps = None,
    tuning: options.Tuning = "card",
    tau: options.DraftTau = None,
    noise_scale: options.NoiseScale = None,
    remasking: options.Remasking = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    charge_balance: options.ChargeBalance = False,
    rewrites: options.Rewrites = None,
    back_end: options.BackEnd = None,
    refiner: options.Refiner = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="How the refiner begins: with the draft as it is (inject), "
            "with noise added (renoise), or from noise (none)."
        ),
    ] = None,
    symmetrise: Annotated[
        float | None,
        typer.Option(
            help="Make finished crystals exactly symmetric within this tolerance, up to 1 Å, e.g. 0.3."
        ),
    ] = None,
    out: options.Out = None,
    trajectory: Annotated[
        bool, typer.Option("--trajectory", help="Also write the paths of the first crystals into --out.")
    ] = False,
    queue: options.Queue = False,
    dtype: options.Dtype = "float32",
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Generate new crystals."""
    given = {**locals()}
    from crystal_core.device import pick_device
    from crystal_core.workflows.generate import notes_on_given, run

    make_output_folder(out, trajectory=trajectory)
    request = request_of(given)
    pick_device(device)
    updates = submitted("generate", request) if queue else run(request)
    work_through(updates, partial(_finish, out=out, json=json, told=notes_on_given(request)), quiet=quiet)


def request_of(given: Mapping[str, Any]) -> CrystalGenerationRequest:
    """The request that the options of the command make, by the names of its parameters.

    Prints the understood and the ignored words of a sentence, and what a structure file does not hold.

    Raises:
        RequestError: an option is wrong. CheckpointMissing: the model is not installed.
    """
    from crystal_core.registry.store import find_card

    fix, start_from = _structure(given["fix"]), _structure(given["start_from"])
    drafts = find_card(given["model"]).writes_drafts
    tau, redraft_sites = given["tau"], given["redraft_sites"]
    said = {
        "n": given["n"],
        "n_atoms": _range(given["n_atoms"]),
        "elements": _symbols(given["elements"], "--elements"),
        "exclude_elements": _symbols(given["exclude"], "--exclude-elements"),
        "contain": _symbols(given["contain"], "--contain"),
        "any_of": tuple(_symbols(text, "--any-of") for text in given["any_of"] or ()),
        **{name: given[name] for name in CONDITIONS},
    }
    fields = _understood(given["sentence"]) | {
        name: value for name, value in said.items() if value not in (None, ())
    }
    return CrystalGenerationRequest(
        fix=fix,
        fix_sites=whole_numbers("--fix-sites", given["fix_sites"] or ""),
        start_from=start_from,
        redraft_sites=()
        if redraft_sites == ALL_SITES
        else whole_numbers("--redraft-sites", redraft_sites or ""),
        redraft_all=redraft_sites == ALL_SITES,
        tau=None if drafts else tau,
        refine_from=refiner_step(tau) if drafts else None,
        start_draft=given["start"],
        seed=seed_or_drawn(given["seed"]),
        keep_trajectory=given["trajectory"],
        **{name: given[name] for name in AS_GIVEN},
        **fields,
    )


def _understood(sentence: str | None) -> dict[str, Any]:
    """The fields of a sentence; prints the understood and the ignored words."""
    if sentence is None:
        return {}
    from crystal_core.workflows.sentence import understand

    understood = understand(sentence)
    say(f"Understood: {'; '.join(understood.words)}.")
    if understood.ignored:
        say(f"Not understood: {', '.join(understood.ignored)}.")
    return understood.fields


def _range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d{1,6})\s*(?:[-–]\s*(\d{1,6})\s*)?", text)
    if not match:
        raise RequestError(f"--n-atoms takes a number or a range, e.g. 8 or 4-12; not '{text}'.")
    return int(match[1]), int(match[2] or match[1])


def _symbols(text: str | None, option: str) -> tuple[str, ...]:
    if text is None:
        return ()
    symbols = words(text)
    if not symbols:
        raise RequestError(
            f"{option} names no element; write symbols with commas, e.g. Li,Fe,O, or leave the option out."
        )
    return symbols


def _structure(path: Path | None) -> GivenCell | None:
    from crystal_core.files.records import given_json

    if path is None:
        return None
    return given_json(read_crystal(path))


def _finish(
    result: RunResult | None,
    paths: list[Trajectory],
    *,
    out: Path | None,
    json: bool,
    told: Collection[str] = (),
) -> None:
    """Write and print a result.

    Args:
        told: notes that were printed before the run.
    """
    from crystal_core.files.records import write_run
    from crystal_core.workflows.property_targets import target_words
    from crystal_core.workflows.symmetrising import symmetrised_words

    if result is None:
        return
    if out:
        write_run(result["crystals"], out, result, paths)
    if notes := [note for note in result["notes"] if note not in told]:
        say(" ".join(notes))
    if json:
        emit(result)
        return
    for crystal in result["crystals"]:
        group = crystal["space_group"]["symbol"] if crystal["space_group"] else "–"
        reasons = "" if crystal["validity"]["plausible"] else "  implausible: "
        reasons += " ".join(crystal["validity"]["reasons"]) if reasons else ""
        typer.echo(
            f"{crystal['id']:<32} {crystal['formula']:<16} {crystal['n_atoms']:>3} atoms  {group:<10} "
            f"{crystal['density']:6.2f} g/cm3{reasons}"
        )
    summary = result["summary"]
    space_group = summary.get("space_group")
    kept = (
        f", {space_group['kept_within_0.1']} with {space_group['symbol']} or a "
        "supergroup of it (experimental)"
        if space_group
        else ""
    )
    typer.echo(f"{summary['n']} crystals, {summary['valid']} valid, {summary['unique']} distinct{kept}")
    if symmetry := summary.get("symmetry"):
        has = "is" if symmetry["n"] == 1 else "are"
        typer.echo(
            f"{symmetry['n']} of {symmetry['of']} {has} {symmetry['name']} within {symmetry['symprec']} Å"
        )
    if changed := summary.get("symmetrised"):
        typer.echo(symmetrised_words(changed))
    for name, target in summary.get("targets", {}).items():
        typer.echo(target_words(name, target))
    if unchecked := summary.get("unchecked"):
        named = " and ".join(name.replace("_", " ") for name in unchecked)
        typer.echo(f"not computed for these crystals: {named}; predict-property estimates properties")
    for reason, count in sorted(result.get("rejected", {}).items(), key=lambda item: -item[1]):
        typer.echo(f"{count} drafts left out: {reason}")
