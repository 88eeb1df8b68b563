"""The results of the Generate page: verdicts with reasons, relaxing, files, and runs found again."""

import io
import zipfile
from dataclasses import replace

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.demos import find_demo
from crystal_core.evaluation.powder_pattern import read_pattern
from crystal_core.files.parse import parse_text
from crystal_core.files.records import cell_json, crystal_record, structure_from_record
from crystal_core.jobs.queue import JobQueue
from crystal_core.records import crystals_of
from crystal_core.reference import known, known_cells
from crystal_core.requests import (
    CrystalGenerationRequest,
    StructurePredictionRequest,
    to_json,
)
from pages._ui.run.calls import as_command, zip_of
from pages._ui.run.cohesion import cohesion
from pages._ui.run.generated_order import requested_elements
from pages._ui.run.runs import summary
from tests.pages.generation import ROCK_SALT, SHORT, UNBALANCED, finished_run, page
from tests.pages.opening import reasons, words

pytestmark = pytest.mark.usefixtures("no_worker")


def crystal_table(at):
    """The table of the crystals; that of the cell shown stands above it."""
    return next(table.value for table in at.dataframe if "no." in table.value)


def test_every_verdict_comes_with_its_reason_and_like_crystals_are_shown_once(tiny_de_novo):
    tiny_de_novo()
    at = page(job=finished_run())
    assert not at.exception and not at.error
    assert "5 crystals · 2 valid · 3 distinct · 1 without a cell · 9 s · seed 3" in words(at.markdown)
    assert "not compared with known crystals" in words(at.caption)
    text = words(at.markdown)
    for part in (
        "✓ valid structure",
        "✓ charge-balanced",
        "✓ plausible distances",
        "· made 2 times",
        "as crystal 3",
        "· stability unknown",
        "· not compared",
    ):
        assert part in text, part
    at.button_group(key="how").set_value("Table").run()
    assert crystal_table(at)["no."].tolist() == [1, 2, 4]
    at.button_group(key="only").set_value([]).run()
    table = crystal_table(at)
    assert table["no."].tolist() == [1, 3, 2, 4] and table["valid"].tolist() == ["yes", "yes", "no", "no"]
    assert "not charge-balanced" in table["why"][2] and "below 0.5" in table["why"][3] and not at.exception


def test_crystals_with_more_of_the_requested_elements_come_first(tiny_de_novo):
    tiny_de_novo()
    job, queue = finished_run(), JobQueue()
    oxygen = Structure(Lattice.cubic(2.2), ["O"], [[0, 0, 0]])  # valid, and holds one of two
    # not charge-balanced
    both = Structure(
        Lattice.cubic(4.2), ["Li", "Li", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5], [0, 0, 0.5]]
    )
    records = [
        crystal_record(s, id=f"kldm-{k}", origin="noise", provenance={}, group=k)
        for k, s in enumerate((oxygen, both, oxygen), start=1)
    ]
    queue.update(job, result=queue.get(job).result | {"crystals": records})
    at = page(job=job)
    at.button_group(key="how").set_value("Table").run()
    assert crystal_table(at)["no."].tolist() == [2, 1, 3] and not at.exception
    assert [
        requested_elements(request) for request in ({}, {"elements": ["Li", "O"], "exclude_elements": ["O"]})
    ] == [set(), {3}]


def test_crystals_nearer_to_the_target_of_a_run_come_first(tiny_de_novo):
    tiny_de_novo()
    job, queue = finished_run(), JobQueue()
    records = []
    for k, (cation, gap) in enumerate((("Rb", 0.5), ("K", 2.1), ("Na", 4.0)), start=1):
        structure = ROCK_SALT.copy()
        structure.replace_species({"Na": cation})
        record = crystal_record(structure, id=f"kldm-{k}", origin="noise", provenance={}, group=k)
        records.append(
            record | {"predictions": {"band_gap_ev": {"value": gap, "unit": "eV", "domain": "inside"}}}
        )
    result = queue.get(job).result
    target = {"target": 2.0, "unit": "eV", "median": 2.1, "of": 3, "predictor": "crysldnet", "error": 0.3}
    summary = result["summary"] | {"targets": {"band_gap_ev": target | {"n": 1}}}
    queue.update(job, result=result | {"crystals": records, "summary": summary})
    at = page(job=job)
    at.button_group(key="how").set_value("Table").run()
    assert crystal_table(at)["no."].tolist()[:2] == [2, 1] and not at.exception


