"""All stages with either encoder: each hands its weights on, and a card says which encoder to build."""

from dataclasses import asdict, replace

import pytest
import torch

from crystal_core.cards import read_card
from crystal_core.datasets.rows import CrystalRow
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.geometry import lattice_from_parameters
from crystal_core.networks.dit import DitConfig
from crystal_core.predictors.crysldnet.adapters import AdapterConfig
from crystal_core.predictors.crysldnet.encoders.build import encoder_of
from crystal_core.predictors.crysldnet.encoders.matformer import Matformer, MatformerConfig
from crystal_core.predictors.crysldnet.encoders.pddformer import PDDFORMER_SIZE, Pddformer
from crystal_core.predictors.crysldnet.fit_adapter import AdapterPlan, fit_adapter
from crystal_core.predictors.crysldnet.heads import HeadsConfig
from crystal_core.predictors.crysldnet.latent_flow import FlowConfig
from crystal_core.predictors.crysldnet.predictor import load_adapter, load_encoder
from crystal_core.predictors.crysldnet.training import (
    build_network,
    export_checkpoint,
    settings_from,
    train,
)
from crystal_core.predictors.crysldnet.vae import VaeConfig
from crystal_core.properties import PROPERTIES
from crystal_core.registry.store import find_card, load_predictor
from crystal_core.training.data import load_prepared
from crystal_core.training.fit import LOG, SNAPSHOT

from .conftest import ENCODER, GRAPH, settings, write_crystals

CPU = torch.device("cpu")
FORMS = {
    "pddformer": {},
    "official-pddformer": {
        "encoder": replace(PDDFORMER_SIZE, width=32, n_layers=2, n_centres=32, n_nearest=GRAPH.n_nearest),
        "heads": HeadsConfig(n_members=2, hidden=32, form="residual"),
    },
    "matformer": {
        "encoder_kind": "matformer",
        "matformer": MatformerConfig(width=16, n_layers=2, n_heads=2, n_centres=16),
        "graph": replace(GRAPH, lattice_edges="cell"),
    },
}


def plan_of(form, stage, **rest):
    parts = FORMS[form] | rest
    return replace(settings(stage, 120, vae=VaeConfig(n_distances=6)), **parts)


@pytest.fixture(scope="module", params=FORMS)
def trained(request, tmp_path_factory):
    """Form, folder of the checkpoints and prepared file after the three stages, each from the one before."""
    folder = tmp_path_factory.mktemp(request.param)
    data = write_crystals(folder / "crystals.safetensors", n_train=60, n_val=24)
    weights = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYSTAL_CHECKPOINTS", str(folder / "checkpoints"))
        for stage in ("vae", "latent", "properties"):
            flow = FlowConfig(dit=DitConfig(width=16, n_layers=1, n_heads=2))
            plan = plan_of(request.param, stage, flow=flow, targets=("band_gap_ev", "bulk_modulus_gpa"))
            done = train(plan, data_file=data, folder=folder / stage, device=CPU, initial=weights)
            export_checkpoint(
                "kind" if stage == "properties" else stage,
                trained=done,
                settings=plan,
                log=folder / stage / LOG,
            )
            weights = torch.load(folder / stage / SNAPSHOT, weights_only=True)["ema"]
    return request.param, folder, data


def test_every_stage_begins_where_the_one_before_ended(trained):
    form, folder, _ = trained
    name = "layers.0.lin_skip.weight" if form == "matformer" else "att_layers.0.lin_query.weight"
    start = build_network(plan_of(form, "vae")).state_dict()[f"encoder.{name}"]
    states = [
        torch.load(folder / stage / SNAPSHOT, weights_only=True)["ema"][f"{prefix}encoder.{name}"]
        for stage, prefix in (("vae", ""), ("latent", "vae."), ("properties", ""))
    ]
    steps = [float((b - a).norm()) for a, b in zip(states[:-1], states[1:], strict=True)]
    assert all(0 < step < 0.7 * float((start - states[0]).norm()) for step in steps)


