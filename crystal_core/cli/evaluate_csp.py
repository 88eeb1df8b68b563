"""``crystal-core evaluate csp``: structure prediction by the published protocol."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from crystal_core.checks import check_choice
from crystal_core.cli import options
from crystal_core.cli._csp_card import keep_report
from crystal_core.cli._evaluation import RELAX_SECONDS, loaded_potential, named_path
from crystal_core.cli._files import make_output_folder
from crystal_core.cli._run import command, conclude, goes_on_card, interruptible, say, set_threads
from crystal_core.conditions import DraftOptions, check_declared
from crystal_core.errors import RequestError
from crystal_core.requests import GenerationRequest, SamplerTuning, seed_or_drawn

START_TIME = typer.Option(
    "--start-time",
    min=0.001,
    max=1.0,
    help="Time at which the refinement of a prototype starts; default: that of the card.",
)


@command
def csp(
    data: options.Data,
    model: options.Model = "kldm-csp-mp",
    split: options.Split = None,
    limit: options.Limit = None,
    samples: Annotated[int, typer.Option(min=1, max=100, help="Candidates per reference.")] = 1,
    sampler: options.Sampler = "fast",
    steps: options.Steps = None,
    tuning: options.Tuning = "card",
    tau: options.Tau = None,
    noise_scale: options.NoiseScale = None,
    remasking: options.Remasking = None,
    start: Annotated[
        str, typer.Option(help="noise, or prototype: refine the nearest known crystals.")
    ] = "noise",
    start_time: Annotated[float | None, START_TIME] = None,
    refiner: options.Refiner = None,
    structures: Annotated[
        Path | None, typer.Option(help="Score a folder of CIFs named after the rows' ids instead.")
    ] = None,
    seen: Annotated[
        Path | None, typer.Option(help="Prepared file of the training: formulas seen and unseen in it apart.")
    ] = None,
    relax: Annotated[
        bool,
        typer.Option(
            "--relax", help="Relax the candidates with CHGNet; the report also has the rates before relaxing."
        ),
    ] = False,
    relax_seconds: options.RelaxSeconds = RELAX_SECONDS,
    write_card: options.WriteCard = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder that stores each finished cell as CIF; the same call later continues from it."
        ),
    ] = None,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Structure prediction: match rate and RMSE with the true composition of each reference."""
    from crystal_core.datasets.rows import split_named
    from crystal_core.evaluation.matching import judge_all, summarise
    from crystal_core.workflows import evaluate_csp
    from crystal_core.workflows.references import read_candidates, read_references, training_formulas
    from crystal_core.workflows.training_range import notes_on_rows

    began = time.monotonic()
    check_choice("start", start, ("noise", "prototype"))
    tuned = SamplerTuning(tuning=tuning, tau=tau, noise_scale=noise_scale, remasking=remasking)  # type: ignore[arg-type]
    _check_source(structures, out, write_card=write_card)
    make_output_folder(out, trajectory=False)
    seed = _seed(seed, out)
    potential = loaded_potential(device) if relax else None
    split = split_named(split, data)
    references = read_references(data, split, limit, tell=say)
    formulas = training_formulas(seen) if seen else None
    settings: dict[str, Any] = {
        "model": model,
        "data": data.name,
        "split": split,
        "limit": limit,
        "samples": samples,
        "seed": seed,
        "filters": "structural: KLDM; smact: DiffCSP (composition, structure and CrystalNN)",
        "oxidation_states": "smact14",
    } | ({"seen": named_path(seen)} if seen else {})
    cache, stop, notes = None, interruptible(), list[str]()
    if structures is not None:
        candidates = read_candidates(structures, references, tell=say)
        settings |= {"model": f"files of {structures.name}", "samples": max(map(len, candidates))}
        sampled = time.monotonic() - began
    else:
        generator = load_generator(model, device, threads)
        draft = DraftOptions(refiner=refiner)
        check_declared(generator.card, (), draft)
        notes = notes_on_rows(generator, draft, [reference.atomic_numbers for reference in references])
        for note in notes:
            say(note)
        time_of_start = start_time_of(model, generator, start_time) if start == "prototype" else None
        used = _used(model, generator, references[0], sampler, steps, tuned, time_of_start, draft) | (
            {"start_time": time_of_start} if time_of_start else {}
        )
        if out is not None:
            cache = _cache(
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
            cache=cache,
            stop=stop,
        )
        stop.end(unless=drawn.candidates)
        candidates, sampled = drawn.candidates, drawn.seconds
        formulas = formulas or getattr(generator, "seen_formulas", None)
        settings |= {"start": start, "network_calls_per_sample": drawn.calls_per_sample}
        settings |= {"tuning": tuning} | used
        # where some are from an earlier call, the seconds are those of the rest
        settings |= {"n_sampled_before": drawn.n_from_before} if drawn.n_from_before else {}
    n_drawn = len(candidates)
    known = [r.structure for r in references[:n_drawn]]
    outcomes = judge_all(known, candidates, workers=workers)
    relaxed = None
    if potential is not None and not stop:
        set_threads(threads)
        relaxed = evaluate_csp.relax_candidates(
            candidates,
            potential,
            seconds=relax_seconds,
            workers=workers,
            say=None if quiet else say,
            cache=cache,
            stop=stop,
        )
    if potential is None or relaxed is None or not relaxed.candidates:
        report = summarise(outcomes, formulas)
    else:
        n_relaxed = len(relaxed.candidates)
        known, outcomes = known[:n_relaxed], outcomes[:n_relaxed]
        report = evaluate_csp.report_relaxed(
            known, outcomes, relaxed, potential.label, workers=workers, formulas=formulas
        )
        settings |= {"relax": True, "relax_seconds": relax_seconds, "potential": potential.label}
    size = "" if n_drawn == len(references) == report["n"] else ", the smallest"
    words = f"{report['n']} of {len(references)} rows{size}"
    words += ", not relaxed" if potential is not None and "relaxation" not in report else ""
    report |= stop.marks(words) | {
        "seconds": round(time.monotonic() - began, 1),
        "seconds_sampling": round(sampled, 1),
        "notes": notes,
        "settings": settings,
    }
    if cache is not None:
        cache.keep_report(report)
    if goes_on_card(stop, write_card=write_card):
        keep_report(model, report, tuned)
    conclude(report, stop, _show, json=json)


