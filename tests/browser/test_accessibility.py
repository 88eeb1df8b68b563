"""axe-core finds nothing serious on any page, light or dark; names are read as they are written."""

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
pytestmark = pytest.mark.browser
GRAVE = ("serious", "critical")
# every page once, half of them dark: a page takes seconds
PAGES = {
    "light": ("/", "/generate?job=demo-lithium-iron-oxides", "/property_predictor", "/history"),
    "dark": ("/predict_structure?job=demo-titanium-dioxide", "/viewer", "/compare", "/models"),
}
# what a screen reader says besides the text, with the marks of Markdown in it
MARKED = r"""() => {
  const names = ["aria-label", "aria-description", "aria-valuetext", "alt", "title", "placeholder"];
  const marks = /\\[!-\/:-@[-`{-~]|\*\*|\]\(|:\w+\[/, found = [];
  const search = (root) => root.querySelectorAll("*").forEach((element) => {
    found.push(...names.map((name) => element.getAttribute(name) ?? "").filter((text) => marks.test(text)));
    if (element.shadowRoot) search(element.shadowRoot);
  });
  search(document);
  return found;
}"""
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
        for _ in range(5):  # what is drawn anew is pale for a moment
            if not (faults := grave(page)):
                break
            page.wait_for_timeout(1000)
        assert not faults, path
        assert page.evaluate(MARKED) == [], path
    page.evaluate(f"document.querySelector('h1').insertAdjacentHTML('afterend', '{FAULTS}')")
    assert {fault for fault, *_ in grave(page)} == {"color-contrast", "label"}
    page.evaluate(r"document.querySelector('h1').setAttribute('aria-label', 'kldm\\-csp')")
    assert page.evaluate(MARKED) == [r"kldm\-csp"]


def test_each_page_has_a_title_of_its_own(open_page, server):
    page = open_page()
    expect(page).to_have_title("Crystal Studio")
    for path, title in (("/models", "Models"), ("/compare?job=demo-samplers", "Compare")):
        page.goto(server + path)
        expect(page).to_have_title(f"{title} · Crystal Studio")


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


STEADY = """() => {
  const height = document.querySelector(".stMain").scrollHeight;
  if (window.__height !== height) [window.__height, window.__since] = [height, performance.now()];
  return performance.now() - window.__since > 1000;
}"""
CLEAR = """() => document.activeElement.getBoundingClientRect().bottom
  <= document.querySelector(".st-key-form-foot").getBoundingClientRect().top"""


def test_a_field_that_gets_the_focus_is_not_under_the_button_of_the_form(open_page):
    page = open_page("/predict_structure", viewport={"width": 1366, "height": 700})
    folded = page.locator("summary", has_text="Advanced")
    folded.wait_for()
    page.at_rest()
    folded.focus()
    page.keyboard.press("Enter")
    page.get_by_label("Seed", exact=False).first.wait_for()
    page.at_rest()
    page.wait_for_function(STEADY)  # fields that come later push the focused one down
    covered = []
    for _ in range(12):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if not focused.evaluate("e => Boolean(e.closest('.st-key-form-fields'))"):
            break
        try:  # the page may still be scrolling towards it
            page.wait_for_function(CLEAR, timeout=10_000)
        except sync_api.TimeoutError:
            covered.append((focused.get_attribute("aria-label"), focused.bounding_box()))
    assert covered == []


DRAWN = """e => {
  const { x, y, width, height } = e.getBoundingClientRect();
  let opacity = 1;
  for (let node = e; node; node = node.parentElement) opacity *= getComputedStyle(node).opacity;
  return e.contains(document.elementFromPoint(x + width / 2, y + height / 2)) && opacity > 0.9;
}"""


def test_the_buttons_of_a_table_and_of_a_text_are_seen_when_the_keyboard_reaches_them(open_page):
    page = open_page("/viewer")
    page.locator(".xv[data-rendered]").wait_for()
    page.at_rest()
    for tab, part, wanted in (
        ("Sites", "stDataFrame", "Download as CSV"),
        ("Summary", "stCode", "Copy to clipboard"),
    ):
        page.get_by_role("tab", name=tab).click()
        page.locator(f"[data-testid={part}]:visible").first.wait_for()
        page.wait_for_function(STEADY)
        page.get_by_role("tab", name=tab).focus()
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(FOCUSED)["name"] == wanted:
                break
        assert page.evaluate(FOCUSED)["name"] == wanted
        page.wait_for_function(DRAWN, arg=page.locator(":focus").element_handle())
