"""What a worker loads before the first run of a page: a small prediction that nobody keeps."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

FORMULA = "NaCl"  # two atoms, and known crystals, prototypes and energies all take part


def steps() -> Iterator[None]:
    """Load libraries, tables and the potential, a part with every step."""
    importlib.import_module("torch")  # the largest part
    yield
    from crystal_core.relax.potential import is_installed
    from crystal_core.requests import StructurePredictionRequest
    from crystal_core.workflows.predict_structure import run
    from crystal_core.workflows.prediction_plan import has_prototypes
    from crystal_core.workflows.time_plan import TimePlan

    yield
    if not has_prototypes() or not is_installed():
        return
    request = StructurePredictionRequest(formula=FORMULA, effort="quick", seed=0)
    for _ in run(request, plan=TimePlan({})):  # with a plan of its own, it leaves the pace of real runs alone
        yield
