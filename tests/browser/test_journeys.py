"""What a chemist does, in a real browser."""

from urllib.parse import urlencode

import pytest

from crystal_core.jobs.queue import JobQueue

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = pytest.mark.browser
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def predict(page):
    page.at_rest()  # the form has come to rest
    page.get_by_role("button", name="Predict structure").click()


def clean(page):
    assert page.outside == []
    assert page.faults == []


def test_the_viewer_on_a_phone_draws_a_crystal_and_turns_it(open_page):
    page = open_page("/viewer", **PHONE)
    stage = page.locator(".xv[data-rendered]")
    stage.wait_for()
    assert int(stage.get_attribute("data-rendered")) == 15
    assert stage.get_attribute("data-error") is None
    page.at_rest()
    before = page.evaluate_handle("e => e.getView()", stage.element_handle()).json_value()
    stage.get_by_role("button", name="a", exact=True).click()
    after = page.evaluate_handle("e => e.getView()", stage.element_handle()).json_value()
    assert before != after
    assert "BaTiO3" in stage.locator("[role=img]").get_attribute("aria-label")
    clean(page)


def test_script_in_a_structure_stays_inert(open_page):
    page = open_page("/viewer")
    page.get_by_text("Paste", exact=True).click()
    text = (
        "Na</script><img src=x onerror='window.hacked=1'>\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 "
        "1\nDirect\n0 0 0\n0.5 0.5 0.5\n"
    )
    area = page.locator("textarea")
    area.fill(text)
    area.press("Control+Enter")
    page.locator(".xv[data-rendered]").wait_for()
    assert page.evaluate("window.hacked") is None
    clean(page)


def test_formula_to_candidates_with_reload_on_the_way(open_page):
    page = open_page("/predict_structure")
    page.get_by_label("Formula", exact=True).fill("SrTiO3")
    page.get_by_label("Formula", exact=True).press("Enter")
    page.get_by_text("charge-balanced as Sr²⁺").wait_for()
    predict(page)
    page.wait_for_url("**job=*")
    page.reload()  # the run is in the queue, not in the page
    page.get_by_text("Ranked by all evidence").wait_for(timeout=500_000)  # the recommended path
    # energies show before the last has come
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_have_count(0, timeout=500_000)
    page.locator(".xv[data-rendered]").first.wait_for()
    assert "candidates" in page.get_by_text("distinct").first.inner_text()
    page.locator(".xg[data-pictures]").wait_for()
    page.get_by_role("link", name="History").click()
    page.locator("h1", has_text="History").wait_for()
    page.get_by_role("link", name="Home").first.click()
    page.get_by_role("link", name="SrTiO₃ · done").first.click()  # a finished run opens again by its link
    page.get_by_text("Ranked by").wait_for()
    clean(page)


def test_a_broken_file_explains_itself_and_the_good_one_is_shown(open_page, tmp_path):
    (tmp_path / "bad.cif").write_text("data_x\n_cell_length_a 4\n")
    good = tmp_path / "good.vasp"
    good.write_text("NaCl\n1\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n")
    page = open_page("/viewer")
    page.get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").set_input_files([str(tmp_path / "bad.cif"), str(good)])
    page.get_by_text("bad.cif").last.wait_for()
    page.locator(".xv [role=img][aria-label^='NaCl,']").wait_for()
    assert "Traceback" not in page.content()
    clean(page)


def test_a_link_to_a_page_shows_the_navigation_at_once(open_page):
    page = open_page("/models")
    page.get_by_role("link", name="Viewer").first.wait_for()
    clean(page)


def test_a_long_run_shows_its_cell_and_can_be_cancelled(open_page):
    page = open_page("/predict_structure")
    page.at_rest()  # the form has come to rest
    page.get_by_text("Thorough", exact=True).click()  # minutes, so that the press below meets a live run
    predict(page)
    # the live cell, and soon the prototypes below it
    page.locator(".xv[data-rendered]").first.wait_for(timeout=300_000)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Stopped by you").wait_for()
    clean(page)


