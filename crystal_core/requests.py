"""What a user asks for, as plain values that become JSON. No torch, no pymatgen.

A request is validated when it is built and is frozen afterwards, so every part of the program that holds one can trust it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from crystal_core.checks import check_choice, check_density, check_number, check_strength, check_whole
from crystal_core.conditions import CARD_DRAFT, Conditions, CrystalSystem, DraftOptions, check_properties
from crystal_core.errors import RequestError
from crystal_core.properties import PROPERTIES, property_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crystal_core.crystal import CrystalBatch
    from crystal_core.guides.protocol import Guide

T = TypeVar("T")
SamplerName = Literal["fast", "em", "exp-em", "pc", "pc-pf", "ode"]
StartName = Literal["noise", "prototype", "both", "draft", "all"]
StartKind = Literal["renoise", "inject"]
TuningName = Literal["card", "published"]
RankName = Literal["consensus", "energy", "pattern", "evidence"]
EffortName = Literal["quick", "normal", "thorough"]
PotentialName = Literal["chgnet"]

MAX_SAMPLES = 200
MAX_PREDICTED = 5000  # crystals of one property prediction: they are stored with the request
MAX_LEARNED = 5000  # crystals that a property of one's own is learned from, for the same reason
MIN_LEARNED = 50  # fewer give neither a model nor an interval
MAX_LEARNED_ATOMS = 200  # of a cell
MAX_LEARNED_SAMPLES = 1_000_000
LARGEST_VALUE = 1e15  # of a property of one's own; the square of a larger one leaves float32
SPLITS = ("train", "val", "test", "")
MAX_STEPS = 5000
DTYPES = ("float32", "bfloat16")
MAX_ATOMS = 60
MAX_FORMULA_UNITS = 30
MAX_FORMULA = 200  # characters
MAX_RELAX_SECONDS = 3600
MAX_SEED = 2**31 - 1
MAX_PART_SEED = 2**63 - 1  # parts of a run count on from its seed
WITHOUT_CORRECTOR = ("em", "exp-em", "ode")  # samplers on which the corrector's values have no effect
MIN_TAU, MAX_TAU = 0.001, 10.0
MAX_NOISE_SCALE = 2.0
MAX_REMASKING = 1000.0


@dataclass(frozen=True, kw_only=True)
class SamplerTuning:
    """How a sampler is tuned, besides its name and number of steps; the requests below inherit these fields.

    Attributes:
        tuning: where the values come from that are None here: "card" takes those that the model card chose on validation
            rows, "published" those of the method's publication.
        tau: strength of the corrector (pc, pc-pf).
        noise_scale: factor on the corrector's noise in velocities and lattice; 1 is the published process.
        remasking: how often a drawn type is hidden and drawn again in unit time; 0 is the published process. Only for
            de novo models that hide types.
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
                f"The sampler {sampler} has no corrector, so {' and '.join(sorted(idle))} would change nothing; "
                "choose pc or pc-pf, or leave it out."
            )
        if self.remasking is not None and not draws_types:
            raise RequestError(
                "Structure prediction is given the types of all atoms, so remasking would change nothing; leave it out."
            )


CARD_TUNING = SamplerTuning()


def tuning_words(asked: Mapping[str, Any]) -> list[str]:
    """The options of the command line that ask for the tuning of a request in JSON; none for requests from before there was one."""
    tuning = asked.get("tuning", "card")
    words = [] if tuning == "card" else ["--tuning", tuning]
    for name, option in (("tau", "--tau"), ("noise_scale", "--noise-scale"), ("remasking", "--remasking")):
        words += [] if asked.get(name) is None else [option, str(asked[name])]
    return words


