"""Features of compositions and sites: equal to matminer 0.10.1's, whose values were computed once
and are kept here.
"""

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from crystal_core.evaluation.composition_features import composition_features, standardised
from crystal_core.evaluation.site_fingerprints import site_fingerprint, structure_fingerprint

# minimum … mode of the atomic number, then features 9, 21, 43, 57, 130, 131, and the sum of all 132
MAGPIE = {
    "SrTiO3": ([8, 38, 30, 16.8, 10.56, 8, 62.4, 631.08, 3.44, 2.4, 94.8, 12], 7595.410465),
    "Li2Fe4P7O24": (
        [3, 26, 23, 11, 4.756757, 8, 78.135135, 315.883243, 3.44, 3.162162, 59.579255, 12],
        6206.067451,
    ),
    "NaCl": ([11, 17, 6, 14, 3, 11, 48, 271.235, 3.16, 2.5, 82.5, 64], 3358.675269),
}
PEROVSKITE = Structure(
    Lattice.cubic(3.9),
    ["Sr", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)
SKEW = Structure(
    Lattice.from_parameters(4.1, 5.2, 6.3, 82, 95, 104),
    ["Li", "Fe", "P", "O", "O"],
    [[0.02, 0.11, 0.93], [0.41, 0.52, 0.47], [0.12, 0.61, 0.33], [0.72, 0.28, 0.51], [0.33, 0.85, 0.72]],
)
# feature → value; all others are 0
CRYSTAL_NN = [
    (
        PEROVSKITE,
        {
            2: 0.310501,
            5: 1.8e-05,
            6: 0.036067,
            7: 0.310501,
            22: 0.489499,
            23: 0.097933,
            24: 0.489499,
            25: 0.24475,
            44: 0.2,
            45: 0.2,
            47: 0.038188,
            48: 0.114905,
        },
    ),
    (
        SKEW,
        {
            0: 0.261446,
            1: 0.261446,
            2: 0.459078,
            3: 0.236707,
            4: 0.135838,
            5: 0.033827,
            6: 0.18689,
            7: 0.11415,
            8: 0.179315,
            9: 0.074315,
            10: 0.031907,
            11: 0.086034,
            12: 0.006046,
            13: 0.001849,
            14: 0.002241,
            15: 0.002216,
            16: 0.002008,
            17: 0.002028,
            18: 0.030965,
            19: 0.010647,
            20: 0.009256,
            21: 0.010568,
            22: 0.003056,
            23: 0.001558,
            24: 0.000752,
            25: 0.001135,
        },
    ),
]


def features(formula):
    return composition_features({e.symbol: n for e, n in Composition(formula).items()})


@pytest.mark.parametrize("formula", MAGPIE)
def test_composition_features_are_those_of_matminer(formula):
    values = features(formula)
    some, total = MAGPIE[formula]
    assert values.shape == (132,)
    assert values[[0, 1, 2, 3, 4, 5, 9, 21, 43, 57, 130, 131]] == pytest.approx(some, abs=1e-6)
    assert values.sum() == pytest.approx(total, abs=1e-5)


def test_atomic_numbers_of_salt_by_hand():
    """Na 11 and Cl 17, one of each: equal shares have the smaller value as their mode."""
    assert features("NaCl")[:6].tolist() == [11, 17, 6, 14, 3, 11]


def test_gaps_in_the_tables_become_average():
    """Magpie gives helium no electronegativity and no melting point."""
    values = features("HeO")
    assert np.isnan(values).sum() == 12 and not np.isnan(standardised(values)).any()
    assert (standardised(values)[np.isnan(values)] == 0).all()


def test_an_amount_is_a_share():
    assert np.allclose(features("SrTiO3"), features("Sr4Ti4O12"))


@pytest.mark.parametrize(("structure", "expected"), CRYSTAL_NN)
def test_site_fingerprints_are_those_of_matminer(structure, expected):
    fingerprint = structure_fingerprint(structure)
    whole = np.zeros(61)
    whole[list(expected)] = list(expected.values())
    assert np.allclose(
        fingerprint, whole, atol=2e-6
    )  # the kept values have six places; equal sites count once


def test_a_fingerprint_is_the_mean_of_its_sites_whatever_their_order():
    sites = np.mean([site_fingerprint(PEROVSKITE, i) for i in range(5)], axis=0)
    assert np.allclose(sites, structure_fingerprint(PEROVSKITE), atol=1e-6)
    turned = Structure.from_sites([PEROVSKITE[i] for i in (4, 2, 0, 3, 1)])
    assert np.allclose(structure_fingerprint(turned), structure_fingerprint(PEROVSKITE), atol=1e-6)


def test_weights_of_the_coordination_numbers_sum_to_one():
    starts = [0, 2, 8, 12, 18, 22, 26, 29, 32, 36, 40, 44, *range(49, 61)]
    assert structure_fingerprint(PEROVSKITE)[starts].sum() == pytest.approx(1, abs=1e-6)
