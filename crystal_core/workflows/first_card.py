"""Evaluate the first candidate shown: candidates for known crystals with all evidence, stored row by row.

For every row of a table the candidates are laid out, weighed as they are, relaxed against each other, and
compared with the row's own crystal. The evidence is written as one line of JSON per row, so a run over many
rows can be spread over several sessions, and weights can be fitted and reports made without a potential. The
row's own crystal is not among the candidates: the shipped table of prototypes holds no validation or test
row.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.chemistry.formula import parse_formula
from crystal_core.errors import RelaxationFailed, RequestError
from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.matching import MATCHER
from crystal_core.evaluation.ranking import Evidence
from crystal_core.evaluation.validity import check_structure
from crystal_core.registry.store import load_generator
from crystal_core.relax.race import Race, by_turns
from crystal_core.structures import to_structures
from crystal_core.workflows.first_card_drafts import Drafts, with_agreement
from crystal_core.workflows.references import Reference, read_references

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.generators.prototype.generator import PrototypeGenerator
    from crystal_core.relax.potential import Potential
    from crystal_core.relax.relaxation import RelaxStep

CANDIDATES = 8  # prototypes of each row
STEPS = 100  # of a relaxation
# a fit needs the energies of those that lose by little, too: a tenth of an electronvolt more than Race.gains
WIDE_GAINS = ((5, 0.7), (10, 0.4), (20, 0.2), (40, 0.12))
TRACED = (0, 1, 2, 5, 10, 20, 40, 60)  # steps whose energies are kept
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One candidate: its evidence, and whether it is the crystal of its row.

    Attributes:
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


@dataclass(frozen=True, kw_only=True)
class JudgedRow:
    """All candidates of one row: prototypes in their order, then drafts."""

    id: str
    formula: str
    n_atoms: int
    n_elements: int
    relaxes: bool
    candidates: tuple[Judged, ...]
    weighs: bool = False

    @property
    def depth(self) -> int:
        """0: no energies; 1: of the cells as laid out; 2: relaxed."""
        return 2 if self.relaxes else int(self.weighs)


def rows_in_random_order(
    data: Path, split: str, *, max_atoms: int, first: int, limit: int
) -> list[Reference]:
    """``limit`` rows of at most ``max_atoms`` atoms, from number ``first`` on in an order drawn with seed 0.

    Raises:
        RequestError: there are no such rows.
    """
    import numpy as np

    small = [r for r in read_references(data, split, None) if len(r.atomic_numbers) <= max_atoms]
    small.sort(key=lambda reference: reference.id)
    order = np.random.default_rng(0).permutation(len(small))[first : first + limit]
    if not len(order):
        raise RequestError(
            f"{data.name} has {len(small)} rows of up to {max_atoms} atoms in '{split}'; "
            f"none is left from number {first} on."
        )
    return [small[i] for i in order]


def collect(
    references: Sequence[Reference],
    file: Path | None,
    *,
    n: int = CANDIDATES,
    potential: Potential | None = None,
    relaxes: bool = True,
    open_z: bool = False,
    drafts: Drafts | None = None,
    say: Say | None = None,
) -> list[JudgedRow]:
    """The evidence of every row; ``file`` keeps each as soon as it is finished, and those it holds are read.

    Args:
        potential: for energies; None leaves them out. relaxes: relax, too.
        open_z: give the formula alone, as a user does; else the number of atoms of the row's cell is given,
            as published rates do.
        drafts: what else makes candidates, for the cell of the row.
    """
    depth = 0 if potential is None else 2 if relaxes else 1
    prototypes: Any = load_generator("prototype", "cpu")
    done = {row.id: row for row in read_rows(file)} if file is not None else {}
    began, rows = time.monotonic(), []
    for k, reference in enumerate(references, start=1):
        row = done.get(reference.id)
        if row is None or row.depth < depth:
            row = judge_row(
                reference,
                prototypes,
                n=n,
                potential=potential,
                relaxes=relaxes,
                open_z=open_z,
                drafts=drafts,
            )
            if file is not None:
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(asdict(row)) + "\n")
            if say:
                say(
                    f"{k} of {len(references)} rows, {time.monotonic() - began:.0f} s: "
                    f"{row.formula}, {row.n_atoms} atoms"
                )
        rows.append(row)
    return rows


def judge_row(
    reference: Reference,
    prototypes: PrototypeGenerator,
    *,
    n: int,
    potential: Potential | None,
    relaxes: bool = True,
    open_z: bool = False,
    drafts: Drafts | None = None,
) -> JudgedRow:
    """Lay out, weigh, relax and compare the candidates of one row, prototypes first."""
    laid_out = prototype_candidates(prototypes, _cells(reference, open_z=open_z), n, repeats=not open_z)
    if drafts is not None:
        laid_out = with_agreement([*laid_out, *drafts.candidates(reference.atomic_numbers)])
    judged = [
        Judged(evidence=evidence, laid_out=rms_distance(reference.structure, cell, MATCHER))
        for evidence, cell in laid_out
    ]
    if potential is not None:
        paths = relax_rivals([cell for _, cell in laid_out], potential, steps=STEPS if relaxes else 0)
        judged = [
            _with_energies(one, path, reference.structure) for one, path in zip(judged, paths, strict=True)
        ]
    return JudgedRow(
        id=reference.id,
        formula=reference.structure.composition.reduced_formula,
        n_atoms=len(reference.atomic_numbers),
        n_elements=len(set(reference.atomic_numbers)),
        relaxes=relaxes and potential is not None,
        weighs=potential is not None,
        candidates=tuple(judged),
    )


def _cells(reference: Reference, *, open_z: bool) -> dict[int, tuple[int, ...]]:
    """The cells that candidates may fill: that of the row, or all up to 40 atoms of its formula."""
    from crystal_core.workflows.effort import MOST_ATOMS

    if not open_z:
        return {1: reference.atomic_numbers}
    formula = parse_formula(reference.structure.composition.reduced_formula)
    most = max(1, MOST_ATOMS // formula.n_atoms)
    return {z: tuple(formula.atomic_numbers_of(z)) for z in range(1, most + 1)}


def prototype_candidates(
    prototypes: PrototypeGenerator, cells: Mapping[int, Sequence[int]], n: int, *, repeats: bool
) -> list[tuple[Evidence, Structure]]:
    """The first ``n`` prototypes of a formula that make a cell, with what speaks for each.

    Args:
        cells: formula units → atomic numbers. repeats: also repeat smaller prototypes to fill a cell.
    """
    from crystal_core.workflows.effort import evidence_of_template
    from crystal_core.workflows.predicted_energy import predicted_above_hull

    _, frame = prototypes.lay_out(cells, n, repeats=repeats)
    if frame is None or frame.crystals is None:
        return []
    candidates = []
    for rank, (cell, template) in enumerate(
        zip(to_structures(frame.crystals), frame.templates, strict=True), start=1
    ):
        if cell is not None and template is not None:
            evidence = evidence_of_template(template, rank, cell.composition.reduced_formula)
            candidates.append((replace(evidence, plausible=check_structure(cell).plausible), cell))
    predicted = predicted_above_hull([cell for _, cell in candidates])
    return [
        (replace(evidence, predicted=energy), cell)
        for (evidence, cell), energy in zip(candidates, predicted, strict=True)
    ]


def relax_rivals(
    cells: Sequence[Structure], potential: Potential, *, steps: int = STEPS
) -> list[list[RelaxStep]]:
    """The path of every cell, relaxed by turns; empty where the potential cannot take it.

    Args:
        steps: of each relaxation at most; 0 gives the energies of the cells as they are.
    """
    race = Race(sigma=1.0, gains=WIDE_GAINS)
    paths: list[list[RelaxStep]] = [[] for _ in cells]
    runners = {k: _steps(k, cell, potential, race, steps) for k, cell in enumerate(cells)}
    for k, moment in by_turns(runners):
        paths[k].append(moment)
    return paths


def _steps(k: int, cell: Structure, potential: Potential, race: Race, steps: int) -> Generator[RelaxStep]:
    from crystal_core.relax.relaxation import relax_steps

    with suppress(RelaxationFailed):
        yield from relax_steps(
            cell,
            potential,
            steps=steps,
            seconds=600.0,
            give_up=lambda moment: race.is_lost(k, moment),
        )


def _with_energies(one: Judged, path: Sequence[RelaxStep], structure: Structure) -> Judged:
    from crystal_core.relax.relaxation import RelaxStatus

    if not path:
        return one
    last = path[-1]
    outrun = last.status is RelaxStatus.OUTRUN
    if last.status is RelaxStatus.SINGLE_POINT:
        single = replace(one.evidence, single_point=round(last.energy, 5))
        return replace(one, evidence=single, force=round(last.max_force, 3))
    return replace(
        one,
        evidence=replace(
            one.evidence,
            single_point=round(path[0].energy, 5),
            relaxed=None if outrun else round(last.energy, 5),
            converged=last.status is RelaxStatus.CONVERGED,
        ),
        relaxed=None if outrun else rms_distance(structure, last.structure, MATCHER),
        trace=tuple((m.step, round(m.energy, 5)) for m in path if m.step in TRACED or m is last),
        outrun=outrun,
        force=round(path[0].max_force, 3),
    )


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
                        "trace": tuple((int(step), float(energy)) for step, energy in one["trace"]),
                    }
                )
                for one in data["candidates"]
            ),
        }
    )
