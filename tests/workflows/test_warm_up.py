"""A first run after a warm-up finds everything loaded."""

import json
import os
import subprocess
import sys

FIRST_RUN = """
import json, sys
from crystal_core.workflows.warm_up import steps

n_steps = len(list(steps()))
loaded = set(sys.modules)
from crystal_core.relax.potential import load_potential
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows.predict_structure import run

potentials = load_potential.cache_info().currsize
updates = list(run(StructurePredictionRequest(formula="TiO2", effort="quick", seed=0)))
cards, after = len(updates[-1].result["ranking"]), load_potential.cache_info().currsize
print(json.dumps([n_steps, potentials, after, cards, sorted(set(sys.modules) - loaded)]))
"""


def test_a_first_run_after_the_warm_up_loads_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_RUN],
        env={**os.environ, "CRYSTAL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    n_steps, potentials, after, cards, modules = json.loads(done.stdout.splitlines()[-1])
    assert n_steps > 5  # a job may begin between two of them
    assert potentials == after == 1 and cards > 3
    assert modules == []
    pace = json.loads((tmp_path / "pace.json").read_text())
    assert "loading the potential" not in pace  # this run loaded none, and the warm-up is no real run
    assert pace["single energies"] > 0
