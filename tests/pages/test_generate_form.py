"""The form of the Generate page: it explains itself, refuses at the field, and is filled
by links and runs.
"""

from types import SimpleNamespace

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystal_core.cards import write_card
from crystal_core.errors import RequestError
from crystal_core.files.records import cell_json, crystal_record, structure_from_record
from crystal_core.jobs.queue import JobQueue
from crystal_core.requests import (
    CrystalGenerationRequest,
    RelaxationRequest,
    to_json,
)
from pages._ui.run.calls import as_command, as_python
from pages._ui.run.runs import title_of
from tests.pages.generation import ROCK_SALT, finished_run, page
from tests.pages.opening import run_page, words

pytestmark = pytest.mark.usefixtures("no_worker")


def test_without_a_model_the_page_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path))
    at = page()
    assert "checkpoints/" in at.warning[0].value and not at.error and not at.exception


def test_elements_are_refused_at_their_field(tiny_de_novo):
    tiny_de_novo()
    at = page()
    assert not at.exception and not at.error
    for text, part in (
        ("Li-Xx", "Did you mean"),
        ("Li-Au", "not trained on Au"),
        ("LiFePO4", "only elements"),
        ("Li", ""),
    ):
        at.text_input(key="elements").set_value(text).run()
        assert part in words(at.error) and bool(at.error) == bool(part) == at.button(key="generate").disabled
    at.text_input(key="exclude").set_value("Li").run()
    assert "Li is both allowed and excluded" in words(at.error) and not at.exception
    assert not JobQueue().list_jobs()


def test_a_link_fills_the_form_and_the_button_asks_for_what_it_says(tiny_de_novo):
    name = tiny_de_novo()
    at = page(n="3", elements="Li-Fe-O", atoms="8")
    assert at.number_input(key="make-n").value == 3 and at.number_input(key="atoms").value == 8
    assert "of 2 to 5 atoms; other numbers of atoms are a guess" in words(at.warning) and not at.error
    at.number_input(key="atoms").set_value(5).run()
    assert not at.error and not at.warning
    at.text_input(key="make-seed").set_value("7").run()
    at.button(key="generate").click().run()
    (job,) = JobQueue().list_jobs()
    request = to_json(
        CrystalGenerationRequest(
            n=3, model=name, n_atoms=(5, 5), elements=("Li", "Fe", "O"), symmetrise=0.3, seed=7
        )
    )
    assert (
        job.kind == "generate"
        and {k: list(v) if isinstance(v, tuple) else v for k, v in request.items()} == job.request
    )
    assert job.id in at.query_params["job"] and not at.exception and not at.error


def test_a_changed_run_keeps_its_density_guidance_and_space_group(tiny_de_novo):
    queue = JobQueue()
    conditions = {"density": 6.5, "guidance": 3.0, "space_group": "Pm-3m"}
    run = queue.submit("generate", to_json(CrystalGenerationRequest(n=2, model=tiny_de_novo(), **conditions)))
    assert title_of(queue.get(run)) == "2 new crystals near 6.5 g/cm³ (strength 3) in Pm-3m"
    at = page(fork=run)
    assert not at.exception and not at.error
    at.button(key="generate").click().run()
    assert {name: queue.list_jobs()[0].request[name] for name in conditions} == conditions
    for text, part in (("Fm9m", "no space group"), (" 221 ", "")):
        at.text_input(key="make-group").set_value(text).run()
        assert part in words(at.error) and bool(at.error) == bool(part) == at.button(key="generate").disabled
    at.number_input(key="make-density").set_value(None).run()
    at.button(key="generate").click().run()
    assert {name: queue.list_jobs()[0].request[name] for name in conditions} == {
        "density": None,
        "guidance": None,
        "space_group": "221",
    }
    at = page(fork=run)
    # without conditions: none in the form
    at.query_params["fork"] = queue.submit("generate", to_json(CrystalGenerationRequest(n=3)))
    at.run()
    values = {field.label: field.value for field in (*at.number_input, *at.text_input)}
    assert values["Density (g/cm³)"] is None and values["Space group (experimental)"] == ""
    assert not at.exception


