"""The Viewer page: what it keeps of an upload, what it says of it, and where it sends it."""

import math
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from streamlit.testing.v1 import AppTest

from crystal_core.figures.xrd import xrd_figure

ROOT = Path(__file__).parents[2]
MGO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0] * 3, [0.5] * 3])


@pytest.fixture(autouse=True)
def home(no_worker):
    """A home of its own."""


def page(**query):
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    for name, value in query.items():
        app.query_params[name] = value
    return app.switch_page("pages/viewer.py").run()


def words(elements):
    return " ".join(element.value.replace("\\", "") for element in elements)


def uploaded(structure=MGO, name="mine.cif"):
    at = page()
    at.button_group(key="how").set_value("Upload").run()
    at.file_uploader(key="file").upload(name, str(CifWriter(structure)).encode(), "chemical/x-cif").run()
    return at


def formula(at):
    return next(metric.value for metric in at.metric if metric.label == "Formula")


def test_an_upload_is_still_there_after_another_page_until_it_is_removed():
    at = uploaded()
    assert formula(at) == "MgO" and not at.exception and not at.error
    at.switch_page("pages/models.py").run()
    at.switch_page("pages/viewer.py").run()
    assert formula(at) == "MgO" and "Still here: mine.cif" in words(at.caption) and not at.exception
    at.button(key="remove").click().run()
    assert not at.metric and not at.exception


def test_a_pasted_text_is_still_there_after_another_page():
    at = page()
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value(str(CifWriter(MGO))).run()
    at.switch_page("pages/models.py").run()
    at.switch_page("pages/viewer.py").run()
    assert formula(at) == "MgO" and not at.exception


def test_a_wavelength_of_the_readers_own_moves_the_peaks_and_one_too_short_to_wait_for_is_refused(monkeypatch):
    patterns = []
    monkeypatch.setattr("pages._ui.detail.xrd_figure", lambda found, *rest: patterns.append(found) or xrd_figure(found, *rest))
    at = page()
    at.selectbox(key="viewer-radiation").set_value("custom").run()
    field = at.number_input(key="viewer-wavelength")
    assert (field.min, field.max, field.value) == (0.1, 5.0, 1.5406)  # Cu Kα1
    barium_titanate = patterns[-1]
    assert barium_titanate.radiation == 1.5406 and not at.exception
    assert barium_titanate.two_theta[0] == pytest.approx(2 * math.degrees(math.asin(1.5406 / (2 * 4.01))), abs=1e-6)
    field.set_value(0.1).run()
    assert "too many reflections" in words(at.info) and not at.exception and not at.error
