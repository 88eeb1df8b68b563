"""The settings of a training run, and those of a branch that ends it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

BRANCH = 0.1  # a branch decays over this share of the samples it begins with


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Optimiser settings of a training run.

    Attributes:
        planned_samples: crystals of all slices together, which fixes the learning-rate schedule.
        decay_fraction: the last part of the plan, in which the rate falls to zero along a cosine; before, it
            is constant. 0 for a trunk, of which branches decay (see :func:`branch_of`). The schedule counts
            samples, never seconds, so slices on machines of different speed make one run.
        schedule: "constant" is the above; "one-cycle" is torch's ``OneCycleLR`` over the plan, which also
            moves the first beta of AdamW.
        warmup_steps: linear start of "constant".
        ema_decay: per step, ramped up as min(decay, (1 + k) / (10 + k)).
        optimiser: "adamw" for every parameter, or "muon" for the matrices between hidden layers and
            AdamW for the rest.
        weight_decay: of AdamW, without parameters in whose name a part of ``no_decay`` stands.
        muon_weight_decay: of the matrices under Muon.
        precision: "auto" takes bf16 autocast where the device computes it fast, else float32.
        compile: let torch compile the network, where the machine has a compiler; takes a minute or two once.
    """

    batch_size: int = 128
    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-12
    no_decay: tuple[str, ...] = ()
    muon_weight_decay: float = 0.05
    amsgrad: bool = True
    planned_samples: int = 3_000_000
    schedule: Literal["constant", "one-cycle"] = "constant"
    decay_fraction: float = 0.3
    warmup_steps: int = 200
    ema_decay: float = 0.999
    clip_norm: float = 0.0
    precision: str = "auto"
    compile: bool = False
    seed: int = 42
    save_every_minutes: float = 5.0


def branch_of(config: FitConfig, samples: int) -> FitConfig:
    """The end of a run that branches off: the rate falls to zero over another tenth of its samples."""
    planned = samples + max(config.batch_size, round(BRANCH * samples))
    fall = (planned - samples) / planned
    return replace(config, planned_samples=planned, schedule="constant", decay_fraction=fall)
