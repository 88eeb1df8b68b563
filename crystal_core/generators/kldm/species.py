"""Atom types that diffuse with the crystal: KLDM's three options for de novo generation.

"one-hot" (C): variance-preserving noise on one-hot vectors. "analog-bits" (C-AB): the same on seven bits of
±1, most significant first. "masking" (D): types are hidden and revealed. Type index = atomic number - 1,
100 types; the mask is index 100. All options share one face, so the sampler and the loss do not ask which
one is at work.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from crystal_core.generators.kldm.coordinates import MIN_SQUARED_SCORE
from crystal_core.generators.kldm.species_process import (
    FREE_CHOICE,
    N_TYPES,
    NoisySpecies,
    SpeciesProcess,
    TypeChoice,
)
from crystal_core.geometry import mean_per_crystal
from crystal_core.sampling import absorbing
from crystal_core.sampling import variance_preserving as vp
from crystal_core.sampling.draws import normal, time_like

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from crystal_core.generators.kldm.config import ProcessConfig
    from crystal_core.networks.packing import Packing

N_BITS = 7
SURE = 1e-6  # a predicted bit is never taken for certain


class ContinuousSpecies(SpeciesProcess):
    """Shared by one-hot vectors and analog bits: variance-preserving diffusion of real vectors.

    Args:
        target: "x0" or "eps". scale: length of a clean entry.
    """

    width: int
    has_score = True

    def __init__(self, target: str = "x0", scale: float = 1.0, *, choice: TypeChoice = FREE_CHOICE) -> None:
        super().__init__(choice)
        self.target, self.scale = target, scale
        self.network_sizes = {"n_type_inputs": self.width, "n_type_outputs": self.width}

    @abstractmethod
    def shares(
        self, x0: Float[Tensor, "atoms width"], allowed: Bool[Tensor, "types"]
    ) -> Float[Tensor, "atoms types"]:
        """The prediction (unit scale) as probabilities of the allowed types."""

    @abstractmethod
    def vectors(self, shares: Float[Tensor, "atoms types"]) -> Float[Tensor, "atoms width"]:
        """The mean clean vector (unit scale) of such probabilities."""

    def project(self, x0: Float[Tensor, "atoms width"], allowed: Bool[Tensor, "types"]) -> Tensor:
        """The nearest prediction (unit scale) that knows only allowed types."""
        return self.vectors(self.shares(x0, allowed))

    def probabilities(self, value: Tensor, output: Tensor, t: float) -> Tensor:
        return self._shares_of(self.predicted(value, output, t))

    def reweighted(self, value: Tensor, output: Tensor, gradient: Tensor, t: float) -> Tensor:
        """The predicted clean vector moves by the difference of the two means."""
        clean = self.predicted(value, output, t)
        before = self._shares_of(clean)
        after = torch.softmax(torch.log(before) + gradient, dim=-1)  # what has no share gets none
        clean = clean + self.scale * self.vectors(after - before)
        if self.target == "x0":
            return clean
        alpha, sigma = vp.alpha_sigma(time_like(t, value))
        return (value - alpha * clean) / sigma

    def _shares_of(self, clean: Tensor) -> Tensor:
        everything = torch.ones(N_TYPES, dtype=torch.bool, device=clean.device)
        return self.shares(
            clean / self.scale, everything if self.choice.allowed is None else self.choice.allowed
        )

    def noisy(self, atomic_numbers: Tensor, t: Tensor, rng: torch.Generator) -> NoisySpecies:
        clean = self.encode(atomic_numbers)
        noise = torch.randn(clean.shape, generator=rng, device=clean.device)
        return NoisySpecies(vp.add_noise(clean, t, noise), clean if self.target == "x0" else noise)

    def loss(self, output: Tensor, noisy: NoisySpecies) -> Tensor:
        return functional.mse_loss(output.float(), noisy.target)

    def initial(self, n_atoms: int, rng: torch.Generator) -> Tensor:
        return torch.randn((n_atoms, self.width), generator=rng, device=rng.device)

    def predicted(self, value: Tensor, output: Tensor, t: float) -> Tensor:
        """The predicted clean vectors, projected onto the allowed types where some are excluded."""
        alpha, sigma = vp.alpha_sigma(time_like(t, value))
        clean = output if self.target == "x0" else (value - sigma * output) / alpha
        return (
            clean
            if self.choice.allowed is None or not self.choice.constrained
            else self.scale * self.project(clean / self.scale, self.choice.allowed)
        )

    def score(self, value: Tensor, output: Tensor, t: float) -> Tensor:
        """Gradient of log p at the noisy vectors."""
        return vp.score(self.predicted(value, output, t), value, time_like(t, value), "x0")

    def step(
        self, sampler: str, value: Tensor, output: Tensor, t: float, t_next: float, rng: torch.Generator
    ) -> Tensor:
        score, now, then = self.score(value, output, t), time_like(t, value), time_like(t_next, value)
        match sampler:
            case "predictor":
                return vp.step_ddim(value, score, now, then)
            case "ode":
                return vp.step_euler(value, score, now, then, None)
            case "exp-em":
                return vp.step_exponential(value, score, now, then, normal(value, rng))
            case _:
                return vp.step_euler(value, score, now, then, normal(value, rng))

    def correct(
        self, value: Tensor, output: Tensor, t: float, tau: float, packing: Packing, rng: torch.Generator
    ) -> Tensor:
        score = self.score(value, output, t)
        square = mean_per_crystal(
            (score**2).mean(-1, keepdim=True), packing.crystal_index, packing.n_crystals
        )
        # one strength per crystal, spread over its atoms: per-crystal numbers on per-atom arrays
        # are a shape error
        delta = (tau / square.clamp(min=MIN_SQUARED_SCORE))[packing.crystal_index]
        return value + delta * score + torch.sqrt(2.0 * delta) * normal(value, rng)

    def likely(self, value: Tensor, output: Tensor, t: float) -> Tensor:
        return self.decode(self.predicted(value, output, t))

    def finish(self, value: Tensor, output: Tensor) -> Tensor:
        del output  # the state decodes as it is
        return value


class OneHotSpecies(ContinuousSpecies):
    """Option C: one-hot vectors of 100 entries."""

    width = N_TYPES

    def encode(self, atomic_numbers: Tensor) -> Tensor:
        return self.scale * functional.one_hot(atomic_numbers - 1, N_TYPES).float()

    def shares(self, x0: Tensor, allowed: Tensor) -> Tensor:
        """Onto the simplex of allowed types (Duchi et al. 2008): entries ≥ 0 with sum 1; 0 elsewhere."""
        chosen = x0[:, allowed]
        ordered = chosen.sort(dim=-1, descending=True).values
        rank = torch.arange(1, ordered.shape[-1] + 1, device=x0.device)
        excess = (ordered.cumsum(-1) - 1.0) / rank
        support = (ordered > excess).sum(-1, keepdim=True).clamp(min=1)
        projected = torch.zeros_like(x0)
        projected[:, allowed] = (chosen - excess.gather(-1, support - 1)).clamp(min=0.0)
        return projected

    def vectors(self, shares: Tensor) -> Tensor:
        return shares

    def decode(self, value: Tensor) -> Tensor:
        if self.choice.allowed is not None:
            value = value.masked_fill(~self.choice.allowed, -torch.inf)
        return value.argmax(-1) + 1


class AnalogBitsSpecies(ContinuousSpecies):
    """Option C-AB: the type index as seven bits of ±1. Always predicts the clean bits.

    Args:
        clamp: keep the predicted bits within ±1 while sampling.
    """

    width = N_BITS

    def __init__(self, scale: float = 1.0, *, clamp: bool = False, choice: TypeChoice = FREE_CHOICE) -> None:
        super().__init__("x0", scale, choice=choice)
        self.clamp = clamp

    def encode(self, atomic_numbers: Tensor) -> Tensor:
        return self.scale * _codes(atomic_numbers.device)[atomic_numbers - 1]

    def predicted(self, value: Tensor, output: Tensor, t: float) -> Tensor:
        clean = super().predicted(value, output, t)
        return clean.clamp(-self.scale, self.scale) if self.clamp else clean

    def shares(self, x0: Tensor, allowed: Tensor) -> Tensor:
        """Probability of each allowed code, with predicted bits as means of independent bits."""
        codes = _codes(x0.device)
        up = (0.5 * (1.0 + x0)).clamp(SURE, 1.0 - SURE)
        log_weight = torch.log(up) @ (codes > 0).float().T + torch.log1p(-up) @ (codes < 0).float().T
        return torch.softmax(log_weight.masked_fill(~allowed, -torch.inf), dim=-1)

    def vectors(self, shares: Tensor) -> Tensor:
        return shares @ _codes(shares.device)

    def decode(self, value: Tensor) -> Tensor:
        # 28 of the 128 codes are no type: take the nearest valid code (for valid codes the threshold at 0)
        likeness = value @ _codes(value.device).T
        if self.choice.allowed is not None:
            likeness = likeness.masked_fill(~self.choice.allowed, -torch.inf)
        return likeness.argmax(-1) + 1


class MaskedSpecies(SpeciesProcess):
    """Option D: tokens that are hidden and revealed.

    Args:
        simple_weight: count every hidden atom's cross entropy alike, instead of with its weight
            in the likelihood bound.
    """

    has_score = False

    def __init__(
        self,
        schedule: absorbing.MaskSchedule,
        *,
        simple_weight: bool = False,
        choice: TypeChoice = FREE_CHOICE,
    ) -> None:
        super().__init__(choice)
        self.schedule, self.simple_weight = schedule, simple_weight
        self.network_sizes = {"n_types": N_TYPES + 1, "n_type_outputs": N_TYPES}

    def encode(self, atomic_numbers: Tensor) -> Tensor:
        return atomic_numbers - 1

    def noisy(self, atomic_numbers: Tensor, t: Tensor, rng: torch.Generator) -> NoisySpecies:
        clean = self.encode(atomic_numbers)
        value = absorbing.hide(
            clean, t, N_TYPES, self.schedule, torch.rand(t.shape, generator=rng, device=t.device)
        )
        weight = torch.ones_like(t) if self.simple_weight else self.schedule.loss_weight(t)
        return NoisySpecies(value, clean, weight * absorbing.is_hidden(value, N_TYPES))

    def loss(self, output: Tensor, noisy: NoisySpecies) -> Tensor:
        """Weighted cross entropy of the hidden atoms, averaged over all atoms."""
        assert noisy.weight is not None
        return (
            noisy.weight * functional.cross_entropy(output.float(), noisy.target, reduction="none")
        ).mean()

    def initial(self, n_atoms: int, rng: torch.Generator) -> Tensor:
        return torch.full((n_atoms,), N_TYPES, device=rng.device)

    def step(
        self, sampler: str, value: Tensor, output: Tensor, t: float, t_next: float, rng: torch.Generator
    ) -> Tensor:
        del sampler  # there is one reverse step for all of them
        return absorbing.reveal(
            value,
            self._logits(output) / self.choice.temperature,
            t,
            t_next,
            self.schedule,
            rng,
            remasking=self.choice.remasking,
        )

    def likely(self, value: Tensor, output: Tensor, t: float) -> Tensor:
        del t  # logits mean the same at all times
        return absorbing.fill(value, self._logits(output)) + 1

    def probabilities(self, value: Tensor, output: Tensor, t: float) -> Tensor:
        del t  # logits mean the same at all times
        one_hot = functional.one_hot(value.clamp(max=N_TYPES - 1), N_TYPES).to(output.dtype)
        return torch.where(
            absorbing.is_hidden(value, N_TYPES).unsqueeze(-1),
            torch.softmax(self._logits(output), dim=-1),
            one_hot,
        )

    def reweighted(self, value: Tensor, output: Tensor, gradient: Tensor, t: float) -> Tensor:
        """First-order guidance of an atom of type k: its gradient at k against that at the mean type."""
        del value, t  # logits mean the same at all times
        return output + gradient

    def finish(self, value: Tensor, output: Tensor) -> Tensor:
        return absorbing.fill(value, self._logits(output))

    def decode(self, value: Tensor) -> Tensor:
        return value + 1

    def _logits(self, output: Tensor) -> Tensor:
        return output if self.choice.allowed is None else output.masked_fill(~self.choice.allowed, -torch.inf)


def species_process(config: ProcessConfig, choice: TypeChoice = FREE_CHOICE) -> SpeciesProcess | None:
    """The option a process configuration names; None where the types are given.

    Args:
        choice: how types are chosen while sampling.
    """
    match config.species:
        case "one-hot":
            return OneHotSpecies(config.species_target, config.species_scale, choice=choice)
        case "analog-bits":
            return AnalogBitsSpecies(config.species_scale, clamp=config.clamp_bits, choice=choice)
        case "masking":
            schedule = absorbing.MaskSchedule(name=config.mask_schedule, power=config.mask_power)
            return MaskedSpecies(schedule, simple_weight=config.mask_weight == "simple", choice=choice)
        case _:
            return None


def _codes(device: torch.device) -> Tensor:
    """(100, 7) the bits of every type index, most significant first, ±1."""
    index = torch.arange(N_TYPES, device=device)
    places = torch.arange(N_BITS - 1, -1, -1, device=device)
    return 2.0 * ((index.unsqueeze(-1) >> places) & 1).float() - 1.0
