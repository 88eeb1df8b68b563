"""Options that several commands share, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crystal_core.paths import data_file

Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Seed of every random draw; drawn and reported when absent.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all when absent.")]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="Precision of the network's matrix products: float32, "
        "or bfloat16 where the device computes it faster.",
    ),
]
Model = Annotated[str, typer.Option("--model", help="A name of 'crystal-core models list'.")]
Sampler = Annotated[
    str,
    typer.Option(
        "--sampler", help="fast or default, as the card has them, or a sampler of the model, e.g. pc."
    ),
]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="Steps of the sampler; its usual number when absent.")
]
Tuning = Annotated[
    str,
    typer.Option(
        "--tuning",
        help="card: the values that the model card chose on validation rows; published: "
        "those of the method's publication.",
    ),
]
Tau = Annotated[
    float | None,
    typer.Option("--tau", help="Corrector strength of pc and pc-pf; that of --tuning when absent."),
]
DraftTau = Annotated[
    float | None,
    typer.Option(
        "--tau",
        help="Corrector strength of pc and pc-pf; for drafts of a language model, "
        "the refiner's first step, 1 to 1000.",
    ),
]
Refiner = Annotated[
    str | None,
    typer.Option(
        "--refiner",
        help="Refiner of drafts: kldm, "
        "diffcsp or a checkpoint for structure prediction; none shows the drafts.",
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        help="Temperature of a language model's tokens; below 1 gives likelier, less diverse crystals.",
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        help="Top-p: share of the probability, likeliest tokens first, from which a language model draws.",
    ),
]
ChargeBalance = Annotated[
    bool,
    typer.Option(
        "--charge-balance",
        help="Compositions pass SMACT's test: drafts that fail are written again, and a KLDM model "
        "exchanges an element where it fails.",
    ),
]
Rewrites = Annotated[
    int | None,
    typer.Option(
        "--rewrites",
        help="How often a draft is written again at most while it lacks the requested space group or misses "
        "a target, as crysldnet predicts it; 3 when absent.",
    ),
]
BackEnd = Annotated[
    str | None,
    typer.Option(
        "--back-end",
        help="Language model: tiny, smollm2 or a folder; that of --model when absent.",
    ),
]
NoiseScale = Annotated[
    float | None,
    typer.Option(
        "--noise-scale",
        help="Factor on the corrector's noise; below 1 gives likelier, less diverse crystals.",
    ),
]
Remasking = Annotated[
    float | None,
    typer.Option(
        "--remasking",
        help="How often a drawn atom type is masked and drawn again per unit time; "
        "only for models with masked types.",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for CIF files, run.json and run.extxyz.")]
Queue = Annotated[bool, typer.Option("--queue", help="Submit to the queue that the app shows, and wait.")]

# of evaluations
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        callback=data_file,
        help="Parquet file of the data schema, CSV with CIFs, or folder of CIFs; "
        "also by name from CRYSTAL_DATA.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option("--split", help="train, val, test or all; default: val where the data have it, else all."),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="Size of a fixed random subset (seed 0) of the rows.")
]
RelaxSeconds = Annotated[
    float, typer.Option("--relax-seconds", min=1.0, help="Time limit of one relaxation.")
]
WriteCard = Annotated[
    bool,
    typer.Option(
        "--write-card", help="Store the result: on the card of a model, or among those of the baselines."
    ),
]
Output = Annotated[Path, typer.Option("--output", help="The file to write.")]
PreparingWorkers = Annotated[int, typer.Option("--workers", min=1, help="Processes that prepare rows.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that judge and relax.")]
Trials = Annotated[
    Path | None,
    typer.Option("--out", help="Folder that stores finished trials; the same call later continues from it."),
]
