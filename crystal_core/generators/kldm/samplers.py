"""KLDM's samplers: one numerical step each, no loop, no memory.

Coordinates, velocities, lattice and, de novo, types move together. All take the score from the same network
call; the predictor–corrector calls twice per step. Time runs from 1 to t_end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.errors import IncompatibleSampler, RequestError
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.coordinates import (
    MIN_SQUARED_SCORE,
    Coordinates,
    ScoreNorms,
    coordinate_process,
)
from crystal_core.geometry import wrap
from crystal_core.networks.packing import Packing
from crystal_core.sampling import variance_preserving as vp
from crystal_core.sampling.draws import normal, time_like

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.generators.kldm.guidance import Guidance
    from crystal_core.generators.kldm.species_process import SpeciesProcess
    from crystal_core.generators.kldm.symmetry import Symmetry

TAU = 0.25  # corrector strength of the published code


@dataclass(frozen=True)
class LatentState:
    """External chart: frac_coords (atoms, 3) in [-½, ½], velocity (atoms, 3), lattice (crystals, 6).

    De novo also ``species``, the diffusing types, and ``atomic_numbers`` (atoms,), what they most likely will
    be (at the end: what they are); None before the first step.
    """

    frac_coords: Tensor
    velocity: Tensor
    lattice: Tensor
    species: Tensor | None = None
    atomic_numbers: Tensor | None = None


@dataclass(frozen=True)
class Known:
    """Parts of the crystals that are given, in latent form; the sampler completes the rest.

    Attributes:
        places: (atoms,) True where ``frac_coords`` (atoms, 3) holds.
        types: (atoms,) True where ``atomic_numbers`` (atoms,) does.
        cells: (crystals,) True where ``lattice`` (crystals, 6) holds.
    """

    places: Tensor
    frac_coords: Tensor
    types: Tensor
    atomic_numbers: Tensor
    cells: Tensor
    lattice: Tensor


Predict = Callable[[LatentState, float], tuple["Tensor", ...]]


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """Settings of one sampler step.

    Attributes:
        name: em, exp-em, pc, pc-pf or ode. tau: corrector strength.
        correct_positions: the corrector also transports positions, as the published code does.
        t_end: where time stops. score_scale: factor on the predicted velocity score.
        noise_scale: factor on the corrector's noise in velocities and lattice. Below 1 the samples are drawn
            towards what is likeliest (low-temperature sampling; Ingraham et al. 2023, Illuminating protein
            space, appendix): one sample is right more often, and many are less diverse.
        type_temperature: of the draws that reveal hidden types; below 1 for the same reason.
        remasking: how often a revealed type is hidden again per unit time (see ``absorbing.reveal``).
    """

    name: str = "pc"
    steps: int = 1000
    tau: float = TAU
    correct_positions: bool = True
    t_end: float = 0.001
    score_scale: float = 1.0
    noise_scale: float = 1.0
    type_temperature: float = 1.0
    remasking: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("em", "exp-em", "pc", "pc-pf", "ode"):
            raise IncompatibleSampler(
                f"KLDM has no sampler '{self.name}'; choose em, exp-em, pc, pc-pf or ode."
            )

    @property
    def calls_per_step(self) -> int:
        """Network calls of one step."""
        return 2 if self.name in ("pc", "pc-pf") else 1

    @property
    def tuning(self) -> dict[str, float]:
        """Step parameters besides the sampler: the corrector's ``tau``, and values unlike the published."""
        corrector = {"tau": self.tau} | ({"noise_scale": self.noise_scale} if self.noise_scale != 1 else {})
        types = {"type_temperature": self.type_temperature} if self.type_temperature != 1 else {}
        types |= {"remasking": self.remasking} if self.remasking else {}
        return (corrector if self.calls_per_step > 1 else {}) | types

    def times(self, start: float = 1.0) -> list[float]:
        """Steps + 1 times from ``start`` to ``t_end``, evenly spaced.

        Raises:
            RequestError: there is nothing between the two.
        """
        if start <= self.t_end:
            raise RequestError(
                f"The start time must be later than {self.t_end:g}, where sampling ends, not {start:g}."
            )
        return [start + (self.t_end - start) * i / self.steps for i in range(self.steps + 1)]


