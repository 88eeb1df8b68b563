"""A space group request: projections are projections, every state on the way is symmetric, and the
crystals have the group.
"""

import random

import numpy as np
import pytest
import spglib
import torch
from pymatgen.core import Structure

from crystal_core.errors import IncompatibleSampler, RequestError
from crystal_core.evaluation.symmetry import has_operations, space_group_number, space_group_symbol
from crystal_core.generators.kldm.codec import LatticeCodec
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.samplers import LatentSampler, SamplerSettings
from crystal_core.generators.kldm.symmetry import Symmetry
from crystal_core.generators.prototype.space_groups import assignments_of
from crystal_core.generators.symmetrise import symmetrised
from crystal_core.geometry import centre, lattice_from_parameters
from crystal_core.networks.packing import pack
from crystal_core.registry.store import find_card, load_generator
from crystal_core.requests import CellSymmetry, DeNovoRequest, KnownParts
from crystal_core.structures import to_structures

CODEC = LatticeCodec.from_training(
    torch.exp(1.5 + 0.2 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))),
    torch.arange(60) % 12 + 1,
)


def cell_of(lattice, coords, types):
    """The operations of a cell as spglib finds them."""
    dataset = spglib.get_symmetry_dataset((lattice, coords, types), symprec=1e-4)
    images = np.einsum("kij,nj->kni", dataset.rotations, coords) + dataset.translations[:, None]
    gap = images[:, :, None] - np.array(coords)[None, None]
    permutations = np.abs(gap - np.round(gap)).sum(-1).argmin(-1)
    return CellSymmetry(
        rotations=dataset.rotations.astype(np.int64),
        translations=dataset.translations,
        permutations=permutations,
        frac_coords=np.array(coords),
        label=dataset.international,
    )


HEXAGONAL = [[3.0, 0, 0], [-1.5, 1.5 * 3**0.5, 0], [0, 0, 5.0]]
CELLS = [
    # Pm-3m
    cell_of(
        np.eye(3) * 4, [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], [1, 2, 3, 3, 3]
    ),
    # P6_3mc, free z
    cell_of(
        HEXAGONAL,
        [[1 / 3, 2 / 3, 0.02], [2 / 3, 1 / 3, 0.52], [1 / 3, 2 / 3, 0.39], [2 / 3, 1 / 3, 0.89]],
        [1, 1, 2, 2],
    ),
    # P4mm
    cell_of(
        np.diag([4.0, 4.0, 4.2]),
        [[0, 0, 0], [0.5, 0.5, 0.46], [0.5, 0.5, 0.03], [0.5, 0, 0.52], [0, 0.5, 0.52]],
        [1, 2, 3, 4, 4],
    ),
    # Pmmm, the last atom of the first orbit
    cell_of(np.diag([4.0, 4.5, 5.0]), [[0.2, 0, 0], [0, 0, 0], [0.8, 0, 0]], [1, 2, 1]),
]
RNG = torch.Generator().manual_seed(1)


@pytest.fixture
def symmetry():
    return Symmetry.of(CELLS, CODEC, "cpu")


def defects(coords, cell):
    """How far each operation misses, given that it may come with any translation."""
    images = np.einsum("kij,nj->kni", cell.rotations, coords) - coords[cell.permutations]
    change = images - images[:, :1]
    return np.abs(change - np.round(change)).max()


def test_displacements_are_projected_onto_what_the_operations_leave(symmetry):
    v = torch.randn(17, 3, generator=RNG)
    projected = symmetry.displacement(v)
    assert torch.allclose(symmetry.displacement(projected), projected, atol=1e-6)
    assert projected[:5].abs().max() < 1e-6  # every site of the perovskite is fixed
    # the next two move along the axis alone
    assert projected[5:14, :2].abs().max() < 1e-6 and projected[5:14, 2].abs().min() > 0
    # and two atoms of the last against each other
    assert projected[14:, 1:].abs().max() < 1e-6 and projected[14, 0] == -projected[16, 0] != 0
    index = torch.tensor([0] * 5 + [1] * 4 + [2] * 5 + [3] * 3)
    assert torch.allclose(symmetry.displacement(centre(v, index, 4)), centre(projected, index, 4), atol=1e-6)