def test_a_verdict_stands_once_beside_the_crystal_and_the_summary_judges_other_cells_alone(
    tiny_de_novo, monkeypatch
):
    tiny_de_novo()
    known_cell = ROCK_SALT.copy()
    known_cell.replace_species({"Na": "K"})
    monkeypatch.setattr(known_cells, "known_cell", lambda _: known_cell)
    novelty = {"known": False, "nearest_id": "mp-23193", "rmsd": None}
    at = page(job=finished_run(novelty=novelty))
    assert words(at.markdown).count("✓ valid structure") == 1 and not words(at.text), "once, beside the cell"
    ways = next(group for group in at.button_group if str(group.key).startswith("way-kldm-1-"))
    assert list(ways.options) == ["As generated", "Nearest known crystal"]
    ways.set_value("Nearest known crystal").run()
    assert words(at.markdown).count("✓ valid structure") == 2 and not at.exception, "also that of the other"
    assert "balances as K⁺ Cl⁻" in words(at.text)


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
    text = words(at.markdown).replace(
        "[mp-22862](https://next-gen.materialsproject.org/materials/mp-22862)", "mp-22862"
    )
    assert "✓ known" in text and "Same arrangement as mp-22862 (Fm-3m); this cell is Imm2, RMSD 0.012" in text
    assert "training set of this model" in words(at.markdown) and "not compared" not in words(
        at.markdown
    ) + words(at.caption)
    at.button_group(key="way-kldm-1-2").set_value("Over the known crystal").run()
    assert "the known one" in words(at.caption) and not at.exception and not at.error


def test_a_run_judged_by_distances_alone_says_how_far_they_can_be_trusted(tiny_de_novo):
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
    assert "4 new by their distances alone" in words(at.markdown) and not at.exception
    assert "Compared by distances only (earlier version)" in reasons(at)


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
        for record, above in zip(queue.get(job).result["crystals"], (0.01, None, 0.0246, 3.0), strict=True)
    ]
    queue.update(job, result=queue.get(job).result | {"crystals": records})
    at = page(job=job)
    at.button_group(key="how").set_value("Table").run()
    at.button_group(key="only").set_value(["near the hull"]).run()
    assert crystal_table(at)["no."].tolist() == [1, 3] and not at.exception
    (shown,) = (
        table.proto.arrow_data.styler.display_values for table in at.dataframe if "no." in table.value
    )
    assert b"0.025" in shown and b"0.0246" not in shown, "no more decimals than beside the crystal"


def test_the_page_says_whether_the_space_group_was_kept_and_what_else_there_is_to_know(tiny_de_novo):
    tiny_de_novo()
    job, queue = finished_run(), JobQueue()
    share = {
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
        "space_group": share,
        "note": "Other numbers of atoms are a guess.",
    }
    queue.update(job, result=queue.get(job).result | {"summary": summary})
    text = words(page(job=job).caption)
    assert "3 of 5 keep Fm-3m, or a group above it, within 0.1 Å" in text and "are a guess." in text


