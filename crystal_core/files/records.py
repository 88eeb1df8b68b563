"""Crystals as the JSON that files, pages, jobs and command line share, and runs as folders and archives.

A record is complete and goes into results; a snapshot is the light form drawn while a run is going on.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from bisect import bisect_left
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.evaluation.validity import check_structure
from crystal_core.files.summary import summary_csv
from crystal_core.files.writers import structure_to_text
from crystal_core.records import crystals_of
from crystal_core.structures import atomic_numbers, in_cell
from crystal_core.whole_files import write_whole

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.crystal import CrystalBatch
    from crystal_core.records import (
        Cell,
        CrystalRecord,
        GivenCell,
        Novelty,
        Origin,
        Provenance,
        RunResult,
        Score,
        Snapshot,
        SpaceGroup,
        Trajectory,
    )

SYMPREC = 0.1  # Å; models place atoms inexactly, so a tighter tolerance finds P1
SYMMETRISED = "symmetrised"  # folder; not beside the plain files, where *.cif would read every crystal twice
RUN_JSON = "run.json"
CURRENT_TAG = "_space_group_name_H-M_alt"  # earlier versions wrote tags that are out of use
EQUAL_ENERGY = 0.002 + 1e-9  # eV/atom: the noise of a relaxation, plus rounding
# last space group of each series with one point-group order, and that order
LAST_OF_CLASS = (1, 9, 46, 74, 82, 122, 142, 146, 148, 161, 167, 174, 190, 194, 199, 220, 230)
POINT_GROUP_ORDERS = (1, 2, 4, 8, 4, 8, 16, 3, 6, 6, 12, 6, 12, 24, 12, 24, 48)
_BESIDE_CRYSTALS = (RUN_JSON, "run.extxyz", "before-relaxing.extxyz", "summary.csv")
_PATH = re.compile(r"trajectory-\d+\.extxyz")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def crystal_record(
    structure: Structure,
    *,
    id: str,
    provenance: Provenance,
    score: Score | None = None,
    group: int | None = None,
    origin: Origin | None = None,
    novelty: Novelty | None = None,
    notes: Sequence[str] = (),
) -> CrystalRecord:
    """Everything known about one crystal, as the ``CRYSTAL`` JSON of the command line.

    Args:
        id: short name, unique in its run; it becomes a file name, so letters, digits, ``.``, ``_`` and ``-``
            only.
        score: ``{"name", "value", "unit"}`` of what candidates are ranked by.
        group: number of the cluster of like candidates.
        novelty: what :func:`crystal_core.reference.known.novelty` says of it; left out where it was not
            requested.
        origin: where the cell came from: noise, a known crystal, a prototype, a draft, or one of them
            refined.
        notes: sentences on what a reader must know of the crystal, e.g. what of its file did not fit.

    Raises:
        RequestError: the id cannot be a file name. StructureParseError: a site is not one element.
    """
    validity = check_structure(structure)
    record: CrystalRecord = {
        "id": _checked_id(id),
        "formula": formula_of(structure.composition),
        "n_atoms": len(structure),
        **cell_json(structure),
        "cif": structure_to_text(structure, "cif", provenance=provenance),
        "space_group": space_group(structure) if validity.structure else None,
        "density": float(structure.density),
        "validity": {
            "structure": bool(validity.structure),
            "composition": bool(validity.composition),
            "plausible": bool(validity.plausible),
            "reasons": list(validity.reasons),
        },
        "origin": origin,
        "score": score,
        "group": group,
        "notes": list(notes),
        "provenance": provenance,
    }
    if novelty is not None:
        record["novelty"] = novelty
    return record


def space_group(structure: Structure, symprec: float = SYMPREC) -> SpaceGroup | None:
    """Symbol and number of the space group within ``symprec`` (Å); None where the search finds none."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    try:
        analyzer = SpacegroupAnalyzer(structure, symprec=symprec)
        return {
            "symbol": analyzer.get_space_group_symbol(),
            "number": analyzer.get_space_group_number(),
            "symprec": symprec,
        }
    except Exception:  # noqa: BLE001 (spglib has several ways to give up on odd cells; none is fatal here)
        return None


def snapshot(crystals: CrystalBatch | Structure, index: int = 0) -> Snapshot:
    """One crystal of a frame, rounded to four decimals: light enough to send twice a second."""
    if not hasattr(crystals, "n_atoms"):
        return _rounded(cell_json(crystals))
    crystal = cast("CrystalBatch", crystals)[index]
    return _rounded(
        {
            "lattice": crystal.lattice[0].tolist(),
            "atomic_numbers": crystal.atomic_numbers.tolist(),
            "frac_coords": crystal.frac_coords.tolist(),
        }
    )


def cell_json(structure: Structure) -> Cell:
    """Lattice, atomic numbers and wrapped coordinates in full precision."""
    return {
        "lattice": structure.lattice.matrix.tolist(),
        "atomic_numbers": atomic_numbers(structure),
        "frac_coords": in_cell(structure.frac_coords).tolist(),
    }


