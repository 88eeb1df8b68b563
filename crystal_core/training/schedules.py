"""Learning rates over a training, as factors of the largest one."""

from __future__ import annotations

import math

CYCLE_RISE = 0.3  # share of the steps in which the rate of one cycle rises
CYCLE_START, CYCLE_END = 1 / 25, 1 / 25e4
CYCLE_BETAS = (0.95, 0.85)  # first moment of AdamW at the smallest and at the largest rate


def constant_then_cosine(done: float, fall: float) -> float:
    """1, and along a cosine to 0 over the last part of a plan; ``done`` and ``fall`` are shares of it."""
    if fall > 0 and done > 1 - fall:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - 1 + fall) / fall)))
    return 1.0


def one_cycle(samples: int, planned: int, batch_size: int) -> tuple[float, float]:
    """Factor of the rate, and the first beta of AdamW (Smith and Topin 2019, arXiv 1708.07120).

    Equal to torch's ``OneCycleLR`` with its defaults, and a function of the samples seen alone.
    """
    step, steps = samples / batch_size, planned / batch_size
    top, last = CYCLE_RISE * steps - 1, steps - 1
    if step <= top:
        rise = _cosine(step / top) if top > 0 else 1.0
        factor = CYCLE_START + (1 - CYCLE_START) * rise
    else:
        rise = 1 - _cosine(min(1.0, (step - top) / max(last - top, 1e-9)))
        factor = CYCLE_END + (1 - CYCLE_END) * rise
    low, high = CYCLE_BETAS
    return factor, low + (high - low) * rise


def _cosine(share: float) -> float:
    """0 to 1 along half a cosine."""
    return 0.5 * (1 - math.cos(math.pi * share))
