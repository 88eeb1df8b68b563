"""CrysLDNet's published equations written out plainly in float64 numpy, against what the package computes.

Encoder, losses of both stages, transformer and sampler follow the formulas of the publication and its
release, edge by edge and atom by atom; nothing here uses the package's networks or kernels. Only weights,
graphs and random numbers are shared.
"""

import math

import numpy as np
import pytest
import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.geometry import lattice_from_parameters
from crystal_core.graphs.crystal_graphs import GraphConfig, build_graphs
from crystal_core.networks.dit import Dit, DitConfig
from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer, PddformerConfig
from crystal_core.predictors.crysldnet.latent_flow import FlowConfig, LatentFlow
from crystal_core.predictors.crysldnet.vae import CrystalVae, VaeConfig, draw_hidden
from crystal_core.sampling.flow_matching import euler

D, NEAREST, CENTRES, LAYERS = 12, 10, 40, 3
GRAPH = GraphConfig(n_neighbours=6, tolerance=0.0, n_nearest=NEAREST, self_contacts="twice")
DIT = DitConfig(width=24, n_layers=2, n_heads=3, time_scale=1.0, positions=True)
# ascending, as the package orders crystals before it draws noise
COUNTS = [
    1,
    1,
    2,
    2,
    3,
    3,
    3,
    4,
    4,
    5,
    5,
    6,
]
OF = np.repeat(np.arange(len(COUNTS)), COUNTS)
RTOL = 1e-5  # of losses; the package takes its last sums in float32


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def softplus(x):
    return np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20))))