@dataclass(frozen=True, kw_only=True)
class GenerationRequest(SamplerTuning):
    """Cells to fill with a structure-prediction model.

    Attributes:
        compositions: per crystal, the proton numbers of its atoms.
        sampler: see ``crystal_core.sampling``; "fast" is the card's low-step default.
        steps: time steps; None takes the sampler's default of the model card.
        seed: seeds every random draw.
        frame_every: emit a snapshot every so many steps (the last step always is one).
        start: crystals to begin with, of these compositions, atom by atom; None begins with noise.
        start_time: with ``start`` given, the time in (0, 1] at which the reverse process begins.
        start_kind: "renoise" moves the start forward to that time, as in training; "inject" takes it as it is.
        symmetry: per crystal, the operations it shall have; None for crystals free of any. A start has them already.
        guide: a wish for the crystals, or None.
        dtype: of the network's products: float32, or bfloat16 where the device is faster with it (off by about 5e-3 a call).
        draft: how a language model writes, for models that are one.
    """

    compositions: tuple[tuple[int, ...], ...]
    sampler: SamplerName = "fast"
    steps: int | None = None
    seed: int = 0
    frame_every: int = 10
    start: CrystalBatch | None = None
    start_time: float | None = None
    start_kind: StartKind = "renoise"
    symmetry: tuple[CellSymmetry, ...] | None = None
    guide: Guide | None = None
    dtype: str = "float32"
    draft: DraftOptions = CARD_DRAFT

    def __post_init__(self) -> None:
        if not self.compositions or any(not c for c in self.compositions):
            raise RequestError("Nothing to sample: give at least one cell with at least one atom.")
        if any(not 1 <= z <= 118 for c in self.compositions for z in c):
            raise RequestError("Atomic numbers must be between 1 (H) and 118 (Og).")
        check_choice("sampler", self.sampler, get_args(SamplerName))
        self._check_tuning(self.sampler, draws_types=False)
        check_whole("steps", self.steps, 1, MAX_STEPS, optional=True)
        check_whole("seed", self.seed, 0, MAX_PART_SEED, optional=True)
        check_whole("frame_every", self.frame_every, 1, MAX_STEPS)
        check_choice("dtype", self.dtype, DTYPES)
        if (self.start is None) != (self.start_time is None):
            raise RequestError(
                "A start structure needs a start time between 0 and 1, and the other way round."
            )
        if self.start_time is not None and not 0 < self.start_time <= 1:
            raise RequestError(f"The start time must lie in (0, 1], not {self.start_time}.")
        check_choice("start kind", self.start_kind, get_args(StartKind))
        if self.symmetry is not None and [len(cell.frac_coords) for cell in self.symmetry] != [
            len(c) for c in self.compositions
        ]:
            raise RequestError("The operations belong to cells of other atom counts than those asked for.")


