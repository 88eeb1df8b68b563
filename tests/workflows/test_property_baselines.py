"""Baselines of property prediction on a handful of rows: what they learn, and that nothing measured
trains.
"""

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from crystal_core.datasets.rows import CrystalRow
from crystal_core.errors import MissingExtra, RequestError
from crystal_core.properties import PROPERTIES
from crystal_core.relax.potential import is_installed, load_potential
from crystal_core.workflows import property_baselines
from crystal_core.workflows.feature_file import crystal_key
from crystal_core.workflows.property_baselines import (
    LEAK_NOTE,
    SEEN_NOTE,
    BaselinePredictor,
    check_baseline,
    training_rows,
)

FORMATION, GAP, BULK, METAL = (
    PROPERTIES[name]
    for name in ("formation_energy_per_atom_ev", "band_gap_ev", "bulk_modulus_gpa", "is_metal")
)


def row(name, formula, **labels):
    """A crystal of two or more atoms on a line in a box."""
    numbers = [e.Z for e, n in Composition(formula).items() for _ in range(int(n))]
    n = len(numbers)
    return CrystalRow(
        id=name,
        formula=formula,
        lattice=np.diag([2.8 * n, 4.0, 4.0]),
        frac_coords=np.array([[i / n, 0.0, 0.0] for i in range(n)]),
        atomic_numbers=np.array(numbers),
        split="",
        labels=labels,
    )


SALTS = [f"{cation}{anion}" for cation in ("Li", "Na", "K", "Rb", "Cs") for anion in ("F", "Cl", "Br", "I")]
ALLOYS = [f"{a}{b}" for a in ("Fe", "Co", "Ni", "Cu", "Zn") for b in ("Al", "Ti", "V", "Cr")]


def table(formulas, tag):
    """Salts have gaps and low moduli, alloys have neither."""
    return [
        row(
            f"{tag}-{f}",
            f,
            band_gap_ev=4.0 if f in SALTS else 0.0,
            bulk_modulus_gpa=20.0 if f in SALTS else 200.0,
        )
        for f in formulas
    ]


TRAIN, VALIDATION, ROWS = (table(SALTS[i::3] + ALLOYS[i::3], tag) for i, tag in enumerate(("t", "v", "m")))


def test_the_mean_is_taken_in_the_scale_of_the_errors():
    baseline = BaselinePredictor("mean").predict(
        BULK,
        [row("a", "NaCl", bulk_modulus_gpa=10.0), row("b", "KCl", bulk_modulus_gpa=250.0)],
        [],
        ROWS[:3],
    )
    assert baseline.values == pytest.approx([50.0] * 3) and baseline.n_train == 2
    gap = BaselinePredictor("mean").predict(GAP, TRAIN, [], ROWS[:2])
    assert gap.values == pytest.approx(np.mean([r.labels["band_gap_ev"] for r in TRAIN]))


def test_the_nearest_formula_is_the_same_one_or_a_similar_one():
    train = [
        row("a", "NaCl", band_gap_ev=5.0),
        row("b", "Na2Cl2", band_gap_ev=6.0),
        row("c", "NaCl", band_gap_ev=7.5),
        row("d", "FeAl", band_gap_ev=0.0),
    ]
    baseline = BaselinePredictor("nearest").predict(
        GAP, train, [], [row("x", "NaCl"), row("y", "KCl"), row("z", "CoAl")]
    )
    assert baseline.values.tolist() == [6.0, 6.0, 0.0]  # the median of the reduced formula; salts near salts
    assert baseline.note == "1 of 3 formulas are among the training rows"


