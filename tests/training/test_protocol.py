"""What a training step and its validation are, apart from whether the network learns."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from crystal_core.generators.kldm import training as kldm
from crystal_core.generators.kldm.codec import LatticeCodec
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.process import NoisyState
from crystal_core.networks.pair_network import PairNetworkConfig
from crystal_core.training.config import FitConfig
from crystal_core.training.data import Batch, epoch_batches, load_prepared
from crystal_core.training.fit import Trainer

CODEC = LatticeCodec(loc={}, scale={}, fit=(1 / 3, (1.0,) * 3, (0.2,) * 3))


@pytest.fixture
def prepared(tmp_path):
    n = 60  # crystals of two atoms, named by their place in their split
    tensors = {
        "atomic_numbers": np.full(2 * n, 8, dtype=np.uint8),
        "frac_coords": np.random.default_rng(0).random((2 * n, 3)).astype(np.float32),
        "cell_parameters": np.tile(np.array([4, 5, 6, 90, 90, 90], dtype=np.float32), (n, 1)),
        "n_atoms": np.full(n, 2, dtype=np.int16),
        "split": np.array([0] * 20 + [1] * 40, dtype=np.uint8),
    }
    names = [str(i) for i in (*range(20), *range(40))]
    save_file(
        tensors,
        tmp_path / "x.safetensors",
        metadata={"ids": json.dumps(names), "formulas": json.dumps(["O"] * n)},
    )
    return tmp_path / "x.safetensors"


def test_validation_rows_are_drawn_from_the_whole_split(prepared, tmp_path, monkeypatch):
    """The published subset only permutes the first rows."""
    seen = {}
    monkeypatch.setattr(
        kldm, "validation_loss", lambda ema, rows, *_: seen.setdefault("loss", rows.ids) and {}
    )
    monkeypatch.setattr(
        kldm, "match_rate", lambda ema, rows, *_, **__: seen.setdefault("match", rows.ids) and {}
    )
    config = kldm.KldmTraining(
        name="toy",
        validation_rows=10,
        match_rows=6,
        match_every_epochs=1,
        network=PairNetworkConfig(hidden_dim=8, n_layers=1, n_frequencies=2, time_dim=4),
        fit=FitConfig(batch_size=20, planned_samples=20),
    )
    kldm.train(config, data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    for name, size in (("loss", 10), ("match", 6)):
        rows = [int(row) for row in seen[name]]
        assert len(set(rows)) == size and max(rows) >= 20  # of forty rows


def test_the_loss_is_a_plain_mean_over_atoms_and_over_crystals(monkeypatch):
    """Not over crystals for velocities: a large cell weighs more there. Both halves count alike."""
    target = torch.tensor([[3.0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    cells = torch.tensor([[1.0] * 6, [3.0] * 6])
    monkeypatch.setattr(
        kldm, "noisy_state", lambda frac, cell, t, *_: NoisyState(frac, frac, cell, target, cells)
    )
    batch = Batch(
        atomic_numbers=torch.tensor([1, 2, 2, 2]),
        frac_coords=torch.zeros(4, 3),
        cell_parameters=torch.tensor([[4.0, 4, 4, 90, 90, 90]] * 2),
        n_atoms=torch.tensor([1, 3]),
    )
    loss, parts = kldm.kldm_loss(
        lambda *_: (torch.zeros(4, 3), torch.zeros(2, 6)), batch, torch.Generator(), CODEC, ProcessConfig()
    )
    assert float(parts["loss_v"]) == pytest.approx(9 / 12) and float(parts["loss_l"]) == pytest.approx(5)
    assert float(loss) == pytest.approx((9 / 12 + 5) / 2)


def test_every_crystal_draws_its_own_time_between_a_thousandth_and_one(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        kldm,
        "noisy_state",
        lambda frac, cell, t, *_: drawn.append(t) or NoisyState(frac, frac, cell, frac, cell),
    )
    n = 5000
    batch = Batch(
        atomic_numbers=torch.ones(n, dtype=torch.long),
        frac_coords=torch.zeros(n, 3),
        cell_parameters=torch.tensor([[4.0, 4, 4, 90, 90, 90]] * n),
        n_atoms=torch.ones(n, dtype=torch.long),
    )
    kldm.kldm_loss(
        lambda t, f, u, h, cell, packing: (f, cell),
        batch,
        torch.Generator().manual_seed(0),
        CODEC,
        ProcessConfig(),
    )
    (t,) = drawn
    assert t.shape == (n,) and float(t.min()) > 0.001 and float(t.max()) <= 1
    # three standard errors are 0.012
    assert len(t.unique()) > 4900 and float(t.mean()) == pytest.approx(0.5005, abs=0.015)


def test_a_crystal_and_its_mirror_image_are_learnt_alike(monkeypatch):
    seen = []
    monkeypatch.setattr(
        kldm,
        "noisy_state",
        lambda frac, cell, t, *_: seen.append(frac) or NoisyState(frac, frac, cell, frac, cell),
    )
    counts = torch.full((400,), 2)
    coords = torch.rand(800, 3, generator=torch.Generator().manual_seed(1))
    batch = Batch(
        atomic_numbers=torch.ones(800, dtype=torch.long),
        frac_coords=coords,
        cell_parameters=torch.tensor([[4.0, 5, 6, 80, 85, 95]] * 400),
        n_atoms=counts,
    )
    kldm.kldm_loss(
        lambda t, f, u, h, cell, packing: (f, cell),
        batch,
        torch.Generator().manual_seed(0),
        CODEC,
        ProcessConfig(),
    )
    signs = (seen[0] / coords).reshape(400, 6)
    # whole crystals, never single atoms
    assert torch.allclose(signs.abs(), torch.ones(1)) and torch.equal(
        signs.min(1).values, signs.max(1).values
    )
    assert 160 < int((signs[:, 0] < 0).sum()) < 240


def test_an_epoch_holds_every_crystal_once_in_another_order_each_time(prepared):
    rows = load_prepared(prepared)["val"]
    orders = [
        [b.frac_coords for b in epoch_batches(rows, 16, torch.Generator().manual_seed(seed))]
        for seed in (0, 1)
    ]
    assert [len(part) // 2 for part in orders[0]] == [16, 16, 8]  # the last, smaller batch is kept
    first, second = (torch.cat(parts) for parts in orders)
    assert not torch.equal(first, second)
    assert (
        sorted(first.flatten().tolist())
        == sorted(second.flatten().tolist())
        == sorted(rows.frac_coords.flatten().tolist())
    )


def test_the_averaged_weights_follow_the_stated_rule(tmp_path):
    network = torch.nn.Linear(1, 1, bias=False)
    seen = [network.weight.item()]

    def loss(net, batch, generator):
        return net(batch).sum(), {}

    config = FitConfig(
        batch_size=1,
        planned_samples=6,
        warmup_steps=0,
        decay_fraction=0.0,
        ema_decay=0.3,
        precision="float32",
    )
    trainer = Trainer(
        network,
        config,
        loss=loss,
        batches=lambda generator: iter([torch.ones(1, 1)]),
        batch_crystals=len,
        folder=tmp_path,
        device=torch.device("cpu"),
    )
    trainer.run(None, lambda current: seen.append(current.network.weight.item()) or {})
    average = seen[0]
    for k, weight in enumerate(seen[1:], start=1):
        decay = min(0.3, (1 + k) / (10 + k))
        average = decay * average + (1 - decay) * weight
    assert len(seen) == 7 and trainer.ema.weight.item() == pytest.approx(average, abs=1e-6)
