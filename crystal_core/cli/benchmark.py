"""``crystal-core benchmark``: how fast this machine samples and trains."""

from __future__ import annotations

from typing import Annotated

import typer

from crystal_core.cli._run import Device, Json, Threads, command, emit


@command
def sampling(
    size: Annotated[str, typer.Option("--size", help="published (random weights at the published size) or cpu.")] = "published",
    batch: Annotated[int, typer.Option("--batch", min=1)] = 64,
    n_atoms: Annotated[int, typer.Option("--n-atoms", min=1)] = 10,
    repeats: Annotated[int, typer.Option("--repeats", min=1)] = 5,
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or bfloat16.")] = "float32",
    reference: Annotated[bool, typer.Option("--reference", help="Also time the plain form.")] = False,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Seconds of one network call while sampling."""
    from crystal_core.benchmarks.speed import benchmark_sampling

    report = benchmark_sampling(size, batch, n_atoms, repeats, dtype, reference=reference, device=device, threads=threads)
    emit(report) if json else typer.echo("\n".join(f"{k}: {v}" for k, v in report.items()))


@command
def train(
    size: Annotated[str, typer.Option("--size")] = "cpu",
    batch: Annotated[int, typer.Option("--batch", min=1)] = 64,
    n_atoms: Annotated[int, typer.Option("--n-atoms", min=1)] = 10,
    repeats: Annotated[int, typer.Option("--repeats", min=1)] = 5,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Seconds of one training step (forward, backward, AdamW)."""
    from crystal_core.benchmarks.speed import benchmark_training

    report = benchmark_training(size, batch, n_atoms, repeats, device=device, threads=threads)
    emit(report) if json else typer.echo("\n".join(f"{k}: {v}" for k, v in report.items()))
