"""The stages: each lowers its loss, hands its encoder on, and refuses what does not fit."""

import json

import pytest
import torch

from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.graphs.crystal_graphs import CRYSLDNET_GRAPH
from crystal_core.networks.dit import DitConfig
from crystal_core.predictors.crysldnet.encoders.pddformer import CRYSLDNET_SIZE, PddformerConfig
from crystal_core.predictors.crysldnet.latent_flow import FlowConfig, LatentFlow, padded
from crystal_core.predictors.crysldnet.training import build_network, load_into, settings_from, train
from crystal_core.predictors.crysldnet.vae import VaeConfig
from crystal_core.registry.methods import TRAINERS, find
from crystal_core.training.fit import LOG, SNAPSHOT
from crystal_core.workflows.train import configurations, method_of

from .conftest import settings, write_crystals

CPU = torch.device("cpu")
SMALL_DIT = DitConfig(width=32, n_layers=2, n_heads=4)


@pytest.fixture(scope="module")
def crystals(tmp_path_factory):
    return write_crystals(tmp_path_factory.mktemp("data") / "crystals.safetensors")


def first_and_last(folder):
    lines = [
        json.loads(line)["validation"] for line in (folder / LOG).read_text(encoding="utf-8").splitlines()
    ]
    return lines[0], lines[-1]


def ema_of(folder):
    return torch.load(folder / SNAPSHOT, weights_only=True)["ema"]


def test_pretraining_learns_and_hands_its_encoder_on(crystals, tmp_path):
    plan = settings("vae", 2400, vae=VaeConfig(n_distances=6))
    train(plan, data_file=crystals, folder=tmp_path / "vae", device=CPU)
    before, after = first_and_last(tmp_path / "vae")
    assert after["positions"] < 0.5 * before["positions"]
    assert after["types"] < before["types"]
    weights = ema_of(tmp_path / "vae")
    plan = settings("latent", 800, vae=VaeConfig(n_distances=6), flow=FlowConfig(dit=SMALL_DIT))
    network = build_network(plan)
    load_into(network, weights)
    torch.testing.assert_close(
        network.state_dict()["vae.encoder.atom_embedding.weight"], weights["encoder.atom_embedding.weight"]
    )
    train(plan, data_file=crystals, folder=tmp_path / "latent", device=CPU, initial=weights)
    before, after = first_and_last(tmp_path / "latent")
    assert after["flow"] < before["flow"]
    assert after["latent_std"] > 0.2 * before["latent_std"]  # no collapse
    properties = build_network(settings("properties", 100), ("band_gap_ev",))
    load_into(properties, ema_of(tmp_path / "latent"))
    torch.testing.assert_close(
        properties.state_dict()["encoder.rbf.1.weight"],
        ema_of(tmp_path / "latent")["vae.encoder.rbf.1.weight"],
    )


def test_published_flow_sends_its_gradient_through_the_target(crystals):
    gradients = {}
    for mode in ("kept", "published"):
        torch.manual_seed(0)
        plan = settings(
            "latent", 100, vae=VaeConfig(n_distances=6), flow=FlowConfig(mode=mode, dit=SMALL_DIT)
        )
        network = build_network(plan)
        assert isinstance(network, LatentFlow)
        from crystal_core.predictors.crysldnet.graph_rows import GraphRows
        from crystal_core.training.data import load_prepared

        rows = GraphRows(load_prepared(crystals)["val"], plan.graph, (), CPU)
        batch = rows.select(torch.arange(12))
        losses = network(
            batch.graphs, batch.frac_coords, batch.cell_parameters, torch.Generator().manual_seed(0)
        )
        # the transformer begins as the map to zero, so only the target can carry a gradient
        losses.flow.backward()
        gradients[mode] = network.vae.encoder.atom_embedding.weight.grad
        assert losses.flow.isfinite()
    assert gradients["kept"] is None or gradients["kept"].abs().max() == 0
    assert gradients["published"].abs().max() > 0


