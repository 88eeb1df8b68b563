"""Whatever a file of several crystals lists is read or has its reason; none is left out unsaid."""

import io
import json
import re
import zipfile

import pytest

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_each
from crystal_core.files.uploads import parse_uploads

LATTICE = {"matrix": [[3.9, 0, 0], [0, 3.9, 0], [0, 0, 3.9]]}
SITES = [
    {"species": [{"element": "Tl", "occu": 1}], "abc": [0, 0, 0]},
    {"species": [{"element": "Br", "occu": 1}], "abc": [0.5, 0.5, 0.5]},
]
CRYSTAL = {"@class": "Structure", "lattice": LATTICE, "sites": SITES}
HALF = {"@class": "Structure", "lattice": LATTICE}
CELL = "".join(f"_cell_length_{x} 3.9\n" for x in "abc") + "".join(
    f"_cell_angle_{x} 90\n" for x in ("alpha", "beta", "gamma")
)
ATOMS = (
    "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
    "Tl1 0 0 0\nBr1 0.5 0.5 0.5\n"
)
FRAME = '2\nLattice="3.9 0 0 0 3.9 0 0 0 3.9" Properties=species:S:1:pos:R:3\nTl 0 0 0\nBr 1.95 1.95 1.95\n'


def outcome(text):
    """C for a crystal of TlBr, or the sentence why there is none."""
    return [
        str(one) if isinstance(one, StructureParseError) else "C" * (one.formula == "Tl1 Br1")
        for one in parse_each(text)
    ]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (
            [CRYSTAL, HALF, CRYSTAL],
            ["C", "Item 2 of the list holds no crystal: it has a lattice but", "C"],
        ),
        ([HALF | {"sites": None}, CRYSTAL], ["Item 1 of the list .*: it has a lattice but no sites", "C"]),
        ([CRYSTAL, {"sites": SITES}], ["C", "Item 2 .* no lattice, so it is a molecule"]),
        ([{"structure": CRYSTAL}, {"structure": HALF}], ["C", "Item 2 .* a lattice but no sites"]),
        (
            [{"structure": CRYSTAL}, {"error": "It did not converge."}],
            ["C", "Item 2 .*: It did not con"],
        ),
        ([CRYSTAL, None, {}], ["C", "Item 2 .* is empty", "Item 3 .* is empty"]),
        ([CRYSTAL, {"formula": "TlBr", "id": 7}], ["C", r"Item 2 .* \(keys: formula, id\)"]),
        ({"data": [{"attributes": {"lattice_vectors": None}}, CRYSTAL]}, ["Item 1 .* lacks lattice_v", "C"]),
        (
            {"a": CRYSTAL, "b": CRYSTAL, "c": {"lattice": None, "sites": None}},
            ["C", "C", "The entry 'c' holds no"],
        ),
        (
            {"1": {"numbers": [81], "positions": [[0, 0, 0]]}, "2": CRYSTAL},
            ["'1' .* positions but no c", "C"],
        ),
    ],
)
def test_an_item_of_json_without_a_crystal_is_named(items, says):
    read = outcome(json.dumps(items))
    assert len(read) == len(says) and all(map(re.search, says, read)), read


@pytest.mark.parametrize(
    "data",
    [
        ["mp-7", CRYSTAL, [0.1, 0.2]],
        {"structure": CRYSTAL, "lattice": LATTICE},
        {"first": CRYSTAL, "last": CRYSTAL, "metadata": {"date": "today"}},
        {"structure": CRYSTAL, "history": [{"structure": CRYSTAL}, {"energy": -3.0}]},
    ],
)
def test_what_merely_stands_beside_a_crystal_is_no_lost_one(data):
    assert set(outcome(json.dumps(data))) == {"C"}


def test_a_document_with_half_a_crystal_says_which_half():
    with pytest.raises(StructureParseError, match="has a lattice but no sites"):
        parse_each(json.dumps({"structure": HALF}))


def test_a_line_of_json_without_a_crystal_has_its_reason():
    read = outcome("\n".join(map(json.dumps, [CRYSTAL, HALF, {"formula": "TlBr"}])))
    assert read[0] == "C" and "line 2 holds no crystal: it has a lattice but no sites" in read[1]
    assert "line 3 holds no crystal" in read[2] and "keys: formula" in read[2]


def test_a_block_of_a_cif_that_begins_a_crystal_is_named_and_others_are_not():
    whole = f"data_global\n_audit_author_name X\ndata_one\n{CELL}{ATOMS}"
    assert outcome(f"{whole}data_pattern\n_pd_meas_2theta_range_min 5\n") == ["C"]
    first, second, third = outcome(f"{whole}data_le_bail\n{CELL}data_torn\n{ATOMS}")
    assert first == "C"
    assert second.startswith("Block 'le_bail': This CIF has no atoms")
    assert third.startswith("Block 'torn': This CIF has no cell lengths")
    with pytest.raises(StructureParseError, match="has no atoms"):
        parse_each(f"data_global\n_audit_author_name X\ndata_le_bail\n{CELL}")


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (FRAME[:-20], "ends before the 2 atoms announced in line 5. Nothing from there on"),
        ("0\n\n", "holds no atoms"),
        (FRAME.replace("Lattice", "Cell"), "has no lattice"),
        (FRAME.replace("2\n", "1\n", 1), "should be a number of atoms"),
    ],
)
def test_a_frame_of_xyz_that_is_not_whole_loses_no_other(end, says):
    read = outcome(FRAME + end)
    assert read[0] == "C" and says in read[-1]


def test_what_follows_the_last_frame_of_an_xdatcar_is_said():
    head = "TlBr\n1.0\n3.9 0 0\n0 3.9 0\n0 0 3.9\nTl Br\n1 1\n"
    frames = "".join(f"Direct configuration= {k}\n0 0 0\n0.5 0.5 0.5\n" for k in (1, 2))
    assert outcome(head + frames) == ["C", "C"]
    assert (
        "'Dir configuration= 3' after the last frame"
        in outcome(f"{head}{frames}Dir configuration= 3\n0 0 0\n0.5 0.5 0.5\n")[-1]
    )


def test_an_empty_model_of_a_pdb_is_named():
    head = "CRYST1    3.900    3.900    3.900  90.00  90.00  90.00 P 1\n"
    rows = (
        "ATOM      1 TL   MOL     1       0.000   0.000   0.000  1.00  0.00          TL\n"
        "ATOM      2 BR   MOL     1       1.950   1.950   1.950  1.00  0.00          BR\n"
    )
    model = f"MODEL        1\n{rows}ENDMDL\n"
    empty = "MODEL        2\nENDMDL\n"
    assert outcome(f"{head}{model}{empty}{model}END\n")[1] == "This model of the PDB file lists no atoms."
    assert "lists no atoms" in outcome(f"{head}{model}MODEL        2\n")[1]


def test_every_member_of_an_archive_has_its_row():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("good/a.xyz", FRAME)
        archive.writestr("b.json", json.dumps([CRYSTAL, HALF]))
        archive.writestr("notes.txt", "a word on these crystals")
        archive.writestr("empty.cif", "")
    rows = parse_uploads([("all.zip", buffer.getvalue())])
    assert [(row.name, row.structure is None) for row in rows] == [
        ("a.xyz", False),
        ("b.json #1", False),
        ("b.json #2", True),
        ("notes.txt", True),
        ("empty.cif", True),
    ]
    assert all(row.error for row in rows if row.structure is None)
