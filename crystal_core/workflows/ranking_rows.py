"""``python -m crystal_core.workflows.ranking_rows``: candidates of known crystals, for the ranking network.

A share of the training crystals of MP-20 is set apart. A table of prototypes is built from all other training
crystals, so the candidates that it gives for a crystal set apart know nothing of it, as those of a new
formula in a prediction. Each candidate is compared with the crystal. Crystals without a right candidate, or
without a wrong one, teach nothing and are left out. Neither validation nor test rows take part.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.cards import sha256_of
from crystal_core.datasets.prepare import Reduced, write_prepared
from crystal_core.datasets.rows import MP20_TABLE, CrystalRow
from crystal_core.errors import RequestError
from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.matching import MATCHER
from crystal_core.evaluation.parallel import processes
from crystal_core.evaluation.ranking import VOTE_FLOOR, Evidence, load_weights, log_prior
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code, postponed
from crystal_core.paths import data_dir, home_dir
from crystal_core.workflows.cell_predictions import predicted_values
from crystal_core.workflows.first_card import laid_out_prototypes
from crystal_core.workflows.ordered_candidates import first_different, laid_out_orderings
from crystal_core.workflows.predict_properties import load_property_predictor
from crystal_core.workflows.references import Reference, read_references

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.generators.prototype.generator import PrototypeGenerator

SHARE = 1 / 3  # of the training crystals of MP-20, set apart
VALIDATION = 0.1  # of those
MOST_ATOMS = 20
PROTOTYPES, ORDERINGS = 15, 10  # candidates of a crystal
ORDERED = 0.5  # share of the crystals that get orderings
DRAWN = 24  # orderings of a crystal whose energies above the hull are predicted, to keep the likeliest
ERROR = 0.03  # eV/atom, mean error of these energies
TABLE = "candidates of training crystals"

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: builds the table, lays out and judges the candidates, writes the prepared file."""
    parser = argparse.ArgumentParser(
        prog="python -m crystal_core.workflows.ranking_rows", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--output", type=Path, required=True, help="prepared file to write")
    parser.add_argument("--data", type=Path, default=data_dir(), help="folder of the raw tables")
    parser.add_argument("--limit", type=int, help="crystals at most; default: all that are set apart")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if options.data is None:
        raise RequestError("Give the folder of the raw tables with --data, or set CRYSTAL_DATA.")
    apart = set_apart(options.data)
    table = home_dir() / "prototype" / "without-those-set-apart.npz"
    if not table.is_file():
        build_table(options.data, {one.id for one in apart}, table, options.workers)
    chosen = apart[: options.limit]
    judged: list[list[JudgedCell]] = []
    with postponed(lambda: logger.info("Writing what is finished.")) as is_interrupted:
        for cells in _judged(chosen, table, options.workers):
            judged.append(cells)
            if len(judged) % 100 == 0:
                logger.info("%d of %d crystals", len(judged), len(chosen))
            if is_interrupted():
                break
    n_written = write_rows(chosen[: len(judged)], judged, options.output)
    logger.info(
        "%s: candidates of %d crystals, sha256 %s", options.output, n_written, sha256_of(options.output)
    )


def set_apart(folder: Path) -> list[Reference]:
    """The crystals set apart, in random order (seed 0)."""
    rows = read_references(folder / MP20_TABLE, "train", None)
    small = sorted((row for row in rows if len(row.atomic_numbers) <= MOST_ATOMS), key=lambda row: row.id)
    order = np.random.default_rng(0).permutation(len(small))
    return [small[i] for i in order[: round(SHARE * len(small))]]


def build_table(folder: Path, without: set[str], path: Path, workers: int) -> None:
    """Write a table of prototypes from all training crystals except some."""
    from crystal_core.generators.prototype import build

    members = [member for member in build.usable_members(folder, workers) if member.id not in without]
    path.parent.mkdir(parents=True, exist_ok=True)
    build.build(members + build.aflow_members(), path, full=False, source=TABLE, workers=workers)


JudgedCell = tuple[Evidence, "Structure", bool]  # what speaks for a candidate, its cell, whether it is right


def judged_candidates(reference: Reference, table: Path, place: int) -> list[JudgedCell]:
    """The candidates of a known crystal, by a table of prototypes that does not hold it.

    Args:
        place: of the crystal; a share of the places, :data:`ORDERED`, get orderings.
    """
    prototypes = _prototypes_of(table)
    cells = {1: reference.atomic_numbers}
    found = laid_out_prototypes(prototypes, cells, PROTOTYPES, repeats=True)
    if place % round(1 / ORDERED) == 0:
        found = [*found, *_orderings(prototypes, reference.atomic_numbers, [cell for _, cell in found])]
    return [
        (evidence, cell, rms_distance(reference.structure, cell, MATCHER) is not None)
        for evidence, cell in found
    ]


def _orderings(
    prototypes: PrototypeGenerator, atomic_numbers: Sequence[int], beside: Sequence[Structure]
) -> list[tuple[Evidence, Structure]]:
    """The likeliest of some orderings by votes and predicted energy; none equals a candidate."""
    found = laid_out_orderings(prototypes, {1: atomic_numbers}, repeats=True, drawn=DRAWN)
    predictor = load_property_predictor("crysldnet", "cpu")
    energies = predicted_values(predictor, [one.structure for one in found], "e_above_hull_ev")
    weights = load_weights()
    costs = [0.0 if energy is None else math.log1p(max(0.0, energy) / ERROR) for energy in energies]
    worth = [log_prior(one.evidence, weights) - cost for one, cost in zip(found, costs, strict=True)]
    likeliest = [found[k] for k in sorted(range(len(found)), key=lambda k: -worth[k])]
    return [(one.evidence, one.structure) for one in first_different(likeliest, ORDERINGS, beside)]


@lru_cache(maxsize=1)
def _prototypes_of(table: Path) -> PrototypeGenerator:
    from crystal_core.registry.store import load_generator

    shipped: Any = load_generator("prototype", "cpu")
    return shipped.with_table(table)


def _judged(chosen: Sequence[Reference], table: Path, workers: int) -> Iterator[list[JudgedCell]]:
    tables, places = [table] * len(chosen), range(len(chosen))
    if workers <= 1:
        yield from map(judged_candidates, chosen, tables, places)
        return
    with processes(workers) as pool:
        yield from pool.map(judged_candidates, chosen, tables, places, chunksize=8)


def write_rows(references: Sequence[Reference], judged: Sequence[Sequence[JudgedCell]], output: Path) -> int:
    """Write the prepared file; returns of how many crystals it holds candidates."""
    rows: list[CrystalRow] = []
    reduced: list[Reduced | str] = []
    n_written = 0
    for reference, cells in zip(references, judged, strict=True):
        right = [is_right for _, _, is_right in cells]
        if not any(right) or all(right):
            continue
        split = "val" if n_written % round(1 / VALIDATION) == 0 else "train"
        for k, (evidence, cell, is_right) in enumerate(cells):
            labels = {"row": float(n_written), "right": float(is_right), **prior_of(evidence)}
            numbers = np.array(cell.atomic_numbers)
            rows.append(
                CrystalRow(
                    id=f"{reference.id} candidate {k + 1}",
                    formula=cell.composition.reduced_formula,
                    lattice=cell.lattice.matrix,
                    frac_coords=cell.frac_coords,
                    atomic_numbers=numbers,
                    split=split,
                    labels=labels,
                )
            )
            reduced.append((np.array(cell.lattice.parameters), cell.frac_coords % 1.0, numbers))
        n_written += 1
    write_prepared(rows, reduced, output, [TABLE], {row.id: 0 for row in rows}, [])
    return n_written


def prior_of(evidence: Evidence) -> dict[str, float]:
    """What the prior knows of a candidate's prototype, by label."""
    return {
        "log_votes": math.log(max(VOTE_FLOOR, evidence.votes)),
        "log_rank": math.log(max(1, evidence.rank)),
        "log_members": math.log1p(evidence.members),
        "ordered": float(evidence.ordered),
    }


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
