"""``crystal-core evaluate text``: how well a language model knows the form of crystals."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._run import command, conclude, interruptible, progress, set_threads


@command
def text(
    model: Annotated[str, typer.Option(help="A language model.")] = "crysllmgen-tiny",
    n: Annotated[int, typer.Option(min=1, help="Number of drafts, without the grammar and with it.")] = 256,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    charge_balance: options.ChargeBalance = False,
    back_end: options.BackEnd = None,
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Measure a language model without its grammar: share of texts that parse, probability removed."""
    from crystal_core.workflows.evaluate_text import evaluate_text

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
    conclude(report, stop, _show, json=json)


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
