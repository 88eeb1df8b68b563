"""How much a known crystal's arrangement says about another composition, learned from known crystals.

Every known crystal near a composition votes for its own arrangement with a weight

    log w = -gap log(1 + |D|^2) - distance d + popularity log(1 + n) + same [equal composition],

where D are the differences of learned element vectors on the roles of the arrangement (their squares, and
those of what is left when the mean over the roles is taken out, have spreads of their own), d is the chemical
distance of :mod:`crystal_core.generators.prototype.similarity` and n counts the crystals of the arrangement.
The parameters maximise the probability that a drawn vote has the right arrangement, each crystal left out in
turn: neighbourhood components analysis (Goldberger, Roweis, Hinton, Salakhutdinov, NIPS 2004) with a kernel
for crystals. Fitted by :mod:`crystal_core.generators.prototype.fit_neighbours`.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.errors import CheckpointMismatch
from crystal_core.whole_files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

VOTERS = 60  # nearest crystals, by chemical distance, that vote


@dataclass(frozen=True, kw_only=True)
class NeighbourWeights:
    """The fitted parameters.

    Attributes:
        vectors: (119, K) of the elements, by atomic number.
        spread, spread_apart: (K,) weights of the squared differences, and of those without their
            mean over the roles.
        gap, distance, popularity, same: see the module.
        count_power: a role with n atoms counts n to this power.
    """

    vectors: NDArray[np.float64]
    spread: NDArray[np.float64]
    spread_apart: NDArray[np.float64]
    gap: float
    distance: float
    popularity: float
    same: float
    count_power: float

    def log_weights(
        self,
        elements: NDArray[Any],
        members: NDArray[Any],
        counts: NDArray[Any],
        chemical_distance: NDArray[Any],
        popularity: NDArray[Any],
    ) -> NDArray[np.float64]:
        """(M,) logarithm of the weight of each vote.

        Args:
            elements: (M, roles) atomic numbers of the composition on the roles of each member's arrangement.
            members: (M, roles) those of the members. counts: (roles,) atoms.
            chemical_distance: (M, roles) between them.
            popularity: (M,) crystals of each member's arrangement.
        """
        weight = counts.astype(float) ** self.count_power
        weight *= len(counts) / weight.sum()
        difference = self.vectors[elements] - self.vectors[members]
        apart = difference - difference.mean(1, keepdims=True)
        squares = (difference**2 * weight[:, None]).sum(1) @ self.spread
        squares += (apart**2).sum(1) @ self.spread_apart
        return np.asarray(
            -self.gap * np.log1p(squares)
            - self.distance * (chemical_distance * weight).sum(1)
            + self.popularity * np.log1p(popularity)
            + self.same * (elements == members).all(1)
        )

    def save(self, path: Path) -> None:
        """Write the parameters as a NumPy archive."""
        arrays: dict[str, Any] = {
            f.name: np.asarray(getattr(self, f.name), dtype=np.float32) for f in fields(self)
        }
        with whole_file(path) as file, file.open("wb") as handle:
            np.savez_compressed(handle, **arrays)


def load_neighbour_weights(path: Path) -> NeighbourWeights:
    """The parameters of an archive.

    Raises:
        CheckpointMismatch: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name].astype(float) for name in archive.files}
        data: dict[str, Any] = {name: x if x.ndim else float(x) for name, x in arrays.items()}
        return NeighbourWeights(**data)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointMismatch(f"The table {path.name} cannot be read: {error}.") from error
