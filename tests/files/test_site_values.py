"""Moments and other numbers of the sites: read from each format, turned by magnetic
symmetry, never mixed up.
"""

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.electronic_structure.core import Magmom
from pymatgen.symmetry.maggroups import MagneticSpaceGroup

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_all, parse_text
from crystal_core.files.site_values import site_values_of
from crystal_core.files.uploads import parse_uploads

# MnF2 (rutile type): Mn at the corner up along c, Mn amid the cell down, as P4_2'/mnm' has it
MNF2 = """data_mnf2
_cell_length_a 4.8736
_cell_length_b 4.8736
_cell_length_c 3.2998
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_space_group_symop_magn_operation.id
_space_group_symop_magn_operation.xyz
1 x,y,z,+1
2 -x,-y,z,+1
3 -x,-y,-z,+1
4 x,y,-z,+1
5 -y+1/2,x+1/2,z+1/2,-1
6 y+1/2,-x+1/2,z+1/2,-1
7 y+1/2,-x+1/2,-z+1/2,-1
8 -y+1/2,x+1/2,-z+1/2,-1
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
Mn1 Mn 0 0 0 0.004
F1 F 0.305 0.305 0 0.009(2)
loop_
_atom_site_moment.label
_atom_site_moment.crystalaxis_x
_atom_site_moment.crystalaxis_y
_atom_site_moment.crystalaxis_z
Mn1 0 0 4.6(1)
"""
XYZ = (
    '2\nLattice="3 0 0 0 3 0 0 0 3" '
    "Properties=species:S:1:pos:R:3:magmoms:R:{width}:forces:R:3:charge:R:1 energy={energy}\n"
    "Fe 0 0 0 {first} 0.3 0 0.4 1.5\nO 1.5 1.5 1.5 {second} 0 0 0 -1.5\n"
)


def test_the_moments_of_an_antiferromagnet_follow_its_magnetic_symmetry():
    crystal = parse_text(MNF2)
    values = site_values_of(crystal)
    for site, moment, u in zip(crystal, values["moments"], values["columns"]["u_iso_or_equiv"], strict=True):
        if site.specie.symbol == "F":
            assert moment is None and u == 0.009
            continue
        up = np.allclose(site.frac_coords, 0)
        assert moment == pytest.approx([0, 0, 4.6 if up else -4.6]) and u == 0.004
    assert not values["along_c"] and not any("moment" in note for note in crystal.properties.get("notes", []))


def test_the_components_of_a_magnetic_file_lie_along_the_axes_of_its_oblique_cell():
    # hexagonal, γ = 120°: 2 µB along b stand at 120° to a, whatever the Cartesian axes of the cell
    text = MNF2.replace("gamma 90", "gamma 120").replace("Mn1 0 0 4.6(1)", "Mn1 0 2.0 0")
    lines = [line for line in text.splitlines() if line[:2] not in {f"{k} " for k in range(2, 9)}]
    crystal = parse_text("\n".join(lines))
    (moment,) = [m for m in site_values_of(crystal)["moments"] if m]
    a, b, _ = crystal.lattice.matrix
    assert np.linalg.norm(moment) == pytest.approx(2.0)
    assert moment @ (b / np.linalg.norm(b)) == pytest.approx(2.0)
    assert moment @ (a / np.linalg.norm(a)) == pytest.approx(-1.0)


def test_a_mirror_keeps_the_component_across_it_and_turns_the_others():
    # an axial vector: the mirror x,y,-z carries (1, 0, 3) to (-1, 0, 3)
    text = (
        MNF2.split("2 -x,-y,z,+1", maxsplit=1)[0]
        + "2 x,y,-z,+1\nloop_\n_atom_site_label\n_atom_site_type_symbol\n"
    )
    text += "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nMn1 Mn 0 0 0.2\n"
    text += "loop_\n_atom_site_moment.label\n" + "".join(
        f"_atom_site_moment.crystalaxis_{axis}\n" for axis in "xyz"
    )
    crystal = parse_text(text + "Mn1 1.0 0 3.0\n")
    moments = {
        round(site.frac_coords[2], 3): moment
        for site, moment in zip(crystal, site_values_of(crystal)["moments"], strict=True)
    }
    assert moments[0.2] == pytest.approx([1, 0, 3], abs=1e-6) and moments[0.8] == pytest.approx(
        [-1, 0, 3], abs=1e-6
    )


