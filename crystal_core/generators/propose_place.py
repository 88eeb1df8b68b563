"""A de novo generator of two models: one proposes atoms and a cell, the other places the atoms.

The composition of a proposal is kept. Its cell is where the placing begins, unless that begins with noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from crystal_core.conditions import check_declared
from crystal_core.crystal import CrystalBatch
from crystal_core.errors import IncompatibleSampler, RequestError
from crystal_core.frames import Frame, Stage
from crystal_core.requests import DeNovoRequest, GenerationRequest

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from crystal_core.cards import ModelCard
    from crystal_core.protocols import Generator as StructureGenerator

N_STEPS = 1000  # of the progress of both stages together
PROPOSED = 300  # of these, when atoms and cells are proposed


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Atoms and cells without places.

    Attributes:
        step, n_steps: of the proposer.
        atomic_numbers, lattice: of all crystals, on the last step; None before.
    """

    step: int
    n_steps: int
    atomic_numbers: Int[Tensor, "atoms"] | None = None
    lattice: Float[Tensor, "crystals 3 3"] | None = None


class Proposer(Protocol):
    """Proposes the atoms and the cell of every crystal of a request."""

    network_calls: int
    device: torch.device

    def propose(self, request: DeNovoRequest) -> Iterator[Proposal]:
        """Proposals step by step; the last one has atoms and cells.

        Raises:
            RequestError: elements that it does not know.
        """
        ...

    def settings_used(self, request: DeNovoRequest) -> dict[str, Any]:
        """The request's settings with all defaults resolved."""
        ...


