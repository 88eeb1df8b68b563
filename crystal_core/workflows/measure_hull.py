"""How far CHGNet's energies above hull are from DFT, on two sets of crystals.

Command: ``python -m crystal_core.workflows.measure_hull``.

*Known*: random MP-20 validation rows with their published label; near to what CHGNet was trained on (it
learnt from relaxations of the Materials Project, so most of these rows, or their relatives, were in its
training). *Unknown*: random WBM crystals, hypothetical and in no training set of CHGNet; their DFT formation
energy, converted from the older scheme of corrections, is placed on the same table. All rows give the energy
of the DFT cell as it is; the first ones are relaxed too, which shows how much a relaxed energy differs. Rows
done are kept in the home folder, so the command may be interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from crystal_core.datasets.rows import CrystalRow, read_rows
from crystal_core.errors import RelaxationFailed, RequestError
from crystal_core.interruption import ending_with_its_code
from crystal_core.paths import data_dir, home_dir
from crystal_core.reference.hull import ERRORS, load_hull
from crystal_core.reference.schemes import scheme_change
from crystal_core.whole_files import write_whole

SETS = {
    "unknown": (
        "wbm_10k.parquet",
        "val",
        (
            "WBM rows, their DFT formation energy (converted to the 2020 scheme) on this table; "
            "hypothetical crystals, in no training set of CHGNet"
        ),
    ),
    "known": (
        "mp20_exact_partial.parquet",
        "val",
        "MP-20 validation rows, published E_hull; CHGNet was trained on Materials Project relaxations",
    ),
}
FORMATION, ABOVE = "formation_energy_per_atom_ev", "e_above_hull_ev"


def main() -> None:
    """Relax, compare, and write ``hull_errors.json`` beside the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500, help="rows of each set")
    parser.add_argument(
        "--relaxed",
        type=int,
        default=500,
        help="rows of the unknown set that are relaxed too; a fifth as many of the known set",
    )
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    folder = data_dir()
    if folder is None:
        raise RequestError("Set CRYSTAL_DATA to the folder of the raw data sets.")
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    sets = {}
    for name, (file, split, words) in SETS.items():
        n_relaxed = options.relaxed if name == "unknown" else options.relaxed // 5
        done = energies_of_rows(
            folder / file, split, options.rows, n_relaxed, home_dir() / f"hull-error-{name}.jsonl"
        )
        sets[name] = summarise(done) | {"rows": f"{words}; random subset of {file} ({split}), seed 0"}
    bar = sets["unknown"].get("relaxed", sets["unknown"])  # users' crystals are new ones, and relaxed
    report = {
        "chgnet": {
            "bias_ev": bar["bias_ev"],
            "spread_ev": bar["spread_ev"],
            "mae_ev": bar["mae_ev"],
            "n": bar["n"],
            "sets": sets,
            "protocol": "E_hull of CHGNet 0.3.0 minus that of DFT on the same hull table, both at the DFT "
            "cell; 'relaxed': after CHGNet moved atoms and cell (FIRE, fmax 0.05 eV/Å, 250 steps). Bias, "
            "spread (half the width of the central 68 %) and MAE at the top: the unknown set, relaxed",
            "command": f"python -m crystal_core.workflows.measure_hull --rows {options.rows} "
            f"--relaxed {options.relaxed}",
        }
    }
    write_whole(ERRORS, json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


def energies_of_rows(
    path: Path, split: str, n: int, n_relaxed: int, cache_path: Path
) -> list[dict[str, Any]]:
    """Energies of ``n`` random rows (seed 0), the first ``n_relaxed`` also relaxed.

    Finished ones are read from ``cache_path``.
    """
    from pymatgen.core import Element

    elements = load_hull().elements
    rows = [
        row
        for row in read_rows(path, split)
        if FORMATION in row.labels
        and all(Element.from_Z(int(z)).symbol in elements for z in set(row.atomic_numbers))
    ]
    chosen = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:n]]
    cache_path.parent.mkdir(parents=True, exist_ok=True)
    entries = (
        [json.loads(line) for line in cache_path.read_text().splitlines()] if cache_path.is_file() else []
    )
    done = {(entry["id"], entry["relaxed"]): entry for entry in entries}
    with cache_path.open("a", encoding="utf-8") as file:
        for k, (row, relaxed) in enumerate(
            [(row, False) for row in chosen] + [(row, True) for row in chosen[:n_relaxed]]
        ):
            if (row.id, relaxed) not in done:
                done[row.id, relaxed] = _entry(row, relaxed)
                file.write(json.dumps(done[row.id, relaxed]) + "\n")
                file.flush()
            if k % 50 == 0:
                sys.stderr.write(f"{path.stem}: {k} of {n + n_relaxed}\n")
    singles = [done[row.id, False] | {"row": row} for row in chosen]
    return singles + [done[row.id, True] | {"row": row} for row in chosen[:n_relaxed]]


