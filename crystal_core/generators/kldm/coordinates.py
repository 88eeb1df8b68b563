"""Noise on fractional coordinates: KLDM's kinetic process and the two baselines of its ablation.

"kinetic": velocities carry the noise and positions follow them. "brownian": wrapped-normal noise on the
positions themselves, no velocity (Riemannian diffusion). "euclidean": plain Gaussian noise on unwrapped
coordinates, as if a cell had no neighbours. All in the external chart (f in [-½, ½]); the loss is a plain
mean squared error on ``target``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from crystal_core.geometry import TWO_PI, centre, mean_per_crystal, wrap
from crystal_core.sampling import torus_brownian as brownian
from crystal_core.sampling import torus_langevin as torus
from crystal_core.sampling import variance_preserving as vp
from crystal_core.sampling.draws import time_like

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.generators.kldm.config import ProcessConfig
    from crystal_core.networks.packing import Packing

# a lone atom has score 0: without a floor its step would be infinite and its position NaN
MIN_SQUARED_SCORE = 1e-8
# coordinates uniform on [-½, ½] then have unit variance, as the process assumes
EUCLIDEAN_SCALE = math.sqrt(12.0)


@dataclass(frozen=True)
class Coordinates:
    """The network's view of places: frac_coords (atoms, 3) in [-½, ½] and velocity (atoms, 3)."""

    frac_coords: Tensor
    velocity: Tensor


@dataclass(frozen=True)
class ScoreNorms:
    """n(s) as a table that belongs to a checkpoint of the official code, which was trained with it.

    The official code draws the table at random (about 1 % of noise) instead of integrating, and takes the
    entry ``round(2000 t) - 1`` without interpolation. Below t = 0.00025 that index is -1, the last entry;
    here it is the first.

    Attributes:
        squared: (2000,) n² at s = 2 j / 1999, float32.
    """

    squared: Tensor

    def at(self, t: float) -> float:
        """N at a time t in (0, 1]."""
        entries = len(self.squared)
        index = int(torch.round(torch.tensor(t, dtype=torch.float32) * entries)) - 1
        return math.sqrt(float(self.squared[min(max(index, 0), entries - 1)]))


class CoordinateProcess(ABC):
    """Forward process, score and reverse steps of one kind of coordinates.

    Args:
        score_norms: for sampling with kinetic coordinates, in place of n(s) by quadrature.
    """

    def __init__(self, config: ProcessConfig, score_norms: ScoreNorms | None = None) -> None:
        self.config, self.score_norms = config, score_norms

    @abstractmethod
    def noisy(
        self, frac_coords: Tensor, t: Tensor, packing: Packing, rng: torch.Generator
    ) -> tuple[Coordinates, Tensor]:
        """The forward process at one time per crystal, and the network's target (atoms, 3)."""

    @abstractmethod
    def initial(self, packing: Packing, rng: torch.Generator) -> Coordinates:
        """The prior."""

    @abstractmethod
    def score(self, prediction: Tensor, now: Coordinates, t: float) -> Tensor:
        """The score that the steps below take, from the network's prediction."""

    @abstractmethod
    def clean(self, prediction: Tensor, now: Coordinates, t: float) -> Tensor:
        """(atoms, 3) fractional coordinates without noise, as far as the prediction tells (Tweedie)."""

    @abstractmethod
    def guided(self, score: Tensor, gradient: Tensor, t: float) -> Tensor:
        """The score, with the gradient of a guidance target at the clean coordinates added."""

    @abstractmethod
    def step(
        self, sampler: str, now: Coordinates, score: Tensor, t: float, t_next: float, noise: Tensor | None
    ) -> Coordinates:
        """One reverse step of em, exp-em or (without noise) ode."""

    @abstractmethod
    def predict(self, now: Coordinates, score: Tensor, t: float, t_next: float) -> Coordinates:
        """The deterministic predictor."""

    @abstractmethod
    def correct(
        self, now: Coordinates, score: Tensor, delta: Tensor, noise: Tensor, transport: float
    ) -> Coordinates:
        """One corrector step of size ``delta`` (atoms, 1); positions move for the time ``transport``."""

    def at_rest(self, frac_coords: Tensor, packing: Packing) -> Coordinates:
        """Given coordinates as the network sees them without noise."""
        del packing
        return _at_rest(frac_coords)

    def noise(self, like: Tensor, packing: Packing, rng: torch.Generator) -> Tensor:
        """Unit normal numbers, with zero mean per crystal where the process is mean-free."""
        drawn = torch.randn(like.shape, generator=rng, device=like.device, dtype=like.dtype)
        return self.centred(drawn, packing)

    def corrector_size(self, score: Tensor, tau: float, packing: Packing) -> Tensor:
        """(atoms, 1) tau over the mean squared score of the crystal."""
        square = mean_per_crystal(
            (score**2).mean(-1, keepdim=True), packing.crystal_index, packing.n_crystals
        )
        return (tau / square.clamp(min=MIN_SQUARED_SCORE))[packing.crystal_index]

    def centred(self, values: Tensor, packing: Packing) -> Tensor:
        """``values`` less their mean over each crystal, where the process is mean-free."""
        return centre(values, packing.crystal_index, packing.n_crystals) if self.config.mean_free else values


