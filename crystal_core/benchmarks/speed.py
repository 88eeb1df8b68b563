"""Time one network call and one training step at a declared size; warm-up apart, medians."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crystal_core.checks import check_choice
from crystal_core.device import pick_device
from crystal_core.errors import RequestError
from crystal_core.generators.diffcsp.inference import FastCspNetwork
from crystal_core.generators.diffcsp.network import CspNetwork, CspNetworkConfig
from crystal_core.generators.diffcsp.reference import reference_forward as plain_csp
from crystal_core.generators.diffcsp.weights import load_network
from crystal_core.generators.kldm.weights import load_weights
from crystal_core.networks.allocator import keep_freed_memory
from crystal_core.networks.inference import MAX_EDGES, FastLinear, FastPairNetwork, use_onednn
from crystal_core.networks.packing import pack
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.networks.reference import reference_forward
from crystal_core.registry.store import find_card

SIZES: dict[str, PairNetworkConfig | CspNetworkConfig] = {
    "published": PairNetworkConfig(),
    "cpu": PairNetworkConfig(hidden_dim=256, n_frequencies=64),
    "diffcsp-published": CspNetworkConfig(),
    "diffcsp-cpu": CspNetworkConfig(hidden_dim=256, n_frequencies=64),
}

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
        steps: calls per crystal; the crystals per second follow from this many calls in a row.
    """
    check_choice("dtype", dtype, ("float32", "bfloat16"))
    case = _case(size, model, batch, n_atoms, device, threads)
    place, config = case.place, case.config
    fast = case.fast(getattr(torch, dtype))

    def crystals() -> None:
        for _ in range(steps):
            fast()

    seconds = median_seconds(crystals, repeats, place) / steps
    report = _report(seconds, batch, steps, place) | {
        "product": "oneDNN" if use_onednn() else "default",
        "dtype": dtype,
    }
    work = _gflop_per_call(config, batch, n_atoms)
    peak = _product_gflops(config.hidden_dim, getattr(torch, dtype), place)
    report |= {
        "gflop_per_call": round(work, 3),
        "product_gflops_per_second": round(peak, 1),
        "share_of_product_speed": round(work / seconds / peak, 2),
    }
    if reference:
        with torch.inference_mode():
            plain = median_seconds(case.plain, max(1, repeats // 2), place)
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
    case = _case(size, model, batch, n_atoms, device, threads)
    place = case.place
    optimiser = torch.optim.AdamW(case.network.parameters(), lr=1e-3, amsgrad=True, fused=True)

    def step() -> None:
        with torch.autocast(place.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            first, second = case.train()
        loss = (first.float() ** 2).mean() + (second.float() ** 2).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    seconds = median_seconds(step, repeats, place)
    report = _report(seconds, batch, 1, place)
    return report | {"seconds_per_step": report["seconds_per_network_call"], "dtype": dtype}


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A network on a batch of random crystals.

    Attributes:
        fast: data type → a call of the inference form.
        plain: a call of the plain form.
        train: one of the training form.
    """

    network: nn.Module
    config: PairNetworkConfig | CspNetworkConfig
    place: torch.device
    fast: Callable[[torch.dtype], Callable[[], object]]
    plain: Callable[[], object]
    train: Callable[[], Sequence[Tensor]]


def _case(
    size: str | None, model: str | None, batch: int, n_atoms: int, device: str, threads: int | None
) -> _Case:
    if (size is None) == (model is None):
        raise RequestError("Name either a size or a model to time, not both.")
    if size is not None:
        check_choice("size", size, tuple(SIZES))
    if threads:
        torch.set_num_threads(threads)
    place = pick_device(device)
    if place.type == "cpu":
        keep_freed_memory()
    network = _network(size, model).to(place)
    generator = torch.Generator().manual_seed(0)
    atoms = batch * n_atoms
    frac = (torch.rand((atoms, 3), generator=generator) - 0.5).to(place)
    velocity = torch.randn((atoms, 3), generator=generator).to(place)
    species = torch.randint(1, 90, (atoms,), generator=generator).to(place)
    n = torch.full((batch,), n_atoms, device=place)
    packing = pack(n)
    if isinstance(network, CspNetwork):
        cells = 4 * torch.randn((batch, 3, 3), generator=generator).to(place)
        index = torch.full((batch,), 500, device=place)
        refiner = network

        def fast_csp(dtype: torch.dtype) -> Callable[[], object]:
            form = FastCspNetwork(refiner, species, n, dtype)
            return lambda: form(500, frac, cells)

        return _Case(
            network=network,
            config=network.config,
            place=place,
            fast=fast_csp,
            plain=lambda: plain_csp(refiner, index, frac, species, cells, packing),
            train=lambda: refiner(index, frac, species, cells, packing),
        )
    lattice = torch.randn((batch, 6), generator=generator).to(place)
    t = torch.full((batch,), 0.5, device=place)

    def fast_pair(dtype: torch.dtype) -> Callable[[], object]:
        form = FastPairNetwork(network, species, n, dtype)
        return lambda: form(0.5, frac, velocity, lattice)

    return _Case(
        network=network,
        config=network.config,
        place=place,
        fast=fast_pair,
        plain=lambda: reference_forward(network, t, frac, velocity, species, lattice, packing),
        train=lambda: network(t, frac, velocity, species, lattice, packing),
    )


def _network(size: str | None, model: str | None) -> PairNetwork | CspNetwork:
    """Random weights of a declared size, or those of a checkpoint."""
    if size is not None:
        config = SIZES[size]
        return CspNetwork(config) if isinstance(config, CspNetworkConfig) else PairNetwork(config)
    card = find_card(str(model))
    if card.loader == "diffcsp":
        return load_network(card)
    if card.loader != "kldm":
        raise RequestError(
            f"'{model}' has no network to time; name a checkpoint of KLDM or DiffCSP, or give --size instead."
        )
    network = PairNetwork(PairNetworkConfig(**card.network))
    network.load_state_dict(load_weights(card)[0])
    return network


def _gflop_per_call(config: PairNetworkConfig | CspNetworkConfig, batch: int, n_atoms: int) -> float:
    """Matrix products of one inference call: features once per pair, the second edge map once per edge."""
    hidden, features = config.hidden_dim, 3 * config.n_frequencies
    pairs, atoms = batch * n_atoms * (n_atoms - 1) // 2, batch * n_atoms
    per_pair = 2 * features * hidden + 2 * hidden * hidden
    own_edge = isinstance(config, CspNetworkConfig)  # there an atom is its own neighbour, too
    per_atom = (3 + 1 + 1 + own_edge) * hidden * hidden
    return 2e-9 * config.n_layers * (pairs * per_pair + atoms * per_atom)


def _product_gflops(hidden: int, dtype: torch.dtype, place: torch.device) -> float:
    """The ceiling of a call: this machine's speed on its largest products alone, in the network's own form.

    The form matters: without native bf16 a product with the plain weight is five times slower than
    with the transposed one.
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
    """Median seconds of each function, called in turn, so that other load slows all alike."""
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
    """The measured device, and its peak memory."""
    return {
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "device": torch.cuda.get_device_name()
        if place.type == "cuda"
        else f"cpu ({torch.backends.cpu.get_cpu_capability()})",
        "threads": torch.get_num_threads(),
    }