def gelu_erf(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def batch_norm(w, name, x):
    """With running statistics."""
    scale = w[f"{name}.weight"] / np.sqrt(w[f"{name}.running_var"] + 1e-5)
    return (x - w[f"{name}.running_mean"]) * scale + w[f"{name}.bias"]


def encode(w, numbers, of, edges, nearest):
    """Features of every atom; ``edges`` are (receiver, sender, length)."""
    x = linear(w, "atom_embedding", np.eye(119)[numbers])
    centres = np.linspace(-4, 0, CENTRES)
    i, j = edges[:, 0].astype(int), edges[:, 1].astype(int)
    s = -0.75 / edges[:, 2]
    gamma = 1 / (centres[1] - centres[0])
    f = softplus(linear(w, "rbf.1", np.exp(-gamma * (s[:, None] - centres) ** 2)))
    total = np.array([numbers[of == c].sum() for c in range(of.max() + 1)])
    share = numbers / np.maximum(total, 1)[of]
    a = linear(w, "embed_adj.0", np.concatenate([share[:, None], nearest], axis=1))
    for layer in range(LAYERS):
        att = f"att_layers.{layer}"
        q, k, v = (linear(w, f"{att}.lin_{part}", x) for part in ("query", "key", "value"))
        e = linear(w, f"{att}.lin_edge", f)

        def mixed(name, parts, att=att):
            first = silu(linear(w, f"{att}.{name}.0", np.concatenate(parts, axis=1)))
            return linear(w, f"{att}.{name}.2", first)

        alpha = q[i] * mixed("key_update", [k[i], k[j], e]) / math.sqrt(D)
        message = mixed("lin_msg_update", [v[i], v[j], e]) * sigmoid(batch_norm(w, f"{att}.bn_att", alpha))
        summed = np.zeros_like(x)
        np.add.at(summed, i, message)
        x = softplus(x + batch_norm(w, f"{att}.bn", linear(w, f"{att}.lin_concate", summed)))
        if layer < LAYERS - 1:
            gate = f"lin.{layer}"
            a = a + x
            u = linear(w, f"{gate}.lin1", batch_norm(w, f"{gate}.bn", a))
            x = linear(w, f"{gate}.lin3", linear(w, f"{gate}.lin2", u[:, :D]) * gelu_erf(u[:, D:])) + x
    return x


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def dit(w, z, t):
    """The transformer on one crystal without any padding; rows (atoms, inputs)."""
    n, width, heads = len(z), DIT.width, DIT.n_heads
    k = np.arange(width // 2)
    angles = np.arange(n)[:, None] * np.pi / 2048 ** (2 * k / width)
    h = linear(w, "x_embedder", z) + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    args = t * 10000.0 ** (-np.arange(128) / 128)
    c = np.concatenate([np.cos(args), np.sin(args)])
    c = linear(w, "t_embedder.mlp.2", silu(linear(w, "t_embedder.mlp.0", c)))
    for layer in range(DIT.n_layers):
        block = f"blocks.{layer}"
        sh1, sc1, g1, sh2, sc2, g2 = np.split(linear(w, f"{block}.adaLN_modulation.1", silu(c)), 6)
        u = layer_norm(h) * (1 + sc1) + sh1
        packed = u @ w[f"{block}.attn.in_proj_weight"].T + w[f"{block}.attn.in_proj_bias"]
        outputs = []
        for q, key, v in zip(
            *(np.split(part, heads, axis=1) for part in np.split(packed, 3, axis=1)), strict=True
        ):
            scores = np.exp(q @ key.T / math.sqrt(width // heads))
            outputs.append(scores / scores.sum(1, keepdims=True) @ v)
        h = h + g1 * linear(w, f"{block}.attn.out_proj", np.concatenate(outputs, axis=1))
        u = linear(w, f"{block}.mlp.fc1", layer_norm(h) * (1 + sc2) + sh2)
        u = 0.5 * u * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        h = h + g2 * linear(w, f"{block}.mlp.fc2", u)
    sh, sc = np.split(linear(w, "final_layer.adaLN_modulation.1", silu(c)), 2)
    return linear(w, "final_layer.linear", layer_norm(h) * (1 + sc) + sh)


def weights_of(module, prefix=""):
    return {
        key.removeprefix(prefix): value.detach().double().numpy()
        for key, value in module.state_dict().items()
        if key.startswith(prefix)
    }


def stirred(module):
    """Weights and running statistics away from where they begin; float64, evaluation mode."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.3)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return module.double().eval()


@pytest.fixture(scope="module")
def crystals():
    """Graphs in float64, coordinates that are neither wrapped nor fractional, and cell parameters."""
    torch.manual_seed(0)
    counts = torch.tensor(COUNTS)
    lengths = (15.0 * counts[:, None]) ** (1 / 3) + torch.rand(len(COUNTS), 3)
    parameters = torch.cat([lengths, 90 + 5 * torch.randn(len(COUNTS), 3)], dim=1).double()
    batch = CrystalBatch(
        atomic_numbers=torch.randint(1, 90, (len(OF),)),
        frac_coords=torch.rand(len(OF), 3, dtype=torch.float64),
        lattice=lattice_from_parameters(parameters),
        n_atoms=counts,
    )
    graphs = build_graphs(batch, GRAPH)
    values = {name: getattr(graphs, name) for name in graphs.__dataclass_fields__}
    graphs = type(graphs)(**{k: v.double() if v.is_floating_point() else v for k, v in values.items()})
    return graphs, 9 * torch.randn(len(OF), 3, dtype=torch.float64), parameters


def plain_features(w, graphs, numbers=None):
    pairs = np.stack([graphs.pair_i, graphs.pair_j, graphs.distance], axis=1)
    edges = np.concatenate([pairs, pairs[:, [1, 0, 2]]])
    numbers = graphs.atomic_numbers.numpy() if numbers is None else numbers
    return encode(w, numbers, OF, edges, graphs.nearest.numpy())


def published_vae():
    torch.manual_seed(1)
    config = PddformerConfig(
        width=D, n_layers=LAYERS, n_centres=CENTRES, n_nearest=NEAREST, pdd_weight="share"
    )
    return CrystalVae(Pddformer(config, GRAPH), VaeConfig(targets="published"))


def test_the_encoder_is_that_of_the_formulas(crystals):
    graphs, _, _ = crystals
    vae = stirred(published_vae())
    with torch.no_grad():
        features = vae.encoder(graphs).numpy()
    np.testing.assert_allclose(features, plain_features(weights_of(vae, "encoder."), graphs), rtol=1e-8)


def test_the_losses_of_stage_1_are_those_of_the_formulas(crystals):
    graphs, coordinates, parameters = crystals
    vae = stirred(published_vae())
    with torch.no_grad():
        vae.quant_conv.weight[D] = -100.0  # a logarithm of the variance far below its limit of -30
    hidden = draw_hidden(graphs.n_atoms, 0.3, torch.Generator().manual_seed(3))
    assert [int(hidden[c == OF].sum()) for c in range(len(COUNTS))] == [math.ceil(0.3 * n) for n in COUNTS]
    with torch.no_grad():
        losses = vae(graphs, coordinates, parameters, hidden, torch.Generator().manual_seed(4))

    w, mask = weights_of(vae), hidden.numpy()
    numbers = graphs.atomic_numbers.numpy()
    x = plain_features(weights_of(vae, "encoder."), graphs, np.where(mask, 0, numbers))
    mean, log_variance = np.split(x @ w["quant_conv.weight"].T, 2, axis=1)
    log_variance = np.clip(log_variance, -30, 20)
    assert (log_variance[:, 0] == -30).all()
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(4)).double().numpy()
    z = mean + np.exp(log_variance / 2) * noise
    scores = linear(w, "mlm_pred", z[mask])
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    types = -log_p[np.arange(mask.sum()), numbers[mask]].mean()
    positions = np.abs(linear(w, "position_mlp", z) - coordinates.numpy()).mean()
    pooled = np.stack([z[c == OF].mean(0) for c in range(len(COUNTS))])
    columns = lattice_from_parameters(parameters).numpy().transpose(0, 2, 1)  # a, b, c are columns
    lattice = np.abs(linear(w, "lattice_mlp", pooled).reshape(-1, 3, 3) - columns).mean()
    kl = ((mean**2 + np.exp(log_variance) - 1 - log_variance) / 2).sum(1).mean()
    np.testing.assert_allclose(float(losses.types), types, rtol=RTOL)
    np.testing.assert_allclose(float(losses.positions), positions, rtol=RTOL)
    np.testing.assert_allclose(float(losses.lattice), lattice, rtol=RTOL)
    np.testing.assert_allclose(float(losses.kl), kl, rtol=RTOL)
    np.testing.assert_allclose(float(losses.total), types + positions + lattice + 1e-5 * kl, rtol=RTOL)


@pytest.fixture(scope="module")
def flow():
    torch.manual_seed(2)
    return stirred(LatentFlow(published_vae(), FlowConfig(mode="published", dit=DIT)))


def plain_flow_loss(encoder, denoiser, graphs, t, noise):
    """Mean over crystals of |z1 - answer|² / (N d) / (1 - min(t, 0.9))²; noise is centred over
    all rows, padding included.
    """
    x = plain_features(encoder, graphs)
    losses = []
    for c, n in enumerate(COUNTS):
        z1, z0 = x[c == OF], (noise[c] - noise[c].mean(0))[:n]
        answer = dit(denoiser, (1 - t[c]) * z0 + t[c] * z1, t[c])
        losses.append(((z1 - answer) ** 2).sum() / (n * D) / (1 - min(t[c], 0.9)) ** 2)
    return np.mean(losses)


def drawn(seed):
    """Times and noise in the order in which the package draws them."""
    rng = torch.Generator().manual_seed(seed)
    t = 0.01 + 0.98 * torch.rand(len(COUNTS), generator=rng).double().numpy()
    return t, torch.randn(len(COUNTS), max(COUNTS), D, generator=rng).double().numpy()


def test_the_loss_of_stage_2_and_its_gradient_through_target_and_input(crystals, flow):
    graphs, coordinates, parameters = crystals
    t, noise = drawn(5)
    assert (t > 0.9).any()  # where the weight grows no more
    losses = flow(graphs, coordinates, parameters, torch.Generator().manual_seed(5))
    encoder, denoiser = weights_of(flow, "vae.encoder."), weights_of(flow, "denoiser.")
    expected = plain_flow_loss(encoder, denoiser, graphs, t, noise)
    np.testing.assert_allclose(float(losses.flow.detach()), expected, rtol=RTOL)
    np.testing.assert_allclose(float(losses.total.detach()), expected, rtol=RTOL)
    bias = flow.vae.encoder.atom_embedding.bias
    (gradient,) = torch.autograd.grad(losses.total, bias)
    for entry in (0, 7):
        change = np.zeros(D)
        change[entry] = 1e-5
        ends = [
            plain_flow_loss(
                encoder | {"atom_embedding.bias": encoder["atom_embedding.bias"] + sign * change},
                denoiser,
                graphs,
                t,
                noise,
            )
            for sign in (1, -1)
        ]
        np.testing.assert_allclose(float(gradient[entry]), (ends[0] - ends[1]) / 2e-5, rtol=1e-4)


def test_the_transformer_is_that_of_the_formulas():
    torch.manual_seed(6)
    network = stirred(Dit(DIT, D))
    sizes, t = (5, 2, 1), torch.tensor([0.03, 0.5, 0.97], dtype=torch.float64)
    rows = torch.randn(3, 5, D, dtype=torch.float64)
    present = torch.arange(5) < torch.tensor(sizes)[:, None]
    with torch.no_grad():
        answer = network(rows, t, present).numpy()
    for c, n in enumerate(sizes):
        np.testing.assert_allclose(
            answer[c, :n], dit(weights_of(network), rows[c, :n].numpy(), float(t[c])), rtol=1e-5, atol=1e-7
        )
        assert (answer[c, n:] == 0).all()


def test_the_sampler_takes_the_published_steps(flow):
    """z += (answer - z) / (1 - t) dt on 100 even times from 0.01 to 1, then the answer at t = 1."""
    w, n, steps = weights_of(flow, "denoiser."), 3, 100
    start = torch.randn(1, n, D, generator=torch.Generator().manual_seed(8)).double()
    present = torch.ones(1, n, dtype=torch.bool)
    with torch.no_grad():
        *_, (last, sample) = euler(lambda z, t: flow.denoiser(z, t.to(z), present), start, steps)
    z, times = start[0].numpy(), np.linspace(0.01, 1, steps)
    for t, later in zip(times[:-1], times[1:], strict=True):
        z = z + (dit(w, z, t) - z) / (1 - t) * (later - t)
    assert last == 1.0
    np.testing.assert_allclose(sample[0].numpy(), dit(w, z, 1.0), rtol=1e-4, atol=1e-5)
