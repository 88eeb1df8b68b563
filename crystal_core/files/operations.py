"""Symmetry operations as arrays: read from and written as ``x,y,z`` strings, closed to a group, applied to a site."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from crystal_core.errors import StructureParseError

MAX_OPERATIONS = 768  # of a group: 192 of a face-centred cubic one, and some more translations in a supercell
CELL_TOLERANCE = 0.03  # relative, of the metric tensor: 1.5 % of an edge, about 1.5° of an angle
SAME_SITE = 1e-3  # fractional; images closer than this are one atom
SNAP = 0.004  # a translation of 0.333 or 0.67 is a third

_TERM = re.compile(r"([+-]?)(?:(\d+\.?\d*|\.\d+)(?:/(\d+))?)?\*?([xyz])?")


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
        pairs = [_from_xyz(text) for text in texts]
        return cls(np.array([w for w, _ in pairs]), np.array([t for _, t in pairs]))

    def to_xyz(self) -> list[str]:
        """One ``x,y,z`` string each, translations as fractions."""
        return [
            ",".join(_row(row, shift) for row, shift in zip(w, t, strict=True))
            for w, t in zip(self.rotations.tolist(), self.translations.tolist(), strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rotations)

    def keys(self) -> set[bytes]:
        """What makes two sets of operations equal, lattice translations aside."""
        return set(self._ordered_keys())

    def is_same(self, other: Operations) -> bool:
        """Whether both are the same operations, in any order."""
        return self.keys() == other.keys()

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

    def images(self, frac_coords: Sequence[float]) -> np.ndarray:
        """The different images of one site in the cell, ``(images, 3)``, its own first where the identity is."""
        points = self.rotations @ np.asarray(frac_coords, dtype=float) + self.translations
        gaps = points[:, None] - points[None]
        same = (np.abs(gaps - np.round(gaps)) < SAME_SITE).all(-1)
        return points[same.argmax(1) == np.arange(len(points))]

    def _ordered_keys(self) -> list[bytes]:
        shifts = np.mod(np.round(self.translations * 10_000), 10_000)
        table = np.concatenate([self.rotations.reshape(-1, 9), shifts], axis=1).astype(np.int64)
        return [row.tobytes() for row in table]


def _from_xyz(text: str) -> tuple[np.ndarray, np.ndarray]:
    parts = re.sub(r"\s", "", text).lower().split(",")
    rotation, translation = np.zeros((3, 3), dtype=int), np.zeros(3)
    readable = len(parts) == 3
    for i, part in enumerate(parts if readable else ()):
        at = 0
        while at < len(part) and readable:
            term = _TERM.match(part, at)
            sign, value, divisor, axis = term.groups() if term else ("", None, None, None)
            if term is None or term.end() == at or (value is None and axis is None):
                readable = False
                break
            size = float(value or 1) / float(divisor or 1) if float(divisor or 1) else np.nan
            size = -size if sign == "-" else size
            if axis is None:
                translation[i] += size
            elif abs(size) < 9 and size == round(size):
                rotation[i, "xyz".index(axis)] += round(size)
            else:
                readable = False
            at = term.end()
    if not readable or not np.isfinite(translation).all() or abs(round(np.linalg.det(rotation))) != 1:
        shown = "".join(ch if ch.isprintable() else "?" for ch in text)[:60]
        raise StructureParseError(
            f"'{shown}' in this CIF is no symmetry operation: write it like x,-y,z+1/2, or export the file again."
        )
    return rotation, np.array([_snapped(x) for x in translation])


def _snapped(value: float) -> float:
    near = Fraction(value).limit_denominator(24)
    return float(near) if abs(near - Fraction(value)) < SNAP else value


def _row(row: Sequence[int], shift: float) -> str:
    text = ""
    for factor, axis in zip(row, "xyz", strict=True):
        if factor:
            text += f"{'+' if factor > 0 and text else '-' if factor < 0 else ''}{abs(factor) if abs(factor) > 1 else ''}{axis}"
    near = Fraction(shift).limit_denominator(24)
    if not shift:
        return text
    exact = abs(near - Fraction(shift)) < Fraction(1, 10**9)
    return f"{text}{'+' if shift > 0 else ''}{near if exact else f'{shift:.6f}'}"
