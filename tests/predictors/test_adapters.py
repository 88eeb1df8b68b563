"""A property of one's own: the adapter that is trained, what it changes, and the tables that are refused."""

import numpy as np
import pandas as pd
import pytest
import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.geometry import lattice_from_parameters
from crystal_core.predictors.crysldnet.adapters import AdapterConfig, AdapterNetwork, adapted_encoder
from crystal_core.predictors.crysldnet.graph_rows import GraphRows
from crystal_core.predictors.crysldnet.predictor import load_encoder
from crystal_core.registry.store import find_card, load_predictor
from crystal_core.training.data import load_prepared
from crystal_core.workflows.adapter_rows import OwnProperty, split_rows
from crystal_core.workflows.train_adapter import train_adapter


def own_table(path, count=120, *, column="hardness"):
    """Cubic crystals of two elements; the property is the share of the first one, plus its
    atomic number over ten.
    """
    rng = np.random.default_rng(3)
    rows = []
    for i in range(count):
        numbers = rng.choice([3, 8, 12, 14, 22], int(rng.integers(1, 5)))
        rows.append(
            {
                "material_id": f"own-{i}",
                "formula": "-".join(map(str, sorted(numbers))),
                "n_atoms": len(numbers),
                "lattice": (np.eye(3) * (15.0 * len(numbers)) ** (1 / 3)).ravel(),
                "species": numbers,
                "frac_coords": rng.random(3 * len(numbers)),
                column: float(numbers.mean()),
            }
        )
    table = pd.DataFrame(rows)
    table.to_parquet(path)
    return table


@pytest.fixture
def homed(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(bundle / "checkpoints"))
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    return tmp_path


def crystals_of(bundle, rows):
    data = load_prepared(bundle / "crystals.safetensors")["val"].subset(torch.tensor(rows))
    return data, CrystalBatch(
        atomic_numbers=data.atomic_numbers,
        frac_coords=data.frac_coords,
        lattice=lattice_from_parameters(data.cell_parameters),
        n_atoms=data.n_atoms,
    )


def test_own_column_becomes_a_property_of_the_predictor(homed, bundle):
    table = own_table(homed / "own.parquet")
    lines = []
    report = train_adapter(
        homed / "own.parquet",
        OwnProperty(column="hardness", unit="GPa", title="Hardness"),
        encoder="tiny-encoder",
        samples=3000,
        on_line=lines.append,
    )
    assert report.n_train + report.n_held_out == len(table)
    assert report.mae < 0.5 * report.mae_of_mean
    assert lines[-1]["validation_mae"] < lines[0]["validation_mae"]
    predictor = load_predictor("tiny", "cpu")
    spec = predictor.properties[-1]
    assert (spec.name, spec.title, spec.unit) == ("hardness", "Hardness", "GPa")
    held = table[table["material_id"].isin(report.ids)].set_index("material_id").loc[report.ids]
    assert report.true == pytest.approx(held["hardness"].tolist(), rel=1e-5)
    batch = CrystalBatch(
        atomic_numbers=torch.tensor(np.concatenate(held["species"].tolist())),
        frac_coords=torch.tensor(np.concatenate(held["frac_coords"].tolist())).view(-1, 3).float(),
        lattice=torch.tensor(np.stack(held["lattice"].tolist())).view(-1, 3, 3).float(),
        n_atoms=torch.tensor(held["n_atoms"].tolist()),
    )
    results = predictor.predict(batch, ("hardness", "band_gap_ev"))
    # bf16 keeps three digits of the weights
    assert [r.predictions["hardness"].value for r in results] == pytest.approx(
        report.predicted, rel=0.02, abs=0.1
    )
    inside = [
        r.predictions["hardness"].low <= t <= r.predictions["hardness"].high
        for r, t in zip(results, report.true, strict=True)
    ]
    assert np.mean(inside) > 0.8


def test_low_rank_changes_leave_nothing_behind_in_the_shared_encoder(homed, bundle):
    encoder = load_encoder(find_card("tiny-encoder"))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    network = AdapterNetwork(encoder, "hardness", AdapterConfig(rank=4))
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name or name.startswith("heads.") for name in trained)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    data, _ = crystals_of(bundle, [0, 1, 2, 3])
    rows = GraphRows(data, encoder.graph, (), "cpu")
    batch = rows.select(torch.arange(4))
    changed = adapted_encoder(encoder, network.adapter_state(), AdapterConfig(rank=4).scaling)
    # merged products round in another order
    torch.testing.assert_close(changed(batch.graphs), network.encoder(batch.graphs), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(changed(batch.graphs), encoder(batch.graphs), atol=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_batch_norms_of_the_encoder_stay_still_in_training(homed):
    network = AdapterNetwork(load_encoder(find_card("tiny-encoder")), "x", AdapterConfig(rank=2))
    network.train()
    assert not network.encoder.training
    assert network.heads.training


def test_changes_of_another_encoder_are_refused(homed):
    encoder = load_encoder(find_card("tiny-encoder"))
    state = {
        "lora.att_layers.9.lin_query.lora_A": torch.zeros(2, 32),
        "lora.att_layers.9.lin_query.lora_B": torch.zeros(32, 2),
    }
    with pytest.raises(CheckpointMismatch, match="no such map"):
        adapted_encoder(encoder, state, 1.0)


def test_no_composition_stands_on_both_sides(homed):
    from crystal_core.workflows.adapter_rows import labelled_rows

    own_table(homed / "own.parquet").assign(formula="").to_parquet(homed / "own.parquet")
    rows, skipped = labelled_rows(homed / "own.parquet", OwnProperty(column="hardness"))
    train, held = split_rows(rows, seed=0)
    one, other = ({tuple(sorted(row.atomic_numbers.tolist())) for row in part} for part in (train, held))
    assert not one & other
    assert not skipped
    assert len(held) >= 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="hardness"), "no column 'hardness'"),
        (lambda t: t.head(20), "has 20 crystals"),
        (lambda t: t.assign(hardness="soft"), "has 0 crystals.*no value of hardness"),
        (lambda t: t.assign(hardness=-1.0), "has 0 crystals.*no logarithm"),
    ],
)
def test_tables_that_cannot_train_are_refused_in_one_sentence(homed, change, message):
    change(own_table(homed / "own.parquet")).to_parquet(homed / "own.parquet")
    with pytest.raises(RequestError, match=message):
        train_adapter(
            homed / "own.parquet", OwnProperty(column="hardness", logarithmic=True), encoder="tiny-encoder"
        )


@pytest.mark.parametrize(
    ("column", "name", "message"),
    [
        ("hardness", "../hardness", "cannot name a checkpoint"),
        ("hardness", "tiny-band_gap_ev", "Another checkpoint is named 'tiny-band_gap_ev'"),
        ("encoder", "tiny-encoder", "Another checkpoint is named 'tiny-encoder'"),
    ],
)
def test_an_adapter_takes_the_place_of_no_other_checkpoint(homed, column, name, message):
    own_table(homed / "own.parquet", column=column)
    with pytest.raises(RequestError, match=message):
        train_adapter(
            homed / "own.parquet", OwnProperty(column=column), encoder="tiny-encoder", name=name, samples=20
        )
    assert not list((homed / "home").rglob("card.toml"))
