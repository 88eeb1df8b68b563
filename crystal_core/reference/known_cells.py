"""The cells of known crystals, from tables on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.datasets.rows import MP20_TABLE, MP_TABLE, PEROV5_TABLE
from crystal_core.paths import data_dir, home_dir

if TYPE_CHECKING:
    from pymatgen.core import Structure

PEROV5 = "perov5-"  # begins the ids here; Perov-5 itself only numbers its rows
COLUMNS = ["material_id", "lattice", "species", "frac_coords"]
_reading = threading.Lock()  # pages ask from several threads; the tables are read once


def known_cell(name: str) -> Structure | None:
    """The tabulated cell of an id, or None where no table on this machine has it."""
    with _reading:
        tables = _tables(data_dir(), home_dir() / "datasets" / "mp_20")
    return next((cell for table in tables if (cell := table(name)) is not None), None)


@lru_cache(maxsize=2)
def _tables(data: Path | None, downloaded: Path) -> tuple[Callable[[str], Structure | None], ...]:
    tables = ((MP_TABLE, ""), (MP20_TABLE, ""), (PEROV5_TABLE, PEROV5))
    found = [
        _parquet(path, begin)
        for name, begin in tables
        if data is not None and (path := data / name).is_file()
    ]
    found += [_csv(path) for path in sorted(downloaded.glob("*.csv"))]
    return tuple(found)


def _parquet(path: Path, begin: str) -> Callable[[str], Structure | None]:
    import pyarrow.parquet
    from pymatgen.core import Lattice, Structure

    table = pyarrow.parquet.read_table(path, columns=COLUMNS)
    place = {begin + name: i for i, name in enumerate(table["material_id"].to_pylist())}

    def cell(name: str) -> Structure | None:
        if name not in place:
            return None
        lattice, species, coords = (table[column][place[name]].as_py() for column in COLUMNS[1:])
        return Structure(Lattice(np.reshape(lattice, (3, 3))), species, np.reshape(coords, (-1, 3)))

    return cell


def _csv(path: Path) -> Callable[[str], Structure | None]:
    import pandas as pd
    from pymatgen.core import Structure

    table = pd.read_csv(path, usecols=["material_id", "cif"])
    text = dict(zip(table["material_id"].astype(str), table["cif"], strict=True))
    return lambda name: Structure.from_str(text[name], fmt="cif") if name in text else None
