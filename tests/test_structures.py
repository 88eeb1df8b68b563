"""Files in and out: the same numbers in every format, and a sentence for whatever is no crystal."""

import json
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.files.parse import parse_all, parse_each, parse_text, with_shares
from crystal_core.files.records import crystal_record, snapshot, structure_from_record
from crystal_core.files.writers import structure_to_text
from crystal_core.structures import from_structures, partial_occupancy, to_structures

EXACT = ("cif", "poscar", "extxyz", "json")


@pytest.fixture
def triclinic() -> Structure:
    coords = np.random.default_rng(0).random((5, 3))
    return Structure(
        Lattice.from_parameters(4.1234567, 4.7, 5.33, 81, 95, 107.5), ["Ti", "O", "O", "Ti", "Sr"], coords
    )


def sites(structure):
    return sorted((s.specie.symbol, *np.round(s.frac_coords, 8)) for s in structure)


@pytest.mark.parametrize("fmt", EXACT)
def test_every_export_holds_the_same_numbers(triclinic, fmt):
    back = parse_text(structure_to_text(triclinic, fmt))
    # ten decimals are written
    assert np.allclose(back.lattice.parameters, triclinic.lattice.parameters, atol=1e-8)
    assert sites(back) == sites(triclinic)


def test_coordinates_near_a_third_are_not_snapped_to_it():
    structure = Structure(Lattice.cubic(4), ["Na"], [[0.33338, 0.66663, 0.1]])
    assert parse_text(structure_to_text(structure, "cif"))[0].frac_coords[0] == pytest.approx(
        0.33338, abs=1e-9
    )


def test_symmetrised_cif_names_the_space_group_and_gives_the_same_crystal():
    rock_salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    text = structure_to_text(rock_salt, "cif-symmetrised")
    assert "Fm-3m" in text and len(parse_text(text)) == 8


def test_provenance_cannot_break_out_of_its_comment(triclinic):
    evil = {"model": 'x\ndata_evil\n"</script>', "seed": 7}
    for fmt in ("cif", "extxyz"):
        text = structure_to_text(triclinic, fmt, provenance=evil)
        assert "</script>" not in text and "\ndata_evil" not in text and "seed" in text
        assert sites(parse_text(text)) == sites(triclinic)


def test_batch_round_trip_keeps_order_and_wraps(triclinic):
    edge = Structure(Lattice.cubic(3), ["Fe"], [[1 - 1e-12, -1e-12, 0.5]])
    batch = from_structures([triclinic, edge])
    assert batch.n_atoms.tolist() == [5, 1] and float(batch.frac_coords.max()) < 1.0
    back = to_structures(batch)
    assert np.allclose(back[0].frac_coords, triclinic.frac_coords, atol=1e-6)  # float32
    assert len(from_structures([])) == 0


def test_a_cell_that_is_no_lattice_gives_none_and_loses_no_other(triclinic):
    good = from_structures([triclinic])
    flat = CrystalBatch(
        atomic_numbers=good.atomic_numbers,
        frac_coords=good.frac_coords,
        lattice=torch.zeros(1, 3, 3),
        n_atoms=good.n_atoms,
    )
    broken = CrystalBatch(
        atomic_numbers=good.atomic_numbers,
        frac_coords=good.frac_coords * float("nan"),
        lattice=good.lattice,
        n_atoms=good.n_atoms,
    )
    structures = to_structures(CrystalBatch.concat([flat, good, broken]))
    assert structures[0] is None and structures[2] is None and structures[1] is not None


def cube(a=4.0, species=("Na", "Cl"), coords=((0, 0, 0), (0.5, 0.5, 0.5))):
    return structure_to_text(Structure(Lattice.cubic(a), list(species), list(coords)), "cif")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("good morning", "none of CIF"),
        ("2\n\nH 0 0 0\nH 0 0 1\n", "no lattice"),
        ('3\nLattice="4 0 0 0 4 0 0 0 4"\nH 0 0 0\n', "ends before"),
        ('999999\nLattice="4 0 0 0 4 0 0 0 4"\nH 0 0 0\n', "at most 5,000"),
        (cube().replace("alpha   90.", "alpha   190."), "span no cell"),
        (cube().replace("length_c   4.", "length_c   0.004"), "sliver"),
        (cube(a=30.0), "per atom"),
        (cube().replace("  1.0\n", "  0.5\n"), "partly occupied"),
        (cube(coords=((0, 0, 0), (0, 0, 0.01))), "duplicate"),
        ("a\n1.0\n4 0 0\n0 4 0\n0 0 4\nXx\n1\ndirect\n0 0 0\n", "no chemical element"),
        ("bin\0ary", "binary"),
        ("good morning\0\0", "none of CIF"),  # padding of an old disk
        ("{}", "no crystal"),
        ("[[[", "not valid JSON"),
        ("[" * 100_000, "JSON"),
        (
            '{"lattice": [[4,0,0],[0,4,0],[0,0,NaN]], "atomic_numbers": [1], "frac_coords": [[0,0,0]]}',
            "not finite",
        ),
    ],
)
def test_refusals_say_why(text, says):
    with pytest.raises(StructureParseError, match=says):
        parse_text(text, "file.cif")