def test_padding_points_at_the_right_atoms(crystals):
    from crystal_core.predictors.crysldnet.graph_rows import GraphRows
    from crystal_core.training.data import load_prepared

    graphs = GraphRows(load_prepared(crystals)["val"], settings("vae", 1).graph, (), CPU).graphs
    index, present = padded(graphs.n_atoms, torch.tensor([5, 2]))
    assert present.sum(dim=1).tolist() == graphs.n_atoms[[5, 2]].tolist()
    assert (graphs.crystal_index[index[0][present[0]]] == 5).all()
    assert (graphs.crystal_index[index[1][present[1]]] == 2).all()


def test_weights_of_another_size_are_refused(crystals):
    small = build_network(settings("vae", 1))
    other = build_network(
        settings_from('name = "x"\nstage = "properties"\n[encoder]\nwidth = 16\nn_layers = 1\n'),
        ("band_gap_ev",),
    )
    with pytest.raises(CheckpointMismatch, match="names that differ"):
        load_into(other, small.state_dict())
    with pytest.raises(CheckpointMismatch, match=r"encoder\.atom_embedding\.weight"):
        load_into(other, {"something": torch.zeros(1)})


def test_a_label_that_the_file_lacks_is_refused(crystals, tmp_path):
    plan = settings("properties", 100, targets=("hardness",))
    with pytest.raises(RequestError, match="no label hardness"):
        train(plan, data_file=crystals, folder=tmp_path, device=CPU)


def test_shipped_configurations_read_and_name_this_method():
    shipped = {name: path.read_text(encoding="utf-8") for name, path in configurations().items()}
    ours = {name: text for name, text in shipped.items() if method_of(text) == "crysldnet"}
    assert {settings_from(text).stage for text in ours.values()} == {"vae", "latent", "properties"}
    small = [text for name, text in ours.items() if name.endswith("-cpu")]
    assert all(settings_from(text).encoder.width == PddformerConfig().width for text in small)
    assert find(TRAINERS, "crysldnet", "training").settings_from is settings_from


def test_the_published_configurations_have_the_published_sizes():
    texts = {name: path.read_text(encoding="utf-8") for name, path in configurations().items()}
    plans = [settings_from(texts[name]) for name in ("crysldnet-vae-published", "crysldnet-latent-published")]
    assert all((plan.encoder, plan.graph) == (CRYSLDNET_SIZE, CRYSLDNET_GRAPH) for plan in plans)
    with torch.device("meta"):
        stage_1, stage_2 = map(build_network, plans)
    encoder = sum(p.numel() for p in stage_1.encoder.parameters())
    assert encoder == 4_332_800
    denoiser = sum(p.numel() for p in stage_2.denoiser.parameters())
    assert denoiser + (2 + 231) * 768 == 130_082_560  # with the two tables that the release never uses


def test_published_masks_stay_and_leave_out_lone_atoms(crystals, tmp_path, monkeypatch):
    from crystal_core.predictors.crysldnet.vae import CrystalVae

    seen: dict[tuple[float, ...], set[tuple[bool, ...]]] = {}
    true_forward = CrystalVae.forward

    def forward(self, graphs, frac_coords, cell_parameters, hidden, rng):
        if self.training:
            counts = graphs.n_atoms.tolist()
            for cell, mask in zip(frac_coords.split(counts), hidden.split(counts), strict=True):
                seen.setdefault(tuple(cell.flatten().tolist()), set()).add(tuple(mask.tolist()))
        return true_forward(self, graphs, frac_coords, cell_parameters, hidden, rng)

    monkeypatch.setattr(CrystalVae, "forward", forward)
    for masks in ("fixed", "fresh"):
        seen.clear()
        plan = settings("vae", 400, vae=VaeConfig(n_distances=6, masks=masks))
        train(plan, data_file=crystals, folder=tmp_path / masks, device=CPU)
        assert len(seen) > 100
        assert all(len(drawn) == 1 for drawn in seen.values()) == (masks == "fixed")
        assert (min(map(len, seen)) == 3) == (masks == "fresh")  # one atom has three coordinates
