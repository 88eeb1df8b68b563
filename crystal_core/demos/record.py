"""``python -m crystal_core.demos.record``: run the models once more and keep what comes out, as it comes out."""

from __future__ import annotations

import argparse
import gzip
import json
import logging
from datetime import UTC, datetime
from typing import Any

from crystal_core.demos import FOLDER
from crystal_core.requests import StructurePredictionRequest, to_json

log = logging.getLogger(__name__)
FRAMES = 31  # of a path: enough to see the cell form
REQUESTS = {
    "strontium-titanate": StructurePredictionRequest(
        formula="SrTiO3", n_samples=8, model="kldm-csp-perov5", start="noise", seed=0, rank="energy", relax=True
    ),
    "titanium-dioxide": StructurePredictionRequest(formula="TiO2", z=(2, 4), n_samples=4, seed=0, rank="energy", relax=True),
    "spinel": StructurePredictionRequest(formula="MgAl2O4", z=(2,), n_samples=4, seed=0),
    "zinc-sulphide": StructurePredictionRequest(formula="ZnS", z=(1, 2), n_samples=4, seed=0, rank="energy", relax=True),
}


def record(name: str, request: StructurePredictionRequest) -> dict[str, Any]:
    """Run a request to its end; the paths are thinned to :data:`FRAMES` frames, nothing else is changed."""
    from crystal_core.workflows.predict_structure import run

    result, paths = None, []
    for update in run(request):
        result = update.result or result
        paths += [update.trajectory] if update.trajectory else []
    return {
        "name": name, "recorded": datetime.now(UTC).date().isoformat(), "request": to_json(request), "result": result,
        "trajectories": [path | {"frames": thinned(path["frames"])} for path in paths],
    }  # fmt: skip


def thinned(frames: list[Any]) -> list[Any]:
    """At most :data:`FRAMES` of them, evenly, with the first and the last."""
    if len(frames) <= FRAMES:
        return frames
    return [frames[round(k * (len(frames) - 1) / (FRAMES - 1))] for k in range(FRAMES)]


def main() -> None:
    """Record the runs named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which runs, of {', '.join(REQUESTS)}; all when absent")
    options = parser.parse_args()
    if unknown := set(options.names) - set(REQUESTS):
        parser.error(f"There is no run named {', '.join(sorted(unknown))}; there are {', '.join(REQUESTS)}.")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in options.names or REQUESTS:
        made = record(name, REQUESTS[name])
        text = json.dumps(made, separators=(",", ":"), allow_nan=False).encode()
        path = FOLDER / f"{name}.json.gz"
        path.write_bytes(gzip.compress(text, 9, mtime=0))
        log.info("%s: %d kB, %.0f s", path.name, path.stat().st_size // 1000, made["result"]["seconds"])


if __name__ == "__main__":
    main()