def test_positions_with_free_parameters_keep_the_operations(symmetry):
    places = symmetry.positions(torch.rand(17, 3, generator=RNG) - 0.5).double().numpy()
    for cell, atoms in zip(CELLS, (slice(0, 5), slice(5, 9), slice(9, 14), slice(14, 17))):
        assert defects(places[atoms], cell) < 1e-5
    assert np.abs(places[5:9] - CELLS[1].frac_coords).max() > 1e-2


PNMA = cell_of(  # 4c twice, x and z free, and 8d, all three free
    np.diag([5.3, 7.6, 5.2]),
    [
        [0.02, 0.25, 0.99],
        [0.48, 0.75, 0.49],
        [0.98, 0.75, 0.01],
        [0.52, 0.25, 0.51],
        [0.48, 0.25, 0.08],
        [0.02, 0.75, 0.58],
        [0.52, 0.75, 0.92],
        [0.98, 0.25, 0.42],
        [0.29, 0.05, 0.72],
        [0.21, 0.95, 0.22],
        [0.71, 0.55, 0.28],
        [0.79, 0.45, 0.78],
        [0.71, 0.95, 0.28],
        [0.79, 0.05, 0.78],
        [0.29, 0.45, 0.72],
        [0.21, 0.55, 0.22],
    ],
    [1] * 4 + [2] * 4 + [3] * 8,
)
RUTILE = cell_of(
    np.diag([4.6, 4.6, 2.96]),
    [[0, 0, 0], [0.5] * 3, [0.3, 0.3, 0], [0.7, 0.7, 0], [0.2, 0.8, 0.5], [0.8, 0.2, 0.5]],
    [1, 1, 2, 2, 2, 2],
)
# R3m
RHOMBOHEDRAL = cell_of(
    np.eye(3) * 4 + 0.3,
    [[0.01] * 3, [0.49] * 3, [0.52, 0.52, 0.03], [0.52, 0.03, 0.52], [0.03, 0.52, 0.52]],
    [1, 2, 3, 3, 3],
)


@pytest.mark.parametrize(
    ("cell", "label", "free"),
    [
        (RUTILE, "P4_2/mnm", [(2, 0)]),
        (PNMA, "Pnma", [(0, 0), (0, 2), (4, 0), (8, 0), (8, 1), (8, 2)]),
        (RHOMBOHEDRAL, "R3m", [(0, 0), (1, 0), (2, 0), (2, 2)]),
    ],
)
def test_free_parameters_are_uniform_over_the_cell(cell, label, free):
    copies, draws, n = 100, 20, len(cell.frac_coords)
    uniform = torch.rand(draws, copies * n, 3, generator=torch.Generator().manual_seed(4)) - 0.5
    positions = Symmetry.of([cell] * copies, CODEC, "cpu").positions
    places = torch.cat([positions(one) for one in uniform]).double().numpy().reshape(draws * copies, n, 3)
    shift = places - cell.frac_coords
    # with their own translations: that of the image is the shift, rotated
    missed = np.einsum("kij,cnj->ckni", cell.rotations, shift) - shift[:, cell.permutations]
    assert cell.label == label and np.abs(missed - np.round(missed)).max() < 1e-6
    drawn = np.stack([shift[:, atom, axis] for atom, axis in free], axis=1)
    drawn -= np.round(drawn)
    assert np.abs(drawn.std(0) - 12**-0.5).max() < 0.01  # the error of 2,000 draws is 0.003
    waves = np.exp(2j * np.pi * drawn)
    assert max(np.abs((waves**k).mean(0)).max() for k in (1, 2, 3)) < 4 / len(drawn) ** 0.5
    # and independent of each other
    assert np.abs(waves.T @ waves.conj() / len(drawn) - np.eye(len(free))).max() < 4 / len(drawn) ** 0.5
    assert np.abs(waves.T @ waves / len(drawn)).max() < 4 / len(drawn) ** 0.5


def test_noise_keeps_the_operations_and_the_strength_it_has_without_them():
    copies, draws = 100, 20
    for cell in CELLS:
        n = len(cell.frac_coords)
        symmetry = Symmetry.of([cell] * copies, CODEC, "cpu")
        normal = torch.randn(draws, copies * n, 3, generator=torch.Generator().manual_seed(5))
        drawn = torch.stack([symmetry.noise(one) for one in normal])
        for one in drawn:
            assert torch.allclose(symmetry.displacement(one), one, atol=1e-5)
        stays = cell.permutations == np.arange(n)
        projectors = np.einsum("ka,kij->aij", stays, cell.rotations) / stays.sum(0)[:, None, None]
        variance = drawn.double().numpy().reshape(draws * copies, n, 3).var(0).sum(-1)
        # orthogonal axes: as many unit numbers as the site has free directions
        if all(np.allclose(p, p.T) for p in projectors):
            assert np.abs(variance - np.trace(projectors, axis1=1, axis2=2)).max() < 0.25


