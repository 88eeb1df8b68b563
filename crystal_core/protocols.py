"""Where models meet the rest: the few interfaces that pages, jobs and the command line rely on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard
    from crystal_core.frames import Frame
    from crystal_core.requests import DeNovoRequest, GenerationRequest


class Generator(Protocol):
    """Turns compositions into crystals, one frame at a time; :func:`crystal_core.testing.check_generator` tests one."""

    card: ModelCard

    def sample(self, request: GenerationRequest) -> Iterator[Frame]:
        """Frames from noise to data; nothing runs before the first ``next``; closing the iterator stops the work.

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
        """As :meth:`Generator.sample`, one crystal per atom count, in order."""
        ...