def test_a_press_holds_while_the_form_grows_above_it(open_page, server_home):
    page = open_page("/predict_structure")
    page.at_rest()
    button = page.get_by_role("button", name="Predict structure")
    button.scroll_into_view_if_needed()
    before = button.bounding_box()
    # sent when the field is left: by the press itself
    page.get_by_label("Formula", exact=True).fill("CaMg(CO3)2")
    page.mouse.move(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    page.mouse.down()
    page.get_by_text("Larger cells").wait_for(timeout=30_000)
    page.mouse.up()
    page.wait_for_url("**job=*", timeout=30_000)
    assert abs(button.bounding_box()["y"] - before["y"]) < before["height"] / 2  # it stays in sight
    jobs = JobQueue(server_home).list_jobs(results=False)
    assert any(job.request.get("formula") == "CaMg(CO3)2" for job in jobs)


def test_a_wrong_formula_says_so_in_the_page(open_page):
    page = open_page("/predict_structure")
    page.get_by_label("Formula", exact=True).fill("Xx2")
    page.get_by_label("Formula", exact=True).press("Enter")
    page.get_by_text("Did you mean").wait_for()
    clean(page)


HOSTILE = "![x](https://elsewhere.invalid/a.png)<img src='https://elsewhere.invalid/b.png'>"


def test_text_in_a_link_or_a_file_name_loads_nothing(open_page, tmp_path):
    page = open_page("/predict_structure?" + urlencode({"formula": HOSTILE}))
    page.get_by_test_id("stAlert").get_by_text("elsewhere.invalid").wait_for()
    clean(page)
    name = "![x](https:elsewhere.invalid).cif"
    (tmp_path / name).write_text("data_x\n_cell_length_a 4\n")
    page = open_page("/viewer")
    page.get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").set_input_files([str(tmp_path / name)])
    page.get_by_test_id("stAlert").get_by_text("![x]").wait_for()
    clean(page)


def test_a_list_of_formulas_runs_and_each_result_opens(open_page):
    page = open_page("/predict_structure")
    page.get_by_text("Several formulas").click()
    field = page.get_by_label("Formulas", exact=True)
    field.fill("SrTiO3\nXx2O3\nKMgF3")
    field.press("Control+Enter")
    page.get_by_text("Did you mean").wait_for()
    page.get_by_text("2 formulas will run").wait_for()
    page.get_by_role("radio", name="Quick").click()
    predict(page)
    page.wait_for_url("**batch=*")
    page.get_by_text("2 of 2 runs are over").wait_for(timeout=400_000)
    page.at_rest()  # the form is back beside the runs
    # the first row's box; the table itself is a canvas
    page.get_by_test_id("stDataFrame").first.click(position={"x": 15, "y": 55})
    page.get_by_role("heading", name="SrTiO₃", exact=True).wait_for()
    page.get_by_text("Ranked by").wait_for()
    clean(page)


@pytest.mark.parametrize("size", [(1366, 768), (1920, 1080)], ids=["laptop", "large"])
@pytest.mark.parametrize(
    "run", ["generate?job=demo-lithium-iron-oxides", "predict_structure?job=demo-titanium-dioxide"]
)
def test_the_cards_of_a_run_are_whole_without_scrolling(open_page, run, size):
    page = open_page(f"/{run}", viewport={"width": size[0], "height": size[1]})
    page.locator(".xg[data-pictures]").wait_for()
    page.at_rest()
    stage = page.locator(".xv[data-rendered] .stage").first
    stage.wait_for()
    assert stage.bounding_box()["height"] >= 320  # the cards do not take the room of the crystal
    for card in page.locator(".xg button").all():
        box = card.bounding_box()
        assert box["y"] + box["height"] <= size[1]
        for part in card.locator("img, .title, .caption, .badge").all():
            inner = part.bounding_box()
            assert inner["x"] >= box["x"] and inner["x"] + inner["width"] <= box["x"] + box["width"]
            assert inner["y"] + inner["height"] <= box["y"] + box["height"]
    clean(page)


def test_a_recorded_run_opens_from_its_picture(open_page):
    page = open_page("/")
    cards = page.locator(".xg[data-pictures] button")
    cards.filter(has_text="SrTiO₃").wait_for()
    assert all("seed 0, 2026-" in text for text in cards.all_inner_texts())
    cards.filter(has_text="SrTiO₃").click()
    page.wait_for_url("**job=demo-strontium-titanate*")
    page.get_by_text("Recorded run, not one of yours").wait_for()
    page.locator(".xv[data-rendered]").first.wait_for()
    expect(page.get_by_label("Formula", exact=True)).to_have_value("SrTiO3", timeout=20_000)
    page.get_by_text("Watch a cell form").click()
    page.locator(".xv[data-frame='30']").wait_for()  # the path, at its end
    page.get_by_label("Formula", exact=True).fill("KMgF3")
    page.get_by_label("Formula", exact=True).press("Enter")
    page.get_by_text("KMgF₃").first.wait_for()
    page.get_by_role("radio", name="Quick").click()
    predict(page)
    page.wait_for_url(lambda link: "job=demo-" not in link)
    page.get_by_role("heading", name="KMgF₃ · ").first.wait_for(timeout=400_000)
    # what was on the page before stays on it, greyed, until its successor is drawn
    page.get_by_text("Ranked by").first.wait_for(timeout=400_000)
    expect(page.get_by_text("Recorded run, not one of yours")).to_have_count(0, timeout=60_000)
    expect(page.get_by_label("Formula", exact=True)).to_have_value("KMgF3")
    clean(page)


def test_each_tab_of_a_result_has_room_on_a_laptop(open_page):
    page = open_page(
        "/predict_structure?job=demo-strontium-titanate", viewport={"width": 1366, "height": 768}
    )
    page.locator(".xv[data-rendered]").first.wait_for()
    facts = page.locator("[class*=st-key-facts-]")
    verdict = facts.get_by_text("✓ known").first
    verdict.wait_for()
    page.at_rest()
    facts.get_by_role("tab", name="Sites").click()
    table = facts.get_by_test_id("stDataFrame").locator("visible=true").first
    table.wait_for()
    expect(verdict).to_be_hidden()  # it would leave the tab a line or two
    panel = facts.bounding_box()
    assert panel["y"] + panel["height"] - table.bounding_box()["y"] > 100
    expect(facts.get_by_role("heading", name="SrTiO₃")).to_be_visible()
    facts.get_by_role("tab", name="Summary").click()
    expect(verdict).to_be_visible()
    clean(page)
