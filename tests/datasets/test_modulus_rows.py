"""Which rows train the adapter of a modulus: all that do not measure one."""

import numpy as np
import pandas as pd

from crystal_core.datasets.modulus_rows import modulus_training_rows
from tests.datasets.raw_rows import row

BULK = "bulk_modulus_gpa"


def labelled(name, *, bulk=50.0, **about):
    return row(name, **{BULK: bulk, "shear_modulus_gpa": np.nan}, **about)


def test_rows_that_measure_a_modulus_and_their_twins_do_not_train(tmp_path):
    megnet = [
        labelled("train", split="train"),
        labelled("mp20-test", split="train", mp20="test", species=(19, 35), formula="KBr"),
        labelled("no-value", split="train", bulk=np.nan),
        labelled("failed", split="train", bulk=-20.0),
        labelled("test", split="test", species=(37, 17), formula="RbCl"),
        labelled("val", split="val", species=(3, 9), formula="LiF"),
        labelled("test-without-value", split="test", species=(55, 17), formula="CsCl", bulk=np.nan),
        labelled("large", split="train", species=(11,) * 41, a=9.0, formula="Na"),
    ]
    elasticity = [
        labelled("train", bulk=99.0),
        labelled("test"),
        labelled("test-without-value", species=(55, 17), formula="CsCl"),
        labelled("twin-of-test", species=(37, 17), formula="RbCl", a=4.02),
        labelled("twin-of-val", species=(3, 9), formula="LiF", a=4.02),
        labelled("polymorph-of-test", species=(37, 17, 17, 37), formula="RbCl", a=5.5),
        labelled("twin-of-no-value", species=(55, 17), formula="CsCl", a=4.02),
    ]
    pd.DataFrame(megnet).to_parquet(tmp_path / "mp2018_properties.parquet")
    pd.DataFrame(elasticity).to_parquet(tmp_path / "mp_elasticity.parquet")
    rows = {one.id: one.labels[BULK] for one in modulus_training_rows(tmp_path, BULK, workers=1)}
    assert rows == {"train": 50.0, "mp20-test": 50.0, "polymorph-of-test": 50.0, "twin-of-no-value": 50.0}
