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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.chemistry.formula import parse_formula
from crystal_core.errors import RequestError
from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.matching import MATCHER
from crystal_core.evaluation.ranking import Evidence
from crystal_core.evaluation.validity import check_structure
from crystal_core.interruption import NO_INTERRUPTION, Interruption
from crystal_core.registry.store import load_generator
from crystal_core.structures import to_structures
from crystal_core.workflows.first_card_energies import EnergiesOfEffort, EnergiesToFit
from crystal_core.workflows.first_card_rows import Judged, JudgedRow, read_rows
from crystal_core.workflows.first_card_samples import Sampled, with_agreement
from crystal_core.workflows.ordered_candidates import likeliest_orderings
from crystal_core.workflows.references import Reference, read_references

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.generators.prototype.generator import PrototypeGenerator

CANDIDATES = 8  # prototypes of each row
Say = Callable[[str], None]
Energies = EnergiesOfEffort | EnergiesToFit


def rows_in_random_order(
    data: Path,
    split: str,
    *,
    max_atoms: int,
    first: int,
    limit: int,
    tell: Callable[[str], None] | None = None,
) -> list[Reference]:
    """``limit`` rows of at most ``max_atoms`` atoms, from number ``first`` on in an order drawn with seed 0.

    Args:
        tell: as in :func:`read_references`.

    Raises:
        RequestError: there are no such rows.
    """
    import numpy as np

    small = [r for r in read_references(data, split, None, tell=tell) if len(r.atomic_numbers) <= max_atoms]
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
    orderings: int = 0,
    energies: Energies | None = None,
    open_z: bool = False,
    sampled: Sequence[Sampled] = (),
    say: Say | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> list[JudgedRow]:
    """The evidence of every row; ``file`` keeps each as soon as it is finished, and those it holds are read.

    Args:
        n, orderings: candidates of each row that are prototypes and orderings.
        energies: adds them to the candidates of a row; None leaves them out.
        open_z: give the formula alone, as a user does; else the number of atoms of the row's cell is given,
            as published rates do.
        sampled: what else makes candidates, for the cell of the row.
    """
    depth = 0 if energies is None else 2 if energies.relaxes else 1
    prototypes: Any = load_generator("prototype", "cpu")
    done = {row.id: row for row in read_rows(file)} if file is not None else {}
    began, rows = time.monotonic(), []
    with stop:
        for k, reference in enumerate(references, start=1):
            row = done.get(reference.id)
            if row is None or row.depth < depth:
                row = judge_row(
                    reference,
                    prototypes,
                    n=n,
                    orderings=orderings,
                    energies=energies,
                    open_z=open_z,
                    sampled=sampled,
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
    orderings: int = 0,
    energies: Energies | None = None,
    open_z: bool = False,
    sampled: Sequence[Sampled] = (),
) -> JudgedRow:
    """Lay out, weigh, relax and compare the candidates of one row, prototypes first."""
    began, cells = time.process_time(), _cells(reference, open_z=open_z)
    laid_out = prototype_candidates(prototypes, cells, n, repeats=not open_z)
    if orderings:
        beside = [cell for _, cell in laid_out]
        ordered = likeliest_orderings(prototypes, cells, orderings, beside=beside, repeats=not open_z)
        laid_out = [*laid_out, *((one.evidence, one.structure) for one in ordered)]
    if sampled:
        more = [each for one in sampled for each in one.candidates(reference.atomic_numbers, laid_out)]
        laid_out = with_agreement([*laid_out, *more])
    judged = [
        Judged(evidence=evidence, laid_out=rms_distance(reference.structure, cell, MATCHER))
        for evidence, cell in laid_out
    ]
    if energies is not None:
        judged = energies(judged, [cell for _, cell in laid_out], reference.structure)
    return JudgedRow(
        id=reference.id,
        formula=reference.structure.composition.reduced_formula,
        n_atoms=len(reference.atomic_numbers),
        n_elements=len(set(reference.atomic_numbers)),
        relaxes=energies is not None and energies.relaxes,
        weighs=energies is not None,
        candidates=tuple(judged),
        seconds=round(time.process_time() - began, 2),
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
    from crystal_core.workflows.cell_predictions import with_log_odds

    return with_log_odds(laid_out_prototypes(prototypes, cells, n, repeats=repeats))


def laid_out_prototypes(
    prototypes: PrototypeGenerator, cells: Mapping[int, Sequence[int]], n: int, *, repeats: bool
) -> list[tuple[Evidence, Structure]]:
    """As :func:`prototype_candidates`, before a network is asked."""
    from crystal_core.workflows.effort import evidence_of_template

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
    return candidates
