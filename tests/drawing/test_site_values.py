"""Colours and arrows of a scene: the right number on the right atom, one scale for all, seen on any page."""

import numpy as np
from pymatgen.core import Lattice, Structure

from crystal_core.drawing.scene import build_scene
from crystal_core.drawing.site_values import (
    COORDINATION,
    DIVERGING,
    MOMENT,
    NO_VALUE,
    SEQUENTIAL,
    VALENCE,
    Colouring,
    coloured,
    colouring_of,
    colourings_in,
    signed_moments,
    span_of,
    with_moments,
)
from crystal_core.drawing.style import luminance

PEROVSKITE = Structure(
    Lattice.cubic(3.905),
    ["Sr", "Ti", "O", "O", "O"],
    [[0] * 3, [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)


def magnet(*moments, along_c=False):
    cell = Structure(
        Lattice.hexagonal(4, 6), ["Mn"] * len(moments), np.linspace([0] * 3, [0.5] * 3, len(moments))
    )
    cell.properties["site_values"] = {
        "columns": {"charge": [0.5, -1.5]},
        "moments": list(moments),
        "along_c": along_c,
    }
    return cell


def test_coordination_counts_the_bonds_drawn_and_a_metal_says_why_it_has_none():
    colouring, reason = colouring_of(PEROVSKITE, COORDINATION, build_scene(PEROVSKITE))
    assert colouring.values == (None, 6, 2, 2, 2) and not reason  # strontium is held loosely
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.61), ["Cu"], [[0] * 3])
    colouring, reason = colouring_of(copper, COORDINATION, build_scene(copper))
    assert colouring is None and "No bonds are drawn" in reason


def test_values_of_both_signs_are_coloured_about_zero_and_others_from_end_to_end():
    scene = build_scene(PEROVSKITE)
    both = Colouring(label="charge", unit="e", values=(-1.0, 2.0, 0.0, None, 1.0))
    drawn = coloured(scene, both)["colouring"]
    assert (drawn["low"], drawn["high"]) == (-2.0, 2.0) and drawn["missing"]
    assert drawn["colours"][1:4] == [DIVERGING[-1], DIVERGING[3], NO_VALUE]
    one = coloured(scene, Colouring(label="n", unit="", values=(4.0, 6.0, 5.0, 4.0, 6.0)))
    assert one["colouring"]["colours"] == [SEQUENTIAL[k] for k in (0, 6, 3, 0, 6)]
    assert one["sentence"].endswith("Atoms are coloured by n, from 4 to 6.") and "colouring" not in scene
    alike = coloured(scene, Colouring(label="n", unit="", values=(4.0,) * 5))["colouring"]
    assert set(alike["colours"]) == {SEQUENTIAL[3]} and not alike["missing"]


def test_frames_share_one_scale():
    scene = build_scene(PEROVSKITE)
    frames = [Colouring(label="force", unit="eV/Å", values=(x,) * 5) for x in (0.1, 0.3, 0.5)]
    span = span_of(frames)
    assert span == (0.1, 0.5)
    assert [coloured(scene, one, span)["colouring"]["colours"][0] for one in frames] == [
        SEQUENTIAL[k] for k in (0, 3, 6)
    ]


def test_every_colour_is_seen_on_a_dark_page_and_brightness_grows_with_the_value():
    light = [luminance(colour) for colour in SEQUENTIAL]
    assert light == sorted(light) and min(light) > 0.14 and min(map(luminance, DIVERGING)) > 0.14


def test_moments_have_a_sign_only_where_all_are_parallel():
    assert signed_moments(magnet([0, 0, 3.0], [0, 0, -2.0])) == [3, -2]
    assert signed_moments(magnet([0, 0, -3.0], None)) == [-3, None]
    assert signed_moments(magnet([2.0, 0, 0], [-1.0, 0, 0])) == [2, -1]
    assert signed_moments(magnet([2.0, 0, 0], [0, 1.0, 0])) == [2, 1]
    assert signed_moments(magnet([0, 0, 0], [0, 0, 0])) == [0, 0]


def test_arrows_are_the_moments_of_the_file_and_vanishing_ones_are_none():
    crystal = magnet([0, 0, 4.2], [0, 1e-5, 0])
    scene = with_moments(build_scene(crystal), crystal)
    assert scene["moments"] == {"vectors": [[0, 0, 4.2], None], "longest": 4.2}
    assert "up to 4.2 µB" in scene["sentence"]
    still = magnet([0, 0, 0], None)
    assert "moments" not in with_moments(build_scene(still), still)
    assert with_moments(build_scene(crystal), crystal, longest=5.0)["moments"]["longest"] == 5.0


def test_what_a_file_gives_can_be_chosen():
    crystal = magnet([0, 0, 1.0], [0, 0, 1.0])
    assert colourings_in(crystal) == [COORDINATION, VALENCE, MOMENT, "charge"]
    colouring, _ = colouring_of(crystal, "charge", build_scene(crystal))
    assert colouring.values == (0.5, -1.5) and colouring.unit == "e"
    assert colourings_in(PEROVSKITE) == [COORDINATION, VALENCE]
    assert colouring_of(PEROVSKITE, "charge", build_scene(PEROVSKITE))[0] is None
