"""Distances and diffraction of rock salt against textbook values."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.rdf import radial_distribution
from crystal_core.evaluation.xrd import pattern, profile
from crystal_core.figures.rdf import rdf_figure
from crystal_core.figures.symmetry import symmetry_figure
from crystal_core.figures.xrd import xrd_figure

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_the_first_peak_of_na_cl_holds_six_neighbours_at_half_the_edge():
    found = radial_distribution(NACL)
    r, g = found.r, found.curves["Na–Cl"]
    first = (r > 2.4) & (r < 3.2)
    assert r[first][np.argmax(g[first])] == pytest.approx(2.82, abs=0.021)
    neighbours = np.trapezoid((g * 4 * np.pi * r**2 * 4 / NACL.volume)[first], r[first])
    assert neighbours == pytest.approx(6, rel=0.01)
    assert set(found.curves) == {"all", "Na–Na", "Na–Cl", "Cl–Cl"}


def test_a_gas_of_many_atoms_has_g_of_one_at_long_range():
    rng = np.random.default_rng(0)
    gas = Structure(Lattice.cubic(20), ["Ar"] * 400, rng.random((400, 3)))
    found = radial_distribution(gas)
    assert found.curves["all"][found.r > 4].mean() == pytest.approx(1, abs=0.05)


def test_the_profile_peaks_where_the_sticks_stand():
    sticks = pattern(NACL)
    x, y = profile(sticks, fwhm=0.2)
    assert sticks.two_theta[int(np.argmax(sticks.intensity))] == pytest.approx(31.7, abs=0.1)  # NaCl (200), Cu K alpha
    assert x[np.argmax(y)] == pytest.approx(31.7, abs=0.1) and y.max() == pytest.approx(100)
    above = x[y > 50]
    assert above.max() - above.min() < 50 and np.ptp(above[(above > 31) & (above < 32.5)]) == pytest.approx(0.2, abs=0.03)


def test_figures_show_what_they_are_given():
    assert len(rdf_figure(radial_distribution(NACL)).data) == 4
    assert len(xrd_figure(pattern(NACL), profile(pattern(NACL), fwhm=0.1)).data) == 2
    steps = symmetry_figure([{"tolerance (Å)": 0.01, "space group": "P1", "number": 1}, {"tolerance (Å)": 0.1, "space group": "Fm-3m", "number": 225}])
    assert list(steps.data[0].text) == ["P1", "Fm-3m"]
