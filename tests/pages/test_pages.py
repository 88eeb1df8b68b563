"""Every page by itself: it runs, explains mistakes, and shows no trace."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))


def page(name):
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    return app.switch_page(f"pages/{name}.py").run()


@pytest.mark.parametrize("name", ["home", "predict_structure", "viewer", "models"])
def test_page_runs(name):
    at = page(name)
    assert not at.exception and not at.error
    assert at.title


def test_a_wrong_formula_explains_itself():
    at = page("predict_structure")
    at.text_input(key="formula").set_value("Xx2O3").run()
    assert "Did you mean" in at.error[0].value and not at.exception


def test_a_bad_structure_text_explains_itself():
    at = page("viewer")
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value("this is no crystal </script>").run()
    assert at.error and not at.exception
