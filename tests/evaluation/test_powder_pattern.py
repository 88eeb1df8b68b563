"""Powder patterns: the true structure wins over its polymorphs, through noise and background; bad files are
refused in a sentence.
"""

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RequestError
from crystal_core.evaluation.powder_pattern import MeasuredPattern, likeness, read_pattern, wavelength_of
from crystal_core.evaluation.xrd import pattern, profile

GROUP = Structure.from_spacegroup
POLYMORPHS = {
    "rutile": GROUP(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    ),
    "anatase": GROUP("I4_1/amd", Lattice.tetragonal(3.785, 9.514), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.2081]]),
    "brookite": GROUP(
        "Pbca",
        Lattice.orthorhombic(9.174, 5.449, 5.138),
        ["Ti", "O", "O"],
        [[0.1289, 0.0972, 0.8628], [0.0095, 0.1491, 0.1835], [0.2314, 0.1110, 0.5366]],
    ),
}


def scan(structure, *, fwhm=0.3, wavelength="CuKa", counts=4.0, background=1.0, seed=0, last=80.0):
    """What a diffractometer counts: peaks, a falling background with a hump, Poisson noise."""
    x, y = profile(pattern(structure, wavelength, (10.0, last)), fwhm=fwhm, two_theta=(10.0, last))
    y = y + background * (60 * np.exp(-x / 20) + 15 + 10 * np.exp(-(((x - 25) / 8) ** 2)))
    noisy = np.random.default_rng(seed).poisson(counts * y)
    return MeasuredPattern(
        two_theta=tuple(x.tolist()), intensity=tuple(map(float, noisy)), wavelength=wavelength
    )


def resized(structure, factor):
    copy = structure.copy()
    copy.scale_lattice(copy.volume * factor)
    return copy


@pytest.mark.parametrize("wavelength", ["CuKa", 0.709])
@pytest.mark.parametrize("fwhm", [0.1, 0.3, 0.8])
@pytest.mark.parametrize("true", POLYMORPHS)
def test_the_true_polymorph_ranks_first(true, fwhm, wavelength):
    measured = scan(
        POLYMORPHS[true], fwhm=fwhm, wavelength=wavelength, last=80.0 if wavelength == "CuKa" else 45.0
    )
    similarities = {name: likeness(resized(cell, 1.05), measured) for name, cell in POLYMORPHS.items()}
    best = max(similarities, key=lambda name: similarities[name].similarity)
    assert best == true
    assert similarities[true].scale == pytest.approx(1.05 ** (-1 / 3), abs=0.003)


def test_a_clean_pattern_of_the_same_structure_is_almost_one_and_a_strange_one_far_from_it():
    measured = scan(POLYMORPHS["rutile"], fwhm=0.2, background=0.0, counts=1000.0)
    assert likeness(POLYMORPHS["rutile"], measured).similarity > 0.97
    assert (
        likeness(Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5] * 3]), measured).similarity
        < 0.3
    )


