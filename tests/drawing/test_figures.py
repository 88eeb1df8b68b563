"""Distances and diffraction of rock salt against textbook values."""

import re

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.drawing.figures.colours import LINES
from crystal_core.drawing.figures.rdf import rdf_figure
from crystal_core.drawing.figures.symmetry import symmetry_figure
from crystal_core.drawing.figures.training import sampler_figure, training_figure
from crystal_core.drawing.figures.xrd import xrd_figure
from crystal_core.drawing.scene import cell_choice
from crystal_core.drawing.style import luminance
from crystal_core.evaluation.rdf import radial_distribution
from crystal_core.evaluation.xrd import MERGED, pattern, profile, stick_height

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
BLENDE = Structure.from_spacegroup("F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25] * 3])
PEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
)


def test_the_first_peak_of_na_cl_holds_six_neighbours_at_half_the_edge():
    rdf = radial_distribution(NACL)
    r, g = rdf.r, rdf.curves["Na–Cl"]
    first = (r > 2.4) & (r < 3.2)
    assert r[first][np.argmax(g[first])] == pytest.approx(2.82, abs=0.021)
    neighbours = np.trapezoid((g * 4 * np.pi * r**2 * 4 / NACL.volume)[first], r[first])
    assert neighbours == pytest.approx(6, rel=0.01)
    assert set(rdf.curves) == {"all", "Na–Na", "Na–Cl", "Cl–Cl"}


def test_a_gas_of_many_atoms_has_g_of_one_at_long_range():
    rng = np.random.default_rng(0)
    gas = Structure(Lattice.cubic(20), ["Ar"] * 400, rng.random((400, 3)))
    rdf = radial_distribution(gas)
    assert rdf.curves["all"][rdf.r > 4].mean() == pytest.approx(1, abs=0.05)


def test_the_profile_peaks_where_the_sticks_stand():
    sticks = pattern(NACL)
    x, y = profile(sticks, fwhm=0.2)
    # NaCl (200), Cu K alpha
    assert sticks.two_theta[int(np.argmax(sticks.intensity))] == pytest.approx(31.7, abs=0.1)
    assert x[np.argmax(y)] == pytest.approx(31.7, abs=0.1) and y.max() == pytest.approx(100)
    above = x[y > 50]
    assert above.max() - above.min() < 50 and np.ptp(above[(above > 31) & (above < 32.5)]) == pytest.approx(
        0.2, abs=0.03
    )


@pytest.mark.parametrize("kind", ["as given", "primitive", "Niggli"])
def test_reflections_of_one_angle_are_one_stick_in_every_cell(kind):
    peaks, cubic = pattern(cell_choice(BLENDE, kind)), pattern(BLENDE)
    assert peaks.two_theta == pytest.approx(cubic.two_theta, abs=1e-3) and peaks.intensity == pytest.approx(
        cubic.intensity, abs=0.01
    )
    assert cubic.hkl[0] == "(1 1 1) ×8" and sum(int(n) for n in re.findall(r"×(\d+)", peaks.hkl[0])) == 8
    assert min(np.diff(peaks.two_theta)) > MERGED


def test_a_nearly_cubic_cell_has_the_pattern_of_the_cubic_one():
    nearly = PEROVSKITE.copy()
    nearly.lattice = Lattice.from_parameters(3.9, 3.9004, 3.8998, 90.003, 90, 89.998)
    peaks, cubic = pattern(nearly, "CuKa", (20.0, 60.0)), pattern(PEROVSKITE, "CuKa", (20.0, 60.0))
    assert peaks.two_theta == pytest.approx(cubic.two_theta, abs=0.01) and peaks.intensity == pytest.approx(
        cubic.intensity, abs=0.5
    )
    assert peaks.hkl == cubic.hkl  # families and multiplicities


