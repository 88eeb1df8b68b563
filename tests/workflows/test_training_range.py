"""What lies beyond the training of a model is named: other numbers of atoms, elements it never saw."""

import json

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cards import read_card, write_card
from crystal_core.cli import build_app
from crystal_core.files.records import cell_json
from crystal_core.properties import PROPERTIES, CrystalPredictions, Prediction
from crystal_core.relax.energies import energies_of
from crystal_core.workflows.predict_properties import load_property_predictor, property_rows
from crystal_core.workflows.training_range import note_on_sizes

PEROVSKITE = Structure(
    Lattice.cubic(3.9),
    ["Sr", "Ti", "O", "O", "O"],
    [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]],
)
ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


def call(*words):
    return CliRunner().invoke(build_app(), [*map(str, words)])


def of_five_atoms(checkpoints):
    """The refiner was trained on cells of five atoms of some elements alone."""
    write_card(
        checkpoints / "tiny-refiner", {"sampling": {"atom_counts": [5], "elements": [8, 11, 17, 22, 38]}}
    )


@pytest.fixture
def pair(tiny_pair, tmp_path):
    name = tiny_pair()
    of_five_atoms(tmp_path / "checkpoints")
    return name


SAID = "tiny-refiner was trained on cells of 5 atoms; "


def generated(*words):
    begin = ["generate", "--n", 1, "--seed", 1, "--json", "--quiet"]
    result = call(*begin, *(() if "none" in words else ("--steps", 1, "--sampler", "em")), *words)
    assert result.exit_code == 0, result.stderr
    notes = json.loads(result.stdout)["notes"]
    assert all(note in result.stderr for note in notes)
    return notes


def test_a_refiner_of_other_cells_than_the_drafts_is_named(pair):
    assert generated("--model", pair) == [f"{SAID}cells of 1, 2 atoms are a guess."]
    assert generated("--model", pair, "--n-atoms", 5) == []
    assert generated("--model", pair, "--formula", "NaCl", "--n-atoms", 2) == [
        f"{SAID}cells of 2 atoms are a guess."
    ]
    (note,) = generated("--model", pair, "--n-atoms", "3-12")
    assert "tiny-pair was trained on cells of 1 to 5 atoms; other" in note
    assert f"{SAID}other numbers of atoms are a guess." in note
    assert generated("--model", pair, "--refiner", "none") == []


def test_a_crystal_to_refine_is_measured_by_the_refiner(pair, tmp_path):
    paths = {}
    for name, crystal in (("five", PEROVSKITE), ("eight", ROCK_SALT)):
        paths[name] = tmp_path / f"{name}.cif"
        crystal.to(filename=str(paths[name]))
    assert generated("--model", pair, "--start-from", paths["five"]) == []
    assert generated("--model", pair, "--start-from", paths["eight"]) == [
        f"{SAID}cells of 8 atoms are a guess."
    ]
    other = PEROVSKITE.copy()
    other.replace_species({"Sr": "Ba"})
    other.to(filename=str(paths["five"]))
    result = call("generate", "--model", pair, "--start-from", paths["five"], "--refiner", "tiny-refiner")
    assert result.exit_code == 2
    assert "tiny-pair with the refiner tiny-refiner was not trained on Ba" in result.stderr


