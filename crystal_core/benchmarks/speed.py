"""Time one network call and one training step at a declared size; warm-up apart, medians."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from crystal_core.networks.allocator import keep_freed_memory
from crystal_core.networks.inference import FastPairNetwork, use_onednn
from crystal_core.networks.packing import pack
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.networks.reference import reference_forward
from crystal_core.requests import check_choice
from crystal_core.sampling.device import pick_device

SIZES = {"published": PairNetworkConfig(), "cpu": PairNetworkConfig(hidden_dim=256, n_frequencies=64)}


def benchmark_sampling(
    size: str, batch: int, n_atoms: int, repeats: int, dtype: str, *, reference: bool, device: str, threads: int | None
) -> dict[str, Any]:
    """Median seconds of one call of the inference form on ``batch`` crystals of ``n_atoms`` atoms."""
    check_choice("dtype", dtype, ("float32", "bfloat16"))
    network, n, frac, velocity, species, lattice, place = _case(size, batch, n_atoms, device, threads)
    fast = FastPairNetwork(network, species, n, getattr(torch, dtype))
    seconds = _median(lambda: fast(0.5, frac, velocity, lattice), repeats, place)
    report = _report(seconds, batch, place) | {"product": "oneDNN" if use_onednn() else "default", "dtype": dtype}
    work, peak = _gflop_per_call(network.config, batch, n_atoms), _product_gflops(network.config.hidden_dim, getattr(torch, dtype), place)
    report |= {
        "gflop_per_call": round(work, 1), "product_gflops_per_second": round(peak),
        "share_of_product_speed": round(work / seconds / peak, 2),
    }  # fmt: skip
    if reference:
        packing, t = pack(n), torch.full((batch,), 0.5, device=place)
        with torch.inference_mode():
            plain = _median(lambda: reference_forward(network, t, frac, velocity, species, lattice, packing), max(1, repeats // 2), place)
        report |= {"seconds_plain_form": round(plain, 4), "speed_up": round(plain / seconds, 2)}
    return report


def benchmark_training(size: str, batch: int, n_atoms: int, repeats: int, *, device: str, threads: int | None) -> dict[str, Any]:
    """Median seconds of forward, backward and optimiser step."""
    network, n, frac, velocity, species, lattice, place = _case(size, batch, n_atoms, device, threads)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, amsgrad=True, fused=True)
    packing, t = pack(n), torch.full((batch,), 0.5, device=place)

    def step() -> None:
        v, cell = network(t, frac, velocity, species, lattice, packing)
        loss = (v**2).mean() + (cell**2).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    seconds = _median(step, repeats, place)
    report = _report(seconds, batch, place)
    report["seconds_per_step"] = report.pop("seconds_per_network_call")
    return report


def _case(size: str, batch: int, n_atoms: int, device: str, threads: int | None) -> tuple[Any, ...]:
    check_choice("size", size, tuple(SIZES))
    if threads:
        torch.set_num_threads(threads)
    place = pick_device(device)
    if place.type == "cpu":
        keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    atoms = batch * n_atoms
    network = PairNetwork(SIZES[size]).to(place)
    tensors = (
        torch.rand((atoms, 3), generator=generator) - 0.5, torch.randn((atoms, 3), generator=generator),
        torch.randint(1, 90, (atoms,), generator=generator), torch.randn((batch, 6), generator=generator),
    )  # fmt: skip
    return network, torch.full((batch,), n_atoms, device=place), *(x.to(place) for x in tensors), place


def _gflop_per_call(config: PairNetworkConfig, batch: int, n_atoms: int) -> float:
    """Matrix products of one call in the inference form: features once per pair, the second edge map once per edge."""
    hidden, features = config.hidden_dim, 3 * config.n_frequencies
    pairs, atoms = batch * n_atoms * (n_atoms - 1) // 2, batch * n_atoms
    per_pair = 2 * features * hidden + 2 * hidden * hidden
    per_atom = (3 + 1 + 1) * hidden * hidden
    return 2e-9 * config.n_layers * (pairs * per_pair + atoms * per_atom)


def _product_gflops(hidden: int, dtype: torch.dtype, place: torch.device) -> float:
    """What this machine reaches on the largest of these products alone: the ceiling of a call."""
    x, w = torch.randn((8000, hidden), dtype=dtype, device=place), torch.randn((hidden, hidden), dtype=dtype, device=place)
    packed = torch.ops.mkldnn._reorder_linear_weight(w, None) if place.type == "cpu" and use_onednn() else None
    out = torch.empty_like(x)

    def product() -> object:
        if packed is not None:
            return torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
        return torch.mm(x, w, out=out)

    return 2e-9 * 8000 * hidden * hidden / _median(product, 9, place)


def _median(function: Callable[[], object], repeats: int, place: torch.device) -> float:
    times = []
    for i in range(repeats + 2):
        if place.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        function()
        if place.type == "cuda":
            torch.cuda.synchronize()
        if i >= 2:  # the first two calls warm caches and allocators
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def _report(seconds: float, batch: int, place: torch.device) -> dict[str, Any]:
    return {
        "seconds_per_network_call": round(seconds, 4),
        "crystals_per_second": round(batch / seconds, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "device": torch.cuda.get_device_name() if place.type == "cuda" else f"cpu ({torch.backends.cpu.get_cpu_capability()})",
        "threads": torch.get_num_threads(),
    }
