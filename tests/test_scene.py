"""What is drawn of cubic BaTiO3, counted by hand."""

from pymatgen.core import Lattice, Structure

from crystal_core.scene import build_scene, frame_scene

BATIO3 = Structure(Lattice.cubic(4.01), ["Ba", "Ti", "O", "O", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def test_batio3_has_its_images_bonds_and_octahedron():
    scene = build_scene(BATIO3)
    elements = [a["e"] for a in scene["atoms"]]
    assert (elements.count("Ba"), elements.count("Ti"), elements.count("O")) == (8, 1, 6)
    pairs = sorted("".join(sorted((elements[i], elements[j]))) for i, j in scene["bonds"])
    assert pairs.count("OTi") == 6 and "BaTi" not in pairs
    assert [p["e"] for p in scene["polyhedra"]].count("Ti") == 1
    assert len(scene["cell"]) == 12 and "BaTiO3" in scene["sentence"]


def test_frames_draw_without_pymatgen_structures():
    scene = frame_scene({"lattice": BATIO3.lattice.matrix.tolist(), "atomic_numbers": [56, 22, 8, 8, 8], "frac_coords": BATIO3.frac_coords.tolist()})
    assert len(scene["atoms"]) == 15 and scene["polyhedra"] == []


def test_supercells_multiply_sites():
    scene = build_scene(BATIO3, supercell=(2, 2, 2))
    assert len({a["site"] for a in scene["atoms"]}) == 40
