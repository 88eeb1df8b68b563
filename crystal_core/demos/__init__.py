"""Finished runs of the shipped models that come with the program, to look at before the first run of one's own.

Each is the unchanged output of a structure prediction, or of a generation whose valid crystals were then relaxed, recorded by
``python -m crystal_core.demos.record``.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crystal_core.errors import CheckpointMissing, RequestError
from crystal_core.files.records import crystals_of, is_valid, ranked

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Demo:
    """One recorded run.

    Attributes:
        name: names it in links. recorded: day, as YYYY-MM-DD. kind: predict-structure or generate.
        request: what was asked for. result: what came out, as the command line's JSON; ``relaxed`` in it holds the crystals
            of a generation that were relaxed afterwards. trajectories: thinned paths.
    """

    name: str
    recorded: str
    request: Mapping[str, Any]
    result: Mapping[str, Any]
    trajectories: tuple[Mapping[str, Any], ...]
    kind: str = "predict-structure"

    @property
    def seed(self) -> int:
        """The seed it was made with."""
        return self.result["settings"]["seed"]

    @property
    def best(self) -> dict[str, Any]:
        """The candidate that comes first; of a generation the valid, plausible crystal of the least energy above the hull."""
        if self.kind == "predict-structure":
            return ranked(crystals_of(self.result))[0]
        energies = {r["id"]: r.get("energies") or {} for r in self.result.get("relaxed", ())}
        above = {
            name: e["e_above_hull_ev"] for name, e in energies.items() if e.get("e_above_hull_ev") is not None
        }
        return min(
            crystals_of(self.result),
            key=lambda r: (not is_valid(r), not r["validity"]["plausible"], above.get(r["id"], float("inf"))),
        )

    @property
    def weights_note(self) -> str:
        """Empty where the models that made it are the installed ones, else a phrase that says what has changed."""
        from crystal_core.registry.store import find_card

        made = [r["provenance"] for r in crystals_of(self.result)]
        used = {(p["model"], p["weights_sha256"]) for p in made if p["model"] != "prototype"}
        tables = {p["prototype"]["table_sha256"] for p in made if "prototype" in p}
        try:
            earlier = any(find_card(model).weights_sha256 != digest for model, digest in used)
            earlier |= any(digest not in find_card("prototype").files.values() for digest in tables)
        except CheckpointMissing:
            return "made with a model that is not installed"
        return "made with earlier weights" if earlier else ""


def list_demos() -> list[Demo]:
    """All recorded runs, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.json.gz"))]


def find_demo(name: str) -> Demo:
    """The recorded run of that name.

    Raises:
        RequestError: there is none.
    """
    paths = {path.name.removesuffix(".json.gz"): path for path in sorted(FOLDER.glob("*.json.gz"))}
    if name not in paths:
        raise RequestError(
            f"There is no recorded run named '{name}'; there are {', '.join(paths) or 'none'}."
        )
    return _read(paths[name])


def _read(path: Path) -> Demo:
    data = json.loads(gzip.decompress(path.read_bytes()))
    return Demo(**data | {"trajectories": tuple(data["trajectories"])})
