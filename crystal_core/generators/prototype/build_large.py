"""``python -m crystal_core.generators.prototype.build_large``: prototypes of 21 to 40 atoms.

The rows are of the Materials Project of 2018 as its public benchmark holds them, near the hull and in no
validation or test split of MP-20. They may be in those of MPTS-52, so an evaluation on MPTS-52 must leave
this table out. Volumes and chemical distances are those of the shipped table, so one index can hold both.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from crystal_core.cards import sha256_of
from crystal_core.datasets.rows import MAX_VOLUME_PER_ATOM, CrystalRow, read_rows
from crystal_core.generators.prototype.build import packed_pools, prototypes_of
from crystal_core.generators.prototype.generator import LARGE_TABLE, TABLE
from crystal_core.generators.prototype.grouping import Member, group_members, member_of
from crystal_core.generators.prototype.library import load_index, save_library
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code
from crystal_core.paths import checkpoints_dir, data_dir

SOURCE = "mp2018_properties.parquet"
SIZES = range(21, 41)  # atoms of the primitive cell
NEAR_HULL = 0.1  # eV/atom

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m crystal_core.generators.prototype.build_large", description=__doc__
    )
    parser.add_argument(
        "--data", type=Path, default=data_dir(), help="folder of the raw tables; default CRYSTAL_DATA"
    )
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if options.data is None:
        parser.error("give the folder of the raw tables with --data, or set CRYSTAL_DATA")
    folder = checkpoints_dir() / "prototype"
    members = list(large_members(read_rows(options.data / SOURCE)))
    counts = build_large(members, folder / TABLE, folder / LARGE_TABLE, workers=options.workers)
    logger.info("%s: %s, sha256 %s", LARGE_TABLE, counts, sha256_of(folder / LARGE_TABLE))


def large_members(rows: Iterator[CrystalRow]) -> Iterator[Member]:
    """The rows that may be prototypes, each in its primitive cell of 21 to 40 atoms."""
    for row in rows:
        if (
            row.mp20_split in ("val", "test")
            or row.volume_per_atom > MAX_VOLUME_PER_ATOM
            or row.labels.get("e_above_hull_ev", np.inf) > NEAR_HULL
            or len(row.atomic_numbers) not in SIZES
        ):
            continue
        member = member_of(row.id, row.lattice, row.frac_coords, row.atomic_numbers.tolist())
        if len(member.roles) in SIZES:
            yield member


def build_large(members: Sequence[Member], table: Path, path: Path, *, workers: int) -> dict[str, int]:
    """Write the archive of those prototypes that two members or more have; returns how much it holds.

    Args:
        table: the shipped table, for volumes and distances.
    """
    base = load_index(table)
    groups = group_members(members)
    volumes = base.element_volumes
    packing = np.array(
        [abs(np.linalg.det(m.lattice)) / volumes[np.array(m.elements)[m.roles]].sum() for m in members]
    )
    prototypes = prototypes_of(members, groups, packing, workers, singletons=False)
    geometries = list(prototypes.values())
    number_of = {number: place for place, number in enumerate(prototypes)}
    pools = packed_pools(members, groups, number_of)
    save_library(
        path,
        pools=pools,
        geometries=geometries,
        distance=base.distance,
        element_volumes=volumes,
        source=f"{SOURCE}, primitive cells of {SIZES[0]} to {SIZES[-1]} atoms",
    )
    return {
        "members": sum(len(p.prototype) for p in pools.values()),
        "prototypes": len(geometries),
        "patterns": len(pools),
    }


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
