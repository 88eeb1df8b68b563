"""How the tests are spread over processes: one server and one browser for all browser tests, everything else anywhere."""

from __future__ import annotations


def pytest_xdist_make_scheduler(config, log):
    """Keep tests/browser on one worker, first; marks for groups have no effect with pytest 9.2 and xdist 3.8."""
    from xdist.scheduler import LoadScopeScheduling

    class OneBrowser(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "browser" if nodeid.startswith("tests/browser/") else nodeid

    return OneBrowser(config, log)
