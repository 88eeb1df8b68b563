"""From training to prediction: the bundle that is written, what it predicts, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import CheckpointMismatch, CheckpointMissing, RequestError
from crystal_core.geometry import lattice_from_parameters
from crystal_core.registry.store import find_card, load_predictor
from crystal_core.training.data import load_prepared


@pytest.fixture(scope="module")
def held_out(bundle):
    """The held-out crystals and their labels."""
    rows = load_prepared(bundle / "crystals.safetensors")["val"]
    crystals = CrystalBatch(
        atomic_numbers=rows.atomic_numbers,
        frac_coords=rows.frac_coords,
        lattice=lattice_from_parameters(rows.cell_parameters),
        n_atoms=rows.n_atoms,
    )
    return crystals, rows.labels


def values(results, name):
    return np.array([result.predictions[name].value for result in results])


def test_learns_what_the_crystals_hold(predictor, held_out):
    crystals, labels = held_out
    assert [spec.name for spec in predictor.properties] == ["band_gap_ev", "is_metal", "bulk_modulus_gpa"]
    results = predictor.predict(crystals)
    gap = labels["band_gap_ev"].numpy()
    known = np.isfinite(gap)
    miss = np.abs(values(results, "band_gap_ev") - gap)[known].mean()
    assert miss < 0.4 * np.abs(gap[known] - gap[known].mean()).mean()
    modulus = np.log10(labels["bulk_modulus_gpa"].numpy())
    miss = np.abs(np.log10(values(results, "bulk_modulus_gpa")) - modulus).mean()
    assert miss < 0.5 * np.abs(modulus - modulus.mean()).mean()
    metal = labels["is_metal"].numpy() > 0.5
    assert ((values(results, "is_metal") > 0.5) == metal).mean() > 0.85


def test_values_alone_are_those_of_the_predictions(predictor, held_out):
    crystals = held_out[0]
    modulus = values(predictor.predict(crystals), "bulk_modulus_gpa")
    assert predictor.values(crystals, "bulk_modulus_gpa") == pytest.approx(modulus.tolist(), rel=1e-5)
    with pytest.raises(RequestError, match="hardness"):
        predictor.values(crystals, "hardness")


def test_intervals_enclose_the_value_and_most_true_ones(predictor, held_out):
    crystals, labels = held_out
    results = [r.predictions["bulk_modulus_gpa"] for r in predictor.predict(crystals)]
    assert all(0 < r.low < r.value < r.high and r.std > 0 for r in results)
    true = labels["bulk_modulus_gpa"].tolist()
    covered = [r.low <= t <= r.high for r, t in zip(results, true, strict=True)]
    assert np.mean(covered) >= 0.85  # the same crystals calibrate them
    assert predictor.predict(crystals[0])[0].predictions["is_metal"].low is None


def test_same_for_orientation_order_and_cell(predictor, held_out):
    crystal = held_out[0][3]
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    order = torch.randperm(int(crystal.n_atoms), generator=torch.Generator().manual_seed(0))
    moved = replace(
        crystal,
        lattice=crystal.lattice @ torch.from_numpy(turn).float(),
        frac_coords=(crystal.frac_coords + 0.3)[order] % 1.0,
        atomic_numbers=crystal.atomic_numbers[order],
    )
    double = CrystalBatch(
        atomic_numbers=crystal.atomic_numbers.repeat(2),
        frac_coords=torch.cat([crystal.frac_coords, crystal.frac_coords + torch.tensor([1.0, 0, 0])])
        / torch.tensor([2.0, 1, 1]),
        lattice=crystal.lattice * torch.tensor([2.0, 1, 1])[:, None],
        n_atoms=2 * crystal.n_atoms,
    )
    one, *others = predictor.predict(CrystalBatch.concat([crystal, moved, double]))
    for other in others:
        for name, value in one.predictions.items():
            assert other.predictions[name].value == pytest.approx(value.value, rel=1e-3, abs=1e-3)


def test_results_stand_in_the_order_of_the_crystals(predictor, held_out):
    crystals, _ = held_out
    together = values(predictor.predict(crystals), "band_gap_ev")
    alone = [values(predictor.predict(crystals[i]), "band_gap_ev")[0] for i in (0, 11, 39)]
    np.testing.assert_allclose(together[[0, 11, 39]], alone, rtol=1e-4, atol=1e-4)


def test_a_training_crystal_is_recognised_with_its_true_value(predictor, bundle):
    rows = load_prepared(bundle / "crystals.safetensors")["train"].subset(torch.tensor([5]))
    crystal = CrystalBatch(
        atomic_numbers=rows.atomic_numbers,
        frac_coords=rows.frac_coords,
        lattice=lattice_from_parameters(rows.cell_parameters),
        n_atoms=rows.n_atoms,
    )
    nearest = predictor.predict(crystal)[0].nearest[0]
    assert nearest.id == "x-5"
    assert nearest.values["band_gap_ev"] == pytest.approx(float(rows.labels["band_gap_ev"]), rel=1e-4)
    assert "mp20_band_gap_ev" not in nearest.values  # learnt beside, shown nowhere


def test_only_named_properties_and_progress(predictor, held_out):
    seen = []
    results = predictor.predict(held_out[0], ("band_gap_ev",), seen.append)
    assert set(results[0].predictions) == {"band_gap_ev"}
    assert seen[-1] == 40
    with pytest.raises(RequestError, match="no property hardness"):
        predictor.predict(held_out[0], ("hardness",))


def test_a_head_of_other_weights_is_left_out(bundle, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(bundle / "checkpoints", tmp_path / "checkpoints")
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    card = tmp_path / "checkpoints" / "tiny-band_gap_ev" / "card.toml"
    text = card.read_text(encoding="utf-8")
    digest = find_card("tiny-band_gap_ev").network["encoder_sha256"]
    card.write_text(text.replace(digest, "0" * 64), encoding="utf-8")
    names = [spec.name for spec in load_predictor("tiny", "cpu").properties]
    assert names == ["is_metal", "bulk_modulus_gpa"]


def test_missing_and_damaged_encoder_are_said(bundle, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(bundle / "checkpoints", tmp_path / "checkpoints")
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    weights = next((tmp_path / "checkpoints" / "tiny-encoder").glob("weights-*"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"0000")
    with pytest.raises(CheckpointMismatch, match="SHA-256"):
        load_predictor("tiny", "cpu")
    shutil.rmtree(tmp_path / "checkpoints" / "tiny-encoder")
    with pytest.raises(CheckpointMissing, match="needs 'tiny-encoder'"):
        load_predictor("tiny", "cpu")
    with pytest.raises(CheckpointMissing, match="not a predictor"):
        load_predictor("tiny-band_gap_ev", "cpu")


def test_cards_tell_calibration_and_histogram(bundle, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(bundle / "checkpoints"))
    extra = find_card("tiny-bulk_modulus_gpa").extra
    assert extra["calibration"]["n"] == 40
    edges, counts = extra["histogram"]["edges"], extra["histogram"]["counts"]
    assert len(edges) == len(counts) + 1 == 41
    assert sum(counts) == 160
    assert edges == sorted(edges)
    assert find_card("tiny").kind == find_card("tiny-encoder").kind == "predictor"
