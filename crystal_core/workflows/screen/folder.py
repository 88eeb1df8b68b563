"""The folder of a campaign: its settings, every finished batch, and the ranked crystals.

``screen.json`` holds all that the crystals depend on, ``batches/`` a file for each finished batch, and the
rest is what ``generate --out`` writes, of the ranked crystals, with ``ranking.csv``.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.errors import RequestError
from crystal_core.files.property_table import spreadsheet_text
from crystal_core.files.records import SYMMETRISED, write_run
from crystal_core.requests.screening import OF_RELAXING, Batch
from crystal_core.whole_files import write_whole

if TYPE_CHECKING:
    from crystal_core.records import CrystalRecord
    from crystal_core.workflows.screen.batch import BatchResult

CAMPAIGN, BATCHES, RUN, RANKING = "screen.json", "batches", "run.json", "ranking.csv"


def begun_with(folder: Path) -> dict[str, Any]:
    """The settings of the campaign that a folder holds; empty for a new one.

    Raises:
        RequestError: the folder holds files of something else.
    """
    path = folder / CAMPAIGN
    if not path.is_file():
        if (folder / RUN).exists() or any(folder.glob("*.cif")):
            raise RequestError(
                f"--out {folder.name} holds crystals that no screening began; choose another folder."
            )
        return {}
    content = _read(path)
    if content is None:
        raise RequestError(f"The {CAMPAIGN} of --out {folder.name} is damaged; choose another folder.")
    return content


class CampaignFolder:
    """The folder of a campaign, new or begun with the same settings.

    Args:
        settings: all that the crystals depend on.

    Raises:
        RequestError: it was begun with other settings, or holds files of something else.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        wanted, begun = json.loads(json.dumps(settings)), begun_with(folder)
        if begun and (name := _differing(old := dict(_flat(begun)), new := dict(_flat(wanted)))):
            raise RequestError(
                f"--out {folder.name} was begun with {name} {_words(old.get(name))}, not "
                f"{_words(new.get(name))}; repeat its settings, or choose another folder."
            )
        (folder / BATCHES).mkdir(parents=True, exist_ok=True)
        if not begun:
            write_whole(folder / CAMPAIGN, _text(wanted))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A block in which no other process works in the folder.

        Raises:
            RequestError: one does.
        """
        with (self.folder / CAMPAIGN).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RequestError(
                    f"Another screening is at work in --out {self.folder.name}; wait for its end, or choose "
                    "another folder."
                ) from None
            yield

    def finished(self, batches: Sequence[Batch]) -> dict[int, BatchResult]:
        """Number → result of the batches that are stored whole."""
        results = {}
        for batch in batches:
            stored = _read(self._file(batch))
            # the last batch of a smaller campaign has fewer crystals, and they are others
            if stored is not None and stored.get("n") == batch.n:
                results[batch.number] = stored
        return results  # type: ignore[return-value]

    def keep(self, batch: Batch, result: BatchResult) -> None:
        """Store the result of a batch."""
        write_whole(self._file(batch), _text(result))

    def write_ranking(self, crystals: Sequence[CrystalRecord], run_json: Mapping[str, Any]) -> None:
        """Write the ranked crystals, and delete the files of those that an earlier call ranked."""
        earlier: dict[str, Any] = _read(self.folder / RUN) or {}
        for record in earlier.get("crystals", ()):
            for path in (self.folder, self.folder / SYMMETRISED):
                (path / f"{record['id']}.cif").unlink(missing_ok=True)
        write_run(crystals, self.folder, run_json)
        write_whole(self.folder / RANKING, ranking_csv(crystals))

    def _file(self, batch: Batch) -> Path:
        return self.folder / BATCHES / f"{batch.number:06}.json"


def ranking_csv(crystals: Sequence[CrystalRecord]) -> str:
    """Ranked crystals as a table: rank, file, energies, predicted properties, number of alike ones."""
    predicted = list(dict.fromkeys(name for record in crystals for name in record.get("predictions", {})))
    energies = [*OF_RELAXING, "e_above_hull_error_ev"] if any("energies" in r for r in crystals) else []
    relaxed = ["converged"] if energies else []
    names = [f"predicted_{name}" for name in predicted]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["rank", "file", "formula", "space_group", "score", *energies, *relaxed, *names, "known", "n_alike"]
    )
    for rank, record in enumerate(crystals, start=1):
        group, score = record["space_group"], record["score"]
        known: Mapping[str, Any] = record.get("energies") or {}
        values = record.get("predictions") or {}
        cells = [
            *(rank, f"{record['id']}.cif", record["formula"], group["symbol"] if group else None),
            score["value"] if score else None,
            *(known.get(name) for name in energies),
            *(record["relaxation"]["converged"] for _ in relaxed),
            *(values[name]["value"] if name in values else None for name in predicted),
            *(record["novelty"]["known"], record["n_alike"]),
        ]
        writer.writerow(
            "" if cell is None else spreadsheet_text(cell) if isinstance(cell, str) else cell
            for cell in cells
        )
    return text.getvalue()


def _read(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _flat(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key → value of nested settings."""
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first setting in which two campaigns differ; empty where none does.

    A setting that only one of them has says nothing there if it is off: an earlier version did not know it.
    """
    for key in [*new, *old]:
        values = [settings[key] for settings in (old, new) if key in settings]
        if values[0] != values[-1] or (len(values) == 1 and not _is_off(values[0])):
            return key
    return ""


def _is_off(value: Any) -> bool:
    return value is None or value is False or value in ([], {})


def _words(value: Any) -> str:
    """A value of the settings as people write it."""
    if value is None or value in ([], {}, False):
        return "nothing"
    return ", ".join(map(_words, value)) if isinstance(value, list) else str(value)
