"""Time a property predictor on random cells."""

from __future__ import annotations

from typing import Any

import torch

from crystal_core.benchmarks.graphs import random_crystals
from crystal_core.benchmarks.speed import describe_device, medians_in_turn
from crystal_core.device import pick_device
from crystal_core.registry.store import load_predictor


def benchmark_predict(
    model: str, batch: int, n_atoms: int, repeats: int, *, device: str = "auto", threads: int | None = None
) -> dict[str, Any]:
    """Median seconds of one request for all properties of ``batch`` crystals."""
    if threads:
        torch.set_num_threads(threads)
    predictor = load_predictor(model, device)
    crystals = random_crystals(batch, n_atoms)
    place = pick_device(device)
    (seconds,) = medians_in_turn((lambda: predictor.predict(crystals),), repeats, place)
    return {
        "seconds": round(seconds, 3),
        "crystals_per_second": round(batch / seconds, 1),
        "properties": len(predictor.properties),
        **describe_device(place),
    }
