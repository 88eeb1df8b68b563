"""The prototype baseline: geometry in and out of symmetry form, look-up, the generator's contract,
and who took part.
"""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_core.cards import read_card
from crystal_core.errors import CheckpointMismatch
from crystal_core.generators.prototype import build
from crystal_core.generators.prototype.aflow_names import (
    COMPOUNDS,
    is_named_after,
    library_compounds,
    name_fits,
)
from crystal_core.generators.prototype.cells import roles_of, supercell, to_primitive
from crystal_core.generators.prototype.fingerprint import fingerprint, role_permutations
from crystal_core.generators.prototype.generator import PrototypeGenerator, load_prototype, niggli
from crystal_core.generators.prototype.grouping import SAME_ARRANGEMENT, member_of
from crystal_core.generators.prototype.index import Pool, PrototypeIndex
from crystal_core.generators.prototype.library import load_index, load_shipped_table, reduced_formulas
from crystal_core.generators.prototype.symmetry_form import from_form, to_form
from crystal_core.registry.store import find_card
from crystal_core.requests import GenerationRequest
from crystal_core.structures import to_structures

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
CAESIUM_CHLORIDE = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
PEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
)
QUARTZ = Structure.from_spacegroup(
    "P3_221", Lattice.hexagonal(4.91, 5.40), ["Si", "O"], [[0.47, 0, 2 / 3], [0.41, 0.27, 0.79]]
)
KNOWN = {"NaCl": ROCK_SALT, "CsCl": CAESIUM_CHLORIDE, "TiO2": RUTILE, "SrTiO3": PEROVSKITE, "SiO2": QUARTZ}


def parts(structure):
    numbers = [site.specie.Z for site in structure]
    return structure.lattice.matrix, structure.frac_coords % 1.0, numbers