class KineticCoordinates(CoordinateProcess):
    """Kinetic Langevin diffusion: x = 2 pi f, v = 2 pi u, s = 2 t inside."""

    def noisy(
        self, frac_coords: Tensor, t: Tensor, packing: Packing, rng: torch.Generator
    ) -> tuple[Coordinates, Tensor]:
        """Draw (f_t, u_t) given f_0.

        v_s = e^-s v_0 + sigma_v eps_v; r = kappa (v_s + v_0) + sigma_r eps_r; x_s = wrap(x_0 + wrap(r)).
        Target, with m the wrapped-normal score of r: simplified C(m) / n(s); full
        -eps_v / sigma_v + kappa C(m).
        """
        s = (torus.HORIZON * t)[packing.crystal_index].unsqueeze(-1)
        noise_v, noise_r = self.noise(frac_coords, packing, rng), self.noise(frac_coords, packing, rng)
        kappa, sigma_r = torus.kappa(s), torus.sigma_displacement(s)
        spread = self.config.initial_velocity_scale
        v0 = spread * self.noise(frac_coords, packing, rng) if spread else torch.zeros_like(frac_coords)
        v = torch.exp(-s) * v0 + torus.sigma_velocity(s) * noise_v
        mu = kappa * (v + v0)
        r = mu + sigma_r * noise_r
        m = self.centred(torus.wrapped_normal_score(r, mu, sigma_r), packing)
        # positions are not centred: that would move them out of the range the network was given
        x = wrap(TWO_PI * frac_coords + wrap(r, TWO_PI), TWO_PI)
        simplified = self.config.parametrisation == "simplified"
        target = m / torus.score_norm(s) if simplified else -noise_v / torus.sigma_velocity(s) + kappa * m
        return Coordinates(x / TWO_PI, v / TWO_PI), target

    def initial(self, packing: Packing, rng: torch.Generator) -> Coordinates:
        frac = _uniform(packing, rng)
        return Coordinates(frac, self.noise(frac, packing, rng) / TWO_PI)

    def score(self, prediction: Tensor, now: Coordinates, t: float) -> Tensor:
        """grad_v log p. Simplified: -v / sigma_v² + kappa n y. Full: the prediction itself."""
        if self.config.parametrisation == "full":
            return prediction
        s = torch.tensor(torus.HORIZON * t, dtype=torch.float64)
        gain = float(torus.kappa(s)) * self._score_norm(t)
        return -TWO_PI * now.velocity / float(torus.sigma_velocity(s)) ** 2 + gain * prediction

    def clean(self, prediction: Tensor, now: Coordinates, t: float) -> Tensor:
        """x_0 = x - kappa v - sigma_r² m, with m = n y, or from the full score (s + v / sigma_v²) / kappa."""
        s = torch.tensor(torus.HORIZON * t, dtype=torch.float64)
        kappa, v = float(torus.kappa(s)), TWO_PI * now.velocity
        if self.config.parametrisation == "full":
            m = (prediction + v / float(torus.sigma_velocity(s)) ** 2) / kappa
        else:
            m = self._score_norm(t) * prediction
        return wrap(now.frac_coords - (kappa * v + float(torus.sigma_displacement(s)) ** 2 * m) / TWO_PI)

    def _score_norm(self, t: float) -> float:
        if self.score_norms is not None:
            return self.score_norms.at(t)
        return float(torus.score_norm(torch.tensor(torus.HORIZON * t, dtype=torch.float64)))

    def guided(self, score: Tensor, gradient: Tensor, t: float) -> Tensor:
        """With d x_0 / d v = -kappa, and x = 2 pi f."""
        return (
            score
            - float(torus.kappa(torch.tensor(torus.HORIZON * t, dtype=torch.float64))) / TWO_PI * gradient
        )

    def step(
        self, sampler: str, now: Coordinates, score: Tensor, t: float, t_next: float, noise: Tensor | None
    ) -> Coordinates:
        del sampler  # em is the exponential integrator already
        return _external(
            *torus.step_em(
                TWO_PI * now.frac_coords, TWO_PI * now.velocity, score, torus.HORIZON * (t - t_next), noise
            )
        )

    def predict(self, now: Coordinates, score: Tensor, t: float, t_next: float) -> Coordinates:
        s, h = torus.HORIZON * t, torus.HORIZON * (t - t_next)
        return _external(*torus.step_predictor(TWO_PI * now.frac_coords, TWO_PI * now.velocity, score, s, h))

    def correct(
        self, now: Coordinates, score: Tensor, delta: Tensor, noise: Tensor, transport: float
    ) -> Coordinates:
        v = TWO_PI * now.velocity + delta * score + torch.sqrt(2.0 * delta) * noise
        x = TWO_PI * now.frac_coords
        return _external(wrap(x - torus.HORIZON * transport * v, TWO_PI) if transport else x, v)


