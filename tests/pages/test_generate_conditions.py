"""Conditions on the Generate page: a sentence fills the form, the form asks for what it shows, and drafts
come with their text.
"""

import pytest

from crystal_core.cards import write_card
from crystal_core.files.records import cell_json, crystal_record
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.requests import CrystalGenerationRequest, to_json
from pages._ui.run.calls import as_command, as_python
from pages._ui.run.runs import title_of
from tests.pages.generation import ROCK_SALT, finished_run, page
from tests.pages.opening import words

pytestmark = pytest.mark.usefixtures("no_worker")
OXIDE = "A hard stable oxide with a band gap near 2 eV, space group 225"


def badges(at):
    return [part.strip("[]") for part in words(at.markdown).split(":blue-badge") if part.startswith("[")]


def widget(at, label):
    """A field by its label: its key counts how often a sentence has filled it."""
    fields = (*at.text_input, *at.number_input, *at.selectbox, *at.multiselect, *at.slider)
    return next((field for field in fields if field.label == label), None)


def way(at):
    """The choice of the cell that is shown."""
    return next(group for group in at.button_group if str(group.key).startswith("way-"))


def say(at, sentence):
    widget(at, "Describe the crystals").set_value(sentence).run()
    assert not at.exception


def test_a_sentence_fills_the_form_and_the_form_is_what_runs(tiny_writer):
    tiny_writer()
    at = page(wish=OXIDE)
    assert not at.exception and not at.error and not at.warning
    expected = ["Fm-3m (225)", "band gap 2 eV", "energy above hull 0 eV/atom", "with O"]
    assert [badge.strip("[] ") for badge in badges(at)] == expected
    assert "Not understood: hard." in words(at.caption)
    widget(at, "Band gap (eV)").set_value(3.0).run()  # what the reader changes, the badges follow
    assert "band gap 3 eV" in words(at.markdown)
    widget(at, "Temperature").set_value(0.7).run()
    (balanced,) = (toggle for toggle in at.toggle if toggle.label == "Charge-balanced (SMACT)")
    balanced.set_value(True).run()
    at.button(key="generate").click().run()
    (job,) = JobQueue().list_jobs()
    assert job.request["charge_balance"] is True
    expected = {
        name: job.request[name] for name in ("space_group", "band_gap", "contain", "temperature", "n")
    }
    assert expected == {"space_group": "225", "band_gap": 3.0, "contain": ["O"], "temperature": 0.7, "n": 8}
    assert title_of(job) == "8 new crystals with O, gap 3 eV, above hull 0 eV/atom in 225"
    at = page(fork=job.id)
    assert widget(at, "Band gap (eV)").value == 3.0 and widget(at, "Contains").value == "O"
    assert widget(at, "Temperature").value == 0.7 and widget(at, "Describe the crystals").value == ""
    assert [toggle.value for toggle in at.toggle if toggle.label == "Charge-balanced (SMACT)"] == [True]
    widget(at, "Contains").set_value("").run()
    widget(at, "Formula").set_value("NaCl").run()
    assert "the formula already fixes the composition" in words(at.error)


def test_alternatives_of_a_sentence_fill_their_field_and_run(tiny_writer):
    tiny_writer()
    at = page(wish="a stable halide of Fe or Co")
    assert widget(at, "At least one of").value == "Fe, Co; F, Cl, Br, I" and not at.warning
    assert {"with at least one of Fe, Co", "with at least one of F, Cl, Br, I"} <= {
        badge.strip("[] ") for badge in badges(at)
    }
    at.button(key="generate").click().run()
    (job,) = JobQueue().list_jobs()
    assert job.request["any_of"] == [["Fe", "Co"], ["F", "Cl", "Br", "I"]]
    assert title_of(job) == "8 new crystals with above hull 0 eV/atom, Fe or Co, F, Cl, Br or I"
    assert "--any-of Fe,Co --any-of F,Cl,Br,I" in as_command(job)
    assert "any_of=(('Fe', 'Co'), ('F', 'Cl', 'Br', 'I'))" in as_python(job)
    at = page(fork=job.id)
    assert widget(at, "At least one of").value == "Fe, Co; F, Cl, Br, I"
    widget(at, "Without").set_value("Fe, Co").run()
    assert "must hold Fe or Co" in words(at.error)
    say(at, "made of Li and a halogen")
    assert widget(at, "Only these elements").value == "Li-F-Cl-Br-I" and widget(at, "Contains").value == "Li"
    say(at, "an oxide")
    assert widget(at, "At least one of").value == ""


