"""No number of README.md and docs/ differs from the card or result it comes from, and no
card from its weights.
"""

import re
import shutil
from pathlib import Path

import pytest

from crystal_core.cards import read_card, write_card
from crystal_core.errors import RequestError
from crystal_core.paths import checkpoints_dir
from crystal_core.registry.store import list_cards
from crystal_core.workflows.documents.figures import figure
from crystal_core.workflows.documents.markers import BLOCK, FIGURE, documents, filled
from crystal_core.workflows.documents.tables import TABLES, fill_documents

ROOT = Path(__file__).parents[2]
# what was measured: shares, errors, speed; a definition ("at most 0.1 eV/atom") is none
MEASURED = re.compile(r"\d\s?%|RMSE \d|R² \d|\d(?:\.\d+)? times (?:as|faster|fewer)|\d ms\b|\d s a\b")
COMMAND = re.compile(r"`(?:crystal-core|python -m|pytest) [^`]+`")
CARD = "kldm-csp-mp"


def test_every_table_and_figure_is_that_of_the_cards():
    stale = [name for name, old in fill_documents(write=False).items() if old]
    assert not stale, f"{', '.join(stale)}: run `crystal-core docs tables`"


def test_every_table_stands_in_a_document():
    text = "".join(path.read_text(encoding="utf-8") for path in documents())
    assert not [name for name in TABLES if f"<!-- table:{name} -->" not in text]


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"models", "speed", "prediction-speed"}))
def test_a_table_says_how_many_seeds_and_samples_and_which_interval(name):
    text = TABLES[name]()
    caption = text.partition("\n")[0]
    assert re.search(r"\bseeds?\b", caption) and re.search(r"interval|standard deviation", caption)
    assert re.search(r"\d (?:\S+ ){0,2}(?:rows|crystals)\b", caption) or re.search(
        r"\| (?:n|test rows) \|", text
    )


