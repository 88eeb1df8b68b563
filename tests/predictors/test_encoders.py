"""The encoders: against their plain forms, at published sizes, and the invariance that they promise."""

from dataclasses import replace

import pytest
import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import RequestError
from crystal_core.graphs.crystal_graphs import CRYSLDNET_GRAPH, GraphConfig, build_graphs
from crystal_core.predictors.crysldnet.encoders.matformer import Matformer, MatformerConfig
from crystal_core.predictors.crysldnet.encoders.pddformer import (
    PDDFORMER_SIZE,
    Pddformer,
    PddformerConfig,
    crysldnet_pddformer,
    official_pddformer,
    small_pddformer,
)
from crystal_core.predictors.crysldnet.encoders.protocol import Encoder
from crystal_core.predictors.crysldnet.encoders.reference import reference_matformer, reference_pddformer

GRAPH = GraphConfig(n_neighbours=8)


def crystals(counts=(3, 1, 5), seed=0):
    torch.manual_seed(seed)
    n = torch.tensor(counts)
    volume = (15.0 * n) ** (1 / 3)
    return CrystalBatch(
        atomic_numbers=torch.randint(1, 90, (int(n.sum()),)),
        frac_coords=torch.rand(int(n.sum()), 3, dtype=torch.float64),
        lattice=volume.double()[:, None, None] * (torch.eye(3) + 0.1 * torch.randn(len(n), 3, 3)).double(),
        n_atoms=n,
    )


@pytest.fixture(params=["pddformer", "official-pddformer", "matformer"])
def case(request):
    """An encoder with running statistics of its own, and its plain form."""
    torch.manual_seed(0)
    if request.param == "pddformer":
        encoder, plain = Pddformer(PddformerConfig(width=24, n_layers=3), GRAPH), reference_pddformer
    elif request.param == "official-pddformer":
        config = replace(PDDFORMER_SIZE, width=24, n_nearest=GRAPH.n_nearest)
        encoder, plain = Pddformer(config, GRAPH), reference_pddformer
    else:
        config = MatformerConfig(width=16, n_layers=3, n_heads=2, n_centres=32)
        encoder, plain = Matformer(config, GRAPH), reference_matformer
    for _ in range(20):
        encoder(build_graphs(crystals(seed=1), GRAPH))
    return encoder, plain


def in_double(graphs):
    values = {name: getattr(graphs, name) for name in graphs.__dataclass_fields__}
    return type(graphs)(**{k: v.double() if v.is_floating_point() else v for k, v in values.items()})


@pytest.mark.parametrize("self_contacts", ["once", "twice"])
@pytest.mark.parametrize("training", [False, True])
def test_the_fast_form_and_its_gradients_equal_the_plain_form(case, training, self_contacts):
    encoder, plain = case
    encoder = encoder.double().train(training)
    graphs = in_double(build_graphs(crystals(), GraphConfig(n_neighbours=8, self_contacts=self_contacts)))
    results = []
    for form in (encoder, lambda g: plain(encoder, g)):
        torch.manual_seed(3)  # the same dropout
        x = form(graphs)
        gradients = torch.autograd.grad((x**2).sum(), list(encoder.parameters()), allow_unused=True)
        results.append([x, *(g for g in gradients if g is not None)])
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-9, rtol=1e-9)


def test_single_precision_stays_within_rounding_of_the_plain_form():
    torch.manual_seed(0)
    encoder = crysldnet_pddformer()
    graphs = build_graphs(crystals((10, 8)), CRYSLDNET_GRAPH)
    encoder(graphs)
    encoder.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(graphs), reference_pddformer(encoder, graphs), atol=1e-5, rtol=1e-5
        )


def test_the_trunk_has_the_published_number_of_parameters_and_names():
    encoder = crysldnet_pddformer()
    assert sum(p.numel() for p in encoder.parameters()) == 4_332_800
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    assert shapes["atom_embedding.weight"] == (256, 119)
    assert shapes["rbf.0.centers"] == (256,)
    assert shapes["att_layers.3.lin_msg_update.0.weight"] == (256, 768)
    assert shapes["att_layers.0.bn_att.running_var"] == (256,)
    assert shapes["embed_adj.0.weight"] == (256, 93)
    assert shapes["lin.2.lin1.weight"] == (512, 256)
    assert "lin.3.bn.weight" not in shapes


def test_the_basis_is_the_published_one():
    encoder = crysldnet_pddformer()
    basis = encoder.rbf[0](torch.tensor([1.0, 3.0]))
    centres = torch.linspace(-4, 0, 256)
    expected = torch.exp(-63.75 * (-0.75 / torch.tensor([[1.0], [3.0]]) - centres) ** 2)
    torch.testing.assert_close(basis, expected, atol=1e-12, rtol=1e-5)
    assert basis[basis > 0].min() > 1e-22  # no subnormal numbers on the far centres


