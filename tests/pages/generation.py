"""The Generate page and a finished run of it, for the tests of the page."""

from functools import partial

from pymatgen.core import Lattice, Structure

from crystal_core.files.records import crystal_record
from crystal_core.jobs.queue import JobQueue
from crystal_core.requests import (
    CrystalGenerationRequest,
    to_json,
)
from tests.pages.opening import run_page

page = partial(run_page, "generate")


ROCK_SALT = Structure(
    Lattice.from_parameters(4.0, 4.0, 4.0, 60, 60, 60), ["Na", "Cl"], [[0.02, 0, 0], [0.5, 0.5, 0.5]]
)


UNBALANCED = Structure(Lattice.cubic(4.5), ["Na", "Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5]])


SHORT = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.1, 0, 0]])


def finished_run(**changes):
    """A run with two crystals alike, one that is not charge-balanced and one whose atoms overlap, as
    the store holds it.
    """
    structures = [ROCK_SALT, UNBALANCED, ROCK_SALT, SHORT]
    records = [
        crystal_record(
            s, id=f"kldm-{k}", origin="noise", provenance={"model": "kldm", "seed": 3}, group=group
        )
        | changes
        for k, (s, group) in enumerate(zip(structures, [0, 1, 0, 2], strict=True), start=1)
    ]
    summary = {"n": 5, "valid": 2, "unique": 3, "novel": None}
    result = {
        "crystals": records,
        "n_failed": 1,
        "settings": {"seed": 3},
        "seconds": 9.0,
        "network_calls": 20,
        "summary": summary,
    }
    queue = JobQueue()
    queue.submit(
        "generate", to_json(CrystalGenerationRequest(n=5, model="kldm", elements=("Li", "O"), n_atoms=(2, 2)))
    )
    job = queue.take()
    queue.update(job.id, state="done", result=result, finished=job.created + 9)
    return job.id