def test_cells_take_the_symmetry_and_keep_it(symmetry):
    latent = torch.randn(4, 6, generator=RNG)
    cells = symmetry.cell(latent)
    assert torch.allclose(symmetry.cell(cells), cells, atol=1e-4)
    for cell, rows in zip(CELLS, lattice_from_parameters(CODEC.decode(cells.double(), symmetry.n_atoms))):
        metric = (rows @ rows.T).numpy()
        turned = np.einsum("mki,kl,mlj->mij", cell.rotations, metric, cell.rotations)
        assert np.abs(turned - metric).max() < 1e-4 * metric.max()
    # angles no lattice has give a flat cell, and never NaN
    assert symmetry.cell(torch.tensor([[0.0, 0, 0, 30.0, -30.0, -30.0]]).repeat(4, 1)).isfinite().all()


@pytest.mark.parametrize("species", ["masking", "one-hot", "analog-bits"])
@pytest.mark.parametrize("sampler", ["em", "exp-em", "pc", "pc-pf", "ode"])
def test_every_crystal_on_the_way_has_the_operations(tiny_de_novo, species, sampler):
    model = load_generator(tiny_de_novo(species))
    request = DeNovoRequest(
        n_atoms=(5, 4, 5, 3), symmetry=tuple(CELLS), sampler=sampler, steps=6, seed=2, frame_every=1
    )
    for frame in model.sample(request):
        for cell, crystal, structure in zip(CELLS, frame.crystals, to_structures(frame.crystals)):
            assert structure is None or has_operations(structure, cell.rotations, cell.translations, 0.01)
            assert defects(crystal.frac_coords.double().numpy(), cell) < 1e-4
            numbers = crystal.atomic_numbers.numpy()
            assert (numbers[cell.permutations] == numbers).all()
            rows = crystal.lattice[0].double().numpy()
            metric = rows @ rows.T
            assert (
                np.abs(np.einsum("mki,kl,mlj->mij", cell.rotations, metric, cell.rotations) - metric).max()
                < 1e-4 * metric.max()
            )


def test_no_request_leaves_sampling_as_it_was_and_contradictions_are_refused(tiny_de_novo, symmetry):
    model = load_generator(tiny_de_novo())
    free = CellSymmetry(
        rotations=np.eye(3, dtype=np.int64)[None],
        translations=np.zeros((1, 3)),
        permutations=np.arange(5)[None],
        frac_coords=np.zeros((5, 3)),
        label="P1",
    )
    runs = [
        [*model.sample(DeNovoRequest(n_atoms=(5,), symmetry=operations, sampler="em", steps=5, seed=3))][
            -1
        ].crystals
        for operations in (None, (free,))
    ]
    # in P1 every projection is the identity
    assert torch.allclose(runs[0].frac_coords, runs[1].frac_coords, atol=1e-4)
    known = KnownParts(crystals=runs[0], places=(True,) * 5, types=(True,) * 5)
    with pytest.raises(RequestError, match="not both"):
        DeNovoRequest(n_atoms=(5,), symmetry=(free,), known=known)
    with pytest.raises(RequestError, match="other atom counts"):
        DeNovoRequest(n_atoms=(4,), symmetry=(free,))
    with pytest.raises(IncompatibleSampler, match="space group"):
        LatentSampler(
            SamplerSettings(),
            pack(symmetry.n_atoms),
            ProcessConfig(coordinates="euclidean", species="masking"),
            symmetry=symmetry,
        )


@pytest.mark.weights
@pytest.mark.parametrize(("number", "count"), [(221, 5), (225, 2), (227, 14), (194, 4), (14, 12), (160, 5)])
def test_drawn_assignments_are_of_the_group_and_exact(number, count):
    assignments = assignments_of(find_card("prototype"), number, range(count, count + 1))
    assert assignments.atom_counts == (count,)
    rng = random.Random(0)
    for cell in [assignments.draw(count, rng) for _ in range(3)]:
        images = (
            np.einsum("kij,nj->kni", cell.rotations, cell.frac_coords)
            + cell.translations[:, None]
            - cell.frac_coords[cell.permutations]
        )
        assert np.abs(images - np.round(images)).max() < 1e-5 and len(cell.frac_coords) == count
        assert (np.abs(np.linalg.det(cell.rotations)).round() == 1).all()


