"""Candidates of known crystals: from a table that does not hold the crystal, judged against it."""

import re

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.datasets.rows import MP20_TABLE, read_rows
from crystal_core.generators.prototype.build import build
from crystal_core.generators.prototype.grouping import member_of
from crystal_core.paths import data_dir
from crystal_core.workflows.ranking_rows import judged_candidates, set_apart
from crystal_core.workflows.references import Reference

ROCKSALTS = {"KCl": 6.29, "LiF": 4.03, "NaBr": 5.97, "KBr": 6.6, "LiCl": 5.13}
B2 = {"CsBr": 4.29, "TlCl": 3.83, "CsI": 4.57}


def rocksalt(formula, a):
    cell = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), re.findall("[A-Z][a-z]?", formula), [[0] * 3, [0.5] * 3]
    )
    return cell.get_primitive_structure()


def b2(formula, a):
    return Structure(Lattice.cubic(a), re.findall("[A-Z][a-z]?", formula), [[0] * 3, [0.5] * 3])


def member(name, cell):
    return member_of(name, cell.lattice.matrix, cell.frac_coords, cell.atomic_numbers)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "table.npz"
    members = [member(f, rocksalt(f, a)) for f, a in ROCKSALTS.items()]
    members += [member(f, b2(f, a)) for f, a in B2.items()]
    build(members, path, full=False, source="a few halides", workers=1)
    return path


@pytest.mark.weights
def test_a_crystal_that_the_table_does_not_hold_is_found_by_its_relatives(table):
    salt = rocksalt("NaCl", 5.64)
    reference = Reference(id="mp-1", atomic_numbers=(11, 17), structure=salt)
    found = judged_candidates(reference, table, place=1)
    assert [right for _, _, right in found] == [True, False]
    first, second = (evidence for evidence, _, _ in found)
    assert first.rank == 1 and first.votes > second.votes
    assert first.distance > 0  # the table holds no NaCl
    volumes = [cell.volume for _, cell, _ in found]
    assert 0.6 * salt.volume < min(volumes) and max(volumes) < 1.7 * salt.volume


@pytest.mark.weights
def test_every_other_crystal_gets_orderings_too(table):
    layered = Structure(
        Lattice.tetragonal(3.9, 5.6),
        ["Na", "K", "Cl", "Cl"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0, 0, 0.5]],
    )
    reference = Reference(id="mp-2", atomic_numbers=(11, 17, 17, 19), structure=layered)
    plain = judged_candidates(reference, table, place=1)
    ordered = judged_candidates(reference, table, place=2)[len(plain) :]
    assert not any(evidence.ordered for evidence, _, _ in plain)
    assert ordered and all(evidence.ordered for evidence, _, _ in ordered)
    assert any(right for _, _, right in ordered)
    for _, cell, _ in ordered:
        assert sorted(np.array(cell.atomic_numbers)) == [11, 17, 17, 19]


@pytest.mark.data
@pytest.mark.skipif(data_dir() is None, reason="needs the raw data sets (CRYSTAL_DATA)")
def test_only_training_crystals_are_set_apart():
    apart = {one.id for one in set_apart(data_dir())}
    training = {row.id for row in read_rows(data_dir() / MP20_TABLE, "train")}
    assert apart <= training
    assert len(apart) == pytest.approx(len(training) / 3, rel=0.05)
