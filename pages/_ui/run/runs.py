"""A finished or running job in words, as files, and as the call that makes it again."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crystal_core.demos import Demo, find_demo
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.files.property_table import property_csv
from crystal_core.files.records import (
    is_valid,
    ranked,
    run_files,
    structure_from_record,
    unique_name,
    zip_texts,
)
from crystal_core.files.writers import structure_to_text
from crystal_core.jobs.queue import Job, JobQueue
from crystal_core.records import crystals_of
from crystal_core.requests import CrystalGenerationRequest, StructurePredictionRequest, tuning_words
from pages._ui.run.verdicts import by_distances, objection

if TYPE_CHECKING:
    from crystal_core.records import CrystalRecord, Snapshot

# written only where they differ from the default
USUAL = (
    "keep_trajectory",
    "device",
    "dtype",
    "rank",
    "relax",
    "potential",
    "relax_seconds",
    "guide",
    "require_all",
    "tuning",
)
ORIGINS = {
    "noise": "from noise",
    "prototype": "known prototype, not generated",
    "prototype refined": "prototype, refined by the model",
}

WORDS = {
    "queued": "waiting",
    "running": "running",
    "cancelling": "stopping",
    "done": "done",
    "partial": "stopped, partly done",
    "failed": "failed",
    "interrupted": "interrupted",
}


PREDICT, GENERATE, VIEWER = "pages/predict_structure.py", "pages/generate.py", "pages/viewer.py"
PROPERTIES = "pages/property_predictor.py"
DEMO = "demo-"  # begins the id of a recorded run
NO_SUMMARY = "–"  # of a run without a result


def find_job(job_id: str) -> Job | None:
    """A run of this machine, or a recorded one."""
    if not job_id.startswith(DEMO):
        return JobQueue().get(job_id)
    try:
        return as_job(find_demo(job_id.removeprefix(DEMO)))
    except RequestError:
        return None


def first_run(kind: str, *job_ids: str) -> Job | None:
    """The first of these runs that exists and is of this kind: the one whose settings a form shows."""
    jobs = (find_job(name) for name in job_ids if name)
    # a damaged entry has no settings that a form could show
    return next((job for job in jobs if job and job.kind == kind and job.request), None)


def as_job(demo: Demo) -> Job:
    """A recorded run as the queue would hand it out, so that the same view shows it."""
    when = datetime.fromisoformat(demo.recorded).replace(tzinfo=UTC).timestamp()
    return Job(
        id=f"{DEMO}{demo.name}",
        kind=demo.kind,
        request=dict(demo.request),
        state="done",
        created=when,
        started=when,
        finished=when,
        stage="done",
        step=1,
        n_steps=1,
        error=None,
        snapshot=None,
        result=dict(demo.result),
        trajectories=list(demo.trajectories),
        place=0,
    )


def link_of(job: Job) -> tuple[str, dict[str, str]]:
    """The page that shows a run, and the query that opens it there: a relaxation is shown with the run whose crystals it relaxes, if any."""
    if job.kind == "predict-property":
        return PROPERTIES, {"job": job.id}
    if job.kind == "relax" and not job.parent:
        return VIEWER, {"job": job.id}
    page = PREDICT if job.kind == "predict-structure" else GENERATE
    return page, {"job": job.parent or job.id}


def state_words(job: Job) -> str:
    """The state of a run in a word or two."""
    return "damaged" if job.damaged else WORDS.get(job.state, job.state)


def title_of(job: Job) -> str:
    """What was asked for, in a few words."""
    asked = job.request
    if not asked:
        return "a run whose settings cannot be read"
    if job.kind == "generate":
        words = [_count(asked.get("n", 0), "new crystal")]
        words += ["of " + "-".join(asked["elements"])] if asked.get("elements") else []
        words += ["(all in each)"] if asked.get("require_all") else []
        words += (
            [f"with {'–'.join(map(str, dict.fromkeys(asked['n_atoms'])))} atoms"]
            if asked.get("n_atoms")
            else []
        )
        words += [f"near {asked['density']:g} g/cm³"] if asked.get("density") is not None else []
        words += [f"(strength {asked['guidance']:g})"] if asked.get("guidance") is not None else []
        words += [f"in {asked['space_group']}"] if asked.get("space_group") else []
        return " ".join(words) + (", completed" if asked.get("fix") else "")
    if job.kind == "relax":
        return f"relaxing {_count(len(asked.get('crystals', [])), 'crystal')}"
    if job.kind == "predict-property":
        return f"properties of {_count(len(asked.get('crystals', [])), 'crystal')}"
    return str(asked.get("formula", job.kind))


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def relaxed_of(job: Job) -> dict[str, CrystalRecord]:
    """The crystals of a run that were relaxed afterwards, by their id; one that failed hides none that went well."""
    found = {
        record["id"]: record for record in (job.result or {}).get("relaxed", ())
    }  # recorded with the run
    for child in JobQueue().list_children(job.id, "relax"):
        for record in crystals_of(child.result or {}):
            if "energies" in record or record["id"] not in found:
                found[record["id"]] = record
    return found


def latest_of(job: Job) -> dict[str, CrystalRecord]:
    """All crystals of a run by their id, relaxed where that was done."""
    return {record["id"]: record for record in crystals_of(job.result or {})} | relaxed_of(job)


def generated_of(job: Job) -> list[CrystalRecord]:
    """The crystals of a generation in the order made, relaxed where that was done.

    ``number`` counts them from 1, ``generated`` is the record as made, and the verdicts on validity stay those of that;
    whether it is new is told of the relaxed cell.
    """
    relaxed, made = relaxed_of(job), crystals_of(job.result or {})
    return [
        record
        | {k: v for k, v in relaxed.get(record["id"], {}).items() if k not in ("score", "group", "validity")}
        | {"generated": record, "number": k}
        for k, record in enumerate(made, start=1)
    ]


def candidates_of(job: Job) -> list[CrystalRecord]:
    """All candidates, best first."""
    return ranked(crystals_of(job.result or {}))


def summary(job: Job) -> str:
    """One short sentence on what came out."""
    result = job.result or {}
    if rows := result.get("rows"):
        done = sum("predictions" in row for row in rows)
        return f"{done} of {len(job.request.get('crystals', rows))} predicted"
    found = crystals_of(result)
    if not found:
        return NO_SUMMARY
    if job.kind == "relax":
        done = sum("energies" in r for r in found)
        return f"{done} of {len(job.request.get('crystals', found))} relaxed"
    if job.kind == "generate":
        told = result["summary"]
        by = " by their distances alone" if any(by_distances(r) for r in found) else ""
        new = [f"{told['novel']} new{by}", _promising_words(job)] if told.get("novel") is not None else []
        return " · ".join(
            [_count(told["n"], "crystal"), f"{told['valid']} valid", f"{told['unique']} distinct", *new]
        )
    distinct, plausible = len({r["group"] for r in found}), sum(r["validity"]["plausible"] for r in found)
    return f"{len(found)} candidates · {distinct} distinct · {plausible} plausible"


def _promising_words(job: Job) -> str:
    """How many crystals are valid, distinct and new without an objection, and how many more there are of each objection."""
    several = len(job.request.get("elements") or ()) > 1
    against: dict[int, str] = {}  # of each distinct crystal; none where one of its like has none
    for record in crystals_of(job.result or {}):
        if (
            is_valid(record)
            and record.get("novelty")
            and not record["novelty"]["known"]
            and against.get(record["group"]) != ""
        ):
            against[record["group"]] = objection(record, several=several)
    counts = Counter(against.values())
    good = counts.pop("", 0)
    more = ", ".join(f"{n} {words}" for words, n in counts.items())
    return f"{good} valid, distinct and new" + (f", not counting {more}" if more else "")


def paths_of(job: Job) -> dict[str, list[Snapshot]]:
    """Label → frames of the paths kept of a run."""
    return {path["label"]: path["frames"] for path in job.trajectories}


def lost_paths_words(job: Job) -> str:
    """A sentence on the paths whose files are damaged or missing; empty where all are there."""
    n = getattr(job.trajectories, "n_lost", 0)  # those of a recorded run are a plain list
    if not n:
        return ""
    files = "1 recorded path of this run cannot" if n == 1 else f"{n} recorded paths of this run cannot"
    return f"{files} be shown because {'its file is' if n == 1 else 'their files are'} damaged or missing."


def zip_of(job: Job) -> bytes:
    """CIF of each crystal, all as extended XYZ, the cells before relaxing, the run as JSON, the paths kept, and the files of the call."""
    if job.kind == "predict-property":
        return zip_texts(_property_files(job))
    result, relaxed = job.result or {}, relaxed_of(job)
    told = result | {"relaxed": list(relaxed.values())} if relaxed else result
    records = [relaxed.get(record["id"], record) for record in crystals_of(result)]
    return zip_texts(run_files(records, told, job.trajectories) | _files_of_call(job))


def _property_files(job: Job) -> dict[str, str]:
    """The table of predictions, the run as JSON, and the crystals as CIF by the names that :func:`as_command` has for them."""
    result = job.result or {}
    files = {
        "properties.csv": property_csv(result["rows"], result["properties"]),
        "run.json": json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1) + "\n",
    }
    for name, item in zip(_cif_names(job.request), job.request["crystals"], strict=True):
        with suppress(StructureParseError):  # the table says why
            files[name] = structure_to_text(structure_from_record(item), "cif")
    return files


def _cif_names(asked: Mapping[str, Any]) -> list[str]:
    """A file name for each crystal of a prediction, after what it is called."""
    names: list[str] = []
    for item in asked["crystals"]:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", item["source"].removesuffix(".cif")).strip("-.")[:80]
        names.append(unique_name(stem or "crystal", names))
    return [f"{name}.cif" for name in names]


def _files_of_call(job: Job) -> dict[str, str]:
    """The files that :func:`as_command` and :func:`as_python` name, by their names there."""
    files, asked = {}, job.request
    if asked.get("fix"):
        # not as CIF, whose sites are read back in another order than --fix-sites counts
        files["structure.json"] = structure_to_text(structure_from_record(asked["fix"]), "json")
    if asked.get("pattern"):
        points = zip(asked["pattern"]["two_theta"], asked["pattern"]["intensity"], strict=True)
        files["pattern.xy"] = "".join(f"{angle!r} {height!r}\n" for angle, height in points)
    return files


def settings_of(job: Job) -> dict[str, Any]:
    """The request with the seed that was drawn."""
    used = (job.result or {}).get("settings", {})
    return dict(job.request) | ({"seed": used["seed"]} if "seed" in used else {})


def seed_made_with(job: Job) -> str:
    """The seed of a run as its field shows it: the one given or drawn; blank before it is drawn."""
    seed = settings_of(job).get("seed")
    return "" if seed is None else str(seed)


def as_command(job: Job) -> str:
    """The call on the command line."""
    asked = settings_of(job)
    if job.kind == "generate":
        return shlex.join([*_generate_words(asked), "--out", "results"])
    if job.kind == "predict-property":
        chosen = ["--properties", ",".join(asked["properties"])] if asked.get("properties") else []
        words = ["--model", asked["model"], *chosen, "--csv", "properties.csv"]
        return shlex.join(["crystal-core", "predict-property", *_cif_names(asked), *words])
    if job.kind == "relax":
        files = [f"{record['id']}.cif" for record in asked["crystals"]]
        return shlex.join(
            ["crystal-core", "relax", *files, "--seconds", str(asked["relax_seconds"]), "--out", "results"]
        )
    parts = [
        "crystal-core",
        "predict-structure",
        asked["formula"],
        "--model",
        asked["model"],
        "--n",
        str(asked["n_samples"]),
    ]
    parts += (
        ["--cell"]
        if asked.get("exact_cell")
        else ["--z", ",".join(map(str, asked["z"]))]
        if asked.get("z")
        else []
    )
    parts += ["--sampler", asked["sampler"], "--start", asked["start"]]
    parts += ["--steps", str(asked["steps"])] if asked.get("steps") else []
    parts += tuning_words(asked)
    parts += ["--relax"] if asked.get("relax") else []
    parts += ["--rank", asked["rank"]] if asked.get("rank") in ("energy", "pattern") else []
    parts += (
        ["--pattern", "pattern.xy", "--wavelength", str(asked["pattern"]["wavelength"])]
        if asked.get("pattern")
        else []
    )
    parts += ["--guide"] if asked.get("guide") else []
    parts += _dtype_words(asked)
    parts += ["--seed", str(asked["seed"])] if asked.get("seed") is not None else []
    return shlex.join([*parts, "--out", "results"])


def as_python(job: Job) -> str:
    """The call in Python."""
    if job.kind == "predict-property":
        return (
            "from pathlib import Path\n"
            "from pymatgen.core import Structure\n"
            "from crystal_core.registry.store import load_predictor\n"
            "from crystal_core.structures import from_structures\n\n"
            'crystals = from_structures([Structure.from_file(path) for path in sorted(Path().glob("*.cif"))])\n'
            f"found = load_predictor({job.request['model']!r}).predict(crystals, {tuple(job.request.get('properties') or ())!r})\n"
            "print(found[0].predictions, found[0].domain)\n"
        )
    if job.kind == "relax":
        return (
            "from pymatgen.core import Structure\n"
            "from crystal_core.relax.potential import load_potential\n"
            "from crystal_core.relax.relaxation import relax\n\n"
            f'done = relax(Structure.from_file("{job.request["crystals"][0]["id"]}.cif"), load_potential())\n'
            "print(done.energy, done.structure)\n"
        )
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


def _dtype_words(asked: dict[str, Any]) -> list[str]:
    return ["--dtype", asked["dtype"]] if asked.get("dtype", "float32") != "float32" else []


def _generate_words(asked: dict[str, Any]) -> list[str]:
    parts = ["crystal-core", "generate", "--model", asked["model"], "--n", str(asked["n"])]
    parts += ["--n-atoms", "-".join(map(str, asked["n_atoms"]))] if asked.get("n_atoms") else []
    parts += ["--elements", ",".join(asked["elements"])] if asked.get("elements") else []
    parts += ["--require-all"] if asked.get("require_all") else []
    parts += (
        ["--exclude-elements", ",".join(asked["exclude_elements"])] if asked.get("exclude_elements") else []
    )
    parts += ["--space-group", asked["space_group"]] if asked.get("space_group") else []
    parts += [
        word
        for name in ("density", "guidance")
        if asked.get(name) is not None
        for word in (f"--{name}", str(asked[name]))
    ]
    parts += ["--fix", "structure.json"] if asked.get("fix") else []
    parts += ["--fix-sites", ",".join(map(str, asked["fix_sites"]))] if asked.get("fix_sites") else []
    parts += [f"--{name}" for name in ("fix-elements", "fix-lattice") if asked.get(name.replace("-", "_"))]
    parts += ["--sampler", asked["sampler"]]
    parts += ["--steps", str(asked["steps"])] if asked.get("steps") else []
    parts += tuning_words(asked)
    parts += _dtype_words(asked)
    return parts + (["--seed", str(asked["seed"])] if asked.get("seed") is not None else [])
