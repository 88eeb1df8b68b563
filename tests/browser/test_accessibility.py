"""axe-core finds nothing serious on any page, light or dark."""

import pytest

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
GRAVE = ("serious", "critical")
# every page once, half of them dark: a page takes seconds
PAGES = {
    "light": ("/", "/generate?job=demo-lithium-iron-oxides", "/property_predictor", "/history"),
    "dark": ("/predict_structure?job=demo-titanium-dioxide", "/viewer", "/compare", "/models"),
}
FAULTS = '<p style="color:#888;background:#777">pale</p><input type="text">'


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
def test_no_page_has_a_serious_fault_and_a_planted_one_is_found(open_page, server, scheme):
    first, *others = PAGES[scheme]
    page = open_page(first, color_scheme=scheme, reduced_motion="reduce")
    for path in (first, *others):
        if path != first:
            page.goto(server + path)
        page.locator("h1").wait_for()
        page.at_rest()
        assert not grave(page), path
    page.evaluate(f"document.querySelector('h1').insertAdjacentHTML('afterend', '{FAULTS}')")
    assert {fault for fault, *_ in grave(page)} == {"color-contrast", "label"}


FOCUSED = """() => {
  let element = document.activeElement;
  while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  return { name: element.getAttribute("aria-label") ?? element.innerText ?? "", tag: element.tagName,
           outlined: outlineStyle !== "none" && parseFloat(outlineWidth) >= 1.5 };
}"""


def test_the_keyboard_reaches_the_form_before_the_gallery_and_each_link_shows_that_it_has_the_focus(
    open_page,
):
    page = open_page()
    page.locator(".xg button").first.wait_for()
    page.at_rest()
    stops = []
    for _ in range(24):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUSED))
    names = [stop["name"] for stop in stops]
    places = [
        next(k for k, name in enumerate(names) if name.startswith(begin))
        for begin in ("Formula", "Predict structure", "TiO2, 6 atoms", "ZnS")
    ]
    assert places == sorted(places) and "Link to heading" not in names
    assert [stop for stop in stops if stop["tag"] in ("A", "BUTTON") and not stop["outlined"]] == []
