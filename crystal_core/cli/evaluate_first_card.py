"""``crystal-core evaluate first-card``: how often the first card of a prediction is the right crystal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from crystal_core.checks import check_choice
from crystal_core.cli import options
from crystal_core.cli._evaluation import loaded_potential, named_path, rates_by_kind
from crystal_core.cli._run import command, conclude, goes_on_card, interruptible, say, set_threads
from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from crystal_core.requests import EffortName
    from crystal_core.workflows.first_card_energies import EnergiesOfEffort, EnergiesToFit
    from crystal_core.workflows.first_card_samples import Drafts, Sampled, Samples

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="File that stores each finished row; the same call later continues from it.",
    ),
]


@command
def first_card(
    data: options.Data,
    split: options.Split = None,
    effort: Annotated[str, typer.Option(help="prior (no energies), quick, normal or thorough.")] = "normal",
    limit: Annotated[int, typer.Option(min=1, help="Rows.")] = 100,
    first: Annotated[
        int,
        typer.Option(min=0, help="Number of the first row in the drawn order, to continue an earlier call."),
    ] = 0,
    max_atoms: Annotated[int, typer.Option(min=1, help="Only rows of at most this many atoms.")] = 20,
    open_z: Annotated[
        bool,
        typer.Option("--open-z", help="Give the formula alone; otherwise the cell size is given too."),
    ] = False,
    orderings: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Orderings of two elements among the candidates of each row; default: as many as the "
            "effort tries.",
            show_default=False,
        ),
    ] = None,
    drafts: Annotated[
        int,
        typer.Option(
            min=0,
            help="Refined drafts of a language model among the candidates of each "
            "row; also compared with none.",
        ),
    ] = 0,
    drafter: Annotated[
        str, typer.Option(help="Model that writes and refines the --drafts.")
    ] = "crysllmgen-mp",
    samples: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Samples of the --model from noise, and as many refined prototypes, among the candidates "
            "of each row; default: as many as the effort draws.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Model that draws the --samples.")] = "kldm-csp-mp",
    for_fit: Annotated[
        bool,
        typer.Option(
            "--for-fit",
            help="Relax every candidate until it has clearly lost, as a fit of the ranking needs.",
        ),
    ] = False,
    out: Out = None,
    write_card: options.WriteCard = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Match of the first card, the first three and ten, with the candidates of an effort."""
    from crystal_core.datasets.rows import split_named
    from crystal_core.evaluation.ranking import load_weights, without_known
    from crystal_core.workflows import first_card as workflow
    from crystal_core.workflows.cell_predictions import RANKER
    from crystal_core.workflows.effort import EFFORTS
    from crystal_core.workflows.first_card_rates import (
        OWN_RULE,
        by_kind,
        changed_first_cards,
        first_card_rates,
        is_ordered,
        is_sampled,
        seconds_of_a_row,
    )
    from crystal_core.workflows.first_card_rows import begin
    from crystal_core.workflows.first_card_samples import DRAFTED, FROM_NOISE, REFINED

    began = time.monotonic()
    check_choice("effort", effort, tuple(OWN_RULE))
    not_of_effort = for_fit or first or open_z or drafts or samples is not None or orderings is not None
    if write_card and not_of_effort:
        raise RequestError(
            "A card states what an effort shows for given cells; leave out --write-card, or --for-fit, "
            "--first, --open-z, --orderings, --drafts and --samples."
        )
    set_threads(threads)
    split = split_named(split, data)
    references = workflow.rows_in_random_order(
        data, split, max_atoms=max_atoms, first=first, limit=limit, tell=say
    )
    plan = EFFORTS[cast("EffortName", "quick" if effort == "prior" else effort)]
    n = min(plan.prototypes, plan.most_relaxed or plan.prototypes) if for_fit else plan.prototypes
    if orderings is None:
        orderings = 0 if for_fit else plan.orderings
    if samples is None:
        samples = 0 if open_z or for_fit else plan.samples
    made_with = {"data": data.name, "split": split, "prototypes_per_row": n, "open_z": open_z}
    made_with |= {"ranked_by": RANKER}
    made_with |= {"energies_as_in_effort": None if for_fit or effort == "prior" else effort}
    made_with |= {"drafts_per_row": drafts or None, "drafter": drafter if drafts else None}
    made_with |= {"orderings_per_row": orderings or None}
    made_with |= {"samples_per_row": samples or None, "model": model if samples else None}
    sampled: list[Sampled] = [
        *([_drafts(drafter, drafts, device, open_z=open_z)] if drafts else []),
        *([_samples(model, samples, device, open_z=open_z)] if samples else []),
    ]
    if out is not None:
        begin(out, made_with)
    stop = interruptible()
    energies = None if effort == "prior" else _energies(effort, device, for_fit=for_fit)
    rows = workflow.collect(
        references,
        out,
        n=n,
        orderings=orderings,
        energies=energies,
        open_z=open_z,
        sampled=sampled,
        say=None if quiet else say,
        stop=stop,
    )
    stop.end(unless=rows)
    weights, rule = without_known(load_weights()), OWN_RULE[effort]
    rates = first_card_rates(rows, weights)
    report: dict[str, Any] = {
        **rates[rule]["first card"],
        "first_three": rates[rule]["first 3"],
        "first_ten": rates[rule]["first 10"],
        "any_candidate": rates["any candidate"],
        "rules": {name: rate for name, rate in rates.items() if name != "any candidate"},
        **by_kind(rows, rule, weights),
        "seconds": round(time.monotonic() - began, 1),
        "seconds_of_a_row": seconds_of_a_row(rows),
        "settings": {
            "data": data.name,
            "split": split,
            "effort": effort,
            "rule": rule,
            "limit": limit,
            "first": first,
            "max_atoms": max_atoms,
            "z": "open" if open_z else "given",
            "sources": [
                "prototype",
                *([DRAFTED] if drafts else []),
                *([FROM_NOISE, REFINED] if samples else []),
            ],
            "drafts_per_row": drafts,
            "drafter": drafter if drafts else None,
            "samples_per_row": samples,
            "model": model if samples else None,
            "prototypes_per_row": n,
            "orderings_per_row": orderings,
            "potential": None if energies is None else energies.potential.label,
            "energies": None if energies is None else "for a fit" if for_fit else "as in the effort",
            "weights": dict(weights.about),
        },
    }
    for name, used, kind in (("ordered", orderings, is_ordered), ("sampled", sampled, is_sampled)):
        if used:
            report[name] = changed_first_cards(rows, rule, weights, kind)
    report |= stop.marks(f"{len(rows)} of {len(references)} rows, in random order")
    if goes_on_card(stop, write_card=write_card):
        _keep(report, named_path(data))
    conclude(report, stop, _show, json=json)


