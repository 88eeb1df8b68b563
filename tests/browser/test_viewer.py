"""The 3D component in a real browser: what it draws is what the core says, and its tools tell the truth."""

import base64
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Molecule, Structure

from crystal_core.drawing.scene import build_scene, expand
from pages._ui.crystal.typeset import formula_text
from pages._ui.viewer import SCRIPTS
from tests.browser.pictures import pixels

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
ROOT = Path(__file__).parents[2]

EXAMPLES = {
    "NaCl (rock salt)": Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ),
    "TiO2 (rutile)": Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    ),
    "Si (diamond)": Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.431), ["Si"], [[0, 0, 0]]),
}


@pytest.fixture(scope="module")
def page(server, new_context):
    context = new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(server + "/viewer")
    page.locator(".xv[data-rendered]").wait_for()
    yield page
    context.close()


def show(page, name):
    page.get_by_role("combobox", name=re.compile("Example")).click()
    page.get_by_role("option", name=formula_text(name)).click()
    stage = page.locator(".xv")
    formula = name.split()[0]
    page.locator(f".xv [role=img][aria-label^='{formula},']").wait_for()
    # no late run draws it anew
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    return stage


def expect_drawn(stage, block):
    for attribute, key in (("rendered", "atoms"), ("bonds", "bonds"), ("polyhedra", "polyhedra")):
        expect(stage).to_have_attribute(f"data-{attribute}", str(len(block[key])), timeout=60_000)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_browser_repeats_cells_as_the_core_does(page, name):
    stage = show(page, name)
    scene = build_scene(EXAMPLES[name])
    expect_drawn(stage, expand(scene))
    if not stage.get_by_label("Cells along a").is_visible():
        stage.get_by_role("button", name="More", exact=True).click()
    stage.get_by_label("Cells along a").fill("2")
    stage.get_by_label("Cells along a").press("Enter")
    expect_drawn(stage, expand(scene, (2, 1, 1)))
    stage.get_by_label("Cells along a").fill("1")
    stage.get_by_label("Cells along a").press("Enter")


def test_measuring_gives_the_distance_the_angle_and_the_torsion(page):
    stage = show(page, "NaCl (rock salt)")
    stage.get_by_role("button", name="Measure").click()
    handle = stage.element_handle()
    # three atoms along the edges that meet in the origin: sodium at 0, chlorine half an edge away on two of
    # them, then the chlorine amid the cell: 45° tells a wrong sign and a wrong half turn apart
    picks = page.evaluate(
        """e => { const near = (p, q) => Math.hypot(...p.map((x, k) => x - q[k])) < 1e-3;
        const atoms = e.getAtoms();
        return [[2.82, 0, 0], [0, 0, 0], [0, 2.82, 0], [2.82, 2.82, 2.82]]
          .map(q => atoms.findIndex(a => near(a.p, q))); }""",
        handle,
    )
    page.evaluate("([e, k]) => e.pick(k)", [handle, picks[0]])
    page.evaluate("([e, k]) => e.pick(k)", [handle, picks[1]])
    expect(stage.locator(".note")).to_contain_text("2.820 Å")
    page.evaluate("([e, k]) => e.pick(k)", [handle, picks[2]])
    expect(stage.locator(".note")).to_contain_text("90.00°")
    page.evaluate("([e, k]) => e.pick(k)", [handle, picks[3]])
    path = Molecule(["H"] * 4, [[2.82, 0, 0], [0, 0, 0], [0, 2.82, 0], [2.82, 2.82, 2.82]])
    expect(stage.locator(".note")).to_contain_text(f": {path.get_dihedral(0, 1, 2, 3):.2f}° torsion")
    page.get_by_text(re.compile(r"^Cl\d+: \(")).wait_for()  # the page heard which atom it was
    stage.get_by_role("button", name="Measure").click()


def test_the_legend_hides_an_element_and_the_image_changes(page):
    stage = show(page, "TiO2 (rutile)")
    handle = stage.element_handle()
    before = page.evaluate("e => e.getImage(1, false)", handle)
    stage.get_by_role("button", name="O", exact=True).click()
    after = page.evaluate("e => e.getImage(1, false)", handle)
    assert (
        before != after
        and stage.get_by_role("button", name="O", exact=True).get_attribute("aria-pressed") == "false"
    )
    stage.get_by_role("button", name="O", exact=True).click()


