"""DiffCSP's training: slices, a branch whose export samples, and crystals learnt by heart."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from safetensors.numpy import save_file

from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.generators.diffcsp.config import ProcessConfig
from crystal_core.generators.diffcsp.inference import FastCspNetwork
from crystal_core.generators.diffcsp.network import CspNetwork, CspNetworkConfig
from crystal_core.generators.diffcsp.samplers import LatticeSampler, SamplerSettings
from crystal_core.generators.diffcsp.schedules import schedules_of
from crystal_core.generators.diffcsp.training import DiffcspTraining, train
from crystal_core.geometry import centre, lattice_from_parameters, wrap
from crystal_core.networks.packing import pack
from crystal_core.registry.store import find_card, load_generator
from crystal_core.requests import GenerationRequest, StructurePredictionRequest
from crystal_core.training.config import FitConfig
from crystal_core.training.data import load_prepared
from crystal_core.workflows.predict_structure import run
from crystal_core.workflows.train import run_training

CRYSTALS = [
    Structure.from_spacegroup("F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25] * 3]),
    Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.91), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]]
    ),
]
SETTINGS = """
name = "diffcsp-toy"
method = "diffcsp"
match_rows = 2
match_every_epochs = 1
match_steps = 2

[network]
hidden_dim = 32
n_layers = 2
n_frequencies = 4
time_dim = 16

[process]
centred = true
lattice_std = 4.0

[fit]
batch_size = 8
planned_samples = 64
decay_fraction = 0.0
warmup_steps = 5
precision = "float32"
"""


@pytest.fixture
def prepared(tmp_path):
    """Two crystals, sixteen times each to train on and once to be found again."""
    cells = [cell.get_primitive_structure() for cell in CRYSTALS] * 17
    tensors = {
        "atomic_numbers": np.array([site.specie.Z for cell in cells for site in cell], dtype=np.uint8),
        "frac_coords": np.concatenate([cell.frac_coords % 1 for cell in cells]).astype(np.float32),
        "cell_parameters": np.array([cell.lattice.parameters for cell in cells], dtype=np.float32),
        "n_atoms": np.array([len(cell) for cell in cells], dtype=np.int16),
        "split": np.array([0] * 32 + [1] * 2, dtype=np.uint8),
    }
    path = tmp_path / "two.safetensors"
    names = [str(i) for i in range(len(cells))]
    save_file(tensors, path, metadata={"ids": json.dumps(names), "formulas": json.dumps(names)})
    return path


def test_slices_a_branch_and_an_export_that_samples(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "toy.toml"
    config.write_text(SETTINGS)
    trunk = tmp_path / "runs" / "diffcsp-toy"
    first = run_training(config, data=prepared, quiet=True)
    assert first["samples"] == 64 and {"loss_x", "loss_l", "match_rate", "refined_rmse"} <= set(
        first["validation"]
    )
    config.write_text(SETTINGS.replace("planned_samples = 64", "planned_samples = 128"))
    assert run_training(config, data=prepared, resume=trunk, quiet=True)["samples"] == 128
    config.write_text(SETTINGS.replace("lattice_std = 4.0", "lattice_std = 0.0"))
    with pytest.raises(RequestError, match=r"another \[process\]"):
        run_training(config, data=prepared, resume=trunk, quiet=True)
    config.write_text(SETTINGS)
    last = run_training(config, data=prepared, branch=trunk, export="toy", quiet=True)
    assert last["samples"] > 128
    card = find_card("toy")
    assert card.problem() is None and card.loader == "diffcsp" and card.task == "structure prediction"
    assert card.elements == (8, 16, 22, 30, 38) and card.most_atoms == 5
    assert card.training["process"]["centred"] is True
    generator = load_generator("toy", "cpu")
    *_, frame = generator.sample(GenerationRequest(compositions=((30, 16),), steps=2))
    assert frame.crystals.atomic_numbers.tolist() == [30, 16]
    torch.testing.assert_close(
        generator.schedules.norms, schedules_of(ProcessConfig()).norms, rtol=1e-6, atol=0
    )
    request = StructurePredictionRequest(
        formula="ZnS", z=(1, 2), model="toy", n_samples=2, start="noise", seed=1, device="cpu", relax=False
    )
    *_, update = run(request)
    candidates = [c for item in update.result["results"] for c in item["candidates"]]
    assert len(candidates) + update.result["n_failed"] == 4
    assert update.result["settings"]["sampler_used"] == "pc" and update.result["settings"]["tau_used"] == 0.4
    assert update.result["network_calls"] == 200  # two cells of 100 calls each


def test_crystals_learnt_by_heart_are_found_again_beneath_noise(prepared, tmp_path):
    """Of noise of 0.02 cell edges less than a third is left; losses are far below those of silence."""
    config = DiffcspTraining(
        name="two",
        network=CspNetworkConfig(hidden_dim=32, n_layers=2, n_frequencies=8, time_dim=32),
        process=ProcessConfig(centred=True, lattice_std=4.0),
        fit=FitConfig(
            batch_size=32,
            planned_samples=16_000,
            learning_rate=4e-3,
            warmup_steps=50,
            decay_fraction=0.7,
            ema_decay=0.98,
            precision="float32",
        ),
    )
    done = train(config, data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    assert done.last["loss_x"] < 0.6 and done.last["loss_l"] < 0.75  # of a network that predicts 0: 0.7 and 1
    rows = load_prepared(prepared)["val"]
    packing, lattice = pack(rows.n_atoms), lattice_from_parameters(rows.cell_parameters)
    noise = schedules_of(config.process)
    sampler = LatticeSampler(SamplerSettings(name="ode", steps=50), packing, noise, centred=True)
    rng = torch.Generator().manual_seed(0)
    state = sampler.renoised(rows.frac_coords, lattice, 300, rng)

    def error(now):
        moved = wrap(now.frac_coords - rows.frac_coords)
        return float(centre(moved, packing.crystal_index, 2).pow(2).mean().sqrt())

    before = error(state)
    fast = FastCspNetwork(done.trainer.ema, rows.atomic_numbers, rows.n_atoms)
    for t, t_next in pairwise(sampler.settings.indices(1000, 300)):
        state = sampler.step(lambda f, cell, at: fast(at, f, cell), state, t, t_next, rng)
    assert before > 0.01 and error(state) < before / 3


def test_a_run_may_start_from_weights_of_its_sizes_alone(prepared, tmp_path):
    sizes = dict(hidden_dim=16, n_layers=1, n_frequencies=4, time_dim=8)
    config = DiffcspTraining(
        name="x", network=CspNetworkConfig(**sizes), fit=FitConfig(batch_size=32, planned_samples=32)
    )
    run = dict(data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    other = CspNetwork(CspNetworkConfig(**(sizes | {"hidden_dim": 8}))).state_dict()
    with pytest.raises(CheckpointMismatch, match="other sizes"):
        train(config, **run, initial=other)
    known = CspNetwork(config.network).state_dict()
    fixed = replace(config, fit=replace(config.fit, learning_rate=0.0))
    done = train(fixed, **run, initial=known)
    torch.testing.assert_close(done.trainer.network.state_dict(), known)


def test_an_unknown_key_is_refused():
    from crystal_core.generators.diffcsp.training import settings_from

    with pytest.raises(RequestError, match="centered"):
        settings_from('name = "x"\n[process]\ncentered = true\n')
