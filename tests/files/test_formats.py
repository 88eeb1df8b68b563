"""POSCAR, XDATCAR, extended XYZ and JSON as programs and databases write them, and crystals
that look like slips.
"""

import json

import numpy as np
import pytest

from crystal_core.errors import StructureParseError
from crystal_core.files.encoding import text_of
from crystal_core.files.parse import parse_all, parse_each, parse_text


def poscar(title="a crystal", scale="1.0", vectors=("4.2 0 0", "0 4.2 0", "0 0 4.2"), **more):
    lines = [title, scale, *vectors, more.get("symbols", "Cs Br"), more.get("counts", "1 1")]
    lines += [more.get("mode", "Direct"), *more.get("rows", ("0 0 0", "0.5 0.5 0.5"))]
    return "\n".join(lines) + "\n"


def distance(structure):
    return structure.get_distance(0, 1)


UNIT = ("1 0 0", "0 1 0", "0 0 1")


@pytest.mark.parametrize(
    "text",
    [
        poscar(),
        poscar(title="{CsBr}"),
        poscar(title="data_x"),
        poscar(title="loop_"),
        poscar(title="8"),
        poscar(title=""),
        poscar(scale="4.2", vectors=UNIT),
        poscar(scale="4.2 4.2 4.2", vectors=UNIT),
        poscar(scale="-74.088", vectors=UNIT),
        poscar(scale="-74.088", vectors=UNIT, mode="Cartesian"),
        poscar(scale="4.2 4.2 4.2", vectors=UNIT, mode="cart"),
        poscar(scale="1.0 # scale", counts="1 1 ! two", mode="direct # mode"),
        poscar(vectors=("4.2D0 0 0", "0 0.42d+1 0", "0 0 42.0D-1"), rows=("0 0 0", ".5D0 .5 .5")),
        poscar(symbols="CS br"),
        poscar(symbols="Cs_sv Br/0a1b2c"),
        poscar(mode="Selective dynamics\nDirect", rows=("0 0 0 T T T", ".5 .5 .5 F F F")),
        poscar(rows=("0 0 0", ".5 .5 .5", "", "0.1 0 0", "0 0.1 0")),
    ],
)
def test_a_poscar_is_read_by_the_rules_of_vasp(text):
    crystal = parse_text(text)
    assert crystal.composition.formula == "Cs1 Br1" and crystal.lattice.abc == pytest.approx(
        (4.2,) * 3, abs=1e-3
    )
    assert distance(crystal) == pytest.approx(4.2 * 3**0.5 / 2, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (poscar(counts="2 2"), "announces 4 atoms, but has positions for 2"),
        (poscar(symbols="Cs"), "names 1 elements but counts 2"),
        (poscar(symbols="Cs Qq"), "'Qq' in this POSCAR is no chemical element"),
        (poscar(scale="0"), "positive factor"),
    ],
)
def test_a_poscar_that_does_not_add_up_is_refused(text, says):
    with pytest.raises(StructureParseError, match=says):
        parse_text(text)


def xdatcar(frames, *, repeat=False):
    head = "CsBr\n1.0\n4.2 0 0\n0 4.2 0\n0 0 4.2\nCs Br\n1 1\n"
    parts = [f"Direct configuration= {k}\n0 0 0\n0.5 0.5 {z}\n" for k, z in enumerate(frames, start=1)]
    return head + (head if repeat else "").join(parts)


@pytest.mark.parametrize("repeat", [False, True])
def test_the_frames_of_an_xdatcar_are_a_trajectory(repeat):
    frames = parse_all(xdatcar([0.5, 0.52, 0.55], repeat=repeat))
    assert [round(one.frac_coords[1][2], 2) for one in frames] == [0.5, 0.52, 0.55]
    assert [one.properties["frame"] for one in frames] == [{"index": k, "of": 3} for k in range(3)]
    assert frames[1].properties["notes"][0] == "Frame 2 of 3."


def test_a_long_trajectory_is_thinned_aloud():
    frames = parse_all(xdatcar([0.5] * 450))
    assert len(frames) == 200 and frames[-1].properties["frame"] == {"index": 449, "of": 450}
    assert "200 of 450 frames are read" in " ".join(frames[0].properties["notes"])