def test_another_sentence_empties_what_the_last_one_filled_and_nothing_else(tiny_writer):
    tiny_writer()
    at = page()
    widget(at, "Without").set_value("Pb").run()
    say(at, OXIDE)
    say(at, "Twelve crystals of cubic SrTiO3 with 5 to 10 atoms")
    assert widget(at, "Crystal system").value == "cubic" and widget(at, "Contains").value == ""
    assert widget(at, "Space group").value == "" and widget(at, "Band gap (eV)").value is None
    assert widget(at, "Crystals").value == 12 and widget(at, "From … to").value == (5, 10)
    assert widget(at, "Without").value == "Pb" and not at.error
    say(at, "")
    assert widget(at, "Formula").value == "" and widget(at, "Without").value == "Pb"


def test_a_sentence_that_cannot_be_meant_runs_nothing(tiny_writer):
    tiny_writer()
    at = page()
    for sentence, part in (
        ("hello there", "Nothing in this sentence"),
        ("an oxide in space group 300", "space group '300'"),
    ):
        say(at, sentence)
        assert part in words(at.error) and at.button(key="generate").disabled
    say(at, "an oxide")
    assert not at.error and not at.button(key="generate").disabled


def test_a_model_that_cannot_take_a_condition_says_so_and_names_one_that_can(tiny_de_novo, tiny_writer):
    plain, writer = tiny_de_novo(), tiny_writer()
    at = page(model=plain, wish="SrTiO3, cubic, density near 5 g/cm3")
    assert f"Left out: {plain} takes no formula or crystal system. {writer} does." in words(at.warning)
    assert widget(at, "Formula") is None
    assert f"{plain} is guided towards density" in words(at.caption)
    at.selectbox(key="make-model").set_value(writer).run()
    assert f"Left out: {writer} takes no density. {plain} does." in words(at.warning)
    assert widget(at, "Formula").value == "SrTiO3" and not at.exception
    at.selectbox(key="make-model").set_value(plain).run()
    say(at, "an oxide in space group 221")
    assert "not both" in words(at.error) and at.button(key="generate").disabled


def test_a_formula_that_fits_no_cell_is_refused_at_the_form(tiny_writer):
    tiny_writer()
    at = page()
    at.button_group(key="counts").set_value("Number").run()
    widget(at, "Number of atoms").set_value(4).run()
    for formula, part in (("NaCl", ""), ("SrQq", "Qq"), ("SrTiO3", "No number of formula units")):
        widget(at, "Formula").set_value(formula).run()
        assert part in words(at.error) and bool(at.error) == bool(part) == at.button(key="generate").disabled
    at.button_group(key="counts").set_value("As trained").run()
    assert not at.error and not at.warning
    widget(at, "Formula").set_value("MgAl2O4").run()
    assert "up to 5 atoms; cells of 7 atoms are a guess" in words(at.warning) and not at.error


