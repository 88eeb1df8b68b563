"""The heads of properties, the calibration of their errors, and the index of training crystals."""

import numpy as np
import pytest
import torch

from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.predictors.calibration import calibrate
from crystal_core.predictors.crysldnet.heads import HeadsConfig, PropertyHeads
from crystal_core.predictors.latent_index import LatentIndex

NAMES = ("band_gap_ev", "is_metal")


def heads(**settings):
    torch.manual_seed(0)
    return PropertyHeads(NAMES, 16, HeadsConfig(hidden=8, **settings))


def test_unknown_labels_cost_nothing_and_give_no_gradient():
    network, pooled = heads(), torch.randn(3, 16)
    labels = torch.tensor([[1.0, 0.0], [torch.nan, 1.0], [2.0, torch.nan]])
    values, scales = network.losses(network(pooled), labels, torch.ones(3, 2, 4))
    assert values.isfinite().all()
    assert values[1, 0] == values[2, 1] == scales[1, 0] == scales[2, 1] == 0
    values[1, 0].backward(retain_graph=True)
    assert network.weight_1.grad is None or network.weight_1.grad.abs().max() == 0


def test_loss_is_the_error_in_standard_deviations_of_the_labels():
    network = heads(n_members=1)
    network.mean[0], network.std[0] = 10.0, 4.0
    outputs = network(torch.randn(5, 16))
    labels = torch.full((5, 2), 14.0)
    values, _ = network.losses(outputs, labels, torch.ones(5, 2, 1))
    torch.testing.assert_close(values[:, 0], (outputs.members[:, 0, 0] - 1.0).abs())


def test_residual_heads_are_those_of_pddformer():
    torch.manual_seed(0)
    network = PropertyHeads(NAMES, 8, HeadsConfig(n_members=1, hidden=8, form="residual"))
    pooled = torch.randn(5, 8)
    inner = torch.nn.functional.silu(pooled @ network.weight_1[1, 0].T + network.bias_1[1, 0])
    expected = (pooled + inner) @ network.weight_2[1, 0] + network.bias_2[1, 0]
    torch.testing.assert_close(network(pooled).members[:, 1, 0], expected)
    with pytest.raises(RequestError, match="set hidden to 16"):
        heads(form="residual")


def test_a_member_learns_only_what_its_sample_holds():
    network = heads(n_members=2)
    weights = torch.zeros(4, 2, 2)
    weights[:, 0, 1] = 1.0  # the first property, its second member
    values, _ = network.losses(network(torch.randn(4, 16)), torch.rand(4, 2), weights)
    values.sum().backward()
    moved = network.weight_2.grad.abs().sum(dim=-1) > 0
    assert moved.tolist() == [[False, True], [False, False]]


def test_expected_error_does_not_move_the_encoder():
    network, pooled = heads(), torch.randn(4, 16, requires_grad=True)
    with torch.no_grad():
        network.scale_2.normal_()
    _, scales = network.losses(network(pooled), torch.rand(4, 2), torch.ones(4, 2, 4))
    scales.sum().backward()
    assert pooled.grad is None or pooled.grad.abs().max() == 0
    assert network.scale_1.grad.abs().max() > 0


def test_intervals_hold_what_they_promise_on_other_crystals():
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.5, 2.0, 4000)  # right up to a factor that calibration has to find
    errors = np.abs(rng.laplace(0.0, 3.0 * expected))
    calibration = calibrate(errors[:2000], expected[:2000])
    covered = errors[2000:] <= calibration.interval * expected[2000:]
    assert covered.mean() == pytest.approx(0.90, abs=0.02)
    assert calibration.interval == pytest.approx(3.0 * np.log(10.0), rel=0.1)  # of |Laplace| with scale 3


def test_few_crystals_give_the_widest_interval_seen():
    assert calibrate(np.array([1.0, 3.0, 2.0]), np.ones(3)).interval == 3.0


@pytest.fixture
def index():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 40)).astype(np.float32) * np.linspace(3, 0.1, 40, dtype=np.float32)
    held = rng.normal(size=(200, 40)).astype(np.float32) * np.linspace(3, 0.1, 40, dtype=np.float32)
    gaps = np.where(np.arange(300) % 3 == 0, np.nan, np.arange(300)).astype(np.float32)
    return vectors, LatentIndex.build(
        vectors,
        held,
        ids=[f"mp-{i}" for i in range(300)],
        formulas=["X"] * 300,
        values={"band_gap_ev": gaps},
    )


def test_a_training_crystal_is_its_own_nearest_example(index):
    vectors, built = index
    examples, domains = built.nearest(vectors[[7, 9]], 2)
    assert [e[0].id for e in examples] == ["mp-7", "mp-9"]
    assert examples[0][0].values == {"band_gap_ev": 7.0}
    assert examples[1][0].values == {}  # its value is unknown
    assert examples[0][0].distance < examples[0][1].distance
    assert domains == ["inside", "inside"]


def test_the_closest_crystal_with_a_known_value_is_named_for_every_property(index):
    vectors, built = index
    (examples,), _ = built.nearest(vectors[[9]], 1, ["band_gap_ev", "hardness"])
    assert examples[0].id == "mp-9"
    far = np.linalg.norm(vectors - vectors[9], axis=1)
    far[::3] = np.inf  # those whose gap is unknown
    assert [e.id for e in examples[1:]] == [f"mp-{int(far.argmin())}"]
    assert examples[1].values
    assert examples[0].distance < examples[1].distance


def test_map_shows_the_first_two_axes(index):
    vectors, built = index
    np.testing.assert_allclose(built.places(vectors), built.map_places, atol=2e-3)  # 16 bits
    np.testing.assert_allclose(built.places(vectors), built.coordinates[:, :2], atol=0.03)  # half a step


def test_nine_of_ten_held_out_crystals_are_inside_and_a_far_one_is_outside(index):
    vectors, built = index
    rng = np.random.default_rng(1)
    fresh = rng.normal(size=(500, 40)).astype(np.float32) * np.linspace(3, 0.1, 40, dtype=np.float32)
    _, domains = built.nearest(fresh)
    assert np.mean([d == "inside" for d in domains]) == pytest.approx(0.9, abs=0.05)
    _, far = built.nearest(vectors[:1] + 50.0)
    assert far == ["outside"]


def test_index_returns_from_its_file(index, tmp_path):
    vectors, built = index
    built.save(tmp_path / "index.npz.xz")
    again = LatentIndex.load(tmp_path / "index.npz.xz")
    assert again.nearest(vectors[:50], 3) == built.nearest(vectors[:50], 3)
    np.testing.assert_array_equal(again.map_places, built.map_places)


def test_damaged_index_is_refused(tmp_path):
    (tmp_path / "index.npz.xz").write_bytes(b"nothing")
    with pytest.raises(CheckpointMismatch, match="no index"):
        LatentIndex.load(tmp_path / "index.npz.xz")