def summarise(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Bias, spread and agreement of energy above hull, eV/atom; ``relaxed``: after and before relaxing."""
    labels = {entry["row"].id: _label(entry["row"]) for entry in done}
    single = {
        entry["row"].id: _above_hull(entry)
        for entry in done
        if not entry["relaxed"] and entry["energy"] is not None
    }
    moved = {
        entry["row"].id: _above_hull(entry)
        for entry in done
        if entry["relaxed"] and entry["energy"] is not None
    }
    n_rows = sum(not entry["relaxed"] for entry in done)
    report = _errors(single, labels) | {"n_without_energy": n_rows - len(single)}
    if moved:
        same = {name: value for name, value in single.items() if name in moved}
        report["relaxed"] = _errors(moved, labels) | {
            "converged": sum(bool(entry.get("converged")) for entry in done),
            "same_rows_as_they_are": _errors(same, labels),
        }
    return report


def _errors(energies: dict[str, float], labels: dict[str, float]) -> dict[str, Any]:
    value, label = np.array([(energies[name], labels[name]) for name in energies]).T
    error = value - label
    # one standard deviation of a normal law; a single failure does not set it
    low, high = np.percentile(error, [15.87, 84.13])
    return {
        "n": len(error),
        "bias_ev": _r(error.mean()),
        "spread_ev": _r((high - low) / 2),
        "std_ev": _r(error.std(ddof=1)),
        "mae_ev": _r(abs(error).mean()),
        "median_ev": _r(np.median(error)),
        "p90_abs_ev": _r(np.percentile(abs(error), 90)),
        "agree_on_metastable": _r(((value <= 0.1) == (label <= 0.1)).mean()),
        "metastable_by_label": _r((label <= 0.1).mean()),
    }


def _above_hull(entry: dict[str, Any]) -> float:
    from pymatgen.core import Composition

    hull, composition = load_hull(), Composition(entry["row"].formula)
    return hull.stability(composition, hull.formation_energy(composition, entry["energy"])).e_above_hull


def _label(row: CrystalRow) -> float:
    from pymatgen.core import Composition

    if ABOVE in row.labels:
        return row.labels[ABOVE]
    hull = load_hull()
    return hull.stability(
        Composition(row.formula), row.labels[FORMATION] + scheme_change(row, hull.elements)
    ).e_above_hull


def _entry(row: CrystalRow, relaxed: bool) -> dict[str, Any]:
    from pymatgen.core import Lattice, Structure

    from crystal_core.relax.potential import load_potential
    from crystal_core.relax.relaxation import relax

    structure = Structure(Lattice(row.lattice), row.atomic_numbers.tolist(), row.frac_coords)
    potential = load_potential("chgnet", "auto")
    start = {"id": row.id, "relaxed": relaxed}
    try:
        if not relaxed:
            return start | {"energy": float(potential.predict(structure, "e")["e"])}
        relaxation = relax(structure, potential, seconds=600, keep_every=1000)
    except RelaxationFailed as error:
        return start | {"energy": None, "error": str(error)}
    return start | {
        "energy": relaxation.energy,
        "converged": relaxation.converged,
        "n_steps": relaxation.n_steps,
    }


def _r(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    with ending_with_its_code():
        main()
