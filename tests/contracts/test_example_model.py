"""The example of docs/add-a-model.md: a model in a package of its own is found by its entry point and used
like a shipped one.
"""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import CheckpointMissing
from crystal_core.registry.store import list_cards, load_generator
from crystal_core.testing import check_generator

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NAME = "soft-spheres"


@pytest.fixture
def card(tmp_path, monkeypatch):
    """The example's card in the user's folder; the package that loads it is not installed."""
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "checkpoints" / NAME
    folder.mkdir(parents=True)
    shutil.copy(EXAMPLES / "soft_spheres_card.toml", folder / "card.toml")
    return folder


@pytest.fixture
def installed(card, tmp_path, monkeypatch):
    """As pip leaves it behind: the module on the path, and the entry point in the metadata."""
    metadata = tmp_path / "site" / "soft_spheres-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: soft-spheres\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[crystal_core.loaders]\n{NAME} = soft_spheres:load_soft_spheres\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_the_example_keeps_the_contract(installed):
    check_generator(lambda: load_generator(NAME, "cpu"))


def test_the_example_pushes_atoms_apart(installed):
    from crystal_core.evaluation.validity import check_structure
    from crystal_core.requests import GenerationRequest
    from crystal_core.structures import to_structures

    request = GenerationRequest(compositions=((11, 17) * 4,) * 6, steps=80, seed=2, frame_every=1)
    frames = list(load_generator(NAME, "cpu").sample(request))
    nearest = [
        min(
            structure.distance_matrix[i][j]
            for structure in to_structures(frame.crystals)
            for i in range(8)
            for j in range(i)
        )
        for frame in (frames[0], frames[-1])
    ]
    assert nearest[1] > nearest[0] and nearest[1] > 1.5  # Å; the reach is 2
    assert all(check_structure(structure).structure for structure in to_structures(frames[-1].crystals))


def test_the_command_line_predicts_with_the_example(installed):
    words = (
        f"predict-structure NaCl --model {NAME} --n 2 --z 4 --start noise --steps 20 --seed 1 --json --quiet"
    )
    result = CliRunner().invoke(build_app(), words.split())
    assert result.exit_code == 0, result.stderr
    (item,) = json.loads(result.stdout)["results"]
    assert len(item["candidates"]) == 2 and item["candidates"][0]["provenance"]["model"] == NAME


def test_a_card_whose_package_is_not_installed_is_listed_and_refused_in_one_sentence(card):
    assert NAME in {listed.name for listed in list_cards("generator")}
    with pytest.raises(CheckpointMissing, match="its loader is 'soft-spheres'"):
        load_generator(NAME)
