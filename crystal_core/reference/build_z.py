"""Counts of elements and formula units in training.

Command: ``python -m crystal_core.reference.build_z``.

How often each number of formula units occurs per stoichiometry, and in how many crystals each element.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from math import gcd

from crystal_core.chemistry.training_counts import COUNTS
from crystal_core.datasets.prepare import training_rows
from crystal_core.errors import RequestError
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code
from crystal_core.paths import data_dir
from crystal_core.whole_files import write_whole


def main() -> None:
    """Count usable Materials Project training rows; write ``z_counts.json`` and ``element_counts.json``."""
    folder = data_dir()
    if folder is None:
        raise RequestError("Set CRYSTAL_DATA to the folder of the raw data sets.")
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    elements: Counter[int] = Counter()
    for row in training_rows(folder):
        elements.update(set(row.atomic_numbers.tolist()))
        amounts = sorted(Counter(row.atomic_numbers.tolist()).values())
        # primitive cells in this one
        cells = len(row.atomic_numbers) // row.n_primitive if row.n_primitive else 1
        z = max(1, gcd(*amounts) // cells)
        counts["-".join(str(n // gcd(*amounts)) for n in amounts)][z] += 1
    table = {
        k: {str(z): n for z, n in sorted(c.items())}
        for k, c in sorted(counts.items())
        if sum(c.values()) >= 3
    }
    write_whole(COUNTS / "element_counts.json", json.dumps(dict(sorted(elements.items()))))
    write_whole(COUNTS / "z_counts.json", json.dumps(table, separators=(",", ":")))


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
