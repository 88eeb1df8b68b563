"""Official KLDM files, built from their published layout with random weights, are read or refused by name."""

import json
import math
import os
import pickle
import tomllib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from crystal_core.cards import sha256_of, to_toml
from crystal_core.cli import build_app
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.generators.kldm.coordinates import Coordinates, ScoreNorms
from crystal_core.generators.kldm.import_official import import_kldm, read_statistics
from crystal_core.generators.kldm.samplers import LatentSampler, SamplerSettings
from crystal_core.generators.kldm.weights import write_shards
from crystal_core.networks.packing import pack
from crystal_core.registry.store import find_card, load_generator
from crystal_core.requests import DeNovoRequest, GenerationRequest
from crystal_core.sampling.torus_langevin import score_norm_squared, sigma_displacement

H, LAYERS, K, TIME = 16, 2, 4, 8  # hidden, layers, frequencies, rows of the time buffer
STATISTICS = {
    str(n): [[1.2 + 0.03 * n, 1.3 + 0.03 * n, 1.5 + 0.03 * n], [0.2, 0.2, 0.25]] for n in (2, 4, 5, 10)
}


def layout(task):
    """Sub-key → shape, as the specification's table has it; options C, C-AB and D of de novo models."""
    width = {"csp": 0, "C": 100, "C-AB": 7, "D": 100}[task]
    continuous = task in ("C", "C-AB")
    shapes = {
        "net.node_embedding.weight": (H, width) if continuous else (101, H),
        "net.atom_latent_emb.weight": (H, H + 2 * TIME),
        "net.atom_latent_emb.bias": (H,),
        "net.time_emb.weight": (TIME, 1),
        "net.final_layer_norm.weight": (H,),
        "net.final_layer_norm.bias": (H,),
        "net.out_v.0.weight": (H, H),
        "net.out_v.0.bias": (H,),
        "net.out_v.2.weight": (3, H),
        "net.out_l.weight": (6, H),
        "diffusions.v._sigma_norms": (2000,),
    }
    for i in range(LAYERS):
        part = {
            "v_proj.weight": (6 * K, 3),
            "v_proj.bias": (6 * K,),
            "edge_mlp.0.weight": (H, 2 * H + 6 + 12 * K),
            "edge_mlp.0.bias": (H,),
            "edge_mlp.2.weight": (H, H),
            "edge_mlp.2.bias": (H,),
            "node_mlp.0.weight": (H, 2 * H),
            "node_mlp.0.bias": (H,),
            "node_mlp.2.weight": (H, H),
            "node_mlp.2.bias": (H,),
            "layer_norm.weight": (H,),
            "layer_norm.bias": (H,),
        }
        shapes |= {f"net.layers.{i}.{key}": shape for key, shape in part.items()}
    if width:
        shapes |= {"net.out_h.weight": (width, H), "net.out_h.bias": (width,)}
    return shapes


def official_state(task="csp"):
    rng = torch.Generator().manual_seed(0)
    state = {}
    for prefix in ("model.", "ema_model.module."):
        state |= {
            prefix + key: 0.2 * torch.randn(shape, generator=rng) for key, shape in layout(task).items()
        }
        for letter in "l" if task in ("csp", "D") else "lh":
            constants = {
                "dim": torch.tensor(6),
                "sde.schedule._beta_min": torch.tensor(0.1),
                "sde.schedule._beta_max": torch.tensor(20.0),
            }
            state |= {f"{prefix}diffusions.{letter}.{key}": value for key, value in constants.items()}
        if task == "D":
            state[f"{prefix}diffusions.h.vocab_size"] = torch.tensor(100)
        s = torch.linspace(0, 2, 2000, dtype=torch.float64)
        drawn = 1 + 0.05 * torch.randn(2000, generator=rng, dtype=torch.float64).clamp(-1, 1)
        exact = torch.from_numpy(score_norm_squared(sigma_displacement(s).numpy()))
        state[f"{prefix}diffusions.v._sigma_norms"] = (drawn * exact).float()
    return state | {"ema_model.n_averaged": torch.tensor(7)}


def load_state(state):
    """The averaged weights under our names."""
    prefix = "ema_model.module.net."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def sampler_of(model, score_norms):
    return LatentSampler(SamplerSettings(), pack(torch.tensor([2])), model.process, score_norms=score_norms)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    (tmp_path / "train_loc_scale.json").write_text(json.dumps(STATISTICS), encoding="utf-8")

    def write(state):
        torch.save(
            {"state_dict": state, "epoch": 3, "hyper_parameters": {"lr": 1e-3}}, tmp_path / "last.ckpt"
        )
        return tmp_path / "last.ckpt", tmp_path / "train_loc_scale.json"

    return write


