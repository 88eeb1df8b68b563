"""What is drawn of well-known crystals, counted by hand."""

import json
import re
import shutil
import subprocess
from collections import Counter
from colorsys import rgb_to_hsv
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.drawing.scene import build_scene, cell_choice, coordination, describe, expand, frame_scene
from crystal_core.drawing.style import lightened, luminance
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.files.records import crystal_record
from pages._ui.viewer import SCRIPTS

ROOT = Path(__file__).parents[2]
BATIO3 = Structure(
    Lattice.cubic(4.01),
    ["Ba", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)
NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
SPINEL = Structure.from_spacegroup(
    "Fd-3m", Lattice.cubic(8.083), ["Mg", "Al", "O"], [[0] * 3, [0.625] * 3, [0.3874] * 3]
)
SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.431), ["Si"], [[0, 0, 0]])
COPPER = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.61), ["Cu"], [[0, 0, 0]])
CSPBI3 = Structure(Lattice.cubic(6.29), ["Cs", "Pb", "I", "I", "I"], BATIO3.frac_coords)
GALENA = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.936), ["Pb", "S"], [[0, 0, 0], [0.5, 0.5, 0.5]])
MGB2 = Structure(
    Lattice.hexagonal(3.086, 3.524), ["Mg", "B", "B"], [[0, 0, 0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]]
)
TRIPHYLITE = Structure.from_spacegroup(
    "Pnma",
    Lattice.orthorhombic(10.332, 6.01, 4.692),
    ["Li", "Fe", "P", "O", "O", "O"],
    [
        [0, 0, 0],
        [0.2822, 0.25, 0.9747],
        [0.0949, 0.25, 0.4182],
        [0.0967, 0.25, 0.7428],
        [0.4571, 0.25, 0.2060],
        [0.1656, 0.0465, 0.2848],
    ],
)
ARCANITE = Structure.from_spacegroup(
    "Pnma",
    Lattice.orthorhombic(7.476, 5.763, 10.071),
    ["K", "K", "S", "O", "O", "O"],
    [
        [0.674, 0.25, 0.4104],
        [-0.0107, 0.25, 0.7045],
        [0.233, 0.25, 0.4198],
        [0.0379, 0.25, 0.4168],
        [0.2966, 0.25, 0.5589],
        [0.3012, 0.0410, 0.3520],
    ],
)
QUARTZ = Structure.from_spacegroup(
    "P3_221", Lattice.hexagonal(4.913, 5.405), ["Si", "O"], [[0.4697, 0, 2 / 3], [0.4135, 0.2669, 0.7858]]
)
LICOO2 = Structure.from_spacegroup(
    "R-3m", Lattice.hexagonal(2.816, 14.05), ["Co", "Li", "O"], [[0, 0, 0], [0, 0, 0.5], [0, 0, 0.2605]]
)
FLUORITE = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.463), ["Ca", "F"], [[0, 0, 0], [0.25] * 3])
LITHIA = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.62), ["O", "Li"], [[0, 0, 0], [0.25] * 3])
BLENDE = Structure.from_spacegroup("F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25] * 3])
GARNET = Structure.from_spacegroup(
    "Ia-3d",
    Lattice.cubic(12.008),
    ["Y", "Al", "Al", "O"],
    [[0.125, 0, 0.25], [0, 0, 0], [0.375, 0, 0.25], [-0.0306, 0.0512, 0.1496]],
)
CSCL = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3])


def bonds_per_site(structure, element):
    scene = build_scene(structure)
    site = next(i for i, s in enumerate(scene["sites"]) if s["e"] == element)
    return sum((i == site) + (j == site) for i, j, *_ in scene["bonds"])


def test_batio3_has_its_images_bonds_and_octahedron_and_a_free_barium():
    drawn = expand(build_scene(BATIO3))
    elements = [a["e"] for a in drawn["atoms"]]
    assert (elements.count("Ba"), elements.count("Ti"), elements.count("O")) == (8, 1, 6)
    pairs = ["".join(sorted((elements[i], elements[j]))) for i, j in drawn["bonds"]]
    assert sorted(pairs) == ["OTi"] * 6
    assert [p["e"] for p in drawn["polyhedra"]] == ["Ti"] and len(drawn["polyhedra"][0]["faces"]) == 8


