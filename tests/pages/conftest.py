"""What the tests of the pages share."""

from functools import cache
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session", autouse=True)
def remembered():
    """What a server does once: the search of all installed packages for components, and the
    bytecode of every page.

    AppTest does both anew, the search for every page that is opened and the bytecode for every run:
    most of their time.
    """
    from streamlit.components.v2 import manifest_scanner
    from streamlit.runtime.scriptrunner.script_cache import ScriptCache

    pages = ScriptCache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests)
        )
        patch.setattr(
            ScriptCache, "get_bytecode", lambda _, path, read=ScriptCache.get_bytecode: read(pages, path)
        )
        yield


@pytest.fixture(autouse=True)
def no_warm_up(monkeypatch):
    """Pages that can predict start no worker beforehand: it would load for seconds and outlive its test."""
    monkeypatch.setattr("crystal_core.jobs.worker.expect_run", lambda: None)


@pytest.fixture
def no_worker(tmp_path, monkeypatch):
    """A home of its own, in which runs wait: no worker is started."""
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    for module in (
        "crystal_core.jobs.worker",
        "pages._ui.crystal.infill",
        "pages._ui.forms.batch",
        "pages._ui.properties.learning",
        "pages._ui.properties.sending",
        "pages._ui.run.relaxing",
        "pages._ui.run.progress",
    ):
        monkeypatch.setattr(f"{module}.ensure_worker", lambda *_, **__: None)
    # AppTest takes every run for a server's first one, and the rerun that follows forgets the click
    monkeypatch.setattr("pages._ui.errors.PagesManager", SimpleNamespace(uses_pages_directory=False))
