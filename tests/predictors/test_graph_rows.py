"""The graphs of prepared crystals are the same together, in any order, as alone."""

import pytest
import torch

from crystal_core.graphs.crystal_graphs import GraphConfig
from crystal_core.predictors.crysldnet import graph_rows
from crystal_core.predictors.crysldnet.graph_rows import graphs_of
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


@pytest.mark.parametrize("at_once", [2, 1024])
def test_chosen_crystals_have_the_graphs_that_they_have_alone(at_once, monkeypatch):
    monkeypatch.setattr(graph_rows, "AT_ONCE", at_once)
    data = prepared([2, 5, 1, 3])
    order = torch.tensor([3, 0, 0])
    chosen, built = graphs_of(data, CONFIG).select(order), graphs_of(data.subset(order), CONFIG)
    for field in chosen.__dataclass_fields__:
        assert torch.equal(getattr(chosen, field), getattr(built, field)), field
