"""Energy above the hull: equal to pymatgen's phase diagram, right at the corners, and
near the published labels.
"""

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from crystal_core.paths import data_dir
from crystal_core.reference.hull import HullTable, load_hull, measured_error

TOY = HullTable(
    ["NaCl", "Na2O", "NaClO"], np.array([-2.0, -1.4, -1.3]), {"Na": -1.3, "Cl": -1.8, "O": -4.9}, {}
)


def test_a_known_compound_lies_on_its_own_energy():
    stability = TOY.stability(Composition("Na4Cl4"), -1.9)
    assert stability.e_above_hull == pytest.approx(0.1) and stability.decomposition == {"NaCl": 1.0}


def test_an_element_decomposes_into_itself():
    stability = TOY.stability(Composition("Na2"), TOY.formation_energy(Composition("Na2"), -1.2))
    assert stability.e_above_hull == pytest.approx(0.1) and stability.decomposition == {"Na": 1.0}


def test_shares_count_atoms_and_sum_to_one():
    stability = TOY.stability(Composition("Na3ClO"), 0.0)
    assert sum(stability.decomposition.values()) == pytest.approx(1.0)
    assert stability.decomposition == pytest.approx({"NaCl": 0.4, "Na2O": 0.6}, abs=1e-6)


def test_below_everything_known_is_negative():
    assert TOY.stability(Composition("NaCl"), -2.5).e_above_hull == pytest.approx(-0.5)


def test_elements_without_reference_are_named():
    assert TOY.missing_elements(Composition("NaYbF")) == ["F", "Yb"]


@pytest.mark.parametrize("formula", ["LiFePO4", "SrTiO3", "Cu2ZnSnS4", "CsPbI3"])
def test_the_linear_programme_is_the_phase_diagram(formula):
    hull, wanted = load_hull(), Composition(formula)
    inside = {e.symbol for e in wanted}
    known = [i for i, name in enumerate(hull.formulas) if {e.symbol for e in Composition(name)} <= inside]
    entries = [
        PDEntry(Composition(hull.formulas[i]), hull.energies[i] * Composition(hull.formulas[i]).num_atoms)
        for i in known
    ]
    diagram = PhaseDiagram([*entries, *(PDEntry(Composition(e), 0.0) for e in inside)])
    theirs = diagram.get_hull_energy_per_atom(wanted)
    assert hull.stability(wanted, -1.0).e_above_hull == pytest.approx(-1.0 - theirs, abs=1e-8)


def test_the_table_knows_its_scheme_and_size():
    hull = load_hull()
    assert len(hull.formulas) == len(hull.energies) > 30_000 and len(hull.elements) >= 88
    assert "2020 scheme" in hull.about["scheme"] and all(Element.is_valid_symbol(e) for e in hull.elements)
    assert hull.energies[hull.formulas.index("TiO2")] == pytest.approx(-3.4, abs=0.2)


@pytest.mark.data
@pytest.mark.skipif(data_dir() is None, reason="needs CRYSTAL_DATA")
def test_published_labels_are_met():
    from crystal_core.datasets.rows import read_rows

    hull, errors = load_hull(), []
    rows = [row for row in read_rows(data_dir() / "mp20_exact_partial.parquet", "val")]
    for k in np.random.default_rng(0).permutation(len(rows))[:200]:
        composition = Composition(rows[k].formula)
        if not hull.missing_elements(composition):
            labels = rows[k].labels
            errors.append(
                hull.stability(composition, labels["formation_energy_per_atom_ev"]).e_above_hull
                - labels["e_above_hull_ev"]
            )
    assert np.abs(errors).mean() < 0.02  # phases of the full database that the table does not have


@pytest.mark.parametrize(
    ("formula", "lattice", "species", "change"),
    [
        ("MgO", 4.2, [12, 8], (0.70229 - 0.687) / 2),  # oxide: only the correction of oxygen differs
        ("KBr", 6.6, [19, 35], -0.534 / 2),  # the old scheme has no correction for bromides
        ("FeAl", 2.9, [26, 13], 0.0),
    ],
)
def test_the_change_of_scheme_is_the_difference_of_the_corrections(formula, lattice, species, change):
    from crystal_core.datasets.rows import CrystalRow
    from crystal_core.reference.schemes import scheme_change

    row = CrystalRow(
        id="x",
        formula=formula,
        lattice=np.eye(3) * lattice,
        frac_coords=np.array([[0.0] * 3, [0.5] * 3]),
        atomic_numbers=np.array(species),
        split="",
    )
    assert scheme_change(row, load_hull().elements) == pytest.approx(change, abs=1e-6)


def test_the_error_bar_was_measured_on_enough_rows():
    measured = measured_error("chgnet")
    assert all(part["n"] >= 500 and part["relaxed"]["n"] >= 20 for part in measured["sets"].values())
    assert 0 < measured["spread_ev"] < 0.2 and abs(measured["bias_ev"]) < 0.1 and measured["command"]
    assert measured_error("alchemy") is None
