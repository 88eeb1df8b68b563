"""Public files that programs misread, read now and compared with earlier readings.

``python -m crystal_core.workflows.public_cases FOLDER``.

``public_cases.json`` holds, for each case, the right content of its files and the outcome at an earlier
commit. The files are not shipped: the folder is named. What they are read as now is computed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crystal_core.errors import RequestError, StructureParseError
from crystal_core.files.encoding import text_of
from crystal_core.files.parse import parse_each
from crystal_core.interruption import ending_with_its_code

if TYPE_CHECKING:
    from pymatgen.core import Structure

TABLE = Path(__file__).with_name("public_cases.json")
SECONDS = 60.0  # of processor; a file that takes longer blocks the reader for others
OUTCOMES = ("right", "wrong", "refused", "slow", "missing")
Outcome = Literal["right", "wrong", "refused", "slow", "missing"]


@dataclass(frozen=True, kw_only=True)
class CaseOutcome:
    """One case: its outcome before and now, each with what was said; ``now`` is the worst of its files."""

    name: str
    earlier: Outcome
    earlier_said: str
    now: Outcome
    said: str


class Seen:
    """The reader's view of a file: crystals or error sentences, and notes."""

    def __init__(self, path: Path) -> None:
        began = time.process_time()
        crystals: Sequence[Structure | StructureParseError]
        try:
            crystals = parse_each(text_of(path.read_bytes()), path.name, purpose="view")
        except StructureParseError as error:
            crystals = [error]
        self.seconds = time.process_time() - began
        self.crystals = [one for one in crystals if not isinstance(one, StructureParseError)]
        self.refusal = " ".join(str(one) for one in crystals if isinstance(one, StructureParseError))
        self.notes = " ".join(note for one in self.crystals for note in one.properties.get("notes", []))

    @property
    def holds(self) -> dict[str, float]:
        """Element → amount in the first cell, shares and isotopes as in the file."""
        crystal = self.crystals[0]
        contents: Counter[str] = Counter()
        shares = (crystal.properties.get("occupancy") or {}).get("shares")
        for one in shares or [site.species.get_el_amt_dict() for site in crystal]:
            contents.update(one)
        return {symbol: round(n, 2) for symbol, n in sorted(contents.items())}

    @property
    def density(self) -> float:
        """Density of the first crystal, g/cm3."""
        crystal = self.crystals[0]
        return (crystal.properties.get("occupancy") or {}).get("density") or float(crystal.density)

    @property
    def shortest(self) -> float:
        """Shortest distance between two sites of the first crystal, Å."""
        return float(min(np.min(d[d > 0]) for d in self.crystals[0].distance_matrix))


def outcomes(folder: Path, table: Path = TABLE) -> Iterator[CaseOutcome]:
    """Each case of the table, its files read from the folder.

    Raises:
        RequestError: there is no such folder.
    """
    if not folder.is_dir():
        raise RequestError(f"There is no folder {folder.name}.")
    for case in json.loads(table.read_text(encoding="utf-8"))["cases"]:
        verdicts = [(name, *judged(folder / name, right)) for name, right in case["files"].items()]
        worst = max((outcome for _, outcome, _ in verdicts), key=OUTCOMES.index)
        bad = [f"{Path(name).name}: {said}" for name, outcome, said in verdicts if outcome != "right"]
        yield CaseOutcome(
            name=case["name"],
            earlier=case["earlier"],
            earlier_said=case["said"],
            now=worst,
            said="; ".join(bad or dict.fromkeys(said for _, _, said in verdicts if said)),
        )


def judged(path: Path, right: Mapping[str, Any]) -> tuple[Outcome, str]:
    """The outcome of one file, and what was read or said.

    Args:
        right: ``holds`` (element → atoms of the cell), ``density`` (g/cm3), ``group`` (number), ``shortest``
            (Å), ``says`` (a pattern of the remarks), ``frames``, ``known``, ``reflections`` (angle → name);
            or ``refused``, a pattern of the refusal; or ``formulas`` (text → its atoms, or a refusal) and
            ``space_groups`` (name → number) of a list of requests.
    """
    if not path.is_file():
        return "missing", "not in the folder"
    if "formulas" in right or "space_groups" in right:
        return _requests(right)
    seen = Seen(path)
    if seen.seconds > SECONDS:
        return "slow", f"{seen.seconds:.0f} s"
    if not seen.crystals:
        is_right = "refused" in right and re.search(right["refused"], seen.refusal)
        return "right" if is_right else "refused", seen.refusal
    wrong = [f"{name}: {value}" for name, value in _differences(seen, right)]
    read = ", ".join(f"{symbol}{n:g}" for symbol, n in seen.holds.items()) + f", {seen.density:.2f} g/cm3"
    return ("wrong", f"{read}; {'; '.join(wrong)}") if wrong else ("right", read)


