"""DiffCSP's samplers: one step from a time index to a smaller one; no loop, no memory.

With stride 1 the predictor-corrector is the published one: the corrector at t, then the predictor to t - 1
(Jiao et al. 2023, Algorithm 2; CrysLLMGen's Algorithm 1 prints them the other way round, its code does not).
Larger strides take the same conditional distributions of the forward process between two indices, so no new
approximation comes in but that the network's prediction is held over the stride.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import IncompatibleSampler
from crystal_core.geometry import centre, lattice_from_parameters, lattice_parameters, wrap_unit
from crystal_core.sampling.draws import normal

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from crystal_core.generators.diffcsp.schedules import Schedules
    from crystal_core.networks.packing import Packing

SAMPLERS = ("pc", "pc-pf", "em", "ode")
TAU = 0.4  # the published step 1e-5 over the square of the smallest standard deviation, 0.005
LARGEST = 400.0  # Å, of a lattice entry: keeps a diverged sample finite, far beyond any cell
SHORTEST = 1e-3  # Å: a shorter vector has no direction

# coordinates, lattice over its scale, time index → lattice noise, score over its norm
Predict = Callable[["Tensor", "Tensor", int], tuple["Tensor", "Tensor"]]


@dataclass(frozen=True)
class State:
    """A point of the reverse process.

    Attributes:
        frac_coords: (atoms, 3) in [0, 1). lattice: (crystals, 3, 3), noisy, rows in Å.
        clean: (crystals, 3, 3) what the lattice will most likely become; None before the first step.
    """

    frac_coords: Float[Tensor, "atoms 3"]
    lattice: Float[Tensor, "crystals 3 3"]
    clean: Float[Tensor, "crystals 3 3"] | None = None


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """Settings of one sampler step.

    Attributes:
        name: "pc" (corrector, then predictor), "pc-pf" (predictor first), "em" (the predictor alone) or "ode"
            (without noise).
        steps: at most as many as there are time indices.
        tau: the corrector's step over the variance of the coordinates: gamma / sigma_1² for DiffCSP's gamma.
        noise_scale: factor on the corrector's noise; 1 is the published process.

    Raises:
        IncompatibleSampler: there is no such sampler.
    """

    name: str = "pc"
    steps: int = 1000
    tau: float = TAU
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise IncompatibleSampler(
                f"DiffCSP has no sampler '{self.name}'; choose one of {', '.join(SAMPLERS)}."
            )

    @property
    def calls_per_step(self) -> int:
        """Network calls of one step; the last step of pc-pf has one."""
        return 2 if self.name in ("pc", "pc-pf") else 1

    @property
    def tuning(self) -> dict[str, float]:
        """Parameters of the steps besides sampler and number."""
        if self.calls_per_step == 1:
            return {}
        return {"tau": self.tau} | ({"noise_scale": self.noise_scale} if self.noise_scale != 1 else {})

    def indices(self, n_times: int, start: int | None = None) -> list[int]:
        """Time indices from ``start`` to 0, evenly spaced; from noise where ``start`` is None.

        From noise, long strides begin half a stride below ``n_times``: there 1e-10 of the lattice's variance
        is left, and what the network is off by would be multiplied by 60,000. One step per index begins at
        ``n_times``, as published.
        """
        first = start
        if first is None:
            first = max(1, n_times - n_times // self.steps // 2) if self.steps < n_times else n_times
        steps = min(self.steps, first)
        return [round(first * (steps - i) / steps) for i in range(steps + 1)] if steps else [0]


class LatticeSampler:
    """Steps of the reverse process for given crystals; holds only what is fixed during a run.

    Args:
        centred: the score has zero mean per crystal (see ``ProcessConfig``).
    """

    def __init__(
        self, settings: SamplerSettings, packing: Packing, schedules: Schedules, *, centred: bool
    ) -> None:
        self.settings, self.packing, self.schedules, self.centred = settings, packing, schedules, centred

    def initial(self, rng: torch.Generator) -> State:
        """The prior: uniform coordinates, unit normal lattice."""
        device, atoms = self.packing.n_atoms.device, len(self.packing.crystal_index)
        frac_coords = torch.rand((atoms, 3), generator=rng, device=device)
        lattice = torch.randn((self.packing.n_crystals, 3, 3), generator=rng, device=device)
        return State(frac_coords, lattice)

    def renoised(self, frac_coords: Tensor, lattice: Tensor, t: int, rng: torch.Generator) -> State:
        """A given crystal moved forward to time index t: what the network has seen in training."""
        signal, sigma = float(self.schedules.alphas_cumprod[t]), float(self.schedules.sigmas[t])
        moved = wrap_unit(frac_coords + sigma * normal(frac_coords, rng))
        return State(moved, signal**0.5 * lattice + (1 - signal) ** 0.5 * normal(lattice, rng), lattice)

    def step(self, predict: Predict, state: State, t: int, t_next: int, rng: torch.Generator) -> State:
        """One step from index t to t_next < t."""
        match self.settings.name:
            case "pc":
                state = self._correct(predict, state, t, rng, noisy=t_next > 0)
                return self._predict(predict, state, t, t_next, rng)
            case "pc-pf":
                state = self._predict(predict, state, t, t_next, rng)
                return self._correct(predict, state, t_next, rng, noisy=True) if t_next > 0 else state
            case "em":
                return self._predict(predict, state, t, t_next, rng)
            case _:
                return self._predict(predict, state, t, t_next, None)

    def _outputs(self, predict: Predict, state: State, t: int) -> tuple[Tensor, Tensor]:
        scaled = state.lattice / float(self.schedules.lattice_scales[t])
        noise, score = predict(state.frac_coords, scaled, t)
        if self.centred:
            score = centre(score, self.packing.crystal_index, self.packing.n_crystals)
        return noise, score * float(self.schedules.norms[t]) ** 0.5

    def _correct(self, predict: Predict, state: State, t: int, rng: torch.Generator, *, noisy: bool) -> State:
        """Langevin step of the coordinates, F' = F - eta score + sqrt(2 eta) z with eta = tau sigma²."""
        _, score = self._outputs(predict, state, t)
        eta = self.settings.tau * float(self.schedules.sigmas[t]) ** 2
        moved = state.frac_coords - eta * score
        if noisy:
            moved = moved + self.settings.noise_scale * (2 * eta) ** 0.5 * normal(moved, rng)
        return State(wrap_unit(moved), state.lattice, state.clean)

    def _predict(
        self, predict: Predict, state: State, t: int, t_next: int, rng: torch.Generator | None
    ) -> State:
        """The ancestral step; without ``rng`` the deterministic one, exact for constant noise."""
        noise, score = self._outputs(predict, state, t)
        sigma, sigma_next = self.schedules.sigmas[[t, t_next]].tolist()
        signal, signal_next = self.schedules.alphas_cumprod[[t, t_next]].tolist()
        clean = (state.lattice - (1 - signal) ** 0.5 * noise) / signal**0.5
        clean = torch.nan_to_num(clean).clamp(-LARGEST, LARGEST)
        if rng is None:
            frac_coords = state.frac_coords - (sigma - sigma_next) * sigma * score
            noise = (state.lattice - signal**0.5 * clean) / (1 - signal) ** 0.5
            return State(
                wrap_unit(frac_coords), signal_next**0.5 * clean + (1 - signal_next) ** 0.5 * noise, clean
            )
        drop, alpha = sigma**2 - sigma_next**2, signal / signal_next
        frac_coords = state.frac_coords - drop * score
        # mean and variance of the lattice at t_next given that at t and the clean one
        of_clean = signal_next**0.5 * (1 - alpha) / (1 - signal)
        of_noisy = alpha**0.5 * (1 - signal_next) / (1 - signal)
        lattice = of_clean * clean + of_noisy * state.lattice
        if t_next > 0:
            spread = ((1 - signal_next) * (1 - alpha) / (1 - signal)) ** 0.5
            frac_coords = frac_coords + sigma_next / sigma * drop**0.5 * normal(frac_coords, rng)
            lattice = lattice + spread * normal(lattice, rng)
        return State(wrap_unit(frac_coords), lattice, clean)


def to_crystals(state: State, atomic_numbers: Tensor, n_atoms: Tensor) -> CrystalBatch:
    """The current guess as crystals in the usual orientation; a cell without extent becomes a flat one."""
    rows = state.lattice if state.clean is None else state.clean
    exists = (rows.norm(dim=-1) > SHORTEST).all(-1).view(-1, 1, 1)
    unit = torch.eye(3, device=rows.device, dtype=rows.dtype).expand_as(rows)
    usual = lattice_from_parameters(lattice_parameters(torch.where(exists, rows, unit)))
    return CrystalBatch(
        atomic_numbers=atomic_numbers,
        frac_coords=wrap_unit(torch.nan_to_num(state.frac_coords)),
        lattice=torch.where(exists, usual, torch.zeros_like(usual)),
        n_atoms=n_atoms,
    )
