"""The request of a screening campaign: many crystals, filtered, relaxed and ranked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from crystal_core.checks import check_choice, check_number, check_whole
from crystal_core.errors import RequestError
from crystal_core.requests.generation import CrystalGenerationRequest
from crystal_core.requests.limits import MAX_SAMPLES, MAX_SEED, PotentialName

Check = Literal["valid", "charge-balanced", "plausible", "connected", "new", "distinct"]
Order = Literal["lowest", "highest"]
CHECKS = get_args(Check)
OF_RELAXING = ("e_above_hull_ev", "formation_energy_per_atom_ev")  # properties that a relaxation gives
MAX_SCREENED = 1_000_000
SPREAD = 2_654_435_761  # odd, so that different batches of a campaign have different seeds
NOT_OF_CRYSTALS = ("n", "seed", "device", "threads", "keep_trajectory")  # fields that each batch has anew


@dataclass(frozen=True, kw_only=True)
class Window:
    """The smallest and the largest value of a property, in its unit; None for an open end."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise RequestError("A window needs min, max or both, e.g. { min = 1, max = 2 }.")
        for name, value in (("min", self.min), ("max", self.max)):
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
            ):
                raise RequestError(f"{name} must be a number, not {value!r}.")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise RequestError(f"min {self.min:g} is above max {self.max:g}, so no crystal could pass.")

    def holds(self, value: float) -> bool:
        """Whether the value lies in the window, both ends included."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


@dataclass(frozen=True, kw_only=True)
class RelaxationLimits:
    """How each crystal is relaxed.

    Attributes:
        fmax: done when no force is larger, eV/Å. steps: at most so many. None takes the usual value.
        seconds: time limit; None for no limit. With one, a slower machine may give other crystals.
    """

    potential: PotentialName = "chgnet"
    fmax: float | None = None
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        check_choice("potential", self.potential, get_args(PotentialName))
        check_number("fmax (eV/Å)", self.fmax, 1e-4, 9.99, optional=True)
        check_whole("steps", self.steps, 1, 5000, optional=True)
        check_number("seconds", self.seconds, 1, 86_400, optional=True)


@dataclass(frozen=True, kw_only=True)
class RankBy:
    """The property by which crystals are ranked; ``order`` says which values come first."""

    by: str
    order: Order = "lowest"

    def __post_init__(self) -> None:
        if not isinstance(self.by, str) or not self.by.strip():
            raise RequestError(f"by must be the name of a property, e.g. e_above_hull_ev, not {self.by!r}.")
        check_choice("order", self.order, get_args(Order))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A part of a campaign that one process works through.

    Attributes:
        number: of the batch, from 0. first: number of its first crystal, from 1. n: crystals.
        seed: of its generation.
    """

    number: int
    first: int
    n: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class ScreeningRequest:
    """A campaign: generate crystals in batches, filter them, relax and rank what passes.

    Attributes:
        generate: the crystals of every batch; its number, seed, device and threads do not count.
        n: crystals to generate.
        seed: of the campaign; that of a batch follows from it and the number of the batch.
        batch: crystals sampled together, on which they depend as on the seed.
        checks: that a crystal must pass, in the order in which they are made. See
            :mod:`crystal_core.workflows.screen.filters`.
        windows: property → values that pass. Those of :data:`OF_RELAXING` are of the relaxed crystal where
            crystals are relaxed; all others, and these without relaxing, are predicted.
        predictor: property predictor for them.
        relax: how crystals that pass are relaxed, or None. Relaxed ones are checked again.
        rank: what they are ranked by, or None for the order of generation.
    """

    generate: CrystalGenerationRequest
    n: int
    seed: int
    batch: int = 16
    checks: tuple[Check, ...] = ()
    windows: Mapping[str, Window] = field(default_factory=dict)
    predictor: str = "crysldnet"
    relax: RelaxationLimits | None = None
    rank: RankBy | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        check_whole("n (crystals)", self.n, 1, MAX_SCREENED)
        check_whole("seed", self.seed, 0, MAX_SEED)
        check_whole("batch (crystals)", self.batch, 1, MAX_SAMPLES)
        for name in self.checks:
            check_choice("check", name, CHECKS)
        if len(set(self.checks)) < len(self.checks):
            raise RequestError("A check is named twice; name each once.")
        if not isinstance(self.predictor, str) or not self.predictor.strip():
            raise RequestError(f"predictor must be the name of a model, not {self.predictor!r}.")

    @property
    def batches(self) -> list[Batch]:
        """All parts of the campaign; the first do not depend on the number of crystals."""
        base = int.from_bytes(hashlib.sha256(str(self.seed).encode()).digest()[:8])
        return [
            Batch(
                number=number,
                first=first + 1,
                n=min(self.batch, self.n - first),
                seed=(base + SPREAD * number) % (MAX_SEED + 1),
            )
            for number, first in enumerate(range(0, self.n, self.batch))
        ]

    @property
    def predicted(self) -> tuple[str, ...]:
        """Properties that a predictor computes, for a window or for the ranking."""
        named = dict.fromkeys([*self.windows, *([self.rank.by] if self.rank else [])])
        return tuple(name for name in named if self.relax is None or name not in OF_RELAXING)

    @property
    def of_crystals(self) -> dict[str, Any]:
        """All that the crystals depend on, as JSON; not how many there are."""
        described = asdict(self)
        del described["n"]
        described["generate"] = {
            name: value for name, value in described["generate"].items() if name not in NOT_OF_CRYSTALS
        }
        return described
