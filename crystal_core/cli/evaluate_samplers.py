"""``crystal-core evaluate csp-samplers``: samplers of structure prediction at equal network calls."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._lists import whole_numbers
from crystal_core.cli._run import command, emit, say
from crystal_core.cli.evaluate_csp import START_TIME, load_generator, start_time_of
from crystal_core.errors import RequestError
from crystal_core.interruption import is_interrupted
from crystal_core.requests import seed_or_drawn

CALLS = (10, 20, 50, 100, 200, 500, 1000, 2000)


@command
def csp_samplers(
    data: options.Data,
    model: options.Model = "kldm-csp-mp",
    split: options.Split = None,
    limit: options.Limit = 300,
    samplers: Annotated[str, typer.Option(help="Names, comma separated.")] = "em,exp-em,pc,pc-pf,ode",
    calls: Annotated[str, typer.Option(help="Network calls per crystal, comma separated.")] = ",".join(
        map(str, CALLS)
    ),
    start_time: Annotated[float | None, START_TIME] = None,
    confirm: Annotated[
        bool,
        typer.Option("--confirm", help="Only the best three of the card's table, on the rows of --limit."),
    ] = False,
    write_card: options.WriteCard = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="With --write-card: continue the card's table and measure only what it lacks."
        ),
    ] = False,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Match rate and RMSE of each sampler against network calls, on equal seeds; also from prototypes."""
    from crystal_core.conditions import CARD_DRAFT
    from crystal_core.datasets.rows import split_named
    from crystal_core.workflows.evaluate_csp import compare_samplers
    from crystal_core.workflows.references import read_references
    from crystal_core.workflows.training_range import notes_on_rows

    began = time.monotonic()
    if resume and not (write_card and seed is not None):
        raise RequestError(
            "--resume continues the table on the card; give --write-card and the --seed of that table too."
        )
    seed = seed_or_drawn(seed)
    budget = whole_numbers("--calls", calls)
    if min(budget, default=0) < 2:
        raise RequestError("--calls starts at 2: the predictor–corrector needs two calls a step.")
    names = [name.strip() for name in samplers.split(",")]
    budgets = _best_of_table(model) if confirm else [(name, number) for name in names for number in budget]
    split = split_named(split, data)
    references = read_references(data, split, limit, tell=say)
    generator = load_generator(model, device, threads)
    for note in notes_on_rows(generator, CARD_DRAFT, [one.atomic_numbers for one in references]):
        say(note)
    if start_time is not None:
        start_time_of(model, generator, start_time)
    settings = {
        "model": model,
        "data": data.name,
        "split": split,
        "limit": limit,
        "seed": seed,
        "start_time": start_time,
        "confirm": confirm,
    }
    table = _Table.of_card(model, settings, len(references), resume) if write_card else None
    settings |= {} if confirm else {"samplers": ",".join(names), "calls": ",".join(map(str, budget))}
    rows: list[dict[str, Any]] = []

    def keep(row: dict[str, Any]) -> None:
        rows.append(row)
        if table is not None:
            table.keep(row)

    try:
        compare_samplers(
            generator,
            references,
            [budget for budget in budgets if table is None or budget not in table.budgets],
            seed=seed,
            workers=workers,
            start_time=start_time,
            say=None if quiet else say,
            keep=keep,
        )
    except BaseException:
        if rows:  # what is measured is kept whatever ends the rest
            _show(rows, began, settings, json=json)
        raise
    _show(rows, began, settings, json=json)


def _show(rows: list[dict[str, Any]], began: float, settings: dict[str, Any], *, json: bool) -> None:
    if json:
        report = {"rows": rows, "seconds": round(time.monotonic() - began, 1), "settings": settings}
        emit(report | ({"interrupted": True} if is_interrupted() else {}))
        return
    for row in rows:
        typer.echo(
            f"{row['sampler']:7} {row['network_calls']:5} calls  {100 * row['match_rate']:5.1f} % "
            f"{row['ci95']}  RMSE {row['rmse']}"
        )


