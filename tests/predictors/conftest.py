"""A small property bundle, trained for a few seconds on crystals whose properties follow from
their elements and volume.
"""

import json
import os

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from crystal_core.graphs.crystal_graphs import GraphConfig
from crystal_core.predictors.crysldnet.encoders.pddformer import PddformerConfig
from crystal_core.predictors.crysldnet.heads import HeadsConfig
from crystal_core.predictors.crysldnet.training import CrysldnetTraining, export_checkpoint, train
from crystal_core.training.config import FitConfig
from crystal_core.training.fit import LOG

ENCODER = PddformerConfig(width=32, n_layers=2, n_centres=64, n_nearest=20)
GRAPH = GraphConfig(n_neighbours=8, n_nearest=20)
ELEMENTS = np.array([3, 8, 11, 12, 13, 14, 16, 20, 22, 26])


def write_crystals(path, n_train=160, n_val=40):
    """Cubic cells; the gap grows with the mean atomic number, the modulus falls with the volume,
    "spare" is never known.
    """
    rng = np.random.default_rng(0)
    total = n_train + n_val
    n_atoms = rng.integers(1, 6, total)
    numbers = [rng.choice(ELEMENTS, n) for n in n_atoms]
    lengths = (n_atoms * rng.uniform(10, 25, total)) ** (1 / 3)
    cells = np.concatenate([np.repeat(lengths[:, None], 3, 1), np.full((total, 3), 90.0)], axis=1)
    means = np.array([some.mean() for some in numbers])
    gap = 0.1 * means
    gap[::7] = np.nan
    tensors = {
        "atomic_numbers": np.concatenate(numbers).astype(np.uint8),
        "frac_coords": rng.random((int(n_atoms.sum()), 3)).astype(np.float32),
        "cell_parameters": cells.astype(np.float32),
        "n_atoms": n_atoms.astype(np.int16),
        "split": np.array([0] * n_train + [1] * n_val, dtype=np.uint8),
        "label.band_gap_ev": gap.astype(np.float32),
        "label.bulk_modulus_gpa": (3000 / (lengths**3 / n_atoms)).astype(np.float32),
        "label.is_metal": (means < 14).astype(np.float32),
        "label.mp20_band_gap_ev": (0.2 * means).astype(np.float32),
        "label.spacegroup_number": np.ones(total, np.float32),
    }
    metadata = {"ids": json.dumps([f"x-{i}" for i in range(total)]), "formulas": json.dumps(["X"] * total)}
    save_file(tensors, path, metadata=metadata)
    return path


def settings(stage, samples, **rest):
    return CrysldnetTraining(
        name=stage,
        stage=stage,
        encoder=ENCODER,
        graph=GRAPH,
        heads=HeadsConfig(hidden=16),
        fit=FitConfig(
            batch_size=20,
            planned_samples=samples,
            learning_rate=3e-3,
            warmup_steps=5,
            ema_decay=0.9,
            precision="float32",
            amsgrad=False,
        ),
        **rest,
    )


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The folder of checkpoints, with "tiny-encoder", "tiny-band_gap_ev", … and "tiny", and the prepared
    file they learnt from.
    """
    folder = tmp_path_factory.mktemp("bundle")
    data = write_crystals(folder / "crystals.safetensors")
    plan = settings("properties", 6000)
    trained = train(plan, data_file=data, folder=folder / "run", device=torch.device("cpu"))
    before = os.environ.get("CRYSTAL_CHECKPOINTS")
    os.environ["CRYSTAL_CHECKPOINTS"] = str(folder / "checkpoints")
    try:
        export_checkpoint("tiny", trained=trained, settings=plan, log=folder / "run" / LOG)
    finally:
        if before is None:
            del os.environ["CRYSTAL_CHECKPOINTS"]
        else:
            os.environ["CRYSTAL_CHECKPOINTS"] = before
    return folder


@pytest.fixture
def predictor(bundle, monkeypatch):
    from crystal_core.registry.store import load_predictor

    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(bundle / "checkpoints"))
    return load_predictor("tiny", "cpu")