def _differences(seen: Seen, right: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The differences from ``right``: name and read value of each."""
    if "refused" in right:
        yield "read, not refused", seen.holds
        return
    if seen.holds.keys() != right["holds"].keys() or any(
        abs(seen.holds[symbol] - n) > 0.02 for symbol, n in right["holds"].items()
    ):
        yield "holds", seen.holds
    for name, tolerance in (("density", 2e-3 * right.get("density", 0.0)), ("shortest", 0.02)):
        if name in right and abs(getattr(seen, name) - right[name]) > tolerance:
            yield name, round(getattr(seen, name), 3)
    if "says" in right and not re.search(right["says"], seen.notes):
        yield "remarks", seen.notes or "none"
    if "frames" in right and len(seen.crystals) != right["frames"]:
        yield "frames", len(seen.crystals)
    yield from _derived_differences(seen.crystals[0], right)


def _derived_differences(crystal: Structure, right: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    if "group" in right:
        from crystal_core.files.records import space_group

        group = space_group(crystal, 0.01)
        if group is None or group["number"] != right["group"]:
            yield "group", group and group["number"]
    if "known" in right:
        from crystal_core.reference.known import known_matches

        if bool(known_matches(crystal)) != right["known"]:
            yield "known", not right["known"]
    if "reflections" in right:
        from crystal_core.evaluation.xrd import pattern

        peaks = pattern(crystal)
        names = {f"{angle:.1f}": hkl for angle, hkl in zip(peaks.two_theta, peaks.hkl, strict=True)}
        for angle, hkl in right["reflections"].items():
            if names.get(angle) != hkl:
                yield f"reflection at {angle}°", names.get(angle)


def _requests(right: Mapping[str, Any]) -> tuple[Outcome, str]:
    from crystal_core.chemistry.formula import parse_formula
    from crystal_core.evaluation.symmetry import space_group_number

    for text, counts in right.get("formulas", {}).items():
        try:
            counted = dict(parse_formula(text).counts)
        except RequestError:
            continue  # asked about
        if counted != counts:
            return "wrong", f"{text}: {counted}"
    for name, number in right.get("space_groups", {}).items():
        try:
            if (group := space_group_number(name)) != number:
                return "wrong", f"{name}: {group}"
        except RequestError as error:
            return "refused", str(error)
    return "right", ""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: a line per case, outcomes before and now; exits with 1 unless all are right."""
    parser = argparse.ArgumentParser(
        prog="python -m crystal_core.workflows.public_cases", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="folder of the cases")
    parser.add_argument("--table", type=Path, default=TABLE, help="right contents and earlier outcomes")
    options = parser.parse_args(arguments)
    counts: dict[str, Counter[str]] = {"before": Counter(), "now": Counter()}
    _write("| case | before | said before | now | says now |\n|---|---|---|---|---|")
    try:
        for case in outcomes(options.folder, options.table):
            counts["before"][case.earlier] += 1
            counts["now"][case.now] += 1
            said = case.said.replace("|", "\\|")
            _write(f"| {case.name} | {case.earlier} | {case.earlier_said} | {case.now} | {said} |")
    except RequestError as error:
        sys.exit(str(error))
    totals = [
        f"{when}: {', '.join(f'{count[name]} {name}' for name in OUTCOMES if count[name])}"
        for when, count in counts.items()
    ]
    _write("\n".join(["", *totals]))
    if set(counts["now"]) - {"right"}:
        sys.exit(1)


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()  # a case may take a minute, and what is read must not be lost with the rest


if __name__ == "__main__":
    with ending_with_its_code():
        main()
