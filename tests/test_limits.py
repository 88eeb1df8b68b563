"""How long a test may take, and which tests get a second try."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLAKY = """
import pathlib, pytest

@pytest.fixture
def fresh(request):
    seen = pathlib.Path(__file__).with_name(request.node.name)
    seen.write_text(seen.read_text() + "x" if seen.exists() else "x")
    return len(seen.read_text())

@pytest.mark.browser
def test_in_a_browser(fresh):
    assert fresh == 2

def test_elsewhere(fresh):
    assert fresh == 2

@pytest.mark.browser
def test_broken(fresh):
    assert fresh == 9
"""
ENDLESS = """
import contextlib, time
from crystal_core.evaluation.parallel import time_limit

def test_endless():
    with contextlib.suppress(TimeoutError), time_limit(0.1):
        time.sleep(60)
    time.sleep(60)
"""


def run_pytest(folder, text, *options, ci):
    """The output of the tests in ``text`` under this project's settings, and how often each test began."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", folder, *options]
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", folder / "test_it.py"],
        env=environment | ({"CI": "true"} if ci else {}),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    begun = {path.name: len(path.read_text()) for path in folder.iterdir() if path.name.startswith("test_")}
    return done.stdout + done.stderr, begun


@pytest.mark.parametrize(("ci", "tries"), [(True, 2), (False, 1)])
def test_a_browser_test_that_fails_is_repeated_once_with_new_fixtures_under_ci(tmp_path, ci, tries):
    output, begun = run_pytest(tmp_path, FLAKY, ci=ci)
    del begun["test_it.py"]
    assert begun == {"test_in_a_browser": tries, "test_elsewhere": 1, "test_broken": tries}, output
    listed = re.findall(r"^(FAILED|RERUN) .*::(\w+)", output, re.MULTILINE)
    failed = {name for word, name in listed if word == "FAILED"}
    assert failed == {"test_elsewhere", "test_broken"} | (set() if ci else {"test_in_a_browser"}), output
    repeated = {name for word, name in listed if word == "RERUN"}
    assert repeated == ({"test_in_a_browser", "test_broken"} if ci else set()), output


def test_a_time_limit_in_the_code_leaves_the_limit_of_its_test_alone(tmp_path):
    output, _ = run_pytest(tmp_path, ENDLESS, "-o", "timeout=2", ci=False)
    assert "Timeout" in output and "time.sleep(60)" in output


def test_every_test_has_a_time_limit(request):
    assert 0 < float(request.config.getini("timeout")) <= 600
