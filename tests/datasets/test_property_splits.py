"""Which rows measure which property: the published splits, Matbench's folds, and no row that
is in two splits.
"""

from functools import cache

import numpy as np
import pytest

from crystal_core.datasets import property_splits
from crystal_core.datasets.property_splits import (
    FOLDS,
    MEGNET_TABLE,
    TABLES,
    default_rows,
    file_rows,
    hash_split,
    matbench_test_rows,
    measured_rows,
    property_value,
    table_splits,
)
from crystal_core.datasets.rows import MP20_TABLE, CrystalRow, held_out_ids
from crystal_core.errors import RequestError
from crystal_core.paths import data_dir
from crystal_core.properties import PROPERTIES

needs_data = pytest.mark.skipif(data_dir() is None, reason="needs the raw data sets (CRYSTAL_DATA)")


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """Reads each raw table once, not once for every split of every fold."""
    read = property_splits.read_rows

    @cache
    def whole(path):
        unreadable = []
        return list(read(path, unreadable=unreadable)), unreadable

    def read_rows(path, split=None, *, unreadable=None):
        if split is not None or path.parent != data_dir():
            return read(path, split, unreadable=unreadable)
        rows, bad = whole(path)
        unreadable.extend(bad)
        return iter(rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(property_splits, "read_rows", read_rows)
        held_out = cache(property_splits.held_out_ids)
        patch.setattr(property_splits, "held_out_ids", lambda paths: held_out(tuple(paths)))
        yield


def row(name, split="", mp20_split="", **labels):
    return CrystalRow(
        id=name,
        formula="NaCl",
        lattice=np.eye(3) * 4,
        frac_coords=np.zeros((1, 3)),
        atomic_numbers=np.array([11]),
        split=split,
        mp20_split=mp20_split,
        labels=labels,
    )


@pytest.mark.parametrize("n_rows", [5, 1265, 4764])
def test_the_folds_are_disjoint_and_complete(n_rows):
    folds = [matbench_test_rows(n_rows, fold) for fold in range(FOLDS)]
    assert np.array_equal(np.sort(np.concatenate(folds)), np.arange(n_rows))
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    with pytest.raises(RequestError, match="folds 0 to 4"):
        matbench_test_rows(n_rows, 5)


@pytest.mark.parametrize("n_rows", [1265, 4764])
def test_the_folds_are_those_of_scikit_learn(n_rows):
    selection = pytest.importorskip("sklearn.model_selection")
    kfold = selection.KFold(n_splits=5, shuffle=True, random_state=18012019)
    for fold, (_, test) in enumerate(kfold.split(np.arange(n_rows))):
        assert np.array_equal(matbench_test_rows(n_rows, fold), test)


def test_the_first_rows_of_the_dielectric_folds_are_the_published_ones():
    # ids of fold_0 in matbench/tests/msonability_matbench_dielectric.json of the Matbench repository;
    # ids count from 1
    assert (matbench_test_rows(4764, 0)[:12] + 1).tolist() == [8, 10, 19, 25, 31, 36, 38, 40, 41, 51, 62, 71]


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("refractive_index_n", (0.7026, 0.7811, 0.9218, 0.8382, 0.8004)),
        ("last_phdos_peak_per_cm", (337.1003, 299.1209, 348.2576, 325.2402, 310.1921)),
    ],
)
def test_the_mean_has_the_published_error_in_every_fold(name, published):
    # benchmark matbench_v0.1_dummy: only the right rows in the right order give these ten numbers
    for fold, error in enumerate(published):
        parts = {
            split: default_rows(data_dir(), [name], split, fold=fold)[0] for split in ("train", "val", "test")
        }
        mean = np.concatenate([parts["train"].truth[name], parts["val"].truth[name]]).mean()
        assert np.abs(parts["test"].truth[name] - mean).mean() == pytest.approx(error, abs=5e-5)


@pytest.mark.data
@needs_data
def test_no_row_is_in_two_splits_and_nothing_held_out_trains():
    splits = {
        split: {
            table.source: {r.id for r in table.rows}
            for table in default_rows(data_dir(), list(PROPERTIES), split)
        }
        for split in ("train", "val", "test")
    }
    held_out = held_out_ids([data_dir() / MEGNET_TABLE, data_dir() / MP20_TABLE])
    for table in TABLES:
        train, val, test = (splits[split][table.name] for split in ("train", "val", "test"))
        assert train and val and test
        assert not train & val and not train & test and not val & test
        assert not train & held_out
    assert (len(splits["test"][MEGNET_TABLE]), len(splits["val"][MEGNET_TABLE])) == (2705, 3639)


def test_a_hash_keeps_a_row_in_its_split():
    names = [f"mp-{i}" for i in range(4000)]
    shares = {
        split: sum(hash_split(name) == split for name in names) / 4000 for split in ("train", "val", "test")
    }
    assert hash_split("mp-149") == hash_split("mp-149")
    assert shares["test"] == pytest.approx(0.1, abs=0.02) and shares["val"] == pytest.approx(0.1, abs=0.02)


def test_held_out_rows_leave_the_training_split_and_stay_where_they_are_tested():
    (table,) = (table for table in TABLES if table.rule == "hash")
    rows = [row(f"mp-{i}", mp20_split="test" if i % 2 else "") for i in range(200)]
    held_out = {f"mp-{i}" for i in range(0, 200, 4)}
    splits = table_splits(table, rows, held_out, 0)
    for one, split in zip(rows, splits, strict=True):
        barred = one.id in held_out or one.mp20_split == "test"
        assert split == ("" if barred and hash_split(one.id) == "train" else hash_split(one.id))
    assert set(splits) == {"train", "val", "test", ""}


def test_what_counts_as_a_value():
    assert property_value(row("a", band_gap_ev=0.0), "is_metal") == 1.0
    assert property_value(row("a", band_gap_ev=0.3), "is_metal") == 0.0
    assert np.isnan(property_value(row("a"), "is_metal"))
    for modulus, known in ((0.0, False), (-3.0, False), (600.0, True), (600.5, False), (0.01, True)):
        assert np.isfinite(property_value(row("a", bulk_modulus_gpa=modulus), "bulk_modulus_gpa")) == known


def test_rows_and_properties_without_a_value_are_left_out():
    measured = measured_rows(
        [row("a", band_gap_ev=1.0), row("b"), row("c", e_above_hull_ev=0.1)],
        ["band_gap_ev", "e_above_hull_ev", "shear_modulus_gpa"],
        "t",
        "p",
    )
    assert [r.id for r in measured.rows] == ["a", "c"] and set(measured.truth) == {
        "band_gap_ev",
        "e_above_hull_ev",
    }
    assert np.array_equal(measured.truth["band_gap_ev"], [1.0, np.nan], equal_nan=True)


def test_unknown_properties_and_files_without_values_are_one_sentence(tmp_path):
    with pytest.raises(RequestError, match="No data here measure colour"):
        default_rows(tmp_path, ["colour"], "test")
    with pytest.raises(RequestError, match="no file"):
        file_rows(tmp_path / "none.parquet", ["band_gap_ev"], "all")
