"""The request to a sampler: cells to fill, and its tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_args

from crystal_core.checks import check_choice, check_number, check_strength, check_whole
from crystal_core.conditions import CARD_DRAFT, Conditions, DraftOptions
from crystal_core.errors import RequestError
from crystal_core.requests.limits import (
    DTYPES,
    MAX_ATOMS,
    MAX_PART_SEED,
    MAX_STEPS,
    SamplerName,
    StartKind,
    TuningName,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crystal_core.crystal import CrystalBatch
    from crystal_core.guides.protocol import DraftJudge, Guide

WITHOUT_CORRECTOR = ("em", "exp-em", "ode")  # samplers on which the corrector's values have no effect
MIN_TAU, MAX_TAU = 0.001, 10.0
MAX_NOISE_SCALE = 2.0
MAX_REMASKING = 1000.0


@dataclass(frozen=True, kw_only=True)
class SamplerTuning:
    """The tuning of a sampler, besides name and steps; the requests below inherit these fields.

    Attributes:
        tuning: where the values come from that are None here: "card" takes those that the model card chose on
            validation rows, "published" those of the method's publication.
        tau: strength of the corrector (pc, pc-pf).
        noise_scale: factor on the corrector's noise in velocities and lattice; 1 is the published process.
        remasking: how often a drawn type is hidden and drawn again in unit time; 0 is the published process.
            Only for de novo models that hide types.
    """

    tuning: TuningName = "card"
    tau: float | None = None
    noise_scale: float | None = None
    remasking: float | None = None

    def __post_init__(self) -> None:
        check_choice("tuning", self.tuning, get_args(TuningName))
        check_number("tau", self.tau, MIN_TAU, MAX_TAU, optional=True)
        check_number("noise_scale", self.noise_scale, 0, MAX_NOISE_SCALE, optional=True)
        check_number("remasking", self.remasking, 0, MAX_REMASKING, optional=True)

    @property
    def tuning_values(self) -> dict[str, float]:
        """The values that are set here, by name."""
        values = {"tau": self.tau, "noise_scale": self.noise_scale, "remasking": self.remasking}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def tuning_fields(self) -> dict[str, Any]:
        """All fields of this class, to build another request with the same tuning."""
        return {field.name: getattr(self, field.name) for field in fields(SamplerTuning)}

    def _check_tuning(self, sampler: str, *, draws_types: bool) -> None:
        SamplerTuning.__post_init__(self)
        if sampler in WITHOUT_CORRECTOR and (idle := set(self.tuning_values) & {"tau", "noise_scale"}):
            raise RequestError(
                f"The sampler {sampler} has no corrector, so {' and '.join(sorted(idle))} would change "
                "nothing; choose pc or pc-pf, or leave it out."
            )
        if self.remasking is not None and not draws_types:
            raise RequestError(
                "Structure prediction is given the types of all atoms, "
                "so remasking would change nothing; leave it out."
            )


CARD_TUNING = SamplerTuning()


def tuning_words(settings: Mapping[str, Any]) -> list[str]:
    """Command-line options for a JSON request's tuning; none for old requests without tuning."""
    tuning = settings.get("tuning", "card")
    words = [] if tuning == "card" else ["--tuning", tuning]
    for name, option in (("tau", "--tau"), ("noise_scale", "--noise-scale"), ("remasking", "--remasking")):
        words += [] if settings.get(name) is None else [option, str(settings[name])]
    return words


@dataclass(frozen=True, kw_only=True)
class SamplerRun(SamplerTuning):
    """A sampler and its steps, as both kinds of sampling take them.

    Attributes:
        sampler: see ``crystal_core.sampling``; "fast" is the card's low-step default.
        steps: time steps; None takes the sampler's default of the model card.
        seed: seeds every random draw.
        frame_every: emit a snapshot every so many steps (the last step always is one).
        dtype: of the network's products: float32, or bfloat16 where the device is faster with it (off by
            about 5e-3 a call).
    """

    sampler: SamplerName = "fast"
    steps: int | None = None
    seed: int = 0
    frame_every: int = 10
    dtype: str = "float32"

    def _check_run(self, *, draws_types: bool) -> None:
        check_choice("sampler", self.sampler, get_args(SamplerName))
        self._check_tuning(self.sampler, draws_types=draws_types)
        check_whole("steps", self.steps, 1, MAX_STEPS, optional=True)
        check_whole("seed", self.seed, 0, MAX_PART_SEED, optional=True)
        check_whole("frame_every", self.frame_every, 1, MAX_STEPS)
        check_choice("dtype", self.dtype, DTYPES)