def test_a_crystal_of_mixed_valence_is_shown_with_the_valid_ones_and_not_counted(tiny_de_novo, monkeypatch):
    tiny_de_novo()
    cards = []
    monkeypatch.setattr(
        "pages._ui.run.generated.crystal_gallery",
        lambda items, *, key, first=0, **_: cards.extend(items) or first,
    )
    job, queue = finished_run(), JobQueue()
    spinel = next(
        record
        for record in crystals_of(find_demo("spinel").result)
        if record["id"] == "MgAl2O4-z2-prototype-3"
    )
    magnetite = structure_from_record(spinel).replace_species({"Mg": "Fe", "Al": "Fe"})
    records = [
        crystal_record(s, id=f"kldm-{k}", origin="noise", provenance={}, group=k)
        for k, s in enumerate((UNBALANCED, magnetite), start=1)
    ]
    queue.update(
        job,
        result=queue.get(job).result
        | {"crystals": records, "summary": {"n": 2, "valid": 0, "unique": 2, "novel": None}},
    )
    at = page(job=job)
    assert (
        "0 valid" in words(at.markdown)
        and "1 fails only the charge test" in words(at.caption)
        and not at.exception
    )
    assert [card["badges"][0] for card in cards] == [["open", "mixed valence"], ["bad", "not valid"]]
    assert "· mixed valence" in words(at.markdown) and "✗" not in words(at.markdown)
    at.button_group(key="only").set_value(["valid"]).run()
    at.button_group(key="how").set_value("Table").run()
    table = crystal_table(at)
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
        "pages._ui.run.generated.crystal_gallery",
        lambda items, *, key, first=0, **_: cards.extend(items) or first,
    )
    cell = Lattice.cubic(7.0)
    loose = {
        "isolated atoms": Structure(
            cell, ["O", "O", "O", "O"], [[0, 0, 0], [0.175, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5]]
        ),
        "molecules": Structure(cell, ["O", "O"], [[0, 0, 0], [0.175, 0, 0]]),
        "no isolated atoms": ROCK_SALT,
    }
    records = {
        word: crystal_record(s, id="kldm-1", origin="noise", provenance={}, group=1)
        for word, s in loose.items()
    }
    verdicts = {word: cohesion(record) for word, record in records.items()}
    assert [verdict.word for verdict in verdicts.values()] == list(loose) and [
        verdict.tone for verdict in verdicts.values()
    ] == ["bad", "open", "good"]
    assert (
        "O3, O4 have no neighbour within 1.5 ×" in verdicts["isolated atoms"].reason
        and "(O₂)" in verdicts["molecules"].reason
    )
    # the checks as published
    assert all(
        record["validity"]["plausible"] and not record["validity"]["reasons"] for record in records.values()
    )
    invalid = crystal_record(SHORT, id="a", origin="noise", provenance={})
    assert cohesion(invalid).word == "connectivity unknown"
    job, queue = finished_run(), JobQueue()
    queue.update(job, result=queue.get(job).result | {"crystals": [records["isolated atoms"]]})
    at = page(job=job)
    assert (
        ["bad", "isolated atoms"] in cards[0]["badges"]
        and "✗ isolated atoms" in words(at.markdown)
        and not at.exception
    )
    at.button_group(key="how").set_value("Table").run()
    assert "no neighbour within" in crystal_table(at)["why"][0]


def test_what_has_isolated_atoms_or_one_element_only_is_not_counted_among_the_new(tiny_de_novo, monkeypatch):
    tiny_de_novo()
    monkeypatch.setattr("pages._ui.run.generated.crystal_gallery", lambda items, *, key, first=0, **_: first)
    near = Structure(Lattice.cubic(3.2), ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0]])
    loose = Structure(Lattice.cubic(9.0), ["Li", "Li", "O"], [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0.5]])
    lithium = Structure(Lattice.cubic(2.8), ["Li"], [[0, 0, 0]])
    crystals = zip((ROCK_SALT, ROCK_SALT, loose, lithium, near), (0, 0, 1, 2, 3), strict=True)
    unknown = {"known": False, "nearest_id": None, "rmsd": None}
    records = [
        crystal_record(s, id=f"kldm-{k}", origin="noise", provenance={}, group=group, novelty=unknown)
        for k, (s, group) in enumerate(crystals, start=1)
    ]
    records[4]["validity"] |= {"structure": True, "composition": True, "plausible": False}
    job, queue = finished_run(), JobQueue()
    queue.update(
        job,
        result=queue.get(job).result
        | {"crystals": records, "summary": {"n": 5, "valid": 5, "unique": 4, "novel": 5}},
    )
    at = page(job=job)
    sentence = "Not worth a look: 1 with isolated atoms, 1 of one element only, 1 with implausible distances."
    assert (
        "5 new · 1 worth a look" in words(at.markdown) and sentence in words(at.caption) and not at.exception
    )
    request = queue.get(job).request
    assert "2 worth a look" in summary(replace(queue.get(job), request=request | {"elements": ["Li"]}))


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
    completed = queue.get(
        queue.submit("generate", to_json(CrystalGenerationRequest(fix=given, fix_sites=(2,))))
    )
    predicted = queue.get(
        queue.submit(
            "predict-structure", to_json(StructurePredictionRequest(formula="NaCl", pattern=measured))
        )
    )
    files = [zipfile.ZipFile(io.BytesIO(zip_of(job))) for job in (completed, predicted)]
    assert "--fix structure.json --fix-sites 2" in as_command(
        completed
    ) and "--pattern pattern.xy" in as_command(predicted)
    # a CIF is read with its sites in another order
    again = parse_text(files[0].read("structure.json").decode())
    assert cell_json(again) == given and "pattern.xy" not in files[0].namelist()
    assert read_pattern(files[1].read("pattern.xy").decode(), wavelength="MoKa").to_json() == measured
