"""Names that requests choose from, and the largest values they take."""

from __future__ import annotations

from typing import Literal

SamplerName = Literal["fast", "em", "exp-em", "pc", "pc-pf", "ode"]
StartName = Literal["noise", "prototype", "both", "draft", "all"]
StartKind = Literal["renoise", "inject"]
TuningName = Literal["card", "published"]
RankName = Literal["consensus", "energy", "pattern", "evidence"]
EffortName = Literal["quick", "normal", "thorough"]
PotentialName = Literal["chgnet"]
MAX_SAMPLES = 200
MAX_STEPS = 5000
DTYPES = ("float32", "bfloat16")
MAX_ATOMS = 60
MAX_FORMULA = 200  # characters
MAX_SEED = 2**31 - 1
MAX_PART_SEED = 2**63 - 1  # parts of a run count on from its seed
MAX_RELAX_SECONDS = 3600
MAX_THREADS = 512