@dataclass(frozen=True, kw_only=True)
class GenerationRequest(SamplerRun):
    """Cells to fill with a structure-prediction model.

    Attributes:
        compositions: per crystal, the proton numbers of its atoms.
        start: crystals to begin with, of these compositions, atom by atom; None begins with noise.
        start_time: with ``start`` given, the time in (0, 1] at which the reverse process begins.
        start_kind: "renoise" moves the start forward to that time, as in training; "inject" takes
            it as it is.
        symmetry: per crystal, the operations it must have; None for crystals without such. A
            start has them already.
        guide: a target to guide the crystals towards, or None.
        draft: how a language model writes, for models that are one.
    """

    compositions: tuple[tuple[int, ...], ...]
    start: CrystalBatch | None = None
    start_time: float | None = None
    start_kind: StartKind = "renoise"
    symmetry: tuple[CellSymmetry, ...] | None = None
    guide: Guide | None = None
    draft: DraftOptions = CARD_DRAFT

    def __post_init__(self) -> None:
        if not self.compositions or any(not c for c in self.compositions):
            raise RequestError("Nothing to sample: give at least one cell with at least one atom.")
        if any(not 1 <= z <= 118 for c in self.compositions for z in c):
            raise RequestError("Atomic numbers must be between 1 (H) and 118 (Og).")
        self._check_run(draws_types=False)
        if (self.start is None) != (self.start_time is None):
            raise RequestError(
                "A start structure needs a start time between 0 and 1, and the other way round."
            )
        if self.start_time is not None and not 0 < self.start_time <= 1:
            raise RequestError(f"The start time must lie in (0, 1], not {self.start_time}.")
        check_choice("start kind", self.start_kind, get_args(StartKind))
        _check_symmetry(self.symmetry, tuple(map(len, self.compositions)))


@dataclass(frozen=True, kw_only=True)
class KnownParts:
    """Parts of crystals that a sampler keeps while it completes the rest.

    Attributes:
        crystals: with the atom counts of the request; only what is known of them is used.
        places: per atom of all crystals, whether its coordinates are kept. types: whether its element is.
        lattice: keep the cells, too.
    """

    crystals: CrystalBatch
    places: tuple[bool, ...]
    types: tuple[bool, ...]
    lattice: bool = False

    def __post_init__(self) -> None:
        atoms = int(self.crystals.atomic_numbers.shape[0])
        if len(self.places) != atoms or len(self.types) != atoms:
            raise RequestError(
                f"The known parts name {len(self.places)} places and "
                f"{len(self.types)} types for {atoms} atoms."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class CellSymmetry:
    """Operations that a crystal must have, in the basis of its primitive cell, and invariant positions.

    Attributes:
        rotations: (operations, 3, 3) whole numbers W and translations: (operations, 3) w of x' = W x + w.
        permutations: (operations, atoms) where each atom goes.
        frac_coords: (atoms, 3) symmetric positions. label: the known arrangement it was taken from.
    """

    rotations: NDArray[np.int64]
    translations: NDArray[np.float64]
    permutations: NDArray[np.int64]
    frac_coords: NDArray[np.float64]
    label: str


@dataclass(frozen=True, kw_only=True)
class DeNovoRequest(SamplerRun):
    """Cells to fill with a de novo model, which also chooses the elements.

    Attributes:
        n_atoms: atoms of each crystal.
        at_least: the fewest atoms of each, where the model may choose a number up to ``n_atoms``.
        elements: proton numbers that may appear; None for all the model was trained on.
        conditions: of each crystal, for models trained with conditions; None for none.
        draft: how a language model writes.
        guidance: strength of the conditions, for models that learned with and without them;
            None is the card's.
        known: what is given of the crystals; the rest is completed.
        symmetry: per crystal, the operations it must have; None for crystals without such.
        guide: guidance target, or None.
        judge: has drafts written again that are far from the targets of their conditions, or None.
    """

    n_atoms: tuple[int, ...]
    at_least: tuple[int, ...] | None = None
    elements: tuple[int, ...] | None = None
    conditions: tuple[Conditions, ...] | None = None
    guidance: float | None = None
    draft: DraftOptions = CARD_DRAFT
    known: KnownParts | None = None
    symmetry: tuple[CellSymmetry, ...] | None = None
    guide: Guide | None = None
    judge: DraftJudge | None = None

    def __post_init__(self) -> None:
        if not self.n_atoms:
            raise RequestError("Nothing to sample: give at least one cell with at least one atom.")
        for count in self.n_atoms:
            check_whole("atoms per cell", count, 1, MAX_ATOMS)
        self._check_lengths()
        if self.elements is not None and (not self.elements or any(not 1 <= z <= 118 for z in self.elements)):
            raise RequestError("Allow at least one element, with atomic numbers between 1 (H) and 118 (Og).")
        if self.guidance is not None:
            check_strength(self.guidance)
        if self.known is not None and tuple(self.known.crystals.n_atoms.tolist()) != self.n_atoms:
            raise RequestError(
                "The known parts belong to cells of other atom counts than the requested ones."
            )
        if self.symmetry is not None and self.known is not None:
            raise RequestError("A crystal can keep given parts or a space group, not both.")
        _check_symmetry(self.symmetry, self.n_atoms)
        self._check_run(draws_types=True)

    def _check_lengths(self) -> None:
        for given in (self.at_least, self.conditions):
            if given is not None and len(given) != len(self.n_atoms):
                raise RequestError(
                    f"{len(given)} limits or conditions are given for {len(self.n_atoms)} "
                    "crystals; give one for each."
                )
        for low, high in zip(self.at_least or (), self.n_atoms, strict=False):
            check_whole("fewest atoms per cell", low, 1, high)


def _check_symmetry(symmetry: tuple[CellSymmetry, ...] | None, n_atoms: tuple[int, ...]) -> None:
    if symmetry is not None and tuple(len(cell.frac_coords) for cell in symmetry) != n_atoms:
        raise RequestError("The operations belong to cells of other atom counts than the requested ones.")
