"""The Predict structure page and a finished run of it, for the tests of the page."""

import json
from functools import partial

from crystal_core.jobs.queue import JobQueue
from crystal_core.records import crystals_of
from crystal_core.requests import StructurePredictionRequest, to_json
from tests.earlier_runs import earlier_run
from tests.pages.opening import run_page

page = partial(run_page, "predict_structure")


def scan(n=1200):
    return {
        "two_theta": [10 + 0.05 * i for i in range(n)],
        "intensity": [20.0 + 80 * (i % 97 < 3) for i in range(n)],
        "wavelength": "MoKa",
    }


def finished_run(demo="zinc-sulphide", change=lambda _: None, **options):
    """A run of this machine with the result of an earlier one; ``change`` gets each candidate."""
    queue, earlier = JobQueue(), earlier_run(demo)
    request = to_json(StructurePredictionRequest(**{"formula": earlier.request["formula"]} | options))
    job = queue.submit("predict-structure", request)
    result = json.loads(json.dumps(earlier.result))
    for record in crystals_of(result):
        change(record)
    queue.update(job, state="done", result=result)
    return job
