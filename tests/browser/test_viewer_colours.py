"""Colours of atoms by their values: kept in a link, and along a trajectory that plays."""

import re

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.drawing.scene import build_scene
from crystal_core.drawing.site_values import Colouring, coloured
from tests.browser.pictures import near, pixels
from tests.files.test_site_values import MNF2

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.431), ["Si"], [[0, 0, 0]])


def test_the_colouring_of_a_link_is_shown(open_page):
    page = open_page("/viewer?colour=coordination-number")
    page.locator(".xv [role=img][aria-label*='coloured by Coordination number, from 2 to 6']").wait_for()
    page.get_by_role("combobox", name="Colour atoms by").click()
    page.get_by_role("option", name="Colour: Element", exact=True).click()
    page.locator(".xv [role=img]:not([aria-label*='coloured'])").wait_for()
    expect(page).not_to_have_url(re.compile("colour="))


def test_a_trajectory_plays_through_and_its_frames_are_coloured_by_their_forces(open_page):
    cell = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 energy=-9.5'
    frames = [f"2\n{cell}\nCs 0 0 0 0 0 {k / 20}\nBr 2 2 {2 + k / 20} 0 0 {-k / 20}\n" for k in range(24)]
    page = open_page("/viewer")
    page.locator(".xv[data-rendered]").wait_for()
    page.get_by_text("Upload", exact=True).first.click()
    page.locator("input[type=file]").set_input_files(
        {"name": "md.extxyz", "mimeType": "text/plain", "buffer": "".join(frames).encode()}
    )
    start = page.get_by_role("button", name="▶ Play")
    start.wait_for()
    page.at_rest()
    stage = page.locator(".xv").first
    stage.evaluate(
        """e => { e.__seen = []; new MutationObserver(() => e.__seen.push(Number(e.dataset.frame)))
        .observe(e, { attributeFilter: ["data-frame"] }); }"""
    )
    start.click()
    stage.get_by_role("button", name="Pause").wait_for()
    start.wait_for()
    expect(stage).to_have_attribute("data-frame", "23")
    seen = stage.evaluate("e => e.__seen")
    assert seen == sorted(seen) and len(set(seen)) >= 8  # however slowly the machine draws
    stage.get_by_label("Moment of the path").focus()
    page.keyboard.press("Home")
    expect(stage).to_have_attribute("data-frame", "0")
    page.get_by_role("combobox", name="Colour atoms by").first.click()
    page.get_by_role("option", name="Colour: Force").click()
    page.locator(".xv [role=img][aria-label*='coloured by force, from 0 to 1.15 eV/Å']").wait_for()
    assert not page.outside and not page.faults


def test_atoms_are_coloured_by_their_moments_and_arrows_can_be_hidden(open_page):
    page = open_page("/viewer")
    page.locator(".xv[data-rendered]").wait_for()
    page.get_by_text("Upload", exact=True).first.click()
    page.locator("input[type=file]").set_input_files(
        {"name": "mnf2.mcif", "mimeType": "text/plain", "buffer": MNF2.encode()}
    )
    page.locator(".xv [role=img][aria-label*='Arrows show magnetic moments of up to 4.6 µB']").wait_for()
    stage = page.locator(".xv")
    up, down = (  # the two ends of the scale, of which only the moments are coloured
        coloured(
            build_scene(SILICON),
            Colouring(label="m", unit="", values=(4.6, -4.6, *[None] * 6)),
        )["colouring"]["colours"][:2]
    )
    before = pixels(page, stage)
    stage.get_by_role("button", name="Moments", exact=True).click()
    without = pixels(page, stage)
    assert (before != without).any(-1).sum() > 500  # the arrows are gone
    # the first press opens it, also after one in the viewer
    page.get_by_role("combobox", name="Colour atoms by").click()
    page.get_by_role("option", name="Colour: Magnetic moment", exact=True).click()
    page.locator(".xv [role=img][aria-label*='coloured by Magnetic moment, from −4.6 to 4.6 µB']").wait_for()
    expect(page).to_have_url(re.compile(r"colour=magnetic-moment"))
    page.at_rest()
    tinted = pixels(page, stage)
    assert min(near(tinted, up), near(tinted, down)) > 20 * max(1, near(without, up), near(without, down))
    assert not page.outside and not page.faults
