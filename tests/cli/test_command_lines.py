"""Every command keeps its promised options, refuses wrong words in a sentence, and starts without PyTorch."""

import json
import subprocess
import sys
from dataclasses import make_dataclass

import pandas as pd
import pytest
import typer.main
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.workflows import train_adapter

OPTIONS = {
    "models list": {"--kind", "--quiet", "--json"},
    "models show": {"--quiet", "--json"},
    "models verify": {"--quiet", "--json"},
    "predict-structure": {
        "--model",
        "--z",
        "--cell",
        "--n",
        "--sampler",
        "--steps",
        "--start",
        "--rank",
        "--reference",
        "--out",
        "--trajectory",
        "--dtype",
        "--device",
        "--seed",
        "--threads",
        "--quiet",
        "--json",
    },
    "predict-property": {
        "--properties",
        "--csv",
        "--model",
        "--queue",
        "--device",
        "--threads",
        "--quiet",
        "--json",
    },
    "analyse": {"--wavelength", "--symprec", "--quiet", "--json"},
    "evaluate csp": {
        "--model",
        "--data",
        "--split",
        "--limit",
        "--samples",
        "--sampler",
        "--steps",
        "--structures",
        "--device",
        "--seed",
        "--threads",
        "--quiet",
        "--json",
    },
    "benchmark sampling": {
        "--model",
        "--size",
        "--batch",
        "--n-atoms",
        "--steps",
        "--repeats",
        "--dtype",
        "--device",
        "--threads",
        "--json",
    },
    "benchmark train": {
        "--model",
        "--size",
        "--batch",
        "--n-atoms",
        "--repeats",
        "--dtype",
        "--device",
        "--threads",
        "--json",
    },
    "benchmark known": {"--n", "--json"},
    "benchmark graph": {"--batch", "--n-atoms", "--repeats", "--threads", "--json"},
    "benchmark encoder": {
        "--encoder",
        "--batch",
        "--n-atoms",
        "--repeats",
        "--device",
        "--threads",
        "--json",
    },
    "data prepare": {"--input", "--output", "--quiet", "--json"},
    "data download": {"--output", "--quiet", "--json"},
    "data describe": {"--json"},
    "train": {
        "--minutes",
        "--resume",
        "--device",
        "--data",
        "--out",
        "--export",
        "--seed",
        "--threads",
        "--quiet",
        "--json",
    },
    "screen": {
        "--n",
        "--workers",
        "--backend",
        "--out",
        "--device",
        "--seed",
        "--threads",
        "--quiet",
        "--json",
    },
    "serve": {"--host", "--port", "--no-api"},
}

NACL = Structure(
    Lattice([[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]]), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


def call(*words):
    return CliRunner().invoke(build_app(), [str(word) for word in words])


@pytest.mark.parametrize("path", sorted(OPTIONS))
def test_every_promised_option_is_there(path):
    command = typer.main.get_command(build_app())
    for word in path.split():
        command = command.commands[word]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert known >= OPTIONS[path]


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["predict-structur", "TiO2"],
        ["analyse"],
        ["models", "show"],
        ["predict-structure", "TiO2", "--n", "many"],
        ["benchmark", "sampling", "--batch", "0"],
        ["serve", "--port", "0"],
        ["train", "x", "--minutes", "-1"],
        ["models", "list", "--nope"],
        ["evaluate", "csp"],
    ],
)
def test_a_wrong_command_line_is_one_sentence(words):
    result = call(*words)
    assert result.exit_code == 2 and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 and "--help" in result.stderr


def test_help_and_groups_without_a_command_show_what_there_is():
    assert call("--help").exit_code == 0 and "predict-structure" in call("--help").stdout
    assert "verify" in call("models").output


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["models", "list"],
        ["models", "verify"],
        ["analyse", "x.cif"],
        ["data", "describe", "x.parquet"],
    ],
)
def test_commands_that_read_cards_or_files_never_import_torch(words, tmp_path):
    NACL.to(filename=str(tmp_path / "x.cif"))
    pd.DataFrame(
        {name: [1] for name in ("material_id", "formula", "n_atoms", "lattice", "species", "frac_coords")}
    ).to_parquet(tmp_path / "x.parquet")
    code = (
        f"import sys\nsys.argv = ['crystal-core', *{words!r}]\nfrom crystal_core.cli import main\ntry:\n    "
        "main()\nexcept SystemExit:\n    pass\n"
    )
    code += "print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=120
    )
    assert done.stderr.splitlines()[-1] == "False" and len(done.stderr.splitlines()) == 1


def test_training_an_adapter_reports_the_seed_that_it_drew(tmp_path, monkeypatch):
    report = make_dataclass("Report", ["name", "remarks"])
    seeds = []
    monkeypatch.setattr(
        train_adapter, "train_adapter", lambda *_, seed, **__: seeds.append(seed) or report("own", [])
    )
    table = tmp_path / "own.csv"
    table.write_text("cif,hardness\n")
    call = ["train", "adapter", "--data", str(table), "--target", "hardness", "--quiet"]
    for more in ([], [], ["--seed", "7"]):
        answer = CliRunner().invoke(build_app(), call + more)
        assert json.loads(answer.stdout)["seed"] == seeds[-1], answer.output
    assert len(set(seeds)) == 3 and seeds[-1] == 7
