"""Finished parts of a structure-prediction evaluation in a folder: crystals, and their settings.

An interrupted evaluation resumes from it. Candidates are ``<id>.cif``, or ``<id>_1.cif``,
``<id>_2.cif`` … for several of one reference, as ``evaluate csp --structures`` reads them; relaxed
cells have the same names under ``relaxed/``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.errors import RequestError, StructureParseError
from crystal_core.files.parse import parse_text
from crystal_core.files.writers import structure_to_text
from crystal_core.whole_files import write_whole

if TYPE_CHECKING:
    from pymatgen.core import Structure

RUN, RELAXED = "run.json", "relaxed"
BEGUN, CALLS = "begun_with", "network_calls_per_sample"
NO_CELL = "# no cell at all\n"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class RelaxedCell:
    """A candidate after relaxing; one that failed keeps its cell, with the energy (eV/atom) None."""

    structure: Structure
    energy: float | None = None
    converged: bool = False
    n_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class EvaluationCache:
    """The folder of one evaluation.

    Every cell is read back from its file (ten decimals, lattice in standard orientation) before it is used,
    so an interrupted evaluation gives the same report as an uninterrupted one.

    Attributes:
        ids: of all references, in order. run: the content of ``run.json``.
    """

    folder: Path
    ids: Sequence[str]
    samples: int = 1
    run: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def opened(
        cls, folder: Path, settings: Mapping[str, Any], ids: Sequence[str], samples: int = 1
    ) -> EvaluationCache:
        """The folder, new or begun with the same settings.

        Raises:
            RequestError: it was begun with other settings, holds files of something else, or an id
                cannot name a file.
        """
        bad = next((name for name in ids if not _FILE_NAME.fullmatch(name)), None)
        if bad is not None or len(set(ids)) < len(ids):
            why = (
                "the ids of its rows are not unique" if bad is None else f"the id '{bad[:60]}' cannot be one"
            )
            raise RequestError(f"--out names files after the rows of the data, and {why}; leave out --out.")
        run = read_run(folder)
        if not run and any(folder.glob("*.cif")):
            raise RequestError(
                f"--out {folder.name} holds CIFs that no evaluation of structure prediction "
                "began; choose another folder."
            )
        cache = cls(folder=folder, ids=ids, samples=samples, run=run)
        cache.agree(settings)
        return cache

    def agree(self, settings: Mapping[str, Any]) -> None:
        """Store new settings, and check that settings stored earlier are the same.

        Raises:
            RequestError: one differs.
        """
        begun = self.run.setdefault(BEGUN, {})
        for key, value in settings.items():
            if begun.setdefault(key, value) != value:
                raise RequestError(
                    f"--out {self.folder.name} was begun with {key.replace('_', ' ')} {begun[key]}, not "
                    f"{value}; repeat its settings, or choose another folder."
                )
        self._write_run()

    @property
    def network_calls(self) -> int:
        """Network calls of each stored sample."""
        return int(self.run.get(CALLS, 0))

    def candidates(self, first: int, n: int) -> list[Structure | None] | None:
        """All candidates of ``n`` references from number ``first`` on; None unless every file exists."""
        paths = [self.folder / name for i in range(first, first + n) for name in self._names(i)]
        return [_read(path) for path in paths] if all(path.is_file() for path in paths) else None

    def keep_candidates(
        self, first: int, structures: Sequence[Structure | None], network_calls: int
    ) -> list[Structure | None]:
        """Write the candidates of references from number ``first`` on; returns them as read back."""
        names = [
            name for i in range(first, first + len(structures) // self.samples) for name in self._names(i)
        ]
        for name, structure in zip(names, structures, strict=True):
            write_whole(
                self.folder / name, NO_CELL if structure is None else structure_to_text(structure, "cif")
            )
        if self.run.setdefault(CALLS, network_calls) < network_calls:
            self.run[CALLS] = network_calls  # a chunk without prototypes makes no call
        self._write_run()
        return [_read(self.folder / name) for name in names]

    def relaxed(self, i: int, k: int) -> RelaxedCell | None:
        """The relaxed ``k``-th candidate of reference number ``i``; None where it is not there."""
        path = self.folder / RELAXED / self._names(i)[k]
        try:
            text = path.read_text(encoding="utf-8")
            about = json.loads(text.partition("\n")[0].removeprefix("# "))
            structure = _read(path)
            return None if structure is None else RelaxedCell(structure=structure, **about)
        except (OSError, ValueError, TypeError):
            return None  # missing, or not written here: relax again

    def keep_relaxed(self, i: int, k: int, cell: RelaxedCell) -> RelaxedCell:
        """Write a relaxed candidate; returns it as read back."""
        (self.folder / RELAXED).mkdir(exist_ok=True)
        about = {"energy": cell.energy, "converged": cell.converged, "n_steps": cell.n_steps}
        write_whole(
            self.folder / RELAXED / self._names(i)[k],
            f"# {json.dumps(about)}\n{structure_to_text(cell.structure, 'cif')}",
        )
        return self.relaxed(i, k) or cell

    def keep_report(self, report: Mapping[str, Any]) -> None:
        """Write the report next to its settings."""
        own = {key: self.run[key] for key in (BEGUN, CALLS) if key in self.run}
        self.run.clear()
        self.run.update(own | dict(report))
        self._write_run()

    def _names(self, i: int) -> list[str]:
        return (
            [f"{self.ids[i]}.cif"]
            if self.samples == 1
            else [f"{self.ids[i]}_{k}.cif" for k in range(1, self.samples + 1)]
        )

    def _write_run(self) -> None:
        write_whole(self.folder / RUN, json.dumps(self.run, ensure_ascii=False, indent=1) + "\n")


def read_run(folder: Path) -> dict[str, Any]:
    """The content of ``run.json`` in a folder; empty without the file.

    Raises:
        RequestError: the file is of something else.
    """
    path = folder / RUN
    if not path.is_file():
        return {}
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        run = None
    if not isinstance(run, dict) or not isinstance(run.get(BEGUN), dict):
        raise RequestError(
            f"The {RUN} of --out {folder.name} is not of an evaluation of structure "
            "prediction; choose another folder."
        )
    return run


def _read(path: Path) -> Structure | None:
    """A cell as it was written, even with two atoms at one point; None if the file holds no cell."""
    try:
        structure = parse_text(path.read_text(encoding="utf-8"), path.name, purpose="view")
    except StructureParseError:
        return None
    structure.properties.clear()
    return structure