@pytest.mark.parametrize(
    ("structure", "element", "coordination"),
    [
        (NACL, "Na", 6),
        (NACL, "Cl", 6),
        (RUTILE, "Ti", 6),
        (RUTILE, "O", 3),
        (SPINEL, "Mg", 4),
        (SPINEL, "Al", 6),
        (SPINEL, "O", 4),
        (SILICON, "Si", 4),
        (COPPER, "Cu", 0),
        (CSCL, "Cs", 8),
        (BATIO3, "Ba", 0),
        (CSPBI3, "Pb", 6),
        (CSPBI3, "Cs", 0),
        (GALENA, "Pb", 6),
        (MGB2, "Mg", 0),
        (MGB2, "B", 3),
        (TRIPHYLITE, "Li", 6),
        (TRIPHYLITE, "P", 4),
        (ARCANITE, "K", 0),
        (QUARTZ, "O", 2),
        (LITHIA, "O", 8),
    ],
)
def test_bonds_are_those_of_the_textbook(structure, element, coordination):
    assert bonds_per_site(structure, element) == coordination


def test_polyhedra_stand_on_the_less_electronegative_partner():
    assert {SPINEL[body["i"]].specie.symbol for body in build_scene(SPINEL)["polyhedra"]} == {"Mg", "Al"}
    assert build_scene(SILICON)["polyhedra"] == []


@pytest.mark.parametrize(
    ("structure", "bodies"),
    [
        (CSPBI3, {"Pb6"}),
        (BATIO3, {"Ti6"}),
        (NACL, {"Na6"}),
        (GALENA, {"Pb6"}),
        (FLUORITE, {"Ca8"}),
        (LITHIA, {"Li4"}),
        (BLENDE, {"Zn4"}),
        (QUARTZ, {"Si4"}),
        (LICOO2, {"Co6", "Li6"}),
        (SPINEL, {"Mg4", "Al6"}),
        (TRIPHYLITE, {"Li6", "Fe6", "P4"}),
        (ARCANITE, {"S4"}),
        (MGB2, set()),
        (COPPER, set()),
    ],
    ids=lambda value: value.composition.reduced_formula if isinstance(value, Structure) else "",
)
def test_polyhedra_are_those_a_chemist_expects(structure, bodies):
    scene = build_scene(structure)
    assert {
        scene["sites"][body["i"]]["e"] + str(len(body["corners"])) for body in scene["polyhedra"]
    } == bodies


def test_blocks_of_cells_hold_every_site_once_per_cell_without_images():
    scene = build_scene(RUTILE)
    drawn = expand(scene, (2, 1, 3), images=False, complete=False)
    assert len(drawn["atoms"]) == 6 * len(RUTILE)
    assert len(expand(scene, (2, 2, 2), images=False, complete=False)["bonds"]) > 8 * len(
        expand(scene, images=False, complete=False)["bonds"]
    )


def test_bonds_in_a_block_have_bonding_lengths():
    drawn = expand(build_scene(SPINEL), (2, 1, 1))
    for i, j in drawn["bonds"]:
        assert 1.7 < np.linalg.norm(np.subtract(drawn["atoms"][i]["p"], drawn["atoms"][j]["p"])) < 2.1


def test_a_primitive_cell_without_a_whole_polyhedron_gets_its_neighbours():
    scene = build_scene(cell_choice(NACL, "primitive"))
    assert len(expand(scene, complete=False)["polyhedra"]) < len(expand(scene, complete=True)["polyhedra"])
    assert expand(scene)["polyhedra"]


def drawn_bodies(structure):
    return Counter(body["e"] for body in expand(build_scene(structure))["polyhedra"])


