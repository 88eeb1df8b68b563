"""Powder patterns of known structures against gemmi's structure factors: angles,
heights, indices and multiplicities.
"""

import re

import gemmi
import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.xrd import pattern, structure_factors_squared

ORIGIN, MIDDLE = (0, 0, 0), (0.5, 0.5, 0.5)
QUARTER, EIGHTH = (0.25, 0.25, 0.25), (0.125, 0.125, 0.125)


def cubic(a):
    return Lattice.cubic(a)


def hexagonal(a, c):
    return Lattice.hexagonal(a, c)


def tetragonal(a, c):
    return Lattice.tetragonal(a, c)


def known_structures():
    """Name, space group as gemmi spells it, lattice and atoms; cells in Å as measured, rounded."""
    salt = "NaCl 5.64 MgO 4.212 LiF 4.026 KBr 6.6 PbS 5.936 TiN 4.24 FeO 4.3 CaO 4.811 AgCl 5.55 NiO 4.177"
    for name, a in _pairs(salt):
        yield name, "F m -3 m", cubic(a), dict(zip(_elements(name), (ORIGIN, MIDDLE), strict=True))
    for name, a in _pairs("ZnS 5.409 GaAs 5.653 InP 5.869 CuCl 5.416 SiC 4.36 CdTe 6.482"):
        yield name, "F -4 3 m", cubic(a), dict(zip(_elements(name), (ORIGIN, QUARTER), strict=True))
    for name, a in _pairs("CaF 5.463 BaF 6.2 CeO 5.411 UO 5.47 ZrO 5.09 SrCl 6.977"):
        yield f"{name}2", "F m -3 m", cubic(a), dict(zip(_elements(name), (ORIGIN, QUARTER), strict=True))
    for name, a in _pairs("CsCl 4.123 CsI 4.567 NiAl 2.887 CuZn 2.954"):
        yield name, "P m -3 m", cubic(a), dict(zip(_elements(name), (ORIGIN, MIDDLE), strict=True))
    for name, a in _pairs("SrTi 3.905 BaZr 4.19 KTa 3.988 LaAl 3.79"):
        first, second = _elements(name)
        yield f"{name}O3", "P m -3 m", cubic(a), {first: ORIGIN, second: MIDDLE, "O": (0.5, 0.5, 0)}
    for name, a in _pairs("Si 5.431 Ge 5.658 C 3.567 Sn 6.489"):
        yield name, "F d -3 m:2", cubic(a), {name: EIGHTH}
    for name, a in _pairs("Fe 2.866 W 3.165"):
        yield name, "I m -3 m", cubic(a), {name: ORIGIN}
    for name, a in _pairs("Cu 3.615 Al 4.05"):
        yield name, "F m -3 m", cubic(a), {name: ORIGIN}
    for name, a, c in (("Mg", 3.209, 5.211), ("Ti", 2.951, 4.683), ("Zn", 2.665, 4.947)):
        yield name, "P 63/m m c", hexagonal(a, c), {name: (1 / 3, 2 / 3, 0.25)}
    for name, a, c, u in (("ZnO", 3.25, 5.207, 0.382), ("GaN", 3.19, 5.189, 0.377)):
        first, second = _elements(name)
        places = {first: (1 / 3, 2 / 3, 0), second: (1 / 3, 2 / 3, u)}
        yield name, "P 63 m c", hexagonal(a, c), places
    for name, a, c, u in (
        ("Ti", 4.594, 2.959, 0.305),
        ("Sn", 4.738, 3.187, 0.307),
        ("Mg", 4.62, 3.05, 0.303),
    ):
        anion = "F" if name == "Mg" else "O"
        yield f"{name}{anion}2", "P 42/m n m", tetragonal(a, c), {name: ORIGIN, anion: (u, u, 0)}
    yield "TiO2", "I 41/a m d:2", tetragonal(3.784, 9.515), {"Ti": (0, 0.75, 0.125), "O": (0, 0.25, 0.0831)}
    for name, a, c, z, x in (("Al", 4.7589, 12.991, 0.3523, 0.3064), ("Cr", 4.96, 13.59, 0.3475, 0.305)):
        yield f"{name}2O3", "R -3 c:H", hexagonal(a, c), {name: (0, 0, z), "O": (x, 0, 0.25)}
    for name, a, c, x in (("Ca", 4.99, 17.061, 0.2572), ("Mg", 4.633, 15.013, 0.2778)):
        places = {name: ORIGIN, "C": (0, 0, 0.25), "O": (x, 0, 0.25)}
        yield f"{name}CO3", "R -3 c:H", hexagonal(a, c), places
    for name, a, x in (("Fe", 5.417, 0.385), ("Mn", 6.097, 0.4)):
        yield f"{name}S2", "P a -3", cubic(a), {name: ORIGIN, "S": (x, x, x)}
    places = {"Mg": EIGHTH, "Al": MIDDLE, "O": (0.2624, 0.2624, 0.2624)}
    yield "MgAl2O4", "F d -3 m:2", cubic(8.083), places
    yield (
        "SiO2",
        "P 32 2 1",
        hexagonal(4.913, 5.405),
        {"Si": (0.4697, 0, 2 / 3), "O": (0.4135, 0.2669, 0.7858)},
    )
    baddeleyite = {
        "Zr": (0.2754, 0.0395, 0.2083),
        "O": (0.07, 0.3317, 0.3447),
        "O2": (0.4496, 0.7569, 0.4792),
    }
    yield "ZrO2", "P 1 21/c 1", Lattice.monoclinic(5.1505, 5.2116, 5.3173, 99.23), baddeleyite
    aragonite = {"Ca": (0.2405, 0.25, 0.415), "C": (0.085, 0.25, 0.762), "O": (0.0956, 0.25, 0.922)}
    aragonite["O2"] = (0.087, 0.4735, 0.6806)
    yield "CaCO3", "P n m a", Lattice.orthorhombic(5.741, 4.961, 7.968), aragonite
    perovskite = {"Ca": (0.0365, 0.25, 0.9923), "Ti": (0, 0, 0.5), "O": (0.4838, 0.25, 0.0717)}
    perovskite["O2"] = (0.2889, 0.0374, 0.7113)
    yield "CaTiO3", "P n m a", Lattice.orthorhombic(5.44, 7.643, 5.38), perovskite
    tenorite = {"Cu": (0.25, 0.25, 0), "O": (0, 0.4184, 0.25)}
    yield "CuO", "C 1 2/c 1", Lattice.monoclinic(4.6837, 3.4226, 5.1288, 99.54), tenorite
    # made up, for no triclinic crystal is as simple
    triclinic = {"Cu": (0.01, 0.02, 0.13), "O": (0.31, 0.17, 0.42), "S": (0.43, 0.78, 0.21)}
    for group in ("P -1", "P 1"):
        yield "CuSO", group, Lattice.from_parameters(5.1, 6.2, 7.3, 77.0, 98.0, 104.0), triclinic


