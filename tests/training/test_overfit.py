"""The whole of KLDM at once: four crystals learnt by heart come back out of noise, each of them."""

import json

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from safetensors.numpy import save_file

from crystal_core.generators.kldm.codec import LATTICE, LatticeCodec
from crystal_core.generators.kldm.match_rate import match_rate
from crystal_core.generators.kldm.training import KldmTraining, train
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.training.config import FitConfig
from crystal_core.training.data import load_prepared

CRYSTALS = {
    "ZnS": Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25] * 3]
    ).get_primitive_structure(),
    "SrTiO3": Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.91), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]]
    ),
    "TiO2": Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0] * 3, [0.305, 0.305, 0]]
    ),
    "GaN": Structure.from_spacegroup(
        "P6_3mc", Lattice.hexagonal(3.19, 5.19), ["Ga", "N"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.377]]
    ),
}


@pytest.fixture
def four_crystals(tmp_path):
    cells = list(CRYSTALS.values()) * 33  # 32 of each to train on, one to be found again
    tensors = {
        "atomic_numbers": np.array([site.specie.Z for cell in cells for site in cell], dtype=np.uint8),
        "frac_coords": np.concatenate([cell.frac_coords % 1 for cell in cells]).astype(np.float32),
        "cell_parameters": np.array([cell.lattice.parameters for cell in cells], dtype=np.float32),
        "n_atoms": np.array([len(cell) for cell in cells], dtype=np.int16),
        "split": np.array([0] * 128 + [1] * 4, dtype=np.uint8),
    }
    path = tmp_path / "four.safetensors"
    names = list(CRYSTALS) * 33
    save_file(tensors, path, metadata={"ids": json.dumps(names), "formulas": json.dumps(names)})
    return path


@pytest.mark.slow
def test_four_crystals_learnt_by_heart_are_found_again(four_crystals, tmp_path):
    config = KldmTraining(
        name="four",
        network=PairNetworkConfig(hidden_dim=64, n_layers=3, n_frequencies=16, time_dim=64),
        fit=FitConfig(
            batch_size=64,
            planned_samples=60_000,
            learning_rate=2e-3,
            warmup_steps=50,
            decay_fraction=0.7,
            ema_decay=0.99,
            precision="float32",
        ),
    )
    done = train(config, data_file=four_crystals, folder=tmp_path / "run", device=torch.device("cpu"))
    known = load_prepared(four_crystals)["val"]
    codec = LatticeCodec.from_json((tmp_path / "run" / LATTICE).read_text())
    untrained = match_rate(PairNetwork(config.network), known, codec, config.process, steps=100)
    report = match_rate(done.trainer.ema, known, codec, config.process, steps=100)
    assert report["n"] == 4 and report["match_rate"] == 1.0
    assert untrained["match_rate"] < 1.0
