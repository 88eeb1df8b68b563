"""The comparison of pretrainings at a toy size: its cells, what it keeps, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import RequestError
from crystal_core.training.config import FitConfig
from crystal_core.workflows import evaluate_pretraining as workflow
from crystal_core.workflows.evaluate_pretraining import evaluate_pretraining, shortened
from crystal_core.workflows.pretraining_study import (
    SINGLE_TARGETS,
    VARIANTS,
    PretrainingStudy,
    StudyFolder,
    over_seeds,
)
from tests.predictors.conftest import write_crystals

CONFIGURATION = """
name = "toy"
method = "crysldnet"
[encoder]
width = 16
n_layers = 2
n_centres = 16
n_nearest = 20
[graph]
n_neighbours = 6
n_nearest = 20
[flow.dit]
width = 16
n_layers = 1
n_heads = 2
[heads]
n_members = 2
hidden = 8
[fit]
batch_size = 8
learning_rate = 3e-3
warmup_steps = 5
ema_decay = 0.9
precision = "float32"
"""
SIZE = {"pretrain_rows": 40, "pretrain_samples": 80, "samples": 80}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Prepared crystals and the toy configuration."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.toml").write_text(CONFIGURATION, encoding="utf-8")
    return write_crystals(folder / "crystals.safetensors", n_train=60, n_val=24), folder / "toy.toml"


def call(*words):
    return CliRunner().invoke(build_app(), ["evaluate", "pretraining", *map(str, words)])


def test_the_command_compares_every_variant_and_goes_on_where_it_stopped(files, tmp_path, monkeypatch):
    data, config = files
    words = ["--data", data, "--property", "bulk_modulus_gpa", "--config", config, "--out", tmp_path / "out"]
    words += ["--pretrain-rows", 40, "--pretrain-samples", 120, "--samples", 40, "--seeds", 2]
    words += ["--fractions", "0.5,1", "--kl-weights", "0,1000"]
    done = call(*words, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert [(row["variant"], row["fraction"]) for row in report["table"]] == [
        (variant, fraction)
        for variant in VARIANTS
        for fraction in ((1.0,) if variant in SINGLE_TARGETS else (0.5, 1.0))
    ]
    assert {row["n_train"] for row in report["table"]} == {30, 60}
    for row in report["table"]:
        assert row["mae"] == pytest.approx(np.mean(row["maes"]), abs=1e-5)
        assert row["std"] == pytest.approx(np.std(row["maes"], ddof=1), abs=1e-5)
        assert len(set(row["maes"])) == 2
    assert (report["unit"], report["n_train"], report["n_validation"]) == ("log10(GPa)", 60, 24)
    free, held = report["kl"]
    assert free["latent_std"] > held["latent_std"]  # a heavy KL term pulls the means to zero
    assert {"effective_rank", "hidden_elements_right", "mae", "std"} <= set(held)
    assert report["pretraining"]["types"]["types"] > 0
    assert len({row["maes"][0] for row in report["table"] if row["fraction"] == 1}) == len(VARIANTS)

    def refuse(*_, **__):
        raise AssertionError("everything is finished")

    monkeypatch.setattr("crystal_core.predictors.crysldnet.training.fit_rows", refuse)
    again = call(*words, "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout) | {"seconds": 0} == report | {"seconds": 0}
    text = call(*words)
    assert "± " in text.stdout
    assert "KL weight 1000" in text.stdout
    other = call(*words, "--samples", 90)
    assert other.exit_code == 2
    assert "another samples" in other.stderr


def test_the_error_of_a_cell_is_that_of_validation_rows_alone(files, tmp_path, monkeypatch):
    data, config = files
    study = PretrainingStudy(
        label="bulk_modulus_gpa", variants=("scratch", "vae"), fractions=(1.0,), seeds=1, **SIZE
    )
    seen = {}
    from crystal_core.predictors.crysldnet import training, validation

    true_fit, true_errors = training.fit_rows, validation.mean_errors

    def fit(config, train_set, held, **rest):
        seen.setdefault(config.stage, set()).update(train_set.crystals.ids)
        return true_fit(config, train_set, held, **rest)

    def errors(network, held):
        seen.setdefault("measured", set()).update(held.crystals.ids)
        return true_errors(network, held)

    monkeypatch.setattr(training, "fit_rows", fit)
    monkeypatch.setattr(validation, "mean_errors", errors)
    report = evaluate_pretraining(study, data, config=config, out=tmp_path / "out")
    training_rows = {f"x-{i}" for i in range(60)}
    assert seen["vae"] < training_rows
    assert seen["properties"] == training_rows
    assert seen["measured"] == {f"x-{i}" for i in range(60, 84)}
    values = np.log10(load_file(data)["label.bulk_modulus_gpa"])
    expected = np.abs(values[60:] - values[:60].mean()).mean()
    assert report["mae_of_mean"] == pytest.approx(expected, abs=1e-4)
    assert report["table"][0]["std"] is None


def test_variants_begin_from_what_they_are_named_after(files, tmp_path):
    data, config = files
    study = PretrainingStudy(label="band_gap_ev", variants=("full", "types"), kl_weights=(0.5,), **SIZE)
    run = workflow.PretrainingRun(
        study, data, workflow._configuration(config, None, None), tmp_path, torch.device("cpu")
    )
    plans = {}

    def stage(name, plan, initial):
        plans[name] = (plan, initial)
        return {"from": name}

    run.train_stage = stage
    assert run.pretrained("scratch") is None
    assert run.pretrained("full") == {"from": "full"}
    assert plans["full"][0].stage == "latent"
    assert plans["full"][1] == {"from": "vae"}
    run.pretrained("latent")
    assert plans["latent"][0].stage == "latent"
    assert plans["latent"][1] is None
    run.pretrained("lattice")
    vae = plans["lattice"][0].vae
    assert (vae.type_weight, vae.position_weight, vae.lattice_weight) == (0, 0, 1)
    run.pretrained("kl-0.5")
    assert plans["kl-0.5"][0].vae.kl_weight == 0.5


def test_another_encoder_or_weight_is_another_study(files, tmp_path):
    data, config = files
    study = PretrainingStudy(
        label="bulk_modulus_gpa", variants=("scratch", "vae"), fractions=(1.0,), seeds=1, **SIZE
    )
    relative = evaluate_pretraining(study, data, config=config, out=tmp_path / "relative")
    share = evaluate_pretraining(study, data, config=config, pdd_weight="share", out=tmp_path / "share")
    assert relative["encoder_parameters"] == share["encoder_parameters"]
    assert relative["table"][0]["maes"] != share["table"][0]["maes"]
    with pytest.raises(RequestError, match="another configuration"):
        evaluate_pretraining(study, data, config=config, pdd_weight="share", out=tmp_path / "relative")
    other = config.with_name("matformer.toml")
    other.write_text(CONFIGURATION + "[matformer]\nwidth = 8\nn_layers = 1\nn_heads = 2\n", encoding="utf-8")
    report = evaluate_pretraining(study, data, config=other, encoder="matformer", out=tmp_path / "m")
    assert report["encoder"] == "matformer" and len(report["table"]) == 2
    with pytest.raises(RequestError, match="is of the encoder pddformer"):
        evaluate_pretraining(
            study, data, config=other, encoder="matformer", pdd_weight="share", out=tmp_path / "n"
        )


def test_a_short_training_warms_up_for_a_tenth_of_its_steps():
    fit = FitConfig(batch_size=64, warmup_steps=200)
    assert shortened(fit, 6400) == FitConfig(batch_size=64, warmup_steps=10, planned_samples=6400)
    assert shortened(fit, 6_400_000).warmup_steps == 200


def test_an_interrupted_pretraining_goes_on(files, tmp_path, monkeypatch):
    data, config = files
    study = PretrainingStudy(label="band_gap_ev", variants=("vae",), fractions=(1.0,), seeds=1, **SIZE)
    from crystal_core.training.fit import Trainer

    true_run, steps = Trainer.run, []

    def stop(trainer, minutes, on_epoch):
        true_run(trainer, 1e-9, on_epoch)
        steps.append(trainer.step)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate_pretraining(study, data, config=config, out=tmp_path)
    begins = []

    def watch(trainer, minutes, on_epoch):
        begins.append(trainer.step)
        return true_run(trainer, minutes, on_epoch)

    monkeypatch.setattr(Trainer, "run", watch)
    evaluate_pretraining(study, data, config=config, out=tmp_path)
    assert begins == [steps[0], 0]  # the pretraining where it stopped, then the fine-tuning


def test_bad_requests_are_one_sentence(files, tmp_path):
    data, config = files
    with pytest.raises(RequestError, match="variant 'mae'"):
        PretrainingStudy(label="x", variants=("mae",))
    with pytest.raises(RequestError, match="fraction must be"):
        PretrainingStudy(label="x", fractions=(1.5,))
    with pytest.raises(RequestError, match="named twice"):
        PretrainingStudy(label="x", fractions=(1.0, 1.0))
    with pytest.raises(RequestError, match="at least one"):
        PretrainingStudy(label="x", fractions=())
    study = PretrainingStudy(label="hardness", variants=("scratch",), **SIZE)
    with pytest.raises(RequestError, match="no label hardness"):
        evaluate_pretraining(study, data, config=config, out=tmp_path / "a")
    with pytest.raises(RequestError, match="no prepared file"):
        evaluate_pretraining(study, tmp_path / "no.safetensors", config=config, out=tmp_path / "b")
    with pytest.raises(RequestError, match="not of crysldnet"):
        evaluate_pretraining(study, data, config=tmp_path.__class__("kldm-csp-mp-cpu"), out=tmp_path / "c")
    done = call("--data", data, "--property", "x", "--fractions", "all")
    assert done.exit_code == 2
    assert "--fractions takes numbers" in done.stderr


def test_one_seed_has_no_deviation():
    assert over_seeds([{"mae": 1.0, "n_train": 3}])["std"] is None
    assert over_seeds([{"mae": 1.0, "n_train": 3}, {"mae": 3.0, "n_train": 3}])["std"] == pytest.approx(
        2**0.5, abs=1e-4
    )


def test_a_folder_of_an_earlier_version_goes_on_where_new_settings_are_usual(tmp_path):
    StudyFolder(tmp_path, {"configuration": {"graph": {"k": 6}}}, {})
    usual = {"configuration": {"graph": {"k": 12, "masks": ("a",)}}}
    StudyFolder(tmp_path, {"configuration": {"graph": {"k": 6, "masks": ("a",)}}}, usual)
    for other in ({"k": 6, "masks": ("b",)}, {"k": 12, "masks": ("a",)}):
        with pytest.raises(RequestError, match="another configuration"):
            StudyFolder(tmp_path, {"configuration": {"graph": other}}, usual)