def test_the_energies_of_xyz_frames_are_kept():
    cell = 'Lattice="4.2 0 0 0 4.2 0 0 0 4.2" Properties=species:S:1:pos:R:3'
    frame = f"2\n{cell} energy={{}}\nCs 0 0 0\nBr 2.1 2.1 2.1\n"
    frames = parse_all(frame.format(-6.25) + frame.format("-6.5e0"))
    assert [one.properties["frame"]["energy"] for one in frames] == [-6.25, -6.5]
    apart = parse_all(frame.format(-1) + frame.format(-2).replace("Br", "Cl"))
    assert not any("frame" in one.properties for one in apart)


def test_species_of_xyz_are_elements():
    frame = '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3:magmoms:R:1\n{} 0 0 0 2.2\n'
    assert parse_text(frame.format("26")).composition.formula == "Fe1"
    for label in ("Fe1", "X", "Wat", "0", "119"):
        with pytest.raises(StructureParseError, match="no chemical element"):
            parse_text(frame.format(label))


def test_species_of_xyz_that_count_from_one_may_be_types():
    head = '2\nLattice="3 0 0 0 3 0 0 0 3" Properties={}:1:pos:R:3\n'
    rows = "1 0 0 0\n{} 1.5 1.5 1.5\n"
    said, ordinary, columns_of_numbers = (
        " ".join(parse_text(text).properties.get("notes", []))
        for text in (
            (head.format("species:S") + rows.format(2)),
            (head.format("species:S") + rows.format(3)),
            (head.format("Z:I") + rows.format(2)),
        )
    )
    assert "numbers from 1 to 2, read as atomic numbers (H, He)" in said
    assert "atomic numbers" not in ordinary + columns_of_numbers


SITE = {"species": [{"element": "Cs", "occu": 1}], "abc": [0, 0, 0], "label": "Cs"}
OTHER = {"species": [{"element": "Br", "occu": 1}], "abc": [0.5, 0.5, 0.5]}
STRUCTURE = {"lattice": {"matrix": [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]]}, "sites": [SITE, OTHER]}
OPTIMADE = {
    "lattice_vectors": [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]],
    "species": [
        {"name": "one", "chemical_symbols": ["Cs"], "concentration": [1.0]},
        {"name": "two", "chemical_symbols": ["Br"], "concentration": [1.0]},
    ],
    "species_at_sites": ["one", "two"],
    "cartesian_site_positions": [[0, 0, 0], [2.1, 2.1, 2.1]],
    "dimension_types": [1, 1, 1],
}


@pytest.mark.parametrize(
    "data",
    [
        STRUCTURE,
        {"data": [{"material_id": "mp-1", "structure": STRUCTURE, "initial_structures": [STRUCTURE] * 3}]},
        [{"@class": "ComputedStructureEntry", "energy": -1.0, "structure": STRUCTURE}],
        {"entries": {"GGA": {"structure": STRUCTURE}}},
        {"some": {"deep": [{"place": STRUCTURE}]}},
        {"data": [{"id": "1", "type": "structures", "attributes": OPTIMADE}], "meta": {}},
        {"attributes": OPTIMADE},
    ],
    ids=["structure", "document", "entry", "entries", "deep", "OPTIMADE", "OPTIMADE entry"],
)
def test_a_crystal_is_found_inside_json(data):
    (crystal,) = parse_all(json.dumps(data))
    assert crystal.composition.formula == "Cs1 Br1" and distance(crystal) == pytest.approx(3.637, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"atomic_numbers": [1.9], "frac_coords": [[0, 0, 0]]}, "'1.9' is no atomic number"),
        ({"atomic_numbers": [True], "frac_coords": [[0, 0, 0]]}, "'True' is no atomic number"),
        ({"atomic_numbers": [55], "frac_coords": [[0, 0, True]]}, "'True' should be a number"),
        ({"atomic_numbers": [55], "frac_coords": [[0, 0]]}, "does not have three numbers"),
        ({"sites": [{"species": [{"element": "Qq", "occu": 1}], "abc": [0, 0, 0]}]}, "no chemical element"),
        ({"sites": [{"species": [{"element": "Cs", "occu": 1.5}], "abc": [0, 0, 0]}]}, "add up to 1.5"),
    ],
)
def test_json_that_is_no_crystal_is_refused(change, says):
    with pytest.raises(StructureParseError, match=says):
        parse_text(json.dumps({"lattice": [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]], **change}))


