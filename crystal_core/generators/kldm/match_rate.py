"""The match rate of a KLDM in training on a fixed subset of validation rows: what the loss does not tell."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.evaluation.matching import judge_all, summarise
from crystal_core.generators.kldm.codec import LatticeCodec, decode
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.samplers import LatentSampler, SamplerSettings
from crystal_core.networks.inference import FastPairNetwork
from crystal_core.networks.packing import pack
from crystal_core.structures import to_structures

if TYPE_CHECKING:
    from crystal_core.crystal import CrystalBatch
    from crystal_core.networks.pair_network import PairNetwork
    from crystal_core.training.data import PreparedCrystals

log = logging.getLogger(__name__)


def match_rate(
    network: PairNetwork, rows: PreparedCrystals, codec: LatticeCodec, process: ProcessConfig, *, steps: int
) -> dict[str, Any]:
    """One sample per row with the predictor–corrector (two calls a step), always from the same noise.

    Returns an empty dictionary where pymatgen, which compares the crystals, is not installed.
    """
    # the modules below import pymatgen lazily, so importing them proves nothing
    if find_spec("pymatgen") is None:
        log.info("no match rate: pymatgen is not installed")
        return {}
    everything = torch.arange(len(rows), device=rows.n_atoms.device)
    truth = rows.select(everything[torch.argsort(rows.n_atoms, stable=True)])
    sampled = _sample(network, truth.atomic_numbers, truth.n_atoms, codec, process, steps)
    references = to_structures(
        decode(
            truth.frac_coords,
            codec.encode(truth.cell_parameters, truth.n_atoms),
            truth.atomic_numbers,
            truth.n_atoms,
            codec,
        ).to("cpu")
    )
    pairs = [
        (known, [candidate])
        for known, candidate in zip(references, to_structures(sampled), strict=True)
        if known is not None
    ]
    report = summarise(
        judge_all([known for known, _ in pairs], [candidate for _, candidate in pairs], workers=1)
    )
    return {"match_rate": report["match_rate"], "rmse": report["rmse"], "n": report["n"]}


@torch.inference_mode()
def _sample(
    network: PairNetwork,
    species: torch.Tensor,
    n_atoms: torch.Tensor,
    codec: LatticeCodec,
    process: ProcessConfig,
    steps: int,
) -> CrystalBatch:
    rng = torch.Generator(n_atoms.device).manual_seed(0)
    fast = FastPairNetwork(network, species, n_atoms)
    settings = SamplerSettings(name="pc", steps=steps)
    sampler = LatentSampler(settings, pack(n_atoms), process)
    state = sampler.initial(rng)
    times = settings.times()
    for t, t_next in pairwise(times):
        state = sampler.step(
            lambda at, time: fast(time, at.frac_coords, at.velocity, at.lattice), state, t, t_next, rng
        )
    return decode(state.frac_coords, state.lattice, species, n_atoms, codec).to("cpu")