def test_the_official_pddformer_is_put_together_as_released():
    torch.manual_seed(0)
    encoder = official_pddformer().eval()
    assert (len(encoder.attentions), len(encoder.gates)) == (3, 2)
    assert encoder.embed_adj[0].weight.shape == (256, 51)
    assert encoder.graph == replace(CRYSLDNET_GRAPH, n_nearest=50)
    graphs = build_graphs(crystals(), encoder.graph)
    first = encoder.atom_embedding.weight[:, graphs.atomic_numbers].T + encoder.atom_embedding.bias
    inputs = encoder.atom_mlp[1](first * torch.sigmoid(first))
    distance = torch.tensor([1.0, 3.0])
    centres = torch.linspace(-6, 0, 256)
    gaussian = torch.exp(-255 / 6 * (-1 / distance[:, None] - centres) ** 2)
    edge = encoder.rbf[1](gaussian)
    torch.testing.assert_close(encoder.rbf(distance), edge * torch.sigmoid(edge), atol=1e-6, rtol=1e-5)
    seen = []
    encoder.att_layers[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    encoder(graphs)
    torch.testing.assert_close(seen[0], inputs)


def test_neighbours_in_the_batch_change_nothing_in_evaluation_mode(case):
    encoder, _ = case
    encoder.eval()
    batch = crystals()
    with torch.no_grad():
        together = encoder(build_graphs(batch, GRAPH))
        alone = torch.cat([encoder(build_graphs(one, GRAPH)) for one in batch])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def turned(batch):
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    return replace(batch, lattice=batch.lattice @ turn)


def mirrored(batch):
    return replace(
        batch, lattice=batch.lattice @ torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    )


def shifted(batch):
    return replace(batch, frac_coords=(batch.frac_coords + torch.rand(3)) % 1.0)


def in_another_cell(batch):
    change = torch.tensor([[1.0, 0, 0], [2, 1, 0], [-1, 3, 1]], dtype=torch.float64)
    return replace(
        batch, lattice=change @ batch.lattice, frac_coords=batch.frac_coords @ torch.linalg.inv(change)
    )


@pytest.mark.parametrize("change", [turned, mirrored, shifted, in_another_cell])
def test_features_do_not_depend_on_frame_or_cell(case, change):
    encoder, _ = case
    encoder.eval()
    torch.manual_seed(5)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(build_graphs(change(crystals()), GRAPH)),
            encoder(build_graphs(crystals(), GRAPH)),
            atol=1e-4,
            rtol=1e-4,
        )


def test_features_follow_the_order_of_the_atoms(case):
    encoder, _ = case
    encoder.eval()
    batch = crystals((6,))
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    other = replace(batch, atomic_numbers=batch.atomic_numbers[order], frac_coords=batch.frac_coords[order])
    with torch.no_grad():
        expected = encoder(build_graphs(batch, GRAPH))[order]
        torch.testing.assert_close(encoder(build_graphs(other, GRAPH)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("published", [False, True])
def test_only_our_defaults_give_a_supercell_the_same_features(published):
    torch.manual_seed(0)
    config = PddformerConfig(width=16, n_layers=2, pdd_weight="share" if published else "relative")
    graph = GraphConfig(n_neighbours=8, self_contacts="twice" if published else "once")
    encoder = Pddformer(config, graph)
    encoder(build_graphs(crystals(), graph))
    encoder.eval()
    one = crystals((3,))
    double = replace(
        one,
        atomic_numbers=one.atomic_numbers.repeat(2),
        frac_coords=torch.cat([one.frac_coords, one.frac_coords + torch.tensor([1.0, 0, 0])])
        / torch.tensor([2.0, 1, 1]),
        lattice=torch.diag(torch.tensor([2.0, 1, 1], dtype=torch.float64)) @ one.lattice,
        n_atoms=2 * one.n_atoms,
    )
    with torch.no_grad():
        a, b = encoder(build_graphs(one, graph)), encoder(build_graphs(double, graph))
    assert torch.allclose(a.repeat(2, 1), b, atol=1e-4) is not published


def test_bad_sizes_are_refused_in_a_sentence():
    with pytest.raises(RequestError, match="width"):
        PddformerConfig(width=0)
    with pytest.raises(RequestError, match="n_neighbours"):
        GraphConfig(n_neighbours=0)


def test_every_encoder_keeps_the_protocol():
    for encoder in (small_pddformer(), Matformer()):
        checked: Encoder = encoder
        assert checked.width == 128
        assert checked(build_graphs(crystals(), checked.graph)).shape == (9, 128)
