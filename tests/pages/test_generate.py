"""The Generate page: a form that explains itself, verdicts with reasons, relaxing, and runs found again."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from streamlit.testing.v1 import AppTest

from crystal_core.chemistry.formula import parse_formula
from crystal_core.demos import find_demo
from crystal_core.errors import RequestError
from crystal_core.evaluation.powder_pattern import read_pattern
from crystal_core.evaluation.validity import is_charge_balanced
from crystal_core.files.parse import parse_text
from crystal_core.files.records import cell_json, crystal_record, structure_from_record
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.records import crystals_of
from crystal_core.reference import known, known_cells
from crystal_core.reference.hull import measured_error
from crystal_core.relax.potential import is_installed
from crystal_core.requests import (
    CrystalGenerationRequest,
    RelaxationRequest,
    StructurePredictionRequest,
    to_json,
)
from pages._ui.run.calls import as_command, as_python, zip_of
from pages._ui.run.generated import wished_elements
from pages._ui.run.runs import generated_of, link_of, summary, title_of
from pages._ui.run.verdicts import (
    charge_balance,
    cohesion,
    is_credible,
    newness,
    stability,
    told_reasons,
    verdicts,
)

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("no_worker")


def page(**query):
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    for name, value in query.items():
        app.query_params[name] = value
    return app.switch_page("pages/generate.py").run()


def words(elements):
    return " ".join(element.value.replace("\\", "") for element in elements)


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
    assert "leave none" in words(at.error) and not at.exception
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
    asked = to_json(
        CrystalGenerationRequest(n=3, model=name, n_atoms=(5, 5), elements=("Li", "Fe", "O"), seed=7)
    )
    assert (
        job.kind == "generate"
        and {k: list(v) if isinstance(v, tuple) else v for k, v in asked.items()} == job.request
    )
    assert job.id in at.query_params["job"] and not at.exception and not at.error


def test_a_changed_run_keeps_its_density_guidance_and_space_group(tiny_de_novo):
    queue = JobQueue()
    wishes = {"density": 6.5, "guidance": 3.0, "space_group": "Pm-3m"}
    run = queue.submit("generate", to_json(CrystalGenerationRequest(n=2, model=tiny_de_novo(), **wishes)))
    assert title_of(queue.get(run)) == "2 new crystals near 6.5 g/cm³ (strength 3) in Pm-3m"
    at = page(fork=run)
    assert not at.exception and not at.error
    at.button(key="generate").click().run()
    assert {name: queue.list_jobs()[0].request[name] for name in wishes} == wishes
    for text, part in (("Fm9m", "no space group"), (" 221 ", "")):
        at.text_input(key="make-group").set_value(text).run()
        assert part in words(at.error) and bool(at.error) == bool(part) == at.button(key="generate").disabled
    at.number_input(key="make-density").set_value(None).run()
    at.button(key="generate").click().run()
    assert {name: queue.list_jobs()[0].request[name] for name in wishes} == {
        "density": None,
        "guidance": None,
        "space_group": "221",
    }
    at = page(fork=run)
    at.query_params["fork"] = queue.submit(
        "generate", to_json(CrystalGenerationRequest(n=3))
    )  # without wishes: none in the form
    at.run()
    shown = {field.label: field.value for field in (*at.number_input, *at.text_input)}
    assert shown["Density (g/cm³)"] is None and shown["Space group to keep (experimental)"] == ""
    assert not at.exception


def test_a_run_opened_by_its_link_fills_the_form_with_what_it_was_made_with(tiny_de_novo):
    queue, name = JobQueue(), tiny_de_novo()
    asked = {
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
    run = queue.submit("generate", to_json(CrystalGenerationRequest(**asked)))
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
    made = queue.list_jobs()[0]
    assert list(at.query_params) == ["job"] and made.id in at.query_params["job"] and made.request["n"] == 4
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
    assert "partly occupied" in words(at.error) and words(at.error).endswith("Give an ordered cell.")
    assert at.button(key="generate").disabled and not at.toggle and not at.exception


def test_a_range_beyond_the_training_opens_in_the_form_with_a_warning(tiny_de_novo):
    run = JobQueue().submit(
        "generate", to_json(CrystalGenerationRequest(n=2, model=tiny_de_novo(), n_atoms=(4, 30)))
    )
    at = page(fork=run)
    assert at.slider(key="atoms-range").value == (4, 30) and not at.exception and not at.error
    assert "cells of 2 to 5 atoms; other numbers of atoms are a guess" in words(at.warning)
    at = page()
    at.button_group(key="counts").set_value(
        "Range"
    ).run()  # the range that the form begins with is beyond it, too
    assert at.slider(key="atoms-range").value == (4, 12) and not at.exception


def test_a_density_out_of_range_is_refused_before_it_is_asked_for_and_shown_within_it(tiny_de_novo):
    with pytest.raises(RequestError, match=r"between 0\.05 and 30"):
        CrystalGenerationRequest(density=99)
    asked = to_json(CrystalGenerationRequest(n=2, model=tiny_de_novo(), density=5))
    at = page(fork=JobQueue().submit("generate", asked | {"density": 99}))
    assert at.number_input(key="make-density").value == 30.0 and not at.exception


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("make-n", "Crystals must be a whole number between 1 and 50, not 9999"),
        ("atoms", "atoms per cell must be a whole number between 1 and 60"),
        ("make-steps", "steps must be a whole number between 1 and 5000"),
        ("make-density", "A density lies between 0.05 and 30"),
        ("make-guidance", "The strength of guidance lies between 0 and 100"),
    ],
)
def test_a_number_out_of_range_reaches_the_page_and_is_refused_there(tiny_de_novo, key, told):
    tiny_de_novo()
    at = page(atoms="5")
    at.number_input(key="make-density").set_value(5.0).run()
    field = at.number_input(key=key)
    assert (
        field.max is None and field.min is None
    )  # what is beyond a field's own limits never leaves the browser
    field.set_value(9999).run()
    assert told in words(at.error) and at.button(key="generate").disabled and not at.exception
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


ROCK_SALT = Structure(
    Lattice.from_parameters(4.0, 4.0, 4.0, 60, 60, 60), ["Na", "Cl"], [[0.02, 0, 0], [0.5, 0.5, 0.5]]
)
UNBALANCED = Structure(Lattice.cubic(4.5), ["Na", "Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5]])
SHORT = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.1, 0, 0]])


def finished_run(**changes):
    """A run with two crystals alike, one that is not charge-balanced and one whose atoms overlap, as the store holds it."""
    made = [ROCK_SALT, UNBALANCED, ROCK_SALT, SHORT]
    records = [
        crystal_record(
            s, id=f"kldm-{k}", origin="noise", provenance={"model": "kldm", "seed": 3}, group=group
        )
        | changes
        for k, (s, group) in enumerate(zip(made, [0, 1, 0, 2], strict=True), start=1)
    ]
    summary = {"n": 5, "valid": 2, "unique": 3, "novel": None}
    result = {
        "crystals": records,
        "n_failed": 1,
        "settings": {"seed": 3},
        "seconds": 9.0,
        "network_calls": 20,
        "summary": summary,
    }
    queue = JobQueue()
    queue.submit(
        "generate", to_json(CrystalGenerationRequest(n=5, model="kldm", elements=("Li", "O"), n_atoms=(2, 2)))
    )
    job = queue.take()
    queue.update(job.id, state="done", result=result, finished=job.created + 9)
    return job.id


def test_every_verdict_comes_with_its_reason_and_like_crystals_are_shown_once(tiny_de_novo):
    tiny_de_novo()
    at = page(job=finished_run())
    assert not at.exception and not at.error
    assert "5 crystals · 2 valid · 3 distinct · 1 no cell at all · 9 s · seed 3" in words(at.success)
    assert "not compared with known crystals" in words(at.caption)
    told = words(at.markdown)
    for part in (
        "✓ sound cell",
        "✓ charge-balanced",
        "✓ plausible distances",
        "· made 2 times",
        "as crystal 3",
        "· stability unknown",
        "· not compared",
    ):
        assert part in told, part
    at.button_group(key="how").set_value("Table").run()
    assert at.dataframe[0].value["no."].tolist() == [1, 2, 4]
    at.button_group(key="only").set_value([]).run()
    table = at.dataframe[0].value
    assert table["no."].tolist() == [1, 3, 2, 4] and table["valid"].tolist() == ["yes", "yes", "no", "no"]
    assert "not charge-balanced" in table["why"][2] and "below 0.5" in table["why"][3] and not at.exception


def test_crystals_with_more_of_the_wished_elements_come_first(tiny_de_novo):
    tiny_de_novo()
    job, queue = finished_run(), JobQueue()
    oxygen = Structure(Lattice.cubic(2.2), ["O"], [[0, 0, 0]])  # valid, and holds one of two
    both = Structure(
        Lattice.cubic(4.2), ["Li", "Li", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5], [0, 0, 0.5]]
    )  # not charge-balanced
    made = [
        crystal_record(s, id=f"kldm-{k}", origin="noise", provenance={}, group=k)
        for k, s in enumerate((oxygen, both, oxygen), start=1)
    ]
    queue.update(job, result=queue.get(job).result | {"crystals": made})
    at = page(job=job)
    at.button_group(key="how").set_value("Table").run()
    assert at.dataframe[0].value["no."].tolist() == [2, 1, 3] and not at.exception
    assert [
        wished_elements(asked) for asked in ({}, {"elements": ["Li", "O"], "exclude_elements": ["O"]})
    ] == [set(), {3}]


def test_the_form_asks_for_all_wished_elements(tiny_de_novo):
    tiny_de_novo()
    at = page()
    assert not at.toggle
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


def test_a_crystal_that_was_compared_names_the_known_one_it_is(tiny_de_novo, monkeypatch):
    tiny_de_novo()
    monkeypatch.setattr(
        known_cells, "known_cell", lambda name: {"mp-22862": ROCK_SALT.copy().apply_strain(0.02)}[name]
    )
    monkeypatch.setattr(known, "find_known", None)  # what was found is in the record
    novelty = {
        "known": True,
        "nearest_id": "mp-22862",
        "rmsd": 0.0123,
        "nearest_formula": "NaCl",
        "nearest_space_group": 225,
        "training_of": ["kldm"],
    }
    at = page(job=finished_run(novelty=novelty))
    assert "✗ known" in words(
        at.markdown
    ) and "Same arrangement as mp-22862 (Fm-3m); this cell is Imm2, RMSD 0.012" in words(at.markdown)
    assert "training crystals of this model" in words(at.markdown) and "not compared" not in words(
        at.markdown
    ) + words(at.caption)
    at.button_group(key="way-kldm-1-2").set_value("Over the known crystal").run()
    assert "the known one" in words(at.caption) and not at.exception and not at.error


def test_a_run_that_was_judged_by_distances_alone_says_how_far_they_can_be_trusted(
    tiny_de_novo,
):
    tiny_de_novo()
    novelty = {
        "known": False,
        "nearest_id": "mp-22862",
        "rmsd": None,
        "nearest_formula": "NaCl",
        "nearest_space_group": 225,
        "method": "distances",
    }
    job, queue = finished_run(novelty=novelty), JobQueue()
    queue.update(
        job, result=queue.get(job).result | {"summary": {"n": 5, "valid": 2, "unique": 3, "novel": 4}}
    )
    at = page(job=job)
    assert "4 new by their distances alone" in words(at.success) and not at.exception
    assert "Judged by its distances alone, as earlier versions did" in words(at.markdown)


def test_near_the_hull_is_only_what_has_an_energy_above_it(tiny_de_novo):
    tiny_de_novo()
    job, queue = finished_run(), JobQueue()
    place = {
        "energy_per_atom_ev": -3.0,
        "formation_energy_per_atom_ev": None,
        "e_above_hull_error_ev": 0.05,
        "decomposition": {"NaCl": 1.0},
        "note": "none",
    }
    records = [
        record | {"energies": place | {"e_above_hull_ev": above}}
        for record, above in zip(queue.get(job).result["crystals"], (0.01, None, 0.02, 3.0), strict=True)
    ]
    queue.update(job, result=queue.get(job).result | {"crystals": records})
    at = page(job=job)
    at.button_group(key="how").set_value("Table").run()
    at.button_group(key="only").set_value(["near the hull"]).run()
    assert at.dataframe[0].value["no."].tolist() == [1, 3] and not at.exception


def test_the_page_says_whether_the_space_group_was_kept_and_what_else_there_is_to_know(tiny_de_novo):
    tiny_de_novo()
    job, queue = finished_run(), JobQueue()
    kept = {
        "number": 225,
        "symbol": "Fm-3m",
        "experimental": True,
        "kept_within_0.01": 1,
        "kept_within_0.1": 3,
    }
    summary = {
        "n": 5,
        "valid": 2,
        "unique": 3,
        "novel": None,
        "space_group": kept,
        "note": "Other numbers of atoms are a guess.",
    }
    queue.update(job, result=queue.get(job).result | {"summary": summary})
    told = words(page(job=job).caption)
    assert "3 of 5 keep Fm-3m, or a group above it, within 0.1 Å" in told and "are a guess." in told


@pytest.mark.parametrize(("of", "told"), [(["kldm-csp"], False), ([], False), (["other", "kldm-dng"], True)])
def test_seen_in_training_is_said_of_the_model_that_made_it(of, told):
    record = cell_json(ROCK_SALT) | {
        "validity": {"structure": True, "composition": True, "plausible": True},
        "provenance": {"model": "kldm-dng-mp"},
    }
    novelty = {"known": True, "nearest_id": "mp-1", "training_of": of}
    assert (
        any(
            "training crystals of this model" in verdict.reason
            for verdict in verdicts(record | {"novelty": novelty})
        )
        == told
    )


@pytest.mark.parametrize(
    ("formula", "passes", "tone", "word", "reason"),
    [
        (
            "Fe3O4",
            False,
            "open",
            "mixed valence",
            "gives every element one oxidation state; it balances with mixed valence as Fe²⁺ 2 Fe³⁺ 4 O²⁻.",
        ),
        ("KO2", False, "open", "balances otherwise", "it balances with superoxide ions as K⁺ (O₂)⁻."),
        ("LaH10", False, "open", "not charge-balanced", "as in many hydrides of metals."),
        ("Na2Cl", False, "bad", "not charge-balanced", "leaves +1"),
        ("Li3FeO2", True, "open", "uncommon charges", "balances only with uncommon oxidation states."),
        ("LiFeO2", True, "good", "charge-balanced", "passes SMACT's test and balances as Li⁺ Fe³⁺ 2 O²⁻."),
        ("FeCo", True, "good", "charge-balanced", "no charges to balance"),
        ("Si2", True, "good", "charge-balanced", "no charges to balance"),
    ],
)
def test_the_verdict_on_charges_agrees_with_the_hint_of_the_formula(formula, passes, tone, word, reason):
    numbers = parse_formula(formula).atomic_numbers_of(2)
    counts = tuple(parse_formula(formula).unit)
    assert is_charge_balanced(counts) is passes  # as published
    record = {
        "atomic_numbers": numbers,
        "validity": {
            "structure": True,
            "composition": passes,
            "reasons": [] if passes else ["As told once."],
        },
    }
    verdict = charge_balance(record)
    assert (verdict.tone, verdict.word) == (tone, word) and reason in verdict.reason
    assert is_credible(record) == (tone != "bad") and told_reasons(record) == (
        [] if passes else [verdict.reason]
    )


def test_a_crystal_of_mixed_valence_is_shown_with_the_valid_ones_and_not_counted(tiny_de_novo, monkeypatch):
    tiny_de_novo()
    cards = []
    monkeypatch.setattr(
        "pages._ui.run.generated.crystal_gallery", lambda items, *, key, first=0: cards.extend(items) or first
    )
    job, queue = finished_run(), JobQueue()
    spinel = next(
        record
        for record in crystals_of(find_demo("spinel").result)
        if record["id"] == "MgAl2O4-z2-prototype-3"
    )
    magnetite = structure_from_record(spinel).replace_species({"Mg": "Fe", "Al": "Fe"})
    made = [
        crystal_record(s, id=f"kldm-{k}", origin="noise", provenance={}, group=k)
        for k, s in enumerate((UNBALANCED, magnetite), start=1)
    ]
    queue.update(
        job,
        result=queue.get(job).result
        | {"crystals": made, "summary": {"n": 2, "valid": 0, "unique": 2, "novel": None}},
    )
    at = page(job=job)
    assert (
        "0 valid" in words(at.success) and "1 fails this test alone" in words(at.caption) and not at.exception
    )
    assert [card["badges"][0] for card in cards] == [["open", "mixed valence"], ["bad", "not valid"]]
    assert "· mixed valence" in words(at.markdown) and "✗" not in words(at.markdown)
    at.button_group(key="only").set_value(["valid"]).run()
    at.button_group(key="how").set_value("Table").run()
    table = at.dataframe[0].value
    assert (
        table["no."].tolist() == [2]
        and table["valid"].tolist() == ["no"]
        and "Fe²⁺ 2 Fe³⁺ 4 O²⁻" in table["why"][0]
        and not at.exception
    )


def test_loose_atoms_and_molecules_are_marked_and_stay_valid(tiny_de_novo, monkeypatch):
    tiny_de_novo()
    cards = []
    monkeypatch.setattr(
        "pages._ui.run.generated.crystal_gallery", lambda items, *, key, first=0: cards.extend(items) or first
    )
    cell = Lattice.cubic(7.0)
    loose = {
        "isolated atoms": Structure(
            cell, ["O", "O", "O", "O"], [[0, 0, 0], [0.175, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5]]
        ),
        "molecules": Structure(cell, ["O", "O"], [[0, 0, 0], [0.175, 0, 0]]),
        "no loose atoms": ROCK_SALT,
    }
    made = {
        word: crystal_record(s, id="kldm-1", origin="noise", provenance={}, group=1)
        for word, s in loose.items()
    }
    found = {word: cohesion(record) for word, record in made.items()}
    assert [verdict.word for verdict in found.values()] == list(loose) and [
        verdict.tone for verdict in found.values()
    ] == ["bad", "open", "good"]
    assert (
        "O3, O4 have no neighbour within 1.5 ×" in found["isolated atoms"].reason
        and "(O₂)" in found["molecules"].reason
    )
    assert all(
        record["validity"]["plausible"] and not record["validity"]["reasons"] for record in made.values()
    )  # the checks as published
    assert cohesion(crystal_record(SHORT, id="a", origin="noise", provenance={})).word == "not in question"
    job, queue = finished_run(), JobQueue()
    queue.update(job, result=queue.get(job).result | {"crystals": [made["isolated atoms"]]})
    at = page(job=job)
    assert (
        ["bad", "isolated atoms"] in cards[0]["badges"]
        and "✗ isolated atoms" in words(at.markdown)
        and not at.exception
    )
    at.button_group(key="how").set_value("Table").run()
    assert "no neighbour within" in at.dataframe[0].value["why"][0]


def test_verdicts_on_energies_are_no_bolder_than_their_error():
    sound = {"validity": {"structure": True, "composition": True, "plausible": True, "reasons": []}}

    def energies_at(above):
        return sound | {
            "energies": {
                "e_above_hull_ev": above,
                "e_above_hull_error_ev": 0.05,
                "decomposition": {"NaCl": 1.0},
                "note": "No reference.",
            }
        }

    def place(above):
        return stability(energies_at(above))

    bias = measured_error("chgnet")["bias_ev"]  # estimates of hypothetical crystals are too low on average
    levels = [-0.2, *(level + bias for level in (0.049, 0.051, 0.149, 0.151))]
    of_known = measured_error("chgnet")["sets"]["known"]["bias_ev"]
    assert (
        of_known > bias
        and stability(energies_at(0.049 + of_known) | {"novelty": {"known": True}}).tone == "good"
    )
    assert bias < 0 and [place(above).tone for above in levels] == ["good", "good", "open", "open", "bad"]
    assert (
        "0.04 too low" in place(0.1).reason
        and "± 0.05 eV/atom" in place(0.1).reason
        and "ML estimate" in place(0.1).reason
        and "stable" not in place(0.1).word
    )
    assert place(None).tone == "open" and place(None).reason == "No reference."
    assert stability(sound | {"relaxation": {"error": "Too dense."}}).reason == "Too dense."


def test_a_lower_form_of_the_same_formula_is_no_decomposition():
    def reason(formula, above, products):
        energies = {
            "e_above_hull_ev": above,
            "e_above_hull_error_ev": 0.048,
            "decomposition": products,
            "note": "",
        }
        return stability({"formula": formula, "energies": energies}).reason

    alike = reason("LiFeO2", 0.316, {"LiFeO2": 1.0})
    assert "+0.316 ± 0.05 eV/atom against a known form of this formula (ML estimate" in alike
    assert alike.endswith("that form lies lower by so much.") and "fall apart" not in alike
    assert "a known form of this formula" in reason("LiO", 0.05, {"Li2O2": 1.0})
    parts = reason("Li4Fe3O7", 0.4, {"LiFeO2": 0.6, "Li2FeO3": 0.4})
    assert "against 60 % LiFeO₂ + 40 % Li₂FeO₃" in parts and parts.endswith(
        "it would rather fall apart into these."
    )
    assert "fall apart" in reason("LiFeO2", 0.4, {"Fe": 1.0})


@pytest.mark.parametrize(
    ("formula", "nearest", "others"),
    [
        ("Li4Fe3O7", "Eu4O3F7", True),
        ("NaCl", "KCl", True),
        ("Fe", "Co", True),
        ("LiFeO2", "LiCoO2", False),
        ("Fe", "Fe", False),
    ],
)
def test_a_nearest_crystal_of_other_elements_is_called_that(formula, nearest, others):
    record = {
        "formula": formula,
        "validity": {"structure": True, "composition": True, "reasons": []},
        "provenance": {},
    }
    told = newness(
        record
        | {
            "novelty": {
                "known": False,
                "nearest_id": "mp-1",
                "nearest_formula": nearest,
                "reference": "a set",
            }
        }
    ).reason
    assert ("nearest arrangement, of other elements: mp-1 (" in told) == others and (
        "the nearest is mp-1 (" in told
    ) != others


def test_what_has_loose_atoms_or_one_element_only_is_not_counted_among_the_new(tiny_de_novo, monkeypatch):
    tiny_de_novo()
    monkeypatch.setattr("pages._ui.run.generated.crystal_gallery", lambda items, *, key, first=0: first)
    near = Structure(Lattice.cubic(3.2), ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0]])
    loose = Structure(Lattice.cubic(9.0), ["Li", "Li", "O"], [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0.5]])
    lithium = Structure(Lattice.cubic(2.8), ["Li"], [[0, 0, 0]])
    found = zip((ROCK_SALT, ROCK_SALT, loose, lithium, near), (0, 0, 1, 2, 3), strict=True)
    unknown = {"known": False, "nearest_id": None, "rmsd": None}
    made = [
        crystal_record(s, id=f"kldm-{k}", origin="noise", provenance={}, group=group, novelty=unknown)
        for k, (s, group) in enumerate(found, start=1)
    ]
    made[4]["validity"] |= {"structure": True, "composition": True, "plausible": False}
    job, queue = finished_run(), JobQueue()
    queue.update(
        job,
        result=queue.get(job).result
        | {"crystals": made, "summary": {"n": 5, "valid": 5, "unique": 4, "novel": 5}},
    )
    at = page(job=job)
    told = "1 valid, distinct and new, not counting 1 with isolated atoms, 1 of one element only, 1 with implausible distances"
    assert f"5 new · {told}" in words(at.success) and not at.exception
    request = queue.get(job).request
    assert "2 valid, distinct and new, not counting 1 with isolated" in summary(
        replace(queue.get(job), request=request | {"elements": ["Li"]})
    )


@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_relaxing_goes_through_the_queue_and_shows_before_and_after(tiny_de_novo):
    tiny_de_novo()
    run = finished_run(novelty={"known": True, "nearest_id": "mp-22862", "rmsd": None})
    at = page(job=run)
    at.button(key="relax-all").click().run()
    queue = JobQueue()
    (child,) = queue.list_children(run)
    assert child.kind == "relax" and [c["id"] for c in child.request["crystals"]] == [
        "kldm-1"
    ]  # its twin is the same, the others are not valid
    assert at.button(key="relax-all").disabled and not at.exception
    run_job(queue, queue.take(), RUNNERS)
    at.run()
    assert {"Energy (eV/atom, ML estimate)", "Above the hull (eV/atom, ML estimate)", "Atoms moved (Å)"} <= {
        metric.label for metric in at.metric
    }
    assert "may be stable" in words(at.markdown) and "hypothetical crystals" in words(at.caption)
    ways = next(
        group for group in at.button_group if str(group.key).startswith("way-kldm-1-")
    )  # one more where the tables are at hand
    ways.set_value("Relaxed over generated").run()
    assert "as generated" in words(at.caption) and not at.exception and not at.error
    job = queue.get(run)
    assert (
        "energies" in generated_of(job)[0]
        and generated_of(job)[0]["generated"]["lattice"] != generated_of(job)[0]["lattice"]
    )
    names = zipfile.ZipFile(io.BytesIO(zip_of(job))).namelist()
    assert {"kldm-1.cif", "kldm-4.cif", "run.extxyz", "before-relaxing.extxyz", "run.json"} <= set(names)


def test_the_files_that_the_shown_call_reads_are_in_the_archive():
    oxide = Structure(
        Lattice.cubic(4.5), [8, 22, 8, 11], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5]]
    )
    given = cell_json(oxide)
    measured = {
        "two_theta": [10 + 0.1 * k for k in range(200)],
        "intensity": [1.0 + 50 * (k % 50 == 9) for k in range(200)],
        "wavelength": "MoKa",
    }
    queue = JobQueue()
    made = queue.get(queue.submit("generate", to_json(CrystalGenerationRequest(fix=given, fix_sites=(2,)))))
    predicted = queue.get(
        queue.submit(
            "predict-structure", to_json(StructurePredictionRequest(formula="NaCl", pattern=measured))
        )
    )
    files = [zipfile.ZipFile(io.BytesIO(zip_of(job))) for job in (made, predicted)]
    assert "--fix structure.json --fix-sites 2" in as_command(made) and "--pattern pattern.xy" in as_command(
        predicted
    )
    again = parse_text(
        files[0].read("structure.json").decode()
    )  # a CIF is read with its sites in another order
    assert cell_json(again) == given and "pattern.xy" not in files[0].namelist()
    assert read_pattern(files[1].read("pattern.xy").decode(), wavelength="MoKa").to_json() == measured


def test_what_is_said_of_a_relaxed_crystal_names_the_cell_it_is_said_of(tiny_de_novo):
    tiny_de_novo()
    run, queue = finished_run(novelty={"known": False, "nearest_id": None, "rmsd": None}), JobQueue()
    queue.submit(
        "relax", to_json(RelaxationRequest(crystals=({"id": "kldm-1", **cell_json(ROCK_SALT)},))), parent=run
    )
    known = {"known": True, "nearest_id": "mp-22862", "rmsd": 0.01}
    relaxed = crystal_record(ROCK_SALT, id="kldm-1", origin="noise", provenance={}, novelty=known) | {
        "original": cell_json(ROCK_SALT)
    }
    child = queue.take()
    queue.update(
        child.id,
        state="done",
        result={"crystals": [relaxed], "settings": {}, "seconds": 1.0},
        finished=child.created + 1,
    )
    record = generated_of(queue.get(run))[0]
    assert record["novelty"]["known"] and not record["generated"]["novelty"]["known"]
    at = page(job=run)
    told = words(at.markdown)
    assert not at.exception and told.count("(As generated.)") == 3 and "✗ known" in told
    at = page(job=finished_run())
    assert "✓ sound cell" in words(at.markdown) and "(As generated.)" not in words(at.markdown)


def test_a_run_is_told_in_words_and_found_again_on_the_page_that_shows_it(tiny_de_novo):
    tiny_de_novo()
    run = finished_run()
    queue = JobQueue()
    child = queue.get(
        queue.submit(
            "relax", to_json(RelaxationRequest(crystals=({"id": "a", **cell_json(ROCK_SALT)},))), parent=run
        )
    )
    job = queue.get(run)
    assert title_of(job) == "5 new crystals of Li-O with 2 atoms" and title_of(child) == "relaxing 1 crystal"
    assert link_of(job) == link_of(child) == ("pages/generate.py", {"job": run})
    assert "crystal-core relax a.cif" in as_command(child) and "load_potential" in as_python(child)
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    at.switch_page("pages/history.py").run()
    assert at.dataframe[0].value["request"].tolist() == [title_of(child), title_of(job)] and not at.exception


def test_deleting_a_run_tells_of_its_relaxations_and_waits_for_them(tiny_de_novo, monkeypatch):
    tiny_de_novo()
    run, queue = finished_run(), JobQueue()
    child = queue.submit(
        "relax", to_json(RelaxationRequest(crystals=({"id": "a", **cell_json(ROCK_SALT)},))), parent=run
    )
    chosen = SimpleNamespace(
        selection=SimpleNamespace(rows=[1])
    )  # AppTest selects no row; the newest, the relaxation, is the first
    monkeypatch.setattr("streamlit.dataframe", lambda *_, **__: chosen)
    at = (
        AppTest.from_file(str(ROOT / "app.py"), default_timeout=90)
        .run()
        .switch_page("pages/history.py")
        .run()
    )
    at.button(key="delete").click().run()
    assert "its link will be gone, and its relaxation with it" in words(at.markdown)
    really = at.button(key="really")
    at.button(key="delete").click()  # AppTest runs the whole page again, never a dialog alone
    really.click().run()
    assert "cancel that or wait" in words(at.error) and not at.exception and queue.get(run)
    queue.cancel(child)
    really = at.button(key="really")
    at.button(key="delete").click()
    really.click().run()
    assert not at.exception and queue.list_jobs() == []


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
    assert (
        "Cl shall stay" in words(at.error) and at.button(key="generate").disabled
    )  # the run was of Li and O
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
        at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
        at.query_params["job"], at.query_params["crystal"] = run, crystal
        at.switch_page("pages/viewer.py").run()
        assert not at.exception and bool(at.warning) != bool(part)


def test_a_recorded_run_opens_as_a_run_does_and_fills_the_form():
    run = "demo-lithium-iron-oxides"
    at = page(job=run, fork=run)
    assert not at.exception and not at.error and not at.warning
    assert "Recorded run, not one of yours: kldm-dng-mp, seed 0" in words(at.info)
    assert at.text_input(key="make-seed").value == "0" and at.number_input(key="make-n").value == 8
    assert "5 valid, distinct and new, not counting 1 with implausible distances" in words(at.success)
    assert all(
        symbol in words(at.subheader) for symbol in ("Li", "Fe", "O")
    )  # all three elements come before all else
    at.button_group(key="only").set_value(["near the hull"]).run()
    assert "eV/atom against" in words(at.markdown)
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    at.query_params["job"], at.query_params["crystal"] = run, "kldm-dng-mp-0-1"
    at.switch_page("pages/viewer.py").run()
    assert not at.exception and not at.warning
    assert page(job="demo-nothing").warning
