"""The Viewer page: what it keeps of an upload, what it says of it, and where it sends it."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystal_core.drawing.figures.xrd import xrd_figure
from crystal_core.files.records import cell_json, crystal_record
from crystal_core.files.writers import structure_to_text
from crystal_core.jobs.queue import JobQueue
from crystal_core.requests import RelaxationRequest, to_json
from pages._ui.crystal.detail import _newness
from pages._ui.link.address import full_address
from pages._ui.run.runs import link_of
from tests.pages.opening import run_page, words

page = partial(run_page, "viewer")

MGO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0] * 3, [0.5] * 3])
PLAIN_DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
KNOWN = {
    "known": True,
    "nearest_id": "mp-1265",
    "rmsd": 0.001,
    "nearest_formula": "MgO",
    "nearest_space_group": 225,
}


@pytest.fixture(autouse=True)
def home(no_worker):
    """A home of its own."""


def uploaded(structure=MGO, name="mine.cif"):
    at = page()
    at.button_group(key="how").set_value("Upload").run()
    at.file_uploader(key="file").upload(name, str(CifWriter(structure)).encode(), "chemical/x-cif").run()
    return at


def formula(at):
    return next(metric.value for metric in at.metric if metric.label == "Formula")


def test_an_upload_is_still_there_after_another_page_until_it_is_removed():
    at = uploaded()
    assert formula(at) == "MgO" and not at.exception and not at.error
    at.switch_page("pages/models.py").run()
    at.switch_page("pages/viewer.py").run()
    assert formula(at) == "MgO" and "Still here: mine.cif" in words(at.caption) and not at.exception
    at.button(key="remove").click().run()
    assert not at.metric and not at.exception


def test_a_pasted_text_is_still_there_after_another_page():
    at = page()
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value(str(CifWriter(MGO))).run()
    at.switch_page("pages/models.py").run()
    at.switch_page("pages/viewer.py").run()
    assert formula(at) == "MgO" and not at.exception


def test_a_wavelength_of_the_readers_own_moves_the_peaks_and_one_too_short_to_wait_for_is_refused(
    monkeypatch,
):
    patterns = []
    monkeypatch.setattr(
        "pages._ui.crystal.diffraction.xrd_figure",
        lambda sticks, *rest, **named: patterns.append(sticks) or xrd_figure(sticks, *rest, **named),
    )
    at = page()
    at.selectbox(key="viewer-radiation").set_value("custom").run()
    field = at.number_input(key="viewer-wavelength")
    assert (field.min, field.max, field.value) == (0.1, 5.0, 1.5406)  # Cu Kα1
    barium_titanate = patterns[-1]
    assert barium_titanate.radiation == 1.5406 and not at.exception
    assert barium_titanate.two_theta[0] == pytest.approx(
        2 * math.degrees(math.asin(1.5406 / (2 * 4.01))), abs=1e-6
    )
    field.set_value(0.1).run()
    assert "too many reflections" in words(at.info) and not at.exception and not at.error


def test_an_upload_is_compared_with_known_crystals_and_can_be_sent_on():
    at = uploaded()
    assert (
        "It is [mp-1265](https://next-gen.materialsproject.org/materials/mp-1265) (MgO, space group 225)"
        in words(at.markdown).translate(PLAIN_DIGITS)
        and not at.exception
    )
    assert "· known" in words(at.markdown)  # in grey: no fault of a crystal of one's own
    link = next(link for link in at.get("page_link") if link.proto.label == "Predict this formula")
    assert link.proto.query_string == "formula=MgO"


def test_the_checks_of_a_crystal_are_named_by_their_outcome():
    names = lambda structure: words(uploaded(structure).markdown)
    good = names(MGO)
    assert "✓ valid structure" in good and "✓ plausible distances" in good
    squeezed = names(Structure(Lattice.cubic(3.0), ["O", "O"], [[0, 0, 0], [0.25, 0, 0]]))  # 0.75 Å apart
    assert "✓ valid structure" in squeezed and "✗ implausible distances" in squeezed
    assert "✗ plausible" not in squeezed


def test_an_upload_is_handed_over_to_be_completed(tiny_de_novo):
    tiny_de_novo(elements=(8, 12))
    cell = MGO.get_primitive_structure()
    at = uploaded(cell)
    at.button(key="complete").click().run()
    assert at.query_params["own"]
    at.switch_page("pages/generate.py").run()  # the browser's page, which the harness does not follow
    assert "MgO is in the form: choose under Advanced" in words(at.info)
    assert "MgO, 2 atoms" in words(at.caption) and at.toggle(key="fix-lattice").value and not at.exception
    at.multiselect(key="fix-sites").set_value([1]).run()
    at.button(key="generate").click().run()
    request = JobQueue().list_jobs()[0].request
    assert (
        request["fix"]["atomic_numbers"] == [12, 8] and request["fix_sites"] == [1] and request["fix_lattice"]
    )


def test_what_does_not_fit_a_file_goes_along_to_other_pages(tiny_de_novo):
    tiny_de_novo(elements=(8, 12))
    text = str(CifWriter(MGO.get_primitive_structure()))
    text = text.replace("_chemical_formula_sum", "_chemical_formula_sum 'Mg O H2'\n_ignored")
    at = page()
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value(text).run()
    at.button(key="relax-own").click().run()
    (job,) = JobQueue().list_jobs()
    (note,) = job.request["crystals"][0]["notes"]
    assert "has hydrogen" in note
    at = page()
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value(text).run()
    at.button(key="complete").click().run()
    at.switch_page("pages/generate.py").run()  # the browser's page, which the harness does not follow
    assert f"pasted text: {note}" in words(at.warning) and not at.exception
    at.button(key="generate").click().run()
    assert JobQueue().list_jobs()[0].request["fix"]["notes"] == [f"pasted text: {note}"]


def test_a_crystal_that_is_not_to_be_completed_after_all_leaves_the_page(tiny_de_novo):
    tiny_de_novo(elements=(8, 12))
    at = uploaded(MGO.get_primitive_structure())
    at.button(key="complete").click().run()
    at.switch_page("pages/generate.py").run()
    at.button(key="forget").click().run()
    assert (
        "Press **Generate**" in words(at.info) and "under Advanced" not in words(at.info) and not at.exception
    )


def test_the_link_of_a_crystal_handed_over_elsewhere_says_so_and_the_form_works(tiny_de_novo):
    tiny_de_novo(elements=(8, 12))
    at = run_page("generate", own="0123456789ab")
    assert (
        "upload it under Advanced" in words(at.info)
        and not at.exception
        and not at.button(key="generate").disabled
    )


def test_a_crystal_of_ones_own_becomes_a_column_of_a_comparison():
    at = uploaded(MGO)
    at.button(key="compare-own").click().run()
    at.switch_page("pages/compare.py").run()
    assert not at.exception and not at.warning
    assert at.button_group(key="cmp-0-source").value == "As it was" and "MgO: 1 crystals" in words(at.caption)
    assert at.text_input(key="cmp-formula").value == "MgO"
    at.button(key="compare").click().run()
    first, second = JobQueue().list_jobs()[0].request["columns"]
    assert first["crystals"][0]["atomic_numbers"] == cell_json(MGO)["atomic_numbers"] and second["model"]


def test_a_comparison_with_a_crystal_that_this_browser_does_not_hold_says_so():
    at = run_page("compare", own="0123456789ab")
    assert "upload it as Files" in words(at.warning) and not at.exception
    assert not at.button(key="compare").disabled


def test_the_address_to_copy_names_what_the_page_shows():
    query = {"job": ["demo-zinc-sulphide"], "crystal": ["a b&c"]}
    assert full_address("http://lab:8501/viewer", query) == (
        "http://lab:8501/viewer?job=demo-zinc-sulphide&crystal=a+b%26c"
    )
    assert full_address("http://lab:8501/viewer", {}) == "http://lab:8501/viewer"


def test_what_in_a_file_does_not_fit_its_crystal_is_said_beside_it():
    text = str(CifWriter(MGO)).replace("_chemical_formula_sum", "_chemical_formula_sum 'Mg O H2'\n_ignored")
    at = page()
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value(text).run()
    assert "Mg O H2, has hydrogen, but the list of atoms has none" in words(at.warning)
    assert formula(at) == "MgO" and not at.exception


def test_what_a_file_contradicts_itself_in_stands_in_one_box():
    # oxygen beside a special position: it is moved there, and fewer atoms are left
    places = [[0.125] * 3, [0.5] * 3, [0.2624] * 3]
    crystal = Structure.from_spacegroup("Fd-3m", Lattice.cubic(8.08), ["Mg", "Al", "O"], places)
    at = page()
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value(str(CifWriter(crystal, symprec=0.01))).run()
    (box,) = at.warning
    said = box.value.replace("\\", "")
    assert "is moved by" in said and "The formula of the file" in said and not at.exception
    assert box.value.count("  \n") == 2, "a line for each of the three"


def test_what_models_cannot_take_is_not_sent_on():
    at = uploaded(
        Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(4.3), [{"Fe": 0.6, "Ni": 0.4}, "O"], [[0] * 3, [0.5] * 3]
        )
    )
    assert not [button for button in at.button if button.key == "relax-own"] and "compared" not in words(
        at.markdown
    )
    assert not [button for button in at.button if button.key == "complete"]
    assert (
        "Predict this formula" not in [link.proto.label for link in at.get("page_link")] and not at.exception
    )


def test_a_large_cell_is_compared_by_its_primitive_one_or_not_at_all():
    assert "mp-1265" in _newness(structure_to_text(MGO * (3, 3, 3), "json")).reason
    rattled = (MGO * (3, 3, 3)).copy()
    rattled.perturb(0.3)
    assert _newness(structure_to_text(rattled, "json")).word == "not compared"


def test_an_upload_is_relaxed_in_the_queue_and_its_link_shows_it_again():
    at = uploaded()
    at.button(key="relax-own").click().run()
    queue = JobQueue()
    (job,) = queue.list_jobs()
    assert (
        job.kind == "relax"
        and job.request["crystals"][0]["provenance"] == {"file": "mine.cif"}
        and not at.exception
    )
    assert at.query_params["job"] in (job.id, [job.id]) and any(
        button.key == f"cancel-{job.id}" for button in at.button
    )
    relaxed_record = crystal_record(
        MGO.copy().scale_lattice(73.0), id="MgO", provenance={"file": "mine.cif"}, novelty=KNOWN
    )
    energies = {
        "energy_per_atom_ev": -6.0,
        "e_above_hull_ev": 0.0,
        "e_above_hull_error_ev": 0.05,
        "decomposition": {"MgO": 1.0},
        "note": "",
    }
    outcome = {
        "potential": "CHGNet",
        "converged": True,
        "status": "Relaxed.",
        "n_steps": 3,
        "displacement_angstrom": 0.01,
    }
    record = relaxed_record | {"energies": energies, "relaxation": outcome, "original": cell_json(MGO)}
    queue.update(job.id, state="done", result={"crystals": [record], "settings": {}, "seconds": 1.0})
    at = page(job=job.id)  # as after a reload, with no upload at hand
    assert "MgO · Fm-3m · mine.cif" in words(at.header) and not at.exception and not at.error
    assert "may be stable" in words(at.markdown) and "mp-1265" in words(at.markdown)
    assert "Above the hull (eV/atom, ML estimate)" in [metric.label for metric in at.metric]
    (ways,) = [group for group in at.button_group if str(group.key).startswith("way-")]
    assert ways.options[:3] == ["Relaxed", "Relaxed over given", "As given"]
    ways.set_value("Relaxed over given").run()
    assert "Pale, with the dashed cell: as given." in words(at.caption) and not at.exception


def test_a_relaxation_that_failed_still_shows_its_crystal_and_a_dead_link_says_so():
    crystal = {"id": "MgO", **cell_json(MGO), "origin": None, "provenance": {"file": "mine.cif"}}
    queue = JobQueue()
    job = queue.submit("relax", to_json(RelaxationRequest(crystals=(crystal,))))
    queue.update(job, state="failed", error="CHGNet is not installed.")
    at = page(job=job)
    assert "CHGNet is not installed." in words(at.error) and formula(at) == "MgO" and not at.exception
    at = page(job="gone")
    assert "deleted with its run" in words(at.warning) and not at.exception
    assert at.button_group(key="how").value == "Example"  # and the page is of use all the same


def test_a_relaxation_begun_in_the_viewer_is_opened_there():
    crystal = {"id": "MgO", **cell_json(MGO), "origin": None, "provenance": {"file": "mine.cif"}}
    queue = JobQueue()
    job = queue.submit("relax", to_json(RelaxationRequest(crystals=(crystal,))))
    child = queue.submit("relax", to_json(RelaxationRequest(crystals=(crystal,))), parent="made")
    assert link_of(queue.get(job)) == ("pages/viewer.py", {"job": job})
    assert link_of(queue.get(child)) == ("pages/generate.py", {"job": "made"})


def test_oxidation_states_and_the_phase_diagram_come_when_they_are_wanted(monkeypatch):
    # CHGNet takes seconds; this is about its energy of BaTiO3, eV/atom
    potential = SimpleNamespace(predict=lambda structure, task: {task: -7.9})
    monkeypatch.setattr("pages._ui.crystal.phases.load_potential", lambda: potential)
    at = page()
    sites = lambda: next(frame.value for frame in at.dataframe if "Wyckoff" in frame.value)
    assert "oxidation state" not in sites() and "known compounds" not in words(at.text)
    at.toggle(key="viewer-valences").set_value(True).run()
    assert sites()["oxidation state"].tolist() == ["+2", "+4", "−2", "−2", "−2"]
    assert sites()["Wyckoff"].tolist() == ["1a", "1b", "3c", "3c", "3c"]
    assert list(sites())[3:8] == [
        "x",
        "y",
        "z",
        "bonded to",
        "oxidation state",
    ]
    at.toggle(key="viewer-phases").set_value(True).run()
    assert "above the hull of known compounds" in words(at.text)
    assert "2020 corrections" in words(at.caption) and "not relaxed" in words(at.caption)
    assert not at.exception and not at.error


def test_the_frames_of_a_path_are_coloured_and_have_arrows_on_one_scale(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "pages._ui.crystal.path.crystal_viewer", lambda scene, *, frames, **_: drawn.append(frames)
    )
    frame = (
        '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3:magmoms:R:1 energy={0}\n'
        "Fe 0 0 0 0 {0} 0 {0}\nO 2 2 2 0 0 0 0\n"
    )
    at = page(colour="force")
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value("".join(frame.format(k) for k in (1, 2, 4))).run()
    frames = drawn[-1]
    assert {(one["colouring"]["low"], one["colouring"]["high"]) for one in frames} == {(0, 4)}
    assert len({one["colouring"]["colours"][0] for one in frames}) == 3
    assert [one["moments"]["vectors"][0][2] for one in frames] == [1, 2, 4]
    assert {one["moments"]["longest"] for one in frames} == {4} and not at.exception
    assert "arrows point along c" in words(at.caption)


def test_the_place_of_a_frame_is_no_warning():
    text = "Cs Br\n1\n4.2 0 0\n0 4.2 0\n0 0 4.2\nCs Br\n1 1\n" + "".join(
        f"Direct configuration= {k}\n0 0 0\n0.5 0.5 {0.5 + k / 100}\n" for k in (1, 2)
    )
    at = page()
    at.button_group(key="how").set_value("Upload").run()
    at.file_uploader(key="file").upload("XDATCAR", text.encode(), "text/plain").run()
    assert "Frame 2 of 2." in words(at.caption) and not at.warning and not at.exception


def test_a_trajectory_beside_another_file_is_one_card_and_is_played_when_chosen(monkeypatch):
    cards, played = [], []
    text = "Cs Br\n1\n4.2 0 0\n0 4.2 0\n0 0 4.2\nCs Br\n1 1\n" + "".join(
        f"Direct configuration= {k}\n0 0 0\n0.5 0.5 {0.5 + k / 50}\n" for k in (1, 2, 3)
    )
    chosen = [0]
    monkeypatch.setattr(
        "pages._ui.viewer.crystal_gallery", lambda drawn, **_: cards.append(drawn) or chosen[0]
    )
    monkeypatch.setattr(
        "pages._ui.crystal.path.crystal_viewer", lambda scene, *, frames, **_: played.append(len(frames))
    )
    at = page()
    at.button_group(key="how").set_value("Upload").run()
    at.file_uploader(key="file").upload("mine.cif", str(CifWriter(MGO)).encode(), "chemical/x-cif")
    at.file_uploader(key="file").upload("XDATCAR", text.encode(), "text/plain").run()
    assert [card["caption"] for card in cards[-1]] == ["mine.cif", "XDATCAR, 3 frames"]
    assert formula(at) == "MgO" and not played and not at.exception
    chosen[0] = 1
    at.run()
    assert played == [3] and formula(at) == "CsBr" and "Frame 3 of 3." in words(at.caption)
    at.slider(key="viewer-1-frame").set_value(2).run()
    assert "Frame 2 of 3." in words(at.caption) and not at.exception