def test_the_bundle_predicts_and_the_cards_name_the_encoder(trained, monkeypatch):
    form, folder, data = trained
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(folder / "checkpoints"))
    predictor = load_predictor("kind", "cpu")
    kind = Matformer if form == "matformer" else Pddformer
    assert isinstance(predictor.encoder, kind)
    assert isinstance(load_encoder(find_card("kind-encoder")), kind)
    expected = "residual" if form == "official-pddformer" else "mlp"
    assert {adapter.heads.config.form for adapter in predictor.adapters} == {expected}
    assert find_card("vae").network["encoder_kind"] == ("matformer" if form == "matformer" else "pddformer")
    rows = load_prepared(data)["val"]
    (first, *_) = rows_of(rows)
    from crystal_core.crystal import CrystalBatch

    crystal = CrystalBatch(
        atomic_numbers=torch.tensor(first.atomic_numbers),
        frac_coords=torch.tensor(first.frac_coords),
        lattice=torch.tensor(first.lattice)[None],
        n_atoms=torch.tensor([len(first.atomic_numbers)]),
    )
    (answer,) = predictor.predict(crystal)
    assert set(answer.predictions) == {"band_gap_ev", "bulk_modulus_gpa"}
    assert answer.predictions["bulk_modulus_gpa"].value > 0


def rows_of(prepared):
    """Prepared crystals as rows of a table, with their labels."""
    lattices = lattice_from_parameters(prepared.cell_parameters.double())
    for i in range(len(prepared)):
        atoms = slice(int(prepared.first_atom[i]), int(prepared.first_atom[i] + prepared.n_atoms[i]))
        yield CrystalRow(
            id=prepared.ids[i],
            formula=prepared.formulas[i],
            split="train",
            atomic_numbers=prepared.atomic_numbers[atoms].numpy(),
            frac_coords=prepared.frac_coords[atoms].double().numpy(),
            lattice=lattices[i].numpy(),
            labels={name: float(values[i]) for name, values in prepared.labels.items()},
        )


def test_an_adapter_changes_either_encoder(trained, monkeypatch, tmp_path):
    _, folder, data = trained
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(folder / "checkpoints"))
    splits = load_prepared(data)
    card = find_card("kind-encoder")
    steps = fit_adapter(
        card,
        PROPERTIES["bulk_modulus_gpa"],
        "bulk_modulus_gpa",
        list(rows_of(splits["train"])),
        list(rows_of(splits["val"])),
        plan=AdapterPlan(config=AdapterConfig(rank=2, heads=HeadsConfig(hidden=16)), samples=120, device=CPU),
        run=tmp_path / "run",
        checkpoint=tmp_path / "own",
        source="a table",
    )
    assert [progress.samples for progress in steps][-1] >= 120
    encoder = load_encoder(card)
    adapter = load_adapter(read_card(tmp_path / "own"), encoder)
    own = adapter.encoder.state_dict()
    changed = [name for name, value in encoder.state_dict().items() if not torch.equal(value, own[name])]
    assert len(changed) >= 8
    assert all(name.endswith(".weight") for name in changed)


def test_a_configuration_names_the_encoder():
    plan = settings_from(
        'name = "x"\nstage = "vae"\nencoder_kind = "matformer"\n[matformer]\nwidth = 8\nn_layers = 1\n'
        "[flow.dit]\nwidth = 16\nn_layers = 1\nn_heads = 2\n"
    )
    assert isinstance(build_network(plan).encoder, Matformer)
    assert plan.flow.dit == DitConfig(width=16, n_layers=1, n_heads=2)
    with pytest.raises(RequestError, match="encoder_kind"):
        settings_from('name = "x"\nencoder_kind = "gnn"\n')
    with pytest.raises(RequestError, match=r"depth in \[flow.dit\]"):
        settings_from('name = "x"\n[flow.dit]\ndepth = 3\n')
    with pytest.raises(RequestError, match=r"table \[flow.dit\]"):
        settings_from('name = "x"\n[flow]\ndit = 3\n')


def test_what_reads_other_rows_of_distances_is_refused():
    with pytest.raises(RequestError, match="same n_nearest"):
        build_network(settings_from('name = "x"\nstage = "vae"\n[encoder]\nn_nearest = 30\n'))
    tables = {"encoder_kind": "gnn", "encoder": asdict(ENCODER), "graph": asdict(GRAPH)}
    with pytest.raises(CheckpointMismatch, match="gnn"):
        encoder_of(tables)
    with pytest.raises(CheckpointMismatch, match="no encoder"):
        encoder_of({"encoder": {"size": 3}, "graph": asdict(GRAPH)})
    without = {"encoder": asdict(ENCODER), "graph": asdict(GRAPH)}
    assert isinstance(encoder_of(without), Pddformer)  # as cards of older versions are
