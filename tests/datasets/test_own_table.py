"""An uploaded table: columns of numbers with their counts, rows without a crystal with their reason,
files that are none.
"""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystal_core.datasets import own_table
from crystal_core.datasets.own_table import read_own_table
from crystal_core.errors import RequestError

SALT = str(CifWriter(Structure(Lattice.cubic(3.9), ["Na", "Cl"], [[0] * 3, [0.5] * 3])))
MIXED = str(CifWriter(Structure(Lattice.cubic(3.9), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0] * 3, [0.5] * 3])))


def parquet(path, **columns):
    table = pd.DataFrame(
        {
            "material_id": ["a", "b", "c"],
            "formula": "NaCl",
            "n_atoms": 2,
            "lattice": [(np.eye(3) * 3.9).ravel()] * 2 + [np.ones(4)],
            "species": [[11, 17]] * 3,
            "frac_coords": [[0.0] * 3 + [0.5] * 3] * 3,
            **columns,
        }
    )
    table.to_parquet(path)
    return path.read_bytes()


def test_a_parquet_tells_its_numbers_and_which_rows_hold_no_crystal(tmp_path):
    content = parquet(
        tmp_path / "t.parquet",
        hardness=[1.5, np.inf, 2.0],
        count=[3, 4, 5],
        is_new=[True, False, True],
        remark=["x", "7", "y"],
        split=["val", "odd", "train"],
    )
    table = read_own_table("t.parquet", content)
    assert table.columns == {"hardness": 1, "count": 2, "remark": 1}
    assert [row.split for row in table.rows] == ["val", ""]
    assert [row.id for row in table.with_value("hardness")] == ["a"]
    assert [name for name, _ in table.skipped] == ["c"] and "not a crystal" in table.skipped[0][1]


def test_a_csv_is_read_cif_by_cif_in_the_child(monkeypatch):
    frame = pd.DataFrame(
        {
            "cif": [SALT, MIXED, "data_x\n_cell_length_a 4\n", None, SALT + SALT.replace("data_", "data_2")],
            "hardness": [1, 2, 3, 4, 5],
        }
    )
    moves = []
    table = read_own_table("t.csv", frame.to_csv(index=False).encode(), lambda *step: moves.append(step))
    (row,) = table.rows
    assert (row.id, row.formula, row.labels) == ("row 1", "NaCl", {"hardness": 1.0})
    reasons = dict(table.skipped)
    assert "partly occupied" in reasons["row 2"] and "cell" in reasons["row 3"]
    assert reasons["row 4"] == "its CIF is empty" and "2 crystals" in reasons["row 5"]
    assert moves[-1] == (5, 5)


def test_a_large_cell_and_a_number_that_is_no_element_lose_no_other_row(tmp_path):
    species = [[11, 17], [2**62] * 2, [11] * 201]
    places = [[0.0] * 3 + [0.5] * 3] * 2 + [[0.1] * 603]
    lattice = [(np.eye(3) * 3.9).ravel()] * 3
    content = parquet(tmp_path / "t.parquet", x=1.0, species=species, frac_coords=places, lattice=lattice)
    table = read_own_table("t.parquet", content)
    assert [row.id for row in table.rows] == ["a"]
    reasons = dict(table.skipped)
    assert "atomic number" in reasons["b"] and reasons["c"].startswith("201 atoms")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"a,b\n1,2\n", "no column 'cif'"),
        ("t.csv", b"\x00\xff\xfe", r"cannot be read as CSV|no column 'cif'"),
        ("t.csv", b"", "cannot be read as CSV"),
        ("t.parquet", b"PAR1 and nothing more", "cannot be read as Parquet"),
        ("t.csv", b"cif,hardness\n,1\n", "no crystal with a number"),
    ],
)
def test_what_is_no_such_table_says_so(name, content, words):
    with pytest.raises(RequestError, match=words):
        read_own_table(name, content)


def test_tables_beyond_the_limits_are_refused(tmp_path, monkeypatch):
    content = parquet(tmp_path / "t.parquet", hardness=[1.0, 2.0, 3.0])
    lacking = pd.read_parquet(tmp_path / "t.parquet").drop(columns="lattice")
    lacking.to_parquet(tmp_path / "l.parquet")
    with pytest.raises(RequestError, match=r"lacks the column.*lattice"):
        read_own_table("l.parquet", (tmp_path / "l.parquet").read_bytes())
    monkeypatch.setattr(own_table, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(RequestError, match="unpacked"):
        read_own_table("t.parquet", content)
    monkeypatch.setattr(own_table, "MAX_ROWS", 2)
    with pytest.raises(RequestError, match="3 rows"):
        read_own_table("t.parquet", content)
    monkeypatch.setattr(own_table, "MAX_TABLE_BYTES", 10)
    with pytest.raises(RequestError, match="larger than"):
        read_own_table("t.parquet", content)
