"""The trainer: learns four crystals by heart, resumes to the same place, exports what loads again."""

import json
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch.nn import functional

from crystal_core.cards import read_card, write_card
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.generators.kldm.codec import LatticeCodec
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.species import species_process
from crystal_core.generators.kldm.species_process import N_TYPES
from crystal_core.generators.kldm.training import (
    KldmTraining,
    export_checkpoint,
    kldm_loss,
    settings_from,
    train,
)
from crystal_core.generators.kldm.weights import load_weights, starting_weights
from crystal_core.networks.packing import pack
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.registry.store import find_card, list_cards
from crystal_core.training.config import FitConfig
from crystal_core.training.data import draws_per_epoch, epoch_batches, load_prepared, size_repeats
from crystal_core.workflows.train import configurations


@pytest.fixture
def prepared(tmp_path):
    rng = np.random.default_rng(0)
    counts = np.array([2, 3, 4, 5] * 6, dtype=np.int16)  # four crystals, six times each
    tensors = {
        "atomic_numbers": np.tile(rng.integers(1, 80, 14), 6).astype(np.uint8),
        "frac_coords": np.tile(rng.random((14, 3)), (6, 1)).astype(np.float32),
        "cell_parameters": np.tile(np.array([4, 5, 6, 90, 90, 90], dtype=np.float32), (len(counts), 1)),
        "n_atoms": counts,
        "split": np.array([0] * 20 + [1] * 4, dtype=np.uint8),
    }
    path = tmp_path / "crystals.safetensors"
    metadata = {
        "ids": json.dumps([f"x-{i}" for i in range(len(counts))]),
        "formulas": json.dumps(["X"] * len(counts)),
    }
    save_file(tensors, path, metadata=metadata)
    return path


def settings(samples):
    return KldmTraining(
        name="toy",
        network=PairNetworkConfig(hidden_dim=32, n_layers=2, n_frequencies=8, time_dim=16),
        fit=FitConfig(batch_size=8, planned_samples=samples, warmup_steps=5, precision="float32"),
    )


