"""Which crystals train property predictors: the roles of rows that several tables know, their labels, and
twins of test rows.
"""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from crystal_core.datasets.property_data import TABLES, gather_properties, label_counts, prepare_properties
from crystal_core.errors import RequestError
from crystal_core.training.data import load_prepared
from tests.datasets.raw_rows import row

LABELS = {table.file: list(table.labels) for table in TABLES}


@pytest.fixture
def folder(tmp_path):
    """One file per table; what is not said here is a crystal of its own, of another
    composition in every table.
    """
    rows = {
        table.file: [row(f"only-{i}", species=[3, 30 + i], formula=f"X{i}")] for i, table in enumerate(TABLES)
    }
    rows["mp2018_properties.parquet"] += [
        row("train", a=4.1, split="train", band_gap_ev=0.0, bulk_modulus_gpa=120.0, shear_modulus_gpa=-3.0),
        row("val", split="val", species=[3, 9], formula="LiF", band_gap_ev=9.0),
        row("test", split="test", species=[37, 17], formula="RbCl", band_gap_ev=5.0),
        row("train-and-mp20-test", split="train", mp20="test", species=[19, 35], formula="KBr"),
        row("large", split="train", species=[11] * 41, formula="Na", a=12.0),
        row("thin", split="train", a=9.0),
    ]
    rows["mp_le20.parquet"] += [
        row("train", a=5.0, band_gap_ev=1.0),
        row("test", species=[37, 17], formula="RbCl"),
        row("twin", species=[37, 17], formula="RbCl", a=4.02),
        row("other-crystal", species=[37, 17, 17, 37], formula="RbCl", a=5.5),
    ]
    rows["mp20.parquet"] += [
        row("train", band_gap_ev=0.25, split="train"),
        row("mp20-val", split="val", formula="CsI", species=[55, 53]),
    ]
    rows["matbench_phonons.parquet"] += [row("mb-phonons-0001", species=[13, 15], formula="AlP")]
    rows["mp_cgcnn36k.parquet"] += [row("twin-of-matbench", species=[13, 15], formula="AlP", band_gap_ev=1.5)]
    for name, some in rows.items():
        table = pd.DataFrame(some)
        for column in LABELS[name]:
            if column not in table:
                table[column] = np.nan
        table.to_parquet(tmp_path / name)
    return tmp_path


def test_a_row_has_the_strictest_of_its_roles(folder):
    rows = gather_properties(folder)
    train = {r.id for r in rows.train}
    assert {"train", "twin", "other-crystal"} <= train
    assert {r.id for r in rows.validation} == {"val"}
    assert {"test", "mb-phonons-0001", "train-and-mp20-test", "mp20-val"} <= {r.id for r in rows.test}
    assert not train & {r.id for r in (*rows.validation, *rows.test)}
    reasons = {s["id"]: s["reason"] for s in rows.skipped}
    assert "validation or test" in reasons["train-and-mp20-test"]
    assert reasons["large"] == "more than 40 atoms"
    assert reasons["thin"] == "more than 60 Å3 per atom"


def test_labels_of_all_tables_meet_and_the_first_table_gives_the_geometry(folder):
    known = next(r for r in gather_properties(folder).train if r.id == "train")
    assert known.lattice[0, 0] == 4.1
    assert known.labels == {
        "band_gap_ev": 0.0,  # of the first table that has it
        "is_metal": 1.0,
        "bulk_modulus_gpa": 120.0,  # and no shear modulus, which is negative
        "mp20_band_gap_ev": 0.25,
    }


def test_twins_of_test_rows_do_not_train_and_every_omission_is_recorded(folder, tmp_path):
    output = tmp_path / "out" / "properties.safetensors"
    report = prepare_properties(folder, output, workers=1)
    splits = load_prepared(output)
    assert "test" not in splits
    ids = set(splits["train"].ids)
    assert "other-crystal" in ids
    assert not {"twin", "twin-of-matbench", "test", "mp20-val"} & ids
    reasons = {s["id"]: s["reason"] for s in report.skipped}
    assert reasons["twin"] == "equal to the held-out test"
    assert reasons["twin-of-matbench"] == "equal to the held-out mb-phonons-0001"
    with safe_open(output, framework="np") as handle:
        assert json.loads(handle.metadata()["skipped"]) == report.skipped
    assert label_counts(output)["train"]["band_gap_ev"] == 1
    assert report.rows == len(ids) + 1


def test_a_missing_table_is_named(folder):
    (folder / "mp20.parquet").unlink()
    with pytest.raises(RequestError, match=r"mp20\.parquet"):
        gather_properties(folder)