@pytest.mark.parametrize(
    ("task", "species"), [("csp", "fixed"), ("C", "one-hot"), ("C-AB", "analog-bits"), ("D", "masking")]
)
def test_every_variant_becomes_a_checkpoint_that_samples(files, task, species):
    state = official_state(task)
    done = import_kldm(*files(state), "official")
    card = find_card("official")
    assert card.problem() is None and card.extra["source_sha256"] in card.source
    assert (
        done.parameters
        == card.parameters
        == sum(torch.Size(s).numel() for k, s in layout(task).items() if "net." in k and "time_emb" not in k)
    )
    model = load_generator("official", "cpu")
    assert model.process.species == species
    for key, value in model.network.state_dict().items():
        assert torch.equal(value, state[f"ema_model.module.net.{key}"]), key
    if species == "fixed":
        *_, last = model.sample(GenerationRequest(compositions=((11, 17),), sampler="em", steps=3, seed=0))
        assert last.crystals.atomic_numbers.tolist() == [11, 17]
    else:
        *_, last = model.sample(DeNovoRequest(n_atoms=(3,), sampler="em", steps=3, seed=0))
        assert len(last.crystals.atomic_numbers) == 3


@pytest.mark.parametrize("t", [0.001, 0.0017, 0.004, 0.0049, 0.3, 0.99975, 1.0])
def test_the_score_takes_the_norms_of_the_file_as_the_official_code_does(files, t):
    """Entry round(2000 t) - 1 of n², no interpolation; score = -v / sigma_v² + kappa n y."""
    state = official_state()
    import_kldm(*files(state), "official")
    model = load_generator("official", "cpu")
    sampler = sampler_of(model, model.score_norms)
    squared = state["ema_model.module.diffusions.v._sigma_norms"]
    y, u = torch.randn(2, 3), torch.randn(2, 3)
    sigma_v = 1 - math.exp(-4 * t) + 1e-6  # squared, with the floor of the published code
    n = math.sqrt(float(squared[int(np.round(np.float32(t) * 2000)) - 1]))
    expected = -2 * math.pi * u / sigma_v + math.tanh(t) * n * y
    place = Coordinates(torch.zeros(2, 3), u)
    torch.testing.assert_close(sampler.coordinates.score(y, place, t), expected, rtol=1e-5, atol=1e-5)


def test_norms_change_what_is_sampled_and_times_beyond_the_table_take_its_ends(files):
    state = official_state()
    import_kldm(*files(state), "official")
    request = GenerationRequest(compositions=((11, 17),), sampler="pc", steps=3, seed=0)
    model = load_generator("official", "cpu")
    *_, own = model.sample(request)
    model.score_norms = None
    *_, quadrature = model.sample(request)
    assert not torch.equal(own.crystals.frac_coords, quadrature.crystals.frac_coords)
    norms = ScoreNorms(torch.arange(1.0, 2001.0) ** 2)
    assert [norms.at(t) for t in (1e-5, 0.0005, 0.001, 1.0)] == [1, 1, 2, 2000]


def test_a_checkpoint_imported_by_an_older_version_samples_with_calculated_norms(files, tmp_path):
    """Format 1: bfloat16 weights, no table of norms."""
    import_kldm(*files(official_state()), "official")
    folder = find_card("official").folder
    for path in folder.glob("*.safetensors"):
        path.unlink()
    weights = load_state(official_state())
    names = [*write_shards(weights, folder), "lattice.json"]
    fields = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
    del fields["format"], fields["sampling"]
    fields["files"] = {name: sha256_of(folder / name) for name in names}
    (folder / "card.toml").write_text(to_toml(fields), encoding="utf-8")
    model = load_generator("official", "cpu")
    assert model.score_norms is None and model.card.most_atoms == 10
    *_, last = model.sample(GenerationRequest(compositions=((11, 17),), sampler="em", steps=3, seed=0))
    assert last.crystals.atomic_numbers.tolist() == [11, 17]