def test_drafts_are_shown_with_their_text_and_those_left_out_with_the_reason(tiny_writer):
    request = CrystalGenerationRequest(n=3, model=tiny_writer(), formula="NaCl", space_group="225", seed=1)
    queue = JobQueue()
    run = queue.submit("generate", to_json(request))
    run_job(queue, queue.take(), RUNNERS)
    job = queue.get(run)
    assert job.state == "done", job.error
    left_out = {"another number of atoms": 4, "other atoms than those asked for": 2}
    text = "5.2 5.2 5.2\n90 90 90\nTi\n0.00 0.00 0.00\nO\n0.50 0.50 0.00\nO\n0.50 0.00 0.50"
    other = [{"text": text, "prompt": "", "problem": "another number of atoms"}]
    failed = [{"text": "4.1 4.1", "prompt": "", "problem": "The text has 1 line."}]
    drafts = {"rejected": left_out, "left_out": other, "failed_drafts": failed}
    queue.update(run, result=job.result | drafts)
    at = page(job=run)
    assert not at.exception and not at.error
    crystal = job.result["crystals"][0]
    texts = [block.value for block in at.code]
    assert crystal["provenance"]["draft"]["text"] in texts and text in texts
    assert "written by a language model" in words(at.caption) and "Fm-3m (225) within 0.1 Å." in words(
        at.caption
    )
    (box,) = (box for box in at.expander if "left out" in box.label)
    assert box.label == "6 drafts left out"
    assert box.dataframe[0].value["drafts"].tolist() == [4, 2]
    assert at.selectbox(key="left-out").options == [
        "1. TiO₂, 3 atoms: another number of atoms",
        "2. The text has 1 line.",
    ]
    at.selectbox(key="left-out").set_value(1).run()
    assert "4.1 4.1" in [block.value for block in at.code] and not at.exception


def test_the_shown_calls_ask_for_every_condition(tiny_writer):
    conditions = {"space_group": "225", "formation_energy": -1.5, "contain": ("O",), "top_p": 0.9}
    request = CrystalGenerationRequest(n=2, model=tiny_writer(), **conditions)
    job = JobQueue().get(JobQueue().submit("generate", to_json(request)))
    command = as_command(job)
    for option in ("--space-group 225", "--formation-energy -1.5", "--contain O", "--top-p 0.9"):
        assert option in command
    namespace = {}
    call = (
        as_python(job)
        .replace("*_, last = run(", "made = (")
        .replace('crystals = last.result["crystals"]', "")
    )
    exec(call, namespace)  # the call as it is shown, without its run
    assert namespace["made"] == request


def test_a_refined_draft_is_laid_beside_what_was_written_and_names_both_models(tiny_pair):
    name = tiny_pair()
    at = page(model=name, n="2", wish="NaCl, 2 atoms")
    labels = {field.label for field in (*at.selectbox, *at.number_input)}
    assert {"Refined by", "Refining starts from", "Sampler", "Temperature"} <= labels and not at.error
    widget(at, "Refining starts from").set_value("inject").run()
    at.button(key="generate").click().run()
    queue = JobQueue()
    run_job(queue, queue.take(), RUNNERS)
    (job,) = queue.list_jobs()
    job = queue.get(job.id)
    assert job.state == "done" and job.request["start_draft"] == "inject", job.error
    assert "--start inject" in as_command(job)
    records = []
    for record in job.result["crystals"]:  # untrained models make cells that are too large to be drawn
        provenance = dict(record["provenance"])
        cell = cell_json(ROCK_SALT.copy().apply_strain(0.03))
        provenance["draft"] = provenance["draft"] | {"cell": cell, "group_from": "refined"}
        records.append(
            crystal_record(
                ROCK_SALT, id=record["id"], origin=record["origin"], provenance=provenance, group=0
            )
        )
    assert {record["origin"] for record in records} == {"draft refined"}
    queue.update(job.id, result=job.result | {"crystals": records})
    at = page(job=job.id)
    assert not at.exception and not at.error, words(at.error)
    provenance = "Drafted by tiny-writer, refined by tiny-refiner from the draft as it was, step 200 of 1000"
    assert f"{provenance}, made symmetric in the requested space group." in words(
        at.caption
    ) and "From the draft to the result" in [box.label for box in at.expander]
    way(at).set_value("Over its draft").run()
    assert "the draft" in words(at.caption) and not at.exception
    way(at).set_value("Draft").run()
    assert "Written by a language model." in words(at.caption) and not at.exception
    widget(at, "Refined by").set_value("none").run()
    assert widget(at, "Refining starts from") is None and widget(at, "Sampler") is None and not at.error