@pytest.mark.parametrize(("first", "last"), [(31.0, 80.0), (31.5, 60.0), (20.0, 46.0), (20.0, 45.7)])
def test_a_peak_at_either_end_of_the_range_counts(first, last):
    # the strongest peaks of NaCl are at 31.7 and 45.4 degrees
    salt = GROUP("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    x, y = profile(pattern(salt, "CuKa", (5.0, 90.0)), fwhm=0.2, two_theta=(first, last))
    measured = MeasuredPattern(two_theta=tuple(x.tolist()), intensity=tuple(map(float, y)))
    for scale in (0.98, 1.0, 1.02):
        similarity = likeness(resized(salt, scale**-3), measured)
        assert similarity.similarity > 0.95 and similarity.scale == pytest.approx(scale, abs=0.003)


def test_neither_the_choice_of_cell_nor_units_nor_background_change_the_value():
    measured = scan(POLYMORPHS["anatase"])
    first = likeness(POLYMORPHS["anatase"], measured).similarity
    assert likeness(POLYMORPHS["anatase"].get_primitive_structure(), measured).similarity == pytest.approx(
        first, abs=1e-3
    )
    x, y = np.array(measured.two_theta), np.array(measured.intensity)
    other = MeasuredPattern(two_theta=measured.two_theta, intensity=tuple(1e-3 * (y + 500 - 3 * x)))
    # the background is estimated, so the slope leaves a trace
    assert likeness(POLYMORPHS["anatase"], other).similarity == pytest.approx(first, abs=5e-3)


def test_an_empty_cell_has_no_pattern():
    assert likeness(Structure(Lattice.cubic(40), ["H"], [[0, 0, 0]]), scan(POLYMORPHS["rutile"])) is None


TUNGSTEN = Structure(Lattice.cubic(3.165), ["W", "W"], [[0, 0, 0], [0.5] * 3])


@pytest.mark.parametrize(
    ("radiation", "window"),
    [("CuKa", (5.0, 15.0)), ("CuKa", (0.0, 15.0)), (4.9, (5.0, 90.0)), ("CuKa", (10.0, 35.0))],
)
def test_where_no_plane_reflects_there_are_no_peaks(radiation, window):
    # the last window holds only (100) and its like, which cancel in a body-centred cell
    assert pattern(TUNGSTEN, radiation, window).two_theta == ()


def test_the_strongest_peak_is_100():
    peaks = pattern(TUNGSTEN, "CuKa", (10.0, 60.0))
    assert peaks.hkl[0].startswith("(1 1 0)") and max(peaks.intensity) == pytest.approx(100)


def test_a_crystal_without_a_peak_in_the_measured_range_is_not_alike():
    assert likeness(TUNGSTEN, scan(POLYMORPHS["anatase"], last=35.0)).similarity == 0.0


def test_an_element_without_tabulated_scattering_has_no_pattern():
    einsteinium = Structure(Lattice.cubic(4.0), ["Es"], [[0, 0, 0]])
    with pytest.raises(RequestError, match="Es is not tabulated"):
        pattern(einsteinium)
    assert likeness(einsteinium, scan(POLYMORPHS["rutile"])) is None


def text_of(measured, separator=" "):
    return "\n".join(
        f"{x:.3f}{separator}{y:g}" for x, y in zip(measured.two_theta, measured.intensity, strict=True)
    )


@pytest.mark.parametrize("separator", [" ", "\t", ",", "; "])
def test_columns_headings_and_comments_are_read(separator):
    measured = scan(POLYMORPHS["rutile"])
    text = (
        f"\ufeff# a comment\n2theta{separator}counts\n\n"
        + text_of(measured, separator)
        + f"\n# end{separator}\n"
    )
    parsed = read_pattern(text, "scan.xy", "CuKa")
    assert (
        parsed.two_theta == pytest.approx(measured.two_theta, abs=1e-3)
        and parsed.intensity == measured.intensity
    )
    assert MeasuredPattern.from_json(json.loads(json.dumps(parsed.to_json()))) == parsed


RISING = "\n".join(f"{10 + 0.1 * i} {100 + 50 * (i % 7 == 0)}" for i in range(400))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no line of two numbers"),
        ("<html>\n<body>no pattern</body>", "no line of two numbers"),
        ("10 5\n10.1 6\n", "2 points"),
        (RISING.replace("20.0 ", "nan "), "no numbers"),
        (RISING.replace("20.0 ", "1e999 "), "no numbers"),
        (RISING.replace("20.0 ", "9.0 "), "do not rise"),
        (RISING.replace("20.0 ", "20.0 x "), "Line 101"),
        (RISING.replace("20.0 ", "20.0\n"), "Line 101"),
        (RISING + "\n49.9 1", "do not rise"),
        ("\n".join(f"{10 + 0.01 * i} {i % 5}" for i in range(300)), "spans"),
        ("\n".join(f"{10 + 0.5 * i} {i % 5}" for i in range(140)), "step of 0.50"),
        ("\n".join(f"{-5 + 0.1 * i} {i % 5}" for i in range(400)), "between 0 and 180"),
        ("\n".join(f"{10 + 0.1 * i} 7" for i in range(400)), "stands out"),
        ("\n".join(f"{10 + 0.1 * i} {'1e300' if i == 9 else 1}" for i in range(400)), "1e15"),
        ("\n".join(f"{i * 1e-3} 1" for i in range(100_001)), "more than 100,000 points"),
        ("1 2\n" * 1_300_000, "larger than 5 MB"),
        ("\x00\x01\x02\xff" * 100, "no line of two numbers"),
    ],
)
def test_hostile_files_end_in_one_sentence(text, part):
    with pytest.raises(RequestError, match=part) as caught:
        read_pattern(text, "scan.xy")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["Cu", "0", "-1", "nan", "50"])
