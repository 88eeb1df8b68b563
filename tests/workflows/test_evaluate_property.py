"""Measuring property predictions: the command's contract with a predictor that stands for a trained
one, and with baselines.
"""

import json
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cards import write_card
from crystal_core.cli import build_app
from crystal_core.datasets.modulus_rows import ELASTICITY_TABLE
from crystal_core.datasets.property_splits import MODULI, TABLES, default_rows, matbench_test_rows
from crystal_core.errors import RequestError
from crystal_core.evaluation import property_references
from crystal_core.paths import data_dir
from crystal_core.properties import PROPERTIES, CrystalPredictions, Prediction
from crystal_core.registry import methods
from crystal_core.registry.store import find_card, load_predictor
from crystal_core.workflows.evaluate_property import digest

KNOWN = ("formation_energy_per_atom_ev", "band_gap_ev", "is_metal", "bulk_modulus_gpa")


class Fixed:
    """Predicts what the first coordinate of a crystal says, with intervals of ± 0.15; refuses uranium."""

    def __init__(self, card):
        self.card = card

    @property
    def properties(self):
        return tuple(PROPERTIES[name] for name in KNOWN)

    def predict(self, crystals, properties=(), on_progress=None):
        if (crystals.atomic_numbers == 92).any():
            raise RequestError("No uranium.")
        results = []
        for crystal in crystals:
            x = float(crystal.frac_coords[0, 0])
            values = {
                "formation_energy_per_atom_ev": -x,
                "band_gap_ev": 10 * x,
                "is_metal": 1 - x,
                "bulk_modulus_gpa": 100.0,
            }
            predictions = {
                name: Prediction(value=values[name], low=values[name] - 0.15, high=values[name] + 0.15)
                for name in properties or KNOWN
            }
            domain = "inside" if x < 0.5 else "outside"
            results.append(CrystalPredictions(predictions=predictions, domain=domain))
        return results


def record(name, x=0.1, element="Na", n_atoms=2, **columns):
    structure = Structure(
        Lattice.cubic((30 * n_atoms) ** (1 / 3)),
        [element] + ["Cl"] * (n_atoms - 1),
        [[x, 0, 0]] + [[x, 0.5, i / n_atoms] for i in range(1, n_atoms)],
    )
    return {
        "material_id": name,
        "formula": structure.composition.reduced_formula,
        "n_atoms": n_atoms,
        "lattice": structure.lattice.matrix.ravel(),
        "species": np.array([s.specie.Z for s in structure]),
        "frac_coords": structure.frac_coords.ravel(),
        "split": "test",
        **columns,
    }


def write(path, rows):
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture
def fixed(tmp_path, monkeypatch):
    """Installs the predictor "fixed" by a card; returns its name."""
    module = ModuleType("a_fixed_predictor")
    module.load = lambda card, device: Fixed(card)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(methods.PREDICTORS, "fixed", f"{module.__name__}:load")
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    folder = tmp_path / "checkpoints" / "fixed"
    folder.mkdir(parents=True)
    fields = {
        "name": "fixed",
        "kind": "predictor",
        "task": "properties",
        "method": "none",
        "loader": "fixed",
        "parameters": 0,
    }
    write_card(folder, fields)
    return load_predictor("fixed").card.name


@pytest.fixture
def table(tmp_path):
    return write(
        tmp_path / "cells.parquet",
        [
            record("a", 0.1, formation_energy_per_atom_ev=-0.2, band_gap_ev=0.0, bulk_modulus_gpa=10.0),
            record("b", 0.2, n_atoms=8, formation_energy_per_atom_ev=-0.2, band_gap_ev=2.1),
            record(
                "c",
                0.6,
                n_atoms=4,
                formation_energy_per_atom_ev=-0.4,
                band_gap_ev=6.0,
                bulk_modulus_gpa=900.0,
            ),
            record("d", 0.3, element="U", formation_energy_per_atom_ev=-0.3),
            record("e", 0.3, split="train", formation_energy_per_atom_ev=-9.0),
        ],
    )