def test_dark_colours_are_lightened_in_the_dark_theme_and_with_it_changed(open_page):
    page = open_page("/viewer", color_scheme="dark")
    page.locator(".xv[data-rendered]").wait_for()
    stage = show(page, "Si (diamond)")
    dot = stage.get_by_title("Show or hide Si").locator(".dot")
    colours = build_scene(EXAMPLES["Si (diamond)"])
    for scheme, palettes in (("dark", "dark_palettes"), ("light", "palettes")):
        page.emulate_media(color_scheme=scheme)
        wanted = [int(colours[palettes]["VESTA"]["Si"][k : k + 2], 16) for k in (1, 3, 5)]
        expect(dot).to_have_css("background-color", f"rgb({', '.join(map(str, wanted))})", timeout=60_000)


def test_images_come_in_the_size_asked_for(page):
    handle = show(page, "Si (diamond)").element_handle()
    # software drawing of a large picture takes a minute
    page.set_viewport_size({"width": 480, "height": 700})
    widths = []
    for scale in (1, 4):
        data = base64.b64decode(
            page.evaluate("([e, k]) => e.getImage(k, true)", [handle, scale]).split(",")[1]
        )
        assert data.startswith(b"\x89PNG")
        widths.append(struct.unpack(">I", data[16:20])[0])
    page.set_viewport_size({"width": 1280, "height": 1000})
    assert widths[1] == pytest.approx(4 * widths[0], abs=4)


def test_the_camera_stays_when_only_the_cell_choice_changes(page):
    stage = show(page, "Si (diamond)")
    handle = stage.element_handle()
    stage.get_by_role("button", name="b", exact=True).click()
    turned = page.evaluate("e => e.getView().slice(4)", handle)
    page.get_by_role("radio", name="primitive").or_(page.get_by_text("Primitive", exact=True)).first.click()
    page.locator(".xv [role=img][aria-label*=' 2 atoms']").wait_for()
    assert page.evaluate("e => e.getView().slice(4)", handle) == pytest.approx(turned)
    page.get_by_text("As given", exact=True).first.click()


def test_looking_along_an_axis_puts_it_towards_the_reader(page):
    stage = show(page, "TiO2 (rutile)")
    for axis, direction in (("a", (1, 0, 0)), ("b", (0, 1, 0)), ("c", (0, 0, 1))):
        stage.get_by_role("button", name=axis, exact=True).click()
        x, y, z, w = page.evaluate("e => e.getView().slice(4)", stage.element_handle())
        # third row of the rotation
        towards = (
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        )
        assert towards == pytest.approx(direction, abs=1e-5)


@pytest.mark.parametrize(
    ("style", "axis"), [("ball", "Reset"), ("space", "Reset"), ("space", "a"), ("space", "c")]
)
def test_no_ball_is_cut_off_at_the_border(page, style, axis):
    stage = show(page, "NaCl (rock salt)")
    stage.get_by_label("Style").select_option(style)
    stage.get_by_role("button", name=axis, exact=True).click()
    alpha = pixels(page, stage)[:, :, 3]
    stage.get_by_label("Style").select_option("ball")
    assert not alpha[[0, 1, -2, -1], :].any() and not alpha[:, [0, 1, -2, -1]].any()
    crystal = alpha[:, :-110]  # without the axes in the corner
    assert np.ptp(np.nonzero(crystal.any(1))[0]) > 0.6 * len(alpha)  # and the height is used


def test_a_window_of_another_width_shows_the_whole_crystal_from_the_same_side(open_page):
    page = open_page("/viewer")
    stage = page.locator(".xv[data-rendered]")
    stage.wait_for()
    handle, wide = stage.element_handle(), "JSON.stringify(e.getView())"
    before = page.evaluate(f"e => {wide}", handle)
    page.set_viewport_size({"width": 360, "height": 900})
    page.wait_for_function(f"([e, before]) => {wide} !== before", arg=[handle, before])
    fitted = page.evaluate("e => e.getView()", handle)
    stage.get_by_role("button", name="Reset").click()
    assert page.evaluate("e => e.getView()", handle) == pytest.approx(fitted)
    stage.get_by_role("button", name="c", exact=True).click()
    before = page.evaluate("e => e.getView()", handle)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_function("([e, z]) => e.getView()[3] !== z", arg=[handle, before[3]])
    assert page.evaluate("e => e.getView().slice(4)", handle) == pytest.approx(before[4:])


