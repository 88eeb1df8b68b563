"""Phase diagrams: what is stable, what coexists, and where a crystal lies; checked on a
table made by hand.
"""

import numpy as np
import pytest
from pymatgen.core import Composition

from crystal_core.drawing.figures.phase_diagram import phase_diagram_figure
from crystal_core.errors import RequestError
from crystal_core.reference.chemical_system import chemical_system
from crystal_core.reference.hull import HullTable

ELEMENTS = {"Li": -1.9, "Fe": -8.4, "O": -4.9}
# Li3O lies 0.2 above the line from Li to Li2O at (1 - 0.25 / 0.3333): -1.5 there, -1.3 given
TABLE = HullTable(
    ["Li2O", "Li3O", "FeO", "Fe2O3", "LiFeO2"], np.array([-2.0, -1.3, -1.5, -1.7, -2.0]), ELEMENTS, {}
)


def test_a_binary_has_its_stable_phases_and_tells_how_far_the_others_are_above():
    system = chemical_system(Composition("Li2O"), -1.9, TABLE)
    assert system.elements == ("Li", "O")
    above = {phase.formula: phase.e_above_hull for phase in system.phases}
    assert above == pytest.approx({"Li": 0, "O": 0, "Li2O": 0, "Li3O": 0.2}, abs=1e-9)
    names = [phase.formula for phase in system.phases]
    lines = {frozenset((names[i], names[j])) for i, j in system.tie_lines}
    assert lines == {frozenset(("Li", "Li2O")), frozenset(("Li2O", "O"))}
    assert system.crystal.e_above_hull == pytest.approx(0.1)
    assert system.crystal.fractions == pytest.approx((2 / 3, 1 / 3))


def test_a_ternary_has_triangles_and_a_crystal_below_the_hull_is_negative():
    system = chemical_system(Composition("LiFeO2"), -2.3, TABLE)
    assert system.elements == ("Li", "Fe", "O") and system.crystal.e_above_hull == pytest.approx(-0.3)
    stable = [phase for phase in system.phases if phase.is_stable]
    assert {phase.formula for phase in stable} == {"Li", "Fe", "O", "Li2O", "FeO", "Fe2O3", "LiFeO2"}
    # Euler: a triangle with n points on its border, of which it has all, and m inside is cut into n + 2
    # m - 2 triangles
    border = sum(min(phase.fractions) < 1e-9 for phase in stable)
    inside = len(stable) - border
    n_triangles = border + 2 * inside - 2
    assert len(system.tie_lines) == (3 * n_triangles + border) / 2


def test_the_figure_shows_the_crystal_apart_from_what_is_known():
    binary = phase_diagram_figure(chemical_system(Composition("Li2O"), -1.9, TABLE), "mine")
    mine = next(trace for trace in binary.data if trace.name == "mine")
    assert mine.x == pytest.approx((1 / 3,)) and mine.y == pytest.approx((-1.9,))
    stable = next(trace for trace in binary.data if trace.name == "stable")
    assert list(stable.text) == ["Li", "Li<sub>2</sub>O", "O"] and list(stable.y) == [0, -2.0, 0]
    ternary = phase_diagram_figure(chemical_system(Composition("LiFeO2"), -2.3, TABLE), "mine")
    mine = next(trace for trace in ternary.data if trace.name == "mine")
    assert [*mine.a, *mine.b, *mine.c] == pytest.approx([0.25, 0.25, 0.5])
    assert not any(
        trace.name == "mine"
        for trace in phase_diagram_figure(chemical_system(Composition("LiFeO2"), None, TABLE), "mine").data
    )


@pytest.mark.parametrize(
    ("formula", "words"),
    [("Fe", "one element"), ("LiFePO4", "this crystal has 4"), ("LiF", "reference energy is known for F")],
)
def test_what_has_no_diagram_says_why(formula, words):
    with pytest.raises(RequestError, match=words):
        chemical_system(Composition(formula), -1.0, TABLE)


def test_the_shipped_table_draws_titanium_and_oxygen_with_rutiles_formula_on_the_hull():
    system = chemical_system(Composition("TiO2"))
    stable = {phase.formula for phase in system.phases if phase.is_stable}
    assert {"Ti", "O", "TiO2", "Ti2O3"} <= stable and system.crystal is None
