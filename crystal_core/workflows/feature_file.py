"""Features of crystals that cost seconds, stored in a file so that a later call continues from them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import RequestError
from crystal_core.whole_files import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from crystal_core.datasets.rows import CrystalRow

SAVE_EVERY = 100  # new crystals


class FeatureFile:
    """Feature vectors by crystal: in memory, and in a ``.npz`` file where one is named.

    A crystal is identified by its cell and atoms, so that the same id with another geometry has features of
    its own. A crystal without features is kept as a row of NaN.
    """

    def __init__(self, size: int, path: Path | None = None, *, label: str = "") -> None:
        """The features of an earlier call, if the file is there.

        Args:
            size: length of a feature vector.
            label: what made the features; a file of another maker is refused.

        Raises:
            RequestError: the file holds no features, or those of another program.
        """
        self._empty = np.full(size, np.nan)
        self._path = path
        self._label = label
        self._known: dict[str, NDArray[np.float64]] = {}
        self._unsaved = 0
        if path is None or not path.is_file():
            return
        try:
            with np.load(path, allow_pickle=False) as arrays:
                keys, table, made_by = arrays["keys"].tolist(), arrays["features"], str(arrays["label"])
        except (OSError, ValueError, KeyError) as error:
            raise RequestError(
                f"{path.name} is no file of features ({type(error).__name__}). Name another."
            ) from None
        if made_by != label or table.shape != (len(keys), size):
            raise RequestError(f"{path.name} holds features of {made_by}, not of {label}. Name another file.")
        self._known = dict(zip(keys, table, strict=True))

    def of(
        self, row: CrystalRow, make: Callable[[CrystalRow], NDArray[np.float64] | None]
    ) -> NDArray[np.float64]:
        """The features of a crystal, from the file or from ``make``; NaN where that gives None."""
        key = crystal_key(row)
        if key not in self._known:
            features = make(row)
            self._known[key] = self._empty if features is None else features
            self._unsaved += 1
            if self._unsaved >= SAVE_EVERY:
                self.save()
        return self._known[key]

    def save(self) -> None:
        """Write new features; a process killed meanwhile leaves the old file intact."""
        if self._path is None or not self._unsaved:
            return
        with whole_file(self._path) as file, file.open("wb") as handle:
            np.savez(
                handle,
                keys=np.array(list(self._known)),
                features=np.stack(list(self._known.values())).astype(np.float32),
                label=np.array(self._label),
            )
        self._unsaved = 0


def crystal_key(row: CrystalRow) -> str:
    """Short hash of a crystal's cell and atoms."""
    parts = (
        np.round(row.lattice, 5),
        np.round(row.frac_coords, 5),
        np.asarray(row.atomic_numbers, dtype=np.int64),
    )
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()[:24]
