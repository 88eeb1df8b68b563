"""``crystal-core predict-property``: the contract's keys and exit codes, the table, one bad
file loses no other.
"""

import csv
import json

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.cli.predict_property import lines_of
from crystal_core.files.writers import structure_to_text
from crystal_core.workflows import predict_properties as workflow
from tests.composition_predictor import NAMES


@pytest.fixture(autouse=True)
def predictor(composition_predictor):
    """The predictor of this folder's tests."""


@pytest.fixture
def folder(tmp_path):
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    salt.to(filename=str(tmp_path / "salt.cif"))
    Structure(Lattice.cubic(5.5), ["Cm"], [[0, 0, 0]]).to(filename=str(tmp_path / "curium.cif"))
    (tmp_path / "two.xyz").write_text(structure_to_text(salt, "extxyz") * 2)
    (tmp_path / "broken.cif").write_text("data_nothing")
    return tmp_path


def call(*words):
    return CliRunner().invoke(build_app(), ["predict-property", *map(str, words)])


def test_a_row_has_the_keys_of_the_contract(folder):
    result = call(folder / "salt.cif", "--json", "--threads", 1)
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    (row,) = data["rows"]
    assert set(row) == {"source", "formula", "n_atoms", "domain", "predictions", "nearest"}
    assert tuple(row["predictions"]) == NAMES and row["source"] == "salt.cif"
    energy = row["predictions"]["formation_energy_per_atom_ev"]
    assert set(energy) == {"value", "unit", "std", "low", "high", "domain"} and energy["unit"] == "eV/atom"
    assert set(row["nearest"][0]) == {"id", "formula", "distance", "values"}
    assert data["settings"]["model"] == "crysldnet" and data["seconds"] >= 0
    assert "predicting properties" in result.stderr


def test_bad_files_stay_rows_of_their_own_in_json_and_table(folder):
    names = ("broken.cif", "curium.cif", "nowhere.cif", "two.xyz", "salt.cif")
    table = folder / "out.csv"
    result = call(*(folder / name for name in names), "--csv", table, "--json", "--quiet")
    assert result.exit_code == 0 and result.stderr == ""
    rows = json.loads(result.stdout)["rows"]
    sources = ["broken.cif", "curium.cif", "nowhere.cif", "two.xyz #1", "two.xyz #2", "salt.cif"]
    assert [row["source"] for row in rows] == sources
    assert ["error" in row for row in rows] == [True, True, True, False, False, False]
    assert rows[3]["predictions"] == rows[5]["predictions"]
    with table.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["source"] for line in lines] == sources and "plutonium" in lines[1]["error"]
    assert float(lines[5]["band_gap_ev"]) == rows[5]["predictions"]["band_gap_ev"]["value"]


def test_people_read_values_with_units_and_what_is_known(folder):
    result = call(folder / "salt.cif", "--properties", "band_gap_ev, bulk_modulus_gpa")
    assert result.exit_code == 0
    first, gap, modulus = result.stdout.splitlines()
    assert first.startswith("salt.cif: NaCl, 8 atoms, inside the training range") and "mp-22862" in first
    assert gap.split()[:2] == ["Band", "gap"] and " eV " in gap and " to " in gap and "known:" in gap
    assert " GPa " in modulus and "ML estimates" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["broken.cif"], 2, "broken.cif"),
        (["curium.cif"], 2, "plutonium"),
        (["nowhere.cif"], 2, "no file"),
        (["salt.cif", "--properties", "hardness"], 2, "band_gap_ev"),
        (["salt.cif", "--properties", ","], 2, "names none"),
        (["salt.cif", "--csv", "."], 2, "--csv"),
        (["salt.cif", "--device", "abacus"], 2, "device"),
        (["salt.cif", "--model", "none-such"], 3, "none-such"),
    ],
)
def test_mistakes_are_one_sentence_with_the_code_of_the_contract(folder, words, code, part):
    result = call(folder / words[0], *words[1:])
    assert result.exit_code == code and part in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""


def test_what_was_finished_before_an_interruption_is_kept(folder, monkeypatch):
    true_rows, calls = workflow.property_rows, []

    def rows(*words):
        calls.append(len(words[0]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return true_rows(*words)

    monkeypatch.setattr(workflow, "CHUNK", 1)
    monkeypatch.setattr(workflow, "property_rows", rows)
    result = call(folder / "two.xyz", "--csv", folder / "out.csv", "--json")
    assert result.exit_code == 130 and calls == [1, 1]
    assert len(json.loads(result.stdout)["rows"]) == 1 and "two.xyz #1" in (folder / "out.csv").read_text()


@pytest.mark.parametrize(
    ("domain", "words"),
    [("inside", "inside the"), ("edge", "at the edge of the"), ("outside", "outside the")],
)
def test_the_place_in_the_training_range_is_a_phrase(domain, words):
    row = {
        "source": "a.cif",
        "formula": "KF",
        "n_atoms": 2,
        "domain": domain,
        "nearest": [],
        "predictions": {},
    }
    assert lines_of(row, []) == [f"a.cif: KF, 2 atoms, {words} training range"]
