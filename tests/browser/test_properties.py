"""Files to predicted properties in a real browser, and crystals sent there from other pages."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystal_core.registry.property_cards import is_installed

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.weights,
    pytest.mark.skipif(not is_installed("crysldnet"), reason="the checkpoint crysldnet is not installed"),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
# cubic lattice constants, Å
ROCK_SALTS = {
    ("Li", "F"): 4.03,
    ("Li", "Cl"): 5.14,
    ("Na", "F"): 4.63,
    ("Na", "Cl"): 5.64,
    ("K", "F"): 5.34,
    ("K", "Cl"): 6.29,
    ("Mg", "O"): 4.21,
    ("Ca", "O"): 4.81,
}


@pytest.fixture
def ten_files(tmp_path):
    """Eight rock salts, silicon, and a file that is broken."""
    for pair, a in ROCK_SALTS.items():
        salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [*pair], [[0] * 3, [0.5] * 3])
        (tmp_path / f"{''.join(pair)}.cif").write_text(str(CifWriter(salt)))
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0] * 3])
    (tmp_path / "Si.cif").write_text(str(CifWriter(silicon)))
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a 4\n")
    return sorted(str(path) for path in tmp_path.glob("*.cif"))


def clean(page):
    assert page.outside == []
    assert page.faults == []


def test_ten_files_become_a_table_and_a_csv_with_the_broken_one_in_it(open_page, ten_files):
    page = open_page("/property_predictor")
    page.get_by_role("radio", name="Upload").wait_for()
    page.locator("input[type=file]").set_input_files(ten_files)
    page.get_by_role("button", name="Predict 9 crystals").click()
    page.wait_for_url("**job=*")
    page.get_by_text("9 of 10 crystals").wait_for()
    page.locator(".xp[data-rows]").wait_for()
    page.locator(".xv[data-rendered]").wait_for()
    card = page.locator(".xp")
    expect(card).to_contain_text("Formation energy")
    expect(card).to_contain_text("eV/atom")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert len(rows) == 10 and {row["source"] for row in rows if row["error"]} == {"broken.cif"}
    good = [row for row in rows if not row["error"]]
    assert all(float(row["bulk_modulus_gpa"]) > 0 and row["domain"] for row in good)
    page.reload()  # the run is in the store, not in the page
    page.get_by_text("9 of 10 crystals").wait_for()
    clean(page)


def test_the_viewer_sends_its_crystal_and_the_card_fits_on_a_phone(open_page):
    page = open_page("/viewer", **PHONE)
    page.locator(".xv[data-rendered]").wait_for()
    page.get_by_role("button", name="Predict properties").click()
    page.wait_for_url("**/property_predictor?job=*")
    card = page.locator(".xp[data-rows]")
    card.wait_for()
    assert card.evaluate("node => node.scrollWidth <= node.clientWidth + 1")
    note = card.locator(".info").first
    note.focus()
    assert "Labels: PBE" in note.get_attribute("aria-label")
    clean(page)


def test_a_generation_is_predicted_as_a_whole_and_opens_in_full(open_page):
    page = open_page("/generate?job=demo-lithium-iron-oxides")
    page.locator(".xg[data-pictures]").wait_for()
    page.get_by_role("button", name="Predict properties").click()
    full = page.get_by_role("link", name="Properties in full")
    full.wait_for()
    page.locator(".xp[data-rows]").wait_for()
    full.click()
    page.wait_for_url("**/property_predictor?job=*")
    page.get_by_text("8 crystals").wait_for()
    clean(page)


@pytest.fixture
def own_parquet(tmp_path):
    """Sixty rock salts of all edges, with a number that grows with the edge; one more row is no crystal."""
    pairs = [(11, 17), (3, 9), (12, 8), (19, 35), (20, 16), (37, 53), (55, 17), (38, 34), (56, 8), (25, 8)]
    rows = [
        {
            "material_id": f"own-{k}",
            "formula": "",
            "n_atoms": 2,
            "lattice": [a / 2 * x for x in (0, 1, 1, 1, 0, 1, 1, 1, 0)],
            "species": list(pairs[k % 10]),
            "frac_coords": [0.0] * 3 + [0.5] * 3,
            "stiffness": 100.0 / a,
        }
        for k, a in enumerate(4.0 + 0.03 * k for k in range(60))
    ]
    rows.append(rows[0] | {"material_id": "flat", "lattice": [1.0]})
    pd.DataFrame(rows).to_parquet(tmp_path / "own.parquet")
    return str(tmp_path / "own.parquet")


def test_a_table_is_learned_from_predicted_with_and_removed_on_a_phone(open_page, own_parquet):
    page = open_page("/property_predictor", **PHONE)
    page.get_by_role("link", name="Learn a property of your own").click()
    page.locator(".st-key-learn-file input[type=file]").set_input_files(own_parquet)
    page.get_by_text("1 of 61 rows left out").wait_for()
    page.get_by_label("Unit").fill("GPa")
    page.get_by_role("button", name="Learn from 60 crystals").click()
    page.wait_for_url("**job=*")
    page.locator(".js-plotly-plot .scatterlayer .point").first.wait_for(timeout=400_000)
    expect(page.get_by_text("Always the mean")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_role("link", name="Predict with it").click()
    page.get_by_role("heading", name="Property predictor").wait_for()
    page.get_by_role("button", name="Remove stiffness").wait_for()  # it is ticked
    page.get_by_role("link", name="Learn a property of your own").click()
    page.get_by_text("Learned here").wait_for()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("Learned here")).to_have_count(0)
    clean(page)