def members():
    return [member_of(name, *parts(structure)) for name, structure in KNOWN.items()]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The real builder on five textbook crystals, as the shipped kind and as the full kind."""
    folder = tmp_path_factory.mktemp("prototypes")
    indices = {}
    for kind in ("shipped", "full"):
        path = folder / f"{kind}.npz"
        build.build(members(), path, full=kind == "full", source="textbook", workers=1)
        indices[kind] = load_index(path)
    return indices


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_symmetry_form_and_back_is_the_same_crystal(name):
    lattice, coords, numbers = parts(KNOWN[name])
    roles, elements, _ = roles_of(numbers)
    form = to_form(lattice, coords, roles)
    cell, points, back = from_form(form)
    assert abs(np.linalg.det(cell)) == pytest.approx(len(back))  # one cubic ångström per atom
    rebuilt = Structure(Lattice(cell), [elements[r] for r in back], points)
    assert StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.5).fit(rebuilt, KNOWN[name])
    assert int(form.multiplicities.sum()) == len(KNOWN[name])


def test_textbook_wyckoff_letters():
    for name, letters in (("CsCl", {"a", "b"}), ("TiO2", {"a", "f"})):
        lattice, coords, numbers = parts(KNOWN[name])
        assert set(to_form(lattice, coords, roles_of(numbers)[0]).letters) == letters


@pytest.mark.parametrize(
    ("crystal", "name", "fits"),
    [
        ("CsCl", "AB_cP2_221_b_a", True),
        ("CsCl", "AB_cF8_225_a_b", False),
        ("CsCl", "AB_tP2_123_a_d", False),
        ("NaCl", "AB_cF8_225_a_b", True),
        ("TiO2", "A2B_tP6_136_f_a", True),
        ("TiO2", "A2B_tP6_136_f_c", False),
        ("TiO2", "A2B_tP12_136_f_a", False),
        ("TiO2", "A2B_tP6_136_fa", True),
        ("TiO2", "rutile", False),
        ("SrTiO3", "AB3C_cP5_221_a_c_b", True),
        ("SrTiO3", "AB3C_cP5_221_a_d_b", True),
        ("SrTiO3", "ABC3_cP5_221_a_a_c", False),
    ],
)
def test_a_name_fits_by_space_group_atoms_and_letters_whatever_the_origin(crystal, name, fits):
    lattice, coords, numbers = parts(KNOWN[crystal])
    assert name_fits(f"AFLOW {name}", to_form(lattice, coords, roles_of(numbers)[0])) is fits


def test_an_arrangement_is_named_after_one_compound_only():
    assert is_named_after("Fm-3m ab, 500 known, AFLOW AB_cF8_225_a_b", "Cl2Na2")
    assert not is_named_after("Fm-3m ab, 500 known, AFLOW AB_cF8_225_a_b", "KCl")
    assert not is_named_after("Fm-3m ab, 500 known", "NaCl") and not is_named_after("AFLOW x", "NaCl")
    assert json.loads(COMPOUNDS.read_text()) == library_compounds()


def test_a_prototype_takes_no_name_of_another_space_group(tmp_path):
    for name, has_name in (("AFLOW AB_cF8_225_a_b", False), ("AFLOW AB_cP2_221_b_a", True)):
        build.build(
            [member_of(name, *parts(CAESIUM_CHLORIDE))],
            tmp_path / "x.npz",
            full=False,
            source="",
            workers=1,
        )
        assert (
            str(load_shipped_table(tmp_path / "x.npz").geometry.data["label"][0]).endswith(name) is has_name
        )


def test_no_name_of_the_shipped_table_contradicts_its_arrangement():
    table = load_shipped_table(find_card("prototype").folder / "prototypes.npz")
    named = [
        (k, label.split(", ")[-1])
        for k, label in enumerate(table.geometry.data["label"].tolist())
        if "AFLOW" in label
    ]
    assert (
        len(named) > 200 and [name for k, name in named if not name_fits(name, table.geometry.form(k))] == []
    )


@pytest.mark.parametrize("name", sorted(KNOWN))
@pytest.mark.parametrize("copies", [2, 3, 4, 8])
def test_a_supercell_is_reduced_to_its_primitive_cell(name, copies):
    lattice, coords, numbers = parts(KNOWN[name].get_primitive_structure())
    roles = roles_of(numbers)[0]
    small, _, few = to_primitive(*supercell(lattice, coords, roles, copies))
    assert len(few) == len(roles)
    assert abs(np.linalg.det(small)) == pytest.approx(abs(np.linalg.det(lattice)), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(KNOWN)), st.tuples(*[st.floats(0, 1)] * 3), st.floats(0.5, 2.0), st.randoms())
def test_fingerprint_ignores_origin_size_cell_and_order(name, shift, size, random):
    lattice, coords, numbers = parts(KNOWN[name])
    roles = roles_of(numbers)[0]
    base = fingerprint(lattice, coords, roles, int(roles.max()) + 1)
    order = list(range(len(roles)))
    random.shuffle(order)
    skew = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]])
    moved = fingerprint(
        size * skew @ lattice,
        (coords[order] + shift) @ np.linalg.inv(skew),
        roles[order],
        int(roles.max()) + 1,
    )
    assert np.abs(moved - base).max() < 1e-4


def test_different_arrangements_have_different_fingerprints():
    prints = []
    for structure in (ROCK_SALT, CAESIUM_CHLORIDE):
        lattice, coords, numbers = parts(structure)
        prints.append(fingerprint(lattice, coords, roles_of(numbers)[0], 2))
    assert np.linalg.norm(prints[0] - prints[1]) > SAME_ARRANGEMENT


def test_roles_of_equal_count_may_be_exchanged():
    assert role_permutations((3, 1, 1)) == [(0, 1, 2), (0, 2, 1)]
    assert role_permutations((2, 1)) == [(0, 1)]


@pytest.mark.parametrize("kind", ["shipped", "full"])
def test_a_relative_takes_the_arrangement_with_its_own_atoms_in_place(toy, kind):
    elements = [8, 56, 8, 22, 8]  # BaTiO3, atoms shuffled
    (best,) = toy[kind].candidates(elements, 3)
    crystal = Structure(Lattice(best.lattice), elements, best.frac_coords)
    expected = PEROVSKITE.copy()
    expected.replace_species({"Sr": "Ba"})
    assert StructureMatcher(ltol=0.05, stol=0.05, angle_tol=1).fit(crystal, expected)
    assert best.distance > 0 and 0.5 < crystal.volume / PEROVSKITE.volume < 2


@pytest.mark.parametrize("kind", ["shipped", "full"])
def test_the_same_composition_comes_first_at_distance_zero(toy, kind):
    for name, structure in KNOWN.items():
        primitive = structure.get_primitive_structure()
        best = toy[kind].candidates([s.specie.Z for s in primitive], 1)[0]
        crystal = Structure(Lattice(best.lattice), [s.specie.Z for s in primitive], best.frac_coords)
        assert best.distance == 0, name
        assert StructureMatcher(ltol=0.02, stol=0.02, angle_tol=1, scale=True).fit(crystal, structure), name


def test_of_polymorphs_that_tie_the_one_with_the_most_members_comes_first():
    pool = Pool(
        elements=np.array([[11, 17], [11, 17], [37, 53], [37, 53]], dtype=np.uint8),
        prototype=np.array([0, 1, 1, 2]),
        geometry=np.array([0, 1, 1, 2]),
    )
    far = 5.0 * (1 - np.eye(119))
    index = PrototypeIndex(
        {(1, 1): pool}, distance=far, element_volumes=np.ones(119), geometry=lambda _: None, kind="toy"
    )
    assert [(match.prototype, match.distance) for match in index.ranked([11, 17])] == [
        (1, 0.0),
        (0, 0.0),
        (2, 10.0),
    ]


def test_several_formula_units_fall_back_to_a_repeated_cell(toy):
    (best, *_) = toy["shipped"].candidates([11, 11, 17, 17], 2)
    crystal = Structure(Lattice(best.lattice), [11, 11, 17, 17], best.frac_coords)
    assert StructureMatcher().fit(crystal, ROCK_SALT)


def generator(index):
    return PrototypeGenerator(index, find_card("prototype"))


@pytest.mark.weights
def test_repeats_are_different_prototypes_and_missing_ones_fail_in_place(toy):
    model = generator(toy["shipped"])
    compositions = ((11, 17), (22, 8, 8, 8, 38), (11, 17), (11, 17), (11,))
    (frame,) = list(model.sample(GenerationRequest(compositions=compositions)))
    assert frame.finished and frame.sample_ids == (0, 1, 2, 3, 4)
    assert [c.atomic_numbers.tolist() for c in frame.crystals] == [list(c) for c in compositions]
    structures = to_structures(frame.crystals)
    # two AB prototypes known, no elements
    assert [s is None for s in structures] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert not StructureMatcher().fit(structures[0], structures[2])
    assert all(((s.frac_coords >= 0) & (s.frac_coords < 1)).all() for s in structures if s is not None)
    assert [t.formula if t else None for t in frame.templates] == ["NaCl", "SrTiO3", "CsCl", None, None]
    assert [t.distance for t in frame.templates[:2]] == [0, 0] and frame.templates[2].distance > 0


@pytest.mark.weights
def test_the_seed_changes_nothing_and_nothing_runs_before_the_first_next(toy):
    model = generator(toy["shipped"])
    first, second = (
        next(model.sample(GenerationRequest(compositions=((11, 17),), seed=seed))) for seed in (1, 2)
    )
    assert first.crystals.lattice.tolist() == second.crystals.lattice.tolist()
    assert hasattr(model.sample(GenerationRequest(compositions=((11, 17),))), "close")


def test_seen_formulas_are_spelt_like_reduced_formulas(toy):
    assert reduced_formulas(toy["shipped"]) == reduced_formulas(toy["full"]) == frozenset(KNOWN)


@pytest.mark.weights
def test_the_shipped_table_answers_for_what_chemists_type(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    shipped = load_prototype(find_card("prototype"))
    assert shipped.index.kind == "shipped table"
    cases = {"SrTiO3": PEROVSKITE, "NaCl": ROCK_SALT, "TiO2": RUTILE}
    for name, structure in cases.items():
        composition = tuple(s.specie.Z for s in structure.get_primitive_structure())
        (frame,) = shipped.sample(GenerationRequest(compositions=(composition,) * 5))
        structures = [s for s in to_structures(frame.crystals) if s is not None]
        assert any(
            StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).fit(s, structure) for s in structures
        ), name
        for a, b in zip(structures, structures[1:], strict=False):
            assert math.isfinite(a.volume) and a.volume > 1 and a != b


@pytest.mark.weights
def test_a_damaged_table_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    card = find_card("prototype")
    copy = tmp_path / "prototype"
    copy.mkdir()
    (copy / "card.toml").write_bytes((card.folder / "card.toml").read_bytes())
    (copy / "prototypes.npz").write_bytes((card.folder / "prototypes.npz").read_bytes()[:-100])
    with pytest.raises(CheckpointMismatch, match="SHA-256"):
        load_prototype(read_card(copy))
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointMismatch, match="cannot be read"):
        load_index(broken)


def test_a_cell_is_niggli_reduced_and_stays_the_same_crystal():
    from pymatgen.core import Lattice, Structure

    skewed = Structure(
        Lattice([[4, 0, 0], [9, 5, 0], [1, -11, 6]]),
        ["Na", "Cl", "O"],
        [[0.1, 0.2, 0.3], [0.6, 0.7, 0.1], [0.9, 0.4, 0.5]],
    )
    lattice, coords = niggli(skewed.lattice.matrix, skewed.frac_coords)
    reduced = Structure(Lattice(lattice), ["Na", "Cl", "O"], coords)
    assert max(reduced.lattice.abc) < max(skewed.lattice.abc) and reduced.volume == pytest.approx(
        skewed.volume
    )
    assert reduced.lattice.abc == pytest.approx(reduced.get_reduced_structure("niggli").lattice.abc)
    assert sorted(reduced.distance_matrix[0]) == pytest.approx(sorted(skewed.distance_matrix[0]), abs=1e-6)
