"""The app in one command: it answers, it stops, it explains a port that is taken."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app, serve
from crystal_core.service import health


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listen_to_signals():
    """A shell starts its background jobs deaf to interrupts, nohup to hang-ups, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def served(tmp_path):
    """A served app that answers, and its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "crystal_core", "serve", "--port", str(port), "--no-api"],
        env={**os.environ, "CRYSTAL_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listen_to_signals,  # noqa: PLW1509 (the child is a program of its own, started before any thread here)
    )
    try:
        lines = iter(process.stderr.readline, "")  # the server's own lines come first
        assert any(f"http://127.0.0.1:{port} " in line for line in lines)
        yield process, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the server too, where this test failed half-way
        process.wait()
        process.stderr.close()


def until(condition, seconds=30):
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, f"waited {seconds} s"
        time.sleep(0.05)


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_app_and_frees_its_port(served, number, code):
    process, port = served
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).status == 200
    assert not is_free(port)
    process.send_signal(number)
    assert process.wait(30) == code
    assert is_free(port)  # at once: the app has ended before this process


def test_a_killed_command_leaves_no_server_on_its_port(served):
    process, port = served
    process.kill()
    process.wait(30)
    until(lambda: is_free(port))


# all of an app that matters here: as a page does, it has a worker warm up, and it tells its process id
APP = """
import os, pathlib, time
from crystal_core.jobs.worker import expect_run
expect_run()
pathlib.Path(os.environ["CRYSTAL_HOME"], "app.pid").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def working(tmp_path):
    """A served app of a few lines whose worker is at work, and their home."""
    home, fake = tmp_path / "home", tmp_path / "fake"
    fake.mkdir()
    (fake / "streamlit.py").write_text(APP)
    paths = os.pathsep.join(filter(None, [str(fake), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "crystal_core", "serve", "--port", str(free_port())],
        env={**os.environ, "CRYSTAL_HOME": str(home), "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until((home / "app.pid").exists, 60)
        until(lambda: works(home), 60)
        yield process, home
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def works(home):
    """Whether a worker holds its lock, which the system takes away from a process that has ended."""
    with (home / "worker-cpu.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_worker_that_the_app_started_ends_with_the_command(working, number):
    process, home = working
    process.send_signal(number)
    process.wait(30)
    until(lambda: not works(home))


def test_the_command_and_the_worker_end_where_the_app_dies(working):
    process, home = working
    os.kill(int((home / "app.pid").read_text()), signal.SIGKILL)
    assert process.wait(30) == 1 and "The app ended with code -9" in process.stderr.read()
    until(lambda: not works(home))


@pytest.mark.parametrize("host", ["300.1.1.1", "203.0.113.7", "no-such-host.invalid", "x" * 80])
def test_an_address_of_another_machine_is_told_from_a_taken_port(host):
    result = CliRunner().invoke(build_app(), ["serve", "--host", host, "--port", str(free_port())])
    assert result.exit_code == 2 and "is no address of this machine; leave out --host" in result.stderr
    assert result.stderr.count("\n") == 1 and len(result.stderr) < 200


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
    monkeypatch.setattr(health, "SECONDS_TO_START", 30.0 if code else 0.2)
    result = CliRunner().invoke(build_app(), ["serve", "--port", str(free_port())])
    assert result.exit_code == code and part in result.stderr and "answers at" not in result.stderr


@pytest.mark.parametrize(
    ("host", "is_open"),
    [
        ("0.0.0.0", True),
        ("", True),
        ("::", True),
        ("10.1.2.3", True),
        ("127.0.0.1", False),
        ("localhost", False),
    ],
)
def test_an_address_that_others_reach_says_what_it_opens_to_whom(host, is_open):
    text = serve._exposure(host, 8501, is_protected=False)
    assert ("port 8501" in text and "open all runs" in text and "no password" in text) == is_open
    assert bool(text) == is_open
    protected = serve._exposure(host, 8501, is_protected=True)
    assert ("link with the token" in protected and "not encrypted" in protected) == is_open
    assert "no password" not in protected and bool(protected) == is_open


def test_the_warning_comes_before_the_app_even_where_it_is_quiet(tmp_path, monkeypatch):
    (tmp_path / "streamlit.py").write_text("raise SystemExit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    options = ["serve", "--port", str(free_port()), "--quiet"]
    assert "no password" not in CliRunner().invoke(build_app(), options).stderr
    assert "no password" in CliRunner().invoke(build_app(), [*options, "--host", "0.0.0.0"]).stderr


@pytest.mark.parametrize("token", ["short", "a" * 15, "ö" * 20, "line\nbreak-in-a-token"])
def test_a_token_that_is_guessed_or_fits_no_header_is_refused_in_one_sentence(token):
    result = CliRunner().invoke(build_app(), ["serve", "--port", str(free_port()), "--token", token])
    assert result.exit_code == 2 and "at least 16 characters" in result.stderr and token not in result.stderr


def test_the_printed_link_opens_the_protected_app_and_nothing_else_does(tmp_path):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "crystal_core", "serve", "--port", str(port), "--token", "new"],
        env={**os.environ, "CRYSTAL_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said = next(line for line in iter(process.stderr.readline, "") if f"http://127.0.0.1:{port}/" in line)
        link = said.split(" at ")[1].split()[0]
        visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        for path in ("", "media/x", "_stcore/health", "static/js/x.js", "app/static/icon.png"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                visitor.open(f"http://127.0.0.1:{port}/{path}", timeout=10)
        page = visitor.open(link, timeout=10)
        assert "token" not in page.url and b"<title>" in page.read()
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert visitor.open(f"http://127.0.0.1:{port}/_stcore/health", timeout=10).status == 200
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