def test_a_changed_run_keeps_what_the_form_has_no_field_for_while_its_sampler_stays(tiny_de_novo):
    queue, name = JobQueue(), tiny_de_novo()
    options = {"sampler": "pc", "tau": 0.3, "tuning": "published", "dtype": "bfloat16"}
    run = queue.submit("generate", to_json(CrystalGenerationRequest(n=2, model=name, **options)))
    at = page(fork=run)
    assert "Also: dtype bfloat16, tuning published, tau 0.3" in words(at.caption)
    at.number_input(key="make-n").set_value(3).run()
    at.button(key="generate").click().run()
    kept = queue.list_jobs()[0].request
    assert {key: kept[key] for key in ("n", *options)} == {"n": 3, **options}
    at = page(fork=run)
    # a corrector's strength would be refused beside a sampler without one
    at.selectbox(key="make-sampler").set_value("em").run()
    assert not at.error and "tau" not in words(at.caption) and "dtype bfloat16" in words(at.caption)
    at = page(fork=queue.submit("generate", to_json(CrystalGenerationRequest(n=2, model=name))))
    assert "Also:" not in words(at.caption) and not at.exception


def test_a_run_opened_by_its_link_fills_the_form_with_what_it_was_made_with(tiny_de_novo):
    queue, name = JobQueue(), tiny_de_novo()
    request = {
        "n": 3,
        "model": name,
        "n_atoms": (3, 5),
        "elements": ("Li", "O", "Ti"),
        "exclude_elements": ("Fe",),
        "density": 6.5,
        "guidance": 3.0,
        "space_group": "Pm-3m",
        "sampler": "em",
        "steps": 21,
        "seed": 12,
    }
    run = queue.submit("generate", to_json(CrystalGenerationRequest(**request)))
    at = page(job=run)
    assert not at.exception
    assert [at.number_input(key=f"make-{key}").value for key in ("n", "steps", "density", "guidance")] == [
        3,
        21,
        6.5,
        3.0,
    ]
    assert [at.text_input(key=key).value for key in ("elements", "exclude", "make-group", "make-seed")] == [
        "Li-O-Ti",
        "Fe",
        "Pm-3m",
        "12",
    ]
    assert at.slider(key="atoms-range").value == (3, 5) and at.selectbox(key="make-sampler").value == "em"
    at.text_input(key="make-group").set_value("").run()
    at.number_input(key="make-n").set_value(4).run()
    at.button(key="generate").click().run()
    repeated = queue.list_jobs()[0]
    assert (
        list(at.query_params) == ["job"]
        and repeated.id in at.query_params["job"]
        and repeated.request["n"] == 4
    )
    assert at.number_input(key="make-n").value == 4 and not at.exception
    done = finished_run()  # whose seed was drawn
    assert (
        page(job=done).text_input(key="make-seed").value == "3"
        and page(fork=done).text_input(key="make-seed").value == ""
    )


def test_a_structure_that_models_cannot_take_is_not_completed(tiny_de_novo, monkeypatch):
    tiny_de_novo()
    half = Structure(
        Lattice.cubic(3.9), ["Sr", "Ti", {"O": 0.6, "F": 0.4}], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
    )
    upload = SimpleNamespace(name="half.cif", getvalue=lambda: str(CifWriter(half)).encode())
    monkeypatch.setattr("streamlit.file_uploader", lambda *_, **__: upload)
    at = page()
    assert "partly occupied" in words(at.error) and "Give an ordered cell" in words(at.error)
    assert (
        at.button(key="generate").disabled
        and "fix-lattice" not in [toggle.key for toggle in at.toggle]
        and not at.exception
    )


def test_a_range_beyond_the_training_opens_in_the_form_with_a_warning(tiny_de_novo):
    run = JobQueue().submit(
        "generate", to_json(CrystalGenerationRequest(n=2, model=tiny_de_novo(), n_atoms=(4, 30)))
    )
    at = page(fork=run)
    assert at.slider(key="atoms-range").value == (4, 30) and not at.exception and not at.error
    assert "cells of 2 to 5 atoms; other numbers of atoms are a guess" in words(at.warning)
    at = page()
    # the range that the form begins with is beyond it, too
    at.button_group(key="counts").set_value("Range").run()
    assert at.slider(key="atoms-range").value == (4, 12) and not at.exception