@pytest.mark.parametrize("name", ["composition", "chgnet-features"])
@pytest.mark.parametrize("spec", [GAP, BULK, METAL], ids=lambda spec: spec.name)
def test_learned_baselines_tell_salts_from_alloys(name, spec, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(property_baselines, "ROUNDS", 60)
    predictor = BaselinePredictor(name, potential=Features() if name == "chgnet-features" else None)
    # trees need twenty rows a leaf
    baseline = predictor.predict(spec, TRAIN * 4, VALIDATION, ROWS)
    salts = np.array([r.formula in SALTS for r in ROWS])
    expected = {GAP: (4.0, 0.0), BULK: (20.0, 200.0), METAL: (0.0, 1.0)}[spec]
    assert np.abs(baseline.values[salts] - expected[0]).mean() < 0.25 * abs(expected[0] - expected[1])
    assert np.abs(baseline.values[~salts] - expected[1]).mean() < 0.25 * abs(expected[0] - expected[1])
    assert baseline.settings and np.isfinite(baseline.values).all()
    again = predictor.predict(spec, TRAIN * 4, VALIDATION, ROWS)
    assert np.array_equal(baseline.values, again.values)


class Features:
    """Stands for the potential: 64 numbers of a crystal's elements; it refuses caesium, and counts what
    it is asked for.
    """

    label = "numbers"
    calls = 0

    def features(self, structure):
        self.calls += 1
        from crystal_core.errors import RelaxationFailed

        if "Cs" in structure.composition.as_dict():
            raise RelaxationFailed("no caesium")
        mean = np.mean([[s.specie.Z, s.specie.X, s.specie.group] for s in structure], axis=0)
        return np.concatenate([mean, np.zeros(61)])


def test_crystals_that_the_potential_refuses_get_the_mean_and_the_note_says_so():
    pytest.importorskip("sklearn")
    rows = [row("x", "CsCl", band_gap_ev=4.0), row("y", "NaCl", band_gap_ev=4.0)]
    predictor = BaselinePredictor("chgnet-features", potential=Features())
    baseline = predictor.predict(GAP, TRAIN, VALIDATION, rows)
    assert baseline.values[0] == pytest.approx(np.mean([r.labels["band_gap_ev"] for r in TRAIN]))
    assert baseline.note == f"{SEEN_NOTE}; 1 crystals that CHGNet cannot take have the training mean"
    labelled = [row(r.id, r.formula, formation_energy_per_atom_ev=-1.0 * i) for i, r in enumerate(TRAIN)]
    assert predictor.predict(FORMATION, labelled, labelled[:5], rows[1:]).note == LEAK_NOTE


def test_kept_features_are_not_made_again_and_other_geometry_has_its_own(tmp_path):
    pytest.importorskip("sklearn")
    path, parts = tmp_path / "features.npz", (TRAIN, VALIDATION, [row("x", "CsCl"), row("y", "NaCl")])
    first, second = Features(), Features()
    baseline = BaselinePredictor("chgnet-features", potential=first, features=path).predict(GAP, *parts)
    again = BaselinePredictor("chgnet-features", potential=second, features=path).predict(GAP, *parts)
    assert first.calls and second.calls == 0
    # kept in float32
    assert again.values == pytest.approx(baseline.values, abs=1e-3)
    moved = replace(TRAIN[0], frac_coords=TRAIN[0].frac_coords + 0.01)
    assert crystal_key(moved) != crystal_key(TRAIN[0]) == crystal_key(replace(TRAIN[0], id="other"))
    second.label = "other numbers"
    with pytest.raises(RequestError, match="features of numbers, not of other numbers"):
        BaselinePredictor("chgnet-features", potential=second, features=path)
    path.write_text("nothing")
    with pytest.raises(RequestError, match="no file of features"):
        BaselinePredictor("chgnet-features", potential=first, features=path)


@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_features_of_the_potential_are_those_of_the_crystal_not_of_the_cell():
    potential = load_potential("chgnet", "cpu")
    cell = Structure(
        Lattice.from_parameters(4.2, 4.2, 4.2, 60, 60, 60), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    features = potential.features(cell)
    assert features.shape == (64,) and np.isfinite(features).all() and features.std() > 0
    # float32 sums in another order
    assert potential.features(cell.make_supercell([2, 1, 1], in_place=False)) == pytest.approx(
        features, abs=1e-4
    )


def test_training_rows_have_a_value_that_can_be_learned_and_are_not_measured():
    rows = [row(f"r{i}", "NaCl", bulk_modulus_gpa=10.0 + i) for i in range(20)]
    rows += [row("none", "NaCl"), row("zero", "NaCl", bulk_modulus_gpa=0.0)]
    learnable = training_rows(BULK, rows, {"r3", "r7"}, None)
    assert {r.id for r in learnable} == {f"r{i}" for i in range(20)} - {"r3", "r7"}
    few, more = (training_rows(BULK, rows, set(), limit) for limit in (5, 8))
    assert [r.id for r in few] == [r.id for r in more][:5] and len(more) == 8


def test_missing_packages_and_rows_are_one_sentence(monkeypatch):
    with pytest.raises(RequestError, match="choose one of mean, composition"):
        check_baseline("magic")
    with pytest.raises(RequestError, match="No training row has a value"):
        BaselinePredictor("mean").predict(GAP, [], [], ROWS)
    monkeypatch.setattr(property_baselines, "find_spec", lambda _: None)
    assert check_baseline("nearest") == "nearest"
    with pytest.raises(MissingExtra, match=r"crystal-studio\[evaluate\]"):
        check_baseline("composition")
