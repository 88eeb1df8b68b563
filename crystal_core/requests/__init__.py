"""Requests of users as plain values that become JSON. No torch, no pymatgen.

A request is validated when it is built and is frozen afterwards, so every part of the program that holds
one can trust it.
"""

from crystal_core.requests.convert import from_json, seed_or_drawn, to_json
from crystal_core.requests.generation import CrystalGenerationRequest
from crystal_core.requests.limits import (
    DTYPES,
    MAX_ATOMS,
    MAX_FORMULA,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_STEPS,
    MAX_THREADS,
    EffortName,
    PotentialName,
    RankName,
    SamplerName,
    StartKind,
    StartName,
    TuningName,
)
from crystal_core.requests.prediction import StructurePredictionRequest
from crystal_core.requests.properties import (
    LARGEST_VALUE,
    MAX_LEARNED,
    MAX_LEARNED_ATOMS,
    MAX_PREDICTED,
    MIN_LEARNED,
    LearnPropertyRequest,
    PropertyPredictionRequest,
)
from crystal_core.requests.relaxation import RelaxationRequest
from crystal_core.requests.sampling import (
    CARD_TUNING,
    CellSymmetry,
    DeNovoRequest,
    GenerationRequest,
    KnownParts,
    SamplerTuning,
    tuning_words,
)

__all__ = [
    "CARD_TUNING",
    "DTYPES",
    "LARGEST_VALUE",
    "MAX_ATOMS",
    "MAX_FORMULA",
    "MAX_LEARNED",
    "MAX_LEARNED_ATOMS",
    "MAX_PREDICTED",
    "MAX_SAMPLES",
    "MAX_SEED",
    "MAX_STEPS",
    "MAX_THREADS",
    "MIN_LEARNED",
    "CellSymmetry",
    "CrystalGenerationRequest",
    "DeNovoRequest",
    "EffortName",
    "GenerationRequest",
    "KnownParts",
    "LearnPropertyRequest",
    "PotentialName",
    "PropertyPredictionRequest",
    "RankName",
    "RelaxationRequest",
    "SamplerName",
    "SamplerTuning",
    "StartKind",
    "StartName",
    "StructurePredictionRequest",
    "TuningName",
    "from_json",
    "seed_or_drawn",
    "to_json",
    "tuning_words",
]
