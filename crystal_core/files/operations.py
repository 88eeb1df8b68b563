"""Symmetry operations as arrays: read by gemmi from ``x,y,z``, closed to a group, applied to sites."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.structures import printable

if TYPE_CHECKING:
    import gemmi

MAX_OPERATIONS = 768  # operations of a group: 192 for a face-centred cubic one, more in a supercell
MOST_PARTS = 30  # into which a translation divides a cell; keys of operations hold four decimals
# a translation of an operation, and not the factor of 1*x or 2x
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)\s*(?<![\w.*/])(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?:/\s*(?P<divisor>\d{1,3}))?(?![\w.*/])"
)
CELL_TOLERANCE = 0.03  # relative, of the metric tensor: 1.5 % of an edge, about 1.5° of an angle


@dataclass(frozen=True)
class Operations:
    """Rotations ``(n, 3, 3)``, integers, and translations ``(n, 3)`` in fractions of the cell, in order."""

    rotations: np.ndarray
    translations: np.ndarray

    @classmethod
    def from_xyz(cls, texts: Sequence[str]) -> Operations:
        """The operations written as ``-y, x-y, z+1/3``; ``1*x``, capitals and decimals are understood.

        Translations such as ``x+1/5``, which no space group has in its own cell, are those of a supercell or
        of another origin.

        Raises:
            StructureParseError: one of them is no symmetry operation.
        """
        read = [_from_xyz(text) for text in texts]
        return cls(
            np.array([rotation for rotation, _ in read], dtype=int).reshape(-1, 3, 3),
            np.array([shift for _, shift in read], dtype=float).reshape(-1, 3),
        )

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
        """One ``x,y,z`` string each, translations as fractions, or to 10 decimals where they are none."""
        import gemmi

        triplets = []
        for rotation, translation in zip(self.rotations, self.translations, strict=True):
            op = gemmi.Op("x,y,z")
            op.rot = (rotation * op.DEN).tolist()
            parts = zip(op.triplet().split(","), map(_number_text, translation), strict=True)
            triplets.append(",".join(part + shift for part, shift in parts))
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
        # products of a shift such as 0.37 fill the cell in steps of its last decimal
        most = MAX_OPERATIONS if self._divides_cell() else len(seen)
        while True:
            if len(seen) > most:
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

    def _divides_cell(self) -> bool:
        """Whether every translation is a fraction of the cell, and not a decimal such as 0.37."""
        return all(_fraction(value, 1e-6) is not None for value in self.translations.flat)

    def _ordered_keys(self) -> list[bytes]:
        shifts = np.mod(np.round(self.translations * 10_000), 10_000)
        table = np.concatenate([self.rotations.reshape(-1, 9), shifts], axis=1).astype(np.int64)
        return [row.tobytes() for row in table]


def _from_xyz(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation of one operation."""
    plain = text.strip().strip("'\"").strip()
    # gemmi rounds a decimal such as 0.123 to 1/8
    if "." not in plain and (op := _op(plain)) is not None:
        # thirds are exact to the last digit only where they are divided here
        return np.array(op.rot) // op.DEN, np.array(op.tran) / 24.0
    # gemmi counts translations in parts of 24
    parts = plain.split(",")
    shifts = [[_shift(match) for match in _NUMBER.finditer(part)] for part in parts]
    op = _op(",".join(_NUMBER.sub("", part) for part in parts))
    if op is not None and all(shift is not None for some in shifts for shift in some):
        return np.array(op.rot) // op.DEN, np.array([sum(filter(None, some)) for some in shifts])
    raise StructureParseError(
        f"'{printable(text)[:60]}' in this CIF is no symmetry operation: write it like x,-y,z+1/2, "
        "or export the file again."
    )


def _op(text: str) -> gemmi.Op | None:
    import gemmi

    try:
        op = gemmi.Op(text)
    except (ValueError, RuntimeError):
        return None
    is_whole = all(x % op.DEN == 0 for row in op.rot for x in row)
    return op if is_whole and abs(op.det_rot()) == op.DEN**3 else None


def _shift(match: re.Match[str]) -> float | None:
    """The value of a translation; None for a divisor beyond those of supercells.

    A decimal that is the rounded form of a fraction is that fraction: products of rounded ones would differ
    by more with each factor, and make no group.
    """
    sign = -1.0 if match["sign"] == "-" else 1.0
    if match["divisor"]:
        divisor = int(match["divisor"])
        return sign * float(match["number"]) / divisor if 0 < divisor <= MOST_PARTS else None
    value, decimals = float(match["number"]), len(match["number"].partition(".")[2])
    # two decimals hold thirds and sixths, but 0.37 need not be 3/8
    near = Fraction(value).limit_denominator(6 if decimals == 2 else MOST_PARTS)
    return sign * (float(near) if abs(float(near) - value) <= 0.5001 * 10**-decimals else value)


def _fraction(value: float, tolerance: float) -> Fraction | None:
    """The fraction of the cell that a translation is; None where it is none."""
    near = Fraction(float(value)).limit_denominator(MOST_PARTS)
    return near if abs(float(near) - value) <= tolerance else None


def _number_text(value: float) -> str:
    """A translation with its sign; empty for none."""
    near = Fraction(round(24 * value), 24)  # of a search, with the noise of the positions
    if abs(float(near) - value) > 1e-3:
        fraction = _fraction(value, 1e-6)
        if fraction is None:
            return f"{value:+.10f}".rstrip("0")
        near = fraction
    return f"{'+' if near > 0 else ''}{near}" if near else ""
