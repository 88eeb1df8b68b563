"""``crystal-core serve``: the app with its worker, in one command."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from crystal_core.chemistry.formula import shortened
from crystal_core.cli import options
from crystal_core.cli._run import command, say
from crystal_core.errors import CrystalCoreError, MissingExtra, RequestError
from crystal_core.shares import Shares

DRAWN = "new"  # instead of a token: one is drawn
SECONDS_TO_END = 10.0
# from a closing terminal, Ctrl+C, and kill, a service manager or a container
ENDS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


@command
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default serves this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    token: Annotated[
        str,
        typer.Option(
            envvar="CRYSTAL_TOKEN",
            help="Only who opens the link with this token may use the app; 'new' draws one. "
            "CRYSTAL_TOKEN keeps it out of the list of processes.",
        ),
    ] = "",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A further name by which browsers reach the app, e.g. that of a proxy. May be repeated."
        ),
    ] = None,
    waiting: Annotated[
        int, typer.Option(min=1, help="Runs of all browsers that may wait.")
    ] = Shares.waiting_in_all,
    waiting_per_browser: Annotated[
        int, typer.Option(min=1, help="Runs of one browser that may wait; browsers take turns.")
    ] = Shares.waiting,
    storage_per_browser: Annotated[
        int, typer.Option(min=1, help="Results of one browser in MB; a full one deletes runs first.")
    ] = Shares.stored_mb,
    uploads_per_browser: Annotated[
        int, typer.Option(min=1, help="Uploads of one browser that are read at once.")
    ] = Shares.uploads,
    no_api: Annotated[
        bool, typer.Option("--no-api", help="The app alone, as always: there is no HTTP interface.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Start the app; the first run starts the worker.

    Ctrl+C or SIGTERM stops both; finished parts of a run are stored.
    """
    del no_api  # scripts may give it
    from crystal_core.jobs.owners import OWNER, serving
    from crystal_core.paths import REPOSITORY, SERVER
    from crystal_core.service import health
    from crystal_core.service.access import LEAST_TOKEN, NAMES, QUERY, TOKEN

    if not SERVER.is_file():
        raise MissingExtra(
            "The app (app.py and pages/) is not beside the installed package; "
            "run it from a clone of the repository."
        )
    if reason := _refusal(host, port):
        raise RequestError(reason)
    token = secrets.token_urlsafe(24) if token == DRAWN else token
    if token and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        raise RequestError(
            f"The token must have at least {LEAST_TOKEN} characters, all of them printable ASCII; "
            "'--token new' draws one."
        )
    limits = Shares(
        waiting=waiting_per_browser,
        waiting_in_all=waiting,
        stored_mb=storage_per_browser,
        uploads=uploads_per_browser,
    )
    names = [host, socket.gethostname(), *(allow_host or ())]
    options = ["--server.address", host, "--server.port", str(port)]
    if opened := _exposure(host, port, is_protected=bool(token)):
        say(opened)
    reader, writer = os.pipe()  # the pipe closes with this process, however it ends, and the worker notices
    with _signals() as signals, serving():
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(SERVER), *options],
            cwd=REPOSITORY,
            env=os.environ
            | limits.as_environment()
            | {OWNER: str(reader), TOKEN: token, NAMES: ",".join(names)},
            stdout=subprocess.DEVNULL,
            pass_fds=(reader,),
        )
        try:
            local = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
            has_answered = health.answers(
                _address(local, port),
                lambda: process.poll() is not None or bool(signals),
                token=token,
                seconds=health.SECONDS_TO_START,
            )
            if process.poll() is None and not has_answered and not signals:
                say(
                    f"The app has not answered for {health.SECONDS_TO_START:.0f} seconds; it may still be "
                    "starting (Ctrl+C stops it)."
                )
            elif has_answered and not quiet:
                link = f"/?{urlencode({QUERY: token})}" if token else ""
                say(f"Crystal Studio answers at {_address(host, port)}{link} (Ctrl+C stops it).")
            while process.poll() is None and not signals:
                time.sleep(0.1)
        finally:
            code = _end(process)
            os.close(writer)
            os.close(reader)
    if signal.SIGINT in signals:
        raise KeyboardInterrupt
    if signals:
        raise typer.Exit(128 + signals[0])
    if code:
        raise CrystalCoreError(f"The app ended with code {code}; the lines above say why.")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that ask this process to end, as they arrive; an ignored one stays ignored.

    They are collected and not raised: an exception between the start of the app and the first look at it
    would leave the app behind on its port.
    """
    arrived: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
        wanted = [number for number in ENDS if signal.getsignal(number) != signal.SIG_IGN]
        before = {
            number: signal.signal(number, lambda number, _frame: arrived.append(number)) for number in wanted
        }
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes]) -> int:
    """End the app, by force where it does not end within :data:`SECONDS_TO_END`; returns its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def _refusal(host: str, port: int) -> str:
    """Why the app cannot listen at an address; empty if it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:  # a name too long for the network is a UnicodeError
            if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
                return (
                    f"'{shortened(host)}' is no address of this machine; leave out --host, or give 0.0.0.0 "
                    "for all its addresses."
                )
            return f"Port {port} of {host} is in use or not allowed; choose another with --port."
    return ""


def _exposure(host: str, port: int, *, is_protected: bool) -> str:
    """Who can reach the app at an address; empty where only this machine can.

    >>> [_exposure(host, 8501, is_protected=False) for host in ("127.0.0.1", "localhost", "::1")]
    ['', '', '']
    """
    try:
        addresses = {
            entry[4][0] for entry in socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)
        }
        if all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses):
            return ""
    except (OSError, ValueError):  # a name that cannot be resolved may be another machine
        pass
    if is_protected:
        return (
            f"Everyone who has the link with the token and whose computer reaches port {port} of this "
            "machine can open all runs and start new ones; the connection is not encrypted, so anyone who "
            "listens on the network learns the token."
        )
    return (
        f"Everyone whose computer reaches port {port} of this machine can open all runs and start new ones, "
        "because the app has no password and its connection is not encrypted. Protect it with '--token new', "
        "or leave out --host to serve this machine only; from another computer, use 'ssh -L "
        f"{port}:localhost:{port} MACHINE'."
    )


def _address(host: str, port: int) -> str:
    """The address that a browser opens.

    >>> _address("localhost", 8501), _address("::1", 8501)
    ('http://localhost:8501', 'http://[::1]:8501')
    """
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
