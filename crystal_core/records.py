"""Crystals as plain JSON: the CRYSTAL object of the command line, light snapshots of running samples, and files of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.crystal import CrystalBatch

SYMPREC = 0.1


def crystal_record(
    structure: Structure, *, id: str, origin: str, provenance: Mapping[str, Any], score: Mapping[str, Any] | None = None,
    group: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One crystal with its verdicts; lattice in Å, coordinates in [0, 1), density in g/cm3."""
    from crystal_core.evaluation.validity import check_structure
    from crystal_core.structures import structure_to_text

    validity = check_structure(structure)
    return {
        "id": id,
        "formula": structure.composition.reduced_formula,
        "n_atoms": len(structure),
        "lattice": structure.lattice.matrix.tolist(),
        "atomic_numbers": [site.specie.Z for site in structure],
        "frac_coords": (structure.frac_coords % 1.0).tolist(),
        "cif": structure_to_text(structure, "cif", provenance=provenance),
        "space_group": space_group(structure) if validity.structure else None,
        "density": float(structure.density),
        "validity": {
            "structure": validity.structure, "composition": validity.composition, "plausible": validity.plausible,
            "reasons": list(validity.reasons),
        },
        "origin": origin,
        "score": dict(score) if score else None,
        "group": group,
        "provenance": dict(provenance),
    }  # fmt: skip


def space_group(structure: Structure, symprec: float = SYMPREC) -> dict[str, Any] | None:
    """Symbol and number at a tolerance in Å; None where the search fails."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    try:
        found = SpacegroupAnalyzer(structure, symprec=symprec)
        return {"symbol": found.get_space_group_symbol(), "number": found.get_space_group_number(), "symprec": symprec}
    except Exception:  # noqa: BLE001 (spglib has several ways to give up on odd cells; none is fatal here)
        return None


def snapshot(crystals: CrystalBatch, index: int = 0) -> dict[str, Any]:
    """One crystal of a frame, light enough to send twice a second."""
    crystal = crystals[index]
    return {
        "lattice": [[round(x, 4) for x in row] for row in crystal.lattice[0].tolist()],
        "atomic_numbers": crystal.atomic_numbers.tolist(),
        "frac_coords": [[round(x, 4) for x in row] for row in crystal.frac_coords.tolist()],
    }


def structure_from_record(record: Mapping[str, Any]) -> Structure:
    """The pymatgen structure of a record or snapshot."""
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(record["lattice"]), record["atomic_numbers"], record["frac_coords"])


def write_run(records: Sequence[Mapping[str, Any]], folder: Path, run: Mapping[str, Any]) -> None:
    """``<id>.cif`` for every crystal, ``run.json`` and ``run.extxyz``."""
    from crystal_core.structures import structure_to_text

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(run, ensure_ascii=False), encoding="utf-8")
    frames = []
    for record in records:
        (folder / f"{record['id']}.cif").write_text(record["cif"], encoding="utf-8")
        frames.append(structure_to_text(structure_from_record(record), "extxyz", provenance=record["provenance"]))
    (folder / "run.extxyz").write_text("".join(frames), encoding="utf-8")
