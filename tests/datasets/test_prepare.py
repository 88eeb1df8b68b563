"""From raw tables to the tensor file: reduction, who may train, and rows that are no crystals."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from safetensors import safe_open

from crystal_core.datasets.prepare import equal_pairs, niggli_reduce, prepare
from crystal_core.datasets.rows import MP20_TABLE, MP_TABLE, held_out_ids, read_rows
from crystal_core.errors import RequestError
from crystal_core.evaluation.matching import MATCHER
from crystal_core.paths import data_dir
from crystal_core.training.data import load_prepared

NACL = Structure(
    Lattice([[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]]), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


def row(name, structure=NACL, **extra):
    return {
        "material_id": name,
        "formula": structure.composition.reduced_formula,
        "n_atoms": len(structure),
        "lattice": structure.lattice.matrix.ravel(),
        "species": np.array([s.specie.Z for s in structure]),
        "frac_coords": structure.frac_coords.ravel(),
        "split": None,
        "band_gap_ev": 5.0,
        **extra,
    }


def parquet(path, *rows):
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_rows_train_unless_another_table_holds_them_out(tmp_path):
    big = NACL.copy()
    big.scale_lattice(2 * 61)
    first = parquet(
        tmp_path / "a.parquet",
        row("m-1"),
        row("m-2", split="train"),
        row("m-3"),
        row("m-4", big),
        row("m-5", split="train"),
    )
    second = parquet(tmp_path / "b.parquet", row("m-3", split="test"), row("m-6", big, split="val"))
    third = parquet(tmp_path / "c.parquet", row("m-5", split="val"))
    report = prepare([first, second], tmp_path / "out.safetensors", workers=1, held_out_from=[third])
    assert report.splits == {"train": 2, "test": 1, "val": 1} and report.rows == 4
    reasons = {entry["id"]: entry["reason"] for entry in report.skipped}
    assert set(reasons) == {"m-4", "m-5"} and "60 Å3" in reasons["m-4"] and "split" in reasons["m-5"]
    splits = load_prepared(tmp_path / "out.safetensors")
    assert {name: set(part.ids) for name, part in splits.items()} == {
        "train": {"m-1", "m-2"},
        "test": {"m-3"},
        "val": {"m-6"},
    }


def test_a_row_given_twice_takes_the_later_geometry(tmp_path):
    wide = NACL.copy()
    wide.scale_lattice(50)
    report = prepare(
        [parquet(tmp_path / "a.parquet", row("m-1")), parquet(tmp_path / "b.parquet", row("m-1", wide))],
        tmp_path / "out.safetensors",
        workers=1,
    )
    cell = load_prepared(tmp_path / "out.safetensors")["train"].cell_parameters[0]
    assert report.rows == 1
    assert float(cell[0]) == pytest.approx(wide.lattice.a, rel=1e-5)


def test_rows_that_are_no_crystal_are_listed_and_lose_no_other(tmp_path):
    bad = [
        row("nan", frac_coords=np.array([0, 0, 0, 0.5, math.nan, 0.5])),
        row("flat", lattice=np.array([1.0, 0, 0] * 3)),
        row("odd", frac_coords=np.zeros(3)),
        row("short", lattice=np.zeros(8)),
        row("ghost", species=np.array([11, 0])),
    ]
    report = prepare(
        [parquet(tmp_path / "a.parquet", row("good"), *bad)], tmp_path / "out.safetensors", workers=1
    )
    assert report.rows == 1
    assert {entry["id"] for entry in report.skipped} == {"nan", "flat", "odd", "short", "ghost"}
    assert all(entry["reason"] for entry in report.skipped)
    with pytest.raises(RequestError, match="No usable rows"):
        prepare([parquet(tmp_path / "b.parquet", *bad)], tmp_path / "out.safetensors", workers=1)


def test_the_file_holds_what_training_reads(tmp_path):
    prepare(
        [parquet(tmp_path / "a.parquet", row("m-1", spacegroup_number=225.0), row("m-2", band_gap_ev=None))],
        tmp_path / "out.safetensors",
        workers=1,
    )
    with safe_open(tmp_path / "out.safetensors", framework="np") as handle:
        gaps, coords = handle.get_tensor("label.band_gap_ev"), handle.get_tensor("frac_coords")
        groups = handle.get_tensor("label.spacegroup_number")
        assert json.loads(handle.metadata()["ids"]) == ["m-1", "m-2"]
    assert groups[0] == 225.0 and math.isnan(groups[1])
    assert gaps[0] == 5.0 and math.isnan(gaps[1])
    assert coords.dtype == np.float32 and (coords >= 0).all() and (coords < 1).all()


@pytest.mark.parametrize("shear", [(0, 0, 0), (1, 0, 0), (3, -2, 1), (-4, 5, 2)])
def test_any_cell_of_a_crystal_reduces_to_the_same_niggli_cell(shear):
    base = Structure(
        Lattice.from_parameters(4, 5, 7, 80, 95, 100),
        ["Ti", "O", "O"],
        [[0, 0, 0], [0.3, 0.2, 0.6], [0.7, 0.4, 0.1]],
    )
    p, q, r = shear
    other = Structure(
        np.array([[1, 0, 0], [p, 1, 0], [q, r, 1]]) @ base.lattice.matrix,
        base.species,
        base.cart_coords,
        coords_are_cartesian=True,
    )
    cell, coords = niggli_reduce(other.lattice.matrix, other.frac_coords)
    assert np.allclose(cell, niggli_reduce(base.lattice.matrix, base.frac_coords)[0], atol=1e-4)
    assert cell[0] <= cell[1] + 1e-6 <= cell[2] + 2e-6
    rebuilt = Structure(Lattice.from_parameters(*cell), base.species, coords)
    assert StructureMatcher(primitive_cell=False, scale=False).fit(base, rebuilt)


def test_csv_files_with_cifs_give_the_same_rows_labels_included(tmp_path):
    cif = NACL.to(fmt="cif")
    half = Structure(Lattice.cubic(4), [{"Na": 0.5}], [[0, 0, 0]]).to(fmt="cif")
    table = pd.DataFrame(
        {"material_id": ["a", "b", "c"], "cif": [cif, "no crystal", half], "band_gap": [5.0, 1.0, 1.0]}
    )
    table.to_csv(tmp_path / "val.csv", index=False)
    unreadable = []
    (parsed_row,) = read_rows(tmp_path / "val.csv", unreadable=unreadable)
    assert (parsed_row.id, parsed_row.split, parsed_row.formula, parsed_row.labels) == (
        "a",
        "val",
        "NaCl",
        {"band_gap": 5.0},
    )
    assert np.linalg.det(parsed_row.lattice) == pytest.approx(NACL.volume, rel=1e-4)
    assert [name for name, _ in unreadable] == ["b", "c"] and "partly occupied" in unreadable[1][1]
    # also what cannot be read stays out of training
    assert held_out_ids([tmp_path / "val.csv"]) == {
        "a",
        "b",
        "c",
    }


def test_mp20_membership_holds_a_row_out_of_training_whatever_its_own_split(tmp_path):
    first = parquet(
        tmp_path / "a.parquet",
        row("m-1", split="train", mp20_split="test"),
        row("m-2", mp20_split="val"),
        row("m-3", mp20_split="train"),
    )
    # another file may not bring a held-out row back
    second = parquet(tmp_path / "b.parquet", row("m-2"), row("m-4"))
    report = prepare([first, second], tmp_path / "out.safetensors", workers=1)
    assert {entry["id"]: entry["reason"] for entry in report.skipped} == dict.fromkeys(
        ("m-1", "m-2"), "in a validation or test split"
    )
    train = load_prepared(tmp_path / "out.safetensors")["train"]
    assert dict(zip(train.ids, train.sources, strict=True)) == {"m-3": "a.parquet", "m-4": "b.parquet"}


def test_a_row_of_another_relaxation_is_scaled_to_the_volume_of_mp20(tmp_path):
    table = parquet(
        tmp_path / "a.parquet",
        row("m-1", source="other_geometry", volume_ratio=1.1),
        row("m-2", source="mp20_volume", volume_ratio=1.0001),
    )
    scaled, as_it_is = read_rows(table)
    assert scaled.volume_per_atom == pytest.approx(NACL.volume / 2 / 1.1)
    assert as_it_is.volume_per_atom == pytest.approx(NACL.volume / 2)
    assert set(scaled.labels) == {"band_gap_ev"}  # what describes the row is no property


def test_a_training_cell_that_is_a_multiple_is_reduced_and_a_test_cell_stays_verbatim(tmp_path):
    double = NACL * (2, 1, 1)
    known = {"mp20_n_atoms_primitive": 2}
    table = parquet(
        tmp_path / "a.parquet",
        row("m-1", double, split="train", **known),
        row("m-2", double, split="test", **known),
    )
    prepare([table], tmp_path / "out.safetensors", workers=1)
    splits = load_prepared(tmp_path / "out.safetensors")
    assert splits["train"].n_atoms.tolist() == [2] and splits["test"].n_atoms.tolist() == [4]
    assert sorted(splits["train"].atomic_numbers.tolist()) == [11, 17]


def test_training_rows_equal_to_a_test_row_are_named_and_left_out(tmp_path):
    strained, caesium = NACL.copy(), Structure(Lattice.cubic(4.1), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    strained.scale_lattice(1.1 * NACL.volume)
    twin = row("m-1", strained)
    other = row("m-2", caesium)
    elsewhere = row("m-3", Structure(NACL.lattice, ["K", "Cl"], NACL.frac_coords))
    known = row("m-9", split="test")
    for entry, group in ((twin, 225), (other, 221), (elsewhere, 225), (known, 225)):
        entry["spacegroup_number"] = group
    table = parquet(tmp_path / "a.parquet", twin, other, elsewhere, known)
    report = prepare([table], tmp_path / "out.safetensors", workers=1, without_matches_of_test=True)
    assert report.skipped == [{"id": "m-1", "reason": "equal to m-9 of the test split"}]
    assert prepare([table], tmp_path / "all.safetensors", workers=1).splits == {"train": 3, "test": 1}


@pytest.mark.data
@pytest.mark.skipif(data_dir() is None, reason="the raw data sets are not here (CRYSTAL_DATA)")
def test_equal_pairs_have_the_verdict_of_structure_matcher_on_the_cells_as_given(tmp_path):
    cesium_chloride = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    zinc_blende = Structure(NACL.lattice, ["Na", "Cl"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    conventional, strained, double = NACL.to_conventional(), NACL.copy(), NACL * (2, 1, 1)
    strained.apply_strain([0.02, 0.03, -0.01])
    sheared = NACL * [[1, 1, 0], [0, 1, 0], [0, 2, 1]]
    cells = [NACL, conventional, strained, double, sheared, cesium_chloride, zinc_blende * (1, 1, 2)]
    rows = list(read_rows(parquet(tmp_path / "a.parquet", *(row(f"m-{i}", s) for i, s in enumerate(cells)))))
    for i, one in enumerate(rows):
        pairs = [(other, one) for other in rows]
        matcher = StructureMatcher(**MATCHER)
        assert list(equal_pairs(pairs)) == [f"m-{j}" for j in range(7) if matcher.fit(cells[j], cells[i])]
    assert 0 < len(equal_pairs(pairs)) < len(rows)


def test_no_known_validation_or_test_row_of_mp20_may_train():
    folder = data_dir()
    tables = [folder / MP_TABLE, folder / MP20_TABLE]
    held = held_out_ids(tables)
    published = pd.read_parquet(folder / "mp20_split_ids.parquet", columns=["material_id", "split"])
    at_hand = set(pd.concat([pd.read_parquet(t, columns=["material_id"]) for t in tables])["material_id"])
    assert set(published.loc[published["split"].isin(["val", "test"]), "material_id"]) & at_hand == held
    assert not held & set(published.loc[published["split"] == "train", "material_id"])