class ProposePlaceGenerator:
    """De novo generation in two stages; the second one is a model of structure prediction.

    Args:
        card: ``network["placer"]`` names the placer; ``sampling["place"]`` has its usual sampler and steps,
            and, where it begins with the proposed cell, its ``start_time``.
    """

    def __init__(self, proposer: Proposer, placer: StructureGenerator, *, card: ModelCard) -> None:
        self.proposer, self.placer, self.card = proposer, placer, card
        self.network_calls = 0

    @property
    def device(self) -> torch.device:
        """The device of both stages."""
        return self.proposer.device

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that the proposer knows and the placer can place."""
        return self.card.elements

    @property
    def atom_count_frequencies(self) -> dict[int, float]:
        """Atom count → share of the proposer's training crystals."""
        counts = self.card.sampling.get("atom_count_frequencies", {})
        return {int(n): float(share) for n, share in counts.items()}

    def settings_used(self, request: DeNovoRequest) -> dict[str, Any]:
        """The settings of both stages with all defaults resolved."""
        return self.proposer.settings_used(request) | self._placing_used(self._placing(request, None))

    def idle_tuning(self, request: DeNovoRequest) -> dict[str, str]:
        """The values of the tuning that would change nothing, with the reason as the start of a sentence."""
        idle = {"remasking": f"{self.card.name} hides no types while it samples"}
        idle = {name: reason for name, reason in idle.items() if name in request.tuning_values}
        placer: Any = self.placer
        if not hasattr(placer, "idle_tuning"):
            return dict.fromkeys(request.tuning_values, f"{placer.card.name} has no sampler to tune")
        return idle | placer.idle_tuning(self._placing(replace(request, remasking=None), None))

    def sample(self, request: DeNovoRequest) -> Iterator[Frame]:
        """Frames of both stages; the last one is finished and describes both stages.

        Raises:
            RequestError: an element or a condition that the model does not know, or parts of
                a structure to keep.
            IncompatibleSampler: as the placer.
        """
        self._check(request)
        self.network_calls = 0
        proposal = None
        for proposal in self.proposer.propose(request):
            step = PROPOSED * proposal.step // max(1, proposal.n_steps)
            yield Frame(stage="propose", step=step, n_steps=N_STEPS, time=1.0)
        assert proposal is not None
        self.network_calls = self.proposer.network_calls
        for frame in self.place(request, proposal):
            step = PROPOSED + (N_STEPS - PROPOSED) * frame.step // max(1, frame.n_steps)
            self.network_calls = self.proposer.network_calls + getattr(self.placer, "network_calls", 0)
            stages = self._stages(request) if frame.finished else ()
            yield replace(frame, stage="place", step=step, n_steps=N_STEPS, stages=stages)

    def place(self, request: DeNovoRequest, proposal: Proposal) -> Iterator[Frame]:
        """The frames of the second stage alone, for the atoms and cells of a finished proposal."""
        assert proposal.atomic_numbers is not None
        assert proposal.lattice is not None
        proposed = CrystalBatch(
            atomic_numbers=proposal.atomic_numbers.cpu(),
            frac_coords=_anywhere(request),
            lattice=proposal.lattice.cpu(),
            n_atoms=torch.tensor(request.n_atoms),
        )
        yield from self.placer.sample(self._placing(request, proposed))

    def _placing(self, request: DeNovoRequest, proposed: CrystalBatch | None) -> GenerationRequest:
        """The request to the placer; without proposed crystals, one that has the same settings."""
        usual = self.card.sampling.get("place", {})
        options: dict[str, Any] = {"sampler": request.sampler, "steps": request.steps}
        if request.sampler == "fast":
            steps = request.steps or usual.get("steps")
            options = {"sampler": usual.get("sampler", "fast"), "steps": steps}
        crystals = proposed if proposed is not None else _lone_atom()
        if "start_time" in usual:
            options |= {"start": crystals, "start_time": float(usual["start_time"]), "start_kind": "renoise"}
        return GenerationRequest(
            compositions=tuple(tuple(crystal.atomic_numbers.tolist()) for crystal in crystals),
            seed=request.seed,
            frame_every=request.frame_every,
            guide=request.guide,
            dtype=request.dtype,
            **options,
            **request.tuning_fields,
        )

    def _placing_used(self, placing: GenerationRequest) -> dict[str, Any]:
        placer: Any = self.placer
        used: dict[str, Any] = {"placer_used": placer.card.name}
        used |= {} if placing.start_time is None else {"start_time_used": placing.start_time}
        if not hasattr(placer, "settings"):
            return used
        chosen = placer.settings(placing)
        tuning = {f"{name}_used": value for name, value in chosen.tuning.items()}
        return used | {"sampler_used": chosen.name, "steps_used": chosen.steps} | tuning

    def _stages(self, request: DeNovoRequest) -> tuple[Stage, ...]:
        placer: Any = self.placer
        return (
            Stage(
                stage="propose",
                model=self.card.name,
                weights_sha256=self.card.weights_sha256,
                network_calls=self.proposer.network_calls,
                settings=self.proposer.settings_used(request),
            ),
            Stage(
                stage="place",
                model=placer.card.name,
                weights_sha256=placer.card.weights_sha256,
                network_calls=getattr(placer, "network_calls", 0),
                settings=self._placing_used(self._placing(request, None)),
            ),
        )

    def _check(self, request: DeNovoRequest) -> None:
        """Refuse what the model cannot do, before any work."""
        name = self.card.name
        named = tuple(dict.fromkeys(word for one in request.conditions or () for word in one.named))
        check_declared(self.card, named, request.draft)
        if request.known is not None or request.symmetry is not None:
            raise IncompatibleSampler(
                f"{name} cannot keep parts of a structure, given elements or a space group; "
                "leave them out, or choose kldm-dng-mp."
            )
        unknown = sorted(set(request.elements or ()) - set(self.elements))
        if unknown:
            raise RequestError(
                f"{name} was not trained on atomic number(s) "
                f"{', '.join(map(str, unknown))}; choose other elements."
            )
        for value, reason in self.idle_tuning(request).items():
            raise RequestError(f"{reason}, so {value} would change nothing; leave it out.")


def _anywhere(request: DeNovoRequest) -> Float[Tensor, "atoms 3"]:
    """Random places of all atoms."""
    rng = torch.Generator().manual_seed(request.seed)
    return torch.rand(sum(request.n_atoms), 3, generator=rng)


def _lone_atom() -> CrystalBatch:
    return CrystalBatch(
        atomic_numbers=torch.tensor([1]),
        frac_coords=torch.zeros(1, 3),
        lattice=3.0 * torch.eye(3)[None],
        n_atoms=torch.tensor([1]),
    )
