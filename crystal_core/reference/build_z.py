"""``python -m crystal_core.reference.build_z``: what training holds, counted.

How often each number of formula units occurs per stoichiometry, and in how many crystals each element.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from math import gcd

from crystal_core.chemistry.formula import COUNTS
from crystal_core.datasets.rows import MP20_TABLE, MP_TABLE, held_out_ids, read_rows, reason_not_to_train
from crystal_core.errors import RequestError
from crystal_core.paths import data_dir


def main() -> None:
    """Count the usable training rows of the Materials Project tables and write ``z_counts.json`` and ``element_counts.json``."""
    folder = data_dir()
    if folder is None:
        raise RequestError("Set CRYSTAL_DATA to the folder of the raw data sets.")
    tables = [folder / MP_TABLE, folder / MP20_TABLE]
    held_out = held_out_ids(tables)
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    elements: Counter[int] = Counter()
    for row in read_rows(tables[0]):
        if reason_not_to_train(row, held_out) is None:
            elements.update(set(row.atomic_numbers.tolist()))
            amounts = sorted(Counter(row.atomic_numbers.tolist()).values())
            z = gcd(*amounts)
            counts["-".join(str(n // z) for n in amounts)][z] += 1
    kept = {
        k: {str(z): n for z, n in sorted(c.items())}
        for k, c in sorted(counts.items())
        if sum(c.values()) >= 3
    }
    (COUNTS / "element_counts.json").write_text(json.dumps(dict(sorted(elements.items()))), encoding="utf-8")
    (COUNTS / "z_counts.json").write_text(json.dumps(kept, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__":
    main()
