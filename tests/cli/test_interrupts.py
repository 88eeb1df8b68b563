"""Ctrl+C and SIGTERM end a command with what it has finished."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from typer.testing import CliRunner

import crystal_core
from crystal_core.cli import build_app, evaluate_samplers
from crystal_core.cli._run import command
from crystal_core.interruption import NOTHING_WRITTEN
from crystal_core.registry.store import find_card
from crystal_core.workflows import evaluate_csp


@pytest.mark.parametrize(
    ("number", "options", "code"), [(signal.SIGTERM, ["--json"], 143), (signal.SIGINT, [], 130)]
)
def test_a_trial_of_files_that_is_ended_tells_its_tally(number, options, code):
    process = subprocess.Popen(
        [sys.executable, "-m", "crystal_core", "fuzz", "--n", "1000000", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts its background jobs deaf to interrupts, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    try:
        assert "reading the corpus" in process.stderr.readline()
        assert "trying files" in process.stderr.readline()
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code and error.endswith("Interrupted.\n") and "Traceback" not in error
    if options:
        tally = json.loads(out)
        assert tally["tried"] < 1_000_000 and tally["tried"] == tally["read"] + tally["refused"]
        assert tally["interrupted"]
    else:
        assert " of 1000000 files: " in out and " refused" in out


AT_AN_IMPORT = """
import os, signal, sys
from crystal_core.cli import main
number, module = int(sys.argv.pop(1)), sys.argv.pop(1)
class Interrupting:
    def find_spec(name, path, target=None):
        if name == module:
            os.kill(os.getpid(), number)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting)
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["typer", "crystal_core.cli._run", "crystal_core.cli.serve"])
def test_a_command_that_is_interrupted_while_it_is_imported_says_so_in_one_line(module, number):
    words = [sys.executable, "-c", AT_AN_IMPORT, str(int(number)), module, "models", "verify", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "Interrupted.\n")


def test_what_a_command_catches_is_still_caught_after_its_imports():
    words = [sys.executable, "-c", AT_AN_IMPORT, str(int(signal.SIGINT)), "crystal_core.workflows.fuzz_files"]
    done = subprocess.run(
        [*words, "fuzz", "--quiet"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


def test_samplers_that_are_measured_are_told_where_the_rest_is_not(monkeypatch):
    def measured(*_, keep, **__):
        keep({"sampler": "pc", "network_calls": 20, "match_rate": 0.5, "ci95": [0.2, 0.8], "rmse": 0.1})
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(evaluate_csp, "compare_samplers", measured)
    monkeypatch.setattr("crystal_core.workflows.references.read_references", lambda *_, **__: [])
    monkeypatch.setattr("crystal_core.datasets.rows.split_named", lambda *_: "test")
    model = SimpleNamespace(card=find_card("kldm-csp-mp"))
    monkeypatch.setattr(evaluate_samplers, "load_generator", lambda *_: model)
    result = CliRunner().invoke(
        build_app(), ["evaluate", "csp-samplers", "--data", "rows.csv", "--seed", "0", "--json"]
    )
    assert result.exit_code == 143, result.stderr
    assert [row["sampler"] for row in json.loads(result.stdout)["rows"]] == ["pc"]


def test_a_forked_child_of_a_command_ends_at_once_at_sigterm():
    @command
    def forking() -> None:
        child = os.fork()
        if child == 0:
            try:
                time.sleep(60)
            finally:
                os._exit(7)  # only where the signal was turned into an exception
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM

    forking()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


MODULES = (
    "chemistry.smact_lists",
    "demos.record",
    "files.settings_table",
    "generators.prototype.build",
    "generators.prototype.build_large",
    "generators.prototype.fit_neighbours",
    "reference.build_hull",
    "reference.build_known",
    "reference.build_z",
    "reference.measure_known",
    "training.__main__",
    "training.packed",
    "workflows.fit_known",
    "workflows.fit_log_odds",
    "workflows.fit_ranking",
    "workflows.measure_hull",
    "workflows.public_cases",
    "workflows.ranking_rows",
)
# they answer a process that started them, or end in a way of their own
OTHERS = {"jobs.worker", "files.upload_child", "benchmarks.prediction", "__main__"}


def test_every_program_of_the_package_is_listed_here():
    root = Path(crystal_core.__file__).parent
    programs = {
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in root.rglob("*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert programs == {*MODULES, *OTHERS}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of modules that are imported already
@pytest.mark.parametrize("module", MODULES)
def test_a_program_that_is_interrupted_says_so_in_a_sentence(module, monkeypatch, capsys):
    """Its parser of options, or the first thing that it looks up, is where the interruption comes."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for name in ("argparse.ArgumentParser.parse_args", "json.dumps", "crystal_core.paths.data_dir"):
        monkeypatch.setattr(name, interrupt)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"crystal_core.{module}", run_name="__main__")
    error = capsys.readouterr().err
    assert ended.value.code == 130 and error.startswith("Interrupted") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "function", "sentence"),
    [
        (
            ["prepare", "--input", "a.csv", "--output", "a.safetensors"],
            "crystal_core.datasets.prepare.prepare",
            NOTHING_WRITTEN,
        ),
        (
            ["prepare-properties", "--folder", ".", "--output", "a.safetensors"],
            "crystal_core.datasets.property_data.prepare_properties",
            NOTHING_WRITTEN,
        ),
        (
            ["estimate-hull", "--input", "a.safetensors", "--output", "b.safetensors"],
            "crystal_core.workflows.estimate_hull.estimate_hull",
            "Interrupted; the finished energies are kept, and the same command goes on with them.",
        ),
        (
            ["download", "mp_20", "--output", "sets"],
            "crystal_core.datasets.download.download",
            "Interrupted; whole files stay in sets/mp_20, and the same command fetches the others.",
        ),
    ],
)
def test_data_commands_say_what_an_interruption_leaves(words, function, sentence, monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(function, interrupt)
    result = CliRunner().invoke(build_app(), ["data", *words, "--quiet"])
    assert (result.exit_code, result.stderr) == (130, f"{sentence}\n")


def test_an_interrupted_prepare_leaves_the_earlier_file(monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    rows = {"material_id": ["a"], "n_atoms": [1], "lattice": [[3.0, 0, 0, 0, 3.0, 0, 0, 0, 3.0]]}
    rows |= {"species": [[26]], "frac_coords": [[0.0, 0, 0]], "formula": ["Fe"]}
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    output = tmp_path / "out.safetensors"
    output.write_bytes(b"earlier")
    monkeypatch.setattr("safetensors.numpy.save_file", interrupt)
    words = ["data", "prepare", "--input", str(tmp_path / "rows.parquet"), "--output", str(output)]
    result = CliRunner().invoke(build_app(), [*words, "--workers", "1", "--quiet"])
    assert result.exit_code == 130 and result.stderr == f"{NOTHING_WRITTEN}\n"
    assert output.read_bytes() == b"earlier" and len(list(tmp_path.iterdir())) == 2
