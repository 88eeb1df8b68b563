"""Build the prototype table from raw data.

``python -m crystal_core.generators.prototype.build --data FOLDER``.

Three results, by option: the shipped checkpoint (default, with the AFLOW prototypes of pymatgen), the full
index of this machine (``--full``; from the shipped file of known crystals if the raw tables are missing), and
a checkpoint made from the training split of one table (``--table FILE --name NAME``). Rows of any validation
or test split, and rows above 60 Å3 per atom, take no part.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystal_core.cards import sha256_of, write_card
from crystal_core.datasets.prepare import training_rows
from crystal_core.datasets.rows import MP20_TABLE, MP_TABLE, read_rows, reason_not_to_train
from crystal_core.evaluation.parallel import processes
from crystal_core.generators.prototype.aflow_names import COMPOUNDS, library_compounds, name_fits
from crystal_core.generators.prototype.grouping import Groups, Member, group_members, member_of
from crystal_core.generators.prototype.index import Pool
from crystal_core.generators.prototype.library import Cell, Prototype, save_library
from crystal_core.generators.prototype.similarity import count_replacements, distances
from crystal_core.generators.prototype.symmetry_form import SymmetryForm, from_form, to_form
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code
from crystal_core.paths import checkpoints_dir, data_dir, home_dir
from crystal_core.reference.known_file import PREFIXES, load_known
from crystal_core.structures import in_cell
from crystal_core.whole_files import write_whole

AVERAGED = 5  # members whose free parameters are averaged, those nearest to the mean fingerprint
MAX_AFLOW_ATOMS = 60
# relative length or degrees/90, fractional: only then may two members be averaged
ALIKE_CELL = 0.08
ALIKE_POINT = 0.05

logger = logging.getLogger(__name__)


def usable_members(folder: Path, workers: int) -> list[Member]:
    """Every Materials Project row that may train."""
    return _members(training_rows(folder, workers), workers)


def known_members() -> list[Member]:
    """The members from the shipped file of known crystals, in primitive cells."""
    index = load_known()
    project = np.isin(index.prefixes, [PREFIXES.index("mp"), PREFIXES.index("mvc")])
    rows = np.flatnonzero(index.usable & project).tolist()
    return [member_of(index.name(row), *index.arrays(row)) for row in rows]


def split_members(table: Path, workers: int) -> list[Member]:
    """The training split of one table."""
    return _members(
        (row for row in read_rows(table, "train") if reason_not_to_train(row, set()) is None), workers
    )


def aflow_members() -> list[Member]:
    """The AFLOW prototypes shipped with pymatgen, up to 60 atoms per cell."""
    from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

    members = []
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        structure = entry["snl"].structure
        if len(structure) <= MAX_AFLOW_ATOMS and structure.is_ordered:
            numbers = [site.specie.Z for site in structure]
            name = f"AFLOW {entry['tags']['aflow']}"
            members.append(member_of(name, structure.lattice.matrix, in_cell(structure.frac_coords), numbers))
    return members


def element_volumes(members: Sequence[Member]) -> NDArray[np.float64]:
    """(119,) Å3 per atom of each element, by ridge regression of volume per atom on composition."""
    shares = np.zeros((len(members), 119))
    volumes = np.zeros(len(members))
    for i, member in enumerate(members):
        np.add.at(shares[i], np.array(member.elements)[member.roles], 1.0 / len(member.roles))
        volumes[i] = abs(np.linalg.det(member.lattice)) / len(member.roles)
    mean = float(volumes.mean())
    # a pull towards the mean as strong as a tenth of one pure crystal: elements never met get the mean
    fitted = mean + np.linalg.solve(
        shares.T @ shares + 0.1 * np.eye(119), shares.T @ (volumes - mean * shares.sum(1))
    )
    return np.clip(fitted, 3.0, None)


def build(
    members: Sequence[Member], path: Path, *, full: bool, source: str, workers: int, singletons: bool = True
) -> dict[str, int]:
    """Group, count and write the archive; returns how many members, prototypes and geometries it holds.

    Args:
        full: keep every member's cell instead of one averaged asymmetric unit per prototype.
        singletons: keep prototypes with one member.
    """
    groups = group_members(members)
    volumes = element_volumes(members)
    packing = np.array(
        [abs(np.linalg.det(m.lattice)) / volumes[np.array(m.elements)[m.roles]].sum() for m in members]
    )
    triples = (
        (members[i].elements, pattern, int(number))
        for pattern, group in groups.items()
        for i, number in zip(group.members, group.prototype, strict=True)
    )
    distance = distances(*count_replacements(triples), volumes)
    geometries: list[Any] = []
    number_of: dict[int, int] = {}
    if full:
        geometry_of = {}
        for group in groups.values():
            for i, order in zip(group.members, group.orders, strict=True):
                geometry_of[i] = len(geometries)
                geometries.append(_own_cell(members[i], order, float(packing[i])))
    else:
        prototypes = prototypes_of(members, groups, packing, workers, singletons)
        for number, prototype in prototypes.items():
            number_of[number] = len(geometries)
            geometries.append(prototype)
        geometry_of = {}
    pools = packed_pools(members, groups, number_of, geometry_of if full else None)
    save_library(
        path, pools=pools, geometries=geometries, distance=distance, element_volumes=volumes, source=source
    )
    return {
        "members": sum(len(p.prototype) for p in pools.values()),
        "prototypes": len({int(n) for p in pools.values() for n in p.prototype}),
        "patterns": len(pools),
    }


def packed_pools(
    members: Sequence[Member],
    groups: dict[tuple[int, ...], Groups],
    number_of: dict[int, int],
    geometry_of: dict[int, int] | None = None,
) -> dict[tuple[int, ...], Pool]:
    """The pools of an archive: members whose prototype (``number_of``), or own cell, has a geometry.

    ``geometry_of`` names the geometry of a member itself.
    """
    pools = {}
    for pattern, group in groups.items():
        own = geometry_of is not None
        chosen = [k for k in range(len(group.members)) if own or int(group.prototype[k]) in number_of]
        if not chosen:
            continue
        geometry = [
            number_of[int(group.prototype[k])] if geometry_of is None else geometry_of[group.members[k]]
            for k in chosen
        ]
        pools[pattern] = Pool(
            elements=np.array(
                [[members[group.members[k]].elements[r] for r in group.orders[k]] for k in chosen],
                dtype=np.uint8,
            ),
            prototype=group.prototype[chosen],
            geometry=np.array(geometry),
        )
    return pools


def _members(rows: Iterable[Any], workers: int) -> list[Member]:
    jobs = [(row.id, row.lattice, row.frac_coords, row.atomic_numbers) for row in rows]
    if workers <= 1:
        return [member_of(*job) for job in jobs]
    with processes(workers) as pool:
        return list(pool.map(member_of, *zip(*jobs, strict=True), chunksize=200))


def _own_cell(member: Member, order: tuple[int, ...], packing: float) -> Cell:
    scale = (len(member.roles) / abs(np.linalg.det(member.lattice))) ** (1 / 3)
    return Cell(
        lattice=member.lattice * scale,
        frac_coords=member.frac_coords,
        roles=np.argsort(order)[member.roles],
        packing=packing,
        label=member.id,
    )


def prototypes_of(
    members: Sequence[Member],
    groups: dict[tuple[int, ...], Groups],
    packing: NDArray[Any],
    workers: int,
    singletons: bool,
) -> dict[int, Prototype]:
    """Prototype number → averaged asymmetric unit; ``packing``: volume over summed element volumes."""
    jobs: dict[int, list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]] = {}
    extra: dict[int, tuple[float, int, list[str]]] = {}
    for group in groups.values():
        for number in np.unique(group.prototype):
            own = np.flatnonzero(group.prototype == number)
            if len(own) < 2 and not singletons and not members[group.members[own[0]]].id.startswith("AFLOW"):
                continue
            turned = [
                members[group.members[k]].fingerprint[np.ix_(group.orders[k], group.orders[k])] for k in own
            ]
            stack = np.stack(turned).reshape(len(own), -1).astype(np.float32)
            near = own[np.argsort(-(stack @ stack.mean(0)), kind="stable")[:AVERAGED]]
            chosen = [members[group.members[k]] for k in near]
            jobs[int(number)] = [
                (m.lattice, m.frac_coords, np.argsort(group.orders[k])[m.roles])
                for m, k in zip(chosen, near, strict=True)
            ]
            names = [
                members[group.members[k]].id for k in own if members[group.members[k]].id.startswith("AFLOW")
            ]
            extra[int(number)] = (float(np.median(packing[[group.members[k] for k in own]])), len(own), names)
    with processes(workers) as pool:
        forms = pool.map(_averaged_form, jobs.values(), chunksize=50)
        prototypes = {}
        for (number, (pack, count, names)), form in zip(extra.items(), forms, strict=True):
            if form is not None:
                # members are alike, not equal: one of another space group gives no name
                aflow = next((f", {name}" for name in names if name_fits(name, form)), "")
                label = f"{_space_group(form.hall_number)} {form.letters}, {count} known{aflow}"
                prototypes[number] = Prototype(form=form, packing=pack, label=label)
    logger.info("%d of %d prototypes have a closed symmetry form", len(prototypes), len(jobs))
    return prototypes


def _averaged_form(cells: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]) -> SymmetryForm | None:
    """Mean asymmetric unit over those cells that are set up alike; checked to rebuild the right cell."""
    first: SymmetryForm | None = None
    parts = []
    for lattice, frac_coords, roles in cells:
        form = to_form(lattice, frac_coords, roles)
        if form is None:
            continue
        if first is None:
            cell = from_form(form)
            if cell is None or not np.array_equal(np.bincount(cell[2]), np.bincount(roles)):
                continue
            first = form
        if (
            form.hall_number != first.hall_number
            or form.letters != first.letters
            or (form.roles != first.roles).any()
        ):
            continue
        shift = form.points - first.points
        shift -= np.round(shift)
        change = np.concatenate([form.cell[:3] / first.cell[:3] - 1, (form.cell[3:] - first.cell[3:]) / 90])
        # members in another origin or axis of the group differ in more than free parameters: leave them out
        # of the mean
        if np.abs(change).max() < ALIKE_CELL and np.abs(shift).max() < ALIKE_POINT:
            parts.append((form.cell, shift))
    if first is None:
        return None
    mean = SymmetryForm(
        hall_number=first.hall_number,
        cell=np.mean([c for c, _ in parts], axis=0),
        points=first.points + np.mean([s for _, s in parts], axis=0),
        roles=first.roles,
        letters=first.letters,
        multiplicities=first.multiplicities,
    )
    cell = from_form(mean)
    return (
        mean if cell is not None and np.array_equal(np.bincount(cell[2]), np.bincount(cells[0][2])) else first
    )


def _space_group(hall_number: int) -> str:
    import spglib

    kind = spglib.get_spacegroup_type(hall_number)
    assert kind is not None  # the hall number came from spglib
    return kind.international_short


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    from crystal_core.generators.prototype.generator import TABLE, full_index_path

    parser = argparse.ArgumentParser(
        prog="python -m crystal_core.generators.prototype.build", description=__doc__
    )
    parser.add_argument(
        "--data", type=Path, default=data_dir(), help="folder of the raw tables; default CRYSTAL_DATA"
    )
    parser.add_argument(
        "--full", action="store_true", help="build this machine's full index instead of the shipped table"
    )
    parser.add_argument("--table", type=Path, help="one table: use its training split alone")
    parser.add_argument("--name", default="prototype", help="name of the checkpoint to write")
    parser.add_argument(
        "--no-singletons", action="store_true", help="leave out prototypes with a single member"
    )
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if options.table is not None:
        members = split_members(options.table, options.workers)
        source = f"{options.table.name}, training split"
        folder = home_dir() / "checkpoints" / options.name
    else:
        if options.data is None and not options.full:
            parser.error("give the folder of the raw tables with --data, or set CRYSTAL_DATA")
        members = known_members() if options.data is None else usable_members(options.data, options.workers)
        source = f"{MP_TABLE}, {MP20_TABLE} and AFLOW"
        members += aflow_members()
        folder = checkpoints_dir() / options.name
    path = full_index_path() if options.full and options.table is None else folder / TABLE
    counts = build(
        members,
        path,
        full=options.full,
        source=source,
        workers=options.workers,
        singletons=not options.no_singletons,
    )
    logger.info("%s: %s", path, counts)
    if options.table is None and not options.full:
        write_whole(COMPOUNDS, json.dumps(library_compounds(), indent=1) + "\n")
    if path.parent == folder:
        write_card(
            folder,
            {
                "name": options.name,
                "kind": "generator",
                "task": "structure prediction",
                "loader": "prototype",
                "parameters": 0,
                "method": "element substitution onto known prototypes, no network",
                "files": {TABLE: sha256_of(path)},
                "training": {"source": source, **counts},
            },
        )


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