def _pairs(text):
    words = text.split()
    return zip(words[::2], map(float, words[1::2]), strict=True)


def _elements(name):
    return re.findall("[A-Z][a-z]?", name)


KNOWN = list(known_structures())


def small_structure(group, lattice, places):
    small = gemmi.SmallStructure()
    small.cell = gemmi.UnitCell(*lattice.parameters)
    small.spacegroup_hall = gemmi.SpaceGroup(group).hall
    small.determine_and_set_spacegroup("h")
    for label, place in places.items():
        site = gemmi.SmallStructure.Site()
        site.label, site.element = label, gemmi.Element(re.sub(r"\d", "", label))
        site.fract, site.occ = gemmi.Fractional(*place), 1
        small.add_site(site)
    small.setup_cell_images()
    small.change_occupancies_to_crystallographic()
    return small


def whole(small, lattice):
    sites = small.get_all_unit_cell_sites()
    return Structure(lattice, [s.element.name for s in sites], [s.fract.tolist() for s in sites])


def families(small, wavelength, two_theta):
    """Orbits of reflections in the window: indices, 2θ, and height by gemmi's structure factors."""
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    reach = 2 * np.sin(np.radians(two_theta[1] / 2)) / wavelength
    limits = [int(reach * x) for x in (small.cell.a, small.cell.b, small.cell.c)]
    operations = small.spacegroup.operations()
    left = {
        (h, k, ell)
        for h in range(-limits[0], limits[0] + 1)
        for k in range(-limits[1], limits[1] + 1)
        for ell in range(-limits[2], limits[2] + 1)
    } - {ORIGIN}
    orbits = []
    while left:
        hkl = list(left.pop())
        orbit = {tuple(op.apply_to_hkl(hkl)) for op in operations}
        orbit |= {tuple(-x for x in one) for one in orbit}
        left -= orbit
        sine = wavelength / 2 / small.cell.calculate_d(hkl)
        if sine >= 1 or not two_theta[0] <= 2 * np.degrees(np.arcsin(sine)) <= two_theta[1]:
            continue
        theta = np.arcsin(sine)
        factor = 0.0
        if not operations.is_systematically_absent(hkl):
            factor = abs(calculator.calculate_sf_from_small_structure(small, hkl)) ** 2
        height = len(orbit) * factor * (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
        orbits.append((orbit, np.degrees(2 * theta), height))
    return orbits


def named_families(peaks):
    """2θ, index of three numbers and multiplicity of every family that the pattern names."""
    for angle, text in zip(peaks.two_theta, peaks.hkl, strict=True):
        for inside, n in re.findall(r"\(([^)]*)\) ×(\d+)", text):
            numbers = [int(x) for x in inside.split()]
            yield angle, tuple(numbers[:2] + numbers[-1:]), int(n)


def test_there_are_fifty_structures():
    assert len(KNOWN) >= 50


@pytest.mark.parametrize(("name", "group", "lattice", "places"), KNOWN, ids=[f"{k[0]}-{k[1]}" for k in KNOWN])
def test_a_pattern_agrees_with_gemmis_structure_factors(name, group, lattice, places):
    small = small_structure(group, lattice, places)
    window, wavelength = (10.0, 75.0), 1.54184
    peaks = pattern(whole(small, lattice), wavelength, window)
    expected = families(small, wavelength, window)
    strongest = max(peaks.intensity)
    heights = {}
    for _, angle, height in expected:
        near = min(range(len(peaks.two_theta)), key=lambda k: abs(peaks.two_theta[k] - angle))
        if abs(peaks.two_theta[near] - angle) < 0.03:
            heights[near] = heights.get(near, 0.0) + height
    top = max(heights.values())
    for k, intensity in enumerate(peaks.intensity):
        assert 100 * heights[k] / top == pytest.approx(100 * intensity / strongest, abs=0.1)
    present = [(orbit, angle) for orbit, angle, height in expected if height > 2e-4 * top]
    named = list(named_families(peaks))
    for angle, hkl, n in named:
        orbit, its_angle, height = next(one for one in expected if hkl in one[0])
        assert height > 1e-7 * top and n == len(orbit) and angle == pytest.approx(its_angle, abs=0.03)
    for orbit, angle in present:
        assert sum(hkl in orbit for _, hkl, _ in named) == 1, (sorted(orbit), angle)


def test_a_rotated_setting_names_reflections_of_its_own_axes():
    small = small_structure("R -3 c:R", Lattice.rhombohedral(6.375, 46.08), {"Ca": ORIGIN, "C": QUARTER})
    structure = whole(small, Lattice.rhombohedral(6.375, 46.08))
    squared = structure_factors_squared(structure, np.array([[1, 1, 1], [2, 2, 2]]))
    assert squared[0] < 1e-9 < squared[1]  # 0 0 0 3 of the hexagonal axes is absent by the glide
    assert "(1 1 1)" not in " ".join(pattern(structure).hkl)


@pytest.mark.parametrize("axes", [((1, 0, 0), (1, 1, 0), (0, 0, 1)), ((0, 0, 1), (1, 0, 0), (0, 1, 0))])
def test_four_indices_are_those_of_hexagonal_axes_alone(axes):
    """In a cell with an angle of 60°, or with 120° at a, i = -h-k would be no index of an equivalent."""
    magnesium = whole(
        small_structure("P 63/m m c", hexagonal(3.209, 5.211), {"Mg": (1 / 3, 2 / 3, 0.25)}),
        hexagonal(3.209, 5.211),
    )
    peaks = pattern(magnesium)
    assert "(1 0 -1 2) ×12" in peaks.hkl
    magnesium.make_supercell(axes)
    other = pattern(magnesium)
    assert other.two_theta == pytest.approx(peaks.two_theta)
    for name, hexagonal_name in zip(other.hkl, peaks.hkl, strict=True):
        (inside, n), (_, expected) = (
            re.findall(r"\(([^)]*)\) ×(\d+)", one)[0] for one in (name, hexagonal_name)
        )
        assert len(inside.split()) == 3 and n == expected
    nearly = Structure(Lattice.from_parameters(3.2, 3.2, 5.2, 90, 90, 117), ["Na", "Cl"], [ORIGIN, MIDDLE])
    assert pattern(nearly).hkl[0] == "(0 0 1) ×2"
