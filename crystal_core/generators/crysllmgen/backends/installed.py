"""Which language models can write here, by their names and without loading any."""

from __future__ import annotations

from pathlib import Path

from crystal_core.cards import ModelCard, checkpoint_folders, read_card
from crystal_core.errors import CheckpointMissing
from crystal_core.generators.crysllmgen.backends.smollm2 import SMOLLM2, check_base

TINY = "tiny"
CHECKPOINTS = {TINY: "crysllmgen-tiny", SMOLLM2: "crysllmgen-smollm2"}  # name of a back end → its checkpoint


def card_of(name: str) -> ModelCard:
    """The card of a back end of :data:`CHECKPOINTS`.

    Raises:
        CheckpointMissing: it is not installed.
    """
    folders = {folder.name: folder for folder in reversed(checkpoint_folders())}
    if CHECKPOINTS[name] not in folders:
        raise CheckpointMissing(
            f"The back end {name} needs the checkpoint {CHECKPOINTS[name]}, which is not installed. "
            f"Train it with: crystal-core train {CHECKPOINTS[name]}{'-cpu' if name == TINY else ''} "
            f"--export {CHECKPOINTS[name]}."
        )
    return read_card(folders[CHECKPOINTS[name]])


def check_folder(folder: Path) -> None:
    """Raise CheckpointMissing unless there is such a folder, which may hold a language model."""
    if not folder.is_dir():
        raise CheckpointMissing(
            f"There is no folder {folder.name} with a language model; name one, or smollm2 or tiny."
        )


def check_back_end(name: str) -> None:
    """Check that a back end is installed, as far as that is seen without loading it.

    Args:
        name: of :data:`CHECKPOINTS`, or a folder.

    Raises:
        CheckpointMissing: there is no such checkpoint or folder. MissingExtra: its base is not installed.
    """
    if name not in CHECKPOINTS:
        check_folder(Path(name).expanduser())
    elif card_of(name).network.get("base") == SMOLLM2:
        check_base()