def test_a_density_out_of_range_is_refused_before_it_is_asked_for_and_shown_within_it(tiny_de_novo):
    with pytest.raises(RequestError, match=r"between 0\.05 and 30"):
        CrystalGenerationRequest(density=99)
    request = to_json(CrystalGenerationRequest(n=2, model=tiny_de_novo(), density=5))
    at = page(fork=JobQueue().submit("generate", request | {"density": 99}))
    assert at.number_input(key="make-density").value == 30.0 and not at.exception


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("make-n", "Crystals must be a whole number between 1 and 50, not 9999"),
        ("atoms", "atoms per cell must be a whole number between 1 and 60"),
        ("make-steps", "steps must be a whole number between 1 and 5000"),
        ("make-density", "A density lies between 0.05 and 30"),
        ("make-guidance", "The strength of guidance lies between 0 and 100"),
    ],
)
def test_a_number_out_of_range_reaches_the_page_and_is_refused_there(tiny_de_novo, key, message):
    tiny_de_novo()
    at = page(atoms="5")
    at.number_input(key="make-density").set_value(5.0).run()
    field = at.number_input(key=key)
    # what is beyond a field's own limits never leaves the browser
    assert field.max is None and field.min is None
    field.set_value(9999).run()
    assert message in words(at.error) and at.button(key="generate").disabled and not at.exception
    at.number_input(key=key).set_value(5).run()
    assert not at.error and not at.button(key="generate").disabled and not JobQueue().list_jobs()


def test_the_folded_part_of_the_form_stays_open_while_its_fields_change(tiny_de_novo):
    tiny_de_novo()
    at = page()
    at.session_state["make-advanced"] = True  # as the reader's click sets it
    at.run()
    at.number_input(key="make-density").set_value(5.0).run()
    at.text_input(key="make-group").set_value("Fm9m").run()
    assert [box.label for box in at.expander if box.proto.expanded] == ["Advanced"] and not at.exception


def test_a_seed_that_is_no_number_is_refused(tiny_de_novo):
    tiny_de_novo()
    at = page()
    at.text_input(key="make-seed").set_value("blue").run()
    assert "whole number" in words(at.error) and not at.exception


def test_the_form_asks_for_all_requested_elements(tiny_de_novo):
    tiny_de_novo()
    at = page()
    assert "require-all" not in [toggle.key for toggle in at.toggle]
    at.text_input(key="elements").set_value("Li-Ti-O").run()
    at.toggle(key="require-all").set_value(True).run()
    at.button(key="generate").click().run()
    job = JobQueue().list_jobs()[0]
    assert (
        job.request["require_all"]
        and "--require-all" in as_command(job)
        and "require_all=True" in as_python(job)
        and not at.exception
    )
    assert title_of(job) == "8 new crystals of Li-Ti-O (all in each)"
    at = page(job=job.id)
    assert at.toggle(key="require-all").value
    at.text_input(key="elements").set_value("Li-Ti-O-Fe-Sr").run()
    assert not at.error
    at.text_input(key="make-group").set_value("221").run()
    assert "not both" in words(at.error) and at.button(key="generate").disabled


def test_charge_balance_is_offered_where_the_model_can_keep_it(tiny_de_novo):
    tiny_de_novo("one-hot")
    tiny_de_novo()
    at = page(model="tiny-masking")
    (toggle,) = (toggle for toggle in at.toggle if toggle.label == "Charge-balanced (SMACT)")
    toggle.set_value(True).run()
    at.button(key="generate").click().run()
    (job,) = JobQueue().list_jobs()
    assert job.request["charge_balance"] is True and "--charge-balance" in as_command(job)
    at = page(fork=job.id)
    assert [toggle.value for toggle in at.toggle if toggle.label == "Charge-balanced (SMACT)"] == [True]
    at = page(model="tiny-one-hot")
    assert "Charge-balanced (SMACT)" not in [toggle.label for toggle in at.toggle]


