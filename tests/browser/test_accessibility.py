"""axe-core finds nothing serious on any page, light or dark."""

import pytest

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
GRAVE = ("serious", "critical")
PAGES = {
    "light": (
        "/",
        "/generate?job=demo-lithium-iron-oxides",
        "/predict_structure?job=demo-titanium-dioxide",
        "/viewer",
        "/property_predictor",
        "/compare?ready=samplers",
        "/history",
        "/models",
    ),
    "dark": ("/", "/generate", "/predict_structure?job=demo-titanium-dioxide", "/compare", "/models"),
}


def grave(page):
    from axe_playwright_python.sync_playwright import Axe

    faults = Axe().run(page).response["violations"]
    return [
        (fault["id"], node["html"], node["failureSummary"])
        for fault in faults
        if fault["impact"] in GRAVE
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("scheme", PAGES)
def test_no_page_has_a_serious_fault(open_page, server, scheme):
    page = open_page("/history", color_scheme=scheme)
    for path in PAGES[scheme]:
        page.goto(server + path)
        page.locator("h1").wait_for()
        page.at_rest()
        assert not grave(page), path


def test_low_contrast_and_a_field_without_a_name_are_found(open_page):
    page = open_page("/history")
    page.locator("h1").wait_for()
    page.at_rest()
    page.evaluate("""() => document.querySelector("h1").insertAdjacentHTML("afterend",
      '<p style="color:#999;background:#fff">pale</p><input type="text">')""")
    assert {fault for fault, *_ in grave(page)} == {"color-contrast", "label"}