def test_a_file_without_norms_is_imported_and_says_that_they_are_calculated(files):
    state = {key: value for key, value in official_state().items() if "_sigma_norms" not in key}
    import_kldm(*files(state), "official")
    card = find_card("official")
    assert "score norms, so they are calculated" in card.limits and "score_norms" not in card.sampling
    assert load_generator("official", "cpu").score_norms is None


def test_large_float32_weights_are_split_into_files_below_14_mb(tmp_path):
    rng = torch.Generator().manual_seed(0)
    state = {f"layer.{i}": torch.randn((1000, 1000), generator=rng) for i in range(8)}
    names = write_shards(state, tmp_path, torch.float32)
    assert len(names) == 3 and all((tmp_path / name).stat().st_size <= 14_000_000 for name in names)
    read = {key: value for name in names for key, value in load_file(tmp_path / name).items()}
    assert all(torch.equal(read[key], value) for key, value in state.items()) and len(read) == 8


def test_raw_weights_are_taken_where_there_is_no_average(files):
    state = {key: value for key, value in official_state().items() if key.startswith("model.")}
    import_kldm(*files(state), "raw")
    assert torch.equal(
        load_generator("raw", "cpu").network.state_dict()["time_emb.weight"],
        state["model.net.time_emb.weight"],
    )


def test_an_average_that_has_not_begun_is_not_taken(files):
    state = official_state() | {"ema_model.n_averaged": torch.tensor(0)}
    import_kldm(*files(state), "early")
    assert torch.equal(
        load_generator("early", "cpu").network.state_dict()["time_emb.weight"],
        state["model.net.time_emb.weight"],
    )


def test_the_state_alone_is_read_too(files, tmp_path):
    (_, statistics), state = files({}), official_state()
    torch.save(state, tmp_path / "state.pt")
    import_kldm(tmp_path / "state.pt", statistics, "alone")
    assert torch.equal(
        load_generator("alone", "cpu").network.state_dict()["time_emb.weight"],
        state["ema_model.module.net.time_emb.weight"],
    )


def test_names_that_are_missing_or_unknown_are_listed(files):
    missing, unknown, foreign, bare = (official_state() for _ in range(4))
    del missing["ema_model.module.net.layers.1.node_mlp.0.bias"]
    unknown["ema_model.module.net.attention.weight"] = torch.zeros(3)
    foreign["encoder.weight"] = torch.zeros(3)
    del bare["ema_model.module.net.out_l.weight"]
    for state, name in (
        (missing, r"missing: net\.layers\.1\.node_mlp\.0\.bias"),
        (unknown, r"unknown: net\.attention\.weight"),
        (foreign, r"unknown names: encoder\.weight"),
        (bare, r"missing: net\.out_l\.weight"),
    ):
        with pytest.raises(CheckpointMismatch, match=name):
            import_kldm(*files(state), "wrong")
    with pytest.raises(CheckpointMismatch, match="not fit a KLDM network; missing"):
        import_kldm(*files({}), "wrong")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("net.out_v.2.weight", torch.zeros(4, H), r"net\.out_v\.2\.weight is 4 x 16, expected 3 x 16"),
        ("net.layers.0.v_proj.weight", torch.zeros(6 * K + 6, 3), "shapes do not fit"),
        ("net.out_l.weight", torch.zeros(7, H), "expected 6"),
        ("net.out_v.0.bias", torch.full((H,), torch.nan), "not finite"),
        ("diffusions.l.sde.schedule._beta_max", torch.tensor(30.0), "samples with 20 only"),
        ("diffusions.l.dim", torch.zeros(2), "more than one number"),
        ("diffusions.v._sigma_norms", torch.ones(1999), "_sigma_norms is 1999, expected 2000 numbers"),
        ("diffusions.v._sigma_norms", torch.zeros(2000), "not finite and positive"),
        ("diffusions.v._sigma_norms", torch.full((2000,), torch.inf), "not finite and positive"),
        ("net.out_h.weight", torch.zeros(42, H), "expected none"),
    ],
)
def test_what_does_not_fit_is_said(files, key, value, said):
    with pytest.raises(CheckpointMismatch, match=said):
        import_kldm(*files(official_state() | {f"ema_model.module.{key}": value}), "wrong")


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("crystal-studio-was-here",)