def evaluate(*words):
    result = CliRunner().invoke(build_app(), ["evaluate", "property", *map(str, words)])
    return result.exit_code, result


def test_the_contract(fixed, table):
    code, result = evaluate("--model", fixed, "--data", table, "--json", "--quiet")
    report = json.loads(result.stdout)
    assert code == 0 and result.stderr == ""
    # errors by hand: 0.1, 0.0, 0.2; |1 - 0|, 0.1, 0.0; one decade; the modulus of 900 GPa is no value
    assert report["mae"] == {
        "formation_energy_per_atom_ev": 0.1,
        "band_gap_ev": pytest.approx(1.1 / 3, abs=1e-3),
        "bulk_modulus_gpa": 1.0,
    }
    assert report["n"] == 4 and set(report["ci95"]) == set(KNOWN)
    energy = report["properties"]["formation_energy_per_atom_ev"]
    assert (energy["n"], energy["n_failed"]) == (3, 1)  # uranium is refused, and loses no other
    assert energy["by_domain"]["inside"]["n"] == 2 and energy["by_domain"]["outside"]["value"] == 0.2
    assert set(energy["by_n_atoms"]) == {"1-5", "6-10"}
    assert energy["coverage90"]["value"] == pytest.approx(2 / 3, abs=1e-3)
    assert energy["published"]["source"] and energy["rows"].startswith("4 (")
    metal = report["properties"]["is_metal"]
    assert metal["value"] == 1.0 and metal["accuracy"]["value"] == pytest.approx(2 / 3, abs=1e-3)
    assert report["properties"]["bulk_modulus_gpa"]["mae_gpa"]["value"] == 90.0


def test_a_file_without_test_rows_is_measured_whole(fixed, table):
    write(
        table, [record("a", 0.1, split=None, band_gap_ev=2.0), record("b", 0.2, split=None, band_gap_ev=2.0)]
    )
    code, result = evaluate(
        "--model", fixed, "--data", table, "--properties", "band_gap_ev", "--json", "--quiet"
    )
    report = json.loads(result.stdout)
    assert code == 0 and report["mae"] == {"band_gap_ev": 0.5}
    assert (report["n"], report["settings"]["split"]) == (2, "all")


def test_people_get_the_same_numbers_with_the_published_value_beside(fixed, table):
    code, result = evaluate("--model", fixed, "--data", table, "--properties", "band_gap_ev", "--quiet")
    assert code == 0 and "band_gap_ev: MAE 0.3667 eV" in result.stdout
    assert "published: MAE 0.181 (SPFrame + eComFormer" in result.stdout
    assert "formation_energy" not in result.stdout


def test_a_csv_with_cifs_and_cells_from_a_folder_are_taken(fixed, table, tmp_path):
    cell = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0.25, 0, 0], [0.75, 0.5, 0.5]])
    rows = [
        {"material_id": "x", "cif": cell.to(fmt="cif"), "band_gap_ev": 2},
        {"material_id": "y", "cif": "no", "band_gap_ev": 2},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "test.csv", index=False)
    code, result = evaluate("--model", fixed, "--data", tmp_path / "test.csv", "--json", "--quiet")
    report = json.loads(result.stdout)
    assert code == 0 and report["mae"] == {"band_gap_ev": 0.5}
    assert [item["id"] for item in report["failed"]] == ["y"]
    folder = tmp_path / "cells"
    folder.mkdir()
    cell.to(filename=str(folder / "a.cif"))
    words = ("--data", table, "--properties", "band_gap_ev", "--structures", folder, "--json", "--quiet")
    code, result = evaluate("--model", fixed, *words)
    report = json.loads(result.stdout)
    assert code == 0 and report["mae"] == {"band_gap_ev": 2.5} and report["n"] == 1
    assert {item["id"] for item in report["failed"]} == {"b", "c"}