@pytest.mark.parametrize("fwhm", [0.05, 0.2, 1.0])
def test_sticks_and_profile_share_one_scale_where_peaks_overlap(fwhm):
    split = PEROVSKITE.copy()
    split.lattice = Lattice.orthorhombic(3.9, 3.906, 3.912)  # (110) falls into three
    sticks = pattern(split, "CuKa", (20.0, 60.0))
    x, y = line = profile(sticks, fwhm=fwhm, two_theta=(20.0, 60.0))
    figure = xrd_figure(sticks, line, strongest=stick_height(sticks, line, fwhm=fwhm))
    heights = np.array(figure.data[0].y)
    assert (
        (heights <= np.interp(sticks.two_theta, x, y) + 1.0).all()
        and max(heights) < 100
        and figure.data[1].y.max() == pytest.approx(100)
    )
    assert [row[0] for row in figure.data[0].customdata] == list(sticks.intensity)
    # of a peak of height 1, half Lorentzian
    area = (1 / 2 * np.pi + np.sqrt(np.pi / np.log(2)) / 2) * fwhm / 2
    assert np.trapezoid(y, x) == pytest.approx(area * heights.sum(), rel=0.05)  # tails reach out of the range


def test_figures_show_what_they_are_given():
    assert len(rdf_figure(radial_distribution(NACL)).data) == 4
    assert len(xrd_figure(pattern(NACL), profile(pattern(NACL), fwhm=0.1)).data) == 2
    steps = symmetry_figure(
        [
            {"tolerance (Å)": 0.01, "space group": "P1", "number": 1},
            {"tolerance (Å)": 0.1, "space group": "Fm-3m", "number": 225},
        ]
    )
    assert list(steps.data[0].text) == ["P1", "Fm-3m"]


def test_a_pattern_names_its_wavelength_and_keeps_to_its_range():
    window = (20.0, 60.0)
    sticks = pattern(NACL, "MoKa", window)
    figure = xrd_figure(sticks, profile(sticks, fwhm=0.1, two_theta=window), window)
    assert (
        figure.layout.xaxis.title.text == "2θ (°), Mo Kα, 0.7107 Å"
        and tuple(figure.layout.xaxis.range) == window
    )
    assert min(sticks.two_theta) >= 20 and max(figure.data[1].x) <= 60


def contrast(colour, ground):
    low, high = sorted((luminance(colour), luminance(ground)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", ["#ffffff", "#171614", "#0e1117"])
def test_lines_stand_out_from_both_backgrounds(ground):
    sticks = pattern(NACL)
    plain = xrd_figure(sticks)
    drawn = xrd_figure(sticks, profile(sticks, fwhm=0.1))
    distances = rdf_figure(radial_distribution(NACL))
    colours = [
        plain.data[0].marker.color,
        drawn.data[0].marker.color,
        drawn.data[1].line.color,
        *(trace.line.color for trace in distances.data),
    ]
    assert min(contrast(colour, ground) for colour in [*colours, *LINES]) >= 3
    assert all(trace.opacity in (None, 1) for figure in (plain, drawn) for trace in figure.data)


def test_the_curves_of_a_card_are_drawn_as_they_are():
    log = [
        {"samples": 10, "validation": {"loss_v": 0.9, "loss_l": 0.8}},
        {"samples": 20, "validation": {"loss_v": 0.7, "loss_l": 0.5, "match_rate": 0.1}},
    ]
    figure = training_figure(log)
    assert [list(trace.y) for trace in figure.data] == [[0.9, 0.7], [0.8, 0.5], [0.1]]
    table = {
        "sampler": ["em", "em", "pc"],
        "network_calls": [10, 20, 20],
        "match_rate": [0.1, 0.2, 0.3],
        "rmse": [0.2, 0.2, ""],
    }
    assert {trace.name: list(trace.y) for trace in sampler_figure(table).data} == {
        "em": [10.0, 20.0],
        "pc": [30.0],
    }


def test_curve_of_a_predictor_shows_every_error_from_one_downwards():
    log = [
        {"samples": n, "validation": {"band_gap_ev": 0.8 / n, "bulk_modulus_gpa": 0.2 / n, "other": 1.0}}
        for n in (1, 2, 4)
    ]
    figure = training_figure(log)
    assert [trace.name for trace in figure.data] == ["Band gap (PBE)", "Bulk modulus"]
    assert list(figure.data[0].y) == [1.0, 0.5, 0.25]
    assert list(figure.data[0].customdata) == [0.8, 0.4, 0.2]
