"""Screening campaigns: filters, relaxing, ranking, and batches that are stored, resumed, lost and merged."""

import csv
import json
import operator
import os
import signal
from dataclasses import replace
from functools import partial

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import CheckpointMissing, MissingExtra, RequestError
from crystal_core.files.records import crystal_record
from crystal_core.frames import RunUpdate
from crystal_core.interruption import Interruption
from crystal_core.reference.known import novelty
from crystal_core.relax.many import over_processes
from crystal_core.relax.potential import is_installed
from crystal_core.requests import CrystalGenerationRequest
from crystal_core.requests.screening import CHECKS, RankBy, RelaxationLimits, ScreeningRequest, Window
from crystal_core.workflows import generate
from crystal_core.workflows.screen import backends
from crystal_core.workflows.screen.batch import work_or_reason
from crystal_core.workflows.screen.campaign import run
from crystal_core.workflows.screen.filters import passing

FCC = Lattice.from_parameters(3.99, 3.99, 3.99, 60, 60, 60)
SALT = Structure(FCC, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
SALT_MOVED = Structure(FCC.scale(42.0), ["Na", "Cl"], [[0.3, 0.3, 0.3], [0.8, 0.8, 0.8]])
UNKNOWN = Structure(Lattice.cubic(4.0), ["Cs", "Kr", "F"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]])
CRUSHED = Structure(FCC, ["Na", "Cl"], [[0, 0, 0], [0.05, 0, 0]])
SHORT = Structure(FCC, ["Na", "Cl"], [[0, 0, 0], [0.3, 0, 0]])
UNBALANCED = Structure(Lattice.cubic(4.4), ["Na", "F", "F"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]])
MOLECULE = Structure(Lattice.cubic(8.0), ["O", "C", "O"], [[0.35, 0, 0], [0.5, 0, 0], [0.65, 0, 0]])
SMALL = "kldm-dng-perov5"
CALL = partial(partial, operator.call)  # in a process: what it is given is a function to call


def record(structure, number=1):
    about = {"model": "some", "version": "0", "settings": {}, "device": "cpu", "libraries": {}, "note": ""}
    return crystal_record(structure, id=f"some-1-{number}", provenance=about, novelty=novelty(structure))


def request_for(**fields):
    given = {"n": 6, "seed": 4, "batch": 2, "device": "cpu"} | fields
    crystals = CrystalGenerationRequest(model=SMALL, sampler="em", steps=8, n=1, seed=0)
    return ScreeningRequest(generate=crystals, **given)


def here(make, items):
    work = make()
    for place, item in enumerate(items):
        yield place, work(item)


def backwards(make, items):
    yield from reversed([*here(make, items)])


def cells(folder):
    crystals = json.loads((folder / "run.json").read_text())["crystals"]
    return [(c["id"], c["lattice"], c["frac_coords"], c["atomic_numbers"], c["n_alike"]) for c in crystals]


@pytest.fixture
def given_crystals(monkeypatch):
    """A function: every batch then holds these structures, in place of a model's."""

    def give(*structures):
        def sample(request):
            crystals = [record(structure, k) for k, structure in enumerate(structures, start=1)]
            yield RunUpdate(
                stage="done",
                step=1,
                n_steps=1,
                result={"crystals": crystals, "n_failed": 0, "network_calls": 3, "notes": []},
            )

        monkeypatch.setattr(generate, "run", sample)
        monkeypatch.setattr(generate, "check", lambda request: None)
        monkeypatch.setattr(
            "crystal_core.workflows.screen.campaign.find_card",
            lambda name: type("Card", (), {"weights_sha256": "0"}),
        )

    return give


