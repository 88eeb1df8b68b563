"""Fit the weights of the votes on the shipped tables.

``python -m crystal_core.generators.prototype.fit_neighbours``.

Each target is a member of the shipped table, left out of the vote. Half of the targets are given with their
cell, as in published rates, half by their formula alone. A tenth of them is held out and only measured.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crystal_core.generators.prototype.neighbour_weights import VOTERS, NeighbourWeights
from crystal_core.generators.prototype.similarity import electronegativities, pettifor_positions
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from crystal_core.generators.prototype.index import PrototypeIndex

MOST_ROLES = 6  # elements of a target
MOST_ATOMS = 40  # of the cells of a formula
VECTOR = 16  # numbers per element
PULL = 1e-4  # of the squared learned numbers: elements with little data keep to their known scales
BATCH = 256

logger = logging.getLogger(__name__)


class Votes(NamedTuple):
    """Targets and the members that may vote for their arrangement; padded with prototype −1.

    Attributes:
        elements, members: (targets, VOTERS, roles) atomic numbers.
        counts: (targets, VOTERS, roles) atoms, 0 padded.
        prototype: (targets, VOTERS). popularity: (targets, VOTERS) members of it, the target left out.
        own: (targets,) prototype of the target.
    """

    elements: NDArray[np.int64]
    members: NDArray[np.int64]
    counts: NDArray[np.float32]
    prototype: NDArray[np.int64]
    popularity: NDArray[np.float32]
    own: NDArray[np.int64]

    def rows(self, some: NDArray[Any]) -> Votes:
        """The votes for some targets."""
        return Votes._make(part[some] for part in self)


def draw_targets(index: PrototypeIndex, n: int, seed: int) -> list[tuple[tuple[int, ...], int, bool]]:
    """Pattern, row of the pool, and whether the cell is open, of ``n`` members of up to 20 atoms."""
    rng = np.random.default_rng(seed)
    rows = [
        (pattern, row)
        for pattern, pool in index.pools.items()
        if sum(pattern) <= 20 and len(pattern) <= MOST_ROLES
        for row in range(len(pool.prototype))
    ]
    return [(*rows[i], bool(k % 2)) for k, i in enumerate(rng.permutation(len(rows))[:n])]


def votes_of(index: PrototypeIndex, targets: Sequence[tuple[tuple[int, ...], int, bool]]) -> Votes:
    """The nearest members of each target."""
    shape = (len(targets), VOTERS, MOST_ROLES)
    votes = Votes(
        elements=np.zeros(shape, np.int64),
        members=np.zeros(shape, np.int64),
        counts=np.zeros(shape, np.float32),
        prototype=np.full(shape[:2], -1, np.int64),
        popularity=np.zeros(shape[:2], np.float32),
        own=np.zeros(len(targets), np.int64),
    )
    for k, (pattern, row, open_cell) in enumerate(targets):
        elements = index.pools[pattern].elements[row].astype(np.int64)
        votes.own[k] = index.pools[pattern].prototype[row]
        divisor = math.gcd(*pattern)
        units = sum(pattern) // divisor
        cells = (
            [tuple(c // divisor * z for c in pattern) for z in range(1, MOST_ATOMS // units + 1)]
            if open_cell
            else [pattern]
        )
        near = [
            (distance, cell, i, order)
            for cell in cells
            if cell in index.pools
            for i, distance, order in zip(
                *index.nearest(cell, elements, VOTERS, leave_out=row if cell == pattern else None),
                strict=True,
            )
        ]
        near.sort(key=lambda one: one[0])
        for v, (_, cell, i, order) in enumerate(near[:VOTERS]):
            pool, roles = index.pools[cell], len(pattern)
            votes.elements[k, v, :roles] = elements[order]
            votes.members[k, v, :roles] = pool.elements[i]
            votes.counts[k, v, :roles] = cell
            votes.prototype[k, v] = pool.prototype[i]
            popularity = index.members[int(pool.prototype[i])]
            votes.popularity[k, v] = popularity - (pool.prototype[i] == votes.own[k])
    return votes


def fit(index: PrototypeIndex, *, targets: int, epochs: int, seed: int = 0) -> NeighbourWeights:
    """Weights that make the right arrangement likeliest."""
    import torch

    torch.manual_seed(seed)
    drawn = draw_targets(index, targets, seed)
    held_out = len(drawn) // 10
    checked, fitted = votes_of(index, drawn[:held_out]), votes_of(index, drawn[held_out:])
    learned = _start(index)
    optimiser = torch.optim.Adam(learned.values(), lr=0.02)
    distance = torch.tensor(index.distance, dtype=torch.float32)
    for epoch in range(epochs):
        for group in optimiser.param_groups:
            group["lr"] = 0.02 * (1 - epoch / epochs)
        order = np.random.default_rng([seed, epoch]).permutation(len(fitted.own))
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            loss, _ = _loss(learned, distance, fitted.rows(rows))
            (loss + PULL * (learned["vectors"] ** 2).sum()).backward()
            optimiser.step()
            optimiser.zero_grad()
        with torch.no_grad():
            loss, right = _loss(learned, distance, checked)
        logger.info(
            "epoch %d: of %d held-out crystals %.1f %% first, loss %.4f",
            epoch + 1,
            held_out,
            100 * right,
            loss,
        )
    return NeighbourWeights(**_plain(learned))


def _start(index: PrototypeIndex) -> dict[str, torch.Tensor]:
    """Known scales of the elements (electronegativity, volume, Pettifor order), and small random numbers."""
    import torch

    scales = np.stack(
        [electronegativities(), np.log(np.maximum(index.element_volumes, 1.0)), pettifor_positions()], 1
    )
    scales = (scales - scales[1:95].mean(0)) / scales[1:95].std(0)
    rest = 0.05 * torch.randn(len(scales), VECTOR - scales.shape[1])
    start = {
        "vectors": torch.cat([torch.tensor(scales, dtype=torch.float32), rest], 1),
        "spread": torch.full((VECTOR,), -1.0),
        "spread_apart": torch.full((VECTOR,), -1.0),
        "gap": torch.tensor(1.0),
        "distance": torch.tensor(1.0),
        "popularity": torch.tensor(0.0),
        "same": torch.tensor(0.0),
        "count_power": torch.tensor(0.0),
    }
    return {name: value.requires_grad_() for name, value in start.items()}


def _plain(learned: dict[str, torch.Tensor]) -> dict[str, Any]:
    out = {name: value.detach().double().numpy() for name, value in learned.items()}
    out["spread"], out["spread_apart"] = np.exp(out["spread"]), np.exp(out["spread_apart"])
    return {name: value if value.ndim else float(value) for name, value in out.items()}


def _loss(
    learned: dict[str, torch.Tensor], distance: torch.Tensor, votes: Votes
) -> tuple[torch.Tensor, float]:
    """Mean −log of the votes for the right arrangement where there is one, and how often it is first."""
    import torch

    elements, members, counts, prototype, popularity, own = (torch.from_numpy(part) for part in votes)
    real = (counts > 0).float()
    n_roles = real.sum(2, keepdim=True).clamp(min=1)
    weight = torch.where(counts > 0, counts.clamp(min=1) ** learned["count_power"], 0 * counts)
    weight = weight * n_roles / weight.sum(2, keepdim=True).clamp(min=1)
    difference = (learned["vectors"][elements] - learned["vectors"][members]) * real[..., None]
    apart = (difference - difference.sum(2, keepdim=True) / n_roles[..., None]) * real[..., None]
    squares = (difference**2 * weight[..., None]).sum(2) @ learned["spread"].exp()
    squares = squares + (apart**2).sum(2) @ learned["spread_apart"].exp()
    log_weight = (
        -learned["gap"] * torch.log1p(squares)
        - learned["distance"] * (distance[elements, members] * weight * real).sum(2)
        + learned["popularity"] * torch.log1p(popularity)
        + learned["same"] * (elements == members).all(2)
    ).masked_fill(prototype < 0, -torch.inf)
    is_own = prototype == own[:, None]
    known = is_own.any(1)
    log_weight, prototype, own, is_own = log_weight[known], prototype[known], own[known], is_own[known]
    total = torch.logsumexp(log_weight, 1)
    loss = (total - torch.logsumexp(log_weight.masked_fill(~is_own, -torch.inf), 1)).mean()
    same = prototype[:, :, None] == prototype[:, None, :]
    shares = (same * torch.softmax(log_weight, 1)[:, None, :]).sum(2)
    first = prototype.gather(1, shares.argmax(1, keepdim=True))[:, 0]
    return loss, float((first == own).sum()) / len(known)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    from crystal_core.cards import sha256_of
    from crystal_core.generators.prototype.generator import LARGE_TABLE, TABLE, WEIGHTS
    from crystal_core.generators.prototype.library import load_index
    from crystal_core.generators.prototype.merge import merged
    from crystal_core.paths import checkpoints_dir

    parser = argparse.ArgumentParser(
        prog="python -m crystal_core.generators.prototype.fit_neighbours", description=__doc__
    )
    parser.add_argument("--targets", type=int, default=30_000)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    folder = checkpoints_dir() / "prototype"
    index = merged(load_index(folder / TABLE), load_index(folder / LARGE_TABLE))
    weights = fit(index, targets=options.targets, epochs=options.epochs)
    weights.save(folder / WEIGHTS)
    logger.info("%s: sha256 %s", folder / WEIGHTS, sha256_of(folder / WEIGHTS))


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