def test_a_pickle_that_would_run_code_is_refused_in_one_sentence(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, statistics = files({})
    torch.save({"state_dict": {"x": Malicious()}}, tmp_path / "bad.ckpt")
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(Malicious()))
    for name in ("bad.ckpt", "bare.pkl"):
        words = [
            "models",
            "import",
            "kldm",
            str(tmp_path / name),
            "--statistics",
            str(statistics),
            "--name",
            "bad",
        ]
        done = CliRunner().invoke(build_app(), words)
        assert (
            done.exit_code == 2 and "not opened" in done.stderr and len(done.stderr.strip().splitlines()) == 1
        )
    assert (
        not (tmp_path / "crystal-studio-was-here").exists()
        and not (tmp_path / "home" / "checkpoints" / "bad").exists()
    )


@pytest.mark.parametrize(
    "content", [b"", b"just a note\n", b'{"state_dict": {}}', b"\x89PNG\r\n\x1a\n", b"PK\x03\x04 cut off"]
)
def test_a_file_that_is_no_checkpoint_is_not_accused_of_code(files, tmp_path, content):
    (tmp_path / "notes.ckpt").write_bytes(content)
    with pytest.raises(RequestError, match=r"notes\.ckpt is no PyTorch checkpoint") as caught:
        import_kldm(tmp_path / "notes.ckpt", files({})[1], "notes")
    assert "\n" not in str(caught.value)


def test_both_forms_of_checkpoints_are_read(files, tmp_path):
    state = {"state_dict": official_state()}
    _, statistics = files({})
    for new in (True, False):
        torch.save(state, tmp_path / "form.ckpt", _use_new_zipfile_serialization=new)
        assert import_kldm(tmp_path / "form.ckpt", statistics, f"form-{new}").parameters == 7776


def test_the_command_installs_what_the_others_find(files, monkeypatch):
    file, statistics = files(official_state())
    call = lambda *words: CliRunner().invoke(build_app(), list(map(str, words)))
    words = ("models", "import", "kldm", file, "--statistics", statistics, "--name", "official", "--json")
    assert json.loads(call(*words).stdout) == {
        "name": "official",
        "task": "structure prediction",
        "parameters": 7776,
        "unmatched": [],
    }
    assert call(*words).exit_code == 2  # the name is taken now
    assert "official" in [m["name"] for m in json.loads(call("models", "list", "--json").stdout)["models"]]
    assert json.loads(call("models", "verify", "official", "--json").stdout)["models"] == [
        {"name": "official", "ok": True, "problem": None}
    ]
    arguments = (
        "predict-structure",
        "NaCl",
        "--model",
        "official",
        "--cell",
        "--start",
        "noise",
        "--n",
        2,
        "--steps",
        3,
        "--seed",
        0,
        "--json",
    )
    done = call(*arguments)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["settings"]["model"] == "official"


def test_no_folder_of_the_repository_and_no_half_one_is_written(files, tmp_path):
    with pytest.raises(RequestError, match="cannot name"):
        import_kldm(*files(official_state()), "../escape")
    with pytest.raises(RequestError, match="installed already"):
        import_kldm(*files(official_state()), "prototype")
    assert list(tmp_path.rglob("*.safetensors")) == []


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"a": 1}',
        '{"4": [[1, 2], [3, 4]]}',
        '{"4": [[NaN, 1, 1], [1, 1, 1]]}',
        "{",
        '{"0": [[1,1,1],[1,1,1]]}',
    ],
)
def test_statistics_of_another_form_are_refused(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(RequestError, match="expected"):
        read_statistics(tmp_path / "s.json")


@pytest.mark.parametrize("count", ["10001", "9999999999", "9" * 400])
def test_counts_no_cell_has_are_refused(tmp_path, count):
    (tmp_path / "s.json").write_text(json.dumps(STATISTICS | {count: STATISTICS["2"]}))
    with pytest.raises(RequestError, match="an atom count beyond 10,000") as caught:
        read_statistics(tmp_path / "s.json")
    assert len(str(caught.value)) < 200


def test_counts_without_statistics_take_the_line_through_the_others(tmp_path):
    (tmp_path / "s.json").write_text(
        json.dumps(
            {str(n): [[torch.log(torch.tensor(float(n))).item() / 3 + 1.0] * 3, [0.1] * 3] for n in (2, 4, 8)}
        )
    )
    loc, scale = read_statistics(tmp_path / "s.json").statistics(torch.tensor([4, 16]))
    assert loc[:, 0].tolist() == pytest.approx([1.4621, 1.9242], abs=1e-4) and scale[
        1
    ].tolist() == pytest.approx([0.1] * 3)