def test_an_experimental_model_that_keeps_nothing_comes_last_and_asks_only_for_its_conditions(
    tiny_de_novo, tiny_refiner, tmp_path
):
    tiny_de_novo()
    placer = tiny_refiner(tmp_path / "checkpoints")
    folder = tmp_path / "checkpoints" / "a-proposer"  # first by name, and by its number of elements
    folder.mkdir()
    card = {
        "name": folder.name,
        "kind": "generator",
        "task": "de novo generation",
        "method": "test",
        "loader": "placed",
        "parameters": 1,
        "network": {"proposer": "crysldnet", "placer": placer},
        "sampling": {
            "conditions": ["band_gap"],
            "elements": list(range(1, 90)),
            "atom_count_frequencies": {"4": 1.0},
        },
        "extra": {"experimental": True},
    }
    write_card(folder, card)
    at = page()
    (models,) = (field for field in at.selectbox if field.label == "Model")
    assert models.options == ["tiny-masking", "a-proposer"] and models.value == "tiny-masking"
    assert "**Complete a structure**" in words(at.markdown)
    models.set_value("a-proposer").run()
    assert not at.exception and "**Complete a structure**" not in words(at.markdown)
    labels = {field.label for field in (*at.text_input, *at.number_input)}
    assert any("Band gap" in label for label in labels) and not any(
        "Space group" in label for label in labels
    )
    (gap,) = (field for field in at.number_input if "Band gap" in field.label)
    gap.set_value(2.0).run()
    at.button(key="generate").click().run()
    (job,) = JobQueue().list_jobs()
    assert job.request["model"] == "a-proposer" and job.request["band_gap"] == 2.0


def test_elements_that_the_model_does_not_know_cannot_stay(tiny_de_novo):
    tiny_de_novo(elements=(3, 8, 11))
    at = page(fork=finished_run(), crystal="kldm-1")
    at.text_input(key="elements").set_value("").run()
    at.multiselect(key="fix-sites").set_value([0]).run()
    assert not at.error and not at.button(key="generate").disabled
    at.multiselect(key="fix-sites").set_value([1]).run()
    assert "was not trained on Cl, so" in words(at.error) and at.button(key="generate").disabled


def test_a_crystal_of_a_run_can_be_completed_and_opened_in_the_viewer(tiny_de_novo):
    tiny_de_novo(elements=(3, 8, 11, 17))
    run = finished_run()
    at = page(fork=run, crystal="kldm-1")
    assert "NaCl, 2 atoms" in words(at.caption) and at.toggle(key="fix-lattice").value and not at.error
    at.multiselect(key="fix-sites").set_value([1]).run()
    # the run was of Li and O
    assert "Cl must not appear" in words(at.error) and at.button(key="generate").disabled
    at.text_input(key="elements").set_value("").run()
    at.button(key="generate").click().run()
    request = JobQueue().list_jobs()[0].request
    assert (
        request["fix_sites"] == [1]
        and request["fix_lattice"]
        and request["fix"]["atomic_numbers"] == [11, 17]
    )
    queue = JobQueue()
    child = queue.submit(
        "relax", to_json(RelaxationRequest(crystals=({"id": "kldm-1", **cell_json(ROCK_SALT)},))), parent=run
    )
    relaxed = crystal_record(
        ROCK_SALT.copy().scale_lattice(60.0), id="kldm-1", origin="noise", provenance={}
    ) | {"energies": {}}
    queue.update(
        child, state="done", result={"crystals": [relaxed], "settings": {}, "seconds": 1.0}, finished=1.0
    )
    at = page(fork=run, crystal="kldm-1")
    at.text_input(key="elements").set_value("").run()
    at.button(key="generate").click().run()
    assert next(job for job in queue.list_jobs() if job.kind == "generate").request["fix"] == cell_json(
        structure_from_record(relaxed)
    )
    for crystal, part in (("kldm-1", "Crystal of the run"), ("nothing", "")):
        at = run_page("viewer", job=run, crystal=crystal)
        assert not at.exception and bool(at.warning) != bool(part)


def test_a_recorded_run_opens_as_a_run_does_and_fills_the_form():
    run = "demo-lithium-iron-oxides"
    at = page(job=run, fork=run)
    assert not at.exception and not at.error and not at.warning
    assert "Recorded run, not one of yours] :small[kldm-dng-mp, seed 0" in words(at.markdown)
    assert at.text_input(key="make-seed").value == "0" and at.number_input(key="make-n").value == 8
    assert "5 worth a look" in words(at.markdown)
    # all three elements come before all else
    assert all(symbol in words(at.header) for symbol in ("Li", "Fe", "O"))
    at.button_group(key="only").set_value(["near the hull"]).run()
    assert "eV/atom against" in words(at.markdown)
    at = run_page("viewer", job=run, crystal="kldm-dng-mp-0-1")
    assert not at.exception and not at.warning
    assert page(job="demo-nothing").warning
