"""``crystal-core generate``: parts of a structure and space groups that are kept."""

import json

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.paths import REPOSITORY


def call(*words):
    return CliRunner().invoke(build_app(), ["generate", *map(str, words)])


def small(name):
    return ["--model", name, "--n", 3, "--sampler", "em", "--steps", 4, "--seed", 5]


@pytest.fixture
def perovskite(tmp_path):
    sites = [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    Structure(Lattice.cubic(3.9), ["Fe", "Ti", "O", "O", "O"], sites).to(
        filename=str(tmp_path / "known.vasp"), fmt="poscar"
    )
    return tmp_path / "known.vasp"


def test_sites_elements_and_cell_of_a_structure_can_stay(tiny_de_novo, perovskite):
    options = [*small(tiny_de_novo()), "--fix", perovskite, "--json"]
    for crystal in json.loads(call(*options, "--fix-sites", "1,0", "--atoms", "3-6").stdout)["crystals"]:
        assert crystal["atomic_numbers"][:2] == [22, 26] and 3 <= crystal["n_atoms"] <= 6
        assert all(
            abs(a - b) < 1e-5
            for row, known in zip(crystal["frac_coords"], [[0.5] * 3, [0.0] * 3])
            for a, b in zip(row, known)
        )
    for crystal in json.loads(call(*options, "--fix-elements", "--fix-lattice").stdout)["crystals"]:
        assert crystal["atomic_numbers"] == [26, 22, 8, 8, 8]
        assert all(abs(sum(x * x for x in row) ** 0.5 - 3.9) < 1e-3 for row in crystal["lattice"])


@pytest.mark.parametrize(
    "words", [["--fix-sites", "0"], ["--fix-lattice"], ["--fix-lattice", "--fix-sites", "1"]]
)
def test_what_stays_is_not_symmetrised(tiny_de_novo, perovskite, words):
    result = call(*small(tiny_de_novo()), "--fix", perovskite, *words, "--symmetrise", 0.3)
    assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1
    assert "sites or a cell cannot be kept beside it; leave one of the two out." in result.stderr


def test_elements_that_may_not_appear_cannot_stay(tiny_de_novo, perovskite):
    options = [*small(tiny_de_novo()), "--fix", perovskite]
    for words, part in (
        (["--fix-sites", "0", "--exclude", "Fe"], "Fe must not appear"),
        (["--fix-elements", "--elements", "Li,O"], "Ti, Fe must not appear"),
    ):
        result = call(*options, *words)
        assert (
            result.exit_code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1
        )
    assert call(*options, "--fix-sites", "1", "--exclude", "Fe", "--elements", "Ti,O").exit_code == 0
    assert call(*options, "--fix-lattice", "--elements", "Li,O").exit_code == 0


def test_elements_that_the_model_does_not_know_cannot_stay(tiny_de_novo, perovskite):
    name = tiny_de_novo(elements=(8, 22, 38))
    for words in (["--fix-sites", "0"], ["--fix-elements"]):
        result = call(*small(name), "--fix", perovskite, *words)
        assert result.exit_code == 2 and "was not trained on Fe, so" in result.stderr
    assert call(*small(name), "--fix", perovskite, "--fix-sites", "1", "--json").exit_code == 0


def test_atom_counts_beyond_the_training_are_told(tiny_de_novo, perovskite):
    options = small(tiny_de_novo())
    for words, beyond in (
        (["--atoms", "4-7"], True),
        (["--atoms", "1-2"], True),
        (["--atoms", "6-7"], True),
        (["--atoms", "3-4"], False),
    ):
        result = call(*options, *words, "--json", "--quiet")
        assert result.exit_code == 0 and ("note" in json.loads(result.stdout)["summary"]) == beyond
        assert result.stderr == (
            "tiny-masking was trained on cells of 2 to 5 atoms; other numbers of atoms are a guess.\n"
            if beyond
            else ""
        )
    doubled = Structure.from_file(perovskite).make_supercell((2, 1, 1))
    doubled.to(filename=str(perovskite), fmt="poscar")
    result = call(*options, "--fix", perovskite, "--fix-lattice")
    assert result.exit_code == 0 and "other numbers of atoms are a guess" in result.stderr
    assert call(*options, "--fix", perovskite, "--fix-lattice", "--atoms", "5").exit_code == 0


def test_what_does_not_fit_the_file_is_part_of_the_result(tiny_de_novo, perovskite, tmp_path):
    known = Structure.from_file(perovskite)
    known.to(filename=str(tmp_path / "known.cif"))
    text = (tmp_path / "known.cif").read_text()
    assert "_chemical_formula_sum   'Ti1 Fe1 O3'" in text
    (tmp_path / "known.cif").write_text(text.replace("'Ti1 Fe1 O3'", "'Ti1 Fe1 O4'"))
    options = [*small(tiny_de_novo()), "--fix", tmp_path / "known.cif", "--fix-lattice"]
    result = call(*options, "--json", "--quiet")
    data = json.loads(result.stdout)
    (note,) = data["notes"]
    assert note.startswith("known.cif: ") and "O4" in note and note == data["summary"]["note"]
    assert result.stderr == f"{note}\n"
    plain = call(*options, "--out", tmp_path / "results")
    assert plain.stderr.count(note) == 1
    assert json.loads((tmp_path / "results" / "run.json").read_text())["notes"] == [note]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "Say what"),
        (["--fix-sites", "7"], "between 0 and 4"),
        (["--fix-sites", "a"], "whole numbers"),
        (["--fix-sites", "0,1", "--atoms", "1"], "below that of the fixed sites"),
    ],
)
def test_completions_that_make_no_sense_are_refused(tiny_de_novo, perovskite, words, part):
    options = small(tiny_de_novo())
    result = call(*options, "--fix", perovskite, *words)
    assert result.exit_code == 2 and part in result.stderr
    alone = call(*options, "--fix-lattice")
    assert alone.exit_code == 2 and "no structure to complete" in alone.stderr