def test_space_groups_have_numbers_and_symbols():
    assert [
        space_group_number(t) for t in ("1", "230", "Fm-3m", "fm-3m", "P2_1/c", "P 21/c", "R-3m", "P4_2/mnm")
    ] == [
        1,
        230,
        225,
        225,
        14,
        14,
        166,
        136,
    ]
    assert [space_group_symbol(n) for n in (1, 62, 225)] == ["P1", "Pnma", "Fm-3m"]
    for wrong in ("0", "231", "-5", "Fm9m", "", "²", "1" * 50, "x" * 500):
        with pytest.raises(RequestError, match="no space group"):
            space_group_number(wrong)


def test_space_groups_may_be_typeset():
    typeset = ("P4_{2}/mnm", "P4₂/mnm", r"$R\bar{3}m$", r"Fm\overline3m", "R3\u0304m", "F−43m", "$Pnma$")
    assert [space_group_number(text) for text in typeset] == [136, 136, 166, 225, 166, 216, 62]
    with pytest.raises(RequestError, match="no space group"):
        space_group_number(r"\bar{x}")


def test_a_rough_crystal_becomes_exactly_symmetric_at_the_first_tolerance_that_shows_the_requested_group():
    rng = np.random.default_rng(0)
    coords = np.array(RUTILE.frac_coords) + rng.uniform(-0.015, 0.015, (6, 3))
    rough = Structure(np.diag([4.6, 4.63, 2.96]), ["Ti"] * 2 + ["O"] * 4, coords)
    assert symmetrised(rough, (0.01,)).space_group == 1
    # without a requested group, what the first tolerance shows
    assert symmetrised(rough, (0.01, 0.4)).space_group == 1
    form = symmetrised(rough, (0.01, 0.4), space_group=136)
    assert form.space_group == 136 and form.structure.get_space_group_info(symprec=1e-5)[1] == 136
    assert form.structure.species == rough.species and len(form.symmetry.rotations) == 16
    moved = form.structure.frac_coords - rough.frac_coords
    assert np.linalg.norm((moved - np.round(moved)) @ rough.lattice.matrix, axis=1).max() < 0.2
    # a crystal keeps its orientation, and its hand
    lattice = rough.lattice.matrix @ np.array([[0, 1, 0], [0, 0, 1], [-1, 0, 0.0]])
    turned = Structure(lattice, rough.species, rough.frac_coords)
    assert np.linalg.det(lattice) < 0
    lies = symmetrised(turned, (0.01, 0.4), space_group=136).structure.lattice.matrix
    assert np.abs(lies - lattice).max() < 0.02
    # a group that it has at no tolerance: what the first one shows
    assert symmetrised(rough, (0.01, 0.4), space_group=225).space_group == 1


@pytest.mark.parametrize("t", [0.1, 0.6, 1.0])
def test_a_renoised_start_keeps_the_operations_and_is_noisy_along_what_they_leave_free(t):
    cells = [RUTILE, PNMA]
    symmetry = Symmetry.of(cells, CODEC, "cpu")
    packing = pack(torch.tensor([6, 16]))
    sampler = LatentSampler(SamplerSettings(name="em", steps=3), packing, ProcessConfig(), symmetry=symmetry)
    home = torch.cat([torch.tensor(np.array(cell.frac_coords)) for cell in cells]).float()
    start = sampler.start_from(home, torch.zeros(2, 6), t, torch.Generator().manual_seed(0))
    for cell, atoms in zip(cells, (slice(0, 6), slice(6, 22)), strict=True):
        assert defects(start.frac_coords[atoms].double().numpy(), cell) < 1e-5
    assert torch.allclose(symmetry.displacement(start.velocity), start.velocity, atol=1e-5)
    moved = (start.frac_coords - home + 0.5) % 1 - 0.5
    # Ti lies fixed, O is free along one line
    assert moved[:2].abs().max() < 1e-6 and moved[2, 0].abs() > 1e-3
    assert float(moved[2, 0]) == pytest.approx(float(moved[2, 1]), abs=1e-6)
