"""Time the look-up of known crystals."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from crystal_core.reference.known import find_known
from crystal_core.reference.known_file import FILE, KnownIndex, load_known
from crystal_core.reference.measure_known import disguised


def benchmark_known(n: int, seed: int = 0) -> dict[str, Any]:
    """Milliseconds to open the file of known crystals, and of verdicts on disguised known crystals.

    Each crystal has a formula that was not read before.
    """
    began = time.perf_counter()
    opened = KnownIndex()
    opened.arrays(0)
    first = time.perf_counter() - began
    index, rng, seconds = load_known(), np.random.default_rng(seed), []
    for row in rng.choice(len(index), min(n, len(index)), replace=False).tolist():
        cell = disguised(index.cell(row), rng)
        began = time.perf_counter()
        find_known(cell, overlay=False)
        seconds.append(time.perf_counter() - began)
    median, slow = (1000 * np.percentile(seconds, [50, 95])).round(1).tolist()
    return {
        "milliseconds_to_open_and_read_one_block": round(1000 * first, 1),
        "milliseconds_of_a_verdict": median,
        "milliseconds_of_a_verdict_95_percent": slow,
        "crystals": len(index),
        "megabytes": round(FILE.stat().st_size / 1e6, 2),
        "n": len(seconds),
    }
