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
    host: Annotated[str, typer.Option("--host", help="Address to listen on; the default answers this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8501,
    api: Annotated[bool, typer.Option("--api/--no-api", help="The HTTP twin beside the app; not part of this version.")] = True,
    quiet: Quiet = False,
) -> None:
    """Start the app; the worker starts with the first run. Ctrl+C stops the app, and a run in progress goes on to its end."""
    from crystal_core.errors import MissingExtra, RequestError
    from crystal_core.paths import REPOSITORY

    script = REPOSITORY / "app.py"
    if not script.is_file():
        raise MissingExtra("The app (app.py and pages/) is not beside the installed package; run it from a clone of the repository.")
    if _is_taken(host, port):
        raise RequestError(f"Port {port} of {host} is in use or not allowed; choose another with --port.")
    options = ["--server.address", host, "--server.port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(script), *options],
        cwd=REPOSITORY, env=os.environ, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait(process, "127.0.0.1" if host in ("0.0.0.0", "::", "") else host, port)
        if not quiet:
            say(f"Crystal Studio answers at http://{host}:{port} (Ctrl+C stops it).")
            if api:
                say("The HTTP twin is not part of this version; --no-api leaves this line out.")
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait(15)
        raise
    if code:
        raise RequestError(f"The app ended with code {code}; the lines above say why.")


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _wait(process: subprocess.Popen[bytes], host: str, port: int) -> None:
    stop = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < stop:
        try:
            urllib.request.urlopen(f"http://{host}:{port}/_stcore/health", timeout=1)
            return
        except OSError:
            time.sleep(0.2)