def _best_of_table(model: str) -> list[tuple[str, int]]:
    """The three rows of a card's table with the highest match rates: samplers with their network calls."""
    from crystal_core.registry.store import find_card

    table = find_card(model).sampling.get("table")
    if not table:
        raise RequestError(
            f"The card of '{model}' has no table to confirm. "
            "Make it with this command and --write-card, without --confirm."
        )
    rows = sorted(
        zip(table["match_rate"], table["sampler"], table["budget"], strict=True), key=lambda row: -row[0]
    )
    return [(sampler, number) for _, sampler, number in rows[:3]]


@dataclass
class _Table:
    """The card's table of samplers, which has each row as soon as it is measured."""

    folder: Path
    name: str  # table, or confirmed
    begun: dict[str, Any]  # what all rows have in common
    command: str
    rows: list[dict[str, Any]]

    COLUMNS = ("sampler", "budget", "network_calls", "match_rate", "rmse")

    @classmethod
    def of_card(cls, model: str, settings: dict[str, Any], n_rows: int, resume: bool) -> _Table | None:
        """The table to write; ``resume`` keeps the card's rows of the same crystals, seed and weights.

        Raises:
            RequestError: the table on the card is of other crystals, another seed or other weights.
        """
        from crystal_core.registry.store import find_card

        card = find_card(model)
        if card.folder is None:
            return None
        start = settings["start_time"]
        begins = "drafts, which its card refines" if card.writes_drafts else "noise"
        begun = {
            "protocol": f"{n_rows} rows of {settings['data']} ({settings['split']}, fixed random subset), 1 "
            f"sample, seed {settings['seed']}, from "
            f"{begins if start is None else f'prototypes at t = {start}'}",
            "weights_sha256": card.weights_sha256,
        }
        command = (
            f"crystal-core evaluate csp-samplers --data {settings['data']} --model {model} --split "
            f"{settings['split']} --limit {settings['limit']}"
        )
        command += " --confirm" if settings["confirm"] else " --samplers {samplers} --calls {calls}"
        command += f"{'' if start is None else f' --start-time {start}'} --seed {settings['seed']}"
        name = "confirmed" if settings["confirm"] else "table"
        rows: list[dict[str, Any]] = []
        if resume and (stored := card.sampling.get(name)):
            if {key: stored.get(key) for key in begun} != begun:
                raise RequestError(
                    f"The table on the card of '{model}' is of other rows, another seed or other weights; "
                    "leave out --resume to replace it."
                )
            begun |= {key: stored[key] for key in ("note",) if key in stored}  # what people wrote stays
            rows = [
                dict(zip(cls.COLUMNS, values, strict=True))
                for values in zip(*(stored[key] for key in cls.COLUMNS), strict=True)
            ]
        return cls(folder=card.folder, name=name, begun=begun, command=command, rows=rows)

    @property
    def budgets(self) -> list[tuple[str, int]]:
        """Samplers and network calls that are measured already."""
        return [(row["sampler"], row["budget"]) for row in self.rows]

    def keep(self, row: dict[str, Any]) -> None:
        """Put one more row on the card."""
        from crystal_core.cards import write_card

        self.rows.append({key: "" if row[key] is None else row[key] for key in self.COLUMNS})
        samplers = list(dict.fromkeys(sampler for sampler, _ in self.budgets))
        calls = sorted({number for _, number in self.budgets})
        self.rows.sort(key=lambda row: (samplers.index(row["sampler"]), row["budget"]))
        columns: dict[str, Any] = {key: [row[key] for row in self.rows] for key in self.COLUMNS}
        command = self.command.format(samplers=",".join(samplers), calls=",".join(map(str, calls)))
        write_card(self.folder, {"sampling": {self.name: columns | self.begun | {"command": command}}})