def test_a_crystal_is_sent_to_the_form_and_its_elements_are_changed(tiny_pair):
    name = tiny_pair()
    run = finished_run()
    at = page(job=run)
    at.button(key="redraft").click().run()
    at = page(fork=run, crystal="kldm-1", model=name)  # where the button goes
    assert widget(at, "Model").value == name and "NaCl, 2 atoms" in words(at.caption)
    for label in ("Only these elements", "Without"):
        widget(at, label).set_value("").run()
    at.button_group(key="counts").set_value("As trained").run()
    widget(at, "Sites whose element changes").set_value([0]).run()
    widget(at, "Formula").set_value("KCl").run()
    assert "already says the formula" in words(at.error) and at.button(key="generate").disabled
    widget(at, "Formula").set_value("").run()
    at.button(key="generate").click().run()
    job = JobQueue().list_jobs()[0]
    assert job.request["redraft_sites"] == [0] and job.request["start_from"]["atomic_numbers"] == [11, 17]
    assert "--start-from structure.json --redraft-sites 0" in as_command(job)
    assert "from a given one" in title_of(job)
    queue = JobQueue()
    run_job(queue, queue.take(), RUNNERS)
    assert queue.get(job.id).state == "done", queue.get(job.id).error
    at = page(job=job.id)
    assert "Na became" in words(at.caption) and "(probability" in words(at.caption) and not at.exception


def test_a_draft_is_read_while_it_is_written(tiny_writer):
    request = CrystalGenerationRequest(n=2, model=tiny_writer(), seed=1)
    queue = JobQueue()
    run = queue.submit("generate", to_json(request))
    queue.take()
    queue.update(run, stage="crystals 1 to 2 of 2, drafting", step=10, n_steps=100, text="4.0 4.0 4.0")
    at = page(job=run)
    assert [block.value for block in at.code] == ["4.0 4.0 4.0"] and not at.exception
    assert at.get("progress")[0].proto.text.startswith("Crystals 1 to 2 of 2")
    queue.update(run, stage="crystals 1 to 2 of 2, refining")
    assert not page(job=run).code


def test_a_refiner_of_other_cells_is_named_before_the_run(tiny_pair, tmp_path):
    name = tiny_pair()
    elements = [8, 11, 17, 38]
    write_card(
        tmp_path / "checkpoints" / "tiny-refiner", {"sampling": {"atom_counts": [5], "elements": elements}}
    )
    at = page(model=name, n="2")
    said = "tiny-refiner was trained on cells of 5 atoms; "
    assert f"{said}cells of 1, 2 atoms are a guess" in words(at.warning)
    at.button_group(key="counts").set_value("Number").run()
    widget(at, "Number of atoms").set_value(5).run()
    assert said not in words(at.warning) and not at.button(key="generate").disabled
    widget(at, "Only these elements").set_value("Ba, O").run()
    assert "was not trained on Ba" in words(at.error) and at.button(key="generate").disabled


def test_the_chosen_refiner_decides_which_elements_the_form_takes(tiny_pair, tmp_path):
    name = tiny_pair()
    write_card(tmp_path / "checkpoints" / "tiny-refiner", {"sampling": {"elements": [8, 11, 17, 38]}})
    at = page(model=name, n="2")
    widget(at, "Only these elements").set_value("Ba, O").run()
    assert f"{name} was not trained on Ba, so it cannot place it" in words(at.error)
    widget(at, "Refined by").set_value("none").run()
    assert not at.error and not at.button(key="generate").disabled
    widget(at, "Refined by").set_value("kldm").run()
    assert f"{name} with the refiner tiny-refiner was not trained on Ba, so" in words(at.error)
    assert at.button(key="generate").disabled
    widget(at, "Without").set_value("Ba").run()
    widget(at, "Only these elements").set_value("Sr, O").run()
    assert not at.error and not at.button(key="generate").disabled and not at.exception
