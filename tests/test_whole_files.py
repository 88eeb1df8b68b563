"""Files appear whole or not at all, and the umask decides who may read them."""

import os
import stat

import pandas as pd
import pytest
import torch

from crystal_core.datasets.prepare import prepare
from crystal_core.generators.diffcsp.weights import write_score_norms
from crystal_core.training.checkpoint import write_shards
from crystal_core.whole_files import whole_file, write_whole


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o002, 0o077])
def new_mode(request):
    """The mode of a new file under several umasks."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def test_weights_and_tensor_files_have_the_mode_of_any_new_file(new_mode, tmp_path):
    names = write_shards({"weight": torch.ones(2)}, tmp_path)
    write_score_norms(torch.ones(3), tmp_path / "norms.safetensors")
    rows = {
        "material_id": ["a"],
        "n_atoms": [1],
        "lattice": [[3.0, 0, 0, 0, 3.0, 0, 0, 0, 3.0]],
        "species": [[26]],
        "frac_coords": [[0.0, 0, 0]],
        "formula": ["Fe"],
    }
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    prepare([tmp_path / "rows.parquet"], tmp_path / "prepared.safetensors", workers=1)
    write_whole(tmp_path / "card.toml", "a = 1\n")
    files = [*names, "norms.safetensors", "prepared.safetensors", "card.toml"]
    assert {name: mode(tmp_path / name) for name in files} == dict.fromkeys(files, new_mode)


def test_an_error_leaves_the_earlier_file_and_no_other(tmp_path):
    path = tmp_path / "table.json"
    write_whole(path, "earlier")

    def half():
        with whole_file(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]
    write_whole(path, b"later")
    assert path.read_text() == "later" and list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_a_device_stays_a_device(tmp_path):
    path, link = tmp_path / "table.json", tmp_path / "link.json"
    link.symlink_to(path)
    write_whole(link, "text")
    assert link.is_symlink() and path.read_text() == "text"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, "through")
        assert os.read(reader, 100) == b"through" and stat.S_ISFIFO(pipe.stat().st_mode)
    finally:
        os.close(reader)
