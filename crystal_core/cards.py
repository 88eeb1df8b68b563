"""A model card, read and written without torch: method, source, measured numbers and limits."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from crystal_core.errors import CheckpointMismatch
from crystal_core.paths import checkpoints_dir, home_dir
from crystal_core.whole_files import write_whole

FORMAT = 2  # of the cards written here; a card that states none has format 1
TABLES = ("files", "network", "sampling", "training", "metrics", "extra")
CURVE = "training.json"  # losses over the training of the weights
DEFAULTS = {"trained_on": "", "source": "trained here", "licence": "MIT", "limits": "", "good_for": ""}
NOT_MEASURED = (
    "These weights are new and not measured yet; data and source on this card describe earlier weights."
)


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The typed content of ``checkpoints/<name>/card.toml``.

    Attributes:
        kind: "generator" or "predictor".
        loader: which room loads it: "kldm", "prototype", …
        parameters: number of trained weights.
        files: file name → sha256 of every weight file.
        network: the network's sizes.
        sampling: its default sampler and limits.
        training: data, steps, hours, curve.
        metrics: name → {value, ci95, n, protocol, data, command}: each printed by a
            command of this repository.
        format: of the fields; :func:`upgrade` brings an older card to today's.
        parts: of a model that is made of others, their names → hash of their weights; not in the file.
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
    format: int = FORMAT
    parts: Mapping[str, str] = field(default_factory=dict)

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
    def most_atoms(self) -> int | None:
        """Atoms of the largest cell that the model has statistics of; None where it has no such limit."""
        counts = self.sampling.get("atom_count_frequencies", {})
        return self.sampling.get("most_atoms") or max(map(int, counts), default=None)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Conditions that the model takes, of :data:`crystal_core.conditions.WORDS`; mostly none."""
        return tuple(self.sampling.get("conditions", ()))

    @property
    def writes_drafts(self) -> bool:
        """Whether a language model writes the crystals."""
        return "draft" in self.sampling

    @property
    def keeps_parts(self) -> bool:
        """Whether it can keep parts of a crystal, elements or a space group in new crystals."""
        return not self.writes_drafts and "placer" not in self.network

    @property
    def is_experimental(self) -> bool:
        """Whether its numbers are too weak for a first choice."""
        return bool(self.extra.get("experimental"))

    @property
    def missing_packages(self) -> tuple[str, ...]:
        """Modules that the model needs and that are not installed, such as the base of an adapter."""
        return tuple(name for name in self.extra.get("requires", ()) if find_spec(name) is None)

    @property
    def balances_charges(self) -> bool:
        """Whether it can keep new compositions charge-balanced.

        Drafts are written balanced; types that are hidden and revealed are exchanged.
        """
        return self.writes_drafts or self.training.get("process", {}).get("species") == "masking"

    @property
    def weights_sha256(self) -> str:
        """One hash over the hashes of all files that a result depends on: not of the training curve."""
        hashes = {name: digest for name, digest in self.files.items() if name != CURVE} | dict(self.parts)
        joined = "".join(f"{name}:{digest}\n" for name, digest in sorted(hashes.items()))
        return hashlib.sha256(joined.encode()).hexdigest()

    @property
    def stamp(self) -> str:
        """Text that changes with the card, its weights and those of its parts; it keys the card in caches."""
        try:
            written = ((self.folder or Path()) / "card.toml").stat()
        except OSError:
            return f"{self.name} {self.weights_sha256}"
        return f"{self.name} {written.st_mtime_ns} {written.st_size} {self.weights_sha256}"

    def problem(self) -> str | None:
        """None if every weight file has the hash of the card, else one sentence."""
        for name, digest in self.files.items():
            path = (self.folder or Path()) / name
            if not path.is_file():
                return f"The file {name} is missing."
            if sha256_of(path) != digest:
                return (
                    f"The file {name} does not have the SHA-256 its card states; it was changed or damaged."
                )
        return None


