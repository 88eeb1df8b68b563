"""The recorded runs are what they say: output of the shipped models, re-readable, with their provenance."""

import dataclasses

import pytest

from crystal_core.demos import FOLDER, find_demo, list_demos
from crystal_core.demos.record import FRAMES, REQUESTS, thinned
from crystal_core.errors import RequestError
from crystal_core.evaluation.alike import alike_groups
from crystal_core.files.parse import parse_text
from crystal_core.files.records import structure_from_record
from crystal_core.records import crystals_of
from crystal_core.registry.store import find_card
from crystal_core.requests import CrystalGenerationRequest, from_json

DEMOS = list_demos()


def test_every_request_of_the_command_has_its_recorded_run():
    assert {demo.name for demo in DEMOS} == set(REQUESTS)
    for demo in DEMOS:
        assert from_json(type(REQUESTS[demo.name]), demo.request) == REQUESTS[demo.name]
        assert (demo.kind == "generate") == isinstance(REQUESTS[demo.name], CrystalGenerationRequest)


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_weights_are_those_of_the_card_or_the_run_is_marked(demo):
    records = crystals_of(demo.result)
    for provenance in (record["provenance"] for record in records):
        assert provenance["seed"] == demo.seed == demo.request["seed"]
        assert provenance["model"] in (demo.request["model"], "prototype")
        current = (
            find_card(provenance["model"]).weights_sha256 == provenance["weights_sha256"]
            if provenance["model"] != "prototype"
            else provenance["weights_sha256"] in find_card("prototype").files.values()
        )
        assert current or demo.weights_note == "made with earlier weights"


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_numbers_agree_with_each_other(demo):
    records = crystals_of(demo.result)
    structures = [structure_from_record(record) for record in records]
    for record, structure in zip(records, structures, strict=True):
        again = parse_text(record["cif"], "x.cif")
        assert again.composition == structure.composition and again.volume == pytest.approx(
            structure.volume, rel=1e-6
        )
        assert record["density"] == pytest.approx(structure.density, rel=1e-6)
    if demo.kind == "generate":
        by_id = {record["id"]: record for record in records}
        relaxed = demo.result["relaxed"]
        assert relaxed and all(
            by_id[r["id"]]["validity"]["plausible"] and by_id[r["id"]]["formula"] == r["formula"]
            for r in relaxed
        )
        assert any(r["energies"]["e_above_hull_ev"] is not None for r in relaxed) and demo.best["id"] in {
            r["id"] for r in relaxed
        }
    elif demo.request["rank"] == "consensus":
        groups = alike_groups(structures)
        assert [record["score"]["value"] for record in records] == [groups.count(group) for group in groups]
    else:
        assert demo.request["rank"] == "evidence" and any("energies" in record for record in records)
        place = {name: k for k, name in enumerate(demo.result["ranking"])}
        ordered = sorted(records, key=lambda record: place[record["id"]])
        leaders = {}  # structure → the first of its candidates
        for record in ordered:
            leaders.setdefault(record["group"], record)
        assert demo.best["id"] == ordered[0]["id"] and demo.best["relaxation"]["converged"]
        for record in records:
            energy = record["energies"]["energy_per_atom_ev"] if "energies" in record else None
            assert record["evidence"]["relaxed"] in (None, energy)
            assert record["evidence"]["single_point"] is not None and record["score"]["name"] == "evidence"
        relaxed = [r["score"]["value"] for r in leaders.values() if r["evidence"]["relaxed"] is not None]
        assert relaxed == sorted(relaxed, reverse=True)
    for path in demo.trajectories:
        assert 2 <= len(path["frames"]) <= FRAMES
        assert any(
            sorted(path["frames"][-1]["atomic_numbers"]) == sorted(record["atomic_numbers"])
            for record in records
        )


def test_a_run_of_other_weights_is_marked():
    demo = find_demo("zinc-sulphide")
    assert (
        dataclasses.replace(demo, result=with_hash(demo.result, "0" * 64)).weights_note
        == "made with earlier weights"
    )


def with_hash(result, digest):
    parts = [
        part
        | {
            "candidates": [
                record | {"provenance": record["provenance"] | {"weights_sha256": digest}}
                for record in part["candidates"]
            ]
        }
        for part in result["results"]
    ]
    return result | {"results": parts}


def test_they_stay_small_and_paths_keep_their_ends():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json.gz")) < 300_000
    assert thinned([1, 2]) == [1, 2]
    short = thinned(list(range(100)))
    assert (len(short), short[0], short[-1]) == (FRAMES, 0, 99)


def test_an_unknown_name_is_one_sentence():
    with pytest.raises(RequestError, match="no recorded run named 'x'"):
        find_demo("x")


@pytest.mark.parametrize(
    ("name", "group"),
    [("strontium-titanate", 221), ("titanium-dioxide", 136), ("spinel", 227), ("zinc-sulphide", 216)],
)
def test_the_first_crystal_of_a_showcase_is_the_one_a_chemist_names(name, group):
    demo = find_demo(name)
    assert demo.best["space_group"]["number"] == group