def test_a_site_far_outside_the_cell_is_the_one_inside_and_costs_no_memory():
    limit = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 1_000_000_000, limit[1]))
    try:
        far = parse_text("x\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 1\ndirect\n900000000 0 0\n0.5 0.5 0.5\n")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    assert far[0].frac_coords.tolist() == [0, 0, 0]


def poscar_4(title, ends=("", "", "")):
    rows = "".join(f"{x} {end}\n" for x, end in zip(("0 0 0", "0.5 0.5 0.5", "0.5 0 0.5"), ends, strict=True))
    return f"{title}\n1.0\n4 0 0\n0 4 0\n0 0 4\n1 2\ndirect\n{rows}"


@pytest.mark.parametrize("title", ["TiO2 rutile", "TiO2", "Ti", "Ti O O", "Ti Xx", "", "2026-11"])
def test_a_poscar_without_symbols_is_refused_whatever_its_title(title):
    """pymatgen reads hydrogen and helium there."""
    with pytest.raises(StructureParseError, match="names no elements"):
        parse_text(poscar_4(title))


@pytest.mark.parametrize(
    ("title", "ends"),
    [
        ("Ti O", ("", "", "")),
        ("a cell", ("Ti", "O", "O")),
        ("2026-11", ("Ti", "O", "O")),
        ("Cu Zn", ("Ti", "O", "O")),
    ],
)
def test_a_poscar_without_a_line_of_symbols_may_name_them_in_its_title_or_at_the_ends_of_lines(title, ends):
    assert [site.specie.symbol for site in parse_text(poscar_4(title, ends))] == ["Ti", "O", "O"]


@pytest.mark.parametrize(("n", "says"), [(1, "1 of 3 sites is shared"), (2, "2 of 3 sites are shared")])
def test_a_limitation_counts_the_sites_that_are_not_filled_by_one_element(n, says):
    contents = [{"Ba": 0.6, "Sr": 0.4}] * n + ["Ti"] * (3 - n)
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    sentence = partial_occupancy(Structure(Lattice.cubic(3.9), contents, places))
    assert sentence.startswith(says) and "Ba 0.6, Sr 0.4" in sentence


def test_viewing_allows_partial_occupancy_aloud():
    seen = parse_text(cube().replace("  1.0\n", "  0.5\n"), purpose="view")
    assert "partly occupied" in seen.properties["limitation"] and seen.is_ordered


def test_shared_sites_are_told_with_their_shares_and_the_formula_they_give():
    alloy = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.3), [{"Fe": 0.6, "Ni": 0.3}, "O"], [[0, 0, 0], [0.5] * 3]
    )
    seen = parse_text(str(CifWriter(alloy)), purpose="view")
    occupancy = seen.properties["occupancy"]
    assert (
        occupancy["formula"] == "Fe0.6Ni0.3O"
        and occupancy["sites"] == "4 sites of Fe 0.6, Ni 0.3, vacant 0.1"
    )
    assert (
        occupancy["density"] == pytest.approx(alloy.density, abs=1e-4)
        and seen.composition.reduced_formula == "FeO"
    )


def test_a_filled_crystal_becomes_that_of_the_file_again():
    alloy = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.3), [{"Fe2+": 0.6, "Ni": 1 / 3}, "O"], [[0, 0, 0], [0.5] * 3]
    )
    (seen,) = parse_all(json.dumps(alloy.as_dict()), purpose="view")
    again = with_shares(seen, seen.properties["occupancy"]["shares"])
    assert not again.is_ordered and again == alloy.copy().remove_oxidation_states()


def test_json_never_reaches_a_decoder_that_imports_classes(triclinic):
    data = triclinic.as_dict()
    data["properties"] = {"x": {"@module": "os", "@class": "system"}}
    data["sites"][0]["properties"] = {"y": {"@module": "subprocess", "@class": "Popen", "args": ["touch"]}}
    assert not parse_text(json.dumps(data))[0].properties


def test_several_crystals_in_one_file_are_all_read(triclinic):
    assert len(parse_all(structure_to_text(triclinic, "extxyz") * 3)) == 3
    assert len(parse_all(cube() + cube().replace("data_NaCl", "data_other"))) == 2


