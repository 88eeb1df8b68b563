"""Baselines without a network: what they keep of the training formulas, and that a seed repeats them."""

from collections import Counter

import numpy as np
import pytest

from crystal_core.errors import MissingExtra
from crystal_core.registry.store import load_generator
from crystal_core.workflows import naive_baselines
from crystal_core.workflows.naive_baselines import random_symmetric, substituted, swap_elements

COMPOSITIONS = [(38, 22, 8, 8, 8), (11, 17), (22, 8, 8)]


def test_random_cells_keep_the_formula_and_have_symmetry():
    pytest.importorskip("pyxtal")
    cells = random_symmetric(COMPOSITIONS, 4, seed=1)
    formulas = {cell.composition.reduced_formula for cell in cells if cell is not None}
    assert len(cells) == 4 and formulas and formulas <= {"SrTiO3", "NaCl", "TiO2"}
    again = random_symmetric(COMPOSITIONS, 4, seed=1)
    assert [c and c.density for c in cells] == pytest.approx([c and c.density for c in again])


def test_random_cells_without_their_package_say_how_to_get_it(monkeypatch):
    monkeypatch.setattr(naive_baselines, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"crystal-studio\[evaluate\]"):
        random_symmetric(COMPOSITIONS, 1, seed=0)


def test_substitution_changes_elements_and_keeps_counts():
    index = load_generator("prototype", "cpu").index
    cells = substituted(index, COMPOSITIONS, 6, seed=0)
    for cell in cells:
        numbers = Counter(site.specie.Z for site in cell)
        assert sorted(numbers.values()) in ([1, 1, 3], [1, 1], [1, 2])
        assert tuple(sorted(numbers.elements())) not in {tuple(sorted(c)) for c in COMPOSITIONS}
    assert [c.formula for c in cells] == [c.formula for c in substituted(index, COMPOSITIONS, 6, seed=0)]


def test_the_nearest_elements_replace_most_often():
    distance = np.full((119, 119), 5.0)
    distance[11, 19] = 0.1
    np.fill_diagonal(distance, 0.0)
    rng = np.random.default_rng(0)
    drawn = Counter(swap_elements((11, 17), np.array([11, 17, 19, 26]), distance, rng) for _ in range(50))
    assert drawn.most_common(1)[0][0] == (19, 17) and (11, 17) not in drawn


def test_what_cannot_be_replaced_stays():
    assert swap_elements((11, 17), np.array([11]), np.zeros((119, 119)), np.random.default_rng(0)) == (11, 17)