def test_a_prediction_and_a_comparison_name_the_refiner(pair):
    words = [
        "predict-structure",
        "NaCl",
        "--z",
        1,
        "--model",
        pair,
        "--n",
        1,
        "--start",
        "noise",
        "--seed",
        1,
    ]
    words += ["--rank", "consensus", "--refiner", "kldm", "--steps", 1, "--sampler", "em"]
    result = call(*words, "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    note = f"{SAID}cells of 2 atoms are a guess."
    assert json.loads(result.stdout)["notes"] == [note] and result.stderr == f"{note}\n"
    column = f"model={pair},refiner=kldm,steps=1,sampler=em"
    words = ["compare", "--column", column, "--column", f"{column},name=b", "--formula", "NaCl", "--z", 1]
    result = call(*words, "--n", 1, "--seed", 1, "--properties", "none", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["notes"] == [f"{SAID}cells of 2 atoms are a guess."]
    assert SAID in result.stderr


def test_a_crystal_larger_than_the_texts_is_named_where_elements_are_filled_in(tiny_writer, tmp_path):
    path = tmp_path / "salt.cif"
    ROCK_SALT.to(filename=str(path))
    result = call("infill", path, "--site", 0, "--model", tiny_writer(), "--seed", 1, "--json")
    note = "tiny-writer was trained on cells of up to 5 atoms; cells of 8 atoms are a guess."
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["notes"] == [note] and note in result.stderr


def test_models_of_like_limits_share_a_sentence(pair, tmp_path):
    cards = [read_card(tmp_path / "checkpoints" / name) for name in ("tiny-refiner", "tiny-writer")]
    assert note_on_sizes(cards, [5]) is None
    assert note_on_sizes([cards[0], cards[0]], [2, 5, 9]) == f"{SAID}cells of 2, 9 atoms are a guess."
    assert note_on_sizes(cards, [9]) == (
        f"{SAID}cells of 9 atoms are a guess. "
        "tiny-writer was trained on cells of up to 5 atoms; cells of 9 atoms are a guess."
    )


class Predictor:
    """Knows no radium."""

    unseen_elements = frozenset({88})

    def __init__(self, card, properties):
        self.card, self.properties = card, properties

    def predict(self, crystals, properties=(), on_progress=None):
        return [
            CrystalPredictions(
                predictions={
                    name: Prediction(value=1.0, std=None, low=None, high=None) for name in properties
                },
                domain="inside",
                nearest=(),
                place=None,
            )
            for _ in range(len(crystals))
        ]


def test_an_element_that_a_predictor_never_saw_is_named(tiny_writer, tmp_path):
    tiny_writer()
    specs = (PROPERTIES["band_gap_ev"],)
    predictor = Predictor(read_card(tmp_path / "checkpoints" / "tiny-writer"), specs)
    heavy = PEROVSKITE.copy()
    heavy.replace_species({"Sr": "Ra"})
    items = [{"source": k, **cell_json(s)} for k, s in (("a", PEROVSKITE), ("b", heavy))]
    plain, guessed = property_rows(items, predictor, specs)
    assert "notes" not in plain
    assert guessed["notes"] == [
        "tiny-writer was trained on no crystal with Ra; its values for this crystal are a guess."
    ]


def test_the_shipped_predictor_has_seen_no_radium():
    predictor = load_property_predictor("crysldnet", "cpu")
    assert {18, 84, 88} <= predictor.unseen_elements and not {1, 8, 57, 92} & predictor.unseen_elements


def test_energies_of_elements_that_the_potential_never_saw_say_so():
    heavy = PEROVSKITE.copy()
    heavy.replace_species({"Sr": "Ra"})
    note = energies_of(heavy.composition, -7.0).note
    assert "was trained on no crystal with Ra" in note
    heavy.replace_species({"Ra": "Yb"})
    assert "trained" not in energies_of(heavy.composition, -7.0).note


def test_an_evaluation_counts_rows_beyond_the_training_and_loses_none(pair, tmp_path):
    other = PEROVSKITE.copy()
    other.replace_species({"Sr": "Ba"})
    for name, crystal in (("a", PEROVSKITE), ("b", other), ("c", ROCK_SALT)):
        (tmp_path / "cells").mkdir(exist_ok=True)
        crystal.to(filename=str(tmp_path / "cells" / f"{name}.cif"))
    words = ["evaluate", "csp", "--data", tmp_path / "cells", "--split", "all", "--samples", 1, "--seed", 1]
    words += ["--model", pair, "--refiner", "kldm", "--workers", 1, "--steps", 1, "--sampler", "em"]
    result = call(*words, "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["n"] == 3 and report["notes"] == [
        "tiny-pair was trained on cells of up to 5 atoms; 1 of 3 rows have other numbers of atoms.",
        "tiny-refiner was trained on cells of 5 atoms; 1 of 3 rows have other numbers of atoms.",
        "tiny-pair with the refiner tiny-refiner was not trained on Ba; 1 of 3 rows hold such an element.",
    ]
    assert all(note in result.stderr for note in report["notes"])


def test_a_drafter_without_its_usual_refiner_uses_all_its_elements(pair):
    words = ["--model", pair, "--elements", "Ba,O", "--require-all", "--n-atoms", 5]
    result = call("generate", *words, "--n", 1, "--seed", 1)
    assert result.exit_code == 2 and "was not trained on Ba" in result.stderr
    assert generated(*words, "--refiner", "none") == []
