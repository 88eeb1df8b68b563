"""The CIFs of a table are read as any other structure file, and rows that do not fit are named."""

import json

import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.datasets.own_table import own_table_of
from crystal_core.datasets.rows import notes_of, read_rows

SALT = """data_salt
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt '{group}'
{more}loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0 0 0 {occupancy}
Cl1 Cl 0.5 0.5 0.5 1
"""


def salt(group="F m -3 m", occupancy="1", more=""):
    return SALT.format(group=group, occupancy=occupancy, more=more)


CUBE = Structure(Lattice.cubic(3.0), ["Fe"], [[0, 0, 0]]).to(fmt="cif")
ROWS = {
    "whole": salt(),
    "no-operations": salt("F m 3 m"),  # an old symbol that pymatgen reads as P1
    "shared": salt(occupancy="0.5"),
    "unknown-occupancy": salt(occupancy="."),
    "contradicts": salt(more="_chemical_formula_sum 'Na4 Cl4 O2'\n"),
    "two": salt() + salt().replace("data_salt", "data_other"),
    "none": "no crystal",
    "empty": "",
    "cube": CUBE,
}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "rows.csv"
    values = {"material_id": list(ROWS), "cif": list(ROWS.values()), "band_gap_ev": [5.0] * len(ROWS)}
    pd.DataFrame(values).to_csv(path, index=False)
    return path


def answer(*words):
    result = CliRunner().invoke(build_app(), [*map(str, words), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def test_rows_are_read_as_every_other_file(table):
    unreadable = []
    rows = {row.id: row for row in read_rows(table, unreadable=unreadable)}
    sizes = {name: len(row.atomic_numbers) for name, row in rows.items()}
    assert sizes == {"whole": 8, "no-operations": 8, "unknown-occupancy": 8, "contradicts": 8, "cube": 1}
    reasons = dict(unreadable)
    assert set(reasons) == {"shared", "two", "none", "empty"}
    assert "occup" in reasons["shared"] and "holds 2 crystals" in reasons["two"]
    assert reasons["empty"] == "its CIF is empty"
    noted = dict(notes_of(rows.values()))
    assert "O2" in noted["contradicts"] and "whole" not in noted and "cube" not in noted
    own = own_table_of(table.name, table.read_bytes())
    assert {row.id: len(row.atomic_numbers) for row in own.rows} == sizes
    assert notes_of(own.rows) == notes_of(rows.values())
    assert {name for name, _ in own.skipped} == set(reasons)


def test_a_folder_of_cifs_is_read_alike_in_any_encoding(tmp_path):
    (tmp_path / "a.cif").write_bytes(salt().encode("utf-16"))
    (tmp_path / "b.cif").write_bytes(b"\xef\xbb\xbf" + salt("F m 3 m").encode())
    (tmp_path / "c.cif").write_text(salt(occupancy="0.5"))
    unreadable = []
    assert [len(row.atomic_numbers) for row in read_rows(tmp_path, unreadable=unreadable)] == [8, 8]
    assert [name for name, _ in unreadable] == ["c"]


def test_prepare_and_describe_count_rows_that_do_not_fit(table, tmp_path):
    report, error = answer(
        "data", "prepare", "--input", table, "--output", tmp_path / "a.safetensors", "--quiet"
    )
    assert report["rows"] == 5 and {row["id"] for row in report["skipped"]} >= {"shared", "two", "none"}
    named = [row["id"] for row in report["remarks"]]
    assert named == ["contradicts"]
    assert "rows.csv: 1 row is used with a remark; contradicts: The formula of the file" in error
    report, error = answer("data", "describe", table)
    assert report["rows"] == 5 and [row["id"] for row in report["remarks"]] == named
    assert "rows.csv: 4 rows are left out; the first, shared: " in error


def test_an_evaluation_of_properties_counts_rows_that_do_not_fit(table):
    train = table.with_name("train.safetensors")
    answer("data", "prepare", "--input", table, "--output", train, "--quiet")
    words = ["evaluate", "property", "--model", "mean", "--data", table, "--train", train, "--split", "all"]
    report, error = answer(*words, "--properties", "band_gap_ev", "--quiet")
    assert report["n"] == 5 and {row["id"] for row in report["failed"]} == {"shared", "two", "none", "empty"}
    assert [row["id"] for row in report["remarks"]] == ["contradicts"]
    assert "rows.csv: 4 rows are left out" in error and "1 row is used with a remark" in error


@pytest.mark.parametrize("separator", [";", "\t"])
def test_numbers_with_a_decimal_comma_are_numbers(separator, tmp_path):
    frame = pd.DataFrame(
        {
            "material_id": ["a", "b", "c"],
            "cif": [CUBE, salt(), CUBE],
            "band_gap_ev": ["5,25", "1e0", "n/a"],
            "hardness": ["1,5", "-2,25", "3"],
            "version": ["1,2", "1.2", "3"],
        }
    )
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False, sep=separator)
    labels = {row.id: row.labels for row in read_rows(path)}
    assert labels["a"] == {"band_gap_ev": 5.25, "hardness": 1.5}
    assert labels["b"] == {"band_gap_ev": 1.0, "hardness": -2.25} and labels["c"] == {"hardness": 3.0}
    own = own_table_of(path.name, path.read_bytes())
    assert own.columns["hardness"] == 3 and own.columns["band_gap_ev"] == 2
