"""``crystal-core benchmark``: how fast this machine samples and trains."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crystal_core.cli import options
from crystal_core.cli._run import command, emit

Model = Annotated[str | None, typer.Option("--model", help="A checkpoint, with its own weights.")]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        help="Random weights at a declared size: published or cpu of KLDM, diffcsp-published or diffcsp-cpu.",
    ),
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Crystals per batch.")]
Atoms = Annotated[int, typer.Option("--n-atoms", min=1, help="Atoms per crystal.")]
Repeats = Annotated[int, typer.Option("--repeats", min=1, help="Measurements; their median is reported.")]


@command
def sampling(
    model: Model = None,
    size: Size = None,
    batch: Batch = 64,
    n_atoms: Atoms = 10,
    steps: Annotated[int, typer.Option(min=1, help="Network calls per crystal.")] = 1,
    repeats: Repeats = 5,
    dtype: options.Dtype = "float32",
    reference: Annotated[
        bool, typer.Option("--reference", help="Also time the plain form of the network.")
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Seconds of one network call while sampling."""
    from crystal_core.benchmarks.speed import benchmark_sampling

    _show(
        benchmark_sampling(
            _size(size, model, "published"),
            batch,
            n_atoms,
            repeats,
            dtype,
            model=model,
            steps=steps,
            reference=reference,
            device=device,
            threads=threads,
        ),
        json=json,
    )


@command
def train(
    model: Model = None,
    size: Size = None,
    batch: Batch = 64,
    n_atoms: Atoms = 10,
    repeats: Repeats = 5,
    dtype: options.Dtype = "float32",
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Seconds of one training step (forward, backward, AdamW)."""
    from crystal_core.benchmarks.speed import benchmark_training

    _show(
        benchmark_training(
            _size(size, model, "cpu"),
            batch,
            n_atoms,
            repeats,
            dtype,
            model=model,
            device=device,
            threads=threads,
        ),
        json=json,
    )


@command
def graph(
    batch: Batch = 64,
    n_atoms: Atoms = 10,
    repeats: Repeats = 9,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Milliseconds of building one crystal's graph, beside the plain form."""
    from crystal_core.benchmarks.graphs import benchmark_graph

    _show(benchmark_graph(batch, n_atoms, repeats, threads=threads), json=json)


@command
def encoder(
    name: Annotated[
        str,
        typer.Option("--encoder", help="crysldnet (published size), small (ours), pddformer or matformer."),
    ] = "crysldnet",
    batch: Batch = 64,
    n_atoms: Atoms = 10,
    repeats: Repeats = 5,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Seconds of a property encoder's forward pass and training step, beside the plain form."""
    from crystal_core.benchmarks.graphs import benchmark_encoder

    _show(benchmark_encoder(name, batch, n_atoms, repeats, device=device, threads=threads), json=json)


@command
def predict(
    model: Annotated[str, typer.Option(help="A property predictor.")] = "crysldnet",
    batch: Annotated[int, typer.Option(min=1, help="Crystals of one request.")] = 1000,
    n_atoms: Atoms = 10,
    repeats: Repeats = 3,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Crystals per second of a property predictor, graphs and nearest training crystals included."""
    from crystal_core.benchmarks.properties import benchmark_predict

    _show(benchmark_predict(model, batch, n_atoms, repeats, device=device, threads=threads), json=json)


@command
def predict_structure(
    formulas: Annotated[
        list[str] | None,
        typer.Argument(help="Formulas; sixteen of 2 to 40 atoms when absent.", show_default=False),
    ] = None,
    effort: Annotated[
        str, typer.Option("--effort", help="quick, normal or thorough, or several with commas.")
    ] = "quick",
    runs: Annotated[
        int, typer.Option("--runs", min=1, max=10, help="Runs of each formula; the first loads everything.")
    ] = 2,
    warm_up: Annotated[
        bool,
        typer.Option("--warm-up", help="Load everything beforehand, as the worker of an open page does."),
    ] = False,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Processor seconds of a structure prediction by phase, and how good its estimate of the time left is."""
    from crystal_core.benchmarks.prediction import FORMULAS, benchmark_prediction, in_words

    report = benchmark_prediction(
        formulas or FORMULAS, effort.split(","), runs, warm_up=warm_up, threads=threads
    )
    emit(report) if json else typer.echo("\n".join(in_words(row) for row in report["rows"]))


@command
def relax(
    formula: Annotated[str, typer.Option(help="Formula whose prototypes are relaxed.")] = "TiO2",
    n_atoms: Annotated[int, typer.Option(min=1, help="Atoms per cell.")] = 12,
    n: Annotated[int, typer.Option(min=1, max=100, help="Candidates.")] = 10,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference", help="Also relax each candidate to its end with CHGNet's own derivatives."
        ),
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Seconds to relax the candidates of one formula against each other."""
    from crystal_core.benchmarks.relax import benchmark_relax

    _show(
        benchmark_relax(formula, n_atoms, n, reference=reference, device=device, threads=threads), json=json
    )


@command
def text(
    model: Annotated[str | None, typer.Option(help="A small language model, with its weights.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Size of a model with random weights: 3m, 10m or 26m; 3m when absent.")
    ] = None,
    batch: Batch = 64,
    n_atoms: Atoms = 10,
    words_batch: Annotated[
        int,
        typer.Option("--batch-135m", min=1, help="Drafts per batch of the model with 135 million weights."),
    ] = 8,
    repeats: Repeats = 3,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Drafts per second of the small language model, and of one with 135 million weights."""
    from crystal_core.benchmarks.text import benchmark_text

    _show(
        benchmark_text(
            _size(size, model, "3m"),
            batch,
            n_atoms,
            repeats,
            model=model,
            words_batch=words_batch,
            device=device,
            threads=threads,
        ),
        json=json,
    )


@command
def known(
    n: Annotated[int, typer.Option(min=1, help="Number of crystals to look up.")] = 200,
    json: options.Json = False,
) -> None:
    """Time of one look-up in the index of known crystals, in milliseconds."""
    from crystal_core.benchmarks.known import benchmark_known

    _show(benchmark_known(n), json=json)


@command
def page(
    sessions: Annotated[int, typer.Option(min=1, max=200, help="Readers at once.")] = 4,
    jobs: Annotated[int, typer.Option(min=0, max=20, help="Runs in the queue meanwhile.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, help="How long pages are loaded.")] = 30.0,
    pause: Annotated[
        float, typer.Option(min=0, max=60, help="Mean seconds that a reader looks at a page before the next.")
    ] = 1.25,
    pages: Annotated[str | None, typer.Option(help="Names with commas; all when absent.")] = None,
    json: options.Json = False,
) -> None:
    """Seconds until a page of the app is there, for several readers at once."""
    from crystal_core.benchmarks.pages import PAGES, benchmark_pages

    _show(
        benchmark_pages(sessions, jobs, seconds, pages.split(",") if pages else PAGES, pause=pause), json=json
    )


def _size(size: str | None, model: str | None, default: str) -> str | None:
    return default if size is None and model is None else size


def _show(report: dict[str, Any], *, json: bool) -> None:
    emit(report) if json else typer.echo("\n".join(f"{k}: {v}" for k, v in report.items()))
