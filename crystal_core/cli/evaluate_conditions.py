"""``crystal-core evaluate conditions``: whether crystals meet the conditions of their prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.checks import check_choice, check_strength
from crystal_core.cli import options
from crystal_core.cli._lists import words
from crystal_core.cli._run import (
    command,
    conclude,
    goes_on_card,
    interruptible,
    progress,
    refiner_step,
    say,
    set_threads,
)
from crystal_core.conditions import MOST_REWRITES, DraftOptions, check_declared
from crystal_core.errors import RequestError
from crystal_core.properties import PROPERTIES
from crystal_core.requests import seed_or_drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

ALONE = "alone"


@command
def conditions(
    data: options.Data,
    model: Annotated[
        str, typer.Option(help="A language model, one that drafts and refines, or one guided to properties.")
    ] = "crysllmgen-mp",
    split: options.Split = None,
    n: Annotated[
        int, typer.Option(min=2, help="Number of prompts: a fixed random subset (seed 0) of the rows.")
    ] = 500,
    refiner: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated refiners to compare with the language model alone; "
            "those of the card when absent."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="How the refiners begin: inject, renoise or none; that of the card when absent."),
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(help="First step of the refiners, 1 to 1000; that of the card when absent."),
    ] = None,
    properties: Annotated[
        str,
        typer.Option(help="formation_energy, band_gap and e_above_hull, with commas; judged by crysldnet."),
    ] = "",
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    back_end: options.BackEnd = None,
    rewrites: Annotated[
        int,
        typer.Option(
            min=0,
            max=MOST_REWRITES,
            help="Also measure drafts written again up to this often while they miss the group or a target.",
        ),
    ] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Models without drafts: steps of the usual sampler.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="Models without drafts: strength of the conditions, 0 to 100; that of the card when absent.",
        ),
    ] = None,
    write_card: options.WriteCard = False,
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """How often drafts and refined drafts meet the formula, space group and properties of a prompt.

    Space groups are found within 0.2 Å.
    """
    from crystal_core.datasets.rows import read_and_tell, split_named
    from crystal_core.workflows import evaluate_conditions as workflow
    from crystal_core.workflows.generate import load_de_novo
    from crystal_core.workflows.generation_conditions import GUIDED
    from crystal_core.workflows.sampling_run import with_back_end

    property_names = words(properties)
    for name in property_names:
        check_choice("property", name, tuple(GUIDED))
    loaded: Any = with_back_end(load_de_novo(model, device), back_end)
    _check_options(
        loaded.card, property_names, temperature=temperature, top_p=top_p, steps=steps, guidance=guidance
    )
    begins = {
        name: value
        for name, value in (("start_draft", start), ("refine_from", refiner_step(tau)))
        if value is not None
    }
    ways = _ways(loaded, refiner, begins, temperature=temperature, top_p=top_p)
    seed, split = seed_or_drawn(seed), split_named(split, data)
    set_threads(threads)
    table = read_and_tell(data, None if split == "all" else split, say)
    rows = workflow.read_prompts(table, n, loaded.elements)
    if len(rows) < 2:
        raise RequestError(f"{data.name} has no rows of {split} that name their space group.")
    predictor = None
    if property_names:
        from crystal_core.workflows.predict_properties import load_property_predictor

        predictor = load_property_predictor("crysldnet", device)
    stop = interruptible()
    with progress(quiet=quiet) as show:
        report = workflow.evaluate_conditions(
            loaded,
            rows,
            ways,
            properties=property_names,
            predictor=predictor,
            rewrites=rewrites,
            steps=steps,
            guidance=guidance,
            seed=seed,
            on_progress=show,
            stop=stop,
        )
    report["settings"] = {
        "model": model,
        "data": data.name,
        "split": split,
        "seed": seed,
        "ways": list(ways),
        "start": start,
        "tau": tau,
        "rewrites": rewrites or None,
        "steps": steps,
        "guidance": guidance,
    }
    if goes_on_card(stop, write_card=write_card):
        _keep(loaded.card, report)
    conclude(report, stop, _show, json=json)


def _check_options(card: Any, properties: Sequence[str], **used: float | None) -> None:
    """Refuse what the model has no use for, before any work.

    Raises:
        RequestError: it was not trained with these conditions, or an option would change nothing.
    """
    if card.writes_drafts:
        check_declared(
            card, ("composition", "space_group", *properties), DraftOptions(temperature=used["temperature"])
        )
        idle, reason = ("steps", "guidance"), "drafts and refines"
    else:
        check_declared(card, tuple(properties), DraftOptions())
        idle, reason = ("temperature", "top_p"), "writes no drafts"
        if not properties:
            raise RequestError(f"{card.name} takes neither formula nor space group; give --properties.")
    if used["guidance"] is not None:
        check_strength(used["guidance"])
    for name in idle:
        if used[name] is not None:
            raise RequestError(
                f"{card.name} {reason}, so --{name.replace('_', '-')} would change nothing; leave it out."
            )


def _ways(loaded: Any, refiners: str | None, begins: dict[str, Any], **sampling: Any) -> dict[str, Any]:
    """Name → options of the drafts: the language model alone first, then each refiner.

    Raises:
        RequestError: the model has no refiner, or none of that name.
    """
    from crystal_core.cli.evaluate_refinement import refinement_of

    if not hasattr(loaded, "refinement"):
        if refiners is not None or begins:
            refinement_of(loaded, loaded.card.name, refiners)
        return {ALONE: DraftOptions(**sampling)}
    ways = {ALONE: DraftOptions(refiner="none", **sampling)}
    for name in words(refiners) if refiners else [loaded.card.network["refiner"]]:
        refinement_of(loaded, loaded.card.name, name)
        ways[name] = DraftOptions(refiner=name, **begins, **sampling)
    return ways


def _show(report: dict[str, Any]) -> None:
    def line(name: str, entry: dict[str, Any], more: str = "") -> None:
        low, high = entry["ci95"]
        typer.echo(f"{name:28} {entry['share']:7.1%}   {low:.1%} to {high:.1%}, n = {entry['n']}{more}")

    if "formula" in report:
        line("formula, no grammar", report["formula"])
        for size, entry in report["formula"]["by_n_atoms"].items():
            line(f"  {size} atoms", entry)
    for name, entry in report.get("space_group", {}).items():
        above = entry.get("above_alone")
        line(
            f"space group, {_words(name)}",
            entry,
            "" if above is None else f", {above:+.0%} against the drafts",
        )
    for condition, by_way in report["properties"].items():
        for name, entry in by_way.items():
            if entry["mae"] is None:
                typer.echo(f"{condition}, {_words(name)}: too few crystals to judge")
                continue
            correlation = "–" if entry["correlation"] is None else f"{entry['correlation']:.2f}"
            typer.echo(
                f"{condition}, {_words(name)}: mean distance {entry['mae']:.3f}, of shuffled conditions "
                f"{entry['mae_shuffled']:.3f}, correlation {correlation}, n = {entry['n']}"
            )


def _words(way: str) -> str:
    """The name of a way as it is shown."""
    from crystal_core.workflows.evaluate_conditions import REWRITTEN

    name = way.removesuffix(REWRITTEN)
    return name if name == way else f"{name}, written again"


def _how(way: str, rewrites: int | None, begun: str) -> str:
    """How the crystals of a way were made, for the protocol of an entry."""
    from crystal_core.workflows.evaluate_conditions import REWRITTEN

    name = way.removesuffix(REWRITTEN)
    if name == way:
        drafts, anew = "drafts as first written", ""
    else:
        drafts = f"drafts written up to {1 + (rewrites or 0)} times"
        anew = f", crystals that miss made anew up to {rewrites} times"
    return drafts if name == ALONE else f"{drafts}, refined by {name}{begun}{anew}"


def _keep(card: Any, report: dict[str, Any]) -> None:
    """An entry per way and condition on the card."""
    from crystal_core.cards import write_card
    from crystal_core.workflows.evaluate_conditions import GENERATED
    from crystal_core.workflows.generation_conditions import GUIDED

    if card.folder is None:
        return
    used = report["settings"]
    refiners = ",".join(name for name in used["ways"] if name != ALONE)
    begins = ("start", "tau", "steps", "guidance")
    words = "".join(f" --{name} {used[name]}" for name in (*begins, "rewrites") if used[name] is not None)
    words += (f" --refiner {refiners}" if refiners else "") + (
        f" --properties {','.join(report['properties'])}" if report["properties"] else ""
    )
    about = {
        "data": used["data"],
        "command": f"crystal-core evaluate conditions --data {used['data']} --model {card.name} --split "
        f"{used['split']} --n {report['n']}{words} --seed {used['seed']}",
    }
    begun = "".join(f", {name} {used[name]}" for name in begins if used[name] is not None)
    split, prompt = used["split"], f"prompts with formula and space group of rows of {used['split']}"
    entries: dict[str, dict[str, Any]] = {}
    if formula := report.get("formula"):
        entries[f"formula_match_{split}"] = {
            "value": formula["share"],
            "ci95": formula["ci95"],
            "n": formula["n"],
            "protocol": f"{prompt}; drafts without the grammar that have the reduced formula",
            "by_n_atoms": {size: entry["share"] for size, entry in formula["by_n_atoms"].items()},
        } | about
    for name, entry in report.get("space_group", {}).items():
        entries[f"space_group_match_{name}_{split}"] = {
            "value": entry["share"],
            "ci95": entry["ci95"],
            "n": entry["n"],
            "protocol": f"{prompt}; space group within 0.2 Å, " + _how(name, used["rewrites"], begun),
        } | about
    for condition, by_way in report["properties"].items():
        for name, entry in by_way.items():
            if entry["mae"] is not None:
                entries[f"{condition}_mae_{name}_{split}"] = {
                    "metric": "MAE",
                    "unit": PROPERTIES[GUIDED[condition]].unit,
                    "value": entry["mae"],
                    "shuffled": entry["mae_shuffled"],
                    "correlation": entry["correlation"],
                    "n": entry["n"],
                    "protocol": f"prompts with the value of rows of {split} alone; mean distance of what "
                    "crysldnet predicts from it; shuffled: the same with the values of other rows"
                    + ("" if name == GENERATED else f"; {_how(name, used['rewrites'], begun)}"),
                } | about
    write_card(card.folder, {"metrics": entries})