def test_loss_falls_and_a_slice_resumes_where_it_stopped(prepared, tmp_path):
    run = dict(data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    train(settings(100), **run)
    done = train(settings(16000), **run, resume=True)
    losses = [
        json.loads(line)["loss_v"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    ]
    assert done.trainer.step > 1000 and done.last["epoch"] >= 400
    # one epoch draws twenty times: a few of them tell little
    assert np.mean(losses[-100:]) < 0.85 * np.mean(losses[:5])
    assert set(done.last["validation"]) == {"loss_v", "loss_l"}


def test_resuming_without_a_snapshot_says_so(prepared, tmp_path):
    with pytest.raises(RequestError, match="no snapshot"):
        train(
            settings(20),
            data_file=prepared,
            folder=tmp_path / "none",
            device=torch.device("cpu"),
            resume=True,
        )


def test_exported_checkpoint_loads_and_verifies(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    done = train(settings(40), data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    folder = export_checkpoint("toy", trained=done, settings=settings(40), log=tmp_path / "run" / "log.jsonl")
    card = find_card("toy")
    assert card.problem() is None and [c.name for c in list_cards("generator")] == ["toy"]
    # counts: of many, none
    assert card.sampling == {
        "elements": sorted(set(load_prepared(prepared)["train"].atomic_numbers.tolist()))
    }
    state, again = load_weights(card)
    assert again == LatticeCodec.from_json((tmp_path / "run" / "lattice.json").read_text())
    for name, value in done.trainer.ema.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=8e-3, atol=1e-3)  # bf16 keeps 8 bits
    (folder / "lattice.json").write_text("{}")
    assert "SHA-256" in read_card(folder).problem()


@pytest.mark.parametrize("species", ["one-hot", "analog-bits", "masking"])
def test_each_option_of_types_trains_resumes_and_exports_what_sampling_needs(
    prepared, tmp_path, monkeypatch, species
):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    run = dict(data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))

    def de_novo(samples):
        return replace(settings(samples), task="dng", process=ProcessConfig(species=species))

    train(de_novo(20), **run)
    first = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    done = train(de_novo(600), **run, resume=True)
    assert done.last["loss_h"] < 0.9 * first["loss_h"] and done.last["loss"] < 0.9 * first["loss"]
    assert set(done.last["validation"]) == {"loss_v", "loss_l", "loss_h"}
    export_checkpoint("toy", trained=done, settings=de_novo(600), log=tmp_path / "run" / "log.jsonl")
    card = find_card("toy")
    assert card.task == "de novo generation" and card.training["process"]["species"] == species
    assert card.sampling["atom_count_frequencies"] == {"2": 0.25, "3": 0.25, "4": 0.25, "5": 0.25}
    assert card.sampling["elements"] == sorted(set(load_prepared(prepared)["train"].atomic_numbers.tolist()))
    state, _ = load_weights(card)
    assert state["out_h.weight"].shape[0] == {"one-hot": 100, "analog-bits": 7, "masking": 100}[species]


def test_the_loss_is_the_mean_of_its_weighted_terms(prepared):
    data = load_prepared(prepared)["train"]
    batch = data.select(torch.arange(6))
    table = LatticeCodec.from_training(data.cell_parameters[:, :3], data.n_atoms)
    process = ProcessConfig(species="analog-bits")
    network = PairNetwork(
        PairNetworkConfig(
            hidden_dim=16, n_layers=1, n_frequencies=4, time_dim=16, n_type_inputs=7, n_type_outputs=7
        )
    )
    loss, parts = kldm_loss(network, batch, torch.Generator().manual_seed(0), table, process, 5.0)
    assert float(loss.detach()) == pytest.approx(
        float(parts["loss_v"] + parts["loss_l"] + 5 * parts["loss_h"]) / 3, rel=1e-5
    )


def test_a_task_and_its_process_must_agree():
    with pytest.raises(RequestError, match="dng"):
        replace(settings(20), task="dng")
    with pytest.raises(RequestError, match="csp"):
        replace(settings(20), process=ProcessConfig(species="masking"))
    with pytest.raises(RequestError, match="match_rows"):
        replace(settings(20), task="dng", process=ProcessConfig(species="masking"), match_rows=10)


@pytest.mark.parametrize(
    "path", [p for p in configurations().values() if p.stem.startswith("kldm-")], ids=lambda p: p.stem
)
def test_every_shipped_configuration_is_readable(path):
    config = settings_from(path.read_text(encoding="utf-8"))
    assert config.name.startswith("kldm-") and (config.task == "dng") == ("dng" in config.name)
    assert bool(config.network.n_type_outputs) == (config.task == "dng")


def test_prepared_splits_keep_their_rows(prepared):
    splits = load_prepared(prepared)
    assert len(splits["train"]) == 20 and len(splits["val"]) == 4
    batch = splits["val"].select(torch.tensor([2, 0]))
    assert batch.n_atoms.tolist() == [4, 2]
    assert torch.equal(batch.atomic_numbers[:4], splits["val"].atomic_numbers[5:9])


def test_unknown_keys_in_a_configuration_are_refused():
    with pytest.raises(RequestError, match="learningrate"):
        settings_from('name = "x"\n[fit]\nlearningrate = 1.0\n')


def test_match_rate_on_fixed_validation_rows_is_in_the_log(prepared, tmp_path):
    config = replace(settings(40), match_rows=3, match_every_epochs=1, match_steps=2)
    train(config, data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(line["validation"]["n"] == 3 and 0 <= line["validation"]["match_rate"] <= 1 for line in lines)


def test_a_slice_that_stops_within_an_epoch_measures_no_match_rate(prepared, tmp_path, monkeypatch):
    run = dict(data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    config = replace(settings(100), match_rows=3, match_every_epochs=2, match_steps=2)
    seconds = count()
    monkeypatch.setattr("crystal_core.training.fit.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    first = train(config, **run, minutes=3.5 / 60)  # over after two of the three steps of an epoch
    assert first.trainer.step == 2 and "match_rate" not in first.last["validation"]
    train(config, **run, resume=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    whole = [(line["epoch"], line["samples"]) for line in lines if "match_rate" in line["validation"]]
    # after epochs 2 and 4, and where the plan ends; 16 samples are those of the first slice
    assert whole == [(2, 56), (4, 96), (4, 104)]


def test_without_pymatgen_a_run_goes_on_without_match_rates(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("crystal_core.generators.kldm.match_rate.find_spec", lambda _: None)
    config = replace(settings(40), match_rows=3, match_every_epochs=1, match_steps=2)
    done = train(config, data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    assert set(done.last["validation"]) == {"loss_v", "loss_l"} and done.last["samples"] >= 40


def test_a_plan_that_is_used_up_gives_its_last_line_again(prepared, tmp_path):
    run = dict(data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    done = train(settings(40), **run)
    assert done.last and train(settings(40), **run, resume=True).last == done.last
    slices = json.loads((tmp_path / "run" / "slices.json").read_text(encoding="utf-8"))
    assert len(slices) == 1  # a slice of nothing is none


def test_a_snapshot_of_another_network_is_one_sentence(prepared, tmp_path):
    run = dict(data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    train(settings(20), **run)
    other = replace(
        settings(40), network=PairNetworkConfig(hidden_dim=16, n_layers=2, n_frequencies=8, time_dim=16)
    )
    with pytest.raises(RequestError, match="another network"):
        train(other, **run, resume=True)


def test_new_weights_lose_what_was_measured_with_the_old_ones(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    run = dict(data_file=prepared, folder=tmp_path / "run", device=torch.device("cpu"))
    log = tmp_path / "run" / "log.jsonl"
    done = train(settings(40), **run)
    folder = export_checkpoint("toy", trained=done, settings=settings(40), log=log)
    measured = {
        "metrics": {"match_rate_val": {"value": 0.5}},
        "sampling": {"tau": 0.5, "table": {"match_rate": [0.5]}},
        "limits": "known",
    }
    write_card(folder, measured)
    export_checkpoint("toy", trained=done, settings=settings(40), log=log)
    assert find_card("toy").metrics and find_card("toy").limits == "known"  # the same weights
    done = train(settings(80), **run, resume=True)
    export_checkpoint("toy", trained=done, settings=settings(80), log=log)
    card = find_card("toy")
    assert (
        not card.metrics
        and "table" not in card.sampling
        and card.sampling["tau"] == 0.5
        and "not measured" in card.limits
    )


def test_sizes_are_drawn_as_often_as_their_work_allows(prepared):
    n_atoms = torch.tensor([1, 5, 10, 20])
    assert size_repeats(n_atoms, 1.0).tolist() == pytest.approx([2.0, 2.0, 1.0, 45 / 190])
    assert size_repeats(n_atoms, 0.0).tolist() == [1.0] * 4
    data = load_prepared(prepared)["train"]
    repeats = torch.where(data.n_atoms == 5, 2.0, 0.0)
    drawn = [batch.n_atoms for batch in epoch_batches(data, 4, torch.Generator().manual_seed(0), repeats)]
    assert torch.cat(drawn).tolist() == [5] * 10  # five crystals of five atoms, twice each, and nothing else


def test_a_table_may_be_drawn_more_often(prepared, tmp_path):
    tensors = load_file(prepared)
    tensors["source"] = np.array([0, 1] * 12, dtype=np.uint8)
    with safe_open(prepared, "np") as handle:
        save_file(
            tensors,
            tmp_path / "two.safetensors",
            metadata=handle.metadata() | {"sources": json.dumps(["a.parquet", "b.parquet"])},
        )
    rows = load_prepared(tmp_path / "two.safetensors")["train"]
    favouring = replace(settings(20), favoured_source="b.parquet", favour=4.0)
    draws = draws_per_epoch(favouring, rows)
    assert float(draws.mean()) == pytest.approx(1) and (draws / draws[0]).tolist() == pytest.approx(
        [1, 4] * 10
    )
    with pytest.raises(RequestError, match=r"no row of c\.parquet"):
        draws_per_epoch(replace(favouring, favoured_source="c.parquet"), rows)


@pytest.mark.parametrize("species", ["masking", "one-hot"])
def test_a_de_novo_run_starts_with_what_structure_prediction_knows(species):
    sizes = dict(hidden_dim=16, n_layers=2, n_frequencies=4, time_dim=8)
    known = PairNetwork(PairNetworkConfig(**sizes))
    network = PairNetwork(
        PairNetworkConfig(**sizes, **species_process(ProcessConfig(species=species)).network_sizes)
    )
    network.load_state_dict(starting_weights(known.state_dict(), network, species))
    n_atoms, z = torch.tensor([2, 3]), torch.tensor([1, 8, 22, 100, 38])
    given = torch.rand(2), torch.rand(5, 3), torch.randn(5, 3)
    types = functional.one_hot(z - 1, N_TYPES).float() if species == "one-hot" else z - 1
    expected = known(*given, z, torch.zeros(2, 6), pack(n_atoms))
    output = network(*given, types, torch.zeros(2, 6), pack(n_atoms))
    torch.testing.assert_close(output[:2], expected)


def test_weights_of_other_sizes_or_another_option_cannot_start_a_run():
    sizes = dict(n_layers=2, n_frequencies=4, time_dim=8)
    masking = species_process(ProcessConfig(species="masking")).network_sizes
    one_hot = species_process(ProcessConfig(species="one-hot")).network_sizes
    for old, new, species in [
        (dict(hidden_dim=16), dict(hidden_dim=32) | masking, "masking"),
        (dict(hidden_dim=16) | one_hot, dict(hidden_dim=16) | masking, "masking"),
        (dict(hidden_dim=16) | masking, dict(hidden_dim=16), "fixed"),
    ]:
        network = PairNetwork(PairNetworkConfig(**sizes, **new))
        with pytest.raises(CheckpointMismatch, match="cannot start"):
            starting_weights(PairNetwork(PairNetworkConfig(**sizes, **old)).state_dict(), network, species)


@pytest.fixture
def labelled(prepared, tmp_path):
    tensors = load_file(prepared)
    tensors["label.e_above_hull_ev"] = np.array([0.0, 0.1, 0.2, np.nan] * 6, dtype=np.float32)
    with safe_open(prepared, "np") as handle:
        save_file(tensors, tmp_path / "labelled.safetensors", metadata=handle.metadata())
    return tmp_path / "labelled.safetensors"


def test_rows_known_to_be_stable_are_drawn_more_often(labelled):
    rows = load_prepared(labelled)["train"]
    assert draws_per_epoch(settings(20), rows) is None
    favouring = replace(settings(20), favoured_e_above_hull_ev=0.15, favour=4.0)
    draws = draws_per_epoch(favouring, rows)
    assert float(draws.mean()) == pytest.approx(1)
    # an unknown energy counts as not low
    assert (draws / draws[2]).tolist() == pytest.approx([4, 4, 1, 1] * 5)
    both = draws_per_epoch(replace(favouring, size_power=1.0), rows)
    torch.testing.assert_close(both, draws * size_repeats(rows.n_atoms, 1.0))


def test_only_rows_of_known_low_energy_train_where_a_limit_is_set(prepared, labelled):
    splits = load_prepared(labelled, train_below={"e_above_hull_ev": 0.15})
    assert set(splits["train"].ids) == {f"x-{i}" for i in range(20) if i % 4 in (0, 1)}
    assert len(splits["val"]) == 4
    with pytest.raises(RequestError, match="has no label"):
        load_prepared(prepared, train_below={"e_above_hull_ev": 0.15})