KNOWN_KEYS = {each.name for each in fields(ModelCard)} - {"folder", "parts"}  # of the file


def checkpoint_folders() -> list[Path]:
    """Folders that hold a card: the shipped ones first, then those installed by the user."""
    return [
        root / name
        for root in _roots()
        if os.path.isdir(root) and os.access(root, os.R_OK)  # noqa: PTH112 (Path takes five times as long)
        for name in sorted(os.listdir(root))  # noqa: PTH208
        if os.path.isfile(f"{root}/{name}/card.toml")  # noqa: PTH113
    ]


def checkpoint_folder(name: str) -> Path | None:
    """The folder of one checkpoint, found without reading the others; None if it does not exist."""
    if name != Path(name).name:
        return None
    return next((root / name for root in _roots() if (root / name / "card.toml").is_file()), None)


def _roots() -> tuple[Path, Path]:
    return checkpoints_dir(), home_dir() / "checkpoints"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_card(folder: Path) -> ModelCard:
    """The card of a checkpoint folder, upgraded to the current format; its file is not changed.

    Raises:
        CheckpointMismatch: the card is unreadable or newer than this version, lacks a field or
            has an unknown one.
    """
    path = folder / "card.toml"
    try:
        text = path.read_text(encoding="utf-8")
        data = _parsed(text)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CheckpointMismatch(
            f"The card of checkpoint '{folder.name}' cannot be read: {error}."
        ) from error
    return _card_of(folder, text) if data.get("format") == FORMAT else _checked(upgrade(data, folder), folder)


@lru_cache(maxsize=256)
def _card_of(folder: Path, text: str) -> ModelCard:
    """A card of today's format, which depends on no other file."""
    return _checked(upgrade(_parsed(text), folder), folder)


def _checked(data: Mapping[str, Any], folder: Path) -> ModelCard:
    unknown = sorted(set(data) - KNOWN_KEYS)
    if unknown:
        raise CheckpointMismatch(f"The card of '{folder.name}' has unknown field(s): {', '.join(unknown)}.")
    try:
        return ModelCard(**data, folder=folder)
    except TypeError as error:
        raise CheckpointMismatch(f"The card of '{folder.name}' is incomplete: {error}.") from error


@lru_cache(maxsize=256)
def _parsed(text: str) -> dict[str, Any]:
    """The content of a card, cached: every page reads all cards, and parsing takes half of its time."""
    return dict(_read_only(tomllib.loads(text)))


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("All readers of a card share its tables. Change a copy of the table instead.")


class ReadOnlyTable(dict[str, Any]):
    """A table of a card: a dict that nobody can change; copies can be changed."""

    def __reduce__(self) -> tuple[Any, ...]:  # of copy.deepcopy and pickle
        return dict, (dict(self),)


class ReadOnlyList(list[Any]):
    """A list in a card; see :class:`ReadOnlyTable`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


for _kind, _changes in (
    (ReadOnlyTable, "__setitem__ __delitem__ __ior__ clear pop popitem setdefault update"),
    (
        ReadOnlyList,
        "__setitem__ __delitem__ __iadd__ __imul__ append clear extend insert pop remove reverse sort",
    ),
):
    for _change in _changes.split():
        setattr(_kind, _change, _refuse)


def _read_only(value: Any) -> Any:
    if isinstance(value, dict):
        return ReadOnlyTable({name: _read_only(part) for name, part in value.items()})
    return ReadOnlyList(map(_read_only, value)) if isinstance(value, list) else value


def upgrade(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The content of a card of any format up to today's, in today's form; nothing on disk changes.

    Args:
        data: the parsed ``card.toml``.
        folder: where it lies, for fields that older formats kept in other files.

    Raises:
        CheckpointMismatch: the card has a newer format than this version knows, a format that is no whole
            number, or a single value where a table belongs.
    """
    known, written = dict(data), data.get("format", 1)
    if isinstance(written, bool) or not isinstance(written, int) or written < 1:
        raise CheckpointMismatch(
            f"The card of '{folder.name}' has format {written!r}; "
            f"a format is a whole number from 1 to {FORMAT}."
        )
    if written > FORMAT:
        raise CheckpointMismatch(
            f"The card of '{folder.name}' has format {written}, but this version of Crystal Studio reads "
            f"formats up to {FORMAT}; install a newer version to use this checkpoint."
        )
    values = [name for name in TABLES if not isinstance(data.get(name, {}), Mapping)]
    if values:
        raise CheckpointMismatch(
            f"The card of '{folder.name}' has a single value where a table belongs: {', '.join(values)}."
        )
    for step in UPGRADES[written - 1 :]:
        known = step(known, folder)
    return {**known, "format": FORMAT}


