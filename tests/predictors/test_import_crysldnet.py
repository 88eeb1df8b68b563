"""Official CrysLDNet files, built from their published layout with random weights: read whole,
or refused by name.
"""

import json
import os
import pickle

import pytest
import torch
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.networks.dit import DitConfig
from crystal_core.predictors.crysldnet.import_official import import_crysldnet
from crystal_core.registry.store import find_card
from crystal_core.training.checkpoint import read_shards
from crystal_core.training.fit import SNAPSHOT
from crystal_core.workflows.train import run_training

from .conftest import write_crystals

D, LAYERS, CENTRES, NEAREST = 16, 3, 24, 20  # width, attention layers, radial centres, distances
DIT, BLOCKS = 48, 2
UNTRAINED = ("fc.0.weight", "fc.0.bias", "fc_out.weight", "fc_out.bias")
TABLES = ("dataset_embedder.embedding_table.weight", "spacegroup_embedder.embedding_table.weight")


def linear(name, outputs, inputs, *, bias=True):
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def batch_norm(name):
    own = {f"{name}.{part}": (D,) for part in ("weight", "bias", "running_mean", "running_var")}
    return own | {f"{name}.num_batches_tracked": ()}


def encoder_layout():
    """Name → shape, as the specification's first table has it."""
    shapes = linear("atom_embedding", D, 119) | {"rbf.0.centers": (CENTRES,)} | linear("rbf.1", D, CENTRES)
    for i in range(LAYERS):
        att = f"att_layers.{i}"
        for part in ("query", "key", "value", "edge", "concate"):
            shapes |= linear(f"{att}.lin_{part}", D, D)
        for part in ("lin_msg_update", "key_update"):
            shapes |= linear(f"{att}.{part}.0", D, 3 * D) | linear(f"{att}.{part}.2", D, D)
        shapes |= batch_norm(f"{att}.bn") | batch_norm(f"{att}.bn_att")
    shapes |= linear("embed_adj.0", D, NEAREST + 1)
    for i in range(LAYERS - 1):
        shapes |= linear(f"lin.{i}.lin1", 2 * D, D) | linear(f"lin.{i}.lin2", D, D)
        shapes |= linear(f"lin.{i}.lin3", D, D) | batch_norm(f"lin.{i}.bn")
    shapes |= linear("quant_conv", 2 * D, D, bias=False) | linear("mlm_pred", 119, D)
    shapes |= linear("position_mlp", 3, D) | linear("lattice_mlp", 9, D)
    return shapes | linear("fc.0", D, D) | linear("fc_out", 119, D)


def dit_layout(width=DIT):
    """Name → shape, as the specification's second table has it."""
    shapes = linear("x_embedder", width, D) | linear("t_embedder.mlp.0", width, 256)
    shapes |= linear("t_embedder.mlp.2", width, width)
    shapes |= {TABLES[0]: (2, width), TABLES[1]: (231, width)}
    for i in range(BLOCKS):
        block = f"blocks.{i}"
        shapes |= {
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
        }
        shapes |= linear(f"{block}.attn.out_proj", width, width)
        shapes |= linear(f"{block}.mlp.fc1", 4 * width, width) | linear(f"{block}.mlp.fc2", width, 4 * width)
        shapes |= linear(f"{block}.adaLN_modulation.1", 6 * width, width)
    shapes |= linear("final_layer.linear", D, width)
    return shapes | linear("final_layer.adaLN_modulation.1", 2 * width, width)


def random_state(shapes):
    rng = torch.Generator().manual_seed(0)
    state = {key: 0.1 * torch.randn(shape, generator=rng) for key, shape in shapes.items()}
    for key, value in state.items():
        if key.endswith("running_var"):
            state[key] = value.abs() + 0.5
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        if key.endswith("centers"):
            state[key] = torch.linspace(-4, 0, CENTRES)
    return state


def stage_1():
    return random_state(encoder_layout())


def stage_2(width=DIT):
    encoder = {f"net.{k}": v for k, v in stage_1().items() if not k.startswith("mlm_pred")}
    return encoder | {f"denoiser.{k}": v for k, v in random_state(dit_layout(width)).items()}


@pytest.fixture
def save(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))

    def write(state):
        torch.save(state, tmp_path / "last.pt")
        return tmp_path / "last.pt"

    return write


def call(*words):
    return CliRunner().invoke(build_app(), ["models", "import", *map(str, words)])