def test_an_empty_site_of_optimade_is_named_and_a_shared_one_kept():
    data = json.loads(json.dumps(OPTIMADE))
    data["species"][1] |= {"chemical_symbols": ["Br", "vacancy"], "concentration": [0.9, 0.1]}
    (crystal,) = parse_each(json.dumps({"attributes": data}), purpose="view")
    assert crystal.properties["occupancy"]["shares"][1] == {"Br": 0.9}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_encodings_and_line_ends_give_the_same_crystal(encoding):
    for end in ("\n", "\r\n", "\r"):
        content = poscar(title="é").replace("\n", end).encode(encoding)
        assert parse_text(text_of(content)).composition.formula == "Cs1 Br1"


def remarks(a, species, coords=((0, 0, 0), (0.5, 0.5, 0.5))):
    data = {"lattice": (np.eye(3) * a).tolist(), "frac_coords": [list(x) for x in coords]}
    numbers = {"Cs": 55, "Br": 35, "K": 19, "F": 9, "Fe": 26, "Li": 3, "H": 1, "Ar": 18}
    (crystal,) = parse_each(
        json.dumps(data | {"atomic_numbers": [numbers[s] for s in species]}), purpose="view"
    )
    return " ".join(crystal.properties.get("notes", []))


def test_lengths_in_bohr_a_lonely_atom_and_a_light_salt_are_remarked_on():
    assert (
        not remarks(4.2, ["Cs", "Br"]) and not remarks(2.87, ["Fe", "Fe"]) and not remarks(5.0, ["Ar", "Ar"])
    )
    assert "bohr" in remarks(4.2 / 0.529177, ["Cs", "Br"]) and "bohr" in remarks(
        2.87 / 0.529177, ["Fe", "Fe"]
    )
    lonely = remarks(9.0, ["K", "F", "F"], ((0, 0, 0), (0.3, 0, 0), (0.5, 0.5, 0.5)))
    assert "F (site 3) has no neighbour within 1.5" in lonely and "very low for an ionic solid" in lonely


PLAIN = {
    "lattice": STRUCTURE["lattice"]["matrix"],
    "atomic_numbers": [55, 35],
    "frac_coords": [[0, 0, 0], [0.5] * 3],
}
ATOMS = {"cell": PLAIN["lattice"], "numbers": [55, 35], "positions": [[0, 0, 0], [2.1] * 3]}


def test_json_lines_hold_one_document_each():
    documents = [STRUCTURE, {"attributes": OPTIMADE}, ATOMS, {"id": 1, "structure": STRUCTURE}, PLAIN]
    text = "\n".join(map(json.dumps, documents))
    for written in (text, text + "\n", text.replace("\n", "\n\n"), text.replace("\n", "\r\n")):
        crystals = parse_all(written)
        assert [one.composition.formula for one in crystals] == ["Cs1 Br1"] * 5


def test_a_bad_line_of_json_lines_loses_no_other():
    good = json.dumps(STRUCTURE)
    assert "Line 1 is not valid JSON" in str(parse_each(f"{good[:-9]}\n{good}")[0])
    first, second, third, fourth = parse_each("\n".join([good, good[:-9], '{"a": 1}', good]))
    assert first.composition == fourth.composition
    assert "Line 2 is not valid JSON" in str(second) and "JSON of line 3 holds no crystal" in str(third)
    with pytest.raises(StructureParseError, match="201 crystals; at most 200"):
        parse_all("\n".join([good] * 201))


