"""Who took part in the prototype table: the usable rows of the raw data, by id, and the AFLOW library."""

from dataclasses import replace
from functools import cache
from zlib import crc32

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_core.datasets import prepare
from crystal_core.datasets.rows import CrystalRow
from crystal_core.generators.prototype import build
from crystal_core.generators.prototype.library import load_index, reduced_formulas
from crystal_core.paths import data_dir
from crystal_core.reference import build_known
from crystal_core.reference.known_file import PREFIXES, KnownIndex, load_known
from crystal_core.registry.store import find_card

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)

CAESIUM_CHLORIDE = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])

RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)


def parts(structure):
    numbers = [site.specie.Z for site in structure]
    return structure.lattice.matrix, structure.frac_coords % 1.0, numbers


@pytest.fixture(scope="module")
def usable_rows():
    """The rows that may train, found again from the raw data.

    StructureMatcher compares training rows with the test rows of their formula and space group, each pair
    within a time limit. It judges one formula in twelve here; of the others, the marks in the file of known
    crystals say what is equal.
    """
    if data_dir() is None:
        pytest.skip("needs the raw data sets (CRYSTAL_DATA)")
    trained = marked()

    def compare(pairs, workers, judge=prepare.equal_pairs):
        sample = [pair for pair in pairs if crc32(pair[0].formula.encode()) % 12 == 0]
        judged = {row.id for row, _ in sample}
        believed = judged | trained
        assert len(judged) > 40
        others = {row.id: twin.id for row, twin in pairs if row.id not in believed}
        return others | judge(sample, workers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "equal_pairs", compare)
        return build.training_rows(data_dir(), 1)


@pytest.fixture(scope="module")
def aflow_members():
    return build.aflow_members()


@cache
def marked():
    """Ids of the Materials Project that the file of known crystals marks as rows that
    trained the shipped models.
    """
    index = load_known()
    project = np.isin(index.prefixes, [PREFIXES.index("mp"), PREFIXES.index("mvc")])
    return {index.name(k) for k in np.flatnonzero(index.usable & project)}


@pytest.mark.weights
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(900)  # what comes first also makes the rows, beside whatever else runs
def test_the_rows_marked_as_trained_are_the_usable_ones_and_none_is_held_out(usable_rows):
    """By id, from the raw data; none of them is in a validation or test split of
    MP-20, in whichever table.
    """
    import pandas as pd

    usable, held = {row.id for row in usable_rows}, set()
    for name in ("mp20_split_ids", "mp20_exact_partial", "mp20_assembled", "mp_le20"):
        table = pd.read_parquet(data_dir() / f"{name}.parquet", columns=["material_id", "split"])
        held |= set(table.loc[table["split"].isin(["val", "test"]), "material_id"])
    assert len(usable) > 50_000 and not held.intersection(usable)
    assert usable == marked()


@pytest.mark.weights
def test_the_file_of_known_crystals_marks_as_many_rows_as_the_shipped_table_has(aflow_members):
    members = len(marked()) + len(aflow_members)
    # a prototype whose averaged cell has no closed symmetry form leaves the table with its members
    assert 0 <= members - find_card("prototype").training["members"] <= 3


def test_the_full_index_is_built_from_the_file_of_known_crystals(tmp_path, monkeypatch):
    entries = []
    for k, structure in enumerate((ROCK_SALT, RUTILE, CAESIUM_CHLORIDE)):
        lattice, coords, numbers = parts(structure)
        row = CrystalRow(
            id=f"mp-{k}",
            formula="",
            lattice=lattice,
            frac_coords=coords,
            atomic_numbers=np.array(numbers),
            split="",
        )
        entries.append(replace(build_known.entry_of(row), usable=structure is not CAESIUM_CHLORIDE))
    build_known.write(tmp_path / "known.zip", entries)
    monkeypatch.setattr(build, "load_known", lambda: KnownIndex(tmp_path / "known.zip"))
    members = build.known_members()
    assert sorted(member.id for member in members) == ["mp-0", "mp-1"]
    assert sorted(len(member.roles) for member in members) == [2, 6]
    build.build(members, tmp_path / "full.npz", full=True, source="known crystals", workers=1)
    (best,) = load_index(tmp_path / "full.npz").candidates([11, 17], 2)
    assert StructureMatcher().fit(Structure(Lattice(best.lattice), [11, 17], best.frac_coords), ROCK_SALT)


@pytest.mark.weights
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(900)  # what comes first also makes the rows, beside whatever else runs
def test_the_shipped_members_are_the_usable_rows(usable_rows, aflow_members):
    """As many members, of the very same formulas, as usable rows and AFLOW prototypes give."""
    from pymatgen.core import Composition

    seen = [row.atomic_numbers for row in usable_rows]
    card = find_card("prototype")
    shipped = load_index(card.folder / "prototypes.npz")
    # a prototype whose averaged cell has no closed symmetry form leaves the table with its members
    assert 0 <= len(seen) + len(aflow_members) - card.training["members"] <= 3
    formulas = {tuple(sorted(zip(*np.unique(z, return_counts=True), strict=True))) for z in seen}
    symbols = frozenset(
        Composition({int(z): int(n) for z, n in pairs}).reduced_formula for pairs in formulas
    ) | {
        Composition({e: n for e, n in zip(m.elements, m.pattern, strict=True)}).reduced_formula
        for m in aflow_members
    }
    assert reduced_formulas(shipped) == symbols
