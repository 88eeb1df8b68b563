"""The graph of a crystal: against the plain construction and brute force, and what must not change it."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import RequestError
from crystal_core.geometry import lattice_from_parameters
from crystal_core.graphs.crystal_graphs import CRYSLDNET_GRAPH, MATFORMER_GRAPH, GraphConfig, build_graphs
from crystal_core.graphs.lattice_edges import lattice_images
from crystal_core.graphs.neighbours import MIN_DISTANCE, find_neighbours
from crystal_core.graphs.pdd import pdd_rows
from crystal_core.graphs.reference import reference_edges

SMALL = GraphConfig(n_neighbours=12)


def reference_nearest(structure, n_nearest):
    """Ascending distances in Å of the nearest atoms of each atom."""
    radius = 4.0
    while True:
        rows = [
            sorted(x.nn_distance for x in neighbours if x.nn_distance > MIN_DISTANCE)
            for neighbours in structure.get_all_neighbors(radius)
        ]
        if min(map(len, rows)) >= n_nearest:
            return np.array([row[:n_nearest] for row in rows])
        radius *= 1.5


def crystal(lattice, coords, numbers):
    """One crystal in double precision, so that a comparison sees the search and not the
    rounding of its input.
    """
    return CrystalBatch(
        atomic_numbers=torch.tensor([int(z) for z in numbers]),
        frac_coords=torch.as_tensor(np.asarray(coords, dtype=float) % 1.0).reshape(-1, 3),
        lattice=torch.tensor(np.array(lattice, dtype=float)).reshape(1, 3, 3),
        n_atoms=torch.tensor([len(numbers)]),
    )


def random_crystal(seed, n_atoms=5, skew=0.25):
    rng = np.random.default_rng(seed)
    lattice = (np.eye(3) + skew * rng.standard_normal((3, 3))) * (14 * n_atoms) ** (1 / 3)
    return crystal(lattice, rng.random((n_atoms, 3)), rng.integers(1, 90, n_atoms))


ROCKSALT = crystal(
    5.64 * np.eye(3),
    [
        [0, 0, 0],
        [0, 0.5, 0.5],
        [0.5, 0, 0.5],
        [0.5, 0.5, 0],
        [0.5, 0.5, 0.5],
        [0.5, 0, 0],
        [0, 0.5, 0],
        [0, 0, 0.5],
    ],
    [11] * 4 + [17] * 4,
)
IRON = crystal(2.87 / 2 * (np.ones((3, 3)) - 2 * np.eye(3)), [[0, 0, 0]], [26])
SLIVER = crystal([[3.0, 0, 0], [22.0, 3.5, 0], [-16.0, 9.0, 4.0]], [[0, 0, 0], [0.3, 0.6, 0.5]], [6, 8])
CASES = {
    "random": random_crystal(0),
    "skewed": random_crystal(1, 3, 0.5),
    "rock salt": ROCKSALT,
    "one atom": IRON,
    "sliver": SLIVER,
}


def structure_of(batch):
    from pymatgen.core import Lattice, Structure

    return Structure(
        Lattice(batch.lattice[0].numpy()), batch.atomic_numbers.tolist(), batch.frac_coords.numpy()
    )


def environments(batch, config=SMALL):
    """Of every atom: Z, the sorted (distance, Z) of its incoming edges and its row of the distribution,
    rounded; as a multiset.
    """
    graphs = build_graphs(batch, config)
    edges = graphs.edges
    numbers, distance = graphs.atomic_numbers.tolist(), torch.cat([graphs.distance, graphs.distance]).tolist()
    incoming = [[] for _ in numbers]
    for i, j, d in zip(edges.receiver.tolist(), edges.sender.tolist(), distance, strict=True):
        incoming[i].append((round(d, 3), numbers[j]))
    rows = (1000 * pdd_rows(graphs, "relative")).round().int().tolist()
    return Counter(
        (z, tuple(sorted(near)), tuple(row)) for z, near, row in zip(numbers, incoming, rows, strict=True)
    )


def in_order(source, target, distance):
    order = np.lexsort((distance, target, source))
    return source[order], target[order], distance[order]


def divided(counter, by):
    assert all(n % by == 0 for n in counter.values())
    return Counter({key: n // by for key, n in counter.items()})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "config", [GraphConfig(n_neighbours=25, self_contacts="twice"), SMALL], ids=["25", "12"]
)
def test_edges_and_rows_equal_the_plain_construction(case, config):
    batch = CASES[case]
    structure = structure_of(batch)
    source, target, vector = reference_edges(
        structure, config.n_neighbours, config.tolerance, self_contacts=config.self_contacts
    )
    graphs = build_graphs(batch, config)
    distance = torch.cat([graphs.distance, graphs.distance]).numpy()
    expected = in_order(source, target, np.linalg.norm(vector, axis=1))
    edges = in_order(graphs.edges.sender.numpy(), graphs.edges.receiver.numpy(), distance)
    for a, b in zip(edges, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(graphs.nearest, reference_nearest(structure, 92), atol=1e-5)


def test_exact_mode_equals_the_plain_construction_where_no_distances_tie():
    batch = random_crystal(3, 7)
    _, _, vector = reference_edges(structure_of(batch), 25, 0.0)
    graphs = build_graphs(batch, CRYSLDNET_GRAPH)
    np.testing.assert_allclose(
        np.sort(np.linalg.norm(vector, axis=1)), np.sort(np.repeat(graphs.distance, 2)), atol=1e-5
    )


@pytest.mark.parametrize("case", [name for name in CASES if name != "sliver"])  # it needs too large a grid
def test_images_give_the_vectors_and_no_nearer_atom_is_missed(case):
    batch = CASES[case]
    lattice, coords = batch.lattice.numpy(), batch.frac_coords.numpy()
    contacts = find_neighbours(lattice, coords, batch.n_atoms.numpy(), n_neighbours=12)
    vectors = (coords[contacts.second] + contacts.image - coords[contacts.first]) @ lattice[0]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), contacts.distance, atol=1e-9)
    grid = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for i in range(len(coords)):
        every = np.concatenate(
            [np.linalg.norm((coords[j] + grid - coords[i]) @ lattice[0], axis=1) for j in range(len(coords))]
        )
        near = np.sort(every[(every > 0.15) & (every <= contacts.reach[i])])
        # a self contact is in both: n and -n
        mine = np.concatenate(
            [
                contacts.distance[contacts.first == i],
                contacts.distance[contacts.second == i],
            ]
        )
        assert len(near) >= 12
        np.testing.assert_allclose(np.sort(mine[mine <= contacts.reach[i]]), near, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_turning_mirroring_shifting_and_reordering_change_nothing(case):
    batch = CASES[case]
    rng = np.random.default_rng(7)
    lattice = batch.lattice[0].numpy()
    coords = batch.frac_coords.numpy()
    numbers = batch.atomic_numbers.numpy()
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    order = rng.permutation(len(numbers))
    expected = environments(batch)
    assert environments(crystal(lattice @ turn, coords, numbers)) == expected
    assert environments(crystal(lattice @ np.diag([1, 1, -1]) @ turn, coords, numbers)) == expected
    assert environments(crystal(lattice, coords + rng.random(3), numbers)) == expected
    assert environments(crystal(lattice, coords[order], numbers[order])) == expected


@pytest.mark.parametrize("case", CASES)
def test_another_cell_of_the_same_size_changes_nothing(case):
    batch = CASES[case]
    change = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]])
    lattice, coords = batch.lattice[0].numpy(), batch.frac_coords.numpy()
    other = crystal(change @ lattice, coords @ np.linalg.inv(change), batch.atomic_numbers)
    assert environments(other) == environments(batch)


@pytest.mark.parametrize("case", CASES)
def test_a_supercell_repeats_every_environment(case):
    batch = CASES[case]
    times = np.array([2, 1, 3])
    shifts = np.stack(np.meshgrid(*map(np.arange, times), indexing="ij"), -1).reshape(-1, 3)
    coords = np.concatenate([(batch.frac_coords.numpy() + shift) / times for shift in shifts])
    numbers = np.tile(batch.atomic_numbers.numpy(), len(shifts))
    super_cell = crystal(times[:, None] * batch.lattice[0].numpy(), coords, numbers)
    assert divided(environments(super_cell), len(shifts)) == environments(batch)


def test_the_published_weight_and_self_contacts_depend_on_the_supercell():
    """Why neither is our default."""
    doubled = crystal(np.diag([2, 1, 1]) @ IRON.lattice[0].numpy(), [[0, 0, 0], [0.5, 0, 0]], [26, 26])
    one, two = (build_graphs(x, CRYSLDNET_GRAPH) for x in (IRON, doubled))
    assert pdd_rows(one, "share")[0, 0] == 1.0
    assert pdd_rows(two, "share")[0, 0] == 0.5
    per_atom = [2 * len(x.distance) / len(x.atomic_numbers) for x in (one, two)]
    assert per_atom[0] != per_atom[1]


def test_ties_enter_together_or_not_at_all():
    """Rock salt has shells of 6, 12, 8 and 6: the 12th neighbour is in the second one, which is whole."""
    graphs = build_graphs(ROCKSALT, SMALL)
    assert torch.bincount(graphs.edges.receiver).tolist() == [18] * 8
    noise = crystal(
        ROCKSALT.lattice[0],
        ROCKSALT.frac_coords.numpy() + 1e-7 * np.random.default_rng(0).standard_normal((8, 3)),
        ROCKSALT.atomic_numbers,
    )
    assert torch.bincount(build_graphs(noise, SMALL).edges.receiver).tolist() == [18] * 8
    assert len(build_graphs(noise, GraphConfig(n_neighbours=12, tolerance=0.0)).distance) < 72


@pytest.mark.parametrize(
    "lattice", [30 * np.eye(3), np.diag([2.5, 2.5, 1e5]), np.diag([2.5, 1e4, 1e4]), np.diag([1e6, 1e6, 1e6])]
)
def test_isolated_atoms_layers_and_chains_end(lattice):
    batch = crystal(lattice, np.array([[0, 0, 0], [0, 0, 1.3]]) / np.diag(lattice), [1, 1])
    graphs = build_graphs(batch, CRYSLDNET_GRAPH)
    assert graphs.nearest.isfinite().all()
    np.testing.assert_allclose(graphs.nearest[0, 0], 1.3 if lattice[2, 2] > 1 else 1.2, rtol=1e-5)
    assert torch.bincount(graphs.edges.receiver).min() >= 25


@pytest.mark.parametrize(
    ("lattice", "coords", "message"),
    [
        (np.diag([3.0, 3.0, 1e-4]), [[0, 0, 0]], "Å3 per atom"),
        (np.diag([3.0, np.nan, 3.0]), [[0, 0, 0]], "not finite"),
        (np.eye(3), [[0, 0, np.inf]], "not finite"),
        (np.diag([1e6, 1e6, 1e-8]), [[0, 0, 0]], "lattice points"),
    ],
)
def test_what_is_no_crystal_is_refused_in_a_sentence(lattice, coords, message, monkeypatch):
    monkeypatch.setattr("crystal_core.graphs.neighbours.MAX_POINTS", 100_000)
    with pytest.raises(RequestError, match=message):
        find_neighbours(lattice[None], np.array(coords), np.array([1]), n_neighbours=12)


def test_a_batch_equals_its_crystals_one_by_one():
    batch = CrystalBatch.concat([*CASES.values(), *(random_crystal(i, 1 + i % 9) for i in range(20))])
    together = build_graphs(batch, SMALL)
    for i, alone in enumerate(batch):
        one, chosen = build_graphs(alone, SMALL), together.select(torch.tensor([i]))
        for name in one.__dataclass_fields__:
            assert torch.equal(getattr(one, name), getattr(chosen, name)), name


def test_an_empty_batch_has_an_empty_graph():
    empty = find_neighbours(
        np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros(0, int), n_neighbours=3, n_nearest=5
    )
    assert empty.nearest.shape == (0, 5)
    assert len(empty.first) == 0


def test_half_of_the_edges_are_the_others_reversed_and_sums_follow_their_atom():
    edges = build_graphs(CrystalBatch.concat([ROCKSALT, IRON]), SMALL).edges
    half = len(edges.pair_i)
    assert torch.equal(edges.receiver[:half], edges.sender[half:])
    assert edges.receiver[edges.edge_order].tolist() == sorted(edges.receiver.tolist())
    assert edges.sender[edges.sender_order].tolist() == sorted(edges.sender.tolist())
    assert (
        edges.edge_offsets.tolist() == torch.searchsorted(edges.receiver.sort()[0], torch.arange(9)).tolist()
    )


def test_lattice_edges_span_the_lattice_and_come_once():
    long = crystal(np.diag([1.0, 4.0, 30.0]), [[0, 0, 0], [0, 0, 0.5]], [6, 7])
    lengths = np.linalg.norm(
        lattice_images(long.lattice.numpy(), "shortest")[0] @ long.lattice[0].numpy(), axis=1
    )
    np.testing.assert_allclose(lengths, [1, 4, 30])
    plain, spanned = (
        build_graphs(long, GraphConfig(n_neighbours=2, lattice_edges=x)) for x in ("none", "shortest")
    )
    added = Counter(spanned.distance.tolist()) - Counter(plain.distance.tolist())
    assert added == Counter({4.0: 2, 30.0: 2})  # of both atoms; the contact at 1 Å is there already
    six = build_graphs(long, GraphConfig(n_neighbours=2, lattice_edges="cell"))
    assert len(six.distance) == len(plain.distance) + 2 * 5
    assert build_graphs(long, MATFORMER_GRAPH).nearest.shape == (2, 0)


def test_a_hidden_element_has_weight_zero():
    batch = crystal(5 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [0, 17])
    graphs = build_graphs(batch, SMALL)
    assert pdd_rows(graphs, "relative")[:, 0].tolist() == [0.0, 2.0]
    hidden = build_graphs(crystal(5 * np.eye(3), [[0, 0, 0]], [0]), SMALL)
    assert pdd_rows(hidden, "share")[:, 0].tolist() == [0.0]


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("CRYSTAL_DATA"), reason="needs CRYSTAL_DATA")
def test_real_crystals_have_about_as_many_edges_as_published():
    import pandas as pd

    rows = pd.read_parquet(
        Path(os.environ["CRYSTAL_DATA"]) / "mp20.parquet", columns=["lattice", "species", "frac_coords"]
    ).sample(300, random_state=0)
    batch = CrystalBatch.concat(
        [
            crystal(np.reshape(row.lattice, (3, 3)), np.reshape(row.frac_coords, (-1, 3)), row.species)
            for row in rows.itertuples()
        ]
    )
    graphs = build_graphs(batch, GraphConfig(n_neighbours=25, self_contacts="twice"))
    assert 25 < 2 * len(graphs.distance) / len(graphs.atomic_numbers) < 31


def test_prepared_precision_keeps_shells_whole():
    """float32 cell parameters split equal distances by about 1e-6 Å; the default tolerance is wider."""
    parameters = torch.tensor([[5.640001, 5.64, 5.64, 90.0, 90.0, 90.0]])
    batch = crystal(
        lattice_from_parameters(parameters).numpy(), ROCKSALT.frac_coords, ROCKSALT.atomic_numbers
    )
    assert torch.bincount(build_graphs(batch, SMALL).edges.receiver).tolist() == [18] * 8