@pytest.mark.parametrize(
    "text", [json.dumps(STRUCTURE, indent=1)[:-9], json.dumps(STRUCTURE)[:-9], "[1]\n[2]"]
)
def test_a_json_text_that_breaks_off_is_no_json_lines(text):
    with pytest.raises(StructureParseError, match="This is not valid JSON"):
        parse_each(text)


def test_a_damaged_frame_of_an_xdatcar_is_refused_and_never_read_in_another_cell():
    text = (
        xdatcar([0.5, 0.52, 0.55], repeat=True)
        .replace("4.2 0 0", "4.4 0 0", 2)
        .replace("4.4 0 0", "4.2 0 0", 1)
    )
    assert [round(one.lattice.a, 1) for one in parse_all(text)] == [4.2, 4.4, 4.2]
    lines = text.splitlines()
    for lost in range(7, len(lines)):  # any line after the first cell
        frames = parse_each("\n".join(lines[:lost] + lines[lost + 1 :]))
        for one in frames:
            if not isinstance(one, StructureParseError) and len(frames) == 3:
                frame = one.properties["frame"]["index"]
                assert round(one.lattice.a, 1) == (4.4 if frame == 1 else 4.2), lost
    first, second, third = parse_each("\n".join(lines[:12] + lines[13:]))
    assert "before frame 2 of this XDATCAR" in str(second) and first.lattice.a == third.lattice.a


def test_rows_of_xyz_have_the_columns_that_it_announces():
    frame = '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3:forces:R:3\n{}\n'
    assert parse_text(frame.format("Fe 0 0 0 0 0 1")).properties.get("notes") is None
    with pytest.raises(StructureParseError, match="Atom 1 of this XYZ file has too few values"):
        parse_text(frame.format("Fe 0 0 0 0 1"))
    assert "8 values for 7 columns" in parse_text(frame.format("Fe 0 0 0 0 0 1 1")).properties["notes"][0]
    plain = '1\nLattice="3 0 0 0 3 0 0 0 3"\nFe 0 0 0 0.5\n'
    assert parse_text(plain).properties.get("notes") is None


def test_what_follows_the_positions_of_a_poscar_is_said_unless_it_is_of_a_run():
    for rest in ("\n0 0 1\n0 0 0\n", "Lattice velocities and vectors\n1\n", "Cartesian\n0 0 1\n"):
        assert parse_text(poscar() + rest).properties.get("notes") is None
    assert "The line 'CsBr' follows the 2 atoms" in parse_text(poscar() + "CsBr\n").properties["notes"][0]


@pytest.mark.parametrize(
    "between", ["", "\n", "\n0 0 1\n0 0 0\n\n", "Lattice velocities and vectors\n1\n0 0 0\n"]
)
@pytest.mark.parametrize("second", [poscar(), poscar(title=""), poscar(title="5.1 K", symbols="K I")])
def test_a_second_poscar_in_a_file_is_said(between, second):
    notes = parse_text(poscar() + between + second).properties["notes"]
    assert "follows the 2 atoms that the POSCAR counts; nothing from there on is read" in " ".join(notes)


@pytest.mark.parametrize("end", ["\x1a", "\r\n\x1a\x1a", "\0" * 500])
def test_a_file_ends_before_the_marks_and_zeros_of_its_last_block(end):
    crystal = parse_text(text_of((poscar() + end).encode()))
    assert len(crystal) == 2 and crystal.properties.get("notes") is None


def vasp4(title, flags):
    """Two atoms without a line of symbols, with the flags of selective dynamics."""
    more = {"symbols": "1 1", "counts": "Selective dynamics", "mode": "Direct"}
    return poscar(title=title, **more, rows=tuple(f"{x} {x} {x} {flags}" for x in (0, 0.5)))


@pytest.mark.parametrize("flags", ["T T T", "F F F", ".TRUE. .FALSE. F", "t t f"])
def test_flags_of_selective_dynamics_are_no_fluorine_or_tritium(flags):
    assert parse_text(vasp4("Cs Br", flags)).composition.formula == "Cs1 Br1"
    with pytest.raises(StructureParseError, match="names no elements"):
        parse_text(vasp4("in as", flags))
    named = (
        vasp4("any", flags).replace(f"0 {flags}", f"0 {flags} Cs").replace(f"0.5 {flags}", f"0.5 {flags} F")
    )
    assert parse_text(named).composition.formula == "Cs1 F1"


