"""Finished runs of the shipped models, shipped for a first look before the user's first run.

Each is the unchanged output of a structure prediction, or of a generation whose valid crystals were then
relaxed, recorded by ``python -m crystal_core.demos.record``.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crystal_core.earlier_results import upgrade_result
from crystal_core.errors import CheckpointMissing, RequestError
from crystal_core.files.records import best_first, is_valid
from crystal_core.records import CrystalRecord, Provenance, RunResult, Trajectory, crystals_of
from crystal_core.registry.store import find_card

FOLDER = Path(__file__).parent
COMPARISONS = FOLDER / "comparisons"  # recorded runs of crystal_core.demos.comparisons


@dataclass(frozen=True, kw_only=True)
class Demo:
    """One recorded run.

    Attributes:
        name: names it in links. recorded: day, as YYYY-MM-DD. kind: predict-structure, generate or compare.
        request: of the run.
        result: of the run, as the command line's JSON, with ``relaxed`` for a generation.
        trajectories: thinned paths.
    """

    name: str
    recorded: str
    request: Mapping[str, Any]
    result: RunResult
    trajectories: tuple[Trajectory, ...]
    kind: str = "predict-structure"

    @property
    def seed(self) -> int:
        """The seed it was made with."""
        return self.result["settings"]["seed"]

    @property
    def best(self) -> CrystalRecord:
        """The first candidate; of a generation, the valid, plausible crystal of lowest energy."""
        if self.kind == "predict-structure":
            return best_first(self.result)[0]
        above: dict[str, float] = {}
        for relaxed in self.result.get("relaxed", ()):
            energy = relaxed["energies"]["e_above_hull_ev"] if "energies" in relaxed else None
            if energy is not None:
                above[relaxed["id"]] = energy
        return min(
            crystals_of(self.result),
            key=lambda r: (not is_valid(r), not r["validity"]["plausible"], above.get(r["id"], float("inf"))),
        )

    @property
    def weights_note(self) -> str:
        """Empty if the models that made it are installed unchanged; otherwise a phrase on the change."""
        provenances = [r["provenance"] for r in crystals_of(self.result)]
        used = {(p["model"], p["weights_sha256"]) for p in provenances if _is_generated(p)}
        tables = {p["prototype"]["table_sha256"] for p in provenances if "prototype" in p}
        try:
            earlier = any(find_card(model).weights_sha256 != digest for model, digest in used)
            earlier |= any(digest not in find_card("prototype").files.values() for digest in tables)
        except CheckpointMissing:
            return "made with a model that is not installed"
        return "made with earlier weights" if earlier else ""


def _is_generated(provenance: Provenance) -> bool:
    """Whether a network made the crystal: known crystals and prototypes come from tables."""
    return provenance["model"] != "prototype" and "known_crystal" not in provenance


def list_demos() -> list[Demo]:
    """All recorded runs, by name."""
    return [read_demo(path) for path in sorted(FOLDER.glob("*.json.gz"))]


def find_demo(name: str) -> Demo:
    """The recorded run or comparison of that name.

    Raises:
        RequestError: there is none.
    """
    files = (*sorted(FOLDER.glob("*.json.gz")), *sorted(COMPARISONS.glob("*.json.gz")))
    paths = {path.name.removesuffix(".json.gz"): path for path in files}
    if name not in paths:
        raise RequestError(
            f"There is no recorded run named '{name}'; there are {', '.join(paths) or 'none'}."
        )
    return read_demo(paths[name])


def read_demo(path: Path) -> Demo:
    """The recorded run of a file."""
    data = json.loads(gzip.decompress(path.read_bytes()))
    result = upgrade_result(data["result"])
    return Demo(**data | {"result": result, "trajectories": tuple(data["trajectories"])})
