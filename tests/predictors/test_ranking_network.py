"""The network that ranks candidates: its loss, what its numbers depend on, and a training."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystal_core.cards import read_card
from crystal_core.errors import CheckpointMissing, RequestError
from crystal_core.evaluation.ranking import Evidence
from crystal_core.graphs.crystal_graphs import build_graphs
from crystal_core.predictors.crysldnet.predictor import load_encoder
from crystal_core.predictors.crysldnet.ranking_network import RankingNetwork, listwise_loss
from crystal_core.registry.store import load_ranker
from crystal_core.structures import from_structures
from crystal_core.training.data import load_prepared
from crystal_core.training.fit import LOG, SNAPSHOT
from crystal_core.workflows.ranking_rows import prior_of, write_rows
from crystal_core.workflows.train import configurations, method_of, run_training

ELEMENTS = ("Li", "O", "Na", "Mg", "Al", "Si", "S", "Ca", "Ti", "Fe")


def test_the_loss_is_that_of_a_draw_by_softmax_in_each_row():
    odds = torch.tensor([1.0, 2.0, 0.5, -1.0, 300.0])
    right = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    losses = listwise_loss(odds, right, torch.tensor([0, 0, 0, 1, 1]), 2)
    odds_of = odds.double().exp()
    expected = -torch.log((odds_of[0] + odds_of[2]) / odds_of[:3].sum())
    assert float(losses[0]) == pytest.approx(float(expected), abs=1e-6)
    assert torch.isfinite(losses[1]) and losses[1] > 50  # hopeless, not infinite


def cubic(a, one, other):
    return Structure(Lattice.cubic(a), [one, other], [[0, 0, 0], [0.5, 0.5, 0.5]])


def judged(rng):
    """Three cells of one formula; the densest is the right one, at any place."""
    one, other = rng.choice(ELEMENTS, 2, replace=False)
    lengths = rng.permutation([2.9, 3.4, 4.1]) * rng.uniform(0.98, 1.02)
    return [
        (Evidence(source="prototype", rank=k + 1, votes=0.3, members=4), cubic(a, one, other), a < 3.1)
        for k, a in enumerate(lengths)
    ]


def write(path, n=120, seed=0):
    rng = np.random.default_rng(seed)
    return write_rows(
        [SimpleNamespace(id=f"mp-{k}") for k in range(n)], [judged(rng) for _ in range(n)], path
    )


@pytest.fixture
def start(bundle, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(bundle / "checkpoints"))
    return read_card(bundle / "checkpoints" / "tiny-encoder")


def configuration(path, samples):
    path.write_text(
        f"""
        name = "ranking"
        method = "crysldnet-ranking"
        encoder = "tiny-encoder"
        [fit]
        batch_size = 8
        learning_rate = 3e-3
        warmup_steps = 5
        ema_decay = 0.9
        precision = "float32"
        planned_samples = {samples}
        """
    )
    return path


def test_a_candidate_has_the_same_log_odds_in_every_batch_and_cell(start):
    torch.manual_seed(0)
    network = RankingNetwork(load_encoder(start))
    torch.nn.init.normal_(network.head[2].weight)
    cells = [cubic(3.0, "Na", "S"), cubic(4.0, "Li", "O")]
    doubled = cells[0].copy()
    doubled.make_supercell([2, 1, 1])
    turned = Structure(cells[0].lattice, cells[0].species[::-1], cells[0].frac_coords[::-1] + 0.2)
    with torch.no_grad():
        together = network(build_graphs(from_structures([*cells, doubled, turned]), network.encoder.graph))
        alone = network(build_graphs(from_structures(cells[:1]), network.encoder.graph))
    torch.testing.assert_close(together[:1], alone)
    torch.testing.assert_close(together[2:], alone.expand(2), atol=1e-4, rtol=1e-4)
    assert abs(float(together[1] - together[0])) > 1e-3


def test_it_learns_which_candidates_are_right_and_ranks_new_ones(start, tmp_path):
    assert write(tmp_path / "rows.safetensors") == 120
    last = run_training(
        configuration(tmp_path / "ranking.toml", 9000),
        data=tmp_path / "rows.safetensors",
        out=tmp_path / "run",
        export="tiny-ranking",
        quiet=True,
    )
    assert last["validation"]["first_right"] > 0.9
    assert (tmp_path / "run" / SNAPSHOT).is_file() and (tmp_path / "run" / LOG).is_file()
    card = read_card(start.folder.parent / "tiny-ranking")
    assert card.kind == "predictor" and card.loader == "crysldnet-ranking"
    ranker = load_ranker("tiny-ranking", "cpu")
    rows = [judged(np.random.default_rng(seed)) for seed in range(100, 130)]
    first = 0
    for cells in rows:
        odds = ranker.log_odds(from_structures([cell for _, cell, _ in cells]))
        first += cells[int(np.argmax(odds))][2]
    assert first >= 27


def test_rows_that_teach_nothing_are_left_out_and_the_others_keep_their_candidates(tmp_path):
    cells = judged(np.random.default_rng(1))
    none = [(evidence, cell, False) for evidence, cell, _ in cells]
    every = [(evidence, cell, True) for evidence, cell, _ in cells]
    references = [SimpleNamespace(id=name) for name in ("mp-1", "mp-2", "mp-3", "mp-4")]
    assert write_rows(references, [none, cells, every, cells], tmp_path / "rows.safetensors") == 2
    splits = load_prepared(tmp_path / "rows.safetensors")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 3, "val": 3}
    rows = splits["train"]
    assert rows.ids[0] == "mp-4 candidate 1"
    assert rows.labels["right"].tolist() == [float(is_right) for _, _, is_right in cells]
    assert rows.labels["log_rank"].tolist() == pytest.approx(np.log([1, 2, 3]))


def test_a_share_of_votes_that_is_missing_counts_as_little():
    assert prior_of(Evidence(source="prototype", votes=0.0))["log_votes"] == pytest.approx(np.log(0.02))


def test_a_file_without_candidates_is_refused(start, bundle, tmp_path):
    with pytest.raises(RequestError, match="ranking_rows"):
        run_training(
            configuration(tmp_path / "ranking.toml", 100),
            data=bundle / "crystals.safetensors",
            out=tmp_path / "run",
            quiet=True,
        )


def test_another_model_ranks_nothing(start):
    with pytest.raises(CheckpointMissing, match="ranks no candidates"):
        load_ranker("tiny", "cpu")


def test_the_shipped_configuration_is_for_this_method():
    text = configurations()["crysldnet-ranking-cpu"].read_text(encoding="utf-8")
    assert method_of(text) == "crysldnet-ranking"