def _keep(report: dict[str, Any], data: str) -> None:
    """Match rates under every rule on the card of the prototypes, with those by size of the effort's own."""
    from crystal_core.cards import write_card
    from crystal_core.registry.store import find_card

    used = report["settings"]
    folder, effort, split = find_card("prototype").folder, used["effort"], used["split"]
    if folder is None:
        return
    words = f"crystal-core evaluate first-card --data {data} --split {split} --effort {effort}"
    words += f" --limit {used['limit']}"
    words += f" --max-atoms {used['max_atoms']}" if used["max_atoms"] != 20 else ""
    entry: dict[str, Any] = {
        "value": report["match_rate"],
        "ci95": report["ci95"],
        "rmse": report["rmse"],
        "n": report["n"],
        "first_three": report["first_three"]["match_rate"],
        "first_ten": report["first_ten"]["match_rate"],
        "any_candidate": report["any_candidate"]["match_rate"],
    }
    entry |= rates_by_kind(report, report["by_formula"])
    entry["rule"] = {
        name: {key: rates["first card"][key] for key in ("match_rate", "ci95", "rmse")}
        | {"first_three": rates["first 3"]["match_rate"], "first_ten": rates["first 10"]["match_rate"]}
        for name, rates in report["rules"].items()
        if rates["first card"]["n"]
    }
    for name in ("ordered", "sampled"):
        if changed := report.get(name):
            entry[f"{name}_gained"], entry[f"{name}_lost"] = changed["gained"], changed["lost"]
            entry[f"any_candidate_not_{name}"] = changed["without"]["any candidate"]["match_rate"]
    if of_a_row := report["seconds_of_a_row"]:
        entry |= {f"cpu_seconds_{key}": of_a_row[key] for key in ("median", "quantile_95")}
    potential = f", energies of {used['potential']}" if used["potential"] else ", no energies"
    sampled = (
        f", {used['samples_per_row']} samples of {used['model']} from noise and as many refined arrangements"
        if used["samples_per_row"]
        else ""
    )
    ordered = f" and {used['orderings_per_row']} orderings" if used["orderings_per_row"] else ""
    entry["protocol"] = (
        f"{report['n']} rows of up to {used['max_atoms']} atoms of {split}, drawn with seed 0; "
        f"cell size given; {used['prototypes_per_row']} known arrangements"
        f"{ordered}{sampled} a row{potential}; "
        "StructureMatcher(0.5, 0.3, 10)"
    )
    entry |= {"data": used["data"], "command": words}
    write_card(folder, {"metrics": {f"first_card_{effort}_{split}": entry}})


