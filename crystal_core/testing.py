"""Contract checks for generators, with the toy crystals that they use.

Write a test that calls :func:`check_generator` with a function making your generator; a broken promise raises
:class:`ContractBroken` with a sentence. The promises are those of :class:`crystal_core.protocols.Generator`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import CrystalCoreError, IncompatibleSampler, RequestError
from crystal_core.frames import Frame
from crystal_core.geometry import lattice_from_parameters
from crystal_core.requests import GenerationRequest
from crystal_core.structures import to_structures

if TYPE_CHECKING:
    from crystal_core.protocols import Generator

RECORD_KEYS = frozenset(
    {
        "id",
        "formula",
        "n_atoms",
        "lattice",
        "atomic_numbers",
        "frac_coords",
        "cif",
        "space_group",
        "density",
        "validity",
        "provenance",
    }
)
PROVENANCE_KEYS = frozenset({"model", "weights_sha256", "version", "seed", "settings", "device", "libraries"})


class ContractBroken(AssertionError):
    """A model does not keep a promise that the rest of the program relies on."""


def toy_crystals() -> dict[str, CrystalBatch]:
    """An atom alone in its cell, rock salt, a triclinic cell and one of twenty atoms, by name."""
    generator = torch.Generator().manual_seed(0)

    def crystal(
        numbers: list[int], cell: list[float], coords: list[list[float]] | None = None
    ) -> CrystalBatch:
        frac_coords = (
            torch.rand((len(numbers), 3), generator=generator) if coords is None else torch.tensor(coords)
        )
        return CrystalBatch(
            atomic_numbers=torch.tensor(numbers),
            frac_coords=frac_coords,
            lattice=lattice_from_parameters(torch.tensor([cell])),
            n_atoms=torch.tensor([len(numbers)]),
        )

    return {
        "iron": crystal([26], [2.48, 2.48, 2.48, 109.47, 109.47, 109.47], [[0.0, 0.0, 0.0]]),
        "rock salt": crystal(
            [11, 17], [3.99, 3.99, 3.99, 60.0, 60.0, 60.0], [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
        ),
        "triclinic": crystal(
            [22, 8, 8],
            [4.1, 4.7, 5.3, 81.0, 95.0, 107.5],
            [[0.0, 0.0, 0.0], [0.3, 0.2, 0.6], [0.7, 0.4, 0.1]],
        ),
        "twenty atoms": crystal([12] * 4 + [14] * 4 + [8] * 12, [4.8, 5.1, 11.9, 90.0, 90.0, 90.0]),
    }


def check_generator(
    make: Callable[[], Generator],
    *,
    random: bool = True,
    batch_independent: bool = False,
    sampler: str = "fast",
    steps: int | None = 4,
) -> None:
    """Run every check below on generators made by ``make``.

    Args:
        random: whether another seed should give other crystals.
        batch_independent: whether a crystal does not depend on what else is in its batch (noise
            drawn per batch does).
        sampler, steps: how to sample; few steps, because quality is not judged.

    Raises:
        ContractBroken: the first promise that is not kept.
    """
    toys = toy_crystals()
    compositions = tuple(tuple(toy.atomic_numbers.tolist()) for toy in toys.values())
    options: dict[str, Any] = {"sampler": sampler, "steps": steps, "frame_every": 1}

    def request(
        seed: int = 3, cells: tuple[tuple[int, ...], ...] = compositions, **more: Any
    ) -> GenerationRequest:
        return GenerationRequest(compositions=cells, seed=seed, **options, **more)

    generator = make()
    check_card(generator)
    first = check_frames(generator, request())
    _same(first, check_frames(generator, request()), "The same seed gave other crystals")
    _same(first, check_frames(make(), request()), "A second generator gave other crystals for the same seed")
    if random:
        other = check_frames(generator, request(seed=4))
        _require(
            not torch.equal(first.frac_coords, other.frac_coords), "Another seed gave the same crystals."
        )
    for cell in compositions:
        alone = check_frames(generator, request(cells=(cell,)))
        if batch_independent:
            _same(
                alone,
                first[compositions.index(cell)],
                f"A crystal of {len(cell)} atoms came out differently alone and in a batch",
            )
    check_cancelling(generator, request())
    check_refusals(generator, request)
    starts = CrystalBatch.concat(list(toys.values()))
    try:
        check_frames(generator, request(start=starts, start_time=0.01))
    except IncompatibleSampler:
        return  # a generator need not start from crystals, but must say so
    swapped = CrystalBatch.concat([toys["rock salt"], toys["iron"], toys["triclinic"], toys["twenty atoms"]])
    _refused(generator, request(start=swapped, start_time=0.01), "start structures of other compositions")


def check_card(generator: Generator) -> None:
    """The card says what the model is, where it comes from and where it ends, and its files are whole."""
    card = generator.card
    for field in ("name", "task", "method", "loader", "trained_on", "source", "licence", "limits"):
        _require(bool(getattr(card, field)), f"The card of '{card.name}' does not say: {field}.")
    _require(card.kind == "generator", f"'{card.name}' generates, but its card calls it a {card.kind}.")
    _require(
        re.fullmatch(r"[0-9a-f]{64}", card.weights_sha256) is not None,
        f"'{card.name}' has no hash of its weights.",
    )
    if card.folder is not None:
        _require(card.problem() is None, f"The files of '{card.name}' do not fit its card: {card.problem()}")


def check_frames(generator: Generator, request: GenerationRequest) -> CrystalBatch:
    """One run: frames in order, one finished frame at the end, every sample at its place.

    Returns the final crystals.
    """
    n, step, time = len(request.compositions), 0, 1.0 + 1e-9
    frame: Frame | None = None
    for frame in generator.sample(request):
        _require(
            step < frame.step <= frame.n_steps,
            f"Step {frame.step} of {frame.n_steps} came after step {step}.",
        )
        _require(
            frame.time <= time,
            f"Time went back from {time} to {frame.time}; it runs from 1 (noise) to 0 (data).",
        )
        _require(
            frame.finished == (frame.step == frame.n_steps),
            f"Step {frame.step} of {frame.n_steps} has finished={frame.finished}.",
        )
        if frame.crystals is not None:
            _require(
                len(frame.sample_ids) == len(frame.crystals),
                f"{len(frame.crystals)} crystals, but {len(frame.sample_ids)} sample ids.",
            )
        step, time = frame.step, frame.time
    if frame is None or frame.crystals is None or not frame.finished:
        raise ContractBroken("The last frame must be finished and hold the crystals.")
    crystals = frame.crystals
    _require(
        frame.sample_ids == tuple(range(n)),
        f"{n} samples were requested, but the last frame holds {frame.sample_ids}.",
    )
    _require(crystals.frac_coords.device.type == "cpu", "Frames hand crystals over on the CPU.")
    wanted = [z for composition in request.compositions for z in composition]
    _require(
        crystals.n_atoms.tolist() == [len(c) for c in request.compositions],
        "The numbers of atoms are not the requested ones.",
    )
    _require(
        crystals.atomic_numbers.tolist() == wanted, "The atoms are not the requested ones, in their order."
    )
    structures = to_structures(crystals)
    _require(
        len(structures) == n,
        "A failed sample must keep its place (as a cell that is no lattice), not be left out.",
    )
    for i, structure in enumerate(structures):
        if structure is not None:  # None is how a failed sample is marked
            coords = crystals[i].frac_coords
            _require(
                bool(((coords >= 0) & (coords < 1)).all()), f"Sample {i} has coordinates outside [0, 1)."
            )
            _require(float(structure.volume) > 0, f"Sample {i} has no volume.")
    return crystals


def check_cancelling(generator: Generator, request: GenerationRequest) -> None:
    """Nothing runs before the first ``next``; closing stops the work; a later run equals a first one."""
    before = getattr(generator, "network_calls", 0)
    frames = generator.sample(request)
    _require(isinstance(frames, Iterator), "sample() must return an iterator of frames.")
    _require(
        getattr(generator, "network_calls", 0) == before,
        "The work began before the first frame was requested.",
    )
    next(frames)
    close = getattr(frames, "close", None)
    if close is None:
        raise ContractBroken(
            "The iterator of frames cannot be closed, so a run cannot be cancelled; "
            "write sample() as a generator function."
        )
    close()
    done = getattr(generator, "network_calls", 0)
    _require(next(frames, None) is None, "A closed run went on.")
    _require(getattr(generator, "network_calls", 0) == done, "The work went on after the run was closed.")
    _same(
        check_frames(generator, request),
        check_frames(generator, request),
        "A cancelled run changed the next one",
    )


def check_refusals(generator: Generator, request: Callable[..., GenerationRequest]) -> None:
    """A limit of the model is one sentence, or a failed sample at its place; other samples remain."""
    possible = (22, 8, 8)
    try:
        crystals = check_frames(generator, request(cells=((118, 118, 117), possible)))
    except CrystalCoreError as error:
        _require(str(error).endswith((".", "?")), f"A refusal should be a sentence, not {str(error)!r}.")
    else:
        _require(crystals.n_atoms.tolist() == [3, 3], "A composition that cannot be made lost another one.")


def check_record(record: Mapping[str, Any]) -> None:
    """A crystal's JSON is complete, and its provenance is enough to make it again."""
    missing = sorted(RECORD_KEYS - set(record))
    _require(not missing, f"The record of a crystal lacks {', '.join(missing)}.")
    provenance = record["provenance"]
    missing = sorted(PROVENANCE_KEYS - set(provenance))
    _require(not missing, f"The provenance of {record['id']} lacks {', '.join(missing)}.")
    _require(
        re.fullmatch(r"[0-9a-f]{64}", str(provenance["weights_sha256"])) is not None,
        f"The provenance of {record['id']} has no hash of weights.",
    )
    _require(isinstance(provenance["seed"], int), f"The provenance of {record['id']} has no seed.")
    _require(
        all(0 <= x < 1 for row in record["frac_coords"] for x in row),
        f"{record['id']} has coordinates outside [0, 1).",
    )


def _same(a: CrystalBatch, b: CrystalBatch, sentence: str) -> None:
    same = torch.equal(a.frac_coords, b.frac_coords) and torch.equal(a.lattice, b.lattice)
    _require(
        same,
        f"{sentence} (largest difference in coordinates "
        f"{float((a.frac_coords - b.frac_coords).abs().max()):.1e}).",
    )


def _refused(generator: Generator, request: GenerationRequest, what: str) -> None:
    try:
        next(iter(generator.sample(request)))
    except RequestError:
        return
    raise ContractBroken(f"The generator took {what} without a word.")


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ContractBroken(sentence)
