"""Tables with property columns as people write them, read as rows that are measured."""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystal_core.datasets.property_splits import file_rows
from crystal_core.datasets.rows import read_rows, split_named
from crystal_core.errors import RequestError

SALT = str(CifWriter(Structure(Lattice.cubic(3.9), ["Na", "Cl"], [[0] * 3, [0.5] * 3])))
VALUES = {"band_gap_ev": ["5", "n/a", "5.25", "inf"], "bulk_modulus_gpa": [24, 25, 26, 27]}


@pytest.mark.parametrize(
    ("name", "separator", "encoding"),
    [("t.csv", ",", "utf-8-sig"), ("t.CSV", ";", "latin-1"), ("t.tsv", "\t", "utf-16")],
)
def test_properties_of_a_csv_are_its_finite_numbers(tmp_path, name, separator, encoding):
    table = pd.DataFrame({"material_id": list("abcd"), "CIF": [SALT] * 4, **VALUES, "Ärger": "ö"})
    (tmp_path / name).write_bytes(table.to_csv(index=False, sep=separator).encode(encoding))
    assert split_named(None, tmp_path / name) == "all"
    rows = list(read_rows(tmp_path / name))
    assert [row.labels.get("band_gap_ev") for row in rows] == [5.0, None, 5.25, None]
    assert [row.labels["bulk_modulus_gpa"] for row in rows] == [24, 25, 26, 27]
    measured = file_rows(tmp_path / name, ("band_gap_ev",), "all")
    assert [row.id for row in measured.rows] == ["a", "c"]


def test_numbers_of_pandas_own_types_lose_no_row(tmp_path):
    table = pd.DataFrame(
        {
            "material_id": list("abcd"),
            "formula": "NaCl",
            "n_atoms": 2,
            "lattice": [(np.eye(3) * 3.9).ravel()] * 4,
            "species": [[11, 17]] * 4,
            "frac_coords": [[0.0] * 3 + [0.5] * 3] * 4,
            "band_gap_ev": pd.array([1.5, None, 2.5, np.inf], dtype="Float64"),
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    unreadable = []
    rows = list(read_rows(tmp_path / "t.parquet", unreadable=unreadable))
    assert [row.labels for row in rows] == [{"band_gap_ev": 1.5}, {}, {"band_gap_ev": 2.5}, {}]
    assert unreadable == []


def test_a_csv_without_cifs_says_so(tmp_path):
    (tmp_path / "t.csv").write_text("a,band_gap_ev\n1,2\n", encoding="utf-8")
    with pytest.raises(RequestError, match="no column 'cif'"):
        list(read_rows(tmp_path / "t.csv"))
