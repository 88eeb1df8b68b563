"""Evaluate the way from latents back to crystals: what is read from the true latents of known crystals.

Elements and cells are decoded from the latents; some of the crystals are then rebuilt, with their atoms
placed as those of new crystals are, and compared with the true ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.interruption import NO_INTERRUPTION, Interruption

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crystal_core.generators.propose_place import ProposePlaceGenerator
    from crystal_core.predictors.crysldnet.generation.latent_rows import LatentRows
    from crystal_core.training.data import PreparedCrystals

CHUNK = 32  # crystals that are placed together


def evaluate_latents(
    model: str,
    data: Path,
    *,
    split: str = "val",
    limit: int | None = None,
    rebuild: int = 0,
    start_time: float | None = None,
    seed: int = 0,
    device: str = "auto",
    on_progress: Callable[[str, int, int], None] | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> dict[str, Any]:
    """Accuracy of the decoders on the rows of a prepared file, and the match rate of rebuilt crystals.

    After an interruption of the rebuilding the match rate covers the finished batches.

    Args:
        rebuild: crystals that are rebuilt.
        start_time: where the placing begins with the decoded cell; 1 begins with noise, None is the card's.

    Raises:
        RequestError: the model does not decode latents, or the file has no such rows.
        CheckpointMismatch: the installed encoder is not the one that the decoders learned from.
    """
    from crystal_core.predictors.crysldnet.generation.accuracy import decoding_accuracy
    from crystal_core.predictors.crysldnet.generation.latent_rows import LatentRows, encoded
    from crystal_core.predictors.crysldnet.generation.training import installed_encoder
    from crystal_core.training.data import fixed_sample, load_prepared
    from crystal_core.workflows.generate import load_de_novo

    generator: Any = load_de_novo(model, device)
    if "encoder_sha256" not in generator.card.network:
        raise RequestError(f"{model} decodes no latents; choose crysldnet-generator.")
    encoder, digest = installed_encoder(str(generator.card.network["encoder"]))
    if digest != generator.card.network["encoder_sha256"]:
        raise CheckpointMismatch(f"{model} was trained on other weights of its encoder; train it again.")
    splits = load_prepared(data, generator.device)
    if split not in splits:
        raise RequestError(f"{data.name} has no rows of {split}; it has {', '.join(splits)}.")
    crystals = splits[split] if limit is None else fixed_sample(splits[split], limit)
    rows = LatentRows(crystals, encoded(crystals, encoder.to(generator.device)))
    report: dict[str, Any] = {
        "n": len(rows),
        "n_atoms": len(crystals.atomic_numbers),
        **decoding_accuracy(generator.proposer.network, rows),
    }
    if rebuild:
        generator = _starting_at(generator, start_time)
        rebuilt = _rebuilt(generator, rows, rebuild, seed, on_progress, stop)
        report |= ({"rebuilt": rebuilt} if rebuilt["n"] else {}) | stop.marks(
            f"{rebuilt['n']} rebuilt crystals of {min(rebuild, len(rows))}"
        )
    return report


def _starting_at(generator: ProposePlaceGenerator, start_time: float | None) -> ProposePlaceGenerator:
    """The same generator with another start of the placing."""
    from crystal_core.generators.propose_place import ProposePlaceGenerator

    if start_time is None:
        return generator
    place = {k: v for k, v in generator.card.sampling.get("place", {}).items() if k != "start_time"}
    place |= {"start_time": start_time} if start_time < 1 else {}
    card = replace(generator.card, sampling={**generator.card.sampling, "place": place})
    return ProposePlaceGenerator(generator.proposer, generator.placer, card=card)


def _rebuilt(
    generator: Any,
    rows: LatentRows,
    count: int,
    seed: int,
    on_progress: Callable[[str, int, int], None] | None,
    stop: Interruption,
) -> dict[str, Any]:
    """How many of ``count`` rows come out as the structure that they were, by the published matcher."""
    from crystal_core.evaluation.matching import judge
    from crystal_core.evaluation.statistics import wilson
    from crystal_core.requests import DeNovoRequest
    from crystal_core.structures import to_structures
    from crystal_core.workflows.sampling_run import last_of

    count = min(count, len(rows))
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count]
    network, used = generator.proposer.network, dict[str, Any]()
    hits: list[bool] = []
    with stop:
        for first in range(0, count, CHUNK):
            some = chosen[first : first + CHUNK].to(rows.latents.device)
            batch = rows.select(some)
            request = DeNovoRequest(
                n_atoms=tuple(batch.n_atoms.tolist()), seed=seed + first, frame_every=5000
            )
            proposal = generator.proposer.decoded(
                network.normalised(batch.latents), batch.n_atoms, generator.elements
            )
            frame = last_of(generator.place(request, proposal))
            assert frame.crystals is not None
            used = generator.settings_used(request)
            true = to_structures(_crystals(rows.crystals.subset(some)))
            for reference, structure in zip(true, to_structures(frame.crystals), strict=True):
                assert reference is not None
                hits.append(judge(reference, [structure]).structural is not None)
            if on_progress:
                on_progress("rebuilding", first + len(some), count)
    n = len(hits)
    low, high = wilson(sum(hits), n)
    rate = round(sum(hits) / max(1, n), 4)
    return {"n": n, "match_rate": rate, "ci95": [round(low, 4), round(high, 4)], **used}


def _crystals(rows: PreparedCrystals) -> Any:
    from crystal_core.crystal import CrystalBatch
    from crystal_core.geometry import lattice_from_parameters

    return CrystalBatch(
        atomic_numbers=rows.atomic_numbers.cpu(),
        frac_coords=rows.frac_coords.cpu(),
        lattice=lattice_from_parameters(rows.cell_parameters.cpu()),
        n_atoms=rows.n_atoms.cpu(),
    )