def _show(report: dict[str, Any]) -> None:
    if "before_relaxing" in report:
        typer.echo(f"before relaxing: {_rates(report['before_relaxing'])}")
    typer.echo(_rates(report))


def _check_source(structures: Path | None, out: Path | None, *, write_card: bool) -> None:
    """Raise RequestError where an option stores sampled crystals, but --structures reads them from files."""
    if structures is None:
        return
    if out is not None:
        raise RequestError(
            "--out keeps what is sampled, and --structures samples nothing; leave one of them out."
        )
    if write_card:
        raise RequestError(
            "--write-card writes on the card of a model, "
            "and the crystals of --structures have none; leave it out."
        )


def _rates(report: dict[str, Any]) -> str:
    return (
        f"match rate {100 * report['match_rate']:.1f} % {report['ci95']}  RMSE {report['rmse']} "
        f"{report['rmse_ci95']}  n {report['n']}"
    )


def _cache(
    out: Path, settings: dict[str, Any], references: Any, generator: Any, potential: Any, relax_seconds: float
) -> Any:
    """The folder of finished results for these settings only."""
    from crystal_core.workflows.evaluation_cache import EvaluationCache
    from crystal_core.workflows.references import digest

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
    cache = EvaluationCache.opened(
        out, begun, [reference.id for reference in references], settings["samples"]
    )
    if potential is not None:
        cache.agree({"relaxing_seconds": relax_seconds, "potential": potential.label})
    return cache


def _seed(seed: int | None, out: Path | None) -> int:
    """The given seed; else that of the folder's first call, or a random one."""
    from crystal_core.workflows.evaluation_cache import BEGUN, read_run

    begun = {} if out is None else read_run(out).get(BEGUN, {})
    return seed_or_drawn(begun.get("seed") if seed is None else seed)


def load_generator(model: str, device: str, threads: int | None) -> Any:
    """The model to measure.

    Raises as :func:`~crystal_core.workflows.prediction_plan.load_structure_generator`.
    """
    from crystal_core.workflows.prediction_plan import load_structure_generator

    set_threads(threads)
    return load_structure_generator(model, device)


def start_time_of(model: str, generator: Any, wanted: float | None) -> float:
    """Start time of the refinement of a prototype: the given one, or that of the card.

    Raises:
        RequestError: the model refines nothing.
    """
    default: float | None = getattr(generator, "start_time", None)
    if default is None:
        raise RequestError(
            f"{model} places known arrangements itself and refines none; "
            "leave out --start prototype and --start-time."
        )
    return default if wanted is None else wanted


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
    from crystal_core.structures import from_structures
    from crystal_core.workflows.sampling_run import check_tuning

    values: Any = {"sampler": sampler, "steps": steps, **tuned.tuning_fields}
    start = None if start_time is None else from_structures([reference.structure])
    request = GenerationRequest(compositions=((1,),), start=start, start_time=start_time, **values)
    if generator.card.writes_drafts:
        request = replace(request, draft=draft)
        check_tuning(model, generator, tuned, [request])
        described = generator.settings_used(request)
        used = {name.removesuffix("_used"): value for name, value in described.items()}
        return {"sampler": "none", **used, "usual": draft.refiner is None}
    check_tuning(model, generator, tuned, [request])
    if not hasattr(generator, "settings"):
        return {"sampler": "none"}
    settings = generator.settings(request)
    return {"sampler": settings.name, "steps": settings.steps} | settings.tuning