class BrownianCoordinates(CoordinateProcess):
    """Wrapped-normal noise on positions; the network's velocity input is zero."""

    def noisy(
        self, frac_coords: Tensor, t: Tensor, packing: Packing, rng: torch.Generator
    ) -> tuple[Coordinates, Tensor]:
        """x_t = wrap(x_0 + r), r = sigma noise.

        Target: the wrapped-normal score of r over its root-mean-square.
        """
        time = t[packing.crystal_index].unsqueeze(-1)
        r = brownian.sigma(time) * self.noise(frac_coords, packing, rng)
        target = self.centred(brownian.score(r, time), packing) / brownian.score_norm(time)
        return _at_rest(wrap(frac_coords + r / TWO_PI)), target

    def initial(self, packing: Packing, rng: torch.Generator) -> Coordinates:
        return _at_rest(_uniform(packing, rng))

    def score(self, prediction: Tensor, now: Coordinates, t: float) -> Tensor:
        """grad_x log p = n(t) y."""
        del now  # nothing of it is analytic
        return float(brownian.score_norm(torch.tensor(t, dtype=torch.float64))) * prediction

    def clean(self, prediction: Tensor, now: Coordinates, t: float) -> Tensor:
        """x_0 = x + sigma² grad_x log p."""
        sigma = float(brownian.sigma(torch.tensor(t, dtype=torch.float64)))
        return wrap(now.frac_coords + sigma**2 * self.score(prediction, now, t) / TWO_PI)

    def guided(self, score: Tensor, gradient: Tensor, t: float) -> Tensor:
        del t  # d x_0 / d x = 1 at all times
        return score + gradient / TWO_PI

    def step(
        self, sampler: str, now: Coordinates, score: Tensor, t: float, t_next: float, noise: Tensor | None
    ) -> Coordinates:
        del sampler  # em and exp-em are the same ancestral step
        return _at_rest(brownian.step_em(TWO_PI * now.frac_coords, score, t, t_next, noise) / TWO_PI)

    def predict(self, now: Coordinates, score: Tensor, t: float, t_next: float) -> Coordinates:
        return _at_rest(brownian.step_predictor(TWO_PI * now.frac_coords, score, t, t_next) / TWO_PI)

    def correct(
        self, now: Coordinates, score: Tensor, delta: Tensor, noise: Tensor, transport: float
    ) -> Coordinates:
        del transport  # positions move by the score itself
        return _at_rest(
            wrap(TWO_PI * now.frac_coords + delta * score + torch.sqrt(2.0 * delta) * noise, TWO_PI) / TWO_PI
        )


