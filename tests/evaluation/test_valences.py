"""Oxidation states of textbook compounds, and bond-valence sums by the published formula."""

import math

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.symmetry import site_table
from crystal_core.evaluation.valences import state_text, valences_of

MAGNETITE = Structure.from_spacegroup(
    "Fd-3m", Lattice.cubic(8.396), ["Fe", "Fe", "O"], [[0.125] * 3, [0.5] * 3, [0.2547] * 3]
)
PERICLASE = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2117), ["Mg", "O"], [[0] * 3, [0.5] * 3])
HEMATITE = Structure.from_spacegroup(
    "R-3c", Lattice.hexagonal(5.038, 13.772), ["Fe", "O"], [[0, 0, 0.3553], [0.3059, 0, 0.25]]
)


def test_magnetite_has_two_irons_on_two_kinds_of_sites():
    valences = valences_of(MAGNETITE)
    states = sorted(zip((s.specie.symbol for s in MAGNETITE), valences.states, strict=True))
    counts = {state: states.count(state) for state in states}
    assert counts == {("Fe", 2): 8, ("Fe", 3): 16, ("O", -2): 32} and not valences.reason
    assert set(valences_of(HEMATITE).states) == {3, -2}


def test_the_sum_is_that_of_okeeffe_and_brese():
    # parameters c and r of Mg and O, J. Am. Chem. Soc. 1991, 113, 3226; six oxygens at a/2, farther
    # ones add a little
    (c1, r1), (c2, r2) = (1.23, 1.21), (3.15, 0.63)
    bond = r1 + r2 - r1 * r2 * (math.sqrt(c1) - math.sqrt(c2)) ** 2 / (c1 * r1 + c2 * r2)
    a = 4.2117
    expected = sum(n * math.exp((bond - d * a / 2) / 0.31) for n, d in ((6, 1), (8, math.sqrt(3))))
    sums = valences_of(PERICLASE).sums
    assert sums[0] == pytest.approx(expected, abs=0.01) and sums[0] == pytest.approx(2, abs=0.25)
    assert sum(sums) == pytest.approx(0, abs=1e-6)


def test_of_two_cations_none_is_subtracted_from_the_sum_of_the_other():
    calcite = Structure.from_spacegroup(
        "R-3c", Lattice.hexagonal(4.99, 17.06), ["Ca", "C", "O"], [[0] * 3, [0, 0, 0.25], [0.257, 0, 0.25]]
    )
    valences = valences_of(calcite)
    assert set(valences.states) == {2, 4, -2}
    # parameters c and r of C and O as above; each carbon has three oxygens, the next ones are 3.26 Å away
    (c1, r1), (c2, r2) = (2.0, 0.78), (3.15, 0.63)
    bond = r1 + r2 - r1 * r2 * (math.sqrt(c1) - math.sqrt(c2)) ** 2 / (c1 * r1 + c2 * r2)
    expected = 3 * math.exp((bond - 0.257 * 4.99) / 0.31)
    carbon = next(k for k, site in enumerate(calcite) if site.specie.symbol == "C")
    assert valences.sums[carbon] == pytest.approx(expected, abs=0.02)
    assert sum(valences.sums) == pytest.approx(0, abs=0.02)


def test_what_has_no_states_says_why():
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.431), ["Si"], [[0] * 3])
    assert valences_of(silicon).states == (None,) * 8 and "one element" in valences_of(silicon).reason
    brass = Structure(Lattice.cubic(2.95), ["Cu", "Zn"], [[0] * 3, [0.5] * 3])
    assert valences_of(brass).states == (None, None) and "No oxidation states" in valences_of(brass).reason
    argon = Structure(Lattice.cubic(4), ["Ar", "O"], [[0] * 3, [0.5] * 3])
    assert "parameters are known for Ar" in valences_of(argon).reason
    large = PERICLASE * (3, 3, 3)
    assert "up to 200 sites" in valences_of(large).reason
    assert [state_text(x) for x in (4, -2, 0, None)] == ["+4", "−2", "0", "–"]


def test_a_wyckoff_position_has_the_multiplicity_of_the_conventional_cell_in_any_cell():
    for cell in (PERICLASE, PERICLASE.get_primitive_structure(), PERICLASE * (1, 1, 2)):
        assert {(row["element"], row["Wyckoff"][:-1]) for row in site_table(cell)} == {
            ("Mg", "4"),
            ("O", "4"),
        }
    assert {(row["element"], row["Wyckoff"]) for row in site_table(HEMATITE)} == {("Fe", "12c"), ("O", "18e")}
    assert {row["Wyckoff"][:-1] for row in site_table(MAGNETITE) if row["element"] == "O"} == {"32"}