@dataclass(frozen=True, kw_only=True)
class KnownParts:
    """Parts of crystals that a sampler shall keep while it completes the rest.

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
                f"The known parts name {len(self.places)} places and {len(self.types)} types for {atoms} atoms."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class CellSymmetry:
    """Operations that a crystal shall have, in the basis of its primitive cell, and positions they leave unchanged.

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
class DeNovoRequest(SamplerTuning):
    """Cells to fill with a de novo model, which also chooses the elements.

    Attributes:
        n_atoms: atoms of each crystal. at_least: the fewest atoms of each, where the model may choose a number up to ``n_atoms``.
        elements: proton numbers that may appear; None for all the model was trained on.
        conditions: of each crystal, for models that are told in a prompt; None for none. draft: how a language model writes.
        known: what is given of the crystals; the rest is completed.
        symmetry: per crystal, the operations it shall have; None for crystals free of any. guide: a wish for the crystals, or None.
        sampler, steps, seed, frame_every, dtype: as in :class:`GenerationRequest`.
    """

    n_atoms: tuple[int, ...]
    at_least: tuple[int, ...] | None = None
    elements: tuple[int, ...] | None = None
    conditions: tuple[Conditions, ...] | None = None
    draft: DraftOptions = CARD_DRAFT
    known: KnownParts | None = None
    symmetry: tuple[CellSymmetry, ...] | None = None
    guide: Guide | None = None
    sampler: SamplerName = "fast"
    steps: int | None = None
    seed: int = 0
    frame_every: int = 10
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not self.n_atoms:
            raise RequestError("Nothing to sample: give at least one cell with at least one atom.")
        for count in self.n_atoms:
            check_whole("atoms per cell", count, 1, MAX_ATOMS)
        self._check_lengths()
        if self.elements is not None and (not self.elements or any(not 1 <= z <= 118 for z in self.elements)):
            raise RequestError("Allow at least one element, with atomic numbers between 1 (H) and 118 (Og).")
        if self.known is not None and tuple(self.known.crystals.n_atoms.tolist()) != self.n_atoms:
            raise RequestError("The known parts belong to cells of other atom counts than those asked for.")
        if self.symmetry is not None and self.known is not None:
            raise RequestError("A crystal can keep given parts or a space group, not both.")
        if (
            self.symmetry is not None
            and tuple(len(cell.frac_coords) for cell in self.symmetry) != self.n_atoms
        ):
            raise RequestError("The operations belong to cells of other atom counts than those asked for.")
        check_choice("sampler", self.sampler, get_args(SamplerName))
        self._check_tuning(self.sampler, draws_types=True)
        check_whole("steps", self.steps, 1, MAX_STEPS, optional=True)
        check_whole("seed", self.seed, 0, MAX_PART_SEED, optional=True)
        check_whole("frame_every", self.frame_every, 1, MAX_STEPS)
        check_choice("dtype", self.dtype, DTYPES)

    def _check_lengths(self) -> None:
        for given in (self.at_least, self.conditions):
            if given is not None and len(given) != len(self.n_atoms):
                raise RequestError(
                    f"{len(given)} limits or conditions are given for {len(self.n_atoms)} crystals; give one for each."
                )
        for low, high in zip(self.at_least or (), self.n_atoms, strict=False):
            check_whole("fewest atoms per cell", low, 1, high)


# fields that a structure to start from leaves no choice of, and what they would say
SAID_BY_START = {
    "n_atoms": "how many atoms there are",
    "fix": "what is kept",
    "contain": "the elements",
    "require_all": "the elements",
    "formula": "the formula",
    "space_group": "how the atoms lie",
    "crystal_system": "how the atoms lie",
    "formation_energy": "what the crystal is",
    "band_gap": "what the crystal is",
    "e_above_hull": "what the crystal is",
    "density": "what the crystal is",
}


def _check_cell(given: Any, what: str) -> None:
    if not isinstance(given, Mapping) or not {"lattice", "atomic_numbers", "frac_coords"} <= set(given):
        raise RequestError(f"{what} needs lattice, atomic_numbers and frac_coords.")


