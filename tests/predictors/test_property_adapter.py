"""An adapter for a measured property: test rows never train it, its card says what it may be measured
on, ways compare fairly.
"""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from crystal_core.cards import read_card, write_card
from crystal_core.cli import build_app
from crystal_core.datasets.property_splits import matbench_test_rows
from crystal_core.errors import RequestError
from crystal_core.predictors.crysldnet.adapters import AdapterConfig
from crystal_core.predictors.crysldnet.predictor import load_adapter, load_encoder
from crystal_core.registry.property_cards import known_crystals
from crystal_core.registry.store import find_card, load_predictor
from crystal_core.workflows.adapter_trials import AdapterTrials, evaluate_adapters
from crystal_core.workflows.property_adapter import (
    property_split,
    recalibrate_property,
    train_property,
)
from tests.predictors.test_adapters import own_table

PEAK, HSE = "last_phdos_peak_per_cm", "band_gap_hse_ev"


@pytest.fixture
def raw(bundle, tmp_path, monkeypatch):
    """Raw tables whose peak and HSE gap follow from the elements; the gap is 1.5 times what the bundle
    calls PBE, plus 1.
    """
    shutil.copytree(bundle / "checkpoints", tmp_path / "checkpoints")
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("CRYSTAL_DATA", str(data))
    table = own_table(data / "own.parquet", 200, column="mean")
    table.assign(**{PEAK: 3000 / table["mean"]}).to_parquet(data / "matbench_phonons.parquet")
    table.assign(**{HSE: 0.15 * table["mean"] + 1}).to_parquet(data / "mp_multifidelity_gaps.parquet")
    return table


def test_test_rows_of_the_fold_train_nothing_and_the_card_names_the_fold(raw):
    split = property_split(PEAK, fold=2)
    sides = [{row.id for row in rows} for rows in (split.train, split.held, split.test)]
    assert sides[2] == {f"own-{i}" for i in matbench_test_rows(len(raw), 2).tolist()}
    assert sum(map(len, sides)) == len(set.union(*sides)) == len(raw)
    report = train_property(PEAK, config=AdapterConfig(rank=2), encoder="tiny-encoder", fold=2, samples=1500)
    assert set(report.ids) == sides[1] and report.n_train == len(sides[0])
    assert report.mae < 0.5 * report.mae_of_mean
    card = find_card(f"tiny-{PEAK}")
    assert card.network["fold"] == 2 and card.network["command"].endswith(
        "--fold 2 --rank 2 --samples 1500 --seed 0"
    )
    assert PEAK in [spec.name for spec in load_predictor("tiny", "cpu").properties]
    words = ["evaluate", "property", "--model", "tiny", "--properties", PEAK, "--threads", "1", "--json"]
    other = CliRunner().invoke(build_app(), words)
    assert other.exit_code == 2 and "training rows of fold 2" in other.stderr
    same = CliRunner().invoke(build_app(), [*words, "--fold", "2"])
    assert json.loads(same.stdout)["properties"][PEAK]["n"] == len(sides[2])


def test_new_weights_take_the_old_numbers_of_that_property_alone_from_the_card(raw, tmp_path):
    folder = tmp_path / "checkpoints" / "tiny"
    write_card(
        folder, {"metrics": {f"mae_{HSE}_test": {"value": 9.0}, "mae_band_gap_ev_test": {"value": 1.0}}}
    )
    train_property(
        HSE, config=AdapterConfig(rank=0), encoder="tiny-encoder", start="band_gap_ev", samples=100
    )
    assert list(read_card(folder).metrics) == ["mae_band_gap_ev_test"]


def test_true_values_that_it_learned_are_named_as_known_examples(raw, tmp_path):
    table = tmp_path / "data" / "mp_multifidelity_gaps.parquet"
    rows = pd.read_parquet(table)
    rows["material_id"] = [f"x-{i}" for i in range(len(rows))]  # the ids of the bundle's training crystals
    rows.to_parquet(table)
    train_property(HSE, config=AdapterConfig(rank=0), encoder="tiny-encoder", samples=100)
    split = property_split(HSE)
    learned = {row.id: row.labels[HSE] for row in split.train}
    index = known_crystals("tiny")
    values = dict(zip(index.ids, index.values[HSE].tolist(), strict=True))  # noqa: PD011
    assert {one for one, value in values.items() if np.isfinite(value)} == set(learned) & set(index.ids)
    near = load_predictor("tiny", "cpu").predict(_batch(split.test), (HSE,))
    named = [example for one in near for example in one.nearest if example.values.get(HSE) is not None]  # noqa: PD011
    assert len(named) >= len(near)
    true_values = [example.values[HSE] for example in named]  # noqa: PD011
    assert true_values == pytest.approx([learned[example.id] for example in named], rel=1e-3)


