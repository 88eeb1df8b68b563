"""What a chemist does on the Generate page, in a real browser, with the shipped de novo checkpoint."""

import re
import zipfile

import pytest

from crystal_core.registry.store import list_cards

expect = pytest.importorskip("playwright.sync_api").expect

MODEL = "kldm-dng-perov5"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.weights,
    pytest.mark.skipif(
        all(card.name != MODEL for card in list_cards("generator")), reason=f"{MODEL} is not installed"
    ),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def clean(page):
    assert page.outside == []
    assert page.faults == []


def press(page):
    page.get_by_role("button", name=re.compile("^Generate")).click()
    page.wait_for_url("**job=*")


def test_the_periodic_table_fills_the_fields_and_refuses_what_the_model_does_not_know(open_page):
    page = open_page(f"/generate?model={MODEL}")
    page.get_by_role("button", name="Periodic table").click()
    table = page.locator(".pt")
    names = {"Sr": "Strontium", "Ti": "Titanium", "O": "Oxygen", "Pb": "Lead"}
    for symbol in ("Sr", "Ti", "O", "Pb", "Pb"):
        table.get_by_role("button", name=re.compile(f"^{names[symbol]}")).click()
        page.wait_for_timeout(700)  # the page has answered: focus and words are still there
        button = table.get_by_role("button", name=re.compile(f"^{names[symbol]}"))
        expect(button).to_be_focused()
        expect(table.locator(".hint")).to_have_text(button.get_attribute("title"))
    assert table.get_by_role("button", name="Uranium: the model was not trained on it").is_disabled()
    page.keyboard.press("Escape")
    field = page.get_by_role("textbox", name="Only these elements")
    expect(field).to_have_value("O-Ti-Sr", timeout=20_000)
    expect(page.get_by_role("textbox", name="Without")).to_have_value("Pb")
    field.fill("Sr-U")
    field.press("Enter")
    page.get_by_text("was not trained on U").wait_for()
    expect(page.get_by_role("button", name=re.compile("^Generate"))).to_be_disabled()
    clean(page)


