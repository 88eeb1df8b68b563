"""``crystal-core evaluate``: the published protocols."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from crystal_core.cli._run import Device, Json, Quiet, Seed, Threads, command, emit, say

CHUNK = 64


@command
def csp(
    data: Annotated[Path, typer.Option("--data", help="Parquet file of the data schema.")],
    model: Annotated[str, typer.Option("--model")] = "kldm-csp-mp",
    split: Annotated[str, typer.Option("--split")] = "val",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="A fixed random subset (seed 0) of so many rows.")] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, max=100, help="Candidates per reference.")] = 1,
    sampler: Annotated[str, typer.Option("--sampler")] = "fast",
    steps: Annotated[int | None, typer.Option("--steps")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1)] = 2,
    device: Device = "auto",
    seed: Seed = 0,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Structure prediction: match rate and RMSE with the true composition of each reference."""
    import numpy as np
    import torch
    from pymatgen.core import Lattice, Structure

    from crystal_core.datasets.rows import read_rows
    from crystal_core.errors import RequestError
    from crystal_core.evaluation.csp import judge_all, summarise
    from crystal_core.registry.store import load_generator
    from crystal_core.requests import GenerationRequest
    from crystal_core.structures import to_structures

    began = time.monotonic()
    if threads:
        torch.set_num_threads(threads)
    rows = list(read_rows(data, split))
    if not rows:
        raise RequestError(f"{data.name} has no rows in the split '{split}'.")
    order = np.random.default_rng(0).permutation(len(rows))[: limit or len(rows)]
    # alike sizes together: an equal-size chunk is the fastest
    order = sorted(order, key=lambda i: len(rows[i].atomic_numbers))
    generator = load_generator(model, device)
    candidates: list[list[Structure | None]] = []
    calls = 0
    seed = 0 if seed is None else seed
    for first in range(0, len(order), CHUNK):
        part = [rows[i] for i in order[first : first + CHUNK]]
        compositions = tuple(tuple(int(z) for z in row.atomic_numbers) for row in part for _ in range(samples))
        request = GenerationRequest(
            compositions=compositions, sampler=sampler, steps=steps, seed=seed + first, frame_every=5000,
        )  # type: ignore[arg-type]  # fmt: skip
        frame = None
        for frame in generator.sample(request):
            calls += 1
        structures = to_structures(frame.crystals)
        candidates += [structures[k * samples : (k + 1) * samples] for k in range(len(part))]
        if not quiet:
            say(f"{min(first + CHUNK, len(order))}/{len(order)} sampled, {time.monotonic() - began:.0f} s")
    sampled = time.monotonic() - began
    references = [
        Structure(Lattice(rows[i].lattice), rows[i].atomic_numbers.tolist(), rows[i].frac_coords) for i in order
    ]
    seen = getattr(generator, "seen_formulas", None) or generator.card.extra.get("seen_formulas")
    report = summarise(judge_all(references, candidates, workers=workers), seen)
    settings = generator.settings(GenerationRequest(compositions=((1,),), sampler=sampler, steps=steps)) if hasattr(generator, "settings") else None
    report |= {
        "seconds": round(time.monotonic() - began, 1),
        "seconds_sampling": round(sampled, 1),
        "settings": {
            "model": model, "data": data.name, "split": split, "limit": limit, "samples": samples, "seed": seed,
            "sampler": settings.name if settings else sampler, "steps": settings.steps if settings else steps,
            "network_calls_per_sample": settings.steps * settings.calls_per_step if settings else 0,
            "oxidation_states": "smact14", "fingerprint_filter": "not applied",
        },
    }  # fmt: skip
    if json:
        emit(report)
    else:
        typer.echo(f"match rate {100 * report['match_rate']:.1f} % {report['ci95']}  RMSE {report['rmse']}  n {report['n']}")
