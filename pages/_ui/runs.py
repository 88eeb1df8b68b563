"""A finished or running job in words, as files, and as the call that makes it again."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import Any

from crystal_core.jobs.queue import Job
from crystal_core.records import crystals_of, rank_key, zip_run
from crystal_core.requests import CrystalGenerationRequest, StructurePredictionRequest

USUAL = ("keep_trajectory", "device", "rank", "relax", "potential", "relax_seconds", "guide")  # written only where they differ from the default
ORIGINS = {"noise": "from noise", "prototype": "known prototype, not generated", "prototype refined": "prototype, refined by the model"}

WORDS = {
    "queued": "waiting", "running": "running", "cancelling": "stopping", "done": "done", "partial": "stopped, partly done",
    "failed": "failed", "interrupted": "interrupted",
}  # fmt: skip


def candidates_of(job: Job) -> list[dict[str, Any]]:
    """All candidates, best first."""
    return sorted(crystals_of(job.result or {}), key=rank_key)


def summary(job: Job) -> str:
    """One short sentence on what came out."""
    found = crystals_of(job.result or {})
    if not found:
        return "–"
    distinct, plausible = len({r["group"] for r in found}), sum(r["validity"]["plausible"] for r in found)
    return f"{len(found)} candidates · {distinct} distinct · {plausible} plausible"


def zip_of(job: Job) -> bytes:
    """CIF of each candidate, all as extended XYZ, the cells before relaxing, the run as JSON, and the paths that were kept."""
    return zip_run(crystals_of(job.result or {}), job.result or {}, job.trajectories)


def settings_of(job: Job) -> dict[str, Any]:
    """The request with the seed that was drawn."""
    used = (job.result or {}).get("settings", {})
    return dict(job.request) | ({"seed": used["seed"]} if "seed" in used else {})


def as_command(job: Job) -> str:
    """The call on the command line."""
    asked = settings_of(job)
    if job.kind == "generate":
        return shlex.join([*_generate_words(asked), "--out", "results"])
    parts = ["crystal-core", "predict-structure", asked["formula"], "--model", asked["model"], "--n", str(asked["n_samples"])]
    parts += ["--cell"] if asked.get("exact_cell") else ["--z", ",".join(map(str, asked["z"]))] if asked.get("z") else []
    parts += ["--sampler", asked["sampler"], "--start", asked["start"]]
    parts += ["--steps", str(asked["steps"])] if asked.get("steps") else []
    parts += ["--relax"] if asked.get("relax") else []
    parts += ["--rank", asked["rank"]] if asked.get("rank") in ("energy", "pattern") else []
    parts += ["--pattern", "pattern.xy", "--wavelength", str(asked["pattern"]["wavelength"])] if asked.get("pattern") else []
    parts += ["--guide"] if asked.get("guide") else []
    parts += ["--seed", str(asked["seed"])] if asked.get("seed") is not None else []
    return shlex.join([*parts, "--out", "results"])


def as_python(job: Job) -> str:
    """The call in Python."""
    kept = {k: tuple(v) if isinstance(v, list) else v for k, v in settings_of(job).items() if v is not None}
    request_class = CrystalGenerationRequest if job.kind == "generate" else StructurePredictionRequest
    unsaid = {f.name: f.default for f in fields(request_class) if f.name in USUAL}
    measured = kept.pop("pattern", None)
    arguments = ", ".join(f"{k}={v!r}" for k, v in kept.items() if k not in unsaid or v != unsaid[k])
    if job.kind == "generate":
        return (
            "from crystal_core.requests import CrystalGenerationRequest\n"
            "from crystal_core.workflows.generate import run\n\n"
            f"*_, last = run(CrystalGenerationRequest({arguments}))\n"
            'crystals = last.result["crystals"]\n'
        )
    if measured:  # thousands of numbers stay in their file
        arguments += f", pattern=read_pattern(open('pattern.xy').read(), wavelength={measured['wavelength']!r}).to_json()"
    return (
        "from crystal_core import StructurePredictionRequest\n"
        + ("from crystal_core.evaluation.powder_pattern import read_pattern\n" if measured else "")
        + "from crystal_core.workflows.predict_structure import run\n\n"
        f"*_, last = run(StructurePredictionRequest({arguments}))\n"
        'candidates = [c for part in last.result["results"] for c in part["candidates"]]\n'
    )


def _generate_words(asked: dict[str, Any]) -> list[str]:
    parts = ["crystal-core", "generate", "--model", asked["model"], "--n", str(asked["n"])]
    parts += ["--n-atoms", "-".join(map(str, asked["n_atoms"]))] if asked.get("n_atoms") else []
    parts += ["--elements", ",".join(asked["elements"])] if asked.get("elements") else []
    parts += ["--exclude-elements", ",".join(asked["exclude_elements"])] if asked.get("exclude_elements") else []
    parts += ["--space-group", asked["space_group"]] if asked.get("space_group") else []
    parts += [word for name in ("density", "guidance") if asked.get(name) is not None for word in (f"--{name}", str(asked[name]))]
    parts += ["--fix", "structure.cif"] if asked.get("fix") else []
    parts += ["--fix-sites", ",".join(map(str, asked["fix_sites"]))] if asked.get("fix_sites") else []
    parts += [f"--{name}" for name in ("fix-elements", "fix-lattice") if asked.get(name.replace("-", "_"))]
    parts += ["--sampler", asked["sampler"]]
    parts += ["--steps", str(asked["steps"])] if asked.get("steps") else []
    return parts + (["--seed", str(asked["seed"])] if asked.get("seed") is not None else [])