def test_the_periodic_table_is_chosen_from_with_the_keyboard_alone(open_page):
    page = open_page(f"/generate?model={MODEL}")
    opens = page.get_by_role("button", name="Periodic table")
    opens.wait_for()
    page.at_rest()
    opens.focus()
    page.keyboard.press("Enter")
    table = page.locator(".pt")
    first = table.get_by_role("button", name=re.compile("^(?!.*not trained)")).first
    first.wait_for()
    page.get_by_role("button", name="Close").focus()
    page.keyboard.press("Tab")  # one stop for all elements
    expect(first).to_be_focused()
    lithium, sodium = (table.get_by_role("button", name=re.compile(f"^{name}")) for name in ("Lith", "Sod"))
    lithium.focus()
    page.keyboard.press("ArrowDown")
    expect(sodium).to_be_focused()
    expect(table.locator(".hint")).to_have_text(sodium.get_attribute("title"))
    page.keyboard.press("Space")
    expect(sodium).to_have_attribute("aria-label", re.compile(", allowed$"))
    expect(table).to_have_attribute("data-allowed", "Na")  # the page has heard of it
    page.keyboard.press("ArrowRight")
    expect(table.get_by_role("button", name=re.compile("^Magnesium"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(table).to_have_attribute("data-allowed", "Na-Mg")
    page.keyboard.press("Enter")
    expect(table.get_by_role("button", name=re.compile("^Magnesium.*excluded$"))).to_be_focused()
    expect(table).to_have_attribute("data-excluded", "Mg")
    page.keyboard.press("Escape")
    expect(opens).to_be_focused()
    expect(page.get_by_role("textbox", name="Only these elements")).to_have_value("Na")
    expect(page.get_by_role("textbox", name="Without")).to_have_value("Mg")
    clean(page)


CLICK_AND_ESCAPE = """element => {
  element.click();
  element.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
}"""


def test_a_choice_survives_the_escape_key_pressed_before_the_page_hears_of_it(open_page):
    page = open_page(f"/generate?model={MODEL}")
    page.get_by_role("button", name="Periodic table").click()
    table = page.locator(".pt")
    titanium = table.get_by_role("button", name=re.compile("^Titanium"))
    titanium.wait_for()
    page.at_rest()
    titanium.evaluate(CLICK_AND_ESCAPE)  # as on a machine that is too busy to send the click first
    expect(table).to_have_count(0)
    expect(page.get_by_role("textbox", name="Only these elements")).to_have_value("Ti")
    clean(page)


class SlowLine:
    """The line between a page and its server, either direction of which can wait."""

    def __init__(self, page):
        self.waiting = {"up": None, "down": None}  # the messages, where they wait
        page.route_web_socket(re.compile("_stcore/stream"), self.connect)

    def connect(self, browser):
        server = browser.connect_to_server()
        self.ends = {"up": server, "down": browser}
        browser.on_message(lambda message: self.carry("up", message))
        server.on_message(lambda message: self.carry("down", message))

    def carry(self, way, message):
        waiting = self.waiting[way]
        self.ends[way].send(message) if waiting is None else waiting.append(message)

    def hold(self, way):
        self.waiting[way] = []

    def release(self, way):
        messages, self.waiting[way] = self.waiting[way], None
        for message in messages:
            self.ends[way].send(message)


def test_the_answer_to_one_element_leaves_the_next_ones_chosen(open_page):
    page = open_page()
    line = SlowLine(page)
    page.goto(f"{page.url}generate?model={MODEL}")
    page.get_by_role("button", name="Periodic table").click()
    table = page.locator(".pt")
    titanium, oxygen, strontium = (
        table.get_by_role("button", name=re.compile(f"^{name}")) for name in ("Titan", "Oxygen", "Stron")
    )
    titanium.wait_for()
    page.at_rest()
    line.hold("down")
    titanium.click()
    while not line.waiting["down"]:
        page.wait_for_timeout(20)
    line.hold("up")
    oxygen.click()
    line.release("down")
    expect(table).to_have_attribute("data-allowed", "Ti")  # an answer that does not know of oxygen
    strontium.click()
    for button in (titanium, oxygen, strontium):
        expect(button).to_have_attribute("aria-label", re.compile(", allowed$"))
    page.keyboard.press("Escape")
    expect(table).to_have_count(0)
    line.release("up")
    expect(page.get_by_role("textbox", name="Only these elements")).to_have_value("O-Ti-Sr")
    clean(page)


def test_the_whole_periodic_table_is_in_reach_on_a_phone(open_page):
    page = open_page(f"/generate?model={MODEL}", **PHONE)
    page.get_by_role("button", name="Periodic table").tap()
    table = page.locator(".pt")
    table.get_by_role("button", name=re.compile("^Hydrogen")).wait_for()
    page.wait_for_timeout(700)  # it has come to rest
    boxes = [button.bounding_box() for button in table.get_by_role("button").all()]
    assert (
        len(boxes) == 118
        and min(box["x"] for box in boxes) >= 0
        and max(box["x"] + box["width"] for box in boxes) <= 390
    )
    assert min(box["y"] for box in boxes) >= 0 and max(box["y"] + box["height"] for box in boxes) <= 844
    assert min(box["width"] * box["height"] for box in boxes) > 18 * 40
    for name in ("Oxygen", "Strontium"):
        table.get_by_role("button", name=re.compile(f"^{name}")).tap()
        expect(table.locator(".hint")).to_have_text(f"{name}, allowed")
    page.get_by_role("button", name="Close").tap()
    expect(page.get_by_role("textbox", name="Only these elements")).to_have_value("O-Sr", timeout=20_000)
    clean(page)


def test_new_crystals_come_with_verdicts_and_can_be_taken_home(open_page, tmp_path):
    page = open_page(f"/generate?model={MODEL}&n=3", color_scheme="dark")
    press(page)
    page.reload()  # the run is in the queue, not in the page
    page.locator(".xg[data-pictures]").wait_for()
    cards = page.locator(".xg button")
    assert 1 <= cards.count() <= 3
    verdict = re.compile("valid|balance|valence|charges")  # the seed is drawn: any of them may come
    assert all(verdict.search(text) for text in cards.all_inner_texts())
    charges = re.compile("charge-balanced|valence|balances otherwise|uncommon charges")
    page.get_by_text(charges).locator("visible=true").first.wait_for()
    page.get_by_text("stability unknown").wait_for()
    page.locator(".xv[data-rendered]").first.wait_for()
    cards.last.click()
    formula = cards.last.locator(".title").inner_text().split("  ")[0]
    page.get_by_role("heading", name=formula).wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all").click()
    download.value.save_as(tmp_path / "all.zip")
    names = zipfile.ZipFile(tmp_path / "all.zip").namelist()
    assert {"run.extxyz", "run.json", "trajectory-1.extxyz"} <= set(names) and sum(
        name.endswith(".cif") and "/" not in name for name in names
    ) == 3
    clean(page)


def test_a_number_out_of_range_is_refused_and_on_a_phone_a_run_stands_above_its_form(open_page):
    page = open_page(f"/generate?model={MODEL}&n=2", **PHONE)
    field = page.get_by_role("spinbutton", name="Crystals")
    button = page.get_by_role("button", name=re.compile("^Generate"))
    field.fill("9999")
    field.press("Enter")
    page.get_by_text("Crystals must be a whole number between 1 and 50, not 9999.").wait_for()
    expect(button).to_be_disabled()
    field.fill("2")
    field.press("Enter")
    expect(button).to_be_enabled(timeout=20_000)
    page.get_by_text("Advanced").tap()
    page.get_by_text("Complete a structure").wait_for()
    page.at_rest()
    button.scroll_into_view_if_needed()
    press(page)
    run = page.locator(".st-key-run")
    run.wait_for()
    for _ in range(300):  # until the page has come to rest
        page.wait_for_timeout(200)
        if 0 < run.bounding_box()["y"] < 250:
            break
    assert 0 < run.bounding_box()["y"] < 250  # in sight, without any scrolling by hand
    page.locator(".xg[data-pictures]").wait_for()
    expect(field).to_be_visible(timeout=20_000)  # and below the results once they are there
    assert run.bounding_box()["y"] + run.bounding_box()["height"] <= field.bounding_box()["y"]
    clean(page)


def test_a_run_can_be_watched_and_cancelled_and_keeps_what_is_finished(open_page):
    page = open_page(f"/generate?model={MODEL}&n=64")
    # the form has come to rest; 50 are the most it asks for
    expect(page.get_by_role("spinbutton", name="Crystals")).to_have_value("50")
    page.at_rest()
    steps = page.get_by_label("Steps (0 = the sampler's default)")
    page.get_by_text("Advanced").click()
    steps.fill("2000")
    steps.press("Enter")
    expect(page.get_by_role("spinbutton", name="Steps (0 = the sampler's default)")).to_have_value("2000")
    press(page)
    cancel = page.get_by_role("button", name="Cancel")
    cancel.wait_for()
    third = (
        page.get_by_role("radio", name="3", exact=True)
        .or_(page.get_by_role("button", name="3", exact=True))
        .first
    )
    third.click()  # another forming cell
    page.locator(".xv[data-rendered]").wait_for()
    # the first sixteen, while the others form: half a minute on an idle machine, minutes beside other work
    page.locator(".xg[data-pictures]").wait_for(timeout=450_000)
    cancel.click()
    page.get_by_text("Stopped by you").wait_for()
    page.get_by_text(re.compile(r"^(16|32|48) crystals")).wait_for()
    clean(page)


def test_a_crystal_is_relaxed_and_laid_over_what_it_was(open_page):
    page = open_page(f"/generate?model={MODEL}&n=2&elements=Sr-Ti-O")
    press(page)
    page.get_by_role("button", name="Relax this crystal").click()
    page.get_by_text("Relaxed over generated").or_(page.get_by_text("cannot be relaxed")).first.wait_for(
        timeout=400_000
    )
    if page.get_by_text("Relaxed over generated").count():
        page.get_by_text("Above the hull (eV/atom, ML estimate)").wait_for()
        page.get_by_text("Relaxed over generated").click()
        page.get_by_text("Pale, with the dashed cell").wait_for()
        page.locator(".xv[data-rendered]").first.wait_for()
    clean(page)
