"""The index of known crystals: found again in any cell, told apart from other formulas, exact where the tables are at hand."""

import io
import json
import lzma
import time

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure, SymmOp

from crystal_core.paths import data_dir
from crystal_core.reference import build_known
from crystal_core.reference.known import INDEX, find_known, load_known, novelty, ordered_roles
from crystal_core.reference.pair_histogram import distances, pair_histogram


def rock_salt(a=5.64, metal="Na", other="Cl"):
    corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    return Structure(Lattice.cubic(a), [metal] * 4 + [other] * 4, [*corners, *(corners + 0.5)])


@pytest.fixture
def without_tables(monkeypatch, tmp_path):
    monkeypatch.delenv("CRYSTAL_DATA", raising=False)
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))


@pytest.fixture
def with_tables():
    if data_dir() is None:
        pytest.skip("CRYSTAL_DATA is not set: the tables of known crystals are not at hand")


def test_a_known_crystal_is_found_in_any_cell_and_through_noise(without_tables):

    moved = rock_salt(5.7).get_primitive_structure() * [[1, 1, 0], [0, 2, 1], [0, 0, 1]]
    moved.perturb(0.05)
    for structure in (rock_salt(), rock_salt().get_primitive_structure(), moved):
        found = find_known(structure)
        assert (found.known, found.formula, found.space_group) == (True, "NaCl", 225)
        assert found.rmsd is None and found.structure is None and found.method == "distances"
        assert "Materials Project" in found.reference


def test_another_arrangement_of_a_known_formula_is_not_known(without_tables):
    rows_of_pairs = Structure(Lattice.orthorhombic(3, 4, 4.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0.1]])
    found = find_known(rows_of_pairs)
    assert not found.known and found.formula == "NaCl" and found.nearest_id


def test_an_unknown_formula_names_the_nearest_elements(without_tables):
    found = find_known(
        rock_salt(metal="Fr")
    )  # no francium chloride: caesium or rubidium stand next on the axis
    assert not found.known and found.method == "formula" and found.formula in ("CsCl", "RbCl")


def test_what_is_like_nothing_has_no_neighbour(without_tables):
    odd = Structure(Lattice.cubic(20), ["H"] * 97 + ["He"] * 89, np.random.default_rng(0).random((186, 3)))
    assert find_known(odd) is None
    assert novelty(odd) == {
        "known": False,
        "nearest_id": None,
        "rmsd": None,
        "reference": load_known().reference,
    }
    shared = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    flat = Structure(Lattice([[4, 0, 0], [0, 4, 0], [4, 4, 0]]), ["Na"], [[0, 0, 0]])
    assert find_known(shared) is None and find_known(flat) is None


def test_novelty_has_the_keys_of_the_contract(without_tables):
    said = json.loads(json.dumps(novelty(rock_salt())))
    assert {"known", "nearest_id", "rmsd", "reference", "training"} <= set(said) and "structure" not in said


def test_with_the_tables_the_verdict_is_exact_and_brings_the_crystal(with_tables):
    asked = rock_salt(5.6)
    found = find_known(asked)
    assert found.known and found.method == "structure matcher" and found.rmsd == pytest.approx(0, abs=1e-6)
    assert found.structure.composition.reduced_formula == "NaCl"
    # laid onto the cell asked about: every atom within a tenth of an Å of its like, in fractions of the own cell
    assert len(found.structure) == len(asked)
    shift = found.structure.frac_coords - asked.frac_coords
    shift -= shift[0]
    assert np.abs(shift - np.round(shift)).max() < 0.01


def test_the_crystal_found_is_turned_with_the_cell_asked_about(with_tables):
    asked = rock_salt(5.6)
    asked.apply_operation(SymmOp.from_axis_angle_and_translation([1, 2, 0.5], 37))
    found = find_known(asked).structure
    ratio = found.volume ** (1 / 3) / asked.volume ** (1 / 3)
    assert np.allclose(found.lattice.matrix, ratio * asked.lattice.matrix, atol=1e-3)


def test_the_index_tells_what_it_holds_and_keeps_training_apart():
    index = load_known()
    about = index.about
    assert about["n_rows"] == len(index.ids) == int(index.start[-1]) and about["n_training"] == int(
        index.training.sum()
    )
    assert about["n_held_out"] > 0 and "Validation and test rows" in about["rows"]
    assert (
        about["agreement"]["n_pairs"] >= 1000
        and about["agreement"]["precision"] > 0.7
        and about["agreement"]["recall"] > 0.5
    )
    assert INDEX.stat().st_size < 4_000_000


def test_the_index_is_no_copy_of_the_data():
    with np.load(io.BytesIO(lzma.decompress(INDEX.read_bytes()))) as data:
        assert {n for n in data.files if data[n].dtype.kind == "f"} == set()
        assert data["histograms"].dtype == np.uint8


def test_a_lookup_is_quick(without_tables):
    other = rock_salt(metal="K")
    find_known(rock_salt())
    began = time.process_time()
    for _ in range(10):
        find_known(other)
    assert (time.process_time() - began) / 10 < 0.05


def test_the_histogram_knows_no_cell_origin_or_size():
    one = rock_salt().get_primitive_structure()
    two = rock_salt(7.0) * [[1, 1, 0], [0, 1, 0], [0, 0, 2]]
    two.translate_sites(range(len(two)), [0.13, 0.4, 0.77])
    axis = build_known.mendeleev_axis()
    found = []
    for s in (one, two):
        roles, elements, _ = ordered_roles(np.array(s.atomic_numbers), axis)
        found.append(pair_histogram(s.lattice.matrix, s.frac_coords, roles, len(elements)))
    # one step of 255 at the edge of a bin of the fine grid
    assert distances(found[0], found[1][None])[0] < 0.005


def test_a_small_index_is_written_and_read(tmp_path, monkeypatch, without_tables):
    from crystal_core.datasets.rows import CrystalRow
    from crystal_core.reference import known

    def row(name, structure):
        return CrystalRow(
            id=name,
            formula="",
            lattice=structure.lattice.matrix,
            frac_coords=structure.frac_coords,
            atomic_numbers=np.array(structure.atomic_numbers),
            split="",
        )

    entries = [
        build_known.entry_of(row(name, s), 225)
        for name, s in (("mp-7", rock_salt()), ("mvc-8", rock_salt(6.3, "K")))
    ]
    about = {"reference": "two crystals", "threshold": 0.02, "models": build_known.MODELS}
    build_known.write(tmp_path / "known.npz.xz", entries, {"mvc-8"}, about)
    monkeypatch.setattr(known, "INDEX", tmp_path / "known.npz.xz")
    known.load_known.cache_clear()
    try:
        first, second = find_known(rock_salt()), find_known(rock_salt(6.3, "K"))
        assert (first.nearest_id, first.training, second.nearest_id, second.training) == (
            "mp-7",
            False,
            "mvc-8",
            True,
        )
        assert (first.training_of, second.training_of) == ((), tuple(build_known.MODELS["mvc"]))
        assert first.known and second.known and first.reference == "two crystals"
    finally:
        known.load_known.cache_clear()
