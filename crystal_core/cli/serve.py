"""``crystal-core serve``: the app with its worker, in one command."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from typing import Annotated

import typer

from crystal_core.cli._run import Quiet, command, say

SECONDS_TO_START = 120.0


@command
def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; the default answers this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8501,
    api: Annotated[
        bool, typer.Option("--api/--no-api", help="The HTTP twin beside the app; not part of this version.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Start the app; the worker starts with the first run. Ctrl+C stops the app, and a run in progress goes on to its end."""
    from crystal_core.errors import CrystalCoreError, MissingExtra, RequestError
    from crystal_core.paths import REPOSITORY

    script = REPOSITORY / "app.py"
    if not script.is_file():
        raise MissingExtra(
            "The app (app.py and pages/) is not beside the installed package; run it from a clone of the repository."
        )
    if _is_taken(host, port):
        raise RequestError(f"Port {port} of {host} is in use or not allowed; choose another with --port.")
    options = ["--server.address", host, "--server.port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(script), *options],
        cwd=REPOSITORY,
        env=os.environ,
        stdout=subprocess.DEVNULL,
    )
    try:
        answers = _wait(process, {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host), port)
        if process.poll() is None and not answers:
            say(
                f"The app has not answered for {SECONDS_TO_START:.0f} seconds; it may still be starting (Ctrl+C stops it)."
            )
        elif answers and not quiet:
            say(f"Crystal Studio answers at {_address(host, port)} (Ctrl+C stops it).")
            if api:
                say("The HTTP twin is not part of this version; --no-api leaves this line out.")
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait(15)
        raise
    if code:
        raise CrystalCoreError(f"The app ended with code {code}; the lines above say why.")


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _address(host: str, port: int) -> str:
    """What a browser opens.

    >>> _address("localhost", 8501), _address("::1", 8501)
    ('http://localhost:8501', 'http://[::1]:8501')
    """
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _wait(process: subprocess.Popen[bytes], host: str, port: int) -> bool:
    """Whether the app answers, before it ends and within :data:`SECONDS_TO_START`."""
    stop = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < stop:
        try:
            urllib.request.urlopen(f"{_address(host, port)}/_stcore/health", timeout=1)
            return True
        except OSError:
            time.sleep(0.2)
    return False