@pytest.mark.parametrize(
    ("ends", "says"),
    [(("Cs", "Br"), ""), (("Br", "Cs"), "atom 1 ends with Br, but"), (("Cs", "Rb"), "atom 2 ends with Rb")],
)
def test_elements_at_the_ends_of_rows_are_compared_with_the_line_of_symbols(ends, says):
    crystal = parse_text(
        poscar(rows=tuple(f"{x} {x} {x} {end}" for x, end in zip((0, 0.5), ends, strict=True)))
    )
    notes = " ".join(crystal.properties.get("notes", []))
    assert crystal.composition.formula == "Cs1 Br1" and says in notes and bool(says) == bool(notes)


def test_elements_at_the_ends_of_rows_are_compared_with_a_title_that_names_elements():
    ends = {"symbols": "1 1", "counts": "Direct", "mode": "0 0 0 Cs", "rows": (".5 .5 .5 Br",)}
    for title, says in (
        ("Br Cs", "atom 1 ends with Cs, which is read, but the title"),
        ("Cs Br", ""),
        ("x y", ""),
    ):
        crystal = parse_text(poscar(title=title, **ends))
        notes = " ".join(crystal.properties.get("notes", []))
        assert crystal.species[0].symbol == "Cs" and says in notes and bool(says) == bool(notes)


def test_a_row_of_positions_is_not_taken_for_the_line_above_them():
    with pytest.raises(StructureParseError, match="Line 8 of this POSCAR should say Direct"):
        parse_text(poscar(mode="0 0 0", rows=("0.5 0.5 0.5", "0 0 0.1")))


def test_a_title_may_name_the_elements_with_their_counts():
    text = poscar(title="Cs1 Br1", symbols="1 1", counts="Direct", mode="0 0 0", rows=("0.5 0.5 0.5",))
    assert parse_text(text).composition.formula == "Cs1 Br1"
    with pytest.raises(StructureParseError, match="names no elements"):
        parse_text(text.replace("Cs1 Br1", "Cs2 Br1"))


def xyz(shifts, comment=""):
    cell = 'Lattice="4.2 0 0 0 4.2 0 0 0 4.2" Properties=species:S:1:pos:R:3'
    return "".join(
        f"2\n{cell} {comment.format(k)}\nCs 0 0 0\nBr 2.1 2.1 {2.1 + z}\n" for k, z in enumerate(shifts)
    )


def cifs(names, shifts):
    cell = "_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n" + "".join(
        f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma")
    )
    loop = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
    return "".join(
        f"data_{name}\n{cell}{loop}Cs 0 0 0\nBr 0.5 0.5 {0.5 + z / 4}\n"
        for name, z in zip(names, shifts, strict=True)
    )


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        pytest.param(xyz([0, 0.1, 0.2]), True, id="small steps"),
        pytest.param(xyz([0, 2.1, 0]), False, id="other arrangements"),
        pytest.param(xyz([0, 0.1]), False, id="a pair"),
        pytest.param(xyz([0, 2.1], "frame={}"), True, id="numbered"),
        pytest.param(xyz([0, 0.01, 0.02], "model=kldm seed=4"), False, id="candidates of a run"),
        pytest.param(cifs(["image0", "image1", "image2"], [0, 0.1, 0.2]), True, id="counted blocks"),
        pytest.param(cifs(["cubic", "polar", "other"], [0, 0.1, 0.2]), False, id="named blocks"),
        pytest.param(cifs(["mp-7", "mp-9", "mp-40"], [0, 0.1, 0.2]), False, id="known crystals"),
    ],
)
def test_frames_of_a_path_are_told_from_crystals_that_share_a_file(text, is_path):
    read = parse_all(text)
    assert [one.properties.get("frame", {}).get("index") for one in read] == (
        list(range(len(read))) if is_path else [None] * len(read)
    )