@pytest.mark.parametrize("fmt", ["cif", "extxyz", "json"])
def test_a_bad_crystal_of_a_file_loses_no_other(fmt, triclinic):
    good = structure_to_text(triclinic, fmt)
    unreadable = {
        "cif": ("_atom_site_fract_y", "_atom_site_nothing"),
        "extxyz": ("Lattice", "Lost"),
        "json": ('"species"', '"lost"'),
    }[fmt]
    flat = structure_to_text(Structure(Lattice.orthorhombic(0.2, 9, 9), ["Fe"], [[0, 0, 0]]), fmt)
    texts = [good, good.replace(*unreadable), flat, good]
    text = "[" + ",".join(texts) + "]" if fmt == "json" else "".join(texts)
    first, second, third, fourth = parse_each(text, "many")
    assert first == fourth and sites(first) == sites(triclinic)
    assert str(second).startswith("many #2: ") and "sliver" in str(third)
    assert parse_text(text) == first
    with pytest.raises(StructureParseError, match=r"^many #2: "):
        parse_all(text, "many")
    (alone,) = parse_each(flat, "one")
    assert str(alone).startswith("one: ")


def test_unknown_format_is_refused(triclinic):
    with pytest.raises(RequestError, match="choose one of"):
        structure_to_text(triclinic, "pdf")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_files_give_a_crystal_or_a_sentence_in_time(data):
    text = list(
        data.draw(
            st.sampled_from(
                [cube(), MONOCLINIC, *(structure_to_text(parse_text(cube()), f) for f in EXACT[1:])]
            )
        )
    )
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        piece = data.draw(
            st.sampled_from(
                [
                    "",
                    "9",
                    "-",
                    ".",
                    "e9",
                    "nan",
                    "\n",
                    "loop_\n",
                    "'",
                    "</script>",
                    "?",
                    "\0",
                    "x,y,",
                    "é",
                    "0" * 50,
                ]
            )
        )
        text[at : at + data.draw(st.integers(0, 8))] = piece
        if not text:
            return
    began = time.monotonic()
    try:
        assert len(parse_text("".join(text), "mutated")) > 0
    except StructureParseError as error:
        assert len(str(error)) < 600
    assert time.monotonic() - began < 10


MONOCLINIC = """data_x
_cell_length_a 5.15(1)
_cell_length_b 5.2
_cell_length_c 5.31
_cell_angle_alpha 90
_cell_angle_beta 99.2
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1 21/c 1'
loop_
_symmetry_equiv_pos_as_xyz
x,y,z
-x,y+1/2,-z+1/2
-x,-y,-z
x,-y+1/2,z+1/2
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Zr1 Zr 0.276 0.041 0.208
O1 O 0.07 0.332 0.345
O2 O 0.442 0.755 0.479
"""


@pytest.mark.parametrize(
    "species",
    [["X", "Na"], [{"Na": 0.5}, "Cl"], [{"Na": 0.5, "K": 0.5}, "Cl"], [{"X": 1.0}, "Cl"], ["Xa2+", "Cl"]],
    ids=str,
)
def test_what_is_no_element_or_only_partly_there_never_becomes_a_number(species):
    """A dummy species has a Z as well, which is a hash: it went through as an atomic number."""
    structure = Structure(Lattice.cubic(4), species, [[0, 0, 0], [0.5, 0.5, 0.5]])
    borders = [
        lambda s: from_structures([s]),
        *(lambda s, fmt=fmt: structure_to_text(s, fmt) for fmt in (*EXACT, "cif-symmetrised")),
    ]
    borders += [lambda s: crystal_record(s, id="x", provenance={}), snapshot]
    for border in borders:
        with pytest.raises(StructureParseError, match=r"no chemical element|partly occupied") as refused:
            border(structure)
        assert len(str(refused.value).splitlines()) == 1


def test_a_record_with_a_stranger_in_it_is_no_crystal():
    record = {"lattice": np.eye(3).tolist(), "atomic_numbers": ["X"], "frac_coords": [[0, 0, 0]]}
    with pytest.raises(StructureParseError, match="no chemical element"):
        structure_from_record(record)


@pytest.mark.parametrize("number", [0, 119, -1])
def test_an_atom_that_is_no_element_makes_its_crystal_a_failed_sample(number, triclinic):
    good = from_structures([triclinic])
    numbers = good.atomic_numbers.clone()
    numbers[0] = number
    bad = CrystalBatch(
        atomic_numbers=numbers, frac_coords=good.frac_coords, lattice=good.lattice, n_atoms=good.n_atoms
    )
    structures = to_structures(CrystalBatch.concat([bad, good]))
    assert structures[0] is None and structures[1] is not None
