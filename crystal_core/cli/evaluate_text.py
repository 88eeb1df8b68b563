"""``crystal-core evaluate text``: how well a language model knows the form of crystals."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._run import command, conclude, goes_on_card, interruptible, progress, set_threads
from crystal_core.errors import RequestError


@command
def text(
    model: Annotated[str, typer.Option(help="A language model.")] = "crysllmgen-tiny",
    n: Annotated[int, typer.Option(min=1, help="Number of drafts, without the grammar and with it.")] = 256,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    charge_balance: options.ChargeBalance = False,
    back_end: options.BackEnd = None,
    write_card: options.WriteCard = False,
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Measure a language model without its grammar: share of texts that parse, probability removed."""
    from crystal_core.workflows.evaluate_text import evaluate_text

    if write_card and back_end is not None:
        raise RequestError("A card tells of its own language model; leave out --back-end or --write-card.")
    set_threads(threads)
    stop = interruptible()
    with progress(quiet=quiet) as show:
        report = evaluate_text(
            model,
            n,
            seed=seed,
            device=device,
            back_end=back_end,
            temperature=temperature,
            top_p=top_p,
            charge_balance=charge_balance,
            on_progress=show,
            stop=stop,
        )
    if goes_on_card(stop, write_card=write_card):
        _keep(model, report)
    conclude(report, stop, _show, json=json)


def _keep(model: str, report: dict[str, Any]) -> None:
    """The share that parses, with the probability that the grammar removes, on the card."""
    from crystal_core.cards import write_card
    from crystal_core.registry.store import find_card

    folder = find_card(model).folder
    if folder is None:
        return
    used, seed = report["settings"], report["provenance"]["seed"]
    balanced = bool(used.get("charge_balance"))
    entry: dict[str, Any] = {
        "value": report["parse_rate"],
        "ci95": report["ci95"],
        "n": report["n"],
        "data": "drafts of its own",
        "parsed_with_grammar": report["parse_rate_with_grammar"],
        "structures_without_grammar": report["without_grammar"]["structure_valid"],
        "structures_with_grammar": report["with_grammar"]["structure_valid"],
        "removed_percent": round(100 * report["removed_mass"], 4),
        "protocol": f"{report['n']} drafts without a condition and without the grammar, as many with it, "
        f"temperature {used['temperature']:g}, top-p {used['top_p']:g}, seed {seed}; percent of a token's "
        "probability that the grammar removes, on average",
        "command": f"crystal-core evaluate text --model {model} --n {report['n']} --temperature "
        f"{used['temperature']:g} --top-p {used['top_p']:g}{' --charge-balance' if balanced else ''} "
        f"--seed {seed}",
    }
    if balanced:
        entry["charge_percent"] = round(100 * report["charge_mass"], 4)
    write_card(folder, {"metrics": {f"parse_rate{'_charge_balanced' if balanced else ''}": entry}})


def _show(report: dict[str, Any]) -> None:
    n = report["n"]
    low, high = report["ci95"]
    typer.echo(
        f"{report['parse_rate']:.1%} of {n} drafts parse without the grammar (95 %: {low:.1%} to {high:.1%})"
    )
    for problem, count in report["problems"].items():
        typer.echo(f"{count:>5}  {problem}")
    if "with_grammar" not in report:  # it was interrupted before
        return
    typer.echo(f"the grammar takes {report['removed_mass']:.3%} of a token's probability")
    if "charge_mass" in report:
        typer.echo(
            f"charge balance takes {report['charge_mass']:.3%} of a token's probability; "
            f"{report['unbalanced']} of {report['n_with_grammar']} drafts do not balance at the largest "
            "size (generate writes others)"
        )
    for name in ("without_grammar", "with_grammar"):
        checks = report[name]
        typer.echo(
            f"{name.replace('_', ' ')}: {checks['n']} crystals, structure valid "
            f"{checks['structure_valid']:.1%}, composition valid {checks['composition_valid']:.1%}, "
            f"plausible {checks['plausible']:.1%}, {checks['n_atoms']:.1f} atoms on average, "
            f"{checks['drafts_per_second']:.1f} drafts per second"
        )