def _show(report: dict[str, Any]) -> None:
    for name, rate in report["rules"].items():
        card = rate["first card"]
        if card["n"]:
            typer.echo(
                f"{name:<28} first card {100 * card['match_rate']:.1f} % "
                f"({100 * card['ci95'][0]:.1f}–{100 * card['ci95'][1]:.1f}), first three "
                f"{100 * rate['first 3']['match_rate']:.1f} %, RMSE {card['rmse']}, n = {card['n']}"
            )
    typer.echo(f"any candidate                {100 * report['any_candidate']['match_rate']:.1f} %")
    for name, words in (("ordered", "orderings"), ("sampled", "samples")):
        if changed := report.get(name):
            alone, among = changed["without"]["first card"], changed["without"]["any candidate"]
            typer.echo(
                f"without {words:<20} first card {100 * alone['match_rate']:.1f} % "
                f"({100 * alone['ci95'][0]:.1f}–{100 * alone['ci95'][1]:.1f}), any candidate "
                f"{100 * among['match_rate']:.1f} %; {words} put {changed['gained']} rows right and "
                f"{changed['lost']} wrong, and stand first in {changed['shown_first']}"
            )


def _energies(effort: str, device: str, *, for_fit: bool) -> EnergiesOfEffort | EnergiesToFit:
    from crystal_core.workflows.effort import EFFORTS
    from crystal_core.workflows.first_card_energies import STEPS, EnergiesOfEffort, EnergiesToFit

    name, potential = cast("EffortName", effort), loaded_potential(device)
    if for_fit:
        return EnergiesToFit(potential=potential, steps=STEPS if EFFORTS[name].most_relaxed else 0)
    return EnergiesOfEffort(potential=potential, effort=name)


def _drafts(name: str, n: int, device: str, *, open_z: bool) -> Drafts:
    """The drafter of each row.

    Raises:
        RequestError: the model writes none, or the cell is open, which a draft needs.
    """
    from crystal_core.workflows.first_card_samples import Drafts
    from crystal_core.workflows.generate import load_de_novo

    if open_z:
        raise RequestError("A draft is written for a given cell, so leave out --open-z, or --drafts.")
    model: Any = load_de_novo(name, device)
    if not model.card.writes_drafts:
        raise RequestError(f"{name} writes no drafts; choose a language model, such as crysllmgen-mp.")
    return Drafts(model=model, n=n)


def _samples(name: str, n: int, device: str, *, open_z: bool) -> Samples:
    """What draws the samples of each row.

    Raises:
        RequestError: the model does not sample, or the cell is open, which a sample needs.
    """
    from crystal_core.workflows.first_card_samples import Samples
    from crystal_core.workflows.prediction_plan import load_structure_generator

    if open_z:
        raise RequestError("A sample is drawn for a given cell, so leave out --open-z, or --samples.")
    model = load_structure_generator(name, device)
    if model.card.writes_drafts or not hasattr(model, "start_time"):
        raise RequestError(
            f"{name} does not sample cells from noise; choose a diffusion model, such as kldm-csp-mp."
        )
    return Samples(model=model, n=n)
