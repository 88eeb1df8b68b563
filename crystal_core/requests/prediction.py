"""The request for the crystal structure of a formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from crystal_core.checks import check_choice, check_whole
from crystal_core.conditions import DraftOptions
from crystal_core.errors import RequestError
from crystal_core.requests.limits import (
    DTYPES,
    MAX_FORMULA,
    MAX_RELAX_SECONDS,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_STEPS,
    MAX_THREADS,
    EffortName,
    PotentialName,
    RankName,
    SamplerName,
    StartName,
)
from crystal_core.requests.sampling import SamplerTuning

MAX_FORMULA_UNITS = 30


@dataclass(frozen=True, kw_only=True)
class StructurePredictionRequest(SamplerTuning, DraftOptions):
    """A formula to turn into ranked candidate cells.

    Attributes:
        formula: what the chemist typed, e.g. ``TiO2``.
        z: formula units per cell to try; None tries those most frequent in training, at most three.
        exact_cell: the formula is the exact cell content; ``z`` is then not allowed.
        n_samples: samples per number of formula units.
        start: from noise, from a known prototype at an intermediate time, or both; from drafts of a language
            model, which the model refines; or all of these.
        rank: by consensus (how many candidates are alike); by energy: of the relaxed cells with ``relax``,
            else of the cells as sampled; by likeness to ``pattern``; or by all evidence, see
            :mod:`crystal_core.evaluation.ranking`.
        pattern: a measured powder pattern (two_theta in degrees, intensity, wavelength), or None; each
            candidate tells how alike its own is, see :mod:`crystal_core.evaluation.powder_pattern`.
        guide: let it guide sampling, too.
        relax: relax the most promising different structures with ``potential``, as many as
            :data:`crystal_core.workflows.predict_structure.MOST_RELAXED`; the cell as sampled
            is kept beside it.
        relax_seconds: time limit of one relaxation.
        seed: None draws one, which the result reports.
        dtype: of the network's products, float32 or bfloat16.
        effort: how much is tried; it decides on start, samples, relaxing and rank, see
            :mod:`crystal_core.workflows.effort`. None leaves them as the other fields say.
    """

    formula: str
    z: tuple[int, ...] | None = None
    exact_cell: bool = False
    n_samples: int = 10
    model: str = "kldm-csp-mp"
    sampler: SamplerName = "fast"
    steps: int | None = None
    start: StartName = "both"
    rank: RankName = "consensus"
    pattern: Mapping[str, Any] | None = None
    guide: bool = False
    relax: bool = False
    potential: PotentialName = "chgnet"
    relax_seconds: int = 120
    seed: int | None = None
    dtype: str = "float32"
    device: str = "auto"
    threads: int | None = None
    keep_trajectory: bool = True
    effort: EffortName | None = None

    @property
    def wants_energies(self) -> bool:
        """Whether a potential has to be loaded."""
        return self.relax or self.rank in ("energy", "evidence")

    def __post_init__(self) -> None:
        if not isinstance(self.formula, str) or not self.formula.strip():
            raise RequestError("Type a formula, e.g. TiO2.")
        if len(self.formula) > MAX_FORMULA:
            raise RequestError(
                "The formula is longer than 200 characters; write element symbols and counts, e.g. TiO2."
            )
        check_choice("sampler", self.sampler, get_args(SamplerName))
        self._check_tuning(self.sampler, draws_types=False)
        DraftOptions.__post_init__(self)
        self.check_open_composition("the formula")
        self.check_no_rewrites("a prediction")
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("start", self.start, get_args(StartName))
        check_choice("rank", self.rank, get_args(RankName))
        check_choice("effort", "normal" if self.effort is None else self.effort, get_args(EffortName))
        if self.pattern is None and self.rank == "pattern":
            raise RequestError("To rank by a pattern, give the measured one.")
        if not isinstance(self.guide, bool):
            raise RequestError(f"guide must be true or false, not {self.guide!r}.")
        if self.pattern is None and self.guide:
            raise RequestError("To be guided by a pattern, give the measured one.")
        if self.pattern is not None and not (
            isinstance(self.pattern, Mapping) and {"two_theta", "intensity"} <= set(self.pattern)
        ):
            raise RequestError(
                "A pattern needs two_theta (degrees) and intensity, a number each for every point."
            )
        check_choice("potential", self.potential, get_args(PotentialName))
        if not isinstance(self.relax, bool):
            raise RequestError(f"relax must be true or false, not {self.relax!r}.")
        check_whole("n (samples)", self.n_samples, 1, MAX_SAMPLES)
        check_whole("steps", self.steps, 1, MAX_STEPS, optional=True)
        check_whole("seed", self.seed, 0, MAX_SEED, optional=True)
        check_whole("threads", self.threads, 1, MAX_THREADS, optional=True)
        check_whole("relax_seconds", self.relax_seconds, 1, MAX_RELAX_SECONDS)
        if self.relax_seconds is None:
            raise RequestError("relax_seconds needs a number of seconds.")
        if self.z is not None:
            if self.exact_cell:
                raise RequestError(
                    "With the exact cell given, the number of formula units is fixed; leave out Z."
                )
            if not isinstance(self.z, tuple) or not self.z:
                raise RequestError("Give at least one number of formula units, e.g. 1,2,4.")
            for value in self.z:
                check_whole("Z", value, 1, MAX_FORMULA_UNITS)
