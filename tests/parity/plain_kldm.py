"""The equations of KLDM in plain numpy, as published: what the package is compared with."""

import math
from functools import lru_cache

import numpy as np
import torch

COUNTS = [3, 1, 4]

OF = np.repeat(np.arange(len(COUNTS)), COUNTS)


def wrap(x):
    return np.arctan2(np.sin(x), np.cos(x))


def centred(values, of=OF):
    means = np.stack([values[of == g].mean(0) for g in range(of.max() + 1)])
    return values - means[of]


def kappa(s):
    return (1 - np.exp(-s)) / (1 + np.exp(-s))


def sigma_v(s):
    return np.sqrt(1 - np.exp(-2 * s) + 1e-6)


def sigma_r(s):
    return np.sqrt(2 * s + 8 / (1 + np.exp(s)) - 4 + 1e-6)


def m(r, mu, sigma):
    """d/dmu ln WN(r; mu, sigma²), the sums over 27 images; the largest term is divided out,
    or all would underflow.
    """
    delta = (wrap(r) - wrap(mu))[..., None] + 2 * np.pi * np.arange(-13, 14)
    exponent = -(delta**2) / (2 * np.asarray(sigma)[..., None] ** 2)
    weight = np.exp(exponent - exponent.max(-1, keepdims=True))
    return (delta * weight).sum(-1) / weight.sum(-1) / sigma**2


@lru_cache(maxsize=1000)
def norm(s):
    """n(s) by a plain sum over the circle; narrower than 0.02 rad it is 1/sigma to all digits."""
    if sigma_r(s) < 0.02:
        return 1 / float(sigma_r(s))
    r, sigma = np.linspace(-np.pi, np.pi, 2048, endpoint=False), float(sigma_r(s))
    density = np.exp(-((r[:, None] + 2 * np.pi * np.arange(-13, 14)) ** 2) / (2 * sigma**2)).sum(-1)
    return math.sqrt((m(r, np.zeros_like(r), np.full_like(r, sigma)) ** 2 * density).sum() / density.sum())


def alpha_sigma(t):
    big_b = 0.1 * t + 9.95 * t**2
    return math.exp(-big_b / 2), math.sqrt(1 - math.exp(-big_b))


class Plain:
    """One step of every sampler, as published; x, v, l are numpy arrays."""

    def __init__(self, predict, process, noise, tau, scale, transport, noise_scale=1.0):
        self.predict, self.process, self.noise, self.tau, self.scale, self.transport = (
            predict,
            process,
            noise,
            tau,
            scale,
            transport,
        )
        self.noise_scale = noise_scale

    def scores(self, x, v, lattice, t):
        y, cell = self.predict(x / (2 * np.pi), v / (2 * np.pi), lattice, t)
        s, (alpha, sigma) = 2 * t, alpha_sigma(t)
        full = self.process.parametrisation == "full"
        score_v = self.scale * y if full else -v / sigma_v(s) ** 2 + kappa(s) * norm(s) * self.scale * y
        return score_v, (
            alpha * cell - lattice
        ) / sigma**2 if self.process.lattice_target == "x0" else -cell / sigma

    def em(self, x, v, lattice, t, t_next, *, exponential=False):
        h, (score_v, score_l) = 2 * (t - t_next), self.scores(x, v, lattice, t)
        v = np.exp(h) * v + 2 * (np.exp(h) - 1) * score_v + np.sqrt(np.exp(2 * h) - 1) * self.noise.velocity()
        xi = self.noise.lattice()
        if not exponential:
            beta, dt = 0.1 + 19.9 * t, t_next - t
            return (
                wrap(x - h * v),
                v,
                lattice + (-beta * lattice / 2 - beta * score_l) * dt + np.sqrt(beta * abs(dt)) * xi,
            )
        (a, sig), (a2, sig2) = alpha_sigma(t), alpha_sigma(t_next)
        gap = math.log(a2 / sig2) - math.log(a / sig)
        lattice = (
            a2 / a * lattice
            + 2 * sig * sig2 * math.expm1(gap) * score_l
            + sig2 * math.sqrt(1 - math.exp(-2 * gap)) * xi
        )
        return wrap(x - h * v), v, lattice

    def ode(self, x, v, lattice, t, t_next):
        h, (score_v, score_l) = 2 * (t - t_next), self.scores(x, v, lattice, t)
        v = np.exp(h) * v + (np.exp(h) - 1) * score_v
        beta, dt = 0.1 + 19.9 * t, t_next - t
        return wrap(x - h * v), v, lattice + (-beta * lattice / 2 - beta * score_l / 2) * dt

    def corrector(self, x, v, lattice, t, h):
        score_v, score_l = self.scores(x, v, lattice, t)
        delta = np.array([self.tau / max((score_v[g == OF] ** 2).mean(), 1e-8) for g in range(len(COUNTS))])[
            OF
        ][:, None]
        v = v + delta * score_v + self.noise_scale * np.sqrt(2 * delta) * self.noise.velocity()
        x = wrap(x - h * v) if self.transport else x
        delta = self.tau / (score_l**2).mean(1, keepdims=True)
        return x, v, lattice + delta * score_l + self.noise_scale * np.sqrt(2 * delta) * self.noise.lattice()

    def predictor(self, x, v, lattice, t, t_next):
        s, h, (score_v, score_l) = 2 * t, 2 * (t - t_next), self.scores(x, v, lattice, t)
        rho, (a, sig), (a2, sig2) = np.exp(h), alpha_sigma(t), alpha_sigma(t_next)
        v = rho * v + (rho * sigma_v(s) - sigma_v(s - h)) * sigma_v(s) * score_v
        return wrap(x - h * v), v, a2 / a * lattice + (a2 / a * sig - sig2) * sig * score_l

    def step(self, name, x, v, lattice, t, t_next):
        h = 2 * (t - t_next)
        if name == "pc":
            return self.predictor(*self.corrector(x, v, lattice, t, h), t, t_next)
        if name == "pc-pf":
            return self.corrector(*self.predictor(x, v, lattice, t, t_next), t_next, h)
        return (
            self.ode(x, v, lattice, t, t_next)
            if name == "ode"
            else self.em(x, v, lattice, t, t_next, exponential=name == "exp-em")
        )


class Noise:
    """The draws the package makes, in its order: velocities (centred per crystal), then lattices."""

    def __init__(self, seed):
        self.rng = torch.Generator().manual_seed(seed)

    def velocity(self):
        return centred(torch.randn((len(OF), 3), generator=self.rng, dtype=torch.float64).numpy())

    def lattice(self):
        return torch.randn((len(COUNTS), 6), generator=self.rng, dtype=torch.float64).numpy()