@dataclass(frozen=True, kw_only=True)
class CrystalGenerationRequest(SamplerTuning, DraftOptions):
    """New crystals to invent.

    Attributes:
        n: how many. model: a de novo checkpoint.
        n_atoms: least and most atoms per cell, every count between alike; None draws counts as often as in training.
        elements: symbols that may appear; empty for all the model was trained on. exclude_elements: symbols that may not.
        contain: symbols that every crystal holds, beside any others that may appear.
        require_all: each crystal holds every one of ``elements``: as many of its atoms have their types given, the rest is free.
        space_group: number or symbol of the group the crystals shall have, or None; models that are told in a prompt write it,
            others keep its operations (experimental). crystal_system: any group of it, in place of a group.
        formula: what the crystals are made of. formation_energy, e_above_hull: in eV/atom. band_gap: in eV. None leaves each open.
            Models that are told nothing are guided towards the last three by the property predictor, where it is installed.
        density: in g/cm³, that the crystals shall be near to, or None. guidance: how much such wishes weigh; None is 1, 0 nothing.
        fix: a structure to complete (lattice in Å, atomic_numbers, frac_coords), or None.
        fix_sites: which of its sites keep place and element, counted from 0. fix_elements: all its elements are kept.
        fix_lattice: its cell is kept.
        start_from: a structure (as ``fix``) that every crystal starts from, for models that draft and refine: its cell and
            places are refined. redraft_sites: sites, counted from 0, that get another element first; redraft_all: all sites do.
        dtype: of the network's products, float32 or bfloat16.
        seed: None draws one, which the result reports.
    """

    n: int = 8
    model: str = "kldm-dng-mp"
    n_atoms: tuple[int, int] | None = None
    elements: tuple[str, ...] = ()
    exclude_elements: tuple[str, ...] = ()
    contain: tuple[str, ...] = ()
    require_all: bool = False
    space_group: str | None = None
    crystal_system: CrystalSystem | None = None
    formula: str | None = None
    formation_energy: float | None = None
    band_gap: float | None = None
    e_above_hull: float | None = None
    density: float | None = None
    guidance: float | None = None
    fix: Mapping[str, Any] | None = None
    fix_sites: tuple[int, ...] = ()
    fix_elements: bool = False
    fix_lattice: bool = False
    start_from: Mapping[str, Any] | None = None
    redraft_sites: tuple[int, ...] = ()
    redraft_all: bool = False
    sampler: SamplerName = "fast"
    steps: int | None = None
    seed: int | None = None
    dtype: str = "float32"
    device: str = "auto"
    threads: int | None = None
    keep_trajectory: bool = True

    def __post_init__(self) -> None:
        check_whole("n (crystals)", self.n, 1, MAX_SAMPLES)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("sampler", self.sampler, get_args(SamplerName))
        self._check_tuning(self.sampler, draws_types=True)
        check_whole("steps", self.steps, 1, MAX_STEPS, optional=True)
        check_whole("seed", self.seed, 0, MAX_SEED, optional=True)
        check_whole("threads", self.threads, 1, 512, optional=True)
        if self.n_atoms is not None:
            if not isinstance(self.n_atoms, tuple) or len(self.n_atoms) != 2:
                raise RequestError("Give the least and the most atoms per cell, e.g. 4-12.")
            for count in self.n_atoms:
                check_whole("atoms per cell", count, 1, MAX_ATOMS)
            if self.n_atoms[0] > self.n_atoms[1]:
                raise RequestError(
                    f"The range of atoms {self.n_atoms[0]}-{self.n_atoms[1]} runs backwards; write the smaller number first."
                )
        for symbols in (self.elements, self.exclude_elements, self.contain):
            if not isinstance(symbols, tuple) or not all(isinstance(s, str) and s.strip() for s in symbols):
                raise RequestError("Elements are symbols such as Li or O.")
        self._check_required()
        DraftOptions.__post_init__(self)
        self._check_conditions()
        if self.guidance is not None:
            check_strength(self.guidance)
            targets = (self.density, self.band_gap, self.formation_energy, self.e_above_hull)
            if all(target is None for target in targets):
                raise RequestError(
                    "Guidance needs something to guide towards: add a density, a band gap or an energy."
                )
        if self.density is not None:
            check_density(self.density)
        if self.space_group is not None and not (
            isinstance(self.space_group, str) and self.space_group.strip()
        ):
            raise RequestError("A space group is a number from 1 to 230 or a symbol such as Fm-3m.")
        if self.space_group is not None and self.fix is not None:
            raise RequestError(
                "A crystal can keep given parts or a space group, not both; leave one of the two out."
            )
        self._check_fix()
        self._check_start_from()

    @property
    def must_hold(self) -> tuple[str, ...]:
        """Symbols that every crystal shall hold."""
        return self.elements if self.require_all else self.contain

    def _check_conditions(self) -> None:
        check_properties(self.formation_energy, self.band_gap, self.e_above_hull)
        if self.crystal_system is not None:
            check_choice("crystal system", self.crystal_system, get_args(CrystalSystem))
            if self.space_group is not None:
                raise RequestError("A space group already says its crystal system; leave one of the two out.")
        if self.formula is not None:
            if (
                not isinstance(self.formula, str)
                or not self.formula.strip()
                or len(self.formula) > MAX_FORMULA
            ):
                raise RequestError("A formula is made of element symbols and counts, e.g. TiO2.")
            if self.elements or self.contain:
                raise RequestError("A formula already says the elements; leave one of the two out.")
            self.check_open_composition("the formula")

    def _check_required(self) -> None:
        if not isinstance(self.require_all, bool):
            raise RequestError(f"require_all must be true or false, not {self.require_all!r}.")
        if self.contain and self.require_all:
            raise RequestError(
                "To hold all wished elements already says what is contained; leave one of the two out."
            )
        if self.require_all and not self.elements:
            raise RequestError("To hold all wished elements, name them, e.g. Li,Fe,O.")
        if self.require_all and self.space_group is not None:
            raise RequestError(
                "A crystal can be made to hold all wished elements or to keep a space group, not both; leave one of the two out."
            )

    def _check_start_from(self) -> None:
        if not isinstance(self.redraft_all, bool):
            raise RequestError(f"redraft_all must be true or false, not {self.redraft_all!r}.")
        if self.start_from is None:
            if self.redraft_sites or self.redraft_all:
                raise RequestError(
                    "Nothing is given to redraft: add the structure whose sites shall get other elements."
                )
            return
        _check_cell(self.start_from, "The structure to start from")
        if self.redraft_sites and self.redraft_all:
            raise RequestError("To redraft all sites already names them; leave one of the two out.")
        if not isinstance(self.redraft_sites, tuple):
            raise RequestError("Sites to redraft are whole numbers, counted from 0, e.g. 0,1.")
        for site in self.redraft_sites:
            check_whole("site to redraft", site, 0, len(self.start_from["atomic_numbers"]) - 1)
        for name, what in SAID_BY_START.items():
            value = getattr(self, name)
            if value is not None and value is not False and value != ():  # 0 eV is a wish
                raise RequestError(
                    f"The structure to start from already says {what}; leave one of the two out."
                )
        if self.charge_balance:
            raise RequestError(
                "Charge balance is a rule for new drafts, and a crystal to start from is not drafted anew; "
                "leave charge balance out."
            )
        if (self.elements or self.exclude_elements) and not (self.redraft_sites or self.redraft_all):
            raise RequestError(
                "Elements are chosen only for sites to redraft; name such sites, or no elements."
            )

    def _check_fix(self) -> None:
        keeps = bool(self.fix_sites) or self.fix_elements or self.fix_lattice
        if self.fix is None:
            if keeps:
                raise RequestError(
                    "Nothing is given to keep: add the structure whose sites, elements or cell shall stay."
                )
            return
        if not keeps:
            raise RequestError(
                "Say what of the given structure shall stay: some sites, its elements or its cell."
            )
        _check_cell(self.fix, "The structure to complete")
        if not isinstance(self.fix_sites, tuple):
            raise RequestError("Sites to keep are whole numbers, counted from 0, e.g. 0,1.")
        for site in self.fix_sites:
            check_whole("site to keep", site, 0, len(self.fix["atomic_numbers"]) - 1)
        if self.n_atoms is not None and (self.fix_elements or self.n_atoms[0] < len(self.fix_sites)):
            raise RequestError(
                "Fewer atoms are asked for than sites kept, or the kept elements already say how many: leave out the number of atoms."
            )


