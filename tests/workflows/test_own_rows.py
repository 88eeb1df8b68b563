"""Tables as people write them, on the way of ``crystal-core train adapter --data``."""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystal_core.errors import RequestError
from crystal_core.workflows import adapter_rows
from crystal_core.workflows.adapter_rows import OwnProperty, labelled_rows

HARDNESS = OwnProperty(column="hardness")


def salt(metal, halogen="Cl"):
    return str(CifWriter(Structure(Lattice.cubic(3.9), [metal, halogen], [[0] * 3, [0.5] * 3])))


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch):
    monkeypatch.setattr(adapter_rows, "MIN_LEARNED", 2)


def csv(path, *, separator=",", encoding="utf-8", **columns):
    table = pd.DataFrame({"cif": [salt("Na"), salt("K"), salt("Rb")], **columns})
    path.write_bytes(table.to_csv(index=False, sep=separator).encode(encoding))
    return path


def values(path, target=HARDNESS):
    rows, skipped = labelled_rows(path, target)
    return [row.labels[target.column] for row in rows], skipped


def test_whole_numbers_and_numbers_beside_words_are_a_property(tmp_path):
    assert values(csv(tmp_path / "t.csv", hardness=[1, 2, 3])) == ([1.0, 2.0, 3.0], [])
    known, skipped = values(csv(tmp_path / "t.csv", hardness=["1.5", "n/a", "3"]))
    assert known == [1.5, 3.0]
    assert skipped == [{"id": "row 2", "reason": "no value of hardness"}]


@pytest.mark.parametrize(
    ("name", "column", "settings"),
    [
        ("t.CSV", "hardness", {"separator": ";"}),
        ("t.tsv", "hardness", {"separator": "\t"}),
        ("t.csv", "Härte", {"encoding": "latin-1"}),
        ("t.csv", "hardness", {"encoding": "utf-16"}),
    ],
)
def test_separators_encodings_and_names_of_spreadsheets_are_read(tmp_path, name, column, settings):
    table = csv(tmp_path / name, **{column: [1, 2, 3]}, **settings)
    assert values(table, OwnProperty(column=column))[0] == [1.0, 2.0, 3.0]


def test_the_column_of_cifs_is_found_in_any_case_and_long_ones_are_read(tmp_path):
    table = csv(tmp_path / "t.csv", hardness=[1, 2, 3])
    data = pd.read_csv(table).rename(columns={"cif": " CIF"})
    data.loc[1, " CIF"] += "# " + "x" * 200_000 + "\n"  # longer than Python's csv module takes
    data.to_csv(table, index=False)
    assert values(table) == ([1.0, 2.0, 3.0], [])


def test_a_row_that_no_crystal_fills_loses_no_other(tmp_path):
    lattice = np.array([(np.eye(3) * 3.9).ravel()] * 5)
    lattice[1], lattice[2], lattice[3, 0] = 0.0, 50 * np.eye(3).ravel(), np.nan
    table = pd.DataFrame(
        {
            "material_id": list("abcde"),
            "formula": "NaCl",
            "n_atoms": 2,
            "lattice": list(lattice),
            "species": [[11, 17]] * 5,
            "frac_coords": [[0.0] * 3 + [0.5] * 3] * 5,
            "hardness": [1, 2, 3, 4, 5],
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    known, skipped = values(tmp_path / "t.parquet")
    assert known == [1.0, 5.0]
    reasons = {row["id"]: row["reason"] for row in skipped}
    assert "sliver" in reasons["b"] and "per atom" in reasons["c"] and "not finite" in reasons["d"]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("hardnes", r"no column 'hardnes'. Its columns of numbers are: hardness\.$"),
        ("n_atoms", "tells about the rows and is no property"),
        ("remark", "has 0 crystals with a value of 'remark'.*row 1: no value of remark"),
    ],
)
def test_a_column_that_is_no_property_is_refused_in_one_sentence(tmp_path, column, words):
    table = csv(tmp_path / "t.csv", hardness=[1, 2, 3], n_atoms=2, remark="soft")
    with pytest.raises(RequestError, match=words):
        labelled_rows(table, OwnProperty(column=column))
    with pytest.raises(RequestError, match="There is no file none"):
        labelled_rows(tmp_path / "none.csv", HARDNESS)
