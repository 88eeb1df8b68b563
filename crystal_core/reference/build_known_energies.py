"""``python -m crystal_core.reference.build_known_energies``: published energies above the hull by id."""

from __future__ import annotations

import json

import numpy as np

from crystal_core.datasets.rows import MP20_TABLE, MP_TABLE
from crystal_core.errors import RequestError
from crystal_core.paths import data_dir
from crystal_core.reference.known_energies import MEV, TABLE

OLD_TABLE = "mp2018_properties.parquet"
LABEL = "e_above_hull_ev"


def main() -> None:
    """Write ``known_energies.npz`` from the tables that ``CRYSTAL_DATA`` names; the first table with an id counts."""
    import pyarrow.parquet

    folder = data_dir()
    if folder is None:
        raise RequestError("Set CRYSTAL_DATA to the folder of the raw data sets.")
    found: dict[int, float] = {}
    for table in (MP20_TABLE, MP_TABLE, OLD_TABLE):
        columns = pyarrow.parquet.read_table(folder / table, columns=["material_id", LABEL]).to_pydict()
        for name, energy in zip(columns["material_id"], columns[LABEL], strict=True):
            if energy is not None and np.isfinite(energy) and name.startswith("mp-"):
                found.setdefault(int(name.removeprefix("mp-")), float(energy))
    ids = np.array(sorted(found), dtype=np.int32)
    energies = np.array([found[i] for i in ids.tolist()])
    names = aflow_compounds()
    np.savez_compressed(
        TABLE,
        id_steps=np.diff(ids, prepend=0).astype(np.int32),
        energies=np.clip(np.round(energies * MEV), 0, 32_767).astype(np.int16),
        names=np.array(list(names)),
        compounds=np.array(list(names.values())),
    )
    print(json.dumps({"ids": len(ids), "names": len(names), "bytes": TABLE.stat().st_size}))


def aflow_compounds() -> dict[str, str]:
    """AFLOW name → formula of the compound that the AFLOW library took it from."""
    from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

    return {
        entry["tags"]["aflow"]: entry["snl"].structure.composition.reduced_formula
        for entry in sorted(AFLOW_PROTOTYPE_LIBRARY, key=lambda entry: str(entry["tags"]["aflow"]))
    }


if __name__ == "__main__":
    main()
