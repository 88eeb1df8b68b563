"""Match rates of a DiffCSP in training: fixed validation rows out of noise and out of disturbed copies."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.evaluation.matching import judge_all, summarise
from crystal_core.generators.diffcsp.inference import FastCspNetwork
from crystal_core.generators.diffcsp.samplers import LatticeSampler, SamplerSettings, State, to_crystals
from crystal_core.geometry import lattice_from_parameters, wrap_unit
from crystal_core.networks.packing import pack
from crystal_core.structures import to_structures
from crystal_core.training.precision import pick_dtype

if TYPE_CHECKING:
    from crystal_core.crystal import CrystalBatch
    from crystal_core.generators.diffcsp.network import CspNetwork
    from crystal_core.generators.diffcsp.schedules import Schedules
    from crystal_core.training.data import PreparedCrystals

log = logging.getLogger(__name__)
SHIFT = 0.3  # Å, standard deviation per axis of the disturbed atoms
STRETCH = 0.05  # of the disturbed lattice entries, in units of the cell's length (volume)^(1/3)
START = 0.6  # share of the time indices at which refining begins: noise of about that size


def match_rates(
    network: CspNetwork, rows: PreparedCrystals, schedules: Schedules, *, steps: int, centred: bool
) -> dict[str, Any]:
    """One sample per row out of noise and one out of the disturbed row, always with the same draws.

    Products are in bf16 where the device computes it fast, as in training.

    Returns:
        ``match_rate``, ``rmse`` and ``n`` out of noise; with ``disturbed_`` before them those of the
        disturbed rows as they are, with ``refined_`` after refining. Empty where pymatgen, which compares the
        crystals, is not installed.
    """
    if find_spec("pymatgen") is None:
        log.info("no match rate: pymatgen is not installed")
        return {}
    everything = torch.arange(len(rows), device=rows.n_atoms.device)
    batch = rows.select(everything[torch.argsort(rows.n_atoms, stable=True)])
    rng = torch.Generator(batch.n_atoms.device).manual_seed(0)
    sampler = LatticeSampler(
        SamplerSettings(name="pc", steps=steps), pack(batch.n_atoms), schedules, centred=centred
    )
    truth = State(batch.frac_coords, lattice_from_parameters(batch.cell_parameters))
    disturbed = _disturbed(truth, sampler, rng)
    dtype = pick_dtype("auto", batch.n_atoms.device)
    fast = FastCspNetwork(network, batch.atomic_numbers, batch.n_atoms, dtype)
    first = max(1, round(START * schedules.n_times))
    renoised = sampler.renoised(disturbed.frac_coords, disturbed.lattice, first, rng)
    states = {
        "": _run(sampler, fast, sampler.initial(rng), sampler.settings.indices(schedules.n_times), rng),
        "disturbed_": disturbed,
        "refined_": _run(sampler, fast, renoised, sampler.settings.indices(schedules.n_times, first), rng),
    }

    def crystals(state: State) -> CrystalBatch:
        return to_crystals(state, batch.atomic_numbers, batch.n_atoms).to("cpu")

    references = to_structures(crystals(truth))
    known = [i for i, structure in enumerate(references) if structure is not None]
    line: dict[str, Any] = {}
    for name, state in states.items():
        samples = to_structures(crystals(state))
        pairs = [(references[i], [samples[i]]) for i in known]
        report = summarise(judge_all([a for a, _ in pairs if a], [b for _, b in pairs], workers=1))
        line |= {f"{name}match_rate": report["match_rate"], f"{name}rmse": report["rmse"]}
    return line | {"n": len(known)}


def _disturbed(truth: State, sampler: LatticeSampler, rng: torch.Generator) -> State:
    """The crystals with atoms shifted by 0.3 Å per axis and lattice entries by 5 % of the cell's length."""
    index = sampler.packing.crystal_index
    shift = SHIFT * torch.randn(truth.frac_coords.shape, generator=rng, device=index.device)
    moved = torch.linalg.solve(truth.lattice[index], shift.unsqueeze(-2), left=False).squeeze(-2)
    length = torch.linalg.det(truth.lattice).abs().pow(1 / 3).view(-1, 1, 1)
    stretch = STRETCH * length * torch.randn(truth.lattice.shape, generator=rng, device=index.device)
    return State(wrap_unit(truth.frac_coords + moved), truth.lattice + stretch)


def _run(
    sampler: LatticeSampler, fast: FastCspNetwork, state: State, indices: list[int], rng: torch.Generator
) -> State:
    for t, t_next in pairwise(indices):
        state = sampler.step(
            lambda frac_coords, lattice, time: fast(time, frac_coords, lattice), state, t, t_next, rng
        )
    return state