def given_json(structure: Structure, source: str = "") -> GivenCell:
    """:func:`cell_json` with the notes on the crystal's file, where there are any.

    Args:
        source: what the crystal is called; it begins each note, where it is not empty.
    """
    begin = f"{source}: " if source else ""
    notes = [f"{begin}{note}" for note in structure.properties.get("notes", ())]
    return {**cell_json(structure), "notes": notes} if notes else {**cell_json(structure)}


def structure_from_record(record: Mapping[str, Any]) -> Structure:
    """The pymatgen structure of a record or snapshot.

    Raises:
        StructureParseError: a key is missing, the cell is no lattice, or an atom is no element.
    """
    from pymatgen.core import Lattice, Structure

    try:
        structure = Structure(Lattice(record["lattice"]), record["atomic_numbers"], record["frac_coords"])
        atomic_numbers(structure)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StructureParseError(
            f"This record is no crystal ({error}); expected lattice, atomic_numbers, frac_coords."
        ) from error
    return structure


def copies_in_runs(paths: Iterable[str]) -> set[str]:
    """The files of runs that repeat crystals, hold earlier forms of them, or none.

    Each crystal of a run has a CIF of its own; see :func:`run_files`. Only a folder with these and with the
    JSON of the run counts as one.

    Args:
        paths: of files, with / between the parts.
    """
    files = {path: PurePosixPath(path) for path in paths}
    runs = {file.parent for file in files.values() if file.name == RUN_JSON}
    runs &= {file.parent for file in files.values() if file.suffix.lower() == ".cif"}
    return {
        path
        for path, file in files.items()
        if (file.parent in runs and (file.name in _BESIDE_CRYSTALS or _PATH.fullmatch(file.name)))
        or (file.parent.name == SYMMETRISED and file.parent.parent in runs)
    }