def test_moments_that_cannot_be_drawn_are_named():
    plain_symmetry = (
        MNF2.replace("_magn_operation.", "_operation_").replace(",+1\n", "\n").replace(",-1\n", "\n")
    )
    crystal = parse_text(plain_symmetry)
    assert [m is not None for m in site_values_of(crystal)["moments"]].count(True) == 1
    assert "no magnetic symmetry operations" in " ".join(crystal.properties["notes"])
    at_odds = parse_text(MNF2.replace("Mn1 0 0 4.6(1)", "Mn1 1.5 0 4.6"))  # the twofold axis forbids x
    assert not any(site_values_of(at_odds)["moments"]) and "differ" in " ".join(at_odds.properties["notes"])
    other = parse_text(MNF2.replace("crystalaxis_", "spherical_"))
    assert not site_values_of(other)["moments"] and "not drawn" in " ".join(other.properties["notes"])
    unknown = parse_text(MNF2.replace("\nMn1 0 0 4.6", "\nMn7 0 0 4.6"))
    assert "Mn7, which is not in its list of atoms" in " ".join(unknown.properties["notes"])


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (-3.5, [0, -3.5, 0]),
        ([1, 2, 2], [1, 2, 2]),
        (json.loads(json.dumps(Magmom(2.0, saxis=[1, 0, 0]).as_dict(), default=list)), [2, 0, 0]),
    ],
)
def test_the_moments_of_json_are_vectors_or_signed_sizes_along_c(moment, expected):
    lattice = Lattice([[0, 0, 4], [4, 0, 0], [0, 4, 0]])  # c along y
    data = Structure(lattice, ["Fe", "O"], [[0] * 3, [0.5] * 3]).as_dict()
    data["sites"][0]["properties"] = {"magmom": moment, "coordination_no": 6, "forces": [0, 3, 4]}
    values = site_values_of(parse_text(json.dumps(data)))
    assert values["moments"] == [pytest.approx(expected), None]
    assert values["along_c"] is (moment == -3.5)
    assert values["columns"] == {"coordination_no": [6, None], "force": [5, None]}


def test_the_values_of_xyz_frames_stay_with_their_atoms_and_frames():
    text = XYZ.format(width=1, energy=-1, first=2.2, second=-0.1) + XYZ.format(
        width=1, energy=-2, first=-2.0, second=0
    )
    frames = parse_all(text)
    assert [site_values_of(one)["moments"] for one in frames] == [
        [[0, 0, 2.2], [0, 0, -0.1]],
        [[0, 0, -2.0], [0, 0, 0]],
    ]
    assert site_values_of(frames[0])["columns"] == {"force": [0.5, 0], "charge": [1.5, -1.5]}
    (vector,) = parse_all(XYZ.format(width=3, energy=0, first="0 1 0", second="0 0 0"))
    assert site_values_of(vector)["moments"] == [[0, 1, 0], [0, 0, 0]]
    (absurd,) = parse_all(XYZ.format(width=1, energy=0, first=2e6, second=0))
    assert not site_values_of(absurd)["moments"] and "100 µB" in " ".join(absurd.properties["notes"])


def test_an_upload_keeps_the_values_across_the_process_that_reads_it():
    (one,) = parse_uploads([("mnf2.mcif", MNF2.encode())])
    assert site_values_of(one.structure) == site_values_of(parse_text(MNF2))
    assert site_values_of(Structure(Lattice.cubic(3), ["Fe"], [[0] * 3]))["moments"] == []


