"""An evaluation that is interrupted keeps what is finished, and goes on from it as
if nothing had happened.
"""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.cli import evaluate_csp as commands
from crystal_core.errors import RelaxationFailed, RequestError
from crystal_core.relax import many
from crystal_core.workflows import evaluate_csp
from crystal_core.workflows.evaluation_cache import EvaluationCache, RelaxedCell

SITES = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
CELLS = {
    f"x-{i}": Structure(Lattice.cubic(a), [symbol, "Ti", "O", "O", "O"], SITES)
    for i, (symbol, a) in enumerate([("Sr", 3.9), ("Ba", 4.0), ("Ca", 3.8)])
}
SALT = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def write_table(path, cells):
    rows = [
        {
            "material_id": name,
            "formula": cell.composition.reduced_formula,
            "n_atoms": len(cell),
            "lattice": cell.lattice.matrix.ravel(),
            "species": np.array([s.specie.Z for s in cell]),
            "frac_coords": cell.frac_coords.ravel(),
            "split": "val",
        }
        for name, cell in cells.items()
    ]
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_csp, "CHUNK", 2)
    table = write_table(tmp_path / "cells.parquet", CELLS)

    def call(*options, model="kldm-csp-perov5", sampler=("--sampler", "em", "--steps", 4)):
        words = [
            "evaluate",
            "csp",
            "--data",
            table,
            "--model",
            model,
            *sampler,
            "--json",
            "--quiet",
            *options,
        ]
        result = CliRunner().invoke(build_app(), [str(word) for word in words])
        return result.exit_code, result

    return call


def interrupting(monkeypatch, owner, name, after):
    """The function of that name, interrupted in place of its call number ``after`` + 1; gives the
    list of its calls.
    """
    true, calls = getattr(owner, name), []

    def counted(*arguments, **options):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(arguments)
        return true(*arguments, **options)

    monkeypatch.setattr(owner, name, counted)
    return calls


def rates(report):
    return {
        key: value for key, value in report.items() if not key.startswith("seconds") and key != "settings"
    }


@pytest.mark.parametrize("samples", [1, 2])
def test_an_interrupted_sampling_goes_on_after_the_last_whole_chunk(evaluate, tmp_path, monkeypatch, samples):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = ("--samples", samples, "--seed", 3)
    code, result = evaluate(*options, "--out", whole)
    assert code == 0, result.stderr
    with monkeypatch.context() as patch:
        interrupting(patch, evaluate_csp, "_run", 1)
        assert evaluate(*options, "--out", broken)[0] == 130
    assert len(list(broken.glob("*.cif"))) == 2 * samples  # the first chunk
    with monkeypatch.context() as patch:
        calls = interrupting(patch, evaluate_csp, "_run", 9)
        code, again = evaluate(*options, "--out", broken)
    first, second = json.loads(result.stdout), json.loads(again.stdout)
    assert code == 0 and len(calls) == 1 and rates(first) == rates(second)
    assert second["settings"] == first["settings"] | {"n_sampled_before": 2 * samples}
    names = sorted(path.name for path in whole.glob("*.cif"))
    assert names == sorted(
        f"x-{i}.cif" if samples == 1 else f"x-{i}_{k}.cif" for i in range(3) for k in range(1, samples + 1)
    )
    assert all((whole / name).read_text() == (broken / name).read_text() for name in names)
    assert json.loads((broken / "run.json").read_text())["match_rate"] == second["match_rate"]


def test_a_chunk_with_a_missing_file_is_drawn_as_a_whole(evaluate, tmp_path, monkeypatch):
    assert evaluate("--seed", 3, "--out", tmp_path / "a")[0] == 0
    before = {path.name: path.read_text() for path in (tmp_path / "a").glob("*.cif")}
    next((tmp_path / "a").glob("*.cif")).unlink()
    calls = interrupting(monkeypatch, evaluate_csp, "_run", 9)
    assert evaluate("--seed", 3, "--out", tmp_path / "a")[0] == 0 and len(calls) == 1
    assert before == {path.name: path.read_text() for path in (tmp_path / "a").glob("*.cif")}


def test_kept_candidates_are_what_structures_scores(evaluate, tmp_path):
    report = json.loads(evaluate("--seed", 3, "--out", tmp_path / "a")[1].stdout)
    read = json.loads(evaluate("--structures", tmp_path / "a", sampler=())[1].stdout)
    assert (report["match_rate"], report["rmse"], report["n"]) == (
        read["match_rate"],
        read["rmse"],
        read["n"],
    )


