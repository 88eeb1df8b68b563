"""The interface of all noise processes on atom types, and the limits on the types that they may choose."""

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
    """Noisy types at time t, the input of the network, with the training target.

    Attributes:
        value: (atoms, width) float, or (atoms,) tokens.
        target: the clean types, or the noise, in the shape of ``value``.
        weight: (atoms,) weights of the loss; None for equal weights.
    """

    value: Tensor
    target: Tensor
    weight: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class TypeChoice:
    """How types are chosen while sampling; training does not use it.

    Attributes:
        allowed: (100,) True for types that may appear; None for all.
        constrained: the request limits the types, so the prediction of every step is projected onto the
            allowed ones. Otherwise they are all types of the training, which the predictions follow by
            themselves, and only decoding enforces them.
        temperature: of the softmax from which types are drawn; masking process only.
        remasking: how often in unit time a drawn type is masked again; masking process only.
    """

    allowed: Bool[Tensor, "types"] | None = None
    constrained: bool = True
    temperature: float = 1.0
    remasking: float = 0.0


FREE_CHOICE = TypeChoice()


class SpeciesProcess(ABC):
    """A noise process on types: encoding, forward process, loss, reverse steps, decoding.

    Attributes:
        network_sizes: fields of PairNetworkConfig that this process sets.
        has_score: whether the process has a score, so that a corrector can move the types.

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
        """Noisy types, drawn from the forward process at one time per atom."""

    @abstractmethod
    def loss(self, output: Tensor, noisy: NoisySpecies) -> Tensor:
        """The published loss of this process."""

    @abstractmethod
    def initial(self, n_atoms: int, rng: torch.Generator) -> Tensor:
        """Types at t = 1, drawn from the prior."""

    @abstractmethod
    def step(
        self, sampler: str, value: Tensor, output: Tensor, t: float, t_next: float, rng: torch.Generator
    ) -> Tensor:
        """One reverse step; ``sampler`` is em, exp-em, ode or predictor."""

    def correct(
        self, value: Tensor, output: Tensor, t: float, tau: float, packing: Packing, rng: torch.Generator
    ) -> Tensor:
        """One corrector step at time t, only if the process has a score."""
        raise NotImplementedError

    @abstractmethod
    def likely(self, value: Tensor, output: Tensor, t: float) -> Int[Tensor, "atoms"]:
        """The most likely atomic numbers by the network's output, to show unfinished crystals."""

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
        """The state after the last step, ready for :meth:`decode`."""

    @abstractmethod
    def decode(self, value: Tensor) -> Int[Tensor, "atoms"]:
        """Atomic numbers of a finished state."""


def allowed_types(atomic_numbers: tuple[int, ...], device: torch.device | str) -> Bool[Tensor, "types"]:
    """(100,) True at the types of these elements."""
    allowed = torch.zeros(N_TYPES, dtype=torch.bool, device=device)
    allowed[torch.tensor(atomic_numbers, device=device) - 1] = True
    return allowed