class LatentSampler:
    """Steps of the reverse process of given crystals for any coordinates; keeps no state between steps.

    Args:
        species: the process of the types, with how they are chosen; None where they are given.
        known: what is given; after every step it is replaced by a draw from its forward marginal, and at the
            end by itself (Lugmayr et al. 2022, RePaint, without resampling).
        symmetry: operations that every state has, from the first on.
        guidance: a target towards which the scores are bent.
        score_norms: those of an imported checkpoint; None for those by quadrature.

    Raises:
        IncompatibleSampler: known places or symmetry with coordinates that have no place of
            their own (Euclidean, centred).
    """

    def __init__(
        self,
        settings: SamplerSettings,
        packing: Packing,
        process: ProcessConfig,
        *,
        species: SpeciesProcess | None = None,
        known: Known | None = None,
        symmetry: Symmetry | None = None,
        guidance: Guidance | None = None,
        score_norms: ScoreNorms | None = None,
    ) -> None:
        if known is not None and process.coordinates == "euclidean":
            raise IncompatibleSampler(
                "Euclidean coordinates are centred, so no site of a crystal can be held in place."
            )
        if symmetry is not None and process.coordinates == "euclidean":
            raise IncompatibleSampler(
                "Euclidean coordinates are unwrapped and centred, so no space group can be kept."
            )
        assert (species is None) == (process.species == "fixed"), "the types and the process disagree"
        self.settings, self.packing, self.process, self.known = settings, packing, process, known
        self.species, self.symmetry, self.guidance = species, symmetry, guidance
        self.coordinates = coordinate_process(process, score_norms)

    def initial(self, rng: torch.Generator) -> LatentState:
        """The prior: uniform positions; unit normal lattice and velocities (mean-free per crystal)."""
        n_atoms, device = self.packing.crystal_index.shape[0], self.packing.n_atoms.device
        start = self.coordinates.initial(self.packing, rng)
        lattice = torch.randn((self.packing.n_crystals, 6), generator=rng, device=device)
        species = None if self.species is None else self.species.initial(n_atoms, rng)
        state = LatentState(start.frac_coords, start.velocity, lattice, species)
        if self.symmetry is not None:
            places = self.symmetry.positions(state.frac_coords)
            velocity = self._symmetric_noise(state.velocity)
            state = self._symmetric(replace(state, frac_coords=places, velocity=velocity))
        return self._impose(state, 1.0, rng)

    def start_from(
        self, frac_coords: Tensor, lattice: Tensor, t: float, rng: torch.Generator, kind: str = "renoise"
    ) -> LatentState:
        """The state at time t that begins with a given crystal.

        Args:
            kind: "renoise" draws position, velocity and lattice together from the forward process that starts
                there with the velocity of training (0, or normal of ``initial_velocity_scale``): the velocity
                then has its forward marginal given the position: from rest and before wrapping, v | r ~ N(g
                r, sigma_v² - g² w) with g = kappa sigma_v² / w and w the marginal variance of the
                displacement r. "inject" takes the crystal as it is, at rest.
        """
        if kind == "inject":
            still = self.coordinates.at_rest(frac_coords, self.packing)
            return LatentState(still.frac_coords, still.velocity, lattice)
        times = torch.full((self.packing.n_crystals,), t, device=lattice.device)
        moved, _ = self.coordinates.noisy(frac_coords, times, self.packing, rng)
        noise = torch.randn(lattice.shape, generator=rng, device=lattice.device)
        lattice = vp.add_noise(lattice, times, noise)
        if self.symmetry is None:
            return LatentState(moved.frac_coords, moved.velocity, lattice)
        # one linear map for both keeps the joint law of displacement and velocity along what
        # each site leaves free
        displacement = self.symmetry.noise(wrap(moved.frac_coords - frac_coords))
        return self._symmetric(
            LatentState(wrap(frac_coords + displacement), self._symmetric_noise(moved.velocity), lattice)
        )

    def step(
        self, predict: Predict, state: LatentState, t: float, t_next: float, rng: torch.Generator
    ) -> LatentState:
        """One step from t to t_next < t."""
        return self._impose(self._step(predict, state, t, t_next, rng), t_next, rng)

    def _step(
        self, predict: Predict, state: LatentState, t: float, t_next: float, rng: torch.Generator
    ) -> LatentState:
        match self.settings.name:
            case "pc":
                return self._predictor(
                    predict, self._corrector(predict, state, t, t - t_next, rng), t, t_next, rng
                )
            case "pc-pf":
                # the corrector at the last time would undo what the last predictor resolved: none at t_end
                state = self._predictor(predict, state, t, t_next, rng)
                return (
                    state
                    if self._is_last(t_next)
                    else self._corrector(predict, state, t_next, t - t_next, rng)
                )
            case _:
                return self._single(predict, state, t, t_next, rng)

    def _single(
        self, predict: Predict, state: LatentState, t: float, t_next: float, rng: torch.Generator
    ) -> LatentState:
        score_v, score_l, types = self._scores(predict, state, t)
        name = self.settings.name
        noise = None if name == "ode" else self._noise(state, rng)
        moved = self.coordinates.step(name, _place(state), score_v, t, t_next, noise)
        now, then = time_like(t, state.lattice), time_like(t_next, state.lattice)
        if name == "exp-em":
            lattice = vp.step_exponential(state.lattice, score_l, now, then, normal(state.lattice, rng))
        else:
            lattice = vp.step_euler(
                state.lattice, score_l, now, then, None if name == "ode" else normal(state.lattice, rng)
            )
        return self._symmetric(
            LatentState(
                moved.frac_coords,
                moved.velocity,
                lattice,
                *self._step_types(name, state, types, t, t_next, rng),
            )
        )

    def _corrector(
        self, predict: Predict, state: LatentState, t: float, dt: float, rng: torch.Generator
    ) -> LatentState:
        score_v, score_l, types = self._scores(predict, state, t)
        tau, scale = self.settings.tau, self.settings.noise_scale
        delta = self.coordinates.corrector_size(score_v, tau, self.packing)
        noise = scale * self._noise(state, rng)
        moved = self.coordinates.correct(
            _place(state), score_v, delta, noise, dt if self.settings.correct_positions else 0.0
        )
        delta_l = tau / (score_l**2).mean(-1, keepdim=True).clamp(min=MIN_SQUARED_SCORE)
        lattice = (
            state.lattice + delta_l * score_l + scale * torch.sqrt(2.0 * delta_l) * normal(state.lattice, rng)
        )
        species = state.species
        if self.species is not None and self.species.has_score:
            assert species is not None
            species = self.species.correct(species, types, t, tau, self.packing, rng)
        return self._symmetric(
            LatentState(moved.frac_coords, moved.velocity, lattice, species, state.atomic_numbers)
        )

    def _predictor(
        self, predict: Predict, state: LatentState, t: float, t_next: float, rng: torch.Generator
    ) -> LatentState:
        score_v, score_l, types = self._scores(predict, state, t)
        moved = self.coordinates.predict(_place(state), score_v, t, t_next)
        lattice = vp.step_ddim(
            state.lattice, score_l, time_like(t, state.lattice), time_like(t_next, state.lattice)
        )
        types_then = self._step_types("predictor", state, types, t, t_next, rng)
        return self._symmetric(LatentState(moved.frac_coords, moved.velocity, lattice, *types_then))

    def _step_types(
        self, sampler: str, state: LatentState, output: Tensor, t: float, t_next: float, rng: torch.Generator
    ) -> tuple[Any, Any]:
        """The types after a step, and the elements to show for them."""
        if self.species is None or state.species is None:
            return None, None
        species = self.species.step(sampler, state.species, output, t, t_next, rng)
        if not self._is_last(t_next):
            return species, self.species.likely(state.species, output, t)
        species = self.species.finish(species, output)
        return species, self.species.decode(species)

    def _noise(self, state: LatentState, rng: torch.Generator) -> Tensor:
        noise = self.coordinates.noise(state.velocity, self.packing, rng)
        return noise if self.symmetry is None else self._symmetric_noise(noise)

    def _symmetric_noise(self, noise: Tensor) -> Tensor:
        assert self.symmetry is not None
        return self.coordinates.centred(self.symmetry.noise(noise), self.packing)

    def _symmetric(self, state: LatentState) -> LatentState:
        """Cell and types of the space group; all that moves positions and velocities keeps it already."""
        if self.symmetry is None:
            return state
        first = self.symmetry.first
        return replace(
            state,
            lattice=self.symmetry.cell(state.lattice),
            species=None if state.species is None else state.species[first],
            atomic_numbers=None if state.atomic_numbers is None else state.atomic_numbers[first],
        )

    def _impose(self, state: LatentState, t: float, rng: torch.Generator) -> LatentState:
        """Put what is known, moved forward to time t, in the place of what was sampled."""
        known, last = self.known, self._is_last(t)
        if known is None:
            return state
        times = torch.full((self.packing.n_crystals,), t, device=state.lattice.device)
        moved, _ = self.coordinates.noisy(known.frac_coords, times, self.packing, rng)
        places, cells = known.places.unsqueeze(-1), known.cells.unsqueeze(-1)
        velocity = self.coordinates.centred(torch.where(places, moved.velocity, state.velocity), self.packing)
        noisy_lattice = vp.add_noise(known.lattice, times, normal(known.lattice, rng))
        species, numbers = state.species, state.atomic_numbers
        if self.species is not None and species is not None:
            clean = self.species.encode(known.atomic_numbers)
            value = (
                clean
                if last
                else self.species.noisy(known.atomic_numbers, times[self.packing.crystal_index], rng).value
            )
            species = torch.where(known.types.view(-1, *[1] * (species.dim() - 1)), value, species)
            numbers = None if numbers is None else torch.where(known.types, known.atomic_numbers, numbers)
        return LatentState(
            torch.where(places, known.frac_coords if last else moved.frac_coords, state.frac_coords),
            velocity,
            torch.where(cells, known.lattice if last else noisy_lattice, state.lattice),
            species,
            numbers,
        )

    def _is_last(self, t_next: float) -> bool:
        return t_next <= self.settings.t_end + 1e-9

    def _scores(self, predict: Predict, state: LatentState, t: float) -> tuple[Tensor, Tensor, Any]:
        velocity, lattice, *types = predict(state, t)
        if self.symmetry is not None:
            velocity = self.symmetry.displacement(velocity)
            types = [self.symmetry.mean_of_orbit(output) for output in types]
        score_v = self.coordinates.score(self.settings.score_scale * velocity, _place(state), t)
        score_l = vp.score(lattice, state.lattice, time_like(t, state.lattice), self.process.lattice_target)
        if self.guidance is None or self.guidance.strength == 0:
            return score_v, score_l, types[0] if types else None
        return self._guided(self.guidance, state, velocity, score_v, score_l, types[0] if types else None, t)

    def _guided(
        self,
        guidance: Guidance,
        state: LatentState,
        velocity: Tensor,
        score_v: Tensor,
        score_l: Tensor,
        output: Tensor | None,
        t: float,
    ) -> tuple[Tensor, Tensor, Any]:
        """The scores and type output bent towards the target, by its gradient at the clean estimate."""
        alpha, sigma = vp.alpha_sigma(time_like(t, state.lattice))
        places = self.coordinates.clean(self.settings.score_scale * velocity, _place(state), t)
        soft = None
        if self.species is not None and state.species is not None and output is not None:
            soft = self.species.probabilities(state.species, output, t)
        gradient = guidance.gradients(places, (state.lattice + sigma**2 * score_l) / alpha, soft)
        push, pull = self.coordinates.centred(gradient.frac_coords, self.packing), gradient.types
        if self.symmetry is not None:
            push, pull = self.symmetry.displacement(push), self.symmetry.mean_of_orbit(pull)
        if self.species is not None and state.species is not None and output is not None:
            output = self.species.reweighted(state.species, output, pull, t)
        # d l_0 / d l = alpha for data of unit variance: near t = 1, where 1 / alpha explodes, it is small
        return self.coordinates.guided(score_v, push, t), score_l + alpha * gradient.lattice, output


def _place(state: LatentState) -> Coordinates:
    return Coordinates(state.frac_coords, state.velocity)
