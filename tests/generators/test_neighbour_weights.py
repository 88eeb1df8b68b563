"""Learned votes of known crystals: the formula of a weight, what the fit finds, and a damaged file."""

import math

import numpy as np
import pytest

from crystal_core.errors import CheckpointMismatch
from crystal_core.generators.prototype.fit_neighbours import fit
from crystal_core.generators.prototype.index import Geometry, Pool, PrototypeIndex
from crystal_core.generators.prototype.neighbour_weights import NeighbourWeights, load_neighbour_weights


def toy_index(distance=None, weights=None):
    """Crystals AB whose arrangement depends on whether B is odd; chemical distances say nothing of it."""
    pairs = [(a, b) for a in range(3, 43) for b in range(50, 70)]
    elements = np.array(pairs, dtype=np.uint8)
    prototype = elements[:, 1] % 2
    return PrototypeIndex(
        {(1, 1): Pool(elements=elements, prototype=prototype.astype(np.int64), geometry=prototype)},
        distance=np.zeros((119, 119)) if distance is None else distance,
        element_volumes=np.full(119, 10.0),
        geometry=lambda key: Geometry(
            np.eye(3), np.array([[0.0, 0, 0], [0.5, 0.5, 0.1 * key]]), np.array([0, 1]), 1.0, f"kind {key}"
        ),
        kind="toy",
        weights=weights,
    )


@pytest.fixture(scope="module")
def random_weights():
    rng = np.random.default_rng(3)
    return NeighbourWeights(
        vectors=rng.normal(size=(119, 4)),
        spread=rng.uniform(0.1, 1, 4),
        spread_apart=rng.uniform(0.1, 1, 4),
        gap=1.3,
        distance=0.7,
        popularity=0.2,
        same=-2.0,
        count_power=0.5,
    )


def test_a_weight_is_its_formula(random_weights):
    w, counts = random_weights, np.array([3, 1])
    role = np.sqrt(counts) * 2 / np.sqrt(counts).sum()
    difference = w.vectors[[8, 22]] - w.vectors[[16, 40]]
    apart = difference - difference.mean(0)
    squares = (role[:, None] * difference**2).sum(0) @ w.spread + (apart**2).sum(0) @ w.spread_apart
    by_hand = -1.3 * math.log1p(squares) - 0.7 * (role @ [0.4, 1.1]) + 0.2 * math.log1p(6)
    got = w.log_weights(
        np.array([[8, 22], [8, 22]]),
        np.array([[16, 40], [8, 22]]),
        counts,
        np.array([[0.4, 1.1], [0, 0]]),
        np.array([6, 0]),
    )
    assert got == pytest.approx([by_hand, -2.0])


def test_roles_of_equal_count_may_change_places(random_weights):
    elements, members, distance = np.array([[8, 26, 56]]), np.array([[16, 27, 38]]), np.array([[0.3, 1, 2]])
    swapped = [0, 2, 1]
    arguments = (np.array([3, 1, 1]), np.array([4]))
    first = random_weights.log_weights(elements, members, arguments[0], distance, arguments[1])
    second = random_weights.log_weights(
        elements[:, swapped], members[:, swapped], arguments[0], distance[:, swapped], arguments[1]
    )
    assert first == pytest.approx(second)


def test_the_fit_finds_what_chemical_distance_does_not_say():
    weights = fit(toy_index(), targets=600, epochs=12)
    learned, plain = toy_index(weights=weights), toy_index()
    # the vote for a pair leaves nothing out, so ask for pairs that the toy does not hold
    targets = [((a, b), b % 2) for a in range(43, 49) for b in range(50, 70)]
    first = [learned.candidates(sorted(pair), 1)[0] for pair, _ in targets]
    right = np.mean([one.prototype == kind for one, (_, kind) in zip(first, targets, strict=True)])
    guess = np.mean([plain.candidates(sorted(pair), 1)[0].prototype == kind for pair, kind in targets])
    assert right > 0.9 > 0.7 > guess
    assert min(one.votes for one in first) > 0.5


def test_parameters_survive_the_file_and_a_damaged_one_is_refused(tmp_path, random_weights):
    path = tmp_path / "weights.npz"
    random_weights.save(path)
    again = load_neighbour_weights(path)
    assert again.vectors == pytest.approx(random_weights.vectors, rel=1e-6)
    assert again.same == -2.0
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointMismatch, match="cannot be read"):
        load_neighbour_weights(path)
