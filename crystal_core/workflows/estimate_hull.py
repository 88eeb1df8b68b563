"""Energies above the hull of unlabelled training rows: CHGNet single points, stored separately."""

from __future__ import annotations

import json
import math
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from safetensors import SafetensorError, safe_open

from crystal_core.cards import sha256_of
from crystal_core.errors import RelaxationFailed, RequestError
from crystal_core.relax.energies import energies_of
from crystal_core.training.data import SPLITS
from crystal_core.whole_files import whole_file, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from crystal_core.relax.potential import Potential
    from crystal_core.requests import PotentialName

KNOWN, ESTIMATED = "label.e_above_hull_ev", "label.e_above_hull_estimated_ev"
CHUNK = 32  # crystals handed to a process at once
CHUNK_SECONDS = 300.0

# atomic numbers, frac_coords (atoms, 3), cell parameters (6,) in Å and degrees
Cell: TypeAlias = "tuple[np.ndarray, np.ndarray, np.ndarray]"


@dataclass(frozen=True, kw_only=True)
class HullReport:
    """How many training rows have which energy above the hull.

    Attributes:
        labelled: with a label of the data.
        estimated: with a single point.
        without: with neither, because the potential or the hull cannot take them.
        estimated_within: of those estimated, at most 0.1 eV/atom.
    """

    labelled: int
    estimated: int
    without: int
    estimated_within: int


def estimate_hull(
    source: Path,
    output: Path,
    *,
    potential: PotentialName = "chgnet",
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> HullReport:
    """Write ``source`` again with one more column, ``label.e_above_hull_estimated_ev``, in eV/atom.

    It holds the label where there is one and else, for training rows, the energy of the cell as it is by the
    potential, placed on the shipped hull. Other splits keep their labels only. ``max_e_above_hull_ev`` of a
    training configuration reads the column that its ``hull_label`` names.

    Finished energies are kept beside ``output`` until it is written; the same call later continues from them.

    Raises:
        RequestError: ``source`` is no prepared file.
    """
    import numpy as np
    from safetensors.numpy import save_file

    from crystal_core.relax.many import over_processes

    try:
        with safe_open(source, framework="numpy") as handle:
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dictionary)
            metadata = handle.metadata()
        n_atoms, split = tensors["n_atoms"].astype(int), tensors["split"]
    except (SafetensorError, KeyError, OSError) as error:
        raise RequestError(
            f"{source.name} is not a prepared file ({error}). Make one with 'crystal-core data prepare'."
        ) from error
    values = tensors.get(KNOWN, np.full(len(n_atoms), math.nan, dtype=np.float32)).copy()
    train = split == SPLITS.index("train")
    labelled = int((train & ~np.isnan(values)).sum())
    wanted = np.flatnonzero(train & np.isnan(values))
    last = np.cumsum(n_atoms)
    cells: list[Cell] = [
        (
            tensors["atomic_numbers"][last[i] - n_atoms[i] : last[i]],
            tensors["frac_coords"][last[i] - n_atoms[i] : last[i]],
            tensors["cell_parameters"][i],
        )
        for i in wanted
    ]
    chunks = [cells[i : i + CHUNK] for i in range(0, len(cells), CHUNK)]
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = output.with_name(f"{output.name}.energies.jsonl")
    begun = json.dumps({"source": sha256_of(source), "potential": potential, "chunk": CHUNK})
    energies = _read_energies(kept, begun)
    write_whole(kept, "".join(f"{line}\n" for line in (begun, *map(json.dumps, energies.items()))))
    left = [place for place in range(len(chunks)) if place not in energies]
    make, done = partial(_estimator, potential), sum(map(len, energies.values()))
    given = [chunks[place] for place in left]
    with (
        kept.open("a", encoding="utf-8") as lines,
        closing(over_processes(make, given, workers=workers, seconds=CHUNK_SECONDS)) as finished,
    ):
        for number, answer in finished:
            place = left[number]
            if answer is not None:  # else its process died, and a later call tries again
                energies[place] = answer
                lines.write(f"{json.dumps((place, answer))}\n")
                lines.flush()
            done += len(chunks[place])
            if on_progress:
                on_progress(done, len(cells))
    for place, some in energies.items():
        values[wanted[place * CHUNK : place * CHUNK + len(some)]] = some
    known = ~np.isnan(values[wanted])
    metadata["estimated"] = json.dumps({"potential": potential, "rows": int(known.sum())})
    with whole_file(output) as file:
        save_file(tensors | {ESTIMATED: values}, file, metadata=metadata)
    kept.unlink()
    return HullReport(
        labelled=labelled,
        estimated=int(known.sum()),
        without=int((~known).sum()),
        estimated_within=int((values[wanted] <= 0.1).sum()),
    )


def _read_energies(kept: Path, begun: str) -> dict[int, list[float]]:
    """Number of a chunk → its energies, of an earlier call on the same rows; without a line cut short."""
    try:
        first, *lines = kept.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return {}
    return dict(json.loads(line) for line in lines[:-1]) if first == begun else {}


def above_hull(cells: Sequence[Cell], potential: Potential) -> list[float]:
    """Energy above the hull of each cell as it is, in eV/atom; NaN where there is none."""
    from pymatgen.core import Lattice, Structure

    distances = []
    for numbers, coords, parameters in cells:
        structure = Structure(Lattice.from_parameters(*map(float, parameters)), numbers.tolist(), coords)
        try:
            energies = energies_of(
                structure.composition, float(potential.predict(structure, "e")["e"]), potential.name
            )
        except RelaxationFailed:
            distances.append(math.nan)
        else:
            distances.append(math.nan if energies.e_above_hull is None else energies.e_above_hull)
    return distances


def _estimator(name: PotentialName) -> Callable[[Any], list[float]]:
    import warnings

    from crystal_core.device import use_threads
    from crystal_core.relax.potential import load_potential

    warnings.simplefilter("ignore")
    use_threads(1)
    return partial(above_hull, potential=load_potential(name, "cpu"))