@pytest.fixture
def with_prototypes(tiny_de_novo, tmp_path):
    """The toy's name, the shipped table of prototypes beside it."""
    name = tiny_de_novo()
    (tmp_path / "checkpoints" / "prototype").symlink_to(REPOSITORY / "checkpoints" / "prototype")
    return name


@pytest.mark.weights
def test_a_space_group_is_kept_with_the_elements_asked_for(with_prototypes):
    data = json.loads(
        call(*small(with_prototypes), "--space-group", "Pm-3m", "--elements", "Sr,Ti,O", "--json").stdout
    )
    summary = data["summary"]["space_group"]
    assert (summary["number"], summary["symbol"], summary["experimental"]) == (221, "Pm-3m", True)
    assert summary["kept_within_0.01"] == len(data["crystals"])
    assert all(c["n_atoms"] in (2, 5) and set(c["atomic_numbers"]) <= {8, 22, 38} for c in data["crystals"])


@pytest.mark.weights
@pytest.mark.parametrize("group", ["221", "99"])
def test_crystals_that_keep_a_space_group_gain_nothing_by_symmetrising(with_prototypes, group):
    options = [*small(with_prototypes), "--space-group", group, "--n-atoms", "5", "--json"]
    plain, data = (json.loads(call(*options, *words).stdout) for words in ([], ["--symmetrise", "0.3"]))
    assert data["summary"]["symmetrised"]["n"] == 0 < len(data["crystals"])
    for name in ("lattice", "frac_coords"):
        assert [c[name] for c in data["crystals"]] == [c[name] for c in plain["crystals"]]


@pytest.mark.weights
@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--space-group", "Fm9m"], "no space group"),
        (["--space-group", "231"], "no space group"),
        (
            ["--space-group", "227", "--atoms", "5"],
            "no Wyckoff assignment of 5 atoms per primitive cell in Fd-3m (227)",
        ),
        (["--space-group", "221", "--fix", "{file}", "--fix-lattice"], "not both"),
    ],
)
def test_space_groups_that_cannot_be_kept_are_refused_in_a_sentence(with_prototypes, perovskite, words, part):
    result = call(*small(with_prototypes), *[word.format(file=perovskite) for word in words])
    assert result.exit_code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1
