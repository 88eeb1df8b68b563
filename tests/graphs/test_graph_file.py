"""A file of graphs gives back what was built, and says what does not fit."""

import pytest
import torch

from crystal_core.errors import RequestError
from crystal_core.graphs.crystal_graphs import GraphConfig
from crystal_core.graphs.graph_file import GraphSplit, graphs_of, load_graphs, save_graphs
from crystal_core.training.data import PreparedCrystals

CONFIG = GraphConfig(n_neighbours=6, n_nearest=10)


def prepared(counts):
    torch.manual_seed(0)
    n = torch.tensor(counts, dtype=torch.long)
    lengths = (14.0 * n[:, None]) ** (1 / 3) * torch.ones(1, 3)
    return PreparedCrystals(
        atomic_numbers=torch.randint(1, 90, (int(n.sum()),)),
        frac_coords=torch.rand(int(n.sum()), 3),
        cell_parameters=torch.cat([lengths, 90 + 5 * torch.randn(len(n), 3)], dim=1),
        n_atoms=n,
        first_atom=torch.cumsum(n, 0) - n,
        ids=tuple(f"c-{i}" for i in range(len(n))),
        formulas=("X",) * len(n),
    )


def test_what_was_saved_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("crystal_core.graphs.graph_file.AT_ONCE", 2)
    data = {"train": prepared([2, 5, 1, 300, 3]), "val": prepared([4])}
    splits = {name: GraphSplit(ids=d.ids, graphs=graphs_of(d, CONFIG)) for name, d in data.items()}
    save_graphs(tmp_path / "g.safetensors", splits, CONFIG)
    loaded = load_graphs(tmp_path / "g.safetensors", CONFIG)
    assert list(loaded) == ["train", "val"]
    for name, split in loaded.items():
        assert split.ids == data[name].ids
        for field in split.graphs.__dataclass_fields__:
            assert torch.equal(getattr(split.graphs, field), getattr(splits[name].graphs, field)), field


def test_chosen_crystals_have_the_graphs_that_they_have_alone():
    data = prepared([2, 5, 1, 3])
    order = torch.tensor([3, 0, 0])
    chosen, built = graphs_of(data, CONFIG).select(order), graphs_of(data.subset(order), CONFIG)
    for field in chosen.__dataclass_fields__:
        assert torch.equal(getattr(chosen, field), getattr(built, field)), field


def test_what_does_not_fit_is_one_sentence(tmp_path):
    path = tmp_path / "g.safetensors"
    with pytest.raises(RequestError, match="no graph file"):
        load_graphs(path)
    path.write_bytes(b"nothing")
    with pytest.raises(RequestError, match="not a graph file"):
        load_graphs(path)
    data = prepared([2])
    save_graphs(path, {"train": GraphSplit(ids=data.ids, graphs=graphs_of(data, CONFIG))}, CONFIG)
    with pytest.raises(RequestError, match="n_neighbours 6 instead of 7"):
        load_graphs(path, GraphConfig(n_neighbours=7, n_nearest=10))