def test_every_polyhedron_of_every_centre_is_drawn():
    # four formula units; lithium also on corners, edges and faces, two of the iron 0.12 Å from one
    assert drawn_bodies(TRIPHYLITE) == {"Li": 15, "Fe": 6, "P": 4}
    assert drawn_bodies(RUTILE) == {"Ti": 9} and drawn_bodies(BATIO3) == {"Ti": 1}
    scene = build_scene(GARNET)
    centres = {body["i"] for body in scene["polyhedra"]}
    assert (
        len(expand(scene)["polyhedra"])
        == sum(atom["site"] in centres for atom in expand(scene, complete=False)["atoms"])
        == 71
    )


@pytest.mark.parametrize("shift", [0.1, -0.1, 0.02, -0.02])
def test_atoms_near_a_face_are_drawn_on_both_sides_and_counted_once(shift):
    nudged = BATIO3.copy()
    nudged.translate_sites([0], [shift] * 3, frac_coords=False)
    scene = build_scene(nudged)
    assert sum(a["e"] == "Ba" for a in expand(scene)["atoms"]) == 8
    assert (
        scene["legend"] == [{"e": "Ba", "n": 1}, {"e": "Ti", "n": 1}, {"e": "O", "n": 3}]
        and len(scene["sites"]) == 5
    )
    assert len(expand(scene, (2, 1, 1), images=False, complete=False)["atoms"]) == 10
    nudged.translate_sites([0], [0.2] * 3 if shift > 0 else [-0.2] * 3, frac_coords=False)
    assert sum(a["e"] == "Ba" for a in expand(build_scene(nudged))["atoms"]) == 1