@pytest.mark.weights
def test_the_order_of_finished_batches_and_an_interruption_change_no_crystal(tmp_path):
    request = request_for()
    report, _ = run(request, tmp_path / "whole", backend=here)
    assert (report["done"], report["failed"], report["written"]) == (6, 0, len(cells(tmp_path / "whole")))
    assert report["counts"]["generated"] == 6 and report["network_calls"] == 24
    run(request, tmp_path / "backwards", backend=backwards)
    assert cells(tmp_path / "backwards") == cells(tmp_path / "whole")

    def interrupted(make, items):
        yield next(here(make, items))
        raise KeyboardInterrupt

    stop = Interruption(lambda: None)
    report, _ = run(request, tmp_path / "resumed", backend=interrupted, stop=stop)
    assert stop and report["interrupted"] and report["covers"] == "1 of 3 batches"
    assert (report["done"], report["failed"]) == (2, 0)
    assert len([*(tmp_path / "resumed").glob("*.cif")]) == report["written"] > 0
    begun = []
    run(request, tmp_path / "resumed", backend=lambda make, items: here(make, begun.extend(items) or items))
    assert [batch.number for batch in begun] == [1, 2]
    assert cells(tmp_path / "resumed") == cells(tmp_path / "whole")
    run(request, tmp_path / "resumed", backend=None)  # all is finished: no process is needed
    assert cells(tmp_path / "resumed") == cells(tmp_path / "whole")


@pytest.mark.weights
def test_more_crystals_go_on_in_the_same_folder_as_if_begun_with_them(tmp_path):
    run(request_for(n=3), tmp_path / "more", backend=here)
    files = {path.name for path in (tmp_path / "more").glob("*.cif")}
    run(request_for(n=5), tmp_path / "more", backend=here)
    run(request_for(n=5), tmp_path / "once", backend=here)
    assert cells(tmp_path / "more") == cells(tmp_path / "once")
    assert files and {path.stem for path in (tmp_path / "more").glob("*.cif")} == {
        cell[0] for cell in cells(tmp_path / "more")
    }


def test_seeds_of_batches_differ_and_do_not_depend_on_the_number_of_crystals():
    seeds = [batch.seed for batch in request_for(n=20_000, batch=1).batches]
    assert len(set(seeds)) == 20_000 and max(seeds) < 2**31
    assert [batch.seed for batch in request_for(n=7, batch=1).batches] == seeds[:7]
    assert [batch.seed for batch in request_for(n=7, batch=1, seed=5).batches] != seeds[:7]


@pytest.mark.parametrize(
    ("check", "falls"),
    [
        ("valid", CRUSHED),
        ("charge-balanced", UNBALANCED),
        ("plausible", SHORT),
        ("connected", MOLECULE),
        ("connected", CRUSHED),
        ("new", SALT),
        ("distinct", SALT_MOVED),
    ],
)
def test_each_check_drops_what_fails_it_and_counts_the_rest(check, falls):
    stays = UNKNOWN if check == "new" else SALT
    crystals = [record(stays, 1), record(falls, 2)]
    left, passed, failures = passing(crystals, request_for(checks=(check,)), relaxed=False)
    assert [crystal["id"] for crystal in left] == ["some-1-1"] and passed == {check: 1} and not failures


def test_checks_are_made_in_the_given_order():
    crystals = [record(s, k) for k, s in enumerate((SALT, SALT_MOVED, CRUSHED, UNBALANCED), start=1)]
    _, passed, _ = passing(
        crystals, request_for(checks=("valid", "distinct", "charge-balanced")), relaxed=False
    )
    assert list(passed.items()) == [("valid", 3), ("distinct", 2), ("charge-balanced", 1)]