def test_a_stage_1_file_becomes_a_checkpoint_with_every_number(save):
    state = stage_1()
    done = import_crysldnet(save(state), None, "one")
    card = find_card("one")
    assert card.problem() is None
    assert (card.kind, card.loader) == ("predictor", "crysldnet-vae")
    sizes = {
        "width": D,
        "n_layers": LAYERS,
        "n_centres": CENTRES,
        "n_nearest": NEAREST,
        "pdd_weight": "share",
    }
    assert sizes.items() <= card.network["encoder"].items()
    graph = card.network["graph"]
    assert (graph["n_neighbours"], graph["tolerance"], graph["self_contacts"]) == (25, 0.0, "twice")
    assert card.network["vae"]["targets"] == "published"
    read = read_shards(card)
    decoders = ("quant_conv", "mlm_pred", "position_mlp", "lattice_mlp")
    for key, value in state.items():
        if key not in UNTRAINED:
            own = key if key.startswith(decoders) else f"encoder.{key}"
            assert torch.equal(read.pop(own), value.float()), key
    assert read == {}
    assert sorted(done.unused) == sorted(UNTRAINED)
    assert done.absent == ()
    buffers = ("running_mean", "running_var", "num_batches_tracked", "centers")
    trained = [v for k, v in state.items() if k not in UNTRAINED and not k.endswith(buffers)]
    assert card.parameters == done.parameters == sum(v.numel() for v in trained)


def test_a_stage_2_file_keeps_encoder_and_transformer(save):
    state = stage_2()
    done = import_crysldnet(save(state), None, "two")
    card = find_card("two")
    assert card.loader == "crysldnet-latent"
    assert card.network["flow"]["mode"] == "published"
    assert DitConfig(**card.network["flow"]["dit"]) == DitConfig(
        width=DIT, n_layers=BLOCKS, n_heads=12, time_scale=1.0, positions=True
    )
    read = read_shards(card)
    assert torch.equal(read["vae.encoder.rbf.1.weight"], state["net.rbf.1.weight"])
    assert torch.equal(read["vae.quant_conv.weight"], state["net.quant_conv.weight"])
    for key in dit_layout():
        if key not in TABLES:
            assert torch.equal(read[f"denoiser.{key}"], state[f"denoiser.{key}"]), key
    expected = [f"net.{k}" for k in UNTRAINED] + [f"denoiser.{k}" for k in TABLES]
    assert sorted(done.unused) == sorted(expected)
    assert done.absent == ("mlm_pred.weight", "mlm_pred.bias")


def test_a_width_that_twelve_heads_do_not_divide_takes_fewer(save):
    import_crysldnet(save(stage_2(width=32)), None, "narrow")
    card = find_card("narrow")
    assert card.network["flow"]["dit"]["n_heads"] == 8
    assert "8 attention heads" in card.limits


CONFIGURATION = f"""
name = "again"
method = "crysldnet"
stage = "{{stage}}"
init_from = "{{name}}"
[encoder]
width = {D}
n_layers = {LAYERS}
n_centres = {CENTRES}
n_nearest = {NEAREST}
pdd_weight = "share"
[graph]
n_neighbours = 25
tolerance = 0.0
n_nearest = {NEAREST}
self_contacts = "twice"
[vae]
targets = "published"
[flow]
mode = "published"
[flow.dit]
width = {DIT}
n_layers = {BLOCKS}
n_heads = 12
time_scale = 1.0
positions = true
[fit]
batch_size = 12
learning_rate = 1e-9
precision = "float32"
"""


@pytest.mark.parametrize("stage", ["vae", "latent", "properties"])
def test_a_training_of_the_official_form_starts_from_it(save, tmp_path, stage):
    state = stage_1() if stage == "vae" else stage_2()
    import_crysldnet(save(state), None, "official")
    data = write_crystals(tmp_path / "crystals.safetensors", n_train=24, n_val=6)
    (tmp_path / "again.toml").write_text(CONFIGURATION.format(stage=stage, name="official"), encoding="utf-8")
    run_training(
        tmp_path / "again.toml", data=data, out=tmp_path / "run", samples=24, device="cpu", quiet=True
    )
    weights = torch.load(tmp_path / "run" / SNAPSHOT, weights_only=True)["ema"]
    places = {
        "vae": {"encoder.rbf.1.weight": "rbf.1.weight", "lattice_mlp.weight": "lattice_mlp.weight"},
        "latent": {
            "vae.encoder.rbf.1.weight": "net.rbf.1.weight",
            "denoiser.blocks.1.mlp.fc1.weight": "denoiser.blocks.1.mlp.fc1.weight",
            "denoiser.final_layer.linear.weight": "denoiser.final_layer.linear.weight",
        },
        "properties": {"encoder.att_layers.2.lin_key.weight": "net.att_layers.2.lin_key.weight"},
    }
    for ours, official in places[stage].items():
        torch.testing.assert_close(weights[ours], state[official], atol=1e-6, rtol=0)


