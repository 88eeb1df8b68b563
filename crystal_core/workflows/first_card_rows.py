"""The judged rows of an evaluation of first cards, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crystal_core.errors import RequestError
from crystal_core.evaluation.ranking import Evidence


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One candidate: its evidence, and whether it is the crystal of its row.

    Attributes:
        evidence: of the cell as laid out, with its energies. after: of the cell as relaxed, where agreement
            and plausibility were found again; None where they were not.
        laid_out, relaxed: RMSD to the row's crystal in units of (V/N)^(1/3) before and after relaxing; None
            where it is another.
        trace: (steps, energy in eV/atom) of its relaxation.
        outrun: it was stopped because it could not win any more.
        force: the largest, eV/Å, of the cell as laid out; None where the potential cannot take it.
    """

    evidence: Evidence
    laid_out: float | None
    relaxed: float | None = None
    trace: tuple[tuple[int, float], ...] = ()
    outrun: bool = False
    force: float | None = None
    after: Evidence | None = None


@dataclass(frozen=True, kw_only=True)
class JudgedRow:
    """All candidates of one row: prototypes in their order, then drafts.

    Attributes:
        seconds: of one core, for all of the row; None in rows of earlier versions.
    """

    id: str
    formula: str
    n_atoms: int
    n_elements: int
    relaxes: bool
    candidates: tuple[Judged, ...]
    weighs: bool = False
    seconds: float | None = None

    @property
    def depth(self) -> int:
        """0: no energies; 1: of the cells as laid out; 2: relaxed."""
        return 2 if self.relaxes else int(self.weighs)


def begin(file: Path, settings: Mapping[str, Any]) -> None:
    """Note what the rows of a file are made with, or see that it was begun with the same.

    Raises:
        RequestError: it was begun with other settings.
    """
    if not file.is_file():
        file.write_text(json.dumps({"settings": dict(settings)}) + "\n", encoding="utf-8")
        return
    lines = file.read_text(encoding="utf-8").splitlines() or [""]
    try:
        begun = json.loads(lines[0])["settings"]
    except (ValueError, KeyError, TypeError):
        raise RequestError(
            f"{file.name} is no file that an evaluation of first cards began; choose another one."
        ) from None
    for key, value in settings.items():
        if begun.get(key) != value:
            raise RequestError(
                f"{file.name} was begun with {key.replace('_', ' ')} {begun.get(key)}, not {value}; "
                "repeat its settings, or choose another file."
            )


def read_rows(file: Path) -> list[JudgedRow]:
    """The rows of a file that :func:`collect` wrote; of several lines of one row the last.

    Raises:
        RequestError: the file is of something else.
    """
    if not file.is_file():
        return []
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        return list({row["id"]: _row(row) for row in lines if "settings" not in row}.values())
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise RequestError(
            f"{file.name} is no file of candidates and their evidence ({error}); choose another one."
        ) from None


def _row(data: Mapping[str, Any]) -> JudgedRow:
    return JudgedRow(
        **{
            **data,
            "candidates": tuple(
                Judged(
                    **{
                        **one,
                        "evidence": Evidence(**one["evidence"]),
                        "after": Evidence(**after) if (after := one.get("after")) else None,
                        "trace": tuple((int(step), float(energy)) for step, energy in one["trace"]),
                    }
                )
                for one in data["candidates"]
            ),
        }
    )