def test_windows_and_ranking_take_predicted_properties(composition_predictor, given_crystals, tmp_path):
    oxide = Structure(FCC.scale(18.7), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    metal = Structure(Lattice.cubic(3.0), ["Ti", "Ni"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    unknown = Structure(Lattice.cubic(5.0), ["Po"], [[0, 0, 0]])
    given_crystals(SALT, metal, oxide, unknown)
    request = request_for(
        n=4,
        batch=4,
        windows={"band_gap_ev": Window(min=1.0)},
        rank=RankBy(by="bulk_modulus_gpa", order="highest"),
    )
    report, crystals = run(request, tmp_path, backend=here)
    assert [crystal["formula"] for crystal in crystals] == ["MgO", "NaCl"]
    assert report["counts"]["passed"] == {"band_gap_ev": 2} and report["done"] == 3
    assert report["failed"] == 1 and "ZeroDivisionError" in report["failures"][0]["reason"]
    scores = [row["score"] for row in report["ranking"]]
    assert [s["name"] for s in scores] == ["bulk_modulus_gpa"] * 2 and scores[0]["value"] > scores[1]["value"]
    rows = list(csv.DictReader((tmp_path / "ranking.csv").open()))
    assert [row["rank"] for row in rows] == ["1", "2"] and rows[0]["file"] == f"{crystals[0]['id']}.cif"
    assert float(rows[1]["predicted_band_gap_ev"]) == crystals[1]["predictions"]["band_gap_ev"]["value"]
    lowest, _ = run(
        request_for(n=4, batch=4, rank=RankBy(by="bulk_modulus_gpa", order="lowest")),
        tmp_path / "lowest",
        backend=here,
    )
    values = [row["score"]["value"] for row in lowest["ranking"]]
    assert values == sorted(values) and len(values) == 3


def test_a_property_that_nobody_predicts_is_refused_before_the_work(composition_predictor, tmp_path):
    with pytest.raises(RequestError, match=r"no property hardness; choose from .*bulk_modulus_gpa"):
        run(request_for(rank=RankBy(by="hardness")), tmp_path, backend=None)
    with pytest.raises(CheckpointMissing):
        run(request_for(rank=RankBy(by="band_gap_ev"), predictor="absent"), tmp_path, backend=None)


@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_relaxed_crystals_are_checked_again_merged_and_ranked_by_their_energy(given_crystals, tmp_path):
    stretched = Structure(FCC.scale(60.0), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    given_crystals(stretched, SALT, CRUSHED)
    request = request_for(
        n=6,
        batch=3,
        checks=("charge-balanced",),
        windows={"e_above_hull_ev": Window(max=1.0)},
        relax=RelaxationLimits(steps=4),
    )
    report, crystals = run(request, tmp_path, backend=here)
    assert (report["done"], report["failed"], report["written"]) == (4, 2, 2)
    assert report["failures"] == [{"n": 2, "reason": report["failures"][0]["reason"]}]
    assert "cannot be relaxed" in report["failures"][0]["reason"]
    counts = report["counts"]
    assert counts["passed"] == {"charge-balanced": 6} and counts["relaxed"] == 4
    assert counts["passed_relaxed"] == {"charge-balanced": 4, "e_above_hull_ev": 4}
    assert [crystal["n_alike"] for crystal in crystals] == [2, 2]
    energies = [crystal["energies"]["e_above_hull_ev"] for crystal in crystals]
    assert energies == sorted(energies) == [row["score"]["value"] for row in report["ranking"]]
    assert crystals[0]["provenance"]["relaxed"]["settings"]["steps"] == 4
    assert (tmp_path / "before-relaxing.extxyz").is_file()
    strict = request_for(
        n=3, batch=3, windows={"e_above_hull_ev": Window(max=energies[0])}, relax=RelaxationLimits(steps=4)
    )
    assert run(strict, tmp_path / "strict", backend=here)[0]["written"] == 1


@pytest.mark.weights
def test_a_batch_whose_process_is_killed_is_counted_and_loses_no_other(tmp_path):
    request = request_for(n=4)

    def deadly(make, items):
        doomed = partial(signal.raise_signal, signal.SIGKILL)
        calls = [partial(work_or_reason, request, b) if b.number else doomed for b in items]
        return over_processes(CALL, calls, workers=1, seconds=None)

    report, _ = run(request, tmp_path / "killed", backend=deadly)
    assert (report["done"], report["failed"]) == (2, 2)
    assert report["batches"] == {"finished": 1, "failed": 1, "of": 2}
    (failure,) = report["failures"]
    assert (failure["batch"], failure["n"]) == (0, 2) and "ended by the system" in failure["reason"]
    assert run(request, tmp_path / "killed", backend=here)[0]["failed"] == 0  # tried again
    run(request, tmp_path / "whole", backend=here)
    assert cells(tmp_path / "killed") == cells(tmp_path / "whole")


@pytest.mark.weights
def test_a_batch_that_fails_says_why_and_loses_no_other(tmp_path, monkeypatch):
    request, sample = request_for(), generate.run
    doomed = request.batches[2].seed

    def run_or_fail(one):
        if one.seed == doomed:
            raise ZeroDivisionError("as if")
        return sample(one)

    monkeypatch.setattr(generate, "run", run_or_fail)
    report, _ = run(request, tmp_path, backend=here)
    assert (report["done"], report["failed"]) == (4, 2)
    assert (
        report["failures"][0]["batch"] == 2 and "ZeroDivisionError: as if" in report["failures"][0]["reason"]
    )


@pytest.mark.weights
def test_where_no_process_starts_every_batch_is_counted_as_failed(tmp_path):
    report, _ = run(request_for(), tmp_path, backend=lambda make, items: (item for item in ()))
    assert (report["done"], report["failed"], report["written"]) == (0, 6, 0)
    assert "No process" in report["failures"][0]["reason"]


@pytest.mark.weights
def test_a_campaign_goes_on_that_a_version_with_fewer_settings_began(tmp_path):
    run(request_for(n=2), tmp_path, backend=here)
    begun = json.loads((tmp_path / "screen.json").read_text())
    assert begun["generate"].pop("symmetrise") is None
    (tmp_path / "screen.json").write_text(json.dumps(begun))
    report, crystals = run(request_for(n=4), tmp_path, backend=here)
    assert report["done"] == 4 and len(crystals) > 2
    symmetric = request_for(n=4)
    symmetric = replace(symmetric, generate=replace(symmetric.generate, symmetrise=0.3))
    with pytest.raises(RequestError, match=r"was begun with generate\.symmetrise nothing, not 0\.3"):
        run(symmetric, tmp_path, backend=here)


@pytest.mark.weights
def test_a_folder_of_other_settings_or_of_something_else_is_refused(tmp_path):
    run(request_for(n=2), tmp_path / "hunt", backend=here)
    for fields, words in [
        ({"seed": 5}, "seed 4, not 5"),
        ({"checks": ("valid",)}, "checks nothing, not valid"),
        ({"batch": 3}, "batch 2, not 3"),
        ({"relax": RelaxationLimits(steps=7)}, "relax.* not .*"),
    ]:
        with pytest.raises(RequestError, match=f"hunt was begun with {words}"):
            run(request_for(n=2, **fields), tmp_path / "hunt", backend=None)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.cif").write_text("data_")
    with pytest.raises(RequestError, match="no screening began"):
        run(request_for(), tmp_path / "other", backend=None)


@pytest.mark.weights
def test_a_second_screening_in_the_folder_of_one_at_work_is_refused(tmp_path):
    request = request_for(n=2)

    def twice(make, items):
        with pytest.raises(RequestError, match="Another screening is at work"):
            run(request, tmp_path, backend=here)
        yield from here(make, items)

    assert run(request, tmp_path, backend=twice)[0]["done"] == 2


@pytest.mark.weights
def test_a_damaged_batch_is_made_again(tmp_path):
    request = request_for(n=4)
    run(request, tmp_path, backend=here)
    whole, path = cells(tmp_path), tmp_path / "batches" / "000001.json"
    path.write_text(path.read_text()[:100])
    run(request, tmp_path, backend=here)
    assert cells(tmp_path) == whole


@pytest.mark.weights
def test_what_the_model_cannot_do_is_refused_before_any_process_starts(tmp_path):
    crystals = CrystalGenerationRequest(model=SMALL, elements=("Rn",))
    with pytest.raises(RequestError, match="not trained on Rn"):
        run(ScreeningRequest(generate=crystals, n=4, seed=1), tmp_path, backend=None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 0}, "n .crystals. must be"),
        ({"batch": 1000}, "batch"),
        ({"checks": ("solid",)}, f"Unknown check 'solid'; choose one of {', '.join(CHECKS)}"),
        ({"checks": ("new", "new")}, "twice"),
        ({"predictor": 3}, "predictor"),
    ],
)
def test_a_wrong_request_is_refused(fields, words):
    with pytest.raises(RequestError, match=words):
        request_for(**fields)


def test_an_unknown_backend_and_a_missing_one_are_refused(monkeypatch):
    with pytest.raises(RequestError, match="choose one of local, ray"):
        backends.backend_of("slurm", 2)
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"crystal-studio\[ray\]"):
        backends.backend_of("ray", 2)


def test_ray_does_every_item_and_reports_a_process_that_dies():
    pytest.importorskip("ray", reason="the backend ray needs the extra crystal-studio[ray]")
    items = [partial(pow, 2, i) for i in range(5)]
    items[3] = partial(os._exit, 1)
    results = dict(backends.over_ray(CALL, items, workers=2))
    assert results == {i: None if i == 3 else 2**i for i in range(5)}