@pytest.mark.skipif(not shutil.which("node"), reason="no node to run the script of the viewer")
def test_the_script_of_the_viewer_repeats_cells_as_the_core_does():
    nudged = BATIO3.copy()
    nudged.translate_sites([0, 4], [-0.02, 0.01, 0.0])
    cases = [
        (build_scene(structure), repeat, images, complete)
        for structure in (nudged, TRIPHYLITE, RUTILE, MGB2, QUARTZ)
        for repeat, images, complete in (
            ((1, 1, 1), True, None),
            ((2, 1, 1), True, True),
            ((1, 2, 1), False, None),
            ((1, 1, 1), True, False),
        )
    ]
    script = (ROOT / "pages" / "_ui" / "viewer" / "draw.js").read_text()
    script += (
        "const cases = JSON.parse(require('fs').readFileSync(0)); "
        "console.log(JSON.stringify(cases.map((args) => expand(...args))));"
    )
    done = subprocess.run(
        ["node", "-e", script],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for case, repeated in zip(cases, json.loads(done.stdout), strict=True):
        expected = expand(case[0], case[1], images=case[2], complete=case[3])
        assert len(repeated["atoms"]) == len(expected["atoms"]) and len(repeated["bonds"]) == len(
            expected["bonds"]
        )
        # rounded to 1e-4 in the core
        assert np.allclose(
            [a["p"] for a in repeated["atoms"]], [a["p"] for a in expected["atoms"]], atol=1e-3
        )
        assert [body["e"] for body in repeated["polyhedra"]] == [body["e"] for body in expected["polyhedra"]]


def test_a_site_just_below_one_is_drawn_on_every_face():
    nudged = BATIO3.copy()
    nudged.translate_sites([0], [-1e-5] * 3)
    assert sum(a["e"] == "Ba" for a in expand(build_scene(nudged))["atoms"]) == 8


def test_frames_draw_without_pymatgen_structures_and_survive_noise():
    cell = {
        "lattice": BATIO3.lattice.matrix.tolist(),
        "atomic_numbers": [56, 22, 8, 8, 8],
        "frac_coords": BATIO3.frac_coords.tolist(),
    }
    scene = frame_scene(cell)
    assert len(expand(scene)["atoms"]) == 15 and scene["polyhedra"] == []
    flat = frame_scene(cell | {"lattice": [[1, 0, 0], [1, 0, 0], [0, 0, 1]]})
    assert flat["bonds"] == [] and len(flat["sites"]) == 5


@pytest.mark.parametrize(
    ("kind", "sites"), [("as given", 8), ("primitive", 2), ("conventional", 8), ("Niggli", 2)]
)
def test_the_same_crystal_in_other_cells(kind, sites):
    other = cell_choice(NACL, kind)
    assert len(other) == sites and other.volume / sites == pytest.approx(NACL.volume / 8)


def test_an_unknown_cell_is_refused():
    with pytest.raises(RequestError, match="Niggli"):
        cell_choice(NACL, "reduced")


def test_a_lattice_whose_reduction_does_not_end_is_one_sentence(monkeypatch):
    def fail(*_, **__):
        raise ValueError("can't find niggli")

    monkeypatch.setattr(Lattice, "get_niggli_reduced_lattice", fail)
    with pytest.raises(RequestError, match="No Niggli cell"):
        cell_choice(NACL, "Niggli")


@pytest.mark.parametrize("species", [{"Fe": 0.5, "Ni": 0.5}, {"Fe": 0.5}], ids=["shared", "half empty"])
def test_partly_occupied_sites_are_refused_with_the_reason(species):
    with pytest.raises(StructureParseError, match="partly occupied"):
        build_scene(Structure(Lattice.cubic(3.6), [species, "O"], [[0, 0, 0], [0.5] * 3]))


@pytest.mark.parametrize(
    ("symbols", "formula"),
    [
        (["O"] * 5, "O"),
        (["N", "N"], "N"),
        (["Li", "O"], "LiO"),
        (["O", "O", "Co", "Li"], "LiCoO2"),
        (["I", "I", "I", "Pb", "Cs"], "CsPbI3"),
        (["O", "O", "O", "Ti", "Sr"], "SrTiO3"),
    ],
)
def test_the_title_is_the_formula_unit_by_electronegativity_and_never_a_molecule(symbols, formula):
    row = Structure(
        Lattice.orthorhombic(4, 4, 2.5 * len(symbols)),
        symbols,
        [[0, 0, k / len(symbols)] for k in range(len(symbols))],
    )
    assert (
        describe(row).startswith(f"{formula}, {len(symbols)} atoms")
        and crystal_record(row, id="x", provenance={})["formula"] == formula
    )


@pytest.mark.parametrize("colour", ["#000000", "#0000af", "#4c4c4c", "#57178f", "#575961"])
def test_dark_colours_are_lightened_for_a_dark_ground_and_keep_their_hue(colour):
    light = lightened(colour)
    for ground in ("#171614", "#0e1117"):
        assert (
            (luminance(light) + 0.05) / (luminance(ground) + 0.05)
            >= 3.0
            > (luminance(colour) + 0.05) / (luminance(ground) + 0.05)
        )
    before, after = (rgb_to_hsv(*(int(c[k : k + 2], 16) / 255 for k in (1, 3, 5))) for c in (colour, light))
    assert before[1] < 0.1 or abs(before[0] - after[0]) < 0.05


def test_a_scene_carries_the_colours_of_both_themes():
    scene = build_scene(LICOO2)
    for name, colours in scene["palettes"].items():
        dark = scene["dark_palettes"][name]
        assert min(map(luminance, dark.values())) >= 0.14 and all(
            dark[e] == c for e, c in colours.items() if luminance(c) >= 0.14
        )
    assert scene["dark_palettes"]["VESTA"]["Co"] != scene["palettes"]["VESTA"]["Co"]


def test_coordination_in_words():
    words = coordination(build_scene(BATIO3))
    assert words[:2] == ["–", "6 O at 2.005 Å"] and words[2] == "2 Ti at 2.005 Å"


@pytest.mark.parametrize(
    "bundle",
    [
        (*SCRIPTS, "traces.js", "compare.js"),
        (*SCRIPTS, "mount.js"),
        ("draw.js", "camera.js", "picture.js", "gallery.js"),
    ],
)
def test_the_scripts_of_a_component_declare_every_name_once(bundle):
    text = "\n".join((ROOT / "pages" / "_ui" / "viewer" / name).read_text() for name in bundle)
    names = re.findall(r"^(?:const|let|function|class) (\w+)", text, re.MULTILINE)
    assert len(names) > 20 and sorted(names) == sorted(set(names))  # a name twice stops the whole script
