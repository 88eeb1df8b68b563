"""Build the hull table from the raw data sets in one scheme of corrections.

Command: ``python -m crystal_core.reference.build_hull``.

Formation energies of MP-20 and MPTS-52 are in the Materials Project's 2020 scheme; those of
``mp2018_properties`` are in the scheme before it, and are converted. The command prints how well the
conversion meets the MP-20 labels of the same ids.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from crystal_core.datasets.rows import CrystalRow, read_rows
from crystal_core.errors import RequestError
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code
from crystal_core.paths import data_dir
from crystal_core.reference.hull import TABLE
from crystal_core.reference.schemes import scheme_change
from crystal_core.whole_files import write_whole

IN_2020_SCHEME = ("mp20_exact_partial.parquet", "mpts52_val_test.parquet")
IN_OLD_SCHEME = "mp2018_properties.parquet"
ELEMENTS = "mp_element_refs.parquet"
N_CHECKED = 1000  # ids on which the conversion is compared with labels
LABEL = "formation_energy_per_atom_ev"


def main() -> None:
    """Read the tables under ``CRYSTAL_DATA``, keep the lowest energy per formula, write ``hull.json.gz``."""
    folder = data_dir()
    if folder is None:
        raise RequestError("Set CRYSTAL_DATA to the folder of the raw data sets.")
    elements = element_energies(folder)
    lowest: dict[str, float] = {}
    labelled: dict[str, float] = {}
    for name in IN_2020_SCHEME:
        for row in _labelled(folder / name, elements):
            labelled[row.id] = row.labels[LABEL]
            _keep(lowest, row, row.labels[LABEL])
    older, shared = _lowest_old_rows(folder, elements, labelled)
    for k, row in enumerate(older):
        if k % 1000 == 0:
            sys.stderr.write(f"{k} of {len(older)} formulas converted\n")
        _keep(lowest, row, row.labels[LABEL] + scheme_change(row, elements))
    check = _agreement([(row, labelled[row.id]) for row in shared], elements)
    about = {
        "scheme": "formation energies in the Materials Project's 2020 scheme (MP2020), eV/atom; elements: "
        "PBE total energies, eV/atom",
        "sources": "MP-20 and MPTS-52 rows verbatim; the MP 2018 benchmark set converted from the older "
        "scheme; Materials Project, CC-BY 4.0",
        "conversion": check,
        "command": "python -m crystal_core.reference.build_hull",
    }
    write(TABLE, lowest, elements, about)
    print(json.dumps({"formulas": len(lowest), "elements": len(elements), "conversion": check}))


def element_energies(folder: Path) -> dict[str, float]:
    """Symbol → lowest PBE energy among the phases of the element, eV/atom."""
    from pymatgen.core import Element

    lowest: dict[str, float] = {}
    for row in read_rows(folder / ELEMENTS):
        symbol, energy = Element.from_Z(int(row.atomic_numbers[0])).symbol, row.labels["energy_per_atom_ev"]
        lowest[symbol] = min(round(energy, 5), lowest.get(symbol, np.inf))
    return dict(sorted(lowest.items()))


def write(path: Path, lowest: dict[str, float], elements: dict[str, float], about: dict[str, Any]) -> None:
    """The table as JSON, packed; the same content gives the same bytes."""
    names = sorted(lowest)
    data = {
        "about": about,
        "elements": elements,
        "formulas": names,
        "formation_energies": [round(lowest[name], 4) for name in names],
    }
    text = json.dumps(data, separators=(",", ":")).encode()
    write_whole(path, gzip.compress(text, 9, mtime=0))


def _lowest_old_rows(
    folder: Path, elements: dict[str, float], labelled: dict[str, float]
) -> tuple[list[CrystalRow], list[CrystalRow]]:
    """Of the old table: the lowest row per formula without new label, and a fixed subset of the rest."""
    lowest: dict[str, CrystalRow] = {}
    shared = []
    for row in _labelled(folder / IN_OLD_SCHEME, elements):
        if row.id in labelled:
            shared.append(row)
        elif row.formula not in lowest or row.labels[LABEL] < lowest[row.formula].labels[LABEL]:
            lowest[row.formula] = row
    order = np.random.default_rng(0).permutation(len(shared))[:N_CHECKED]
    return list(lowest.values()), [shared[i] for i in order]


def _labelled(path: Path, elements: dict[str, float]) -> Iterator[CrystalRow]:
    from pymatgen.core import Element

    for row in read_rows(path):
        if LABEL in row.labels and all(
            Element.from_Z(int(z)).symbol in elements for z in set(row.atomic_numbers)
        ):
            yield row


def _keep(lowest: dict[str, float], row: CrystalRow, energy: float) -> None:
    from pymatgen.core import Composition

    formula = Composition(row.formula).reduced_formula
    if len(set(row.atomic_numbers)) > 1:  # elements have formation energy 0 by definition
        lowest[formula] = min(energy, lowest.get(formula, np.inf))


def _agreement(pairs: list[tuple[CrystalRow, float]], elements: dict[str, float]) -> str:
    before = np.abs([row.labels[LABEL] - label for row, label in pairs])
    after = np.abs([row.labels[LABEL] + scheme_change(row, elements) - label for row, label in pairs])
    return (
        f"{len(pairs)} random ids that also have a label in the 2020 scheme: mean absolute difference "
        f"{before.mean():.4f} eV/atom as published, {after.mean():.4f} converted (median "
        f"{np.median(after):.4f})"
    )


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