def test_the_saved_image_shows_what_was_measured(page):
    stage = show(page, "NaCl (rock salt)")
    stage.get_by_role("button", name="Measure").click()
    before = pixels(page, stage)
    for k in (0, 5):
        page.evaluate("([e, k]) => e.pick(k)", [stage.element_handle(), k])
    after = pixels(page, stage)
    stage.get_by_role("button", name="Measure").click()
    amber = lambda image: int(
        ((image[..., 0] > 200) & (image[..., 1] > 130) & (image[..., 2] < 130) & (image[..., 3] > 0)).sum()
    )
    assert amber(after) > amber(before) + 200


def test_a_slow_machine_skips_frames_and_the_last_one_is_drawn(page):
    source = (ROOT / "pages/_ui/viewer/pace.js").read_text()
    drawn, rested, free = page.evaluate(
        """async (source) => {
        const makePace = new Function(source + '; return makePace;')();
        let clock = 0, seen = true;
        const timers = [], drawn = [];
        const later = (act, ms) => timers.push([clock + ms, act]);
        const pace = makePace({ now: () => clock, later, forget: () => {}, hidden: () => !seen });
        const rested = [];
        for (let frame = 0; frame < 200; frame++) {
          for (const [due, act] of timers.splice(0)) due <= clock ? act() : timers.push([due, act]);
          pace.ask((done) => { drawn.push(frame); clock += frame < 100 ? 20 : 300; done(); });
          clock += 50;
          if (frame === 150) seen = false;
          if (frame === 190) {
            rested.push(drawn.length);
            seen = true;
            pace.next();
            rested.push(drawn.at(-1));
          }
        }
        while (timers.length) { const timer = timers.shift(); clock = Math.max(clock, timer[0]); timer[1](); }
        clock += 400;
        return [drawn, rested, [pace.free(0.1), pace.free(0.5)]];
        }""",
        source,
    )
    assert drawn[:100] == list(range(100))  # 20 ms a frame: every one
    slow = [frame for frame in drawn if 101 <= frame <= 150]
    assert len(slow) <= 2  # 300 ms a frame, 2.7 s of rest in between
    assert rested[1] == 190  # nothing while hidden, then the newest
    assert drawn[-1] == 199
    # what the reader set in motion may take more of the time than what runs by itself
    assert free == [
        False,
        True,
    ]


def test_what_does_not_change_is_not_drawn_again(page):
    stage = show(page, "Si (diamond)")
    page.wait_for_timeout(1500)
    script = """async e => {
        const drawing = e.__view.gl.getRenderer(), render = drawing.render.bind(drawing);
        const labels = e.__view.toggles.labels;
        let n = 0;
        drawing.render = (...of) => { n++; render(...of); };
        %s
        delete drawing.render;
        return n;
    }"""
    assert (
        page.evaluate(script % "await new Promise(done => setTimeout(done, 1000));", stage.element_handle())
        == 0
    )
    # one drawing a change, also with a label on every atom
    assert page.evaluate(script % "labels.click(); labels.click();", stage.element_handle()) == 2


