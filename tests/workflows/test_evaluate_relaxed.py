"""Match rate before and after relaxing, on a table of rock salt made here and candidates from files."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.paths import checkpoints_dir
from crystal_core.registry.store import find_card
from crystal_core.relax.potential import is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")

SALT = Structure(
    Lattice.from_parameters(4.0, 4.0, 4.0, 60, 60, 60), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
DISTORTED = Structure(SALT.lattice, ["Na", "Cl"], [[0, 0, 0], [0.44, 0.5, 0.5]])
CAESIUM_CHLORIDE = Structure(Lattice.cubic(3.45), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
LONELY = Structure(Lattice.cubic(7.5), ["Na", "Cl"], [[0, 0, 0], [0.97, 0.9, 0.9]])


@pytest.fixture
def table(tmp_path):
    row = {
        "material_id": "x",
        "formula": "NaCl",
        "n_atoms": 2,
        "lattice": SALT.lattice.matrix.ravel(),
        "species": np.array([11, 17]),
        "frac_coords": SALT.frac_coords.ravel(),
        "split": "val",
    }
    path = tmp_path / "salt.parquet"
    pd.DataFrame([row]).to_parquet(path)
    return path


def evaluate(table, cells, *options):
    folder = table.parent / "cells"
    folder.mkdir()
    for k, cell in enumerate(cells, start=1):
        cell.to(filename=str(folder / (f"x_{k}.cif" if len(cells) > 1 else "x.cif")))
    result = CliRunner().invoke(
        build_app(),
        ["evaluate", "csp", "--data", str(table), "--structures", str(folder), "--relax", "--json", *options],
    )
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_rates_stand_beside_those_before_relaxing(table):
    report = evaluate(table, [DISTORTED], "--quiet")
    before, relaxation = report["before_relaxing"], report["relaxation"]
    assert before["match_rate"] == report["match_rate"] == 1.0 and report["rmse"] < before["rmse"] / 2
    assert (
        relaxation["n"],
        relaxation["n_converged"],
        relaxation["n_not_relaxed"],
        relaxation["gained"],
        relaxation["lost"],
    ) == (
        1,
        1,
        0,
        0,
        0,
    )
    assert (
        relaxation["potential"].startswith("CHGNet")
        and report["settings"]["relax"] is True
        and "lowest_energy" not in report
    )


def test_of_several_candidates_the_lowest_energy_is_scored_alone(table):
    report = evaluate(table, [CAESIUM_CHLORIDE, DISTORTED], "--quiet")
    assert report["first_sample"]["match_rate"] == 0.0 and report["lowest_energy"]["match_rate"] == 1.0


def test_what_cannot_be_relaxed_is_counted_and_judged_as_it_was(table):
    report = evaluate(table, [LONELY, SALT], "--quiet")
    assert report["relaxation"]["n"] + report["relaxation"]["n_not_relaxed"] == 2
    assert report["match_rate"] == report["lowest_energy"]["match_rate"] == 1.0


def test_the_card_keeps_the_relaxed_rate_under_its_own_name(table, tmp_path, monkeypatch):
    shutil.copytree(checkpoints_dir() / "prototype", tmp_path / "checkpoints" / "prototype")
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    words = [
        "evaluate",
        "csp",
        "--data",
        str(table),
        "--model",
        "prototype",
        "--relax",
        "--write-card",
        "--quiet",
        "--json",
        "--threads",
        "1",
    ]
    result = CliRunner().invoke(build_app(), words)
    assert result.exit_code == 0, result.stderr
    metric = find_card("prototype").metrics["match_rate_val_relaxed"]
    assert (
        metric["value"] == 1.0
        and "--relax" in metric["command"]
        and "relaxed with CHGNet" in metric["protocol"]
    )
