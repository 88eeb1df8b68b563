"""``crystal-core evaluate pretraining``: the effect of pretraining on the validation error of a property."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._evaluation import named_path
from crystal_core.cli._files import trials_folder
from crystal_core.cli._lists import numbers, words
from crystal_core.cli._run import command, emit, progress, set_threads

if TYPE_CHECKING:
    from crystal_core.workflows.pretraining_study import PretrainingStudy

VARIANTS = "scratch,vae,latent,full,types,positions,lattice"
CONFIG = Path("crysldnet-cpu")


@command
def pretraining(
    data: Annotated[Path, typer.Option(help="Prepared file of 'crystal-core data prepare-properties'.")],
    label: Annotated[str, typer.Option("--property", help="The label to fine-tune on.")],
    variants: Annotated[
        str,
        typer.Option(
            help="Pretrainings, comma separated: scratch (none), vae, latent, full (vae, then latent), or "
            "vae on types, positions or lattice alone, with all labels only."
        ),
    ] = VARIANTS,
    fractions: Annotated[
        str, typer.Option(help="Shares of the training rows with the label, comma separated.")
    ] = "0.2,0.4,1",
    seeds: Annotated[int, typer.Option(min=1, help="Fine-tunings per pretraining.")] = 3,
    pretrain_rows: Annotated[
        int, typer.Option(min=2, help="Number of random training rows for the pretrainings.")
    ] = 10_000,
    pretrain_samples: Annotated[
        int, typer.Option(min=2, help="Crystals seen by each stage of a pretraining.")
    ] = 20_000,
    samples: Annotated[int, typer.Option(min=2, help="Crystals seen by each fine-tuning.")] = 10_000,
    kl_weights: Annotated[
        str, typer.Option(help="Also compare these weights of the KL term, comma separated.")
    ] = "",
    config: Annotated[
        Path, typer.Option(help="Training configuration that gives sizes and optimiser.")
    ] = CONFIG,
    encoder: Annotated[
        str | None, typer.Option(help="pddformer or matformer; the configuration's when absent.")
    ] = None,
    pdd_weight: Annotated[
        str | None,
        typer.Option(
            help="pddformer only: weight of an atom's row of distances, relative (the same in every cell of "
            "a crystal) or share (published)."
        ),
    ] = None,
    out: options.Trials = None,
    write_card: options.WriteCard = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Pretrain on training rows, fine-tune on shares of the labels, compare validation errors over seeds."""
    from crystal_core.workflows.evaluate_pretraining import evaluate_pretraining
    from crystal_core.workflows.pretraining_study import PretrainingStudy

    study = PretrainingStudy(
        label=label,
        variants=words(variants),
        fractions=numbers("--fractions", fractions),
        seeds=seeds,
        kl_weights=numbers("--kl-weights", kl_weights),
        pretrain_rows=pretrain_rows,
        pretrain_samples=pretrain_samples,
        samples=samples,
    )
    set_threads(threads)
    with trials_folder(out) as folder, progress(quiet=quiet) as show:
        report = evaluate_pretraining(
            study,
            data,
            config=config,
            encoder=encoder,
            pdd_weight=pdd_weight,
            out=folder,
            device=device,
            on_progress=show,
        )
    if write_card:
        used = _command(data, study, config, encoder, pdd_weight, variants, fractions, kl_weights)
        _keep(report, used)
    if json:
        emit(report)
        return
    for line in table_lines(report):
        typer.echo(line)


def _command(
    data: Path,
    study: PretrainingStudy,
    config: Path,
    encoder: str | None,
    pdd_weight: str | None,
    variants: str,
    fractions: str,
    kl_weights: str,
) -> str:
    words = [f"crystal-core evaluate pretraining --data {named_path(data)} --property {study.label}"]
    words += [f"--variants {variants} --fractions {fractions} --seeds {study.seeds}"]
    words += [f"--pretrain-rows {study.pretrain_rows} --pretrain-samples {study.pretrain_samples}"]
    words += [f"--samples {study.samples}"]
    words += [f"--kl-weights {kl_weights}"] if kl_weights else []
    words += [f"--config {named_path(config)}"] if config != CONFIG else []
    words += [f"--encoder {encoder}"] if encoder else []
    words += [f"--pdd-weight {pdd_weight}"] if pdd_weight else []
    return " ".join(words)


def _keep(report: dict[str, Any], used: str) -> None:
    """The table on the card of the property predictor, under the name of its encoder."""
    from crystal_core.cards import write_card
    from crystal_core.properties import PROPERTIES
    from crystal_core.registry.store import find_card
    from crystal_core.workflows.pretraining_study import STUDY

    card = find_card("crysldnet")
    if card.folder is None:
        return
    rows = [
        *({**report["pretraining"].get(row["variant"], {}), **row} for row in report["table"]),
        *({"variant": f"autoencoder, KL weight {row['kl_weight']:g}", **row} for row in report["kl"]),
    ]
    spec = PROPERTIES.get(report["property"])
    quantity = spec.title.lower() if spec else report["property"]
    table = {
        "pretraining": [row["variant"] for row in rows],
        "labels": [row["n_train"] for row in rows],
        "mae": [row["mae"] for row in rows],
        "std": ["" if row["std"] is None else row["std"] for row in rows],
        "seeds": [len(row["maes"]) for row in rows],
        "latent_std": [row.get("latent_std", "") for row in rows],
        "effective_rank": [row.get("effective_rank", "") for row in rows],
        "encoder": f"{report['encoder_words']}, {report['encoder_parameters']:,} parameters",
        "metric": f"MAE of the {quantity}, {report['unit']}",
        "mae_of_mean": report["mae_of_mean"],
        "protocol": (
            f"{report['n_validation']} validation rows; {report['pretrain_rows']:,} training rows without "
            f"labels, {report['pretrain_samples_per_stage']:,} crystals seen by each stage, "
            f"{report['samples']:,} by each fine-tuning"
        ),
        "command": used,
    }
    name = report["encoder_words"].lower().replace(" ", "_").replace(",", "")
    write_card(card.folder, {"extra": {f"{STUDY}{name}": table}})


def table_lines(report: dict[str, Any]) -> list[str]:
    """The report for people: a row per variant, a column per share of the labels."""
    fractions = list(dict.fromkeys(row["fraction"] for row in report["table"]))
    unit = f" {report['unit']}" if report["unit"] else ""
    measured = f"validation MAE of {report['property']}{unit}, {report['n_validation']} rows"
    network = f"{report['encoder_words']} of {report['encoder_parameters']:,} parameters"
    mean = f"{report['mae_of_mean']:g} for the mean of {report['n_train']} training rows"
    lines = [f"{measured}; {mean}; {network}"]
    if fractions:
        lines.append(f"{'':<10}" + "".join(f"{f'{100 * fraction:g} %':>20}" for fraction in fractions))
    for variant in dict.fromkeys(row["variant"] for row in report["table"]):
        cells = {row["fraction"]: _error(row) for row in report["table"] if row["variant"] == variant}
        lines.append(f"{variant:<10}" + "".join(f"{cells.get(fraction, ''):>20}" for fraction in fractions))
    lines += [
        f"KL weight {row['kl_weight']:g}: latent std {row['latent_std']:g}, effective rank "
        f"{row['effective_rank']:g}, MAE {_error(row)} at {100 * row['fraction']:g} %"
        for row in report["kl"]
    ]
    return lines


def _error(row: dict[str, Any]) -> str:
    return f"{row['mae']:.4f}" + (f" ± {row['std']:.4f}" if row["std"] is not None else "")