@pytest.mark.weights
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) == 1 and len([line for line in code[0].splitlines() if line]) == 6
    names = {}
    exec(compile(code[0], "README.md", "exec"), names)
    assert names["frame"].finished and names["frame"].crystals.n_atoms.tolist() == [5] * 4


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_a_figure_in_running_prose_names_its_command(path):
    text = FIGURE.sub("", BLOCK.sub("", path.read_text(encoding="utf-8")))
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    paragraphs = [part for part in re.split(r"\n\s*\n|\n(?=- )", prose) if MEASURED.search(part)]
    assert not [part for part in paragraphs if not COMMAND.search(" ".join(part.split()))]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_no_line_of_prose_begins_with_a_mark(path):
    """Markdown would end the paragraph there."""
    assert not re.search(r"^\s*<!-- (?:figure:|/ )", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.weights
@pytest.mark.parametrize("folder", sorted(p.parent.name for p in checkpoints_dir().glob("*/card.toml")))
def test_every_card_has_the_hashes_of_its_files(folder):
    assert read_card(checkpoints_dir() / folder).problem() is None


def test_every_measured_number_of_a_shipped_card_has_a_command():
    """Beside it, or beside the number of the same run: one report writes several, and
    names its command once.
    """
    for card in list_cards():
        metrics = [m for m in card.metrics.values() if isinstance(m, dict) and "value" in m]
        commanded = {(m["data"], m["protocol"]) for m in metrics if "command" in m}
        assert {(m["data"], m["protocol"]) for m in metrics} <= commanded, card.name


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Cards and documents of our own: two cards, a README with a table, a figure and a file."""
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(
        checkpoints_dir(), checkpoints, ignore=shutil.ignore_patterns("*.safetensors", "*.npz", "*.xz")
    )
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(checkpoints))
    (tmp_path / "docs").mkdir()
    (tmp_path / "one.py").write_text("x = 1\n")
    text = (
        "# A\n<!-- table:structure-prediction -->\nold\n<!-- /table -->\n"
        f"It matches <!-- figure:{CARD}/match_rate_test -->9 %<!-- / --> of the rows.\n"
        "<!-- file:one.py -->\n<!-- /file -->\n"
    )
    (tmp_path / "README.md").write_text(text)
    return tmp_path


def test_a_new_measurement_reaches_every_place_by_one_command(copied):
    assert fill_documents(copied, write=False) == {"README.md": True}
    assert "old" in (copied / "README.md").read_text()
    fill_documents(copied)
    assert fill_documents(copied) == {"README.md": False}
    entry = {
        **read_card(copied / "checkpoints" / CARD).metrics["match_rate_test"],
        "value": 0.512,
        "ci95": [0.48, 0.54],
    }
    write_card(copied / "checkpoints" / CARD, {"metrics": {"match_rate_test": entry}})
    assert fill_documents(copied) == {"README.md": True}
    text = (copied / "README.md").read_text()
    assert text.count("51.2 % (48.0–54.0)") == 2 and "```python\nx = 1\n```" in text and "old" not in text


def test_stability_has_a_row_of_each_way_and_test_rows_before_validation_rows(copied):
    folder = copied / "checkpoints" / "crysllmgen-mp"
    own = read_card(folder).metrics
    assert {"stable_val", "stable_diffcsp_val", "stable_charge_balanced_val"} <= set(own)
    assert "stable_test" not in own
    keys = ("stable", "metastable", "sun", "msun", "valid")
    entries = {f"{key}_diffcsp_test": {**own[f"{key}_val"], "value": 0.123, "n": 77} for key in keys}
    entries |= {f"{key}_test": {**own[f"{key}_val"], "value": 0.456, "n": 99} for key in keys}
    write_card(folder, {"metrics": entries})
    rows = [line for line in TABLES["stability"]().splitlines() if line.startswith("| `crysllmgen-mp`")]
    assert len(rows) == 3 and "45.6 %" in rows[0] and "| 99 |" in rows[0]
    assert rows[1].startswith("| `crysllmgen-mp`, charge-balanced | 100 |")
    assert rows[2].startswith("| `crysllmgen-mp`, refined by DiffCSP | 77 | 12.3 %")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<!-- table:ablations -->\n", "closed"),
        ("<!-- table:nothing -->\n<!-- /table -->", "no table 'nothing'"),
        ("<!-- file:no.py -->\n<!-- /file -->", "no.py, which does not exist"),
        (f"<!-- figure:{CARD}/match_rate -->1<!-- / -->", "no number 'match_rate'"),
    ],
)
def test_a_wrong_mark_is_one_sentence(copied, text, says):
    (copied / "docs" / "wrong.md").write_text(text)
    with pytest.raises(RequestError, match=says):
        fill_documents(copied)


def test_figures_are_written_with_the_digits_they_deserve():
    text = "<!-- figure:a -->1<!-- / --> and <!-- figure:b -->2<!-- / -->"
    assert (
        filled(text, str, str.upper, ROOT) == "<!-- figure:a -->A<!-- / --> and <!-- figure:b -->B<!-- / -->"
    )
    assert figure("kldm-csp-perov5/match_rate_test/rmse") == "0.075"
    assert figure("crysldnet/mae_band_gap_hse_ev_test/n_not_seen") == "270"
    assert figure("kldm-csp-mp/training/hours") == "10.73"
    with pytest.raises(RequestError, match="no number on its card"):
        figure("kldm-csp-mp/training/hardware")


def test_the_check_fails_on_a_stale_document_and_changes_nothing(copied, monkeypatch):
    from typer.testing import CliRunner

    from crystal_core.cli import build_app
    from crystal_core.workflows.documents import tables

    monkeypatch.setattr(tables, "REPOSITORY", copied)
    before = (copied / "README.md").read_text()
    result = CliRunner().invoke(build_app(), ["docs", "tables", "--check", "--json"])
    assert result.exit_code == 1 and '"stale": true' in result.stdout
    assert (copied / "README.md").read_text() == before
    assert CliRunner().invoke(build_app(), ["docs", "tables"]).exit_code == 0
    assert CliRunner().invoke(build_app(), ["docs", "tables", "--check"]).exit_code == 0