def run_files(
    records: Sequence[CrystalRecord],
    run_json: Mapping[str, Any],
    trajectories: Sequence[Trajectory] = (),
) -> dict[str, str]:
    """File name → text of a run.

    ``<id>.cif`` each, ``run.extxyz`` of all, ``summary.csv``, ``run.json``, ``trajectory-1.extxyz`` and
    on.

    A crystal with symmetry is also ``symmetrised/<id>.cif``: its asymmetric unit and operations, at the
    tolerance at which its space group is named. Where crystals were relaxed, ``before-relaxing.extxyz`` holds
    them as sampled.

    Raises:
        RequestError: an id cannot be a file name, or two crystals share one.
    """
    files: dict[str, str] = {}
    frames = []
    for record in records:
        name = f"{_checked_id(record['id'])}.cif"
        if name in files:
            raise RequestError(f"Two crystals of this run are called '{record['id']}'; ids must differ.")
        structure, provenance = structure_from_record(record), record.get("provenance")
        files[name] = record["cif"]
        if CURRENT_TAG not in record["cif"]:
            files[name] = structure_to_text(structure, "cif", provenance=provenance)
        frames.append(structure_to_text(structure, "extxyz", provenance=provenance))
        if (group := record["space_group"]) and group["number"] > 1:
            with suppress(StructureParseError):  # a cell too distorted to be idealised
                files[f"{SYMMETRISED}/{name}"] = structure_to_text(
                    structure, "cif-symmetrised", symprec=group["symprec"], provenance=provenance
                )
    files["run.extxyz"] = "".join(frames)
    originals = [
        structure_to_text(structure_from_record(r["original"]), "extxyz", provenance=r.get("provenance"))
        for r in records
        if r.get("original")
    ]
    if originals:
        files["before-relaxing.extxyz"] = "".join(originals)
    for k, trajectory in enumerate(trajectories, start=1):
        files[f"trajectory-{k}.extxyz"] = trajectory_extxyz(trajectory["frames"], trajectory.get("label", ""))
    files["summary.csv"] = summary_csv(records)
    files[RUN_JSON] = json.dumps(run_json, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    return files


def trajectory_extxyz(frames: Sequence[Cell], label: str = "") -> str:
    """The frames of a forming cell as extended XYZ, cell and all; also cells that are no crystal yet."""
    from pymatgen.core.periodic_table import Element

    quoted = label.replace('"', "'")
    lines = []
    for k, frame in enumerate(frames):
        lattice = frame["lattice"]
        cell = " ".join(f"{x:.5f}" for row in lattice for x in row)
        lines += [
            str(len(frame["atomic_numbers"])),
            f'Lattice="{cell}" Properties=species:S:1:pos:R:3 pbc="T T T" frame={k} label="{quoted}"',
        ]
        for z, f in zip(frame["atomic_numbers"], frame["frac_coords"], strict=True):
            position = (sum(f[i] * lattice[i][axis] for i in range(3)) for axis in range(3))
            lines.append(f"{Element.from_Z(z).symbol:<3}" + " ".join(f"{x:12.5f}" for x in position))
    return "\n".join(lines) + "\n"


def write_run(
    records: Sequence[CrystalRecord],
    folder: Path,
    run_json: Mapping[str, Any],
    trajectories: Sequence[Trajectory] = (),
) -> None:
    """Write the files of a run into ``folder`` (made if absent); each file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in run_files(records, run_json, trajectories).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write_whole(path, text)


def zip_run(
    records: Sequence[CrystalRecord],
    run_json: Mapping[str, Any],
    trajectories: Sequence[Trajectory] = (),
) -> bytes:
    """The files of a run as one zip archive."""
    return zip_texts(run_files(records, run_json, trajectories))


def zip_texts(files: Mapping[str, str]) -> bytes:
    """Texts by file name as one zip archive, byte for byte the same for the same texts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            # ZipInfo's default date instead of now, so that equal runs give equal archives
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def rank_key(record: CrystalRecord) -> tuple[bool, bool, bool, float, bool, int]:
    """Sort key of candidates, best first: valid and plausible ones, then by score, then by group.

    A low energy is better; of other scores a high one.

    A cell with its energy as sampled comes after all that were relaxed: relaxing lowers energies, so the two
    do not compare.
    """
    energy, score = _energy(record), record["score"]
    value = None if score is None else score["value"]
    return (
        not record["validity"]["structure"],
        not record["validity"]["plausible"],
        energy is not None and "energies" in record and "error" in record.get("relaxation", {}),
        float("inf") if value is None else -value if energy is None else energy,
        "error" in record.get("relaxation", {}),
        -1 if record["group"] is None else record["group"],
    )


def _energy(record: CrystalRecord) -> float | None:
    """The energy in eV/atom that a record is ranked by.

    None where it is ranked by something else, or has none.
    """
    score = record["score"]
    return None if score is None or score["unit"] != "eV/atom" else score["value"]


def ranked(records: Iterable[CrystalRecord]) -> list[CrystalRecord]:
    """Candidates of one formula by :func:`rank_key`.

    Among those within 2 meV/atom of the lowest, the most symmetric comes first; the rest follow likewise.

    A potential tells no smaller differences apart. A cell that was not relaxed has no energy of its own and
    comes after those that have.
    """
    rest, ordered = sorted(records, key=rank_key), list["CrystalRecord"]()
    while rest:
        n = sum(_equals(rest[0], record) for record in rest)
        ordered += sorted(
            rest[:n],
            key=lambda record: ("error" in record.get("relaxation", {}), *(-x for x in symmetry_of(record))),
        )
        rest = rest[n:]
    return ordered


def best_first(result: RunResult) -> list[CrystalRecord]:
    """All candidates of a run over all Z, best first.

    Runs of earlier versions name no order, so their scores make it.
    """
    candidates = crystals_of(result)
    place = {name: k for k, name in enumerate(result.get("ranking") or ())}
    if len(place) < len(candidates):
        return ranked(candidates)
    return sorted(candidates, key=lambda record: place[record["id"]])


def _equals(first: CrystalRecord, other: CrystalRecord) -> bool:
    """Whether rank and energy do not tell ``other`` from ``first``, which ranks no worse."""
    if first is other:
        return True
    low, high = _energy(first), _energy(other)
    if low is None or high is None or rank_key(first)[:3] != rank_key(other)[:3]:
        return False
    return high - low <= EQUAL_ENERGY


def symmetry_of(record: CrystalRecord) -> tuple[int, int]:
    """Order of the point group and number of the space group."""
    group = record["space_group"]
    number = 1 if group is None else group["number"]
    return POINT_GROUP_ORDERS[bisect_left(LAST_OF_CLASS, number)], number


def is_valid(record: CrystalRecord) -> bool:
    """By the published checks: distances and volume, and charge neutrality."""
    return bool(record["validity"]["structure"] and record["validity"]["composition"])


def unique_name(name: str, taken: Container[str]) -> str:
    """``name``, or ``name-2``, ``name-3`` … where it is taken: an id becomes a file name."""
    candidate, k = name, 1
    while candidate in taken:
        k += 1
        candidate = f"{name}-{k}"
    return candidate


def for_relaxing(record: CrystalRecord) -> dict[str, Any]:
    """The parts of a record for a ``RelaxationRequest``: the cell, and data to hand on."""
    parts = {
        name: record[name]
        for name in ("id", "lattice", "atomic_numbers", "frac_coords", "origin", "provenance")
    }
    return parts | ({"notes": record["notes"]} if record.get("notes") else {})


def _rounded(cell: Cell) -> Snapshot:
    return {
        "lattice": [[round(x, 4) for x in row] for row in cell["lattice"]],
        "atomic_numbers": cell["atomic_numbers"],
        "frac_coords": [[round(x, 4) for x in row] for row in cell["frac_coords"]],
    }


def _checked_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise RequestError(f"The id {value!r} cannot be a file name; use letters, digits, '.', '_' and '-'.")
    return value
