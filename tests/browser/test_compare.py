"""Two samplers compared as a chemist does it: run, turn, scrub, share the link, take the files."""

import io
import json
import re

import pytest
from PIL import Image

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = [pytest.mark.browser, pytest.mark.weights]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
MOVE = """(e, value) => { e.value = value;
  for (const kind of ["input", "change"]) e.dispatchEvent(new Event(kind, { bubbles: true })); }"""


def number(page, label, value):
    box = page.get_by_label(label, exact=True)
    box.fill(str(value))
    box.press("Enter")
    page.at_rest()


def choose(page, label, option):
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()
    page.at_rest()


def views(page):
    """x, y, z, distance and quaternion of the camera before each crystal."""
    return page.locator(".xc").evaluate("e => e.getViews()")


def drag(page, pane):
    box = page.locator(".xc .canvas").nth(pane).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 25, steps=4)
    page.mouse.up()


def test_two_live_runs_one_camera_one_clock_and_a_link_that_keeps_it(open_page, tmp_path):
    page = open_page("/compare")
    page.get_by_role("button", name=re.compile("^Compare")).wait_for()
    page.at_rest()
    page.get_by_label("Formulas", exact=True).fill("SrTiO3")
    page.get_by_label("Formulas", exact=True).press("Enter")
    page.at_rest()
    for letter, sampler in (("A", "em"), ("B", "ode")):
        choose(page, f"Model of {letter}", "kldm-csp-perov5")
        choose(page, f"Sampler of {letter}", sampler)
        number(page, f"Steps of {letter}", 20)
    number(page, "Samples of each", 2)
    page.get_by_text("A: em | B: ode").wait_for()
    page.get_by_role("button", name=re.compile("^Compare")).click()
    page.wait_for_url("**job=*")
    expect(page.get_by_text("network calls per crystal")).to_be_visible(timeout=300_000)
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_have_count(0, timeout=300_000)
    viewer = page.locator('.xc[data-panes="2"]')
    viewer.wait_for()
    expect(page.locator(".xc .trace svg polyline")).to_have_count(4)
    page.at_rest()

    before = views(page)
    drag(page, 0)
    page.wait_for_url("**camera=*")
    first, second = views(page)
    assert first[4:] != before[0][4:]
    assert second[3:] == pytest.approx(first[3:], abs=1e-6)  # turned alike and on one scale
    assert second[:3] != first[:3]  # each before its own crystal

    slider = page.get_by_label("Share of the path")
    slider.evaluate(MOVE, 300)
    page.wait_for_url("**at=0.3*")
    expect(viewer).to_have_attribute("data-at", "0.300")
    turned = views(page)

    again = open_page(page.url.removeprefix(page.url.split("/compare")[0]))
    again.locator('.xc[data-at="0.300"]').wait_for()
    again.at_rest()
    assert views(again)[0][4:] == pytest.approx(turned[0][4:], abs=1e-3)

    again.get_by_role("button", name="Link cameras").click()
    again.wait_for_url("**linked=0*")
    still = views(again)[1]
    before = again.url
    drag(again, 0)
    again.wait_for_url(lambda url: url != before)
    assert views(again)[1] == still and views(again)[0][4:] != turned[0][4:]

    again.at_rest()
    again.get_by_role("button", name="Export").click()
    for label, check in (
        ("HTML, to look at", lambda text: "Paired differences" in text and "<script" not in text),
        ("CSV, the numbers", lambda text: text.startswith("what,column,name,metric")),
        ("JSON, everything", lambda text: len(json.loads(text)["columns"]) == 2),
    ):
        with again.expect_download() as download:
            again.get_by_role("button", name=label).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert check(path.read_text(encoding="utf-8"))
    for one in (page, again):
        assert one.outside == [] and one.faults == []


def opened(open_page, link):
    page = open_page(link)
    page.locator('.xc[data-panes="3"]').wait_for()
    page.at_rest()
    return page


def shown(page):
    """The camera before each crystal, and the elements that each legend hides."""
    hidden = page.locator(".xc").evaluate("e => e.__all.views.map(view => [...view.hidden])")
    return views(page), hidden


def test_a_link_keeps_the_camera_and_the_hidden_elements_of_each_column(open_page):
    page = opened(open_page, "/compare?job=demo-samplers")
    page.get_by_role("button", name="Link cameras").click()
    page.wait_for_url("**linked=0*")
    for pane in (0, 2):
        before = page.url
        drag(page, pane)
        page.wait_for_url(lambda url, before=before: url != before)
    legends = page.locator(".xc .legend")
    legends.nth(1).get_by_role("button").first.click()
    page.wait_for_url("**hidden=B*")
    legends.nth(2).get_by_role("button").last.click()
    page.wait_for_url("**hidden=B*C*")
    page.at_rest()
    cameras, hidden = shown(page)
    assert cameras[0][4:] != cameras[1][4:] != cameras[2][4:] and list(map(len, hidden)) == [0, 1, 1]

    again = opened(open_page, page.url.removeprefix(page.url.split("/compare")[0]))
    same, still_hidden = shown(again)
    assert [x for view in same for x in view] == pytest.approx(
        [x for view in cameras for x in view], abs=1e-3
    )
    assert still_hidden == hidden
    off = again.locator('.xc .legend button[aria-pressed="false"]')
    assert off.all_inner_texts() == [symbol for symbols in hidden for symbol in symbols]
    off.first.click()
    again.wait_for_url(lambda url: "hidden=C" in url)
    for one in (page, again):
        assert one.outside == [] and one.faults == []