def test_the_card_gets_the_numbers_and_the_command(fixed, table):
    code, _ = evaluate("--model", fixed, "--data", table, "--limit", "3", "--write-card", "--json", "--quiet")
    metrics = find_card(fixed).metrics
    assert code == 0 and "mae_formation_energy_per_atom_ev_test_cells" in metrics
    entry = metrics["roc_auc_is_metal_test_cells"]
    assert {"value", "ci95", "n", "accuracy", "protocol", "data", "command"} <= set(entry)
    assert (
        entry["command"]
        == "crystal-core evaluate property --model fixed --data cells.parquet --split test --limit 3 --seed 0"
    )


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("--model", "nothing"), 3, "No checkpoint named"),
        (("--model", "fixed", "--properties", "colour"), 2, "no property colour"),
        (("--model", "fixed", "--split", "best"), 2, "choose one of"),
        (("--model", "fixed", "--split", "val"), 2, "no crystals in the split 'val'"),
        (("--model", "fixed", "--properties", "refractive_index_n"), 2, "no property refractive_index_n"),
        (("--model", "mean", "--properties", "refractive_index_n"), 2, "no numbers of refractive_index_n"),
        (("--model", "fixed", "--limit-train", "50"), 2, "of a baseline"),
        (
            ("--model", "chgnet-features", "--features", "nowhere/f.npz"),
            2,
            "--features nowhere/f.npz: there is no folder",
        ),
        (("--model", "mean", "--write-card"), 2, "whole default test split"),
        (
            ("--model", "mean", "--write-card", "--data", "default", "--fold", "1"),
            2,
            "whole default test split",
        ),
    ],
)
def test_mistakes_end_with_one_sentence(fixed, table, words, code, part):
    exit_code, result = evaluate("--data", table, *words)
    assert exit_code == code and part in result.stderr and len(result.stderr.strip().splitlines()) == 1


@pytest.fixture
def raw_data(tmp_path, monkeypatch):
    """A folder of small tables with the names, columns and splits of the raw data."""
    folder = tmp_path / "raw"
    folder.mkdir()
    splits = ["train"] * 14 + ["val"] * 3 + ["test"] * 3
    elements = ["Na", "K", "Li", "Rb"] * 25
    for table in TABLES:
        columns = [name for name in table.properties if name != "is_metal"]
        rows = [
            record(f"{table.name[:4]}-{i}", element=elements[i], **dict.fromkeys(columns, 1.0 + i % 5))
            for i in range(20 if table.rule == "published" else 100)
        ]
        for i, one in enumerate(rows):
            one["split"] = splits[i] if table.rule == "published" else None
        write(folder / table.name, rows)
    moduli = [record(f"elastic-{i}", element="Cs", **dict.fromkeys(MODULI, 9.0)) for i in range(4)]
    write(folder / ELASTICITY_TABLE, moduli)
    monkeypatch.setenv("CRYSTAL_DATA", str(folder))
    return folder


