"""Symmetry operations as arrays: read by gemmi from ``x,y,z``, closed to a group, applied to sites."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.structures import printable

if TYPE_CHECKING:
    import gemmi

MAX_OPERATIONS = 768  # operations of a group: 192 for a face-centred cubic one, more in a supercell
CELL_TOLERANCE = 0.03  # relative, of the metric tensor: 1.5 % of an edge, about 1.5° of an angle


@dataclass(frozen=True)
class Operations:
    """Rotations ``(n, 3, 3)``, integers, and translations ``(n, 3)`` in fractions of the cell, in order."""

    rotations: np.ndarray
    translations: np.ndarray

    @classmethod
    def from_xyz(cls, texts: Sequence[str]) -> Operations:
        """The operations written as ``-y, x-y, z+1/3``; ``1*x``, capitals and decimals are understood.

        Raises:
            StructureParseError: one of them is no symmetry operation.
        """
        return cls.from_gemmi(map(_from_xyz, texts))

    @classmethod
    def from_gemmi(cls, operations: Iterable[gemmi.Op]) -> Operations:
        """The operations of gemmi, as they are, in order."""
        ops = list(operations)
        rotations = [np.array(op.rot) // op.DEN for op in ops]
        # thirds are exact to the last digit only where they are divided here
        return cls(
            np.array(rotations, dtype=int).reshape(-1, 3, 3),
            np.array([op.tran for op in ops], dtype=float).reshape(-1, 3) / 24.0,
        )

    def to_xyz(self) -> list[str]:
        """One ``x,y,z`` string each, translations as fractions with the divisor 24 or a part of it."""
        import gemmi

        triplets = []
        for rotation, translation in zip(self.rotations, self.translations, strict=True):
            op = gemmi.Op("x,y,z")
            op.rot, op.tran = (rotation * op.DEN).tolist(), np.rint(translation * op.DEN).astype(int).tolist()
            triplets.append(op.triplet())
        return triplets

    def __len__(self) -> int:
        return len(self.rotations)

    def keys(self) -> set[bytes]:
        """The identity of a set of operations, up to lattice translations."""
        return set(self._ordered_keys())

    def is_same(self, other: Operations) -> bool:
        """Whether both are the same operations, in any order."""
        return self.keys() == other.keys()

    def is_group(self) -> bool:
        """Whether every product of two of them is one of them."""
        try:
            return len(self.closed()) == len(self.keys())
        except StructureParseError:
            return False

    def closed(self) -> Operations:
        """These operations first, then all their products: the group that they generate.

        Raises:
            StructureParseError: that is no crystallographic group.
        """
        group, seen = self, self.keys()
        while True:
            if len(seen) > MAX_OPERATIONS:
                raise StructureParseError(
                    f"The {len(self)} symmetry operations of this CIF generate no space group: "
                    "correct them, or export the file again."
                )
            w = np.einsum("aij,bjk->abik", group.rotations, self.rotations).reshape(-1, 3, 3)
            t = np.einsum("aij,bj->abi", group.rotations, self.translations) + group.translations[:, None]
            # ten decimals: rounding errors do not grow from product to product
            products = Operations(w, np.mod(np.round(t.reshape(-1, 3), 10), 1.0))
            fresh = []
            for k, key in enumerate(products._ordered_keys()):
                if key not in seen:
                    seen.add(key)
                    fresh.append(k)
            if not fresh:
                return group
            group = Operations(
                np.concatenate([group.rotations, products.rotations[fresh]]),
                np.concatenate([group.translations, products.translations[fresh]]),
            )

    def fit(self, matrix: np.ndarray) -> bool:
        """Whether every rotation leaves the cell (rows a, b, c in Å) as it is, within 1.5 % and 1.5°."""
        metric = matrix @ matrix.T
        edges = np.sqrt(np.diag(metric))
        moved = np.einsum("nji,jk,nkl->nil", self.rotations, metric, self.rotations)
        return bool((np.abs(moved - metric) <= CELL_TOLERANCE * np.outer(edges, edges)).all())

    def _ordered_keys(self) -> list[bytes]:
        shifts = np.mod(np.round(self.translations * 10_000), 10_000)
        table = np.concatenate([self.rotations.reshape(-1, 9), shifts], axis=1).astype(np.int64)
        return [row.tobytes() for row in table]


def _from_xyz(text: str) -> gemmi.Op:
    import gemmi

    try:
        op = gemmi.Op(text.strip().strip("'\"").strip())
        if op.det_rot() in (op.DEN**3, -(op.DEN**3)) and all(x % op.DEN == 0 for row in op.rot for x in row):
            return op
    except (ValueError, RuntimeError):
        pass
    raise StructureParseError(
        f"'{printable(text)[:60]}' in this CIF is no symmetry operation: write it like x,-y,z+1/2, "
        "or export the file again."
    )