def test_the_command_says_what_matches_nothing(save):
    file = save(stage_2())
    done = call("crysldnet", file, "--name", "official", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["name"], report["task"]) == ("official", "pretraining")
    assert {"net.fc_out.weight", "denoiser.dataset_embedder.embedding_table.weight", "mlm_pred.bias"} <= set(
        report["unmatched"]
    )
    assert "mlm_pred.bias" in call("crysldnet", file, "--name", "other").stdout


def test_statistics_belong_to_kldm_alone(save, tmp_path):
    file = save(stage_1())
    done = call("crysldnet", file, "--statistics", tmp_path / "s.json", "--name", "x")
    assert done.exit_code == 2
    assert "leave out --statistics" in done.stderr
    done = call("kldm", file, "--name", "x")
    assert done.exit_code == 2
    assert "add --statistics" in done.stderr
    assert not (tmp_path / "home" / "checkpoints" / "x").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "att_layers.1.lin_key.weight",
            torch.zeros(D, D + 1),
            r"lin_key\.weight is 16 x 17, expected 16 x 16",
        ),
        ("mlm_pred.weight", torch.zeros(100, D), r"mlm_pred\.weight is 100 x 16, expected 119 x 16"),
        ("embed_adj.0.bias", torch.full((D,), torch.nan), "not finite"),
        ("rbf.0.centers", torch.linspace(-6, 0, CENTRES), "even centres from -4 to 0"),
        ("rbf.1.bias", torch.zeros(D, dtype=torch.int64), "expected floating-point"),
        ("atom_embedding.weight", torch.zeros(5), "expected 2 dimensions"),
        ("embed_adj.0.weight", torch.zeros(D, 900), "n_nearest"),
        ("attention.weight", torch.zeros(3), r"unknown: attention\.weight"),
        ("rbf.1.bias", None, r"missing: rbf\.1\.bias"),
        ("embed_adj.0.weight", None, r"missing: embed_adj\.0\.weight"),
        ("mlm_pred.bias", None, None),
    ],
)
def test_what_does_not_fit_is_said(save, key, value, message):
    state = stage_1()
    if value is None:
        del state[key]
    else:
        state[key] = value
    if message is None:
        assert import_crysldnet(save(state), None, "x").absent == (key,)
        return
    with pytest.raises(CheckpointMismatch, match=message):
        import_crysldnet(save(state), None, "x")


def test_names_of_neither_stage_are_refused_beside_those_of_stage_2(save):
    with pytest.raises(CheckpointMismatch, match=r"unknown names beside .*: encoder\.weight"):
        import_crysldnet(save(stage_2() | {"encoder.weight": torch.zeros(2)}), None, "x")
    without = {k: v for k, v in stage_2().items() if not k.startswith("denoiser.blocks.")}
    with pytest.raises(CheckpointMismatch, match=r"missing: denoiser\.blocks\.0"):
        import_crysldnet(save(without), None, "x")
    with pytest.raises(CheckpointMismatch, match="missing: embed_adj"):
        import_crysldnet(save({}), None, "x")


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("crystal-studio-was-here",)


def test_hostile_files_are_refused_in_one_sentence(save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(Malicious()))
    torch.save({"rbf.1.weight": Malicious()}, tmp_path / "bad.pt")
    torch.save(stage_1() | {"rbf.1.weight": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "huge.pt")
    (tmp_path / "text.pt").write_text("no checkpoint", encoding="utf-8")
    for name, message in (
        ("bare.pkl", "not opened"),
        ("bad.pt", "not opened"),
        ("huge.pt", "not stored in full"),
        ("text.pt", "no PyTorch checkpoint"),
        ("none.pt", "no file"),
    ):
        done = call("crysldnet", tmp_path / name, "--name", "bad")
        assert done.exit_code == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "crystal-studio-was-here").exists()
    assert list((tmp_path / "home").rglob("*.safetensors")) == []
    with pytest.raises(RequestError, match="cannot name"):
        import_crysldnet(save(stage_1()), None, "../x")
