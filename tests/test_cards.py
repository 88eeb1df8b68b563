"""Cards of every format ever written open and read alike; tests/data/cards holds one short copy of
each kind and format.
"""

import copy
import json
import pickle
import shutil
import tomllib
from pathlib import Path

import pytest

from crystal_core.cards import FORMAT, forget_measurements, read_card, to_toml, upgrade, write_card
from crystal_core.errors import CheckpointMismatch
from crystal_core.registry.store import find_card, list_cards, runnable_cards

CARDS = Path(__file__).parent / "data" / "cards"
MOST_ATOMS = {"kldm-csp": 20, "kldm-dng": 20, "kldm-imported": 10, "prototype": None}


@pytest.fixture(params=sorted(MOST_ATOMS))
def folder(request, tmp_path):
    """A copy of a checkpoint folder of format 1, without its weights."""
    return Path(shutil.copytree(CARDS / request.param, tmp_path / request.param))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_cards_of_format_1_open_with_all_their_fields_and_stay_as_they_are(folder):
    before, written = contents(folder), tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
    card = read_card(folder)
    assert "format" not in written and card.format == FORMAT
    assert card.most_atoms == MOST_ATOMS[folder.name]
    added = {"most_atoms": card.most_atoms} if card.most_atoms else {}
    assert dict(card.sampling) == written.pop("sampling", {}) | added
    assert {name: getattr(card, name) for name in written} == written
    assert contents(folder) == before


def test_a_card_that_is_written_again_has_todays_format_and_loses_nothing(folder):
    before = read_card(folder)
    write_card(folder, {"sampling": {"tau": 0.4}})
    written = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
    assert written["format"] == FORMAT
    after = read_card(folder)
    assert after.sampling == {**before.sampling, "tau": 0.4} and after.metrics == before.metrics
    forget_measurements(folder)
    assert read_card(folder).most_atoms == before.most_atoms and not read_card(folder).metrics


def test_todays_card_is_not_upgraded_again(folder):
    today = upgrade(tomllib.loads((folder / "card.toml").read_text(encoding="utf-8")), folder)
    today["sampling"] = {"most_atoms": 3}
    assert upgrade(today, folder) == today


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            {"format": FORMAT + 1, "colour": "red"},
            rf"has format {FORMAT + 1}, but .* reads formats up to {FORMAT}",
        ),
        ({"format": 0}, "a format is a whole number from 1"),
        ({"format": "2"}, "a format is a whole number from 1"),
        ({"format": True}, "a format is a whole number from 1"),
        ({"sampling": 3}, "a single value where a table belongs: sampling"),
        ({"files": "weights"}, "a single value where a table belongs: files"),
    ],
)
def test_a_card_of_a_newer_or_wrong_format_is_refused_in_one_sentence(tmp_path, damage, message):
    folder = Path(shutil.copytree(CARDS / "kldm-csp", tmp_path / "kldm-csp"))
    data = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8")) | damage
    (folder / "card.toml").write_text(to_toml(data), encoding="utf-8")
    before = contents(folder)
    for action in (read_card, forget_measurements, lambda card: write_card(card, {"limits": "none"})):
        with pytest.raises(CheckpointMismatch, match=message) as caught:
            action(folder)
        assert "\n" not in str(caught.value)
    assert contents(folder) == before


@pytest.mark.parametrize("text", [None, "", "[]", '{"loc": 3}', '{"loc": {"many": []}}'])
def test_damaged_statistics_leave_a_card_readable_that_names_them(tmp_path, text):
    folder = Path(shutil.copytree(CARDS / "kldm-csp", tmp_path / "kldm-csp"))
    (folder / "weights-1-of-1.safetensors").touch()
    if text is None:
        (folder / "lattice.json").unlink()
    else:
        (folder / "lattice.json").write_text(text, encoding="utf-8")
    card = read_card(folder)
    assert card.most_atoms is None
    files = {name: digest for name, digest in card.files.items() if name == "lattice.json"}
    assert "lattice.json" in read_card(write_card(folder, {"files": files})).problem()


def test_every_shipped_card_opens():
    from crystal_core.paths import REPOSITORY

    shipped = sorted((REPOSITORY / "checkpoints").glob("*/card.toml"))
    for path in shipped:
        card = read_card(path.parent)
        assert (card.most_atoms is None) == (card.loader == "prototype" or card.kind == "predictor")
    assert shipped


def test_nobody_can_change_a_card_for_its_other_readers(tmp_path):
    fields = dict.fromkeys(
        ["kind", "task", "method", "loader", "trained_on", "source", "licence", "limits"], ""
    )
    table = {"z": [4, 2], "table": {"n": 1}}
    text = to_toml({"name": "x", **fields, "parameters": 0, "sampling": table})
    (tmp_path / "card.toml").write_text(text, encoding="utf-8")
    card = read_card(tmp_path)
    for change in (
        lambda: card.sampling.update(z=1),
        lambda: card.sampling["z"].sort(),
        lambda: card.sampling["table"].pop("n"),
        lambda: card.sampling.__setitem__("z", []),
    ):
        with pytest.raises(TypeError, match="Change a copy"):
            change()
    for copied in (copy.deepcopy(card.sampling), pickle.loads(pickle.dumps(card.sampling))):
        copied["z"].append(1)
        copied["table"]["n"] = 2
    assert json.loads(json.dumps(card.sampling)) == table
    assert read_card(tmp_path).sampling == card.sampling


def test_a_model_of_which_a_package_is_missing_is_listed_and_not_offered(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path))
    for name, needs in (("bare", []), ("adapter", ["torch", "no_such_package"])):
        (tmp_path / name).mkdir()
        fields = {"name": name, "kind": "generator", "task": "", "method": "", "loader": "", "parameters": 0}
        write_card(tmp_path / name, fields | {"extra": {"requires": needs}})
    assert {card.name for card in list_cards("generator")} == {"bare", "adapter"}
    assert [card.name for card in runnable_cards("generator")] == ["bare"]
    assert find_card("adapter").missing_packages == ("no_such_package",)
