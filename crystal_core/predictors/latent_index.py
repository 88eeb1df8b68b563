"""Training crystals in latent space: the nearest ones of a crystal, and its distance from them.

A crystal's vector is the mean of its atoms' features, turned to its principal axes and cut to
the first of them.
"""

from __future__ import annotations

import json
import lzma
import math
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import CheckpointMismatch
from crystal_core.properties import Domain, KnownExample
from crystal_core.whole_files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

INDEX = "index.npz.xz"
# of an adapter: id → true value of those of its training crystals that are in the index
KNOWN = "known.json.xz"
AXES = 32
# of the stored coordinates, in root mean square spreads of the first axis; a byte reaches 6.4 of them
STEP = 0.05
EDGE, OUTSIDE = 0.90, 0.99  # shares of held-out crystals that are nearer


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentIndex:
    """Training crystals and held-out distances.

    Attributes:
        centre, axes, spread: vector → coordinates: ((v - centre) @ axes) / spread, (width,),
            (width, AXES), a number.
        coordinates: (crystals, AXES) of the training crystals.
        map_places: (crystals, 2), the first two, not rounded to bytes.
        ids, formulas: of them.
        values: property → (crystals,) true values in physical units, NaN where unknown.
        held_out: sorted distances of held-out crystals to their nearest training crystal.
    """

    centre: NDArray[np.float32]
    axes: NDArray[np.float32]
    spread: float
    coordinates: NDArray[np.float32]
    map_places: NDArray[np.float32]
    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    values: Mapping[str, NDArray[np.float32]]
    held_out: NDArray[np.float32]

    @classmethod
    def build(
        cls,
        vectors: NDArray[np.float32],
        held_out: NDArray[np.float32],
        *,
        ids: Sequence[str],
        formulas: Sequence[str],
        values: Mapping[str, NDArray[np.float32]],
    ) -> LatentIndex:
        """From the vectors (crystals, width) of the training crystals and of held-out ones."""
        centre = vectors.mean(axis=0)
        _, sizes, turned = np.linalg.svd((vectors - centre).astype(np.float64), full_matrices=False)
        axes = turned[:AXES].T.astype(np.float32)
        spread = float(sizes[0] / np.sqrt(len(vectors)))
        exact = (vectors - centre) @ axes / spread
        index = cls(
            centre=centre,
            axes=axes,
            spread=spread,
            coordinates=_rounded(exact),
            map_places=exact[:, :2].astype(np.float16).astype(np.float32),
            ids=tuple(ids),
            formulas=tuple(formulas),
            values=dict(values),
            held_out=np.zeros(0, np.float32),
        )
        _, distances = index._search(held_out, 1)
        return cls(**{**index.__dict__, "held_out": np.sort(distances[:, 0])})

    def with_known(self, name: str, folder: Path | None) -> LatentIndex:
        """The index with true values of one more property from an adapter's folder; itself without any.

        Raises:
            CheckpointMismatch: the file is none.
        """
        path = None if folder is None else folder / KNOWN
        if path is None or not path.is_file():
            return self
        try:
            known = {
                str(key): float(value)
                for key, value in json.loads(lzma.decompress(path.read_bytes())).items()
            }
        except (OSError, lzma.LZMAError, ValueError, AttributeError, TypeError) as error:
            raise CheckpointMismatch(f"{path.name} holds no true values ({error}).") from error
        values = np.array([known.get(one, math.nan) for one in self.ids], np.float32)
        return replace(self, values={**self.values, name: values})

    def nearest(
        self, vectors: NDArray[np.float32], count: int = 1, properties: Sequence[str] = ()
    ) -> tuple[list[tuple[KnownExample, ...]], list[Domain]]:
        """The closest training crystals of vectors (crystals, width), and whether each is among them.

        Args:
            count: of the closest.
            properties: for each of them, the closest crystal whose value is known is named as well.
        """
        near, far = self._search(vectors, count)
        edge, outside = np.quantile(self.held_out, [EDGE, OUTSIDE])
        domains: list[Domain] = [
            "inside" if d <= edge else "edge" if d <= outside else "outside" for d in far[:, 0].tolist()
        ]
        for name in properties:
            known = (
                np.flatnonzero(np.isfinite(self.values[name])) if name in self.values else np.zeros(0, int)
            )
            if len(known):
                rows, distances = self._search(vectors, 1, known)
                near, far = np.hstack([near, rows]), np.hstack([far, distances])
        unit = max(float(np.median(self.held_out)), 1e-9)
        examples = []
        for rows, distances in zip(near.tolist(), far.tolist(), strict=True):
            chosen = dict(sorted(zip(rows, distances, strict=True), key=lambda pair: pair[1]))
            examples.append(tuple(self._example(row, d / unit) for row, d in chosen.items()))
        return examples, domains

    def places(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Places of vectors (crystals, width) on the map, (crystals, 2): the first two axes."""
        return ((vectors - self.centre) @ self.axes[:, :2] / self.spread).astype(np.float32)

    def _example(self, row: int, distance: float) -> KnownExample:
        known = {name: float(values[row]) for name, values in self.values.items()}
        return KnownExample(
            id=self.ids[row],
            formula=self.formulas[row],
            distance=round(distance, 3),
            values={name: value for name, value in known.items() if not math.isnan(value)},
        )

    def _search(
        self, vectors: NDArray[np.float32], count: int, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and distances of the closest, (crystals, count) each, closest first; of given rows if any."""
        points = (vectors - self.centre) @ self.axes / self.spread
        coordinates = self.coordinates if among is None else self.coordinates[among]
        count = min(count, len(coordinates))
        own = np.square(coordinates).sum(axis=1)
        rows, hits = [], []
        for block in np.array_split(points, max(1, len(points) // 256)):
            square = own - 2 * block @ coordinates.T + np.square(block).sum(axis=1, keepdims=True)
            near = np.argpartition(square, count - 1, axis=1)[:, :count]
            far = np.take_along_axis(square, near, axis=1)
            order = np.argsort(far, axis=1, kind="stable")
            rows.append(np.take_along_axis(near, order, axis=1))
            hits.append(np.sqrt(np.maximum(np.take_along_axis(far, order, axis=1), 0.0)))
        places = np.concatenate(rows)
        return places if among is None else among[places], np.concatenate(hits).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write one compressed file; coordinates take a byte each, true values four digits."""
        buffer = BytesIO()
        values = {f"value.{name}": array.astype(np.float32) for name, array in self.values.items()}
        known = {
            key: np.stack([np.flatnonzero(np.isfinite(array)).astype(np.float32), array[np.isfinite(array)]])
            for key, array in values.items()
        }
        np.savez(
            buffer,
            centre=self.centre,
            axes=self.axes,
            spread=np.float32(self.spread),
            coordinates=np.round(self.coordinates / STEP).astype(np.int8),
            map_places=self.map_places.astype(np.float16),
            names=np.frombuffer(json.dumps([self.ids, self.formulas]).encode(), np.uint8),
            held_out=self.held_out,
            allow_pickle=False,
            **known,
        )
        write_whole(path, lzma.compress(buffer.getvalue()))

    @classmethod
    def load(cls, path: Path) -> LatentIndex:
        """An index from its file.

        Raises:
            CheckpointMismatch: the file is none.
        """
        try:
            with np.load(BytesIO(lzma.decompress(path.read_bytes()))) as data:
                ids, formulas = json.loads(data["names"].tobytes())
                values = {}
                for key in data.files:
                    if key.startswith("value."):
                        rows, known = data[key]
                        values[key.removeprefix("value.")] = np.full(len(ids), np.nan, np.float32)
                        values[key.removeprefix("value.")][rows.astype(int)] = known
                return cls(
                    centre=data["centre"],
                    axes=data["axes"],
                    spread=float(data["spread"]),
                    coordinates=data["coordinates"].astype(np.float32) * STEP,
                    map_places=data["map_places"].astype(np.float32),
                    ids=tuple(ids),
                    formulas=tuple(formulas),
                    values=values,
                    held_out=data["held_out"],
                )
        except (OSError, lzma.LZMAError, KeyError, ValueError) as error:
            raise CheckpointMismatch(f"{path.name} is no index of training crystals ({error}).") from error


def save_known(folder: Path, known: Mapping[str, float]) -> str:
    """Write true values by id, four digits, beside an adapter; returns the name of the file."""
    text = json.dumps({key: float(f"{value:.4g}") for key, value in known.items()})
    write_whole(folder / KNOWN, lzma.compress(text.encode()))
    return KNOWN


def _rounded(coordinates: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(np.round(coordinates / STEP), -127, 127).astype(np.float32) * np.float32(STEP)
