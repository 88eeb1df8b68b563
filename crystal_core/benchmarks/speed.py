"""Time one network call and one training step at a declared size; warm-up apart, medians."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from crystal_core.checks import check_choice
from crystal_core.device import pick_device
from crystal_core.errors import RequestError
from crystal_core.generators.kldm.weights import load_weights
from crystal_core.networks.allocator import keep_freed_memory
from crystal_core.networks.inference import MAX_EDGES, FastLinear, FastPairNetwork, use_onednn
from crystal_core.networks.packing import pack
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.networks.reference import reference_forward
from crystal_core.registry.store import find_card

SIZES = {"published": PairNetworkConfig(), "cpu": PairNetworkConfig(hidden_dim=256, n_frequencies=64)}

WARM_UP = 2  # calls that are not counted: they warm caches and allocators


def benchmark_sampling(
    size: str | None,
    batch: int,
    n_atoms: int,
    repeats: int,
    dtype: str,
    *,
    model: str | None = None,
    steps: int = 1,
    reference: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> dict[str, Any]:
    """Median seconds of one call of the inference form on ``batch`` crystals of ``n_atoms`` atoms.

    Args:
        size: a declared size with random weights, or None with ``model``, the name of a checkpoint.
        steps: calls that make one crystal; the crystals per second are those of so many calls on end.
    """
    check_choice("dtype", dtype, ("float32", "bfloat16"))
    network, n, frac, velocity, species, lattice, place = _case(size, model, batch, n_atoms, device, threads)
    fast = FastPairNetwork(network, species, n, getattr(torch, dtype))

    def crystals() -> None:
        for _ in range(steps):
            fast(0.5, frac, velocity, lattice)

    seconds = median_seconds(crystals, repeats, place) / steps
    report = _report(seconds, batch, steps, place) | {
        "product": "oneDNN" if use_onednn() else "default",
        "dtype": dtype,
    }
    work, peak = (
        _gflop_per_call(network.config, batch, n_atoms),
        _product_gflops(network.config.hidden_dim, getattr(torch, dtype), place),
    )
    report |= {
        "gflop_per_call": round(work, 3),
        "product_gflops_per_second": round(peak, 1),
        "share_of_product_speed": round(work / seconds / peak, 2),
    }
    if reference:
        packing, t = pack(n), torch.full((batch,), 0.5, device=place)
        with torch.inference_mode():
            plain = median_seconds(
                lambda: reference_forward(network, t, frac, velocity, species, lattice, packing),
                max(1, repeats // 2),
                place,
            )
        report |= {"seconds_plain_form": round(plain, 4), "speed_up": round(plain / seconds, 2)}
    return report


def benchmark_training(
    size: str | None,
    batch: int,
    n_atoms: int,
    repeats: int,
    dtype: str,
    *,
    model: str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> dict[str, Any]:
    """Median seconds of one training step: a network call forward and backward, and AdamW.

    Args:
        dtype: "bfloat16" multiplies in bf16 (autocast), as training does where the device computes it fast.
    """
    check_choice("dtype", dtype, ("float32", "bfloat16"))
    network, n, frac, velocity, species, lattice, place = _case(size, model, batch, n_atoms, device, threads)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, amsgrad=True, fused=True)
    packing, t = pack(n), torch.full((batch,), 0.5, device=place)

    def step() -> None:
        with torch.autocast(place.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            v, cell = network(t, frac, velocity, species, lattice, packing)
        loss = (v.float() ** 2).mean() + (cell.float() ** 2).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    seconds = median_seconds(step, repeats, place)
    report = _report(seconds, batch, 1, place)
    return report | {"seconds_per_step": report["seconds_per_network_call"], "dtype": dtype}


def _case(
    size: str | None, model: str | None, batch: int, n_atoms: int, device: str, threads: int | None
) -> tuple[Any, ...]:
    if (size is None) == (model is None):
        raise RequestError("Name either a size or a model to time, not both.")
    if size is not None:
        check_choice("size", size, tuple(SIZES))
    if threads:
        torch.set_num_threads(threads)
    place = pick_device(device)
    if place.type == "cpu":
        keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    atoms = batch * n_atoms
    network = (PairNetwork(SIZES[size]) if size is not None else _trained(str(model))).to(place)
    tensors = (
        torch.rand((atoms, 3), generator=generator) - 0.5,
        torch.randn((atoms, 3), generator=generator),
        torch.randint(1, 90, (atoms,), generator=generator),
        torch.randn((batch, 6), generator=generator),
    )
    return network, torch.full((batch,), n_atoms, device=place), *(x.to(place) for x in tensors), place


def _trained(model: str) -> PairNetwork:
    card = find_card(model)
    if card.loader != "kldm":
        raise RequestError(
            f"'{model}' has no network to time; name a checkpoint of KLDM, or give --size instead."
        )
    network = PairNetwork(PairNetworkConfig(**card.network))
    network.load_state_dict(load_weights(card)[0])
    return network


def _gflop_per_call(config: PairNetworkConfig, batch: int, n_atoms: int) -> float:
    """Matrix products of one call in the inference form: features once per pair, the second edge map once per edge."""
    hidden, features = config.hidden_dim, 3 * config.n_frequencies
    pairs, atoms = batch * n_atoms * (n_atoms - 1) // 2, batch * n_atoms
    per_pair = 2 * features * hidden + 2 * hidden * hidden
    per_atom = (3 + 1 + 1) * hidden * hidden
    return 2e-9 * config.n_layers * (pairs * per_pair + atoms * per_atom)


def _product_gflops(hidden: int, dtype: torch.dtype, place: torch.device) -> float:
    """What this machine reaches on the largest of these products alone, in the form of the network's own: the ceiling of a call.

    The form matters: without native bf16 a product with the plain weight is five times slower than with the transposed one.
    """
    x = torch.randn((MAX_EDGES, hidden), dtype=dtype, device=place)
    product = FastLinear(
        torch.randn((hidden, hidden), device=place),
        None,
        dtype,
        silu=False,
        onednn=place.type == "cpu" and use_onednn(),
    )
    with torch.inference_mode():
        return 2e-9 * MAX_EDGES * hidden * hidden / median_seconds(lambda: product(x), 9, place)


def median_seconds(function: Callable[[], object], repeats: int, place: torch.device) -> float:
    """Median seconds of ``repeats`` calls, after two that are not counted."""
    return medians_in_turn((function,), repeats, place)[0]


def medians_in_turn(
    functions: Sequence[Callable[[], object]], repeats: int, place: torch.device
) -> list[float]:
    """Median seconds of each function, called in turn, so that whatever else runs slows all of them alike."""
    times: list[list[float]] = [[] for _ in functions]
    for i in range(repeats + WARM_UP):
        for function, measured in zip(functions, times, strict=True):
            if place.type == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
            function()
            if place.type == "cuda":
                torch.cuda.synchronize()
            if i >= WARM_UP:
                measured.append(time.perf_counter() - began)
    return [statistics.median(measured) for measured in times]


def _report(seconds: float, batch: int, steps: int, place: torch.device) -> dict[str, Any]:
    return {
        "seconds_per_network_call": round(seconds, 6),
        "crystals_per_second": round(batch / seconds / steps, 2),
        "steps": steps,
        **describe_device(place),
    }


def describe_device(place: torch.device) -> dict[str, Any]:
    """What the times were measured on, and the memory they took at most."""
    return {
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "device": torch.cuda.get_device_name()
        if place.type == "cuda"
        else f"cpu ({torch.backends.cpu.get_cpu_capability()})",
        "threads": torch.get_num_threads(),
    }