def _upgrade_1(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Format 2 states the largest cell; before, it follows from the lattice statistics beside the card."""
    path = folder / "lattice.json"
    if path.name not in data.get("files", {}):
        return data
    try:
        most = _most_atoms(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return data  # the card stays readable, and problem() names the missing or damaged file
    return data | {"sampling": data.get("sampling", {}) | ({"most_atoms": most} if most else {})}


@lru_cache(maxsize=64)
def _most_atoms(statistics: str) -> int:
    return max(map(int, json.loads(statistics)["loc"]), default=0)


UPGRADES = (_upgrade_1,)  # the step at index i leads from format i + 1 to the next


def write_card(folder: Path, fields: Mapping[str, Any]) -> Path:
    """Merge ``fields`` into the folder's card and write it in today's format.

    Fields merge at the top level, and one table deep for metrics.

    Returns:
        the folder.

    Raises:
        CheckpointMismatch: the folder's card has a newer format.
    """
    path = folder / "card.toml"
    old = _read_upgraded(path)
    merged = {**DEFAULTS, **old, **fields, "format": FORMAT}
    for table in ("metrics", "sampling", "extra"):
        if table in old and table in fields:
            merged[table] = {**old[table], **fields[table]}
    write_whole(path, to_toml(merged))
    return folder


def forget_measurements(folder: Path, *, of: str = "") -> None:
    """Remove the metrics, sampler tables and limits that were measured with weights about to be replaced.

    What was chosen (corrector strength, steps) stays in use; data and source must be corrected by
    the person who exported.

    Args:
        of: property of a predictor, of whose metrics alone the card is freed; everything else then stays.
    """
    path = folder / "card.toml"
    if not path.is_file():
        return
    card = _read_upgraded(path)
    if of:
        metrics = {key: value for key, value in card.get("metrics", {}).items() if f"_{of}_" not in key}
        write_whole(path, to_toml(card | {"metrics": metrics}))
        return
    chosen = {
        key: value
        for key, value in card.get("sampling", {}).items()
        if not (isinstance(value, dict) and "match_rate" in value)
    }
    card = {key: value for key, value in card.items() if key != "metrics"} | {
        "sampling": chosen,
        "limits": NOT_MEASURED,
    }
    write_whole(path, to_toml(card))


def _read_upgraded(path: Path) -> dict[str, Any]:
    """The card in the current format, before it is written again; empty if the folder has none."""
    return upgrade(tomllib.loads(path.read_text(encoding="utf-8")), path.parent) if path.is_file() else {}


def to_toml(data: Mapping[str, Any]) -> str:
    """TOML text of plain nested values: scalars first, then tables."""
    lines: list[str] = []
    _table(data, (), lines)
    return "\n".join(lines).strip() + "\n"


def _table(data: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    scalars = {k: v for k, v in data.items() if not isinstance(v, Mapping)}
    if path and (scalars or not data):
        lines += ["", "[" + ".".join(_key(p) for p in path) + "]"]
    lines += [f"{_key(k)} = {_value(v)}" for k, v in scalars.items() if v is not None]
    for key, value in data.items():
        if isinstance(value, Mapping):
            _table(value, (*path, str(key)), lines)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
