"""The app in one command: it answers, it stops, it explains a port that is taken."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app, serve


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listen_to_interrupts():
    """A shell starts its background jobs deaf to them, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_the_app_answers_and_stops_on_interrupt(tmp_path):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "crystal_core", "serve", "--port", str(port), "--no-api"],
        env={**os.environ, "CRYSTAL_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listen_to_interrupts,  # noqa: PLW1509 (the child is a program of its own, started before any thread here)
    )
    try:
        lines = iter(process.stderr.readline, "")  # the server's own lines come first
        assert any(f"http://127.0.0.1:{port} " in line for line in lines)
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the server too, where this test failed half-way
    for _ in range(50):  # the server behind it is gone too
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
            time.sleep(0.1)
        except OSError:
            return
    raise AssertionError("the server still answers")


def test_a_taken_port_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "crystal_core", "serve", "--port", str(port)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2 and str(port) in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("script", "code", "part"),
    [
        ("raise SystemExit(7)", 1, "The app ended with code 7"),
        ("import time; time.sleep(1)", 0, "has not answered for 0 seconds"),
    ],
)
def test_an_app_that_ends_or_never_answers_is_not_said_to_answer(tmp_path, monkeypatch, script, code, part):
    (tmp_path / "streamlit.py").write_text(script)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(serve, "SECONDS_TO_START", 30.0 if code else 0.2)
    result = CliRunner().invoke(build_app(), ["serve", "--port", str(free_port())])
    assert result.exit_code == code and part in result.stderr and "answers at" not in result.stderr
