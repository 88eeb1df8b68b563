"""``crystal-core evaluate dng``: de novo crystals by the published protocol."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._dng_card import AFTER_RELAXING, DISTANCES, SHARES, keep_report
from crystal_core.cli._evaluation import RELAX_SECONDS, loaded_potential, named_path
from crystal_core.cli._files import make_output_folder
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
from crystal_core.conditions import DraftOptions, check_declared
from crystal_core.errors import RequestError
from crystal_core.paths import data_file
from crystal_core.requests import DeNovoRequest, SamplerTuning, seed_or_drawn

MAX_CRYSTALS = 20_000


@command
def dng(
    data: options.Data,
    model: options.Model = "kldm-dng-mp",
    split: options.Split = None,
    limit: options.Limit = None,
    n: Annotated[
        int, typer.Option("--n", "--samples", min=1, max=MAX_CRYSTALS, help="Crystals to generate.")
    ] = 1000,
    sampler: options.Sampler = "fast",
    steps: options.Steps = None,
    tuning: options.Tuning = "card",
    tau: options.DraftTau = None,
    noise_scale: options.NoiseScale = None,
    remasking: options.Remasking = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    charge_balance: options.ChargeBalance = False,
    back_end: options.BackEnd = None,
    refiner: options.Refiner = None,
    start: Annotated[
        str | None, typer.Option(help="How the refiner begins: inject, renoise or none, as in generate.")
    ] = None,
    structures: Annotated[Path | None, typer.Option(help="Score the CIFs of a folder instead.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Score random symmetric cells (random), replaced elements (substitution) "
            "or training rows (training)."
        ),
    ] = None,
    reference_set: Annotated[
        Path | None,
        typer.Option(
            callback=lambda path: path and data_file(path),
            help="Crystals that do not count as new: Parquet, "
            "CSV or prepared training file; default: --data.",
        ),
    ] = None,
    cutoffs: Annotated[
        str | None, typer.Option(help="mp-20, perov-5 or carbon-24; default: by the name of --data.")
    ] = None,
    relax: Annotated[bool, typer.Option("--relax", help="Relax with CHGNet and report stability.")] = False,
    relax_seconds: options.RelaxSeconds = RELAX_SECONDS,
    write_card: options.WriteCard = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder that stores each sampled crystal as CIF; --structures scores it later."),
    ] = None,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    seed: options.Seed = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """New crystals: validity, coverage, distributions, repeats, novelty and, with --relax, stability."""
    from crystal_core.datasets.rows import split_named
    from crystal_core.evaluation.validity import OXIDATION_TABLE
    from crystal_core.registry.store import find_card
    from crystal_core.workflows import evaluate_dng, known_sets
    from crystal_core.workflows.generate import load_de_novo
    from crystal_core.workflows.sampling_run import check_tuning, with_back_end

    began = time.monotonic()
    seed = seed_or_drawn(seed)
    sampled_anew = structures is None and baseline is None
    drafts = sampled_anew and find_card(model).writes_drafts
    tuned = SamplerTuning(
        tuning=tuning,  # type: ignore[arg-type]
        tau=None if drafts else tau,
        noise_scale=noise_scale,
        remasking=remasking,
    )
    draft = DraftOptions(
        temperature=temperature,
        top_p=top_p,
        back_end=back_end,
        refiner=refiner,
        start_draft=start,  # type: ignore[arg-type]
        refine_from=refiner_step(tau) if drafts else None,
        charge_balance=charge_balance,
    )
    _check_source(structures, baseline, out, write_card=write_card)
    make_output_folder(out, trajectory=False)
    published, split = evaluate_dng.cutoffs_named(cutoffs, data), split_named(split, data)
    set_threads(threads)
    potential = loaded_potential(device) if relax else None
    known_cells = known_sets.read_reference_set(reference_set or data)
    settings: dict[str, Any] = {
        "model": model,
        "data": data.name,
        "split": split,
        "limit": limit,
        "seed": seed,
        "oxidation_states": OXIDATION_TABLE,
        "reference_set": named_path(reference_set or data),
    }
    # a wrong request ends before the sampling, which takes hours
    files = None if structures is None else evaluate_dng.read_folder(structures, tell=say)
    loaded: Any = None
    if sampled_anew:
        loaded = with_back_end(load_de_novo(model, device), back_end)
        check_declared(loaded.card, (), draft)
        values: Any = {"sampler": sampler, "steps": steps, "draft": draft, **tuned.tuning_fields}
        check_tuning(model, loaded, tuned, [DeNovoRequest(n_atoms=(1,), **values)])
    stop = interruptible()
    with progress(quiet=quiet) as show:
        known = known_sets.read_known(data, split, limit, workers=workers, on_progress=show, tell=say)
        sampling = time.monotonic()
        if structures is not None and files is not None:
            crystals = files
            settings |= {"model": f"files of {structures.name}"}
        elif baseline is not None:
            crystals = evaluate_dng.draw_baseline(
                baseline, known_cells, n, seed=seed, on_progress=show
            ).structures
            if out is not None:
                evaluate_dng.write_folder(out, f"{baseline}-{seed}", 1, crystals)
            settings |= {"model": f"baseline {baseline}"}
        else:
            keep = None if out is None else partial(evaluate_dng.write_folder, out, f"{model}-{seed}")
            drawn = evaluate_dng.draw_crystals(
                loaded,
                n,
                sampler=sampler,
                steps=steps,
                tuning=tuned,
                draft=draft,
                seed=seed,
                on_progress=show,
                keep=keep,
                stop=stop,
            )
            stop.end(unless=drawn.structures)
            crystals = drawn.structures
            if drafts:
                settings |= {"draft": draft.draft_values, "rejected": dict(drawn.rejected)}
            settings |= (
                {"tuning": tuning} | drawn.settings | {"network_calls_per_sample": drawn.network_calls}
            )
        sampled = time.monotonic() - sampling
        report = evaluate_dng.evaluate(
            crystals,
            known,
            known_cells,
            cutoffs=published,
            potential=potential,
            relax_seconds=relax_seconds,
            workers=workers,
            on_progress=show,
            stop=stop,
        )
    if potential is not None and "relaxation" in report:
        settings |= {"relax": True, "relax_seconds": relax_seconds, "potential": potential.label}
    covers = f"{report['n']} of {n if sampled_anew else report['n']} crystals"
    if potential is not None:
        covers += f"; relaxed: {report.get('relaxation', {}).get('covers', 'none')}"
    report |= stop.marks(covers) | {
        "seconds": round(time.monotonic() - began, 1),
        "seconds_sampling": round(sampled, 1),
        "settings": settings,
    }
    if goes_on_card(stop, write_card=write_card):
        keep_report(model, report, tuned, baseline)
    conclude(report, stop, _show, json=json)


def _check_source(
    structures: Path | None, baseline: str | None, out: Path | None, *, write_card: bool
) -> None:
    """Raise RequestError if the options contradict each other on the crystals or the output folder."""
    from crystal_core.workflows.naive_baselines import check_baseline

    if baseline is not None:
        check_baseline(baseline)
    if structures is not None and baseline is not None:
        raise RequestError("--structures and --baseline both say what to score; give one of them.")
    if structures is not None and out is not None:
        raise RequestError(
            "--out keeps what is sampled, and --structures samples nothing; leave one of them out."
        )
    if write_card and structures is not None:
        raise RequestError(
            "--write-card stores the result of a model or a baseline, "
            "and the crystals of --structures have none; leave it out."
        )


def _show(report: dict[str, Any]) -> None:
    for key in (*SHARES, *AFTER_RELAXING):
        if report.get(key) is not None:
            low, high = report["ci95"][key]
            typer.echo(f"{key:18} {100 * report[key]:6.2f} %   {100 * low:.1f} to {100 * high:.1f}")
    for key in DISTANCES:
        if report.get(key) is not None:
            typer.echo(f"{key:18} {report[key]:.4f}")
    loose = report["loose"]
    typer.echo(
        f"{'loose tolerances':18} unique {100 * loose['unique']:.2f} %, novel {100 * loose['novel']:.2f} %"
    )
    typer.echo(
        f"{report['n']} crystals, {report['n_failed']} failed; new: not among the "
        f"{report['novel_means']['rows']} {report['novel_means']['name']}"
    )
