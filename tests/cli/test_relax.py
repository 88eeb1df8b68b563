"""``crystal-core relax``: JSON keys, exit codes, one bad file loses no other. Cells of two atoms."""

import json

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.files.writers import structure_to_text
from crystal_core.relax.potential import is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
KEYS = {
    "source",
    "energy_per_atom_ev",
    "formation_energy_per_atom_ev",
    "e_above_hull_ev",
    "e_above_hull_error_ev",
    "decomposition",
    "converged",
    "displacement_angstrom",
    "crystal",
    "status",
    "n_steps",
}


@pytest.fixture
def folder(tmp_path):
    Structure(
        Lattice.from_parameters(4.1, 4.1, 4.1, 60, 60, 60), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).to(filename=str(tmp_path / "salt.cif"))
    Structure(Lattice.cubic(7.5), ["Na"], [[0, 0, 0]]).to(filename=str(tmp_path / "lonely.cif"))
    Structure(Lattice.cubic(5.3), ["Yb"], [[0, 0, 0]]).to(filename=str(tmp_path / "unreferenced.cif"))
    (tmp_path / "broken.cif").write_text("data_nothing")
    return tmp_path


def call(*words):
    return CliRunner().invoke(build_app(), ["relax", *map(str, words)])


def test_a_row_tells_energy_hull_and_products(folder):
    result = call(folder / "salt.cif", "--json", "--out", folder / "out", "--trajectory", "--threads", 1)
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)["rows"]
    assert (
        set(row) >= KEYS
        and row["source"] == "salt.cif"
        and row["converged"]
        and row["decomposition"] == {"NaCl": 1.0}
    )
    assert row["energy_per_atom_ev"] == pytest.approx(-3.667, abs=0.003)
    assert abs(row["e_above_hull_ev"]) < 0.1 and row["formation_energy_per_atom_ev"] == pytest.approx(
        -2.1, abs=0.15
    )
    assert row["crystal"]["space_group"]["symbol"] == "Fm-3m" and row["crystal"]["id"] == "salt-relaxed"
    assert (folder / "out" / "salt-relaxed.cif").is_file() and (
        folder / "out" / "trajectory-1.extxyz"
    ).read_text().count("Lattice=") > 1
    # not "auto", which was asked for
    assert "relaxing" in result.stderr and row["crystal"]["provenance"]["device"] in (
        "cpu",
        "cuda",
    )


def test_bad_files_stay_rows_of_their_own(folder):
    result = call(
        *(folder / name for name in ("broken.cif", "lonely.cif", "nowhere.cif", "salt.cif")),
        "--steps",
        0,
        "--json",
        "--quiet",
    )
    assert result.exit_code == 0 and result.stderr == ""
    broken, lonely, nowhere, salt = json.loads(result.stdout)["rows"]
    assert (
        "broken.cif" in broken["error"]
        and "no neighbour" in lonely["error"]
        and "no file" in nowhere["error"]
    )
    assert (
        not salt["converged"]
        and salt["status"].startswith("Energy of the cell as given")
        and salt["displacement_angstrom"] == 0
    )


def test_a_bad_crystal_of_a_file_stays_a_row_of_its_own(folder):
    salt = structure_to_text(Structure.from_file(folder / "salt.cif"), "extxyz")
    (folder / "two.xyz").write_text(salt.replace("Lattice", "Lost") + salt)
    first, second = json.loads(call(folder / "two.xyz", "--steps", 0, "--json", "--quiet").stdout)["rows"]
    assert first["source"] == "two.xyz #1" and "no lattice" in first["error"]
    assert second["source"] == "two.xyz #2" and second["crystal"]["formula"] == "NaCl"


def test_an_element_without_a_reference_has_an_energy_and_says_why_not_more(folder):
    (row,) = json.loads(call(folder / "unreferenced.cif", "--steps", 0, "--json", "--quiet").stdout)["rows"]
    assert row["energy_per_atom_ev"] < 0 and row["e_above_hull_ev"] is None and "Yb" in row["note"]


def test_people_read_a_sentence(folder):
    result = call(folder / "salt.cif", "--quiet")
    assert "ML estimate" in result.stdout and "above the hull" in result.stdout and "Å" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["lonely.cif"], 2, "no neighbour"),
        (["broken.cif"], 2, "broken.cif"),
        (["nowhere.cif"], 2, "no file"),
        (["salt.cif", "--fmax", "0"], 2, "fmax"),
        (["salt.cif", "--steps", "-1"], 2, "steps"),
        (["salt.cif", "--seconds", "0"], 2, "time limit"),
        (["salt.cif", "--potential", "alchemy"], 2, "choose one of"),
        (["salt.cif", "--trajectory"], 2, "--out"),
    ],
)
def test_mistakes_are_one_sentence_with_code_two(folder, words, code, part):
    result = call(folder / words[0], *words[1:])
    assert result.exit_code == code and part in result.stderr and "Traceback" not in result.stderr


def test_a_missing_potential_is_code_three(folder, monkeypatch):
    from crystal_core.relax import potential

    potential.load_potential.cache_clear()
    monkeypatch.setattr(potential, "find_spec", lambda _: None)
    result = call(folder / "salt.cif")
    assert result.exit_code == 3 and "pip install" in result.stderr


def test_what_was_finished_before_an_interruption_is_kept(folder, monkeypatch):
    from crystal_core.workflows import relax as workflow

    true_row, calls = workflow.relaxed_row, []

    def row(*words, **options):
        calls.append(options["id"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return true_row(*words, **options)

    monkeypatch.setattr(workflow, "relaxed_row", row)
    result = call(folder / "salt.cif", folder / "salt.cif", "--steps", 0, "--json", "--out", folder / "out")
    assert result.exit_code == 130 and calls == ["salt-relaxed", "salt-relaxed-2"]
    assert len(json.loads((folder / "out" / "run.json").read_text())["rows"]) == 1


def test_notes_on_a_file_are_told_with_and_without_json(tmp_path):
    """A salt whose formula says another one."""
    salt = Structure(
        Lattice.from_parameters(4.1, 4.1, 4.1, 60, 60, 60), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    text = structure_to_text(salt, "cif").replace(
        "_chemical_formula_sum   'Cl1 Na1'", "_chemical_formula_sum 'Na2 Cl'"
    )
    (tmp_path / "salt.cif").write_text(text)
    words, data = (call(tmp_path / "salt.cif", "--steps", 0, *more).stdout for more in ((), ("--json",)))
    (note,) = json.loads(data)["rows"][0]["notes"]
    assert "Na2 Cl" in note and words.splitlines()[1:] == [f"  Note: {note}"]