class EuclideanCoordinates(CoordinateProcess):
    """Variance-preserving noise on z = sqrt(12) f, unwrapped, centred per crystal; predicts the noise.

    z itself enters the network as its velocity input, because features of wrapped coordinates
    cannot tell images apart.
    """

    def noisy(
        self, frac_coords: Tensor, t: Tensor, packing: Packing, rng: torch.Generator
    ) -> tuple[Coordinates, Tensor]:
        clean = self.centred(EUCLIDEAN_SCALE * wrap(frac_coords), packing)
        noise = self.noise(frac_coords, packing, rng)
        return _flat(vp.add_noise(clean, t[packing.crystal_index], noise)), noise

    def at_rest(self, frac_coords: Tensor, packing: Packing) -> Coordinates:
        return _flat(self.centred(EUCLIDEAN_SCALE * wrap(frac_coords), packing))

    def initial(self, packing: Packing, rng: torch.Generator) -> Coordinates:
        like = torch.zeros((packing.crystal_index.shape[0], 3), device=packing.n_atoms.device)
        return _flat(self.noise(like, packing, rng))

    def score(self, prediction: Tensor, now: Coordinates, t: float) -> Tensor:
        """grad_z log p = -noise / sigma."""
        return vp.score(prediction, now.velocity, time_like(t, prediction), "eps")

    def clean(self, prediction: Tensor, now: Coordinates, t: float) -> Tensor:
        """z_0 = (z - sigma noise) / alpha."""
        alpha, sigma = vp.alpha_sigma(time_like(t, prediction))
        return wrap((now.velocity - sigma * prediction) / (alpha * EUCLIDEAN_SCALE))

    def guided(self, score: Tensor, gradient: Tensor, t: float) -> Tensor:
        """With d z_0 / d z = alpha for data of unit variance."""
        alpha, _ = vp.alpha_sigma(time_like(t, score))
        return score + alpha * gradient / EUCLIDEAN_SCALE

    def step(
        self, sampler: str, now: Coordinates, score: Tensor, t: float, t_next: float, noise: Tensor | None
    ) -> Coordinates:
        here, there = time_like(t, score), time_like(t_next, score)
        if sampler == "exp-em" and noise is not None:
            return _flat(vp.step_exponential(now.velocity, score, here, there, noise))
        return _flat(vp.step_euler(now.velocity, score, here, there, noise))

    def predict(self, now: Coordinates, score: Tensor, t: float, t_next: float) -> Coordinates:
        return _flat(vp.step_ddim(now.velocity, score, time_like(t, score), time_like(t_next, score)))

    def correct(
        self, now: Coordinates, score: Tensor, delta: Tensor, noise: Tensor, transport: float
    ) -> Coordinates:
        del transport  # positions move by the score itself
        return _flat(now.velocity + delta * score + torch.sqrt(2.0 * delta) * noise)


PROCESSES: dict[str, type[CoordinateProcess]] = {
    "kinetic": KineticCoordinates,
    "brownian": BrownianCoordinates,
    "euclidean": EuclideanCoordinates,
}


def coordinate_process(config: ProcessConfig, score_norms: ScoreNorms | None = None) -> CoordinateProcess:
    """The process of a configuration, with an imported checkpoint's own score norms if it has any."""
    return PROCESSES[config.coordinates](config, score_norms)


def _uniform(packing: Packing, rng: torch.Generator) -> Tensor:
    return wrap(torch.rand((packing.crystal_index.shape[0], 3), generator=rng, device=packing.n_atoms.device))


def _external(x: Tensor, v: Tensor) -> Coordinates:
    return Coordinates(x / TWO_PI, v / TWO_PI)


def _at_rest(frac_coords: Tensor) -> Coordinates:
    return Coordinates(frac_coords, torch.zeros_like(frac_coords))


def _flat(z: Tensor) -> Coordinates:
    return Coordinates(wrap(z / EUCLIDEAN_SCALE), z)
