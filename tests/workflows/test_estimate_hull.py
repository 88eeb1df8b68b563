"""Rows without a label take CHGNet's energy above the hull, in a column of its own that training may name."""

import json
import math

import numpy as np
import pytest
from pymatgen.core import Lattice
from safetensors import safe_open
from safetensors.numpy import save_file

from crystal_core.errors import RequestError
from crystal_core.training.data import load_prepared
from crystal_core.workflows.estimate_hull import ESTIMATED, KNOWN, estimate_hull

ROCK_SALT = (
    [11, 17],
    [[0, 0, 0], [0.5, 0.5, 0.5]],
    Lattice([[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]]).parameters,
)
STRETCHED = ([11, 17], [[0, 0, 0], [0.5, 0.5, 0.2]], ROCK_SALT[2])
ALONE = ([54], [[0, 0, 0]], (30.0, 30.0, 30.0, 90.0, 90.0, 90.0))


def prepared(path, *rows):
    """Rows of (cell, split, label or NaN)."""
    cells = [cell for cell, _, _ in rows]
    tensors = {
        "atomic_numbers": np.concatenate([cell[0] for cell in cells]).astype(np.uint8),
        "frac_coords": np.concatenate([cell[1] for cell in cells]).astype(np.float32),
        "cell_parameters": np.array([cell[2] for cell in cells], dtype=np.float32),
        "n_atoms": np.array([len(cell[0]) for cell in cells], dtype=np.int16),
        "split": np.array([split for _, split, _ in rows], dtype=np.uint8),
        KNOWN: np.array([label for _, _, label in rows], dtype=np.float32),
    }
    names = [f"row-{i}" for i in range(len(rows))]
    save_file(tensors, path, metadata={"ids": json.dumps(names), "formulas": json.dumps(names)})
    return path


def test_unknown_training_rows_are_estimated_and_nothing_else_changes(tmp_path):
    rows = [
        (ROCK_SALT, 0, 0.3),
        (ROCK_SALT, 0, math.nan),
        (STRETCHED, 0, math.nan),
        (ALONE, 0, math.nan),
        (ROCK_SALT, 1, math.nan),
    ]
    source, output = prepared(tmp_path / "in.safetensors", *rows), tmp_path / "out.safetensors"
    report = estimate_hull(source, output, workers=1)
    assert (report.labelled, report.estimated, report.without, report.estimated_within) == (1, 2, 1, 1)
    with safe_open(output, framework="numpy") as handle:
        known, estimated = handle.get_tensor(KNOWN), handle.get_tensor(ESTIMATED)
    assert np.isnan(known[1:]).all() and estimated[0] == known[0] == np.float32(0.3)
    # rock salt is on the hull; bent out of shape it is far above
    assert abs(estimated[1]) < 0.05 and estimated[2] > 0.2
    assert np.isnan(estimated[3]) and np.isnan(estimated[4])
    below = load_prepared(output, train_below={"e_above_hull_estimated_ev": 0.1})
    assert below["train"].ids == ("row-1",) and below["val"].ids == ("row-4",)


def test_a_call_goes_on_with_the_energies_of_one_that_was_stopped(tmp_path, monkeypatch):
    rows = [(ROCK_SALT, 0, math.nan), (ALONE, 0, math.nan), (STRETCHED, 0, math.nan), (ROCK_SALT, 0, 0.1)]
    source, output = prepared(tmp_path / "in.safetensors", *rows), tmp_path / "out.safetensors"
    answers = {11: [0.02], 54: [math.nan]}
    asked, stops = [], [True]

    def over_processes(_make, chunks, **_):
        for number, chunk in enumerate(chunks):
            if len(asked) == 2 and stops:
                stops.clear()
                raise KeyboardInterrupt
            asked.append(int(chunk[0][0][0]))
            yield number, answers[asked[-1]]

    monkeypatch.setattr("crystal_core.workflows.estimate_hull.CHUNK", 1)
    monkeypatch.setattr("crystal_core.relax.many.over_processes", over_processes)
    with pytest.raises(KeyboardInterrupt):
        estimate_hull(source, output)
    assert not output.exists()
    kept = tmp_path / "out.safetensors.energies.jsonl"
    with kept.open("a") as file:
        file.write("[2, [0.")  # the process was killed while it wrote
    told = []
    report = estimate_hull(source, output, on_progress=lambda *line: told.append(line))
    assert asked == [11, 54, 11] and told == [(3, 3)] and not kept.exists()
    assert (report.labelled, report.estimated, report.without) == (1, 2, 1)
    kept.write_text('{"source": "another file"}\n[0, [9.0]]\n')
    assert estimate_hull(source, output).estimated_within == 2 and len(asked) == 6


def test_another_file_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"none")
    with pytest.raises(RequestError, match="data prepare"):
        estimate_hull(tmp_path / "x.safetensors", tmp_path / "out.safetensors")
