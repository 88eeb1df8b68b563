"""PDB files with a cell: columns, symmetry, models; what is damaged or ambiguous is
refused and never misread.
"""

import numpy as np
import pytest

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_all, parse_each, parse_text


def cryst(a=4.2, b=4.2, c=4.2, angles=(90, 90, 90), group="P 1"):
    return f"CRYST1{a:9.3f}{b:9.3f}{c:9.3f}" + "".join(f"{x:7.2f}" for x in angles) + f" {group:<11s}{1:4d}"


def atom(name, place, element="", share="  1.00", **more):
    record, n, residue = more.get("record", "ATOM"), more.get("n", 1), more.get("residue", "MOL A   1")
    start = f"{record:<6s}{n:5d} {name:<4s} {residue:<10s}   "
    return start + "".join(f"{x:8.3f}" for x in place) + f"{share:>6s}  0.00          {element:>2s}"


def pdb(*atoms, head=None):
    return "\n".join(["HEADER    CRYSTAL", head or cryst(), *atoms, "END", ""])


CAESIUM = atom("CS", (0, 0, 0), "CS")
BROMIDE = atom("BR", (2.1, 2.1, 2.1), "BR", n=2)


def test_a_pdb_with_a_cell_is_a_crystal():
    crystal = parse_text(pdb(CAESIUM, BROMIDE))
    assert crystal.composition.formula == "Cs1 Br1" and crystal.lattice.abc == pytest.approx((4.2,) * 3)
    assert crystal.get_distance(0, 1) == pytest.approx(3.637, abs=1e-3)
    assert not crystal.properties.get("notes")


def test_pdb_files_of_ase_come_back():
    import io

    import ase.io
    from ase.build import bulk
    from pymatgen.io.ase import AseAtomsAdaptor

    for atoms in (bulk("ZnO", "wurtzite", a=3.25, c=5.2), bulk("NaCl", "rocksalt", a=5.64)):
        text = io.StringIO()
        ase.io.write(text, [atoms, atoms], format="proteindatabank")
        first, second = parse_all(text.getvalue())
        assert second.properties["frame"] == {"index": 1, "of": 2} and first.composition == second.composition
        right = AseAtomsAdaptor.get_structure(atoms)
        assert np.allclose(
            np.sort(first.distance_matrix.ravel()), np.sort(right.distance_matrix.ravel()), atol=5e-3
        )


def test_the_space_group_of_a_pdb_makes_the_whole_cell():
    crystal = parse_text(
        pdb(
            atom("MG", (0, 0, 0), "MG"),
            atom("O", (2.106, 2.106, 2.106), "O", n=2),
            head=cryst(4.212, 4.212, 4.212, group="F m -3 m"),
        )
    )
    assert crystal.composition.formula == "Mg4 O4" and crystal.density == pytest.approx(3.58, abs=0.01)
    rhombohedral = cryst(4.913, 4.913, 5.405, (90, 90, 120), group="P 32 2 1")
    quartz = [atom("SI", (1.1546, 1.9998, 0), "SI"), atom("O", (1.3725, 1.1365, 0.643), "O", n=2)]
    assert parse_text(pdb(*quartz, head=rhombohedral)).composition.formula.count("Si") == 1


def spinel(*places, group="F d -3 m"):
    kinds = zip(("ZN", "GA", "O"), places, strict=False)
    rows = [
        atom(name, np.array(place) * 8.33, name, n=n, residue=f"MOL A   {n}")
        for n, (name, place) in enumerate(kinds, start=1)
    ]
    return pdb(*rows, head=cryst(8.33, 8.33, 8.33, group=group))


@pytest.mark.parametrize(
    ("origin", "places"),
    [
        (1, ([0, 0, 0], [0.625] * 3, [0.386] * 3)),
        (2, ([0.125] * 3, [0.5] * 3, [0.261] * 3)),
    ],
)
def test_of_two_origins_the_one_that_keeps_the_atoms_apart_is_read(origin, places):
    crystal = parse_text(spinel(*places))
    assert crystal.composition.formula == "Zn8 Ga16 O32"
    assert f":{origin}" in crystal.properties["notes"][0]
    assert parse_text(spinel(*places, group=f"F d -3 m:{origin}")).composition == crystal.composition


def test_an_origin_that_nothing_tells_is_refused_without_advice_on_cif_tags():
    with pytest.raises(StructureParseError, match="of this PDB file, F d -3 m, has several origins"):
        parse_text(spinel([0, 0, 0]))


def test_each_model_has_its_own_cell_and_a_bad_one_loses_no_other():
    models = []
    for a in (4.2, 4.4, 4.6):
        models += [cryst(a, a, a), "SCALE1" + " " * 4 + f"{1 / a:10.6f}  0.000000  0.000000        0.00000"]
        models += ["MODEL     1", CAESIUM, atom("BR", (a / 2,) * 3, "BR", n=2), "ENDMDL"]
    crystals = parse_each("\n".join(models))
    assert [round(one.lattice.a, 1) for one in crystals] == [4.2, 4.4, 4.6]
    assert all(np.allclose(one.frac_coords[1], 0.5, atol=1e-3) for one in crystals)
    models[10] = models[10].replace("BR  ", "??  ").replace("BR", "??")
    assert [isinstance(one, StructureParseError) for one in parse_each("\n".join(models))] == [
        False,
        True,
        False,
    ]


def test_a_file_that_ends_within_a_model_is_said():
    whole = pdb("MODEL        1", CAESIUM, BROMIDE, "ENDMDL")
    assert "ends within a model" not in " ".join(parse_text(whole).properties.get("notes", []))
    cut = whole[: whole.index(BROMIDE)]
    assert "ends within a model" in " ".join(parse_text(cut).properties["notes"])
    assert not parse_text(pdb(CAESIUM, BROMIDE).replace("END\n", "")).properties.get("notes")