def test_a_wavelength_is_a_line_or_a_sensible_number(text):
    with pytest.raises(RequestError, match="wavelength"):
        wavelength_of(text)
    assert wavelength_of("MoKa") == "MoKa" and wavelength_of("0.71") == 0.71


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"two_theta": 3, "intensity": 4},
        {"two_theta": ["a"], "intensity": [None]},
        {"two_theta": [1.0], "intensity": []},
    ],
)
def test_json_that_is_no_pattern_is_refused(data):
    with pytest.raises(RequestError):
        MeasuredPattern.from_json(data)


@pytest.mark.parametrize("separator", ["; ", ";", "\t", "   "])
def test_a_comma_is_the_decimal_sign_where_something_else_parts_the_columns(separator):
    measured = scan(POLYMORPHS["rutile"])
    rows = zip(measured.two_theta, measured.intensity, strict=True)
    lines = [f"{angle:.2f}{separator}{height:.1f}".replace(".", ",") for angle, height in rows]
    read = read_pattern("\n".join(["Winkel; Impulse", *lines]))
    assert read.two_theta == pytest.approx(measured.two_theta, abs=0.006)
    assert read.intensity == measured.intensity


def test_columns_parted_by_commas_keep_their_points():
    measured = scan(POLYMORPHS["anatase"])
    rows = zip(measured.two_theta, measured.intensity, strict=True)
    text = "\n".join(f"{angle:.3f}, {height:.0f}, 1" for angle, height in rows)
    assert read_pattern(text).intensity == measured.intensity


def test_a_pattern_over_q_or_in_radians_is_told_the_unit():
    measured = scan(POLYMORPHS["rutile"])
    angles, heights = np.radians(measured.two_theta), measured.intensity
    for first in (angles, 4 * np.pi / 1.5406 * np.sin(angles / 2)):
        text = "\n".join(f"{x:.5f} {y:.0f}" for x, y in zip(first, heights, strict=True))
        with pytest.raises(RequestError, match="first column is 2θ in degrees"):
            read_pattern(text)


@pytest.mark.parametrize(
    ("heading", "part"),
    [
        ("Q(1/A) I", "first column of scan.xy is headed 'Q'"),
        ("# Q  I(Q)", "headed 'Q'"),
        ("d,I,esd", "headed 'd'"),
        ("d-spacing\tcounts", "headed 'd-spacing'"),
        ("TOF [us] counts", "headed 'TOF'"),
        ("# Wavelength = 0.7093\n2theta I", "names a wavelength of 0.7093 Å, but 1.5418 Å is used"),
        ("! lambda: 0,4137 A", "names a wavelength of 0.4137 Å"),
        ("Anode: Mo Kα1\n# angle counts", "names a wavelength of 0.7107 Å"),
        ("; CoKa", "names a wavelength of 1.7903 Å"),
    ],
)
def test_another_axis_or_wavelength_above_the_numbers_is_said(heading, part):
    with pytest.raises(RequestError, match=part.replace("(", r"\(")):
        read_pattern(f"{heading}\n{RISING}", "scan.xy")


@pytest.mark.parametrize(
    ("heading", "wavelength"),
    [
        ("D8 Advance, sample 3\n2theta I", "CuKa"),
        ("D 5000", "CuKa"),
        ("Q 12 of the second batch", "CuKa"),
        ("# wavelength 1.5406", "CuKa"),
        ("# wavelength (nm) 0.15406", "CuKa"),
        ("# Cu K-alpha, quartz mirror", "CuKa"),
        ("# Mo Kα", "MoKa"),
        ("# lambda = 0.4137", 0.4137),
        ("quartz, dried", "CuKa"),
    ],
)
def test_other_words_above_the_numbers_are_no_axis_and_no_other_wavelength(heading, wavelength):
    assert len(read_pattern(f"{heading}\n{RISING}", "scan.xy", wavelength).two_theta) == 400