def test_keys_with_modifiers_stay_the_browsers_and_the_legend_is_no_part_of_the_image(page):
    stage = show(page, "TiO2 (rutile)")
    image = stage.locator("[role=img]")
    polyhedra = stage.get_by_role("button", name="Polyhedra", exact=True)
    legend = stage.locator(".legend button").first
    assert image.locator("button, [aria-live]").count() == 0
    press = (
        "(e, more) => e.dispatchEvent(new KeyboardEvent('keydown', { key: 'p', bubbles: true, "
        "cancelable: true, ...more }))"
    )
    for modifier in ("ctrlKey", "metaKey", "altKey"):
        assert image.evaluate(press, {modifier: True})  # nobody prevented it
    expect(polyhedra).to_have_attribute("aria-pressed", "true")
    assert not image.evaluate(press, {})
    expect(polyhedra).to_have_attribute("aria-pressed", "false")
    image.focus()
    page.keyboard.press("p")
    expect(polyhedra).to_have_attribute("aria-pressed", "true")
    keys = stage.locator(".note")
    image.focus()
    page.keyboard.press("h")
    expect(keys).to_have_text("")
    page.keyboard.press("Shift+H")
    expect(keys).to_contain_text("0: first view")
    page.keyboard.press("Escape")
    expect(keys).to_have_text("")
    for pressed in ("false", "true"):
        legend.focus()
        page.keyboard.press("Space")
        expect(legend).to_have_attribute("aria-pressed", pressed)


def test_a_press_on_the_picture_brings_it_its_keys_and_a_button_tells_them(page):
    stage = show(page, "TiO2 (rutile)")
    image, keys = stage.locator("[role=img]"), stage.locator(".note")
    ring = "e => getComputedStyle(e.closest('.stage'), '::after').borderTopStyle"
    box = image.bounding_box()
    page.mouse.click(box["x"] + 8, box["y"] + 60)
    expect(image).to_be_focused()
    assert image.evaluate(ring) == "none"  # a pointer shows by itself where it is
    before = page.evaluate("e => e.getView()", stage.element_handle())
    page.keyboard.press("x")
    assert page.evaluate("e => e.getView()", stage.element_handle()) != before
    stage.locator(".legend button").first.focus()
    page.keyboard.press("Shift+Tab")
    expect(image).to_be_focused()
    assert image.evaluate(ring) == "solid"
    show_keys = stage.get_by_role("button", name="Keys of the picture (Shift+H)")
    show_keys.click()
    expect(keys).to_contain_text("S: style")
    show_keys.click()
    expect(keys).to_have_text("")


def test_a_forming_crystal_whose_elements_change_keeps_the_camera(page):
    show(page, "Si (diamond)")
    source = "\n".join((ROOT / "pages/_ui/viewer" / name).read_text() for name in (*SCRIPTS, "mount.js"))
    forming = [
        Structure(Lattice.cubic(4.2), elements, [[0, 0, 0], [0.5, 0.5, 0.5]])
        for elements in (["Na", "Cl"], ["K", "Br"], ["K", "I"])
    ]
    seen = page.evaluate(
        """async ([source, scenes]) => {
        const script = new Blob([source], { type: 'text/javascript' });
        const { default: component } = await import(URL.createObjectURL(script));
        const parentElement = document.createElement('div');
        parentElement.innerHTML = '<div class="xv"></div>';
        document.body.append(parentElement);
        const root = parentElement.firstChild;
        const rest = (ms) => new Promise(done => setTimeout(done, ms));
        const until = async (test) => { while (!test()) await rest(20); };
        const options = { frames: null, height: 300, selected: null, report: false, live: true };
        const give = (scene) =>
          component({ data: { scene, ...options }, parentElement, setTriggerValue: () => {} });
        const legend = () => [...root.querySelectorAll('.legend button')].map(e => e.textContent).join();
        const seen = [], turn = () => root.getView().slice(4).map(x => Math.round(1e4 * x));
        give(scenes[0]);
        await until(() => root.dataset.ms !== undefined);
        root.__view.gl.rotate(40, 'y');
        seen.push(turn());
        // another picture is being drawn
        root.__view.pace.ask(async (done) => { await rest(200); done(); });
        give(scenes[1]);
        await rest(50);
        seen.push(legend());
        give(scenes[2]);
        await until(() => legend() !== seen[1]);
        const label = root.querySelector('[role=img]').getAttribute('aria-label');
        seen.push(legend(), turn(), root.getAtoms()[0].e, label);
        root.__view.close();
        parentElement.remove();
        return seen;
        }""",
        [source, [build_scene(structure) for structure in forming]],
    )
    assert seen[:2] == [seen[3], "Na,Cl"] and seen[2] == "K,I" and seen[4] in ("K", "I") and "KI" in seen[5]