@dataclass(frozen=True, kw_only=True)
class StructurePredictionRequest(SamplerTuning, DraftOptions):
    """A formula to turn into ranked candidate cells.

    Attributes:
        formula: what the chemist typed, e.g. ``TiO2``.
        z: formula units per cell to try; None tries those most frequent in training, at most three.
        exact_cell: the formula is the exact cell content; ``z`` is then not allowed.
        n_samples: samples per number of formula units.
        start: from noise, from a known prototype at an intermediate time, or both; from drafts of a language model, which the
            model refines; or all of these.
        rank: by consensus (how many candidates are alike); by energy: of the relaxed cells with ``relax``, else of the
            cells as sampled; by likeness to ``pattern``; or by all evidence, see :mod:`crystal_core.evaluation.ranking`.
        pattern: a measured powder pattern (two_theta in degrees, intensity, wavelength), or None; each candidate tells how
            alike its own is, see :mod:`crystal_core.evaluation.powder_pattern`. guide: let it guide sampling, too.
        relax: relax the most promising different structures with ``potential``, as many as
            :data:`crystal_core.workflows.predict_structure.MOST_RELAXED`; the cell as sampled is kept beside it.
        relax_seconds: time limit of one relaxation.
        seed: None draws one, which the result reports.
        dtype: of the network's products, float32 or bfloat16.
        effort: how much is tried; it decides on start, samples, relaxing and rank, see :mod:`crystal_core.workflows.effort`.
            None leaves them as the other fields say.
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
        check_whole("threads", self.threads, 1, 512, optional=True)
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


@dataclass(frozen=True, kw_only=True)
class RelaxationRequest:
    """Crystals to relax, one after the other.

    Attributes:
        crystals: records with id, lattice (Å), atomic_numbers and frac_coords; their origin and provenance are handed on.
        relax_seconds: time limit of each.
    """

    crystals: tuple[Mapping[str, Any], ...]
    potential: PotentialName = "chgnet"
    relax_seconds: int = 120
    device: str = "auto"
    threads: int | None = None
    keep_trajectory: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.crystals, tuple) or not self.crystals:
            raise RequestError("Nothing to relax: give at least one crystal.")
        if len(self.crystals) > MAX_SAMPLES:
            raise RequestError(
                f"{len(self.crystals)} crystals are too many for one run; relax at most {MAX_SAMPLES} together."
            )
        if not all(
            isinstance(c, Mapping) and {"id", "lattice", "atomic_numbers", "frac_coords"} <= set(c)
            for c in self.crystals
        ):
            raise RequestError("Each crystal to relax needs id, lattice, atomic_numbers and frac_coords.")
        check_choice("potential", self.potential, get_args(PotentialName))
        check_whole("relax_seconds", self.relax_seconds, 1, MAX_RELAX_SECONDS)
        check_whole("threads", self.threads, 1, 512, optional=True)


@dataclass(frozen=True, kw_only=True)
class PropertyPredictionRequest:
    """Crystals whose properties are predicted.

    Attributes:
        crystals: one item per row of the result: ``source`` (what it is called) with lattice (Å), atomic_numbers and
            frac_coords, or with ``error``, the sentence why there is no crystal; ``id`` where it belongs to a run;
            ``notes``, sentences on what its file says otherwise.
        properties: names; all that the model has where none is named.
        model: a property predictor.
    """

    crystals: tuple[Mapping[str, Any], ...]
    properties: tuple[str, ...] = ()
    model: str = "crysldnet"
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.crystals, tuple) or not self.crystals:
            raise RequestError("Nothing to predict: give at least one crystal.")
        if len(self.crystals) > MAX_PREDICTED:
            raise RequestError(
                f"{len(self.crystals):,} crystals are too many for one run; predict at most {MAX_PREDICTED:,} together."
            )
        cell = {"lattice", "atomic_numbers", "frac_coords"}
        if not all(
            isinstance(item, Mapping) and "source" in item and ("error" in item or cell <= set(item))
            for item in self.crystals
        ):
            raise RequestError(
                "Each crystal needs its source, and lattice, atomic_numbers and frac_coords or an error."
            )
        if not isinstance(self.properties, tuple) or not all(isinstance(p, str) for p in self.properties):
            raise RequestError("Properties are names such as band_gap_ev.")
        check_whole("threads", self.threads, 1, 512, optional=True)


@dataclass(frozen=True, kw_only=True)
class LearnPropertyRequest:
    """Crystals with a value each, from which a property is learned that the predictor then has.

    Attributes:
        crystals: ``source`` (what each is called) with lattice (Å), atomic_numbers and frac_coords.
        values: one number per crystal. splits: "train", "val", "test" or "" per crystal; empty where the table names none.
        skipped: id and reason of each row of the table that is not among the crystals, for the result.
        column: name of the property, as :func:`crystal_core.properties.property_key` writes it. title, unit: for display.
        logarithmic: learn the logarithm; all values are then positive.
        table: name of the file. model: the predictor that gets the property.
        rank: of the changes of its encoder; 0 learns heads alone. samples: crystals seen in all; None for about 30 epochs.
        minutes: of training at most. seed: None draws one, which the result reports.
    """

    crystals: tuple[Mapping[str, Any], ...]
    values: tuple[float, ...]
    column: str
    splits: tuple[str, ...] = ()
    skipped: tuple[Mapping[str, str], ...] = ()
    title: str = ""
    unit: str = ""
    logarithmic: bool = False
    table: str = "a table"
    model: str = "crysldnet"
    rank: int = 8
    samples: int | None = None
    minutes: float | None = None
    seed: int | None = None
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.crystals, tuple) or len(self.crystals) < MIN_LEARNED:
            raise RequestError(f"Too few crystals to learn from; give at least {MIN_LEARNED} with a value.")
        if len(self.crystals) > MAX_LEARNED:
            raise RequestError(
                f"{len(self.crystals):,} crystals are too many for one run; learn from at most {MAX_LEARNED:,}."
            )
        cell = {"source", "lattice", "atomic_numbers", "frac_coords"}
        if not all(isinstance(item, Mapping) and cell <= set(item) for item in self.crystals):
            raise RequestError("Each crystal needs its source, lattice, atomic_numbers and frac_coords.")
        if not isinstance(self.values, tuple) or len(self.values) != len(self.crystals):
            raise RequestError("Give one value per crystal, a number each.")
        for value in self.values:
            check_number("a value to learn", value, -LARGEST_VALUE, LARGEST_VALUE)
        if not isinstance(self.logarithmic, bool):
            raise RequestError(f"logarithmic must be true or false, not {self.logarithmic!r}.")
        if self.logarithmic and min(self.values) <= 0:
            raise RequestError("A value that is not positive has no logarithm; learn the values themselves.")
        if len(self.splits) not in (0, len(self.crystals)):
            raise RequestError("Give one split per crystal, or none.")
        for split in self.splits:
            check_choice("split", split, SPLITS)
        self._check_name()
        check_whole("rank", self.rank, 0, 256)
        check_whole("samples", self.samples, 1, MAX_LEARNED_SAMPLES, optional=True)
        check_number("minutes", self.minutes, 0.01, 24 * 60, optional=True)
        check_whole("seed", self.seed, 0, MAX_SEED, optional=True)
        check_whole("threads", self.threads, 1, 512, optional=True)

    def _check_name(self) -> None:
        for words in (self.column, self.title, self.unit, self.table):
            # a card is TOML, which takes no control characters
            if not isinstance(words, str) or len(words) > 200 or not words.isprintable():
                raise RequestError(
                    "Column, title, unit and table are texts of at most 200 characters on one line."
                )
        if property_key(self.column) != self.column:
            raise RequestError(
                f"A property is named by letters, digits, dots, dashes and underscores, at most 60: "
                f"'{property_key(self.column)}', not '{self.column[:80]}'."
            )
        if self.column in PROPERTIES:
            raise RequestError(
                f"The predictor has a property '{self.column}' already; give yours another name, such as {self.column}_own."
            )


def to_json(value: Any) -> dict[str, Any]:
    """A frozen request or provenance as a plain dictionary."""
    return asdict(value)


def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
    """Build a request from JSON; unknown keys raise, lists become tuples.

    Raises:
        RequestError: a key is unknown or missing, or a value is out of range.
    """
    required = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(required))
    if unknown:
        raise RequestError(
            f"Unknown request field(s) {', '.join(unknown)}; known are {', '.join(sorted(required))}."
        )
    missing = [name for name, needed in required.items() if needed and name not in data]
    if missing:
        raise RequestError(f"The request lacks {', '.join(missing)}.")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


def seed_or_drawn(seed: int | None) -> int:
    """The seed given, or a new one: drawn before the work, so that it can be reported and the work repeated."""
    return secrets.randbelow(MAX_SEED) if seed is None else seed
