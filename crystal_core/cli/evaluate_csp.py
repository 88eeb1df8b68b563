"""``crystal-core evaluate csp``: structure prediction by the published protocol."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.cli._evaluation import (
    RELAX_SECONDS,
    Data,
    Limit,
    RelaxSeconds,
    Split,
    Workers,
    WriteCard,
    drafts_words,
    loaded_potential,
    refuse_tuning,
    shown,
)
from crystal_core.cli._files import make_output_folder
from crystal_core.cli._run import (
    Device,
    Json,
    NoiseScale,
    Quiet,
    Remasking,
    Sampler,
    Seed,
    Tau,
    Threads,
    Tuning,
    command,
    emit,
    say,
    set_threads,
)

if TYPE_CHECKING:
    from crystal_core.requests import SamplerTuning

START_TIME = typer.Option(
    "--start-time",
    min=0.001,
    max=1.0,
    help="Time at which the refinement of a prototype starts; default: that of the card.",
)
CALLS = (10, 20, 50, 100, 200, 500, 1000, 2000)


@command
def csp(
    data: Data,
    model: Annotated[str, typer.Option("--model")] = "kldm-csp-mp",
    split: Split = None,
    limit: Limit = None,
    samples: Annotated[int, typer.Option("--samples", min=1, max=100, help="Candidates per reference.")] = 1,
    sampler: Sampler = "fast",
    steps: Annotated[int | None, typer.Option("--steps", min=1)] = None,
    tuning: Tuning = "card",
    tau: Tau = None,
    noise_scale: NoiseScale = None,
    remasking: Remasking = None,
    start: Annotated[
        str, typer.Option("--start", help="noise, or prototype: refine the nearest known crystals.")
    ] = "noise",
    start_time: Annotated[float | None, START_TIME] = None,
    refiner: Annotated[
        str | None,
        typer.Option(
            "--refiner", help="Refiner of drafts, as in 'predict-structure'; none shows the drafts."
        ),
    ] = None,
    structures: Annotated[
        Path | None,
        typer.Option("--structures", help="Score a folder of CIFs named after the rows' ids instead."),
    ] = None,
    seen: Annotated[
        Path | None,
        typer.Option("--seen", help="Prepared file of the training: formulas seen and unseen in it apart."),
    ] = None,
    relax: Annotated[
        bool,
        typer.Option(
            "--relax", help="Relax the candidates with CHGNet; the report also has the rates before relaxing."
        ),
    ] = False,
    relax_seconds: RelaxSeconds = RELAX_SECONDS,
    write_card: WriteCard = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder that stores each finished cell as CIF; the same call later continues from it.",
        ),
    ] = None,
    workers: Workers = 2,
    device: Device = "auto",
    seed: Seed = None,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Structure prediction: match rate and RMSE with the true composition of each reference."""
    from crystal_core.checks import check_choice
    from crystal_core.conditions import DraftOptions, check_declared
    from crystal_core.datasets.rows import split_named
    from crystal_core.evaluation.matching import judge_all, summarise
    from crystal_core.requests import SamplerTuning
    from crystal_core.workflows import evaluate_csp

    began = time.monotonic()
    check_choice("start", start, ("noise", "prototype"))
    tuned = SamplerTuning(tuning=tuning, tau=tau, noise_scale=noise_scale, remasking=remasking)  # type: ignore[arg-type]
    _check_source(structures, out, tuned, write_card=write_card)
    make_output_folder(out, trajectory=False)
    seed = _seed(seed, out)
    potential = loaded_potential(device) if relax else None
    split = split_named(split, data)
    references = evaluate_csp.read_references(data, split, limit)
    formulas = evaluate_csp.training_formulas(seen) if seen else None
    settings: dict[str, Any] = {
        "model": model,
        "data": data.name,
        "split": split,
        "limit": limit,
        "samples": samples,
        "seed": seed,
        "filters": "structural: KLDM; smact: DiffCSP (composition, structure and CrystalNN)",
        "oxidation_states": "smact14",
    } | ({"seen": shown(seen)} if seen else {})
    kept = None
    if structures is not None:
        candidates = evaluate_csp.read_candidates(structures, references)
        settings |= {"model": f"files of {structures.name}", "samples": max(map(len, candidates))}
        sampled = time.monotonic() - began
    else:
        generator = _load(model, device, threads)
        draft = DraftOptions(refiner=refiner)
        check_declared(generator.card, (), draft)
        time_of_start = _start_time(model, generator, start_time) if start == "prototype" else None
        used = _used(model, generator, references[0], sampler, steps, tuned, time_of_start, draft) | (
            {"start_time": time_of_start} if time_of_start else {}
        )
        if out is not None:
            kept = _kept(
                out,
                settings | {"start": start, "start_time": None} | used,
                references,
                generator,
                potential,
                relax_seconds,
            )
        drawn = evaluate_csp.draw_candidates(
            generator,
            references,
            samples=samples,
            sampler=sampler,
            steps=steps,
            tuning=tuned,
            seed=seed,
            start_time=time_of_start,
            draft=draft,
            say=None if quiet else say,
            kept=kept,
        )
        candidates, sampled = drawn.candidates, drawn.seconds
        formulas = formulas or getattr(generator, "seen_formulas", None)
        settings |= {"start": start, "network_calls_per_sample": drawn.calls_per_sample}
        settings |= {"tuning": tuning} | used
        # where some are from an earlier call, the seconds are those of the rest
        settings |= {"n_sampled_before": drawn.n_from_before} if drawn.n_from_before else {}
    known = [r.structure for r in references]
    outcomes = judge_all(known, candidates, workers=workers)
    if potential is None:
        report = summarise(outcomes, formulas)
    else:
        set_threads(threads)
        relaxed = evaluate_csp.relax_candidates(
            candidates,
            potential,
            seconds=relax_seconds,
            workers=workers,
            say=None if quiet else say,
            kept=kept,
        )
        report = evaluate_csp.report_relaxed(
            known, outcomes, relaxed, potential.label, workers=workers, formulas=formulas
        )
        settings |= {"relax": True, "relax_seconds": relax_seconds, "potential": potential.label}
    report |= {
        "seconds": round(time.monotonic() - began, 1),
        "seconds_sampling": round(sampled, 1),
        "settings": settings,
    }
    if kept is not None:
        kept.keep_report(report)
    if write_card:
        _keep_report(model, report, tuned)
    if json:
        emit(report)
    else:
        if relax:
            typer.echo(f"before relaxing: {_rates(report['before_relaxing'])}")
        typer.echo(_rates(report))


