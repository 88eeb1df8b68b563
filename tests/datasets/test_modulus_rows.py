"""Which rows train the adapter of a modulus: all that do not measure one."""

import numpy as np
import pandas as pd

from crystal_core.datasets.modulus_rows import modulus_training_rows

BULK = "bulk_modulus_gpa"


def row(name, *, split=None, mp20=None, a=4.0, species=(11, 17), formula="NaCl", bulk=50.0):
    count = len(species)
    return {
        "material_id": name,
        "split": split,
        "formula": formula,
        "n_atoms": count,
        "lattice": (np.eye(3) * a).ravel(),
        "species": np.array(species),
        "frac_coords": np.linspace(0, 0.9, 3 * count),
        "spacegroup_number": 221,
        "mp20_split": mp20,
        BULK: bulk,
        "shear_modulus_gpa": np.nan,
    }


def test_rows_that_measure_a_modulus_and_their_twins_do_not_train(tmp_path):
    megnet = [
        row("train", split="train"),
        row("mp20-test", split="train", mp20="test", species=(19, 35), formula="KBr"),
        row("no-value", split="train", bulk=np.nan),
        row("failed", split="train", bulk=-20.0),
        row("test", split="test", species=(37, 17), formula="RbCl"),
        row("val", split="val", species=(3, 9), formula="LiF"),
        row("test-without-value", split="test", species=(55, 17), formula="CsCl", bulk=np.nan),
        row("large", split="train", species=(11,) * 41, a=9.0, formula="Na"),
    ]
    elasticity = [
        row("train", bulk=99.0),
        row("test"),
        row("test-without-value", species=(55, 17), formula="CsCl"),
        row("twin-of-test", species=(37, 17), formula="RbCl", a=4.02),
        row("twin-of-val", species=(3, 9), formula="LiF", a=4.02),
        row("polymorph-of-test", species=(37, 17, 17, 37), formula="RbCl", a=5.5),
        row("twin-of-no-value", species=(55, 17), formula="CsCl", a=4.02),
    ]
    pd.DataFrame(megnet).to_parquet(tmp_path / "mp2018_properties.parquet")
    pd.DataFrame(elasticity).to_parquet(tmp_path / "mp_elasticity.parquet")
    rows = {one.id: one.labels[BULK] for one in modulus_training_rows(tmp_path, BULK, workers=1)}
    assert rows == {"train": 50.0, "mp20-test": 50.0, "polymorph-of-test": 50.0, "twin-of-no-value": 50.0}
