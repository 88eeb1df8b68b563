"""Ctrl+C and SIGTERM end a command with what it has finished."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app, evaluate_samplers
from crystal_core.cli._run import command
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


def test_samplers_that_are_measured_are_told_where_the_rest_is_not(monkeypatch):
    def measured(*_, keep, **__):
        keep({"sampler": "pc", "network_calls": 20, "match_rate": 0.5, "ci95": [0.2, 0.8], "rmse": 0.1})
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(evaluate_csp, "compare_samplers", measured)
    monkeypatch.setattr("crystal_core.workflows.references.read_references", lambda *_: [])
    monkeypatch.setattr("crystal_core.datasets.rows.split_named", lambda *_: "test")
    monkeypatch.setattr(evaluate_samplers, "load_generator", lambda *_: None)
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