@command
def csp_samplers(
    data: Data,
    model: Annotated[str, typer.Option("--model")] = "kldm-csp-mp",
    split: Split = None,
    limit: Limit = 300,
    samplers: Annotated[str, typer.Option("--samplers")] = "em,exp-em,pc,pc-pf,ode",
    calls: Annotated[
        str, typer.Option("--calls", help="Network calls per crystal, comma separated.")
    ] = ",".join(map(str, CALLS)),
    start_time: Annotated[float | None, START_TIME] = None,
    confirm: Annotated[
        bool,
        typer.Option("--confirm", help="Only the best three of the card's table, on the rows of --limit."),
    ] = False,
    write_card: WriteCard = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="With --write-card: go on with the card's table and measure only what it lacks."
        ),
    ] = False,
    workers: Workers = 2,
    device: Device = "auto",
    seed: Seed = None,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Match rate and RMSE against network calls for each sampler, from the same seeds; with --start-time from prototypes."""
    from crystal_core.datasets.rows import split_named
    from crystal_core.errors import RequestError
    from crystal_core.requests import seed_or_drawn
    from crystal_core.workflows import evaluate_csp

    began = time.monotonic()
    if resume and not (write_card and seed is not None):
        raise RequestError(
            "--resume goes on with the table on the card; give --write-card and the --seed of that table too."
        )
    seed = seed_or_drawn(seed)
    try:
        numbers = [int(part) for part in calls.split(",")]
    except ValueError:
        raise RequestError(f"--calls takes whole numbers with commas between them, not '{calls}'.") from None
    if min(numbers) < 2:
        raise RequestError("--calls starts at 2: the predictor–corrector needs two calls a step.")
    names = [name.strip() for name in samplers.split(",")]
    budgets = _best_of_table(model) if confirm else [(name, number) for name in names for number in numbers]
    split = split_named(split, data)
    references = evaluate_csp.read_references(data, split, limit)
    generator = _load(model, device, threads)
    if start_time is not None:
        _start_time(model, generator, start_time)
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
    rows = evaluate_csp.compare_samplers(
        generator,
        references,
        [budget for budget in budgets if table is None or budget not in table.budgets],
        seed=seed,
        workers=workers,
        start_time=start_time,
        say=None if quiet else say,
        keep=table.keep if table else None,
    )
    settings |= {} if confirm else {"samplers": ",".join(names), "calls": ",".join(map(str, numbers))}
    report = {"rows": rows, "seconds": round(time.monotonic() - began, 1), "settings": settings}
    if json:
        emit(report)
    else:
        for row in rows:
            typer.echo(
                f"{row['sampler']:7} {row['network_calls']:5} calls  {100 * row['match_rate']:5.1f} % {row['ci95']}  RMSE {row['rmse']}"
            )


def _check_source(
    structures: Path | None, out: Path | None, tuned: SamplerTuning, *, write_card: bool
) -> None:
    """Raise RequestError where an option is about sampling, but the crystals are read from files."""
    from crystal_core.errors import RequestError

    if structures is None:
        return
    refuse_tuning(tuned, "--structures")
    if out is not None:
        raise RequestError(
            "--out keeps what is sampled, and --structures samples nothing; leave one of them out."
        )
    if write_card:
        raise RequestError(
            "--write-card writes on the card of a model, and the crystals of --structures have none; leave it out."
        )


def _rates(report: dict[str, Any]) -> str:
    return f"match rate {100 * report['match_rate']:.1f} % {report['ci95']}  RMSE {report['rmse']} {report['rmse_ci95']}  n {report['n']}"


def _kept(
    out: Path, settings: dict[str, Any], references: Any, generator: Any, potential: Any, relax_seconds: float
) -> Any:
    """The folder of what is finished, for these settings and no others."""
    from crystal_core.workflows.evaluate_csp import digest
    from crystal_core.workflows.evaluation_cache import KeptCandidates

    names = (
        "model",
        "data",
        "split",
        "limit",
        "samples",
        "seed",
        "start",
        "start_time",
        "sampler",
        "steps",
        "tau",
        "noise_scale",
    )
    begun = {key: settings[key] for key in names if key in settings} | {"rows": digest(references)}
    begun |= {"weights_sha256": card.weights_sha256} if (card := getattr(generator, "card", None)) else {}
    kept = KeptCandidates.opened(out, begun, [reference.id for reference in references], settings["samples"])
    if potential is not None:
        kept.agree({"relaxing_seconds": relax_seconds, "potential": potential.label})
    return kept


def _seed(seed: int | None, out: Path | None) -> int:
    """As asked for; else that which the folder was begun with, or a drawn one."""
    from crystal_core.requests import seed_or_drawn
    from crystal_core.workflows.evaluation_cache import BEGUN, read_run

    begun = {} if out is None else read_run(out).get(BEGUN, {})
    return seed_or_drawn(begun.get("seed") if seed is None else seed)


def _load(model: str, device: str, threads: int | None) -> Any:
    from crystal_core.workflows.predict_structure import load_structure_generator

    set_threads(threads)
    return load_structure_generator(model, device)


def _start_time(model: str, generator: Any, asked: float | None) -> float:
    """Where the refinement of a prototype starts: as asked for, or the card's.

    Raises:
        RequestError: the model refines nothing.
    """
    from crystal_core.errors import RequestError

    default: float | None = getattr(generator, "start_time", None)
    if default is None:
        raise RequestError(
            f"{model} places known arrangements itself and refines none; leave out --start prototype and --start-time."
        )
    return default if asked is None else asked


def _used(
    model: str,
    generator: Any,
    reference: Any,
    sampler: str,
    steps: int | None,
    tuned: SamplerTuning,
    start_time: float | None,
    draft: Any = None,
) -> dict[str, Any]:
    """The sampler, steps and tuning that the words "fast" and "default" stood for.

    Raises:
        RequestError: a value of the tuning changes nothing.
    """
    from crystal_core.requests import GenerationRequest
    from crystal_core.structures import from_structures
    from crystal_core.workflows.sampling_run import check_tuning

    options: Any = {"sampler": sampler, "steps": steps, **tuned.tuning_fields}
    start = None if start_time is None else from_structures([reference.structure])
    request = GenerationRequest(compositions=((1,),), start=start, start_time=start_time, **options)
    if generator.card.writes_drafts:
        request = replace(request, draft=draft)
        check_tuning(model, generator, tuned, [request])
        told = generator.settings_used(request)
        used = {name.removesuffix("_used"): value for name, value in told.items()}
        return {"sampler": "none", **used, "usual": draft.refiner is None}
    check_tuning(model, generator, tuned, [request])
    if not hasattr(generator, "settings"):
        return {"sampler": "none"}
    settings = generator.settings(request)
    return {"sampler": settings.name, "steps": settings.steps} | settings.tuning


def _keep_report(model: str, report: dict[str, Any], tuned: SamplerTuning) -> None:
    from crystal_core.cards import write_card
    from crystal_core.registry.store import find_card
    from crystal_core.requests import tuning_words

    card, used = find_card(model), report["settings"]
    if card.folder is None:
        return
    data, split, start = used["data"], used["split"], used["start"]
    moved = used.get("relax", False)
    name = (
        f"match_rate_{split}"
        + ("_relaxed" if moved else "")
        + ("" if start == "noise" else "_from_prototypes")
        + ("" if used.get("usual", True) else f"_{used['refiner']}")
        + ("" if used["samples"] == 1 else f"_best_of_{used['samples']}")
    )
    rows = f"{report['n']} rows" + (
        " (fixed random subset, seed 0)" if used["limit"] else " (the whole split)"
    )
    strength = f", corrector strength {used['tau']}" if "tau" in used else ""
    strength += f" and noise {used['noise_scale']}" if "noise_scale" in used else ""
    steps = (
        f"{used['sampler']}, {used['steps']} steps{strength}, {used['network_calls_per_sample']} network calls"
        if used.get("steps")
        else "no network"
    )
    if start == "noise":
        origin = "from noise" if used.get("steps") else "placed on the nearest prototypes"
    else:
        origin = f"from the nearest prototypes at t = {used['start_time']}"
    if "refiner" in used:
        origin = drafts_words(used)
    limit = f" --limit {used['limit']}" if used["limit"] else ""
    options = f" --samples {used['samples']}" if used["samples"] != 1 else ""
    if "refiner" in used and not used["usual"]:
        options += f" --refiner {used['refiner']}"
    if used.get("steps") and used.get("usual", True):
        options += "".join(
            f" {word}" for word in ("--sampler", used["sampler"], "--steps", str(used["steps"]))
        )
        options += "".join(f" {word}" for word in tuning_words(asdict(tuned)))
    options += " --relax" if moved else ""
    options += (
        f" --relax-seconds {used['relax_seconds']:g}"
        if moved and used["relax_seconds"] != RELAX_SECONDS
        else ""
    )
    options += f" --seen {used['seen']}" if "seen" in used else ""
    options += f" --start prototype --start-time {used['start_time']}" if start != "noise" else ""
    after = f"; relaxed with {used['potential']}" if moved else ""
    entry = {key: report[key] for key in ("rmse", "rmse_ci95", "ci95", "n", "n_failed")}
    for key in ("before_relaxing", "first_sample", "lowest_energy"):
        entry |= (
            {f"{key}_match_rate": report[key]["match_rate"], f"{key}_rmse": report[key]["rmse"]}
            if key in report
            else {}
        )
    parts = {
        f"atoms_{key.replace('-', '_to_')}": part["match_rate"] for key, part in report["by_n_atoms"].items()
    }
    parts |= {f"elements_{key}": part["match_rate"] for key, part in report["by_n_elements"].items()}
    parts |= {f"elements_{key}_n": part["n"] for key, part in report["by_n_elements"].items()}
    seen = report["by_seen_formula"] or {}
    parts |= {f"{key}_formulas": part["match_rate"] for key, part in seen.items()}
    parts |= {f"{key}_formulas_n": part["n"] for key, part in seen.items()}
    smact = report["filter"]["smact"]
    entry = (
        {"value": report["match_rate"]}
        | {k: v for k, v in entry.items() if v is not None}
        | parts
        | {
            "second_filter_match_rate": smact["match_rate"],
            "second_filter_ci95": smact["ci95"],
            "protocol": f"{rows} of {split}, {used['samples']} sample(s), {origin}; {steps}, seed {used['seed']}{after}; StructureMatcher(0.5, 0.3, 10), "
            f"KLDM's filter; second filter: DiffCSP's (SMACT table smact14, structure, CrystalNN)",
            "data": data,
            "command": f"crystal-core evaluate csp --data {data} --model {model} --split {split}{limit}{options} --seed {used['seed']}",
        }
    )
    write_card(card.folder, {"metrics": {name: entry}})


def _best_of_table(model: str) -> list[tuple[str, int]]:
    """The three rows of a card's table with the highest match rates: samplers with their network calls."""
    from crystal_core.errors import RequestError
    from crystal_core.registry.store import find_card

    table = find_card(model).sampling.get("table")
    if not table:
        raise RequestError(
            f"The card of '{model}' has no table to confirm. Make it with this command and --write-card, without --confirm."
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
        """The table that is to be written; with ``resume`` it has the rows that the card has from the same crystals, seed and weights.

        Raises:
            RequestError: the table on the card is of other crystals, another seed or other weights.
        """
        from crystal_core.errors import RequestError
        from crystal_core.registry.store import find_card

        card = find_card(model)
        if card.folder is None:
            return None
        start = settings["start_time"]
        begun = {
            "protocol": f"{n_rows} rows of {settings['data']} ({settings['split']}, fixed random subset), 1 sample, seed {settings['seed']}, "
            f"from {'noise' if start is None else f'prototypes at t = {start}'}",
            "weights_sha256": card.weights_sha256,
        }
        command = f"crystal-core evaluate csp-samplers --data {settings['data']} --model {model} --split {settings['split']} --limit {settings['limit']}"
        command += " --confirm" if settings["confirm"] else " --samplers {samplers} --calls {calls}"
        command += f"{'' if start is None else f' --start-time {start}'} --seed {settings['seed']}"
        name = "confirmed" if settings["confirm"] else "table"
        rows: list[dict[str, Any]] = []
        if resume and (kept := card.sampling.get(name)):
            if {key: kept.get(key) for key in begun} != begun:
                raise RequestError(
                    f"The table on the card of '{model}' is of other rows, another seed or other weights; leave out --resume to replace it."
                )
            begun |= {key: kept[key] for key in ("note",) if key in kept}  # what people wrote stays
            rows = [
                dict(zip(cls.COLUMNS, values, strict=True))
                for values in zip(*(kept[key] for key in cls.COLUMNS), strict=True)
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
