"""Official DiffCSP files, of the published layout with random weights: read whole, or refused by name."""

import json

import pytest
import torch
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.generators.diffcsp.config import ProcessConfig
from crystal_core.generators.diffcsp.import_official import import_diffcsp
from crystal_core.generators.diffcsp.network import CspNetwork, CspNetworkConfig
from crystal_core.generators.diffcsp.reference import reference_forward
from crystal_core.generators.diffcsp.schedules import cosine_betas, schedules_of
from crystal_core.networks.packing import pack
from crystal_core.registry.store import find_card, load_generator
from crystal_core.requests import GenerationRequest

H, LAYERS, K, TIME, T = 16, 2, 4, 8, 40  # hidden, layers, frequencies, width of time features, time indices


def layout():
    """Name → shape of a network as published, biases where it has them."""
    shapes = {
        "node_embedding.weight": (100, H),
        "atom_latent_emb.weight": (H, H + TIME),
        "atom_latent_emb.bias": (H,),
        "coord_out.weight": (3, H),
        "lattice_out.weight": (9, H),
        "final_layer_norm.weight": (H,),
        "final_layer_norm.bias": (H,),
    }
    for i in range(LAYERS):
        part = {
            "edge_mlp.0": (H, 2 * H + 9 + 6 * K),
            "edge_mlp.2": (H, H),
            "node_mlp.0": (H, 2 * H),
            "node_mlp.2": (H, H),
        }
        for name, shape in part.items():
            shapes[f"csp_layer_{i}.{name}.weight"] = shape
            shapes[f"csp_layer_{i}.{name}.bias"] = (H,)
        shapes |= {f"csp_layer_{i}.layer_norm.{end}": (H,) for end in ("weight", "bias")}
    return shapes


def official_state(prefix=""):
    rng = torch.Generator().manual_seed(0)
    state = {
        f"{prefix}decoder.{name}": 0.2 * torch.randn(shape, generator=rng) for name, shape in layout().items()
    }
    schedules, betas = schedules_of(ProcessConfig(n_times=T)), cosine_betas(T).float()
    drawn = 1 + 0.05 * torch.rand(T + 1, generator=rng)  # a file's norms are a Monte Carlo estimate
    return state | {
        f"{prefix}beta_scheduler.betas": betas,
        f"{prefix}beta_scheduler.alphas": 1 - betas,
        f"{prefix}beta_scheduler.alphas_cumprod": torch.cumprod(1 - betas, 0),
        f"{prefix}beta_scheduler.sigmas": betas.sqrt(),
        f"{prefix}sigma_scheduler.sigmas": schedules.sigmas.float(),
        f"{prefix}sigma_scheduler.sigmas_norm": schedules.norms.float() * drawn,
    }


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "shipped"))
    return tmp_path


@pytest.mark.parametrize("prefix", ["", "model."])
def test_an_official_file_becomes_a_checkpoint_that_samples(home, prefix):
    file, state = home / "last.ckpt", official_state(prefix)
    torch.save({"state_dict": state, "epoch": 3}, file)
    done = import_diffcsp(file, None, "theirs")
    assert done.parameters == sum(torch.Size(shape).numel() for shape in layout().values())
    card = find_card("theirs")
    assert card.problem() is None and card.training["process"]["centred"] is False
    generator = load_generator("theirs", "cpu")
    assert generator.network.config == CspNetworkConfig(
        hidden_dim=H, n_layers=LAYERS, n_frequencies=K, time_dim=TIME
    )
    torch.testing.assert_close(
        generator.schedules.norms.float(), state[f"{prefix}sigma_scheduler.sigmas_norm"]
    )
    network, n_atoms = CspNetwork(generator.network.config), torch.tensor([2, 1])
    own = {k.removeprefix(f"{prefix}decoder."): v for k, v in state.items() if "decoder." in k}
    network.load_state_dict(own)
    given = (torch.tensor([7, 7]), torch.rand(3, 3), torch.tensor([1, 100, 26]), 3 * torch.randn(2, 3, 3))
    for a, b in zip(
        generator.network(*given, pack(n_atoms)),
        reference_forward(network, *given, pack(n_atoms)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    *_, frame = generator.sample(GenerationRequest(compositions=((11, 17),), sampler="pc"))
    assert frame.finished and frame.n_steps == T and generator.network_calls == 2 * T


def test_a_bare_network_takes_the_published_noise_levels(home):
    file = home / "net.pt"
    torch.save({name: torch.zeros(shape) for name, shape in layout().items()}, file)
    import_diffcsp(file, None, "bare")
    assert load_generator("bare", "cpu").schedules.n_times == 1000
    assert "published cosine schedule" in find_card("bare").limits


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s | {"decoder.type_out.weight": torch.zeros(100, H)}, "type_out"),
        (lambda s: {k: v for k, v in s.items() if "layer_norm" not in k}, "layer_norm"),
        (lambda s: s | {"beta_scheduler.betas": torch.linspace(0, 0.02, T + 1)}, "cosine"),
        (lambda s: s | {"sigma_scheduler.sigmas": torch.linspace(0, 0.5, T + 1)}, "geometric"),
        (lambda s: s | {"sigma_scheduler.sigmas_norm": torch.zeros(T + 1)}, "positive"),
        (lambda s: s | {"encoder.x": torch.zeros(3)}, "encoder.x"),
        (lambda s: {"a": torch.zeros(1)}, "0 networks"),
        (lambda s: s | {"decoder.coord_out.weight": torch.full((3, H), torch.nan)}, "not finite"),
        (lambda s: s | {"decoder.csp_layer_0.edge_mlp.0.weight": torch.zeros(H, 2 * H + 12)}, "columns"),
    ],
)
def test_another_layout_is_refused_by_name_and_leaves_nothing(home, change, says):
    torch.save(change(official_state()), home / "x.ckpt")
    with pytest.raises(CheckpointMismatch, match=says):
        import_diffcsp(home / "x.ckpt", None, "theirs")
    assert not (home / "home" / "checkpoints" / "theirs").exists()


def test_statistics_belong_to_another_method(home):
    torch.save(official_state(), home / "x.ckpt")
    with pytest.raises(RequestError, match="--statistics"):
        import_diffcsp(home / "x.ckpt", home / "x.json", "theirs")


def test_the_command_line_imports_one(home):
    torch.save(official_state(), home / "x.ckpt")
    done = CliRunner().invoke(
        build_app(), ["models", "import", "diffcsp", str(home / "x.ckpt"), "--name", "theirs", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["task"] == "structure prediction"