def test_shares_and_split_atoms_of_a_pdb_are_kept():
    mixed = pdb(
        CAESIUM, atom("BR", (2.1,) * 3, "BR", " 0.60", n=2), atom("CL", (2.1,) * 3, "CL", " 0.40", n=3)
    )
    crystal = parse_text(mixed, purpose="view")
    assert crystal.properties["occupancy"]["formula"] == "CsBr0.6Cl0.4"
    empty = pdb(*(one[:54] + "  0.00" + one[60:] for one in (CAESIUM, BROMIDE)))
    assert "All occupancies of this PDB file are 0" in " ".join(parse_text(empty).properties["notes"])


def test_atoms_of_several_chains_keep_their_elements():
    crystal = parse_text(
        pdb(
            atom("CS", (0, 0, 0), "CS", residue="MOL B   1"),
            atom("BR", (2.1, 2.1, 2.1), "BR", residue="MOL A   1"),
            atom("CS", (4.2, 0, 0), "CS", residue="MOL B   1"),
            atom("BR", (6.3, 2.1, 2.1), "BR", residue="MOL A   1"),
            head=cryst(8.4),
        )
    )
    assert [site.specie.symbol for site in crystal] == ["Cs", "Br", "Cs", "Br"]


@pytest.mark.parametrize(
    ("name", "element"),
    [("CS", "Cs"), ("NA", "Na"), ("FE", "Fe"), (" O", "O"), (" Na ", "Na"), ("SI", "Si"), (" H1", "H")],
)
def test_an_element_is_taken_from_the_name_where_only_one_is_possible(name, element):
    crystal = parse_text(pdb(atom(name, (0, 0, 0)), BROMIDE))
    assert crystal[0].specie.symbol == element
    assert "elements in columns 77 and 78" in " ".join(crystal.properties["notes"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (pdb(CAESIUM, BROMIDE, head="REMARK"), "has no cell, so it is a molecule"),
        (pdb(CAESIUM, BROMIDE, head=cryst(1, 1, 1)), "has no cell, so it is a molecule"),
        (pdb(CAESIUM, BROMIDE, head=cryst()[:40]), "line CRYST1 of this PDB file"),
        (pdb(CAESIUM, BROMIDE, head=cryst(group="Q 7")), "space group of this PDB file, 'Q 7', is not known"),
        (pdb(CAESIUM, BROMIDE, head=cryst(0.2, 0.2, 0.2)), "too little for an atom"),
        (pdb(), "lists no atoms"),
        (
            pdb(CAESIUM, BROMIDE.replace("2.100", "2.1z0")),
            "Line 4 of this PDB file .* position in columns 31 to 54",
        ),
        (pdb(CAESIUM, BROMIDE[:44]), "Line 4 of this PDB file"),
        (pdb(CAESIUM, BROMIDE[:20] + BROMIDE[24:]), "Line 4 of this PDB file"),
        (pdb(atom("CS", (0, 0, 0), "CS", " many")), "Line 3 of this PDB file"),
        (pdb(atom("CS", (0, 0, 0), "XX")), "'XX' in line 3 of this PDB file names no element"),
        (pdb(atom("WAT", (0, 0, 0))), "'WAT' in line 3 of this PDB file"),
        (pdb(atom(" CL", (0, 0, 0))), "' ?CL' in line 3 of this PDB file may mean C or Cl"),
        (pdb(CAESIUM, BROMIDE, atom("CL", (2.1,) * 3, "CL")), "on one site"),
        (pdb(*[CAESIUM] * 5001), "5,001 atoms"),
    ],
)
def test_a_pdb_that_is_no_crystal_is_refused_in_a_sentence(text, says):
    with pytest.raises(StructureParseError, match=says):
        parse_text(text)


def scale(matrix):
    """The lines SCALE of a cell whose rows are its vectors in Å."""
    rows = np.linalg.inv(np.array(matrix, dtype=float)).T
    return [
        f"SCALE{k}    " + "".join(f"{x:10.6f}" for x in row) + "        0.00000"
        for k, row in enumerate(rows, start=1)
    ]


@pytest.mark.parametrize(
    "lines",
    [
        scale(4.2 * np.eye(3)),
        scale(4.2 * np.eye(3))[:2],
        scale(np.eye(3)),
        ["SCALE1  nonsense", *scale(4.2 * np.eye(3))[1:]],
        scale(4.2 * np.eye(3)[[1, 2, 0]]),
    ],
)
def test_lines_scale_of_the_same_cell_or_of_none_change_nothing(lines):
    crystal = parse_text(pdb(*lines, CAESIUM, BROMIDE))
    assert crystal.lattice.abc == pytest.approx((4.2,) * 3) and not crystal.properties.get("notes")
    assert crystal.get_distance(0, 1) == pytest.approx(3.637, abs=1e-3)


def test_axes_that_scale_turns_are_those_of_the_positions():
    turned = [[0, 5.0, 0], [0, 0, 7.0], [4.0, 0, 0]]
    crystal = parse_text(
        pdb(*scale(turned), CAESIUM, atom("BR", (2.0, 1.25, 3.5), "BR", n=2), head=cryst(5, 7, 4))
    )
    assert crystal.frac_coords[1] == pytest.approx([0.25, 0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize(
    "matrix", [8.4 * np.eye(3), np.diag([4.2, 4.2, 4.5]), [[4.2, 0, 0], [0, 4.2, 0], [1, 0, 4.1]]]
)
def test_lines_scale_of_another_cell_are_refused(matrix):
    with pytest.raises(StructureParseError, match=r"the cell 4\.2, .* but its lines SCALE"):
        parse_text(pdb(*scale(matrix), CAESIUM, BROMIDE))
