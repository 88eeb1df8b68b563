"""Time the building of crystal graphs and the encoders that read them, beside their plain forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from crystal_core.benchmarks.speed import describe_device, medians_in_turn
from crystal_core.checks import check_choice
from crystal_core.crystal import CrystalBatch
from crystal_core.device import pick_device
from crystal_core.graphs.crystal_graphs import CRYSLDNET_GRAPH, CrystalGraphs, build_graphs
from crystal_core.graphs.reference import reference_edges
from crystal_core.networks.allocator import keep_freed_memory
from crystal_core.predictors.crysldnet.encoders.matformer import Matformer
from crystal_core.predictors.crysldnet.encoders.pddformer import (
    crysldnet_pddformer,
    official_pddformer,
    small_pddformer,
)
from crystal_core.predictors.crysldnet.encoders.reference import reference_matformer, reference_pddformer
from crystal_core.structures import to_structures

ENCODERS: dict[str, tuple[Callable[[], Any], Callable[[Any, CrystalGraphs], Tensor]]] = {
    "crysldnet": (crysldnet_pddformer, reference_pddformer),
    "small": (small_pddformer, reference_pddformer),
    "pddformer": (official_pddformer, reference_pddformer),
    "matformer": (Matformer, reference_matformer),
}
VOLUME_PER_ATOM = 15.0  # Å3, the median of MP-20


def benchmark_graph(batch: int, n_atoms: int, repeats: int, *, threads: int | None = None) -> dict[str, Any]:
    """Median milliseconds per crystal of building the published graph, 25 neighbours and 92 distances.

    The plain form builds the contacts alone, since the published code takes little time for the distances.
    """
    if threads:
        torch.set_num_threads(threads)
    crystals = random_crystals(batch, n_atoms)
    place = torch.device("cpu")
    few = [structure for structure in to_structures(crystals)[:8] if structure is not None]

    def plain_form() -> None:
        for structure in few:
            reference_edges(structure, CRYSLDNET_GRAPH.n_neighbours, CRYSLDNET_GRAPH.tolerance)

    one = crystals[0]
    forms = (
        lambda: build_graphs(crystals, CRYSLDNET_GRAPH),
        lambda: build_graphs(one, CRYSLDNET_GRAPH),
        plain_form,
    )
    together, alone, plain = medians_in_turn(forms, repeats, place)
    fast, plain = together / batch, plain / len(few)
    return {
        "milliseconds_per_crystal": round(1e3 * fast, 3),
        "milliseconds_for_one_alone": round(1e3 * alone, 3),
        "milliseconds_plain_form": round(1e3 * plain, 3),
        "speed_up": round(plain / fast, 1),
        **describe_device(place),
    }


def benchmark_encoder(
    encoder: str, batch: int, n_atoms: int, repeats: int, *, device: str = "auto", threads: int | None = None
) -> dict[str, Any]:
    """Median seconds of a forward pass and of a training step with AdamW, beside the plain form's.

    Args:
        encoder: "crysldnet" (width 256, 25 neighbours), "small" (our width 128, 16
            neighbours), "pddformer" or "matformer".

    Raises:
        RequestError: there is no such encoder or device.
    """
    check_choice("encoder", encoder, tuple(ENCODERS))
    if threads:
        torch.set_num_threads(threads)
    place = pick_device(device)
    if place.type == "cpu":
        keep_freed_memory()
    make, plain = ENCODERS[encoder]
    torch.manual_seed(0)
    network = make().to(place)
    graphs = build_graphs(random_crystals(batch, n_atoms), network.graph).to(place)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def plain_form(graphs: CrystalGraphs) -> Tensor:
        return plain(network, graphs)

    def step(form: Callable[[CrystalGraphs], Tensor]) -> None:
        loss = form(graphs).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    network.eval()
    with torch.no_grad():
        calls = (lambda: network(graphs), lambda: plain_form(graphs))
        forward, forward_plain = medians_in_turn(calls, repeats, place)
    network.train()
    steps = (lambda: step(network), lambda: step(plain_form))
    training, training_plain = medians_in_turn(steps, repeats, place)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "edges_per_atom": round(2 * len(graphs.distance) / (batch * n_atoms), 1),
        "seconds_forward": round(forward, 4),
        "seconds_forward_plain_form": round(forward_plain, 4),
        "speed_up_forward": round(forward_plain / forward, 2),
        "seconds_training_step": round(training, 4),
        "seconds_training_step_plain_form": round(training_plain, 4),
        "speed_up_training_step": round(training_plain / training, 2),
        **describe_device(place),
    }


def random_crystals(batch: int, n_atoms: int) -> CrystalBatch:
    """Cells near a cube with :data:`VOLUME_PER_ATOM` and atoms anywhere; always the same ones."""
    rng = torch.Generator().manual_seed(0)
    edge = (VOLUME_PER_ATOM * n_atoms) ** (1 / 3)
    skew = 0.1 * torch.randn((batch, 3, 3), generator=rng, dtype=torch.float64)
    return CrystalBatch(
        atomic_numbers=torch.randint(1, 90, (batch * n_atoms,), generator=rng),
        frac_coords=torch.rand((batch * n_atoms, 3), generator=rng, dtype=torch.float64),
        lattice=edge * (torch.eye(3, dtype=torch.float64) + skew),
        n_atoms=torch.full((batch,), n_atoms),
    )
