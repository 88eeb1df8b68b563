"""The interfaces of models that pages, jobs and the command line rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard
    from crystal_core.crystal import CrystalBatch
    from crystal_core.frames import Frame
    from crystal_core.guides.protocol import DifferentiablePredictor
    from crystal_core.properties import CrystalPredictions, PropertySpec
    from crystal_core.requests import DeNovoRequest, GenerationRequest


class Generator(Protocol):
    """Turns compositions into crystals, frame by frame; see :func:`crystal_core.testing.check_generator`."""

    card: ModelCard

    def sample(self, request: GenerationRequest) -> Iterator[Frame]:
        """Frames from noise to data; nothing runs before the first ``next``; closing stops the work.

        The last frame has ``finished=True`` and holds one crystal per composition, in order.
        """
        ...


class DeNovoGenerator(Protocol):
    """Turns atom counts into crystals of its own choice, one frame at a time."""

    card: ModelCard

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers it can place."""
        ...

    @property
    def atom_count_frequencies(self) -> dict[int, float]:
        """Atom count → share of its training crystals."""
        ...

    def sample(self, request: DeNovoRequest) -> Iterator[Frame]:
        """:meth:`Generator.sample` with one crystal per atom count, in order."""
        ...


class PropertyPredictor(Protocol):
    """Predicts properties of crystals, many at a time."""

    card: ModelCard

    @property
    def properties(self) -> tuple[PropertySpec, ...]:
        """The predicted properties, in display order."""
        ...

    def predict(
        self,
        crystals: CrystalBatch,
        properties: tuple[str, ...] = (),
        on_progress: Callable[[int], None] | None = None,
    ) -> list[CrystalPredictions]:
        """One result per crystal, in order; invariant to orientation, origin, order of atoms, choice of cell.

        Args:
            properties: names; all that it has where none is named.
            on_progress: gets the number of crystals that are done, every few dozen.

        Raises:
            RequestError: it has no such property.
        """
        ...

    def values(self, crystals: CrystalBatch, name: str) -> list[float]:
        """The value of one property for every crystal, in its unit, without uncertainties and neighbours.

        Raises:
            RequestError: it has no such property.
        """
        ...

    def guide(self, name: str, target: float) -> DifferentiablePredictor:
        """A guidance target for samplers: the property of that name is near ``target``, in its unit.

        Raises:
            RequestError: it has no such property, or no differentiable form.
        """
        ...


class CandidateRanker(Protocol):
    """Tells the right candidates of a formula from the wrong ones."""

    card: ModelCard

    def log_odds(self, crystals: CrystalBatch) -> list[float]:
        """Log odds that each unrelaxed crystal is the right one, up to a constant of its formula.

        Raises:
            RequestError: a cell that it cannot take.
        """
        ...
