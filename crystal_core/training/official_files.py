"""Official checkpoints: read as tensors and plain values only, checked name by name.

Nothing in such a file can run, a foreign or newer layout is refused by name, and a checkpoint appears whole
or not at all.
"""

from __future__ import annotations

import pickle
import re
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crystal_core.cards import checkpoint_folders
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.paths import home_dir

if TYPE_CHECKING:
    from torch import Tensor

LISTED = 12  # names in an error
MAGIC = (b"PK\x03\x04", b"\x80")  # of zip archives, and of the older pickle format
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The imported checkpoint: its folder, task and number of trained weights.

    Attributes:
        unused: names of the file that no network here has a use for.
        absent: names of our network that the file lacks.
    """

    folder: Path
    task: str
    parameters: int
    unused: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def check_name(name: str) -> None:
    """Raise RequestError unless this can name a checkpoint."""
    if not _NAME.fullmatch(name):
        raise RequestError(f"'{name}' cannot name a checkpoint; use letters, digits, '.', '_' and '-'.")


def check_free_name(name: str) -> None:
    """Raise RequestError unless a new checkpoint may have this name."""
    check_name(name)
    if name in {folder.name for folder in checkpoint_folders()}:
        raise RequestError(f"A checkpoint named '{name}' is installed already; choose another name.")


@contextmanager
def new_checkpoint(name: str) -> Iterator[Path]:
    """A folder for a new checkpoint, which joins the user's own when the block ends without error."""
    root = home_dir() / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".import-") as unfinished:
        folder = Path(unfinished) / name
        folder.mkdir()
        yield folder
        shutil.move(folder, root / name)


def read_official_state(file: Path, expected: str) -> dict[str, Tensor]:
    """The tensors of a state dictionary, bare or under "state_dict".

    Args:
        expected: what should have been given, for the error: "the Lightning checkpoint of a KLDM run".

    Raises:
        RequestError: the file is missing, no checkpoint, holds more than tensors and plain values, or a
            tensor claims more numbers than the file stores.
    """
    import torch

    if not file.is_file():
        raise RequestError(f"There is no file {file.name}.")
    try:
        with file.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise RequestError(f"{file.name} cannot be read: {error.strerror}.") from error
    if not start.startswith(MAGIC):
        raise RequestError(f"{file.name} is no PyTorch checkpoint; give {expected}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickles; they are read as plain values too
            data = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RequestError(
            f"{file.name} holds something besides tensors and plain values, which could run code and is not "
            "opened. Save its state_dict alone."
        ) from error
    except Exception as error:  # torch raises many types for files that are no checkpoint
        raise RequestError(f"{file.name} is no PyTorch checkpoint ({type(error).__name__}).") from error
    state = data.get("state_dict", data) if isinstance(data, dict) else None
    if not isinstance(state, Mapping) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
    ):
        raise RequestError(f"{file.name} has no 'state_dict' of tensors; give {expected}.")
    # a tensor with strides of 0 takes few bytes in the file, and unlimited memory once copied
    inflated = [k for k, v in state.items() if not v.is_sparse and v.nbytes > v.untyped_storage().nbytes()]
    if inflated or any(v.is_sparse for v in state.values()):
        raise RequestError(
            f"{file.name} holds tensors that are not stored in full "
            f"({listed(inflated) or 'sparse ones'}); give {expected}."
        )
    return dict(state)


def check_layout(
    weights: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], network: str, prefix: str = ""
) -> None:
    """Raise CheckpointMismatch unless the weights have exactly these names and shapes and are finite.

    Args:
        network: what they should fit, for the error: "a KLDM network". prefix: of the names in the file.
    """
    import torch

    missing, unknown = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    if missing or unknown:
        parts = [
            f"{word}: {listed([prefix + n for n in names])}"
            for word, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise CheckpointMismatch(f"The file's names do not fit {network}; {'; '.join(parts)}.")
    wrong = [
        f"{prefix}{k} is {shape_text(weights[k].shape)}, expected {shape_text(shape)}"
        for k, shape in expected.items()
        if tuple(weights[k].shape) != shape
    ]
    if wrong:
        raise CheckpointMismatch(f"The file's shapes do not fit {network}: {'; '.join(wrong[:LISTED])}.")
    broken = [prefix + k for k, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointMismatch(f"The file holds numbers that are not finite in {listed(broken)}.")


def shape_text(shape: Collection[int]) -> str:
    """A shape for people: "3 x 16"."""
    return " x ".join(map(str, shape)) or "a single number"


def listed(names: Collection[str]) -> str:
    """The first names in order, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(sorted(names)[:LISTED]) + more
