"""Crystals with shared sites on the pages: shown as the file has them, never as the cell
of their main elements.
"""

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from streamlit.testing.v1 import AppTest

from crystal_core.drawing.figures.xrd import xrd_figure
from crystal_core.evaluation.xrd import pattern
from crystal_core.files.parse import occupancy_of, parse_text
from pages._ui.crystal.typeset import formula_text
from tests.pages.opening import run_page as page

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(no_worker):
    """A home of its own."""


def test_a_crystal_with_shared_sites_is_summed_up_as_the_file_has_it():
    alloy = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.3), [{"Fe": 0.6, "Ni": 0.4}, "O"], [[0, 0, 0], [0.5] * 3]
    )
    at = page("viewer")
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value(str(CifWriter(alloy))).run()
    assert not at.exception and any("4 sites of Fe 0" in caption.value for caption in at.caption)
    metrics = {metric.label: metric.value for metric in at.metric}
    assert (
        metrics["Formula"].replace("\\", "") == "Fe₀.₆Ni₀.₄O"
        and metrics["Density"] == f"{alloy.density:.2f} g/cm³"
    )
    lattice = next(text.value for text in at.markdown if "**a**" in text.value)
    assert "**a** 4.300" in lattice and "8 sites" in lattice and "**γ** 90.00°" in lattice


ALLOY = {"Cu": 0.5, "Au": 0.5}


@pytest.mark.parametrize(("a", "b"), [(ALLOY, ALLOY), ({"Fe": 0.9}, "O"), ("La", {"F": 0.6, "O": 0.4})])
def test_a_crystal_with_shared_sites_is_nowhere_taken_for_the_cell_of_its_main_elements(a, b, monkeypatch):
    mixed = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.3), [a, b], [[0, 0, 0], [0.5] * 3])
    cards, drawn, patterns, files = [], [], [], {}
    monkeypatch.setattr("pages._ui.viewer.crystal_gallery", lambda items, **_: cards.extend(items) or 0)
    monkeypatch.setattr("pages._ui.crystal.shared.crystal_viewer", lambda scene, **_: drawn.append(scene))
    monkeypatch.setattr(
        "pages._ui.crystal.shared.xrd_figure",
        lambda sticks, *rest, **scale: patterns.append(sticks) or xrd_figure(sticks, *rest, **scale),
    )
    monkeypatch.setattr(
        "streamlit.download_button", lambda label, content, name, *_, **__: files.setdefault(name, content)
    )
    at = page("viewer")
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value(2 * str(CifWriter(mixed))).run()
    assert not at.exception and not at.error
    formula = occupancy_of(mixed)["formula"]
    assert {card["title"] for card in cards} == {formula_text(formula)} and formula_text(formula) != formula
    says = f"{formula}, {len(mixed)} sites, "
    words = (drawn[-1]["sentence"], at.code[0].value, cards[0]["scene"]["sentence"])
    assert all(one.startswith(says) and f"density {mixed.density:.2f} g/cm³" in one for one in words)
    shared = [site["s"] for site in drawn[-1]["sites"] if "s" in site]
    assert len(shared) == (8 if a == b else 4)
    assert {e for slices in shared for e, _ in slices} == set(a if isinstance(a, dict) else b)
    assert not any("valid" in entry.value and "badge" in entry.value for entry in at.markdown)
    assert any("not judged" in entry.value for entry in at.text)
    assert patterns[-1].two_theta == pytest.approx(pattern(mixed).two_theta)
    assert patterns[-1].intensity == pytest.approx(pattern(mixed).intensity, abs=0.01)
    cif = files[f"{formula}.cif"]
    assert parse_text(cif, purpose="view").properties["occupancy"]["density"] == pytest.approx(
        mixed.density, abs=1e-3
    )


def test_the_orderings_of_a_shared_site_hold_what_the_file_holds(monkeypatch):
    mixed = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.3), [{"Fe": 0.5, "Ni": 0.5}, "O"], [[0, 0, 0], [0.5] * 3]
    )
    files = {}
    monkeypatch.setattr(
        "streamlit.download_button", lambda label, content, name, *_, **__: files.setdefault(name, content)
    )
    at = page("viewer")
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value(str(CifWriter(mixed))).run()
    at.toggle(key="viewer-order").set_value(True).run()
    assert not at.exception and not at.error and not at.info, [box.value for box in at.info]
    with ZipFile(BytesIO(next(files[name] for name in files if name.endswith("-orderings.zip")))) as archive:
        orderings = [parse_text(archive.read(name).decode()) for name in archive.namelist()]
    assert orderings and all(
        one.composition.reduced_formula == "FeNiO2" and len(one) <= 20 for one in orderings
    )


def test_a_partly_occupied_reference_says_what_is_compared(monkeypatch):
    half = Structure(
        Lattice.cubic(3.9), ["Sr", "Ti", {"O": 0.6, "F": 0.4}], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
    )
    upload = SimpleNamespace(name="half.cif", getvalue=lambda: str(CifWriter(half)).encode())
    monkeypatch.setattr(
        "streamlit.file_uploader", lambda label, *, key, **rest: upload if key == "reference" else None
    )
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    at.query_params["job"] = "demo-strontium-titanate"
    at.switch_page("pages/predict_structure.py").run()
    said = " ".join(box.value for box in at.warning)
    assert "partly occupied" in said and not at.error and not at.exception