SUPERSPACE = f"""data_wave
_space_group.magn_ssg_name "P-1'(0bg)0"
_cell_modulation_dimension 1
{"".join(f"_cell_length_{x} {a}{chr(10)}" for x, a in zip("abc", (4.1, 5.2, 6.3), strict=True))}
{"".join(f"_cell_angle_{x} 90{chr(10)}" for x in ("alpha", "beta", "gamma"))}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Cr1 Cr 0.1 0.2 0.3
O1 O 0.4 0.6 0.1
loop_
_atom_site_moment_Fourier.atom_site_label
_atom_site_moment_Fourier_param.cos
Cr1 1.5
"""
SUPERSPACE_OPERATIONS = """loop_
_space_group_symop_magn_ssg_operation.algebraic
x1,x2,x3,x4,+1
-x1,-x2,-x3,-x4,+1
loop_
_space_group_symop_magn_ssg_centering.algebraic
x1,x2,x3,x4,+1
x1+1/2,x2+1/2,x3,x4+1/2,-1
"""


def test_a_magnetic_wave_is_said_and_its_basic_structure_is_whole():
    crystal = parse_text(SUPERSPACE + SUPERSPACE_OPERATIONS)
    assert crystal.composition.formula == "Cr4 O4"
    notes = " ".join(crystal.properties["notes"])
    assert "modulated crystal" in notes and "not drawn: they form a wave" in notes
    with pytest.raises(StructureParseError, match=r"magnetic group P-1'.* without its operations"):
        parse_text(SUPERSPACE)


def test_components_may_have_the_names_of_an_earlier_dictionary():
    text = SUPERSPACE.split("loop_\n_atom_site_moment", maxsplit=1)[0].replace(
        "magn_ssg_name", "name_H-M_alt 'P 1' #"
    )
    text = text.replace("_cell_modulation_dimension 1\n", "") + (
        "loop_\n_atom_site_moment_label\n_atom_site_moment_crystalaxis_mx\n_atom_site_moment_crystalaxis_my\n"
        "_atom_site_moment_crystalaxis_mz\nCr1 0 -2.5 1\n"
    )
    assert site_values_of(parse_text(text))["moments"] == [pytest.approx([0, -2.5, 1]), None]


GROUPS = ((9, 40), (14, 80), (62, 448), (128, 410), (148, 20), (161, 71), (167, 108), (182, 183), (194, 268))


@pytest.mark.parametrize("numbers", GROUPS)
def test_moments_of_magnetic_groups_turn_as_axial_vectors_in_the_axes_of_the_cell(numbers):
    group = MagneticSpaceGroup(list(numbers))
    lengths = np.array([8.1, 8.1 if numbers[0] > 74 else 9.3, 15.7])
    angles = (90, 98 if numbers[0] < 16 else 90, 120 if numbers[0] > 142 else 90)
    place, moment = np.array([0.11, 0.17, 0.33]), np.array([1.3, -0.7, 2.1])
    text = "data_x\n" + "".join(
        f"_cell_{name} {value}\n"
        for name, value in zip(
            ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"),
            (*lengths, *angles),
            strict=True,
        )
    )
    operations = list(group.symmetry_ops)
    text += "loop_\n_space_group_symop_magn_operation.xyz\n"
    text += "".join(f"'{one.as_xyzt_str()}'\n" for one in operations)
    text += "loop_\n_atom_site_label\n" + "".join(f"_atom_site_fract_{x}\n" for x in "xyz")
    text += "Mn1 0.11 0.17 0.33\nloop_\n_atom_site_moment.label\n"
    text += "".join(f"_atom_site_moment.crystalaxis_{x}\n" for x in "xyz") + "Mn1 1.3 -0.7 2.1\n"
    crystal = parse_text(text)
    assert len(crystal) == len(operations)
    unit = crystal.lattice.matrix / np.linalg.norm(crystal.lattice.matrix, axis=1)[:, None]
    moments = site_values_of(crystal)["moments"]
    for one in operations:
        rotation = np.array(one.rotation_matrix)
        image = rotation @ place + one.translation_vector
        # in fractions of the cell, components over lengths, an operation is its matrix
        turned = one.time_reversal * np.linalg.det(rotation) * (rotation @ (moment / lengths)) * lengths
        gaps = crystal.frac_coords - image
        site = int(np.argmin(np.abs(gaps - np.round(gaps)).max(axis=1)))
        assert moments[site] == pytest.approx(turned @ unit, abs=1e-4)
