"""A real server and a real Chromium, once per session; every request and page error is recorded."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from crystal_core.jobs.queue import JobQueue

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FAILED = pytest.StashKey[bool]()
# Ends with the process that started it: a test that exceeds its time limit ends that
# process without any teardown.
SERVER = """import os, runpy, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
runpy.run_module("streamlit", run_name="__main__", alter_sys=True)"""
PRESSES = """window.__presses = [];
for (const kind of ["mousedown", "mouseup", "click"]) document.addEventListener(kind, (event) => {
  const text = (event.target.closest("button") ?? event.target).innerText?.slice(0, 40);
  window.__presses.push([kind, Math.round(performance.now()), text].join(" "));
}, true);"""

# An endless animation (a spinner, what stands for a page on its way) takes a core for as long as it runs
# where the processor draws. Here each runs once, in a moment, and tells its end as always.
STILL = """const still = new CSSStyleSheet();
still.replaceSync(`*, *::before, *::after {
  animation-duration: 1ms !important; animation-delay: 0s !important;
  animation-iteration-count: 1 !important; }`);
document.adoptedStyleSheets = [...document.adoptedStyleSheets, still];"""


@pytest.fixture(scope="session")
def server_home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def server(server_home):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (server_home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                SERVER,
                "run",
                "pages/_ui/server.py",  # with the headers of the served app: what they forbid fails here
                "--server.port",
                str(port),
                "--server.address",
                "127.0.0.1",
            ],
            cwd=ROOT,
            env={**os.environ, "CRYSTAL_HOME": str(server_home)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    base = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{base}/_stcore/health", timeout=1)
            break
        except OSError:
            time.sleep(0.25)
    else:
        process.kill()
        raise RuntimeError("the server did not come up in 60 s")
    yield base
    process.kill()
    process.wait()
    lock = server_home / "worker-cpu.lock"  # holds the worker's process id
    if lock.is_file() and lock.read_text().strip():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(lock.read_text()), signal.SIGKILL)


@pytest.fixture(scope="session")
def browser():
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and under CI the browser tests must run")
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # ms; five seconds, as usual, tell of the machine and not of the page
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield running
        running.close()


@pytest.fixture(scope="session")
def new_context(browser):
    """A function: a browser without history, cookies and endless animations."""

    def new_context(**options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        context.add_init_script(STILL)
        return context

    return new_context


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    before = report.when != "setup" and item.stash.get(FAILED, False)  # a second try begins anew
    item.stash[FAILED] = before or report.failed
    return report


def tell(page):
    """Of a page whose test has failed: where it stands, what was pressed, what it says."""
    with contextlib.suppress(Exception):  # whatever became of it
        print(
            page.url,
            page.locator("[data-test-script-state]").get_attribute("data-test-script-state", timeout=5_000),
        )
        print(page.evaluate("window.__presses"), page.get_by_test_id("stAlert").all_inner_texts())


@pytest.fixture
def open_page(request, server, server_home, new_context):
    contexts = []

    def open_page(path="", **options):
        context = new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(180_000)
        page.outside, page.faults = [], []
        # no run of the page is under way
        page.at_rest = page.locator('[data-test-script-state="notRunning"]').wait_for
        page.add_init_script(PRESSES)
        page.on(
            "request",
            lambda r: (
                None
                if r.url.startswith((server, "data:", "blob:", server.replace("http", "ws")))
                else page.outside.append(r.url)
            ),
        )
        page.on("pageerror", lambda e: page.faults.append(str(e)))
        page.on(
            "console",
            lambda m: page.faults.append(m.text) if "Content Security Policy" in m.text else None,
        )
        page.goto(server + path)
        return page

    yield open_page
    queue = JobQueue(server_home)
    failed = request.node.stash.get(FAILED, False)
    for context in contexts:
        for page in context.pages if failed else ():
            tell(page)
        context.close()
    if failed:
        print(*((job.id, job.kind, job.state) for job in queue.list_jobs(limit=3, results=False)), sep="\n")
        print((server_home / "server.log").read_text()[-3000:])
    for job in queue.list_jobs(limit=40, results=False):
        if job.live:  # what a test left running would hold up the next one
            queue.cancel(job.id)
