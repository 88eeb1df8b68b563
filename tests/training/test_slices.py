"""Slices, branches and recipes of a training: what resumes, what stays as it was, and what a run
that goes wrong leaves.
"""

import json
import os
import re
import signal

import pytest
import torch

from crystal_core.errors import RequestError, TrainingDiverged
from crystal_core.interruption import exit_code, termination, words_of
from crystal_core.training.config import FitConfig, branch_of
from crystal_core.training.fit import PREVIOUS, SLICES, SNAPSHOT, Trainer
from crystal_core.workflows.train import run_training

TINY = """
name = "toy"
[network]
hidden_dim = 8
n_layers = 1
n_frequencies = 2
time_dim = 4
[fit]
batch_size = 4
planned_samples = 40
decay_fraction = 0.0
warmup_steps = 0
precision = "float32"
"""


def trainer(folder, *, bad_step=None, **options):
    """A line fitted to ones; the loss of one step is not finite."""
    calls = []

    def loss(network, batch, generator):
        calls.append(1)
        value = network(batch).square().mean()
        return (value * float("nan") if len(calls) == bad_step else value), {}

    config = FitConfig(
        **{
            "batch_size": 1,
            "planned_samples": 20,
            "decay_fraction": 0.0,
            "warmup_steps": 0,
            "precision": "float32",
        }
        | options
    )
    return Trainer(
        torch.nn.Linear(1, 1),
        config,
        loss=loss,
        batches=lambda generator: iter([torch.ones(1, 1)] * 5),
        batch_crystals=len,
        folder=folder,
        device=torch.device("cpu"),
    )


def weights(path):
    return torch.load(path, weights_only=True)["network"]["weight"].item()


def test_a_loss_that_is_not_finite_leaves_both_snapshots_as_they_were(tmp_path):
    trainer(tmp_path, planned_samples=5).run(None, lambda _: {})
    second = trainer(tmp_path, planned_samples=10)
    second.resume()
    second.run(None, lambda _: {})
    before = {name: (tmp_path / name).read_bytes() for name in (SNAPSHOT, PREVIOUS, SLICES)}
    # minutes between snapshots: the bad step ends an epoch, or a snapshot falls due right after it
    for due in (1e9, 1e-9):
        bad = trainer(tmp_path, bad_step=5 if due > 1 else 1, planned_samples=20, save_every_minutes=due)
        bad.resume()
        with pytest.raises(TrainingDiverged, match="no longer finite at") as failure:
            bad.run(None, lambda _: {})
        assert "smaller learning rate" in str(failure.value)
        assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_the_snapshot_before_the_last_one_is_kept_and_read_where_the_last_one_is_lost(tmp_path):
    trainer(tmp_path, planned_samples=5).run(None, lambda _: {})
    first = weights(tmp_path / SNAPSHOT)
    second = trainer(tmp_path, planned_samples=10)
    second.resume()
    second.run(None, lambda _: {})
    assert weights(tmp_path / PREVIOUS) == first != weights(tmp_path / SNAPSHOT)
    (tmp_path / SNAPSHOT).unlink()
    third = trainer(tmp_path)
    assert third.resume() and third.samples == 5 and third.network.weight.item() == first


def test_slices_are_recorded_with_their_samples(tmp_path):
    for planned in (5, 10):
        part = trainer(tmp_path, planned_samples=planned)
        part.resume()
        part.run(None, lambda _: {})
    assert [
        (s["number"], s["samples_before"], s["samples"]) for s in json.loads((tmp_path / SLICES).read_text())
    ] == [(1, 0, 5), (2, 5, 10)]


def test_a_network_is_trained_as_it_is_where_nothing_can_compile_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    trained = trainer(tmp_path / "compiled", compile=True, seed=1)
    plain = trainer(tmp_path / "plain", seed=1)
    plain.network.load_state_dict(trained.network.state_dict())
    for one in (trained, plain):
        one.run(None, lambda _: {})
    assert weights(tmp_path / "compiled" / SNAPSHOT) == weights(tmp_path / "plain" / SNAPSHOT)


def test_a_trunk_keeps_its_rate_and_a_branch_lets_it_fall_to_zero_over_a_tenth_of_the_samples(tmp_path):
    trunk = trainer(tmp_path, planned_samples=1000)
    trunk.samples = 999
    assert trunk.learning_rate() == trunk.config.learning_rate
    branch = trainer(tmp_path, **branch_of(trunk.config, 600).__dict__)
    rates = {}
    for samples in (599, 600, 630, 660):
        branch.samples = samples
        rates[samples] = branch.learning_rate() / trunk.config.learning_rate
    assert rates == {599: 1, 600: 1, 630: pytest.approx(0.5), 660: pytest.approx(0, abs=1e-9)}