def test_a_baseline_measures_every_property_and_its_numbers_stand_beside_a_predictor(
    fixed, raw_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(property_references, "BASELINES", tmp_path / "baselines.json")
    code, result = evaluate("--model", "mean", "--write-card", "--json", "--quiet")
    report = json.loads(result.stdout)
    assert code == 0 and set(report["properties"]) == set(PROPERTIES)
    refraction = report["properties"]["refractive_index_n"]
    test = matbench_test_rows(100, 0)
    assert refraction["n"] == len(test) and "fold 0 of 5" in refraction["protocol"]
    assert "mp_elasticity" in report["properties"]["bulk_modulus_gpa"]["note"]
    gap = report["properties"]["band_gap_ev"]
    assert (gap["n"], gap["n_train"]) == (3, 14)
    mean = np.mean([1.0 + i % 5 for i in range(14)])
    assert gap["value"] == pytest.approx(np.mean([abs(1.0 + i % 5 - mean) for i in (17, 18, 19)]), rel=1e-3)
    stored = json.loads((tmp_path / "baselines.json").read_text())["baselines"]["mean"]["band_gap_ev"]
    assert stored["command"] == "crystal-core evaluate property --model mean --split test --seed 0"
    code, result = evaluate("--model", fixed, "--json", "--quiet")
    beside = json.loads(result.stdout)["properties"]["band_gap_ev"]["baselines"]
    assert beside == {"mean": {"value": gap["value"], "ci95": gap["ci95"]}}


def test_a_baseline_learns_from_a_prepared_file_and_never_from_what_is_measured(raw_data, tmp_path):
    from crystal_core.datasets.prepare import prepare

    rows = [record(f"p-{i}", split="train", formation_energy_per_atom_ev=-1.0) for i in range(4)]
    rows += [record("mp20-19", split="train", formation_energy_per_atom_ev=50.0)]  # id of a test row
    rows += [record("p-9", split="val", formation_energy_per_atom_ev=-1.0)]
    prepare([write(tmp_path / "some.parquet", rows)], tmp_path / "some.safetensors", workers=1)
    words = ("--model", "mean", "--train", tmp_path / "some.safetensors", "--json", "--quiet")
    code, result = evaluate(*words, "--properties", "formation_energy_per_atom_ev,refractive_index_n")
    errors = json.loads(result.stdout)["properties"]
    assert code == 0 and errors["formation_energy_per_atom_ev"]["n_train"] == 4
    # true values of the three test rows are 3, 4 and 5; the mean of what may train is -1
    assert errors["formation_energy_per_atom_ev"]["value"] == pytest.approx(5.0)
    assert errors["formation_energy_per_atom_ev"]["note"] == "training rows of some.safetensors"
    assert errors["refractive_index_n"]["note"] == "training rows of matbench_dielectric.parquet"


@pytest.mark.data
@pytest.mark.skipif(data_dir() is None, reason="needs the raw data sets (CRYSTAL_DATA)")
def test_the_baselines_on_record_are_of_todays_default_test_rows():
    on_record = json.loads(property_references.BASELINES.read_text(encoding="utf-8"))["baselines"]
    assert set(on_record["mean"]) == set(PROPERTIES)
    rows = {
        name: digest(table.rows, column)
        for table in default_rows(data_dir(), list(PROPERTIES), "test")
        for name, column in table.truth.items()
    }
    for entries in on_record.values():
        for name, entry in entries.items():
            assert entry["rows"] == rows[name] and entry["command"].startswith(
                "crystal-core evaluate property"
            )


def test_without_raw_data_the_command_says_what_to_set(fixed, monkeypatch):
    monkeypatch.delenv("CRYSTAL_DATA", raising=False)
    code, result = evaluate("--model", fixed)
    assert code == 2 and "CRYSTAL_DATA" in result.stderr


def test_an_interruption_leaves_the_errors_of_the_rows_before_it(fixed, tmp_path, monkeypatch):
    rows = [record(f"n-{i}", 0.1 * i, formation_energy_per_atom_ev=0.01 * i) for i in range(1, 6)]
    rows[4]["band_gap_ev"] = 1.0  # of the last row alone
    first = write(tmp_path / "first.parquet", rows[:4])
    _, whole = evaluate("--model", fixed, "--data", first, "--json", "--quiet")
    predict, batches = Fixed.predict, []

    def interrupted(self, crystals, properties=(), on_progress=None):
        batches.append(crystals)
        if len(batches) == 3:
            raise KeyboardInterrupt
        return predict(self, crystals, properties, on_progress)

    monkeypatch.setattr(Fixed, "predict", interrupted)
    monkeypatch.setattr("crystal_core.workflows.evaluate_property.CHUNK", 2)
    table = write(tmp_path / "all.parquet", rows)
    code, result = evaluate("--model", fixed, "--data", table, "--write-card", "--json", "--quiet")
    report = json.loads(result.stdout)
    assert code == 130 and report["n"] == 4 and report["covers"].startswith("4 of 5 rows")
    assert report["mae"] == json.loads(whole.stdout)["mae"] and set(report["mae"]) == {
        "formation_energy_per_atom_ev"
    }
    assert find_card(fixed).metrics == {}
