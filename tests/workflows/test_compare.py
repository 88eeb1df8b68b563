"""Comparisons: columns are paired, metrics are what the samples say, given crystals stand beside models."""

import dataclasses
import json

import pytest

from crystal_core.errors import RequestError
from crystal_core.jobs.shapes import is_request, is_result
from crystal_core.records import crystals_of
from crystal_core.requests import from_json, to_json
from crystal_core.workflows.compare.export import comparison_csv, comparison_html
from crystal_core.workflows.compare.given import column_of_candidates, column_of_run
from crystal_core.workflows.compare.measure import (
    column_metrics,
    metrics_for,
    paired_differences,
)
from crystal_core.workflows.compare.request import ComparisonRequest, read_column
from crystal_core.workflows.compare.run import run

EM = {"model": "kldm-csp-perov5", "sampler": "em", "steps": 10}
ODE = {"model": "kldm-csp-perov5", "sampler": "ode", "steps": 10}
CUBE = [[3.9, 0, 0], [0, 3.9, 0], [0, 0, 3.9]]
PEROVSKITE = {
    "lattice": CUBE,
    "atomic_numbers": [38, 22, 8, 8, 8],
    "frac_coords": [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
}
BROKEN = PEROVSKITE | {"frac_coords": [[0, 0, 0], [0.01, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]}


def row(target, sample, **metrics):
    return {"target": target, "sample": sample, "id": "x", "structure_valid": True} | metrics


def test_metrics_and_pairs_are_what_the_rows_say():
    first = [row(0, k, valid=k < 2, known=False, density=4.0 + k, group=0) for k in range(4)]
    second = [row(0, k, valid=True, known=True, known_rmsd=0.01, density=5.0 + k, group=k) for k in range(4)]
    metrics = metrics_for(targets=True, references=0, properties=())
    a, b = column_metrics(metrics, [(first, {"network_calls": 20.0}), (second, {"network_calls": 40.0})])
    assert (a["valid"]["value"], b["valid"]["value"], a["valid"]["n"]) == (0.5, 1.0, 4)
    assert a["unique"]["value"] == 0.25 and b["unique"]["value"] == 1.0
    assert a["density"]["value"] == 5.5 and "known_rmsd" not in a
    assert a["network_calls"] == {"value": 20.0, "ci95": None, "n": 4, "better": False}
    assert not any(metric["better"] for metric in a.values())  # 2 of 4 and 4 of 4 overlap
    pairs = {p["metric"]: p for p in paired_differences(metrics, [("A", first), ("B", second)])}
    assert pairs["valid"]["difference"] == 0.5 and pairs["valid"]["n"] == 4
    assert pairs["density"]["difference"] == 1.0 and pairs["density"]["ci95"] == [1.0, 1.0]
    assert "network_calls" not in pairs
    unknown = [r | {"sample": None} for r in second]
    assert paired_differences(metrics, [("A", first), ("B", unknown)]) == []


def test_bold_is_a_metric_whose_interval_overlaps_no_other():
    bad = [row(0, k, valid=False) for k in range(20)]
    good = [row(0, k, valid=True) for k in range(20)]
    metrics = metrics_for(targets=True, references=0, properties=())
    measured = column_metrics(metrics, [(bad, {}), (good, {}), (bad, {})])
    assert [column["valid"]["better"] for column in measured] == [False, True, False]
    # the cost of one network call more has no interval, so it is never called better
    assert not column_metrics(metrics, [(good, {"network_calls": 1.0}), (good, {"network_calls": 2.0})])[0][
        "network_calls"
    ]["better"]


def test_references_count_once_however_many_samples_they_have():
    rows = [
        row(t, k, has_reference=True, matches=t == 0 and k == 1, rmsd=0.1 if t == 0 and k == 1 else None)
        for t in (0, 1)
        for k in (0, 1)
    ]
    (measured,) = column_metrics(metrics_for(targets=True, references=2, properties=()), [(rows, {})])
    assert measured["match_rate"]["value"] == 0.5 and measured["match_rate"]["n"] == 2
    assert measured["match_share"]["value"] == 0.25 and measured["match_share"]["n"] == 4
    assert measured["rmse"]["value"] == 0.1


@pytest.fixture(scope="module")
def compared():
    """Two samplers and given crystals on one formula, with its reference."""
    given = {"crystals": [PEROVSKITE, BROKEN], "source": "files", "name": "=mine<b>"}
    request = ComparisonRequest(
        columns=(EM, ODE, given), formulas=("SrTiO3",), z=1, reference=PEROVSKITE, n=2, seed=3, properties=()
    )
    updates = list(run(request))
    return request, updates


@pytest.mark.weights
def test_a_comparison_tells_each_column_and_keeps_paths(compared):
    request, updates = compared
    result = updates[-1].result
    assert is_request("compare", json.loads(json.dumps(to_json(request)))) and is_result("compare", result)
    assert [c["name"] for c in result["columns"]] == ["em", "ode", "=mine<b>"]
    mine = result["columns"][2]["metrics"]
    assert mine["match_share"]["value"] == 0.5 and mine["rmse"]["value"] == pytest.approx(0, abs=1e-4)
    assert mine["structure_valid"]["value"] == 0.5 and mine["structure_valid"]["n"] == 2
    assert result["columns"][0]["metrics"]["network_calls"]["value"] == 10
    assert result["differing_settings"]["sampler"] == ["em", "ode", None]
    assert "steps" in result["differing_settings"] and "version" not in result["differing_settings"]
    # files were made from no seed of ours
    assert {(p["a"], p["b"]) for p in result["paired"]} == {("A", "B")}
    paths = [u.trajectory for u in updates if u.trajectory]
    assert [p["label"] for p in paths] == [f"{c} · sample {k}" for c in "AB" for k in (1, 2)]
    assert len({record["id"] for record in crystals_of(result)}) == len(crystals_of(result))
    steps = [u.step for u in updates]
    assert steps == sorted(steps) and steps[-1] == updates[-1].n_steps


@pytest.mark.weights
def test_columns_begin_from_the_same_noise_and_repeat(compared):
    request, updates = compared
    first = {u.trajectory["label"]: u.trajectory["frames"][0] for u in updates if u.trajectory}
    for k in (1, 2):
        a, b = (first[f"{letter} · sample {k}"]["frac_coords"] for letter in "AB")
        # one step apart from the same noise: much nearer than two draws, which are 0.25 apart on average
        gaps = [
            abs((x - y + 0.5) % 1 - 0.5) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
        ]
        assert sum(gaps) / len(gaps) < 0.1
    *_, again = run(from_json(ComparisonRequest, json.loads(json.dumps(to_json(request)))))
    cells = [[r["frac_coords"] for r in crystals_of(u.result)] for u in (updates[-1], again)]
    assert cells[0] == cells[1]


@pytest.mark.weights
def test_exports_say_the_same_and_hold_foreign_text_as_text(compared):
    result = compared[1][-1].result
    lines = comparison_csv(result).splitlines()
    assert len(lines) == 1 + sum(len(c["metrics"]) for c in result["columns"]) + len(result["paired"])
    assert any(line.startswith("metric,C,'=mine<b>,match_share,share,0.5,") for line in lines)
    page = comparison_html(result)
    assert "=mine&lt;b&gt;" in page and "<b>" not in page and "http" not in page and "<script" not in page
    assert "match the reference" in page and "data_" in page  # the crystals are in it


@pytest.mark.weights
def test_what_is_wrong_is_told_before_the_work():
    def check(*columns, **more):
        return list(
            run(ComparisonRequest(columns=columns, **{"formulas": ("SrTiO3",), "properties": ()} | more))
        )

    with pytest.raises(RequestError, match="2 to 4 columns, not 1"):
        check(EM)
    with pytest.raises(RequestError, match="knows cells of 5 atoms, not of 10"):
        check(EM, EM, z=2)
    with pytest.raises(RequestError, match="needs something to predict"):
        check(EM, EM, formulas=())
    with pytest.raises(RequestError, match="reference is SrTiO3"):
        check(EM, EM, formulas=("BaTiO3",), reference=PEROVSKITE)
    with pytest.raises(RequestError, match="has no corrector"):
        check(EM | {"tau": 0.5}, EM)
    with pytest.raises(RequestError, match="knows no colour"):
        check(EM | {"colour": "red"}, EM)
    with pytest.raises(RequestError, match="no such_property"):
        check(EM, EM, properties=("such_property",))
    with pytest.raises(RequestError, match="is written model="):
        read_column("em")


def test_candidates_of_known_crystals_keep_their_places():
    from crystal_core.files.records import structure_from_record

    column = column_of_candidates([[structure_from_record(PEROVSKITE)], [None]], "files")
    request = ComparisonRequest(
        columns=(column, column | {"name": "again"}),
        targets=(PEROVSKITE | {"id": "one"}, PEROVSKITE | {"id": "two"}),
        n=1,
        seed=0,
        properties=(),
    )
    *_, last = run(request)
    first = last.result["columns"][0]
    assert first["metrics"]["match_rate"]["value"] == 0.5 and first["n_failed"] == 1
    assert {p["metric"]: p["difference"] for p in last.result["paired"]}["match_rate"] == 0
    with pytest.raises(RequestError, match="has no crystals to compare"):
        column_of_run("learn-property", {"rows": []}, "r")


def test_a_formula_that_may_be_meant_otherwise_is_told():
    own = {"crystals": [PEROVSKITE], "source": "files"}
    columns = (own | {"name": "first"}, own | {"name": "second"})
    *_, last = run(ComparisonRequest(columns=columns, formulas=("88SrTiO3",), z=1, n=1, properties=()))
    (note,) = last.result["notes"]
    assert "If 88Sr is meant as an isotope, write SrTiO3" in note


def test_a_request_survives_json_and_refuses_damage():
    request = ComparisonRequest(columns=(EM, ODE), formulas=("SrTiO3",))
    again = from_json(ComparisonRequest, json.loads(json.dumps(dataclasses.asdict(request))))
    assert again.names == request.names == ["em", "ode"]
    with pytest.raises(RequestError, match="needs lattice"):
        ComparisonRequest(columns=({"crystals": [{}], "source": "files"}, EM), formulas=("SrTiO3",))
