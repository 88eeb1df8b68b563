"""``crystal-core evaluate dng``: invented crystals by the published protocol."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
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
    BackEnd,
    ChargeBalance,
    Device,
    Json,
    NoiseScale,
    Quiet,
    Remasking,
    Sampler,
    Seed,
    Temperature,
    Threads,
    TopP,
    Tuning,
    command,
    emit,
    progress,
    refiner_step,
    set_threads,
)
from crystal_core.paths import data_file

if TYPE_CHECKING:
    from crystal_core.requests import SamplerTuning

SHARES = (
    "structure_valid",
    "composition_valid",
    "valid",
    "plausible",
    "cov_recall",
    "cov_precision",
    "unique",
    "novel",
)
AFTER_RELAXING = ("stable", "metastable", "sun", "msun")
DISTANCES = ("wdist_density", "wdist_n_elements", "rmsd_relaxed")
MAX_CRYSTALS = 20_000

TUNING = {
    "tau_used": "corrector strength",
    "noise_scale_used": "its noise",
    "type_temperature_used": "temperature of the types",
    "remasking_used": "remasking",
}
CORRECTOR = ("tau_used", "noise_scale_used")
# options of the command line for what is said of drafts, where the names differ
OPTIONS = {
    "start_draft": "start",
    "refine_from": "tau",
    "top_p": "top-p",
    "back_end": "back-end",
    "charge_balance": "charge-balance",
}


@command
def dng(
    data: Data,
    model: Annotated[str, typer.Option("--model")] = "kldm-dng-mp",
    split: Split = None,
    limit: Limit = None,
    n: Annotated[
        int, typer.Option("--n", "--samples", min=1, max=MAX_CRYSTALS, help="Crystals to generate.")
    ] = 1000,
    sampler: Sampler = "fast",
    steps: Annotated[int | None, typer.Option("--steps", min=1)] = None,
    tuning: Tuning = "card",
    tau: Annotated[
        float | None,
        typer.Option(
            "--tau",
            help="Corrector strength of pc and pc-pf; for drafts of a language model, the refiner's first step, 1 to 1000.",
        ),
    ] = None,
    noise_scale: NoiseScale = None,
    remasking: Remasking = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    charge_balance: ChargeBalance = False,
    back_end: BackEnd = None,
    refiner: Annotated[
        str | None,
        typer.Option("--refiner", help="Refiner of drafts, as in 'generate'; none shows the drafts."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", help="How the refiner begins: inject, renoise or none, as in generate."),
    ] = None,
    structures: Annotated[
        Path | None, typer.Option("--structures", help="Score the CIFs of a folder instead.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="Score random symmetric cells (random), replaced elements (substitution) or training rows (training).",
        ),
    ] = None,
    reference_set: Annotated[
        Path | None,
        typer.Option(
            "--reference-set",
            callback=lambda path: path and data_file(path),
            help="Crystals that do not count as new: Parquet, CSV or prepared training file; default: --data.",
        ),
    ] = None,
    cutoffs: Annotated[
        str | None,
        typer.Option("--cutoffs", help="mp-20, perov-5 or carbon-24; default: by the name of --data."),
    ] = None,
    relax: Annotated[bool, typer.Option("--relax", help="Relax with CHGNet and report stability.")] = False,
    relax_seconds: RelaxSeconds = RELAX_SECONDS,
    write_card: WriteCard = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder that stores each sampled crystal as CIF; --structures scores it later.",
        ),
    ] = None,
    workers: Workers = 2,
    device: Device = "auto",
    seed: Seed = None,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """New crystals: validity, coverage, distances of distributions, repeats, novelty and, with --relax, stability."""
    from crystal_core.conditions import DraftOptions, check_declared
    from crystal_core.datasets.rows import split_named
    from crystal_core.evaluation.validity import OXIDATION_TABLE
    from crystal_core.registry.store import find_card
    from crystal_core.requests import DeNovoRequest, SamplerTuning, seed_or_drawn
    from crystal_core.workflows import evaluate_dng
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
    if structures is not None or baseline is not None:
        refuse_tuning(tuned, "--baseline" if structures is None else "--structures", draft)
    make_output_folder(out, trajectory=False)
    published, split = evaluate_dng.cutoffs_named(cutoffs, data), split_named(split, data)
    set_threads(threads)
    potential = loaded_potential(device) if relax else None
    known_cells = evaluate_dng.read_reference_set(reference_set or data)
    settings: dict[str, Any] = {
        "model": model,
        "data": data.name,
        "split": split,
        "limit": limit,
        "seed": seed,
        "oxidation_states": OXIDATION_TABLE,
        "reference_set": shown(reference_set or data),
    }
    # whatever the request gets wrong ends it before the sampling, which takes hours
    files = None if structures is None else evaluate_dng.read_folder(structures)
    if sampled_anew:
        loaded = with_back_end(load_de_novo(model, device), back_end)
        check_declared(loaded.card, (), draft)
        options: Any = {"sampler": sampler, "steps": steps, "draft": draft, **tuned.tuning_fields}
        check_tuning(model, loaded, tuned, [DeNovoRequest(n_atoms=(1,), **options)])
    with progress(quiet=quiet) as show:
        known = evaluate_dng.read_known(data, split, limit, workers=workers, on_progress=show)
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
                model,
                n,
                sampler=sampler,
                steps=steps,
                tuning=tuned,
                draft=draft,
                seed=seed,
                device=device,
                on_progress=show,
                keep=keep,
            )
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
        )
    if potential is not None:
        settings |= {"relax": True, "relax_seconds": relax_seconds, "potential": potential.label}
    report |= {
        "seconds": round(time.monotonic() - began, 1),
        "seconds_sampling": round(sampled, 1),
        "settings": settings,
    }
    if write_card:
        _keep_report(model, report, tuned)
    if json:
        emit(report)
    else:
        _show(report)


def _check_source(
    structures: Path | None, baseline: str | None, out: Path | None, *, write_card: bool
) -> None:
    """Raise RequestError where the options disagree on what is scored, or where it is kept."""
    from crystal_core.errors import RequestError
    from crystal_core.workflows.naive_baselines import check_baseline

    if baseline is not None:
        check_baseline(baseline)
    if structures is not None and baseline is not None:
        raise RequestError("--structures and --baseline both say what to score; give one of them.")
    if structures is not None and out is not None:
        raise RequestError(
            "--out keeps what is sampled, and --structures samples nothing; leave one of them out."
        )
    if write_card and (structures is not None or baseline is not None):
        raise RequestError(
            "--write-card writes on the card of a model, which neither --structures nor --baseline has; leave it out."
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
        f"{report['n']} crystals, {report['n_failed']} failed; new: not among the {report['novel_means']['rows']} {report['novel_means']['name']}"
    )


def _bias_words(relaxation: dict[str, Any]) -> str:
    """By how much the potential is off on average, which the shares of stable crystals do not correct; empty where that was not measured."""
    bias = relaxation["e_above_hull_bias_ev"]
    return (
        ""
        if not bias
        else f", whose energy above the hull is {abs(bias):g} eV/atom too {'low' if bias < 0 else 'high'} on average"
    )


def _keep_report(model: str, report: dict[str, Any], tuned: SamplerTuning) -> None:
    """One entry per share on the card; distances, the loose tolerances and the command stand with ``valid``.

    What only relaxing tells has the command, too: a later report without relaxing takes the place of ``valid``.
    """
    from crystal_core.cards import write_card
    from crystal_core.registry.store import find_card
    from crystal_core.requests import tuning_words
    from crystal_core.workflows.evaluate_dng import cutoffs_named

    card, used = find_card(model), report["settings"]
    if card.folder is None:
        return
    split, cutoffs, relaxed = used["split"], report["cutoffs"], used.get("relax", False)
    rows = f"{report['n_known']} rows" + (
        " (fixed random subset, seed 0)" if used["limit"] else " (the whole split)"
    )
    sampler, draft = used.get("sampler_used"), used.get("draft", {})
    corrects = (sampler or "").startswith("pc")
    values = {
        words: used[key]
        for key, words in TUNING.items()
        if key in used and (corrects or key not in CORRECTOR)
    }
    strength = "".join(f", {words} {value:g}" for words, value in values.items())
    how = f"{sampler}, {used['steps_used']} steps{strength}, " if sampler else ""
    if "draft" in used:
        how = f"{drafts_words({key.removesuffix('_used'): value for key, value in used.items()})}, {how}"
    protocol = (
        f"{report['n']} crystals, {how}{used['network_calls_per_sample']} network calls, seed "
        f"{used['seed']}; against {rows} of {split}; SMACT table {used['oxidation_states']}; coverage cut-offs {cutoffs['structure']:g} and "
        f"{cutoffs['composition']:g}; new: not among {report['novel_means']['rows']} {report['novel_means']['name']}, StructureMatcher(0.2, 0.3, 5); {report['ci95_means']}"
        + (f"; relaxed with {used['potential']}{_bias_words(report['relaxation'])}" if relaxed else "")
    )
    options = f" --limit {used['limit']}" if used["limit"] else ""
    options += f" --sampler {sampler} --steps {used['steps_used']}" if sampler else ""
    options += "".join(
        f" --{OPTIONS.get(name, name)}" + ("" if value is True else f" {value}")
        for name, value in draft.items()
    )
    options += "".join(f" {word}" for word in tuning_words(asdict(tuned)))
    options += f" --reference-set {used['reference_set']}" if used["reference_set"] != used["data"] else ""
    options += (
        f" --cutoffs {cutoffs['of']}" if cutoffs["of"] != cutoffs_named(None, Path(used["data"])) else ""
    )
    options += " --relax" if relaxed else ""
    options += (
        f" --relax-seconds {used['relax_seconds']:g}"
        if relaxed and used["relax_seconds"] != RELAX_SECONDS
        else ""
    )
    command = f"crystal-core evaluate dng --data {used['data']} --model {model} --split {split} --n {report['n']}{options} --seed {used['seed']}"
    # other than the card's own way of refining
    way = f"_{draft['refiner']}" if "refiner" in draft else ""
    way += "_charge_balanced" if draft.get("charge_balance") else ""
    entries: dict[str, dict[str, Any]] = {
        f"{key}{way}_{split}": {
            "value": report[key],
            "ci95": report["ci95"][key],
            "n": report["n_known" if key == "cov_recall" else "n"],
            "data": used["data"],
            "protocol": protocol,
        }
        | ({"command": command} if key in AFTER_RELAXING else {})
        for key in (*SHARES, *AFTER_RELAXING)
        if report.get(key) is not None
    }
    entries[f"valid{way}_{split}"] |= {
        key: report[key] for key in DISTANCES if report.get(key) is not None
    } | {
        "unique_loose": report["loose"]["unique"],
        "novel_loose": report["loose"]["novel"],
        "n_failed": report["n_failed"],
        "command": command,
    }
    write_card(card.folder, {"metrics": entries})
