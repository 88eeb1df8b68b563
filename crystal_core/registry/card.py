"""A model card: what a checkpoint is, where it comes from, what it measured and where it ends. Read without torch."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crystal_core.errors import CheckpointMismatch

KNOWN_KEYS = frozenset({
    "name", "kind", "task", "method", "loader", "parameters", "trained_on", "source", "licence", "limits", "good_for",
    "files", "network", "sampling", "training", "metrics", "extra",
})  # fmt: skip
CURVE = "training.json"  # losses over the training of the weights
LATTICE = "lattice.json"  # statistics of the training cells, by number of atoms


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The typed content of ``checkpoints/<name>/card.toml``.

    Attributes:
        kind: "generator" or "predictor".
        loader: which room loads it: "kldm", "prototype", …
        parameters: number of trained weights.
        files: file name → sha256 of every weight file.
        network: the network's sizes. sampling: its default sampler and limits. training: data, steps, hours, curve.
        metrics: name → {value, ci95, n, protocol, data, command}: each printed by a command of this repository.
    """

    name: str
    kind: str
    task: str
    method: str
    loader: str
    parameters: int
    trained_on: str
    source: str
    licence: str
    limits: str
    good_for: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def size_mb(self) -> float:
        """Total size of the weight files in MB (10⁶ bytes)."""
        if self.folder is None:
            return 0.0
        return sum((self.folder / f).stat().st_size for f in self.files if (self.folder / f).is_file()) / 1e6

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers a generator was trained on; all where the card names none."""
        return tuple(self.sampling.get("elements") or range(1, 119))

    @property
    def weights_sha256(self) -> str:
        """One hash over the hashes of all files that a result depends on: not of the training curve."""
        joined = "".join(f"{name}:{digest}\n" for name, digest in sorted(self.files.items()) if name != CURVE)
        return hashlib.sha256(joined.encode()).hexdigest()

    def problem(self) -> str | None:
        """None if every weight file has the hash of the card, else one sentence."""
        for name, digest in self.files.items():
            path = (self.folder or Path()) / name
            if not path.is_file():
                return f"The file {name} is missing."
            if sha256_of(path) != digest:
                return f"The file {name} does not have the SHA-256 its card states; it was changed or damaged."
        return None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_card(folder: Path) -> ModelCard:
    """The card of a checkpoint folder.

    Raises:
        CheckpointMismatch: the card is unreadable, lacks a field or has an unknown one.
    """
    path = folder / "card.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CheckpointMismatch(f"The card of checkpoint '{folder.name}' cannot be read: {error}.") from error
    unknown = sorted(set(data) - KNOWN_KEYS)
    if unknown:
        raise CheckpointMismatch(f"The card of '{folder.name}' has unknown field(s): {', '.join(unknown)}.")
    try:
        return ModelCard(**data, folder=folder)
    except TypeError as error:
        raise CheckpointMismatch(f"The card of '{folder.name}' is incomplete: {error}.") from error
