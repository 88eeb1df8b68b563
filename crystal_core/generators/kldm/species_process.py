"""Common to all processes of types: noisy types, limits on the choice, steps to fill in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from crystal_core.networks.packing import Packing

N_TYPES = 100


@dataclass(frozen=True)
class NoisySpecies:
    """Types at a time t, as the network sees them, with its training target.

    Attributes:
        value: (atoms, width) float, or (atoms,) tokens. target: of the same kind, clean (or the noise).
        weight: (atoms,) of the loss; None where all count alike.
    """

    value: Tensor
    target: Tensor
    weight: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class TypeChoice:
    """The choice of types while sampling; training needs none of it.

    Attributes:
        allowed: (100,) True where a type may appear when sampling; None where all may.
        constrained: the request limits the types, so every step's prediction is projected onto them;
            otherwise they are all the model has seen, its predictions know that already, and only
            decoding keeps to them.
        temperature: of the drawn types, and remasking: how often a drawn one is drawn again in unit time;
            both only where types are hidden and revealed.
    """

    allowed: Bool[Tensor, "types"] | None = None
    constrained: bool = True
    temperature: float = 1.0
    remasking: float = 0.0


FREE_CHOICE = TypeChoice()


class SpeciesProcess(ABC):
    """One option: encode, forward process, loss, reverse steps, decode.

    Attributes:
        network_sizes: PairNetworkConfig fields this option asks for.
        has_score: whether a corrector can move the types.

    Args:
        choice: how types are chosen while sampling.
    """

    network_sizes: dict[str, int]
    has_score: bool

    def __init__(self, choice: TypeChoice = FREE_CHOICE) -> None:
        self.choice = choice

    @abstractmethod
    def encode(self, atomic_numbers: Int[Tensor, "atoms"]) -> Tensor:
        """Clean types as the state holds them."""

    @abstractmethod
    def noisy(
        self, atomic_numbers: Int[Tensor, "atoms"], t: Float[Tensor, "atoms"], rng: torch.Generator
    ) -> NoisySpecies:
        """Draw the forward process, one time per atom."""

    @abstractmethod
    def loss(self, output: Tensor, noisy: NoisySpecies) -> Tensor:
        """The published loss of this option."""

    @abstractmethod
    def initial(self, n_atoms: int, rng: torch.Generator) -> Tensor:
        """The prior."""

    @abstractmethod
    def step(
        self, sampler: str, value: Tensor, output: Tensor, t: float, t_next: float, rng: torch.Generator
    ) -> Tensor:
        """One reverse step; ``sampler`` is em, exp-em, ode or predictor."""

    def correct(
        self, value: Tensor, output: Tensor, t: float, tau: float, packing: Packing, rng: torch.Generator
    ) -> Tensor:
        """One corrector step at time t; only for options that have a score."""
        raise NotImplementedError

    @abstractmethod
    def likely(self, value: Tensor, output: Tensor, t: float) -> Int[Tensor, "atoms"]:
        """Atomic numbers the network now thinks most likely, for pictures on the way."""

    @abstractmethod
    def probabilities(self, value: Tensor, output: Tensor, t: float) -> Float[Tensor, "atoms types"]:
        """The network's probability of each type."""

    @abstractmethod
    def reweighted(
        self, value: Tensor, output: Tensor, gradient: Float[Tensor, "atoms types"], t: float
    ) -> Tensor:
        """The network's output under guidance: probabilities p become p exp(gradient), normalised."""

    @abstractmethod
    def finish(self, value: Tensor, output: Tensor) -> Tensor:
        """The state after the last step, made decodable."""

    @abstractmethod
    def decode(self, value: Tensor) -> Int[Tensor, "atoms"]:
        """Atomic numbers of a finished state."""


def allowed_types(atomic_numbers: tuple[int, ...], device: torch.device | str) -> Bool[Tensor, "types"]:
    """(100,) True at the types of these elements."""
    allowed = torch.zeros(N_TYPES, dtype=torch.bool, device=device)
    allowed[torch.tensor(atomic_numbers, device=device) - 1] = True
    return allowed