def test_a_link_with_one_camera_turns_all_crystals(open_page):
    page = opened(open_page, "/compare?job=demo-samplers&linked=0&camera=110.5,0.1,0.2,0.3,0.9273")
    for view in views(page):
        assert view[3:] == pytest.approx([110.5, 0.1, 0.2, 0.3, 0.9273], abs=1e-3)
    assert page.faults == []


@pytest.mark.parametrize(
    ("look", "lowest"),
    [
        ({"viewport": {"width": 1366, "height": 768}}, 240),
        ({"viewport": {"width": 1920, "height": 1080}, "color_scheme": "dark"}, 400),
        (PHONE, 200),
    ],
    ids=["laptop", "large and dark", "phone"],
)
def test_a_ready_comparison_opens_at_once_in_pictures_as_large_as_the_window_allows(open_page, look, lowest):
    page = open_page("/compare", **look)
    page.get_by_role("link", name="Open").first.click()
    page.locator('.xc[data-panes="3"]').wait_for()
    page.at_rest()
    boxes = [pane.bounding_box() for pane in page.locator(".xc .pane").all()]
    width = page.viewport_size["width"]
    assert all(box["width"] > 120 and box["x"] + box["width"] <= width for box in boxes)
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing is pushed out sideways
    for pane in page.locator(".xc .stage").all():
        assert pane.bounding_box()["height"] >= lowest
        legend = [button.bounding_box() for button in pane.locator(".legend button").all()]
        assert len({box["y"] for box in legend}) == 1  # one line, where an upper one would lie on the crystal
    assert page.outside == [] and page.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_a_shade_tells_that_the_table_has_more_columns(open_page, scheme):
    page = open_page("/compare?job=demo-ablations", **PHONE, color_scheme=scheme)
    table = page.locator(".st-key-metrics [data-testid=stMarkdownContainer]")
    table.locator("td").first.wait_for()
    page.at_rest()
    table.scroll_into_view_if_needed()

    def apart():
        """How far the colours at the right end and before it are apart, just below the upper line."""
        picture = Image.open(io.BytesIO(table.screenshot())).convert("RGB")
        end, before = (picture.getpixel((picture.width - rest, 4)) for rest in (4, 40))
        return max(abs(x - y) for x, y in zip(end, before, strict=True))

    assert apart() > 20
    table.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
    assert apart() <= 1  # a gradient is rounded
    assert table.locator("th").last.bounding_box()["x"] < page.viewport_size["width"] - 40


OVERLAPS = """figure => {
  const box = (element) => element.getBoundingClientRect(), legend = box(figure.querySelector(".legend"));
  const others = figure.querySelectorAll(".annotation, [class^=g-x], [class^=x][class$=tick] text");
  return [...others].map(box).filter((other) => other.width > 0 && other.left < legend.right
    && legend.left < other.right && other.top < legend.bottom && legend.top < other.bottom).length;
}"""


@pytest.mark.parametrize(
    "look", [{"viewport": {"width": 1366, "height": 768}}, PHONE], ids=["laptop", "phone"]
)
def test_the_legends_of_the_labs_lie_on_nothing(open_page, look):
    page = open_page("/compare", **look)
    page.get_by_role("button", name=re.compile("^Compare")).wait_for()
    page.at_rest()
    for lab in ("Sampler lab", "Pretraining"):
        page.get_by_role("tab", name=lab).click()
        figure = page.locator(".js-plotly-plot:visible")
        figure.locator(".legend .traces").first.wait_for()
        assert figure.locator("[class^=x][class$=tick] text").count() > 2
        assert figure.evaluate(OVERLAPS) == 0
    assert page.outside == [] and page.faults == []


def test_the_keys_of_one_picture_act_on_all_as_their_buttons_do(open_page):
    page = open_page("/compare?job=demo-samplers")
    page.locator('.xc[data-panes="3"]').wait_for()
    page.at_rest()
    second = page.locator(".xc .canvas").nth(1)
    second.focus()
    before = views(page)
    page.keyboard.press("b")
    after = views(page)
    assert all(view[4:] == after[0][4:] for view in after) and after[0][4:] != before[0][4:]
    page.keyboard.press("s")
    expect(page.get_by_label("Style")).to_have_value("stick")
    page.wait_for_url("**style=stick*")
    assert page.locator(".xc").evaluate("e => e.__all.views.map(view => view.style)") == ["stick"] * 3
    page.keyboard.press("Shift+H")
    expect(page.locator(".xc .keys")).to_contain_text("play and step")
    page.keyboard.press("Escape")
    expect(page.locator(".xc .keys")).to_have_text("")
    page.locator(".st-key-page-address").get_by_role("button").click()
    expect(page.get_by_test_id("stPopoverBody").get_by_test_id("stCode")).to_have_text(page.url)
    assert page.outside == [] and page.faults == []