def test_one_cycle_without_decay_of_biases_is_that_of_torch(tmp_path):
    steps = 40
    options = {"learning_rate": 0.1, "weight_decay": 0.5, "amsgrad": False, "planned_samples": steps}
    ours = trainer(tmp_path, schedule="one-cycle", no_decay=("bias",), **options)
    plain = torch.nn.Linear(1, 1)
    plain.load_state_dict(ours.network.state_dict())
    groups = [{"params": [plain.weight]}, {"params": [plain.bias], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.1, total_steps=steps)
    for step in range(steps):
        optimiser.zero_grad()
        plain(torch.ones(1, 1)).square().mean().backward()
        optimiser.step()
        if step + 1 < steps:
            schedule.step()
    ours.run(None, lambda _: {})
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.network.state_dict()[name], value, rtol=1e-5, atol=1e-7)
    with pytest.raises(RequestError, match="schedule"):
        trainer(tmp_path, schedule="cosine")


@pytest.fixture
def prepared(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    n = 12
    tensors = {
        "atomic_numbers": np.full(2 * n, 8, dtype=np.uint8),
        "frac_coords": np.random.default_rng(0).random((2 * n, 3)).astype(np.float32),
        "cell_parameters": np.tile(np.array([4, 5, 6, 90, 90, 90], dtype=np.float32), (n, 1)),
        "n_atoms": np.full(n, 2, dtype=np.int16),
        "split": np.array([0] * 8 + [1] * 4, dtype=np.uint8),
    }
    save_file(
        tensors,
        tmp_path / "x.safetensors",
        metadata={"ids": json.dumps([str(i) for i in range(n)]), "formulas": json.dumps(["O"] * n)},
    )
    return tmp_path / "x.safetensors"


def test_a_branch_leaves_its_trunk_and_a_recipe_repeats_both(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    config = tmp_path / "toy.toml"
    config.write_text(TINY)
    run = dict(data=prepared, device="cpu", quiet=True)
    run_training(config, out=tmp_path / "trunk", **run)
    before = (tmp_path / "trunk" / SNAPSHOT).read_bytes()
    last = run_training(config, branch=tmp_path / "trunk", out=tmp_path / "end", export="toy", **run)
    assert (tmp_path / "trunk" / SNAPSHOT).read_bytes() == before
    assert last["samples"] == 44 and last["lr"] == 0
    recipe = json.loads((tmp_path / "checkpoints" / "toy" / "recipe.json").read_text())
    assert [(s["branch"], s["samples_before"], s["samples"]) for s in recipe] == [
        (False, 0, 40),
        (True, 40, 44),
    ]
    for record in recipe:
        assert (
            record["configuration"] == TINY
            and re.fullmatch("[0-9a-f]{64}", record["data_sha256"])
            and record["processor"]
        )
    again = run_training(recipe="toy", out=tmp_path / "again", **run)
    assert again["loss"] == last["loss"] and again["validation"] == last["validation"]
    with pytest.raises(RequestError, match="exists already"):
        run_training(config, branch=tmp_path / "trunk", out=tmp_path / "end", **run)


def test_a_branch_that_goes_on_stays_a_branch_and_exports_at_its_end(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    config = tmp_path / "toy.toml"
    config.write_text(TINY.replace("planned_samples = 40", "planned_samples = 400"))
    run = dict(data=prepared, device="cpu", quiet=True)
    run_training(config, out=tmp_path / "trunk", samples=40, **run)
    first = run_training(config, branch=tmp_path / "trunk", out=tmp_path / "end", **run)
    again = run_training(config, resume=tmp_path / "end", export="toy", **run)
    assert again["samples"] == first["samples"] == 44 and again["lr"] == 0
    recipe = json.loads((tmp_path / "checkpoints" / "toy" / "recipe.json").read_text())
    assert recipe[-1]["branch"] and recipe[-1]["planned_samples"] == 44
    with pytest.raises(RequestError, match="leave out --samples"):
        run_training(config, resume=tmp_path / "end", samples=60, **run)


def test_a_recipe_holds_the_runs_that_made_the_weights_a_run_began_with(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    first, further = tmp_path / "toy.toml", tmp_path / "further.toml"
    first.write_text(TINY)
    further.write_text(TINY.replace('name = "toy"', 'name = "toy"\ninit_from = "toy"'))
    run = dict(data=prepared, device="cpu", quiet=True)
    from_noise = run_training(first, out=tmp_path / "one", export="toy", **run)
    last = run_training(further, out=tmp_path / "two", export="toy", **run)  # replaces what it began with
    recipe = json.loads((tmp_path / "checkpoints" / "toy" / "recipe.json").read_text())
    assert [(s["samples_before"], s["samples"], "init_from" in s["configuration"]) for s in recipe] == [
        (0, 40, False),
        (0, 40, True),
    ]
    again = run_training(recipe="toy", out=tmp_path / "again", **run)
    assert again["loss"] == pytest.approx(last["loss"], rel=1e-2)  # shipped weights are rounded
    assert from_noise["loss"] != pytest.approx(last["loss"], rel=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Name a training configuration"),
        ({"recipe": "prototype"}, "records no slices"),
        ({"recipe": "prototype", "samples": 5}, "leave out"),
        ({"branch": "nowhere"}, "holds no training"),
    ],
)
def test_contradicting_options_are_one_sentence(prepared, tmp_path, options, message):
    from pathlib import Path

    config = None if "recipe" in options or not options else tmp_path / "toy.toml"
    if config:
        config.write_text(TINY)
    values = {k: Path(v) if k == "branch" else v for k, v in options.items()}
    with pytest.raises(RequestError, match=message):
        run_training(config, data=prepared, device="cpu", quiet=True, **values)


def test_a_packed_snapshot_goes_on_where_the_run_was_within_bf16(prepared, tmp_path):
    from crystal_core.training.packed import pack, unpack

    config = tmp_path / "toy.toml"
    config.write_text(
        TINY.replace("[fit]", '[fit]\noptimiser = "muon"').replace("hidden_dim = 8", "hidden_dim = 128")
    )
    run = dict(data=prepared, device="cpu", quiet=True)
    run_training(config, out=tmp_path / "run", samples=40, **run)
    names = pack(tmp_path / "run", tmp_path / "packed")
    assert names and all((tmp_path / "packed" / name).stat().st_size < 15_000_000 for name in names)
    unpack(tmp_path / "packed", tmp_path / "again")
    exact, packed = (torch.load(tmp_path / name / SNAPSHOT, weights_only=True) for name in ("run", "again"))
    assert packed["counters"] == exact["counters"]
    for key in ("network", "ema"):
        for name, value in exact[key].items():
            torch.testing.assert_close(packed[key][name], value, rtol=8e-3, atol=1e-6)
    states = [s["optimisers"][1]["state"][0]["momentum"] for s in (exact, packed)]
    assert states[0].abs().max() > 0
    torch.testing.assert_close(states[1], states[0], rtol=8e-3, atol=1e-8)
    last = run_training(config, resume=tmp_path / "again", samples=80, **run)
    assert last["samples"] == 80
    with pytest.raises(RequestError, match="holds a training already"):
        unpack(tmp_path / "packed", tmp_path / "again")
    with pytest.raises(RequestError, match="no snapshot"):
        pack(tmp_path / "packed", tmp_path / "other")


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_saves_what_it_has_and_goes_on_with_it(tmp_path, number, caplog):
    whole = trainer(tmp_path / "whole")
    whole.run(None, lambda _: {})
    cut = trainer(tmp_path / "cut")
    one_loss, calls = cut._loss, []

    def loss(*arguments):
        calls.append(1)
        if len(calls) == 7:  # within a step, and within an epoch
            os.kill(os.getpid(), number)
        return one_loss(*arguments)

    cut._loss = loss
    with termination(), pytest.raises(KeyboardInterrupt) as ended:
        cut.run(None, lambda _: {})
    assert exit_code(ended.value) == 128 + number
    assert caplog.messages == [
        "The training ends after this step and saves it. Interrupt again to end without saving."
    ]
    assert words_of(ended.value) == (
        f"Interrupted; the training so far is saved, and --resume {tmp_path / 'cut'} goes on with it."
    )
    later = trainer(tmp_path / "cut")
    assert later.resume() and (later.samples, later.step) == (7, 7)
    assert json.loads((tmp_path / "cut" / SLICES).read_text())[0]["samples"] == 7
    later.run(None, lambda _: {})
    assert later.finished and torch.isfinite(later.network.weight).all()


def test_a_training_in_the_background_which_ignores_ctrl_c_saves_at_sigterm(tmp_path):
    cut = trainer(tmp_path)
    one_loss = cut._loss

    def loss(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return one_loss(*arguments)

    cut._loss = loss
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with termination(), pytest.raises(KeyboardInterrupt) as ended:
            cut.run(None, lambda _: {})
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert exit_code(ended.value) == 128 + signal.SIGTERM
    later = trainer(tmp_path)
    assert later.resume() and later.step == 1


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_interruption_ends_a_training_at_once(tmp_path):
    cut = trainer(tmp_path)

    def loss(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError

    cut._loss = loss
    with pytest.raises(KeyboardInterrupt):
        cut.run(None, lambda _: {})
    assert not (tmp_path / SNAPSHOT).exists()
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
