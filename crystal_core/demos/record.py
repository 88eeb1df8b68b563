"""``python -m crystal_core.demos.record``: run the models again and store the results unedited."""

from __future__ import annotations

import argparse
import gzip
import json
import logging
from datetime import UTC, datetime
from typing import Any

from crystal_core.demos import COMPARISONS, FOLDER
from crystal_core.files.records import for_relaxing
from crystal_core.interruption import ending_with_its_code
from crystal_core.records import CrystalRecord, RunResult, Trajectory, crystals_of
from crystal_core.requests import (
    CrystalGenerationRequest,
    RelaxationRequest,
    StructurePredictionRequest,
    to_json,
)
from crystal_core.whole_files import write_whole

log = logging.getLogger(__name__)
FRAMES = 31  # of a path: enough to see the cell form
REQUESTS: dict[str, StructurePredictionRequest | CrystalGenerationRequest] = {
    "lithium-iron-oxides": CrystalGenerationRequest(
        n=8, model="kldm-dng-mp", elements=("Li", "Fe", "O"), symmetrise=0.3, seed=0
    ),
    # "a stable oxide with a band gap near 2 eV, space group 225"
    "cubic-oxides": CrystalGenerationRequest(
        n=8,
        model="crysllmgen-mp",
        contain=("O",),
        space_group="225",
        band_gap=2.0,
        e_above_hull=0.0,
        symmetrise=0.3,
        seed=0,
    ),
    "strontium-titanate": StructurePredictionRequest(
        formula="SrTiO3", z=(1,), n_samples=4, seed=0, rank="evidence", relax=True
    ),
    "titanium-dioxide": StructurePredictionRequest(
        formula="TiO2", z=(2, 4), n_samples=4, seed=0, rank="evidence", relax=True
    ),
    "spinel": StructurePredictionRequest(
        formula="MgAl2O4", z=(2,), n_samples=4, seed=0, rank="evidence", relax=True
    ),
    "zinc-sulphide": StructurePredictionRequest(
        formula="ZnS", z=(1, 2), n_samples=4, seed=0, rank="evidence", relax=True
    ),
}


def record(name: str, request: StructurePredictionRequest | CrystalGenerationRequest) -> dict[str, Any]:
    """Run a request to its end; the paths are thinned to :data:`FRAMES` frames, nothing else is changed.

    What is valid and plausible of a generation is relaxed after it, as the page offers.
    """
    from crystal_core.workflows import generate, predict_structure, relax

    kind = "predict-structure" if isinstance(request, StructurePredictionRequest) else "generate"
    result: RunResult = {}
    paths: list[Trajectory] = []
    relaxed: list[CrystalRecord] = []
    for update in (
        predict_structure.run(request)
        if isinstance(request, StructurePredictionRequest)
        else generate.run(request)
    ):
        result = update.result or result
        paths += [update.trajectory] if update.trajectory else []
    if kind == "generate" and (
        good := [
            r
            for r in crystals_of(result)
            if all(r["validity"][key] for key in ("structure", "composition", "plausible"))
        ]
    ):
        *_, last = relax.run(
            RelaxationRequest(crystals=tuple(map(for_relaxing, good)), keep_trajectory=False)
        )
        relaxed = crystals_of(last.result or {})
    return {
        "name": name,
        "kind": kind,
        "recorded": datetime.now(UTC).date().isoformat(),
        "request": to_json(request),
        "result": {**result, "relaxed": relaxed} if relaxed else result,
        "trajectories": [path | {"frames": thinned(path["frames"])} for path in paths],
    }


def record_comparison(name: str) -> dict[str, Any]:
    """Run a ready comparison to its end; the paths are thinned, nothing else is changed."""
    from crystal_core.demos.comparisons import READY
    from crystal_core.workflows.compare.run import run

    request = next(one.request for one in READY if one.name == name)
    result: RunResult = {}
    paths: list[Trajectory] = []
    for update in run(request):
        result = update.result or result
        paths += [update.trajectory] if update.trajectory else []
    return {
        "name": name,
        "kind": "compare",
        "recorded": datetime.now(UTC).date().isoformat(),
        "request": to_json(request),
        "result": result,
        "trajectories": [path | {"frames": thinned(path["frames"])} for path in paths],
    }


def thinned(frames: list[Any]) -> list[Any]:
    """At most :data:`FRAMES` of them, evenly, with the first and the last."""
    if len(frames) <= FRAMES:
        return frames
    return [frames[round(k * (len(frames) - 1) / (FRAMES - 1))] for k in range(FRAMES)]


def main() -> None:
    """Record the runs or comparisons named on the command line, or all runs."""
    from crystal_core.demos.comparisons import READY, ready_comparisons

    parser = argparse.ArgumentParser(description=__doc__)
    known = [*REQUESTS, *(one.name for one in READY)]
    parser.add_argument("names", nargs="*", help=f"which, of {', '.join(known)}; all runs when absent")
    parser.add_argument(
        "--comparisons", action="store_true", help="all ready comparisons that can be run here"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(known):
        parser.error(f"There is no run named {', '.join(sorted(unknown))}; there are {', '.join(known)}.")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = options.names or ([one.name for one in ready_comparisons()] if options.comparisons else REQUESTS)
    COMPARISONS.mkdir(exist_ok=True)
    for name in chosen:
        demo = record(name, REQUESTS[name]) if name in REQUESTS else record_comparison(name)
        text = json.dumps(demo, separators=(",", ":"), allow_nan=False).encode()
        path = (FOLDER if name in REQUESTS else COMPARISONS) / f"{name}.json.gz"
        write_whole(path, gzip.compress(text, 9, mtime=0))
        log.info("%s: %d kB, %.0f s", path.name, path.stat().st_size // 1000, demo["result"]["seconds"])


if __name__ == "__main__":
    with ending_with_its_code():
        main()