def test_without_a_seed_the_one_of_the_beginning_goes_on(evaluate, tmp_path):
    first = json.loads(evaluate("--out", tmp_path / "a")[1].stdout)
    code, again = evaluate("--out", tmp_path / "a")
    assert code == 0 and json.loads(again.stdout)["settings"]["seed"] == first["settings"]["seed"]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"options": ("--seed", 4)}, "seed 3, not 4"),
        ({"options": ("--seed", 3, "--limit", 2)}, "limit None, not 2"),
        ({"options": ("--seed", 3, "--samples", 2)}, "samples 1, not 2"),
        ({"options": ("--seed", 3, "--start", "prototype")}, "start noise, not prototype"),
        ({"options": ("--seed", 3), "sampler": ("--sampler", "em", "--steps", 5)}, "steps 4, not 5"),
        (
            {"options": ("--seed", 3), "model": "prototype", "sampler": ()},
            "model kldm-csp-perov5, not prototype",
        ),
    ],
)
def test_other_settings_are_refused_in_one_sentence(evaluate, tmp_path, monkeypatch, options, part):
    assert evaluate("--seed", 3, "--out", tmp_path / "a")[0] == 0
    monkeypatch.setattr(evaluate_csp, "draw_candidates", None)  # sampling would fail
    words = options.pop("options")
    code, result = evaluate(*words, "--out", tmp_path / "a", **options)
    assert code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_folders_of_something_else_are_refused(evaluate, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x-1.cif").write_text("data_x")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.json").write_text('{"results": []}')
    for name in "ab":
        code, result = evaluate("--out", tmp_path / name)
        assert code == 2 and "choose another folder" in result.stderr
    code, result = evaluate("--structures", tmp_path / "a", "--out", tmp_path / "c", sampler=())
    assert code == 2 and "leave one of them out" in result.stderr


@pytest.mark.parametrize("ids", [["a/b"], [".."], ["a", "a"], [""]])
def test_ids_that_name_no_file_of_their_own_are_refused(tmp_path, ids):
    with pytest.raises(RequestError, match="leave out --out"):
        EvaluationCache.opened(tmp_path, {}, ids)


def test_cells_come_back_as_they_were_even_where_atoms_overlap(tmp_path):
    cache = EvaluationCache.opened(tmp_path, {"seed": 0}, ["a", "b", "c"])
    close = Structure(SALT.lattice, ["Cs", "Cl"], [[0, 0, 0], [0.01, 0, 0]])
    assert cache.candidates(0, 3) is None
    again = cache.keep_candidates(0, [SALT, close, None], 10)
    assert again == cache.candidates(0, 3) and again[2] is None and cache.network_calls == 10
    assert again[0] == SALT and np.allclose(sorted(again[1].frac_coords[:, 0]), [0, 0.01])
    cell = RelaxedCell(structure=SALT, energy=-1 / 3, converged=True, n_steps=7)
    assert cache.relaxed(0, 0) is None and cache.keep_relaxed(0, 0, cell) == cache.relaxed(0, 0) == cell
    (tmp_path / "relaxed" / "a.cif").write_text("data_cut")
    assert cache.relaxed(0, 0) is None


def test_an_interrupted_relaxing_goes_on_with_the_rest(evaluate, tmp_path, monkeypatch):
    potential = SimpleNamespace(label="none", name="chgnet", device="cpu")
    monkeypatch.setattr(commands, "loaded_potential", lambda _: potential)

    def relax(structure, *_, **__):
        if "Ca" in structure.symbol_set:
            raise RelaxationFailed("Ca.")
        return SimpleNamespace(structure=structure, energy=-8.0, converged=True, n_steps=2)

    monkeypatch.setattr(many, "relax", relax)
    options = ("--seed", 3, "--relax", "--out", tmp_path / "a", "--workers", 1)
    with monkeypatch.context() as patch:
        interrupting(patch, many, "relax", 2)
        assert evaluate(*options)[0] == 130
    assert len(list((tmp_path / "a" / "relaxed").iterdir())) == 2
    calls = interrupting(monkeypatch, many, "relax", 9)
    code, result = evaluate(*options)
    assert code == 0 and len(calls) == 1
    relaxing = json.loads(result.stdout)["relaxation"]
    assert (relaxing["n"], relaxing["n_converged"], relaxing["n_not_relaxed"], relaxing["steps_mean"]) == (
        2,
        2,
        1,
        2.0,
    )
    code, result = evaluate(*options, "--relax-seconds", 7)
    assert code == 2 and "relaxing seconds 120.0, not 7.0" in result.stderr
    assert evaluate(*options[:2], *options[3:])[0] == 0  # scored without relaxing
