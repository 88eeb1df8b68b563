"""The load of pages: a real server, readers over its socket, and a job that its worker finishes meanwhile."""

import pytest

from crystal_core.benchmarks.pages import benchmark_pages
from crystal_core.errors import RequestError


@pytest.mark.slow
def test_every_reader_gets_every_page_and_a_job_is_not_lost():
    report = benchmark_pages(2, 1, 1.0, ["home", "history"], pause=0.1)
    assert report["n_pages"] >= 4 and set(report["by_page"]) == {"home", "history"}
    for spread in (report, *report["by_page"].values()):
        assert 0 < spread["median_seconds"] <= spread["p95_seconds"] <= spread["worst_seconds"]
    assert report["processor_seconds_per_page"] > 0 and report["jobs_done"] in (0, 1)


def test_an_unknown_page_is_one_sentence():
    with pytest.raises(RequestError, match=r"no page nowhere; choose from home, "):
        benchmark_pages(1, 0, 1.0, ["home", "nowhere"])
