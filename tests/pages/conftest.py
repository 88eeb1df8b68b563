"""What the tests of the pages share."""

import pytest


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
        monkeypatch.setattr(f"{module}.ensure_worker", lambda *_: None)
    monkeypatch.setattr(
        "pages._ui.errors._run_by_app", lambda: None
    )  # AppTest takes every run for a server's first, and a rerun forgets the click