def test_a_start_predicts_what_its_own_property_does_until_it_is_trained(raw, tmp_path):
    trials = AdapterTrials(
        name=HSE, ways=("start", "line", "lora"), shares=(0.5,), seeds=2, start="band_gap_ev", samples=1500
    )
    report = evaluate_adapters(trials, encoder="tiny-encoder", out=tmp_path / "out", device="cpu")
    start, line, lora = (
        next(row for row in report["rows"] if row["way"] == way) for way in ("start", "line", "lora")
    )
    encoder = load_encoder(find_card("tiny-encoder"))
    gap = load_adapter(find_card("tiny-band_gap_ev"), encoder)
    rows = property_split(HSE).test
    crystals = load_predictor("tiny", "cpu").vectors(_batch(rows))[0]
    misses = [abs(p.value - row.labels[HSE]) for p, row in zip(gap.predict(crystals), rows, strict=True)]
    assert start["test_mae"] == pytest.approx(np.mean(misses), rel=1e-3)
    assert (start["n_train"], line["n_train"]) == (0, lora["n_train"])
    assert line["test_mae"] < start["test_mae"] and lora["test_mae"] < 0.5 * start["test_mae"]
    assert start["trained_parameters"] == 0 and line["trained_parameters"] == 2
    assert lora["std"] is not None and lora["ci95"][0] <= lora["test_mae"] <= lora["ci95"][1]


def test_the_whole_encoder_is_kept_with_its_batch_norms(raw):
    train_property(HSE, config=AdapterConfig(full=True), encoder="tiny-encoder", samples=600)
    shared = load_encoder(find_card("tiny-encoder"))
    own = load_adapter(find_card(f"tiny-{HSE}"), shared).encoder.state_dict()
    before = shared.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, own[name])]
    assert any("running_mean" in name for name in changed)
    assert len(changed) > 0.8 * len(before) - sum(
        "num_batches" in name or "centers" in name for name in before
    )


def test_a_folder_goes_on_where_it_stopped_and_refuses_other_settings(raw, tmp_path):
    trials = AdapterTrials(name=HSE, ways=("heads",), seeds=1, samples=64)
    first = evaluate_adapters(trials, encoder="tiny-encoder", out=tmp_path / "out", device="cpu")
    result_file = tmp_path / "out" / "heads-1-0-0.json"
    before = result_file.read_bytes()
    again = evaluate_adapters(trials, encoder="tiny-encoder", out=tmp_path / "out", device="cpu")
    assert again == first and result_file.read_bytes() == before
    with pytest.raises(RequestError, match="other settings"):
        evaluate_adapters(
            AdapterTrials(name=HSE, ways=("heads",), seeds=1, samples=65),
            encoder="tiny-encoder",
            out=tmp_path / "out",
        )


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "adapter", "--property", "hardness"], "No data here measure hardness"),
        (["train", "adapter", "--property", HSE, "--fold", "1"], "has one split and no folds"),
        (["train", "adapter", "--property", HSE, "--target", "x"], "leave out --target"),
        (
            ["train", "adapter", "--property", PEAK, "--start", "band_gap_ev"],
            "its unit or its form is another",
        ),
        (["train", "adapter", "--data", "x.csv", "--target", "y", "--start", "z"], "--start belongs to"),
        (["evaluate", "adapters", "--property", HSE, "--ways", "start"], "name it with --start"),
        (["evaluate", "adapters", "--property", HSE, "--shares", "2"], "share"),
    ],
)
def test_mistakes_end_with_one_sentence(raw, tmp_path, words, part):
    shutil.move(tmp_path / "checkpoints" / "tiny-encoder", tmp_path / "checkpoints" / "crysldnet-encoder")
    result = CliRunner().invoke(build_app(), words)
    assert result.exit_code == 2 and part in result.stderr and result.stderr.count("\n") == 1, result.stderr


def _batch(rows):
    from crystal_core.workflows.evaluate_property import crystals_of

    return crystals_of(rows)


def test_no_prediction_goes_beyond_the_training_values_and_new_intervals_change_no_weight(raw, tmp_path):
    train_property(HSE, config=AdapterConfig(rank=0), encoder="tiny-encoder", samples=600)
    folder = tmp_path / "checkpoints" / f"tiny-{HSE}"
    before = read_card(folder)
    values = [row.labels[HSE] for row in property_split(HSE).train]
    bounds = before.extra["calibration"]
    assert (bounds["lowest"], bounds["highest"]) == pytest.approx((min(values), max(values)), rel=1e-5)
    write_card(
        folder, {"extra": {"calibration": {**bounds, "lowest": 2.0, "highest": 2.01, "interval": 99.0}}}
    )
    near = load_predictor("tiny", "cpu").predict(_batch(property_split(HSE).test), (HSE,))
    predicted = [one.predictions[HSE].value for one in near]
    assert min(predicted) >= 2.0 and max(predicted) <= 2.01 + 1e-6
    recalibrate_property(HSE, encoder="tiny-encoder")
    after = read_card(folder)
    assert after.files == before.files and after.network == before.network
    again = after.extra["calibration"]
    assert again["lowest"] == bounds["lowest"] and again["interval"] == pytest.approx(
        bounds["interval"], rel=0.1
    )
