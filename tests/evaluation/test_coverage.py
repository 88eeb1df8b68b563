"""Coverage, uniqueness and novelty on sets small enough to count by hand."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.composition_features import _magpie
from crystal_core.evaluation.coverage import CUTOFFS, Cutoffs, Fingerprints, coverage
from crystal_core.evaluation.novelty import TOLERANCES, are_known, group_numbers


def fingerprints(*pairs):
    """Crystals at (structure, composition) on two axes; None has no structure fingerprint."""
    table = _magpie()
    structure = np.zeros((len(pairs), 61))
    composition = np.tile(table.means, (len(pairs), 1))
    for row, (s, c) in enumerate(pairs):
        structure[row, 0] = np.nan if s is None else s
        composition[row, 0] += c * table.deviations[0]
    return Fingerprints(structure=structure, composition=composition)


def test_coverage_counted_by_hand():
    """Known at (0, 0) and (1, 50); of the generated, one lies near the first, one has its structure near and not its composition."""
    known = fingerprints((0, 0), (1, 50))
    generated = fingerprints((0.3, 2), (0.1, 20), (5, 1), (None, 0))
    found = coverage(generated, known, CUTOFFS["mp-20"])
    assert found.precise.tolist() == [True, False, False, False]
    assert found.recalled.tolist() == [True, False]


def test_structure_and_composition_may_be_near_different_crystals():
    """As in CDVAE's script: each nearest distance is taken for itself."""
    known = fingerprints((0, 50), (5, 0))
    assert coverage(fingerprints((0, 0)), known, CUTOFFS["mp-20"]).precise.tolist() == [True]
    assert coverage(fingerprints((0, 0)), known, Cutoffs(0.4, 0.0)).recalled.tolist() == [False, False]


def test_a_distance_equal_to_the_cut_off_is_near():
    assert coverage(fingerprints((0.5, 0)), fingerprints((0, 0)), Cutoffs(0.5, 0.0)).precise.all()


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    generated, known = (fingerprints(*rng.normal(0, (0.5, 5), (n, 2))) for n in (23, 17))
    whole = coverage(generated, known, CUTOFFS["perov-5"])
    monkeypatch.setattr("crystal_core.evaluation.coverage.BLOCK", 4)
    parts = coverage(generated, known, CUTOFFS["perov-5"])
    assert (whole.precise == parts.precise).all() and (whole.recalled == parts.recalled).all()
    assert 0 < whole.precise.mean() < 1


def test_nothing_generated_covers_nothing():
    found = coverage(fingerprints((None, 0)), fingerprints((0, 0)), CUTOFFS["mp-20"])
    assert not found.precise.any() and found.recalled.tolist() == [False]


def salt(a=5.6, symbols=("Na", "Cl")):
    centred = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    return Structure(
        Lattice.cubic(a),
        [s for s in symbols for _ in range(4)],
        centred + [[x + 0.5, y, z] for x, y, z in centred],
    )


def caesium_chloride():
    return Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize("tolerances", TOLERANCES.values(), ids=TOLERANCES.keys())
def test_salt_repeats_in_its_primitive_cell_and_another_arrangement_does_not(tolerances):
    cells = [salt(), None, salt().get_primitive_structure(), caesium_chloride(), salt(symbols=("K", "Cl"))]
    numbers = group_numbers(cells, tolerances)
    assert numbers[0] == numbers[2] and numbers[1] is None
    assert len({numbers[0], numbers[3], numbers[4]}) == 3
    assert are_known(cells, {"NaCl": [salt(5.5)]}, tolerances) == [True, False, True, False, False]


def test_a_cell_stretched_by_a_third_is_the_same_by_the_loose_tolerances_only():
    """c/a = 1.35 at equal volume is 22 % in c: between the tolerances of 20 and 30 %."""
    stretched = Structure(Lattice.tetragonal(3.5, 3.5 * 1.35), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    known = {"NaCl": [caesium_chloride()]}
    assert [are_known([stretched], known, TOLERANCES[name]) for name in ("strict", "loose")] == [
        [False],
        [True],
    ]
