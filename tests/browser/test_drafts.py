"""What a chemist does with a language model in a real browser: describe crystals, read drafts,
ask which elements fit.
"""

import re

import pytest

from crystal_core.registry.store import list_cards

expect = pytest.importorskip("playwright.sync_api").expect

MODEL = "crysllmgen-mp"
NAMES = {card.name for card in list_cards("generator")}
pytestmark = [pytest.mark.browser, pytest.mark.weights]


def clean(page):
    assert page.outside == []
    assert page.faults == []


def in_sight(page, locator):
    box, height = locator.bounding_box(), page.viewport_size["height"]
    return box["y"] >= 0 and box["y"] + box["height"] <= height


@pytest.mark.skipif(MODEL not in NAMES, reason=f"{MODEL} is not installed")
def test_a_sentence_becomes_fields_then_drafts_then_refined_crystals(open_page):
    page = open_page(f"/generate?model={MODEL}&n=2", viewport={"width": 1366, "height": 768})
    button = page.get_by_role("button", name=re.compile("^Generate"))
    sentence = page.get_by_role("textbox", name="Describe the crystals")
    sentence.fill("A pretty cubic SrTiO3 with a band gap near 2 eV and 5 atoms")
    sentence.press("Enter")
    page.get_by_text("Not understood: pretty.").wait_for()
    page.get_by_text("band gap 2 eV").wait_for()
    page.get_by_text("Composition, symmetry, properties").click()
    expect(page.get_by_role("textbox", name="Formula")).to_have_value("SrTiO3", timeout=30_000)
    expect(page.get_by_role("spinbutton", name="Band gap (eV)")).to_have_value("2.00")
    page.at_rest()
    assert in_sight(page, button)  # however long the form is
    button.click()
    page.wait_for_url("**job=*")
    page.locator(".xg[data-pictures]").wait_for()
    page.get_by_text("Drafted by crysllmgen-tiny, refined by").wait_for()
    draft = page.get_by_test_id("stCode").first
    expect(draft).to_contain_text("Sr", timeout=90_000)
    expect(draft).to_contain_text("Ti")
    page.locator(".xv[data-rendered]").first.wait_for()
    page.get_by_text("From the draft to the result").click()
    page.locator(".xv[data-rendered]").nth(1).wait_for()
    clean(page)


@pytest.mark.skipif("crysllmgen-tiny" not in NAMES, reason="crysllmgen-tiny is not installed")
def test_the_elements_that_fit_at_a_site_open_the_crystal_with_them(open_page):
    page = open_page("/viewer")
    page.locator(".xv[data-rendered]").first.wait_for()
    page.get_by_role("tab", name="Sites").click()
    table = page.get_by_test_id("stDataFrame").locator("visible=true").first
    table.scroll_into_view_if_needed()
    page.at_rest()
    box = table.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 52)  # the box of the first row: a table is one canvas
    page.get_by_role("button", name="Which elements fit here?").click()
    page.wait_for_url("**job=*")
    page.get_by_role("heading", name=re.compile("^Elements that fit at")).wait_for()
    expect(page.get_by_role("progressbar")).to_have_count(10, timeout=90_000)
    element = page.get_by_role("button", name=re.compile("^[A-Z][a-z]?$")).first
    symbol = element.inner_text()
    element.click()
    page.wait_for_url(f"**element={symbol}")
    page.get_by_role("heading", name=re.compile(f"{symbol} in place of")).wait_for()
    page.locator(".xv[data-rendered]").first.wait_for()
    page.reload()  # the answer is a run, and the element is in its link
    page.get_by_role("heading", name=re.compile(f"{symbol} in place of")).wait_for()
    clean(page)
