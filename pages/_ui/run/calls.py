"""A run as files, and as the call that makes it again."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any

from crystal_core.errors import StructureParseError
from crystal_core.files.property_table import parity_csv, property_csv, spreadsheet_text
from crystal_core.files.records import run_files, structure_from_record, unique_name, zip_texts
from crystal_core.files.writers import structure_to_text
from crystal_core.jobs.job import Job
from crystal_core.records import crystals_of
from crystal_core.requests import CrystalGenerationRequest, StructurePredictionRequest, tuning_words
from crystal_core.workflows.compare.export import comparison_csv, comparison_html
from pages._ui.run.compare_call import compare_words
from pages._ui.run.runs import relaxed_of

TABLE = "table.csv"  # of the archive of a learned property
# written only where they differ from the default
USUAL = (
    "contain",
    "any_of",
    "charge_balance",
    "redraft_sites",
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
    "redraft_all",
)
# fields of a request that have another name on the command line
NEEDED = ("model", "n", "n_samples", "sampler", "start")  # fields without which a call would be another one
OPTIONS = {
    "n_samples": "--n",
    "exact_cell": "--cell",
    "start_draft": "--start",
    "refine_from": "--tau",
    "logarithmic": "--log",
}
DRAFTING = (
    "temperature",
    "top_p",
    "back_end",
    "refiner",
    "start_draft",
    "refine_from",
    "charge_balance",
    "rewrites",
)
ELEMENTS = ("n_atoms", "elements", "require_all", "exclude_elements", "contain")
CONDITIONS = ("space_group", "crystal_system", "formula", "band_gap", "formation_energy", "e_above_hull")
GIVEN = ("fix", "fix_sites", "fix_elements", "fix_lattice", "start_from", "redraft_sites")


def zip_of(job: Job) -> bytes:
    """CIF of each crystal, all as extended XYZ, unrelaxed cells, the run as JSON, paths, and the call."""
    if job.kind == "predict-property":
        return zip_texts(_property_files(job))
    if job.kind == "learn-property":
        return zip_texts(_learning_files(job))
    if job.kind == "infill":
        return zip_texts(_infill_files(job))
    if job.kind == "compare" and job.result:
        more = {
            "comparison.csv": comparison_csv(job.result),
            "comparison.html": comparison_html(job.result),
            "request.json": json.dumps(settings_of(job), ensure_ascii=False) + "\n",
        }
        return zip_texts(run_files(crystals_of(job.result), job.result, job.trajectories) | more)
    result, relaxed = job.result or {}, relaxed_of(job)
    whole_result = result | {"relaxed": list(relaxed.values())} if relaxed else result
    records = [relaxed.get(record["id"], record) for record in crystals_of(result)]
    return zip_texts(run_files(records, whole_result, job.trajectories) | _files_of_call(job))


def _property_files(job: Job) -> dict[str, str]:
    """The table of predictions, the run as JSON, and crystals as CIF, named as in :func:`as_command`."""
    result = job.result or {}
    files = {
        "properties.csv": property_csv(result["rows"], result["properties"]),
        "run.json": json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1) + "\n",
    }
    for name, item in zip(_cif_names(job.request), job.request["crystals"], strict=True):
        with suppress(StructureParseError):  # the table says why
            files[name] = structure_to_text(structure_from_record(item), "cif")
    return files


def _learning_files(job: Job) -> dict[str, str]:
    """Crystals with values as the table of :func:`as_command`, held-out errors, the run as JSON."""
    result, request, text = job.result or {}, job.request, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["material_id", "cif", "split", spreadsheet_text(request["column"])])
    splits = request.get("splits") or [""] * len(request["crystals"])
    for item, value, split in zip(request["crystals"], request["values"], splits, strict=True):
        with suppress(StructureParseError):  # the result says why
            cif = structure_to_text(structure_from_record(item), "cif")
            writer.writerow([spreadsheet_text(item["source"]), cif, spreadsheet_text(split), float(value)])
    return {
        TABLE: text.getvalue(),
        "held-out.csv": parity_csv(result["learned"]),
        "run.json": json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1) + "\n",
    }


def _infill_files(job: Job) -> dict[str, str]:
    """Elements with probabilities as a table, the crystal as in :func:`as_command`, the run as JSON."""
    result = job.result or {}
    rows = [f"{row['element']},{row['probability']}" for row in result["fitting"]["rows"]]
    return {
        "elements.csv": "\n".join(["element,probability", *rows]) + "\n",
        "structure.json": structure_to_text(structure_from_record(job.request["crystal"]), "json"),
        "run.json": json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1) + "\n",
    }


def _cif_names(request: Mapping[str, Any]) -> list[str]:
    """A file name for each crystal of a prediction, after what it is called."""
    names: list[str] = []
    for item in request["crystals"]:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", item["source"].removesuffix(".cif")).strip("-.")[:80]
        names.append(unique_name(stem or "crystal", names))
    return [f"{name}.cif" for name in names]


def _files_of_call(job: Job) -> dict[str, str]:
    """The files that :func:`as_command` and :func:`as_python` name, by their names there."""
    files, request = {}, job.request
    for name in ("fix", "start_from"):
        if request.get(name):
            # not as CIF, whose sites are read back in another order than --fix-sites and --redraft-sites
            # count
            files["structure.json"] = structure_to_text(structure_from_record(request[name]), "json")
    if request.get("pattern"):
        points = zip(request["pattern"]["two_theta"], request["pattern"]["intensity"], strict=True)
        files["pattern.xy"] = "".join(f"{angle!r} {height!r}\n" for angle, height in points)
    return files


def settings_of(job: Job) -> dict[str, Any]:
    """The request with the seed that was drawn."""
    used: Mapping[str, Any] = (job.result or {}).get("settings", {})
    return dict(job.request) | ({"seed": used["seed"]} if "seed" in used else {})


def seed_made_with(job: Job) -> str:
    """The seed of a run as its field shows it: the one given or drawn; blank before it is drawn."""
    seed = settings_of(job).get("seed")
    return "" if seed is None else str(seed)


def as_command(job: Job) -> str:
    """The call on the command line."""
    settings = settings_of(job)
    if job.kind == "generate":
        return shlex.join([*_generate_words(settings), "--out", "results"])
    if job.kind == "predict-property":
        chosen = ["--properties", ",".join(settings["properties"])] if settings.get("properties") else []
        words = ["--model", settings["model"], *chosen, "--csv", "properties.csv"]
        return shlex.join(["crystal-core", "predict-property", *_cif_names(settings), *words])
    own = {"learn-property": _learning_words, "infill": _infill_words, "compare": compare_words}
    if job.kind in own:
        return shlex.join(own[job.kind](settings))
    if job.kind == "relax":
        files = [f"{record['id']}.cif" for record in settings["crystals"]]
        return shlex.join(
            ["crystal-core", "relax", *files, "--seconds", str(settings["relax_seconds"]), "--out", "results"]
        )
    return shlex.join([*_prediction_words(settings), "--out", "results"])


def as_python(job: Job) -> str:
    """The call in Python."""
    if job.kind == "predict-property":
        properties = tuple(job.request.get("properties") or ())
        return (
            "from pathlib import Path\n"
            "from pymatgen.core import Structure\n"
            "from crystal_core.registry.store import load_predictor\n"
            "from crystal_core.structures import from_structures\n\n"
            "crystals = from_structures("
            '[Structure.from_file(path) for path in sorted(Path().glob("*.cif"))])\n'
            f"predictions = load_predictor({job.request['model']!r}).predict(crystals, {properties!r})\n"
            "print(predictions[0].predictions, predictions[0].domain)\n"
        )
    own_calls = {"learn-property": _learning_python, "infill": _infill_python}
    if job.kind in own_calls:
        return own_calls[job.kind](job)
    if job.kind == "compare":
        return (
            "import json\n"
            "from pathlib import Path\n"
            "from crystal_core.workflows.compare.run import run\n\n"
            '*_, last = run(json.loads(Path("request.json").read_text()))  # in the archive of the run\n'
            'print(last.result["paired"])\n'
        )
    if job.kind == "relax":
        return (
            "from pymatgen.core import Structure\n"
            "from crystal_core.relax.potential import load_potential\n"
            "from crystal_core.relax.relaxation import relax\n\n"
            f'done = relax(Structure.from_file("{job.request["crystals"][0]["id"]}.cif"), load_potential())\n'
            "print(done.energy, done.structure)\n"
        )
    arguments_given = {k: _tuples(v) for k, v in settings_of(job).items() if v is not None}
    request_class = CrystalGenerationRequest if job.kind == "generate" else StructurePredictionRequest
    unsaid = {f.name: f.default for f in fields(request_class) if f.name in USUAL}
    measured = arguments_given.pop("pattern", None)
    arguments = ", ".join(
        f"{k}={v!r}" for k, v in arguments_given.items() if k not in unsaid or v != unsaid[k]
    )
    if job.kind == "generate":
        return (
            "from crystal_core.requests import CrystalGenerationRequest\n"
            "from crystal_core.workflows.generate import run\n\n"
            f"*_, last = run(CrystalGenerationRequest({arguments}))\n"
            'crystals = last.result["crystals"]\n'
        )
    if measured:  # thousands of numbers stay in their file
        arguments += (
            ", pattern=read_pattern(open('pattern.xy').read(), "
            f"wavelength={measured['wavelength']!r}).to_json()"
        )
    return (
        "from crystal_core import StructurePredictionRequest\n"
        + ("from crystal_core.evaluation.powder_pattern import read_pattern\n" if measured else "")
        + "from crystal_core.workflows.predict_structure import run\n\n"
        f"*_, last = run(StructurePredictionRequest({arguments}))\n"
        'candidates = [c for part in last.result["results"] for c in part["candidates"]]\n'
    )


def _tuples(value: Any) -> Any:
    """Lists as tuples, those in them too."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _learning_python(job: Job) -> str:
    own = {name: job.request[name] for name in ("title", "unit", "logarithmic") if job.request.get(name)}
    words = "".join(f", {name}={value!r}" for name, value in own.items())
    return (
        "from pathlib import Path\n"
        "from crystal_core.workflows.adapter_rows import OwnProperty\n"
        "from crystal_core.workflows.train_adapter import train_adapter\n\n"
        f"target = OwnProperty(column={spreadsheet_text(job.request['column'])!r}{words})\n"
        f"report = train_adapter(Path({TABLE!r}), target{_learning_arguments(settings_of(job))})\n"
        "print(report.mae, report.mae_of_mean)\n"
    )


def _infill_python(job: Job) -> str:
    own = {name: True for name in ("all_alike", "exchangeable") if job.request.get(name)}
    named = {"model": job.request["model"], **own, "seed": settings_of(job).get("seed")}
    words = "".join(f", {name}={value!r}" for name, value in named.items() if value is not None)
    return (
        "from pymatgen.core import Structure\n"
        "from crystal_core.workflows.infill import infill\n\n"
        f'fitting = infill(Structure.from_file("structure.json"), {list(job.request["sites"])!r}{words})\n'
        'print(fitting["rows"][:10])\n'
    )


def _words(request: Mapping[str, Any], *names: str) -> list[str]:
    """The options of those fields that say something: true ones as flags, lists with commas.

    Raises:
        KeyError: a field that no call is right without is missing.
    """
    words: list[str] = []
    for name in names:
        value = request[name] if name in NEEDED else request.get(name)
        if value is None or value is False or value in ("", [], ()):
            continue
        words.append(OPTIONS.get(name, f"--{name.replace('_', '-')}"))
        if value is not True:
            words.append(",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
    return words


def _infill_words(request: Mapping[str, Any]) -> list[str]:
    sites = [word for site in request["sites"] for word in ("--site", str(site))]
    parts = ["crystal-core", "infill", "structure.json", "--model", request["model"], *sites]
    return parts + _words(request, "all_alike", "exchangeable", "seed")


def _learning_words(request: Mapping[str, Any]) -> list[str]:
    parts = ["crystal-core", "train", "adapter", "--data", TABLE]
    parts += ["--target", spreadsheet_text(request["column"])]
    return parts + _words(request, "title", "unit", "rank", "samples", "minutes", "seed", "logarithmic")


def _learning_arguments(request: Mapping[str, Any]) -> str:
    given = {
        name: request[name]
        for name in ("rank", "samples", "minutes", "seed")
        if request.get(name) is not None
    }
    return "".join(f", {name}={value!r}" for name, value in given.items())


def _sampling_words(request: dict[str, Any], *before: str) -> list[str]:
    """Sampler, fields ``before`` the steps, tuning, drafting and refinement; older requests lack drafts."""
    words = _words(request, "sampler", *before, "steps") + tuning_words(request)
    return words + _words(request, *DRAFTING)


def _end_words(request: dict[str, Any]) -> list[str]:
    usual = request.get("dtype", "float32") == "float32"
    return _words(request, "seed") if usual else _words(request, "dtype", "seed")


def _prediction_words(request: dict[str, Any]) -> list[str]:
    parts = ["crystal-core", "predict-structure", request["formula"]]
    parts += _words(request, "model", "n_samples", "exact_cell" if request.get("exact_cell") else "z")
    # for a model that writes drafts, one option says both where it starts and how its refiner does
    one = request.get("start_draft") and request["start"] == "both"
    parts += _sampling_words(request, *(() if one else ("start",))) + _words(request, "effort", "relax")
    parts += _words(request, "rank") if request.get("rank") in ("energy", "pattern", "evidence") else []
    if request.get("pattern"):
        parts += ["--pattern", "pattern.xy", "--wavelength", str(request["pattern"]["wavelength"])]
    return parts + _words(request, "guide") + _end_words(request)


def _generate_words(request: dict[str, Any]) -> list[str]:
    atoms = request.get("n_atoms")
    sites = "all" if request.get("redraft_all") else request.get("redraft_sites")
    as_typed = {
        "n_atoms": atoms and "-".join(map(str, atoms)),
        "fix": request.get("fix") and "structure.json",
        "start_from": request.get("start_from") and "structure.json",
        "redraft_sites": sites,
    }
    fields = ("model", "n", *ELEMENTS, *CONDITIONS, "density", "guidance", *GIVEN, "symmetrise")
    parts = ["crystal-core", "generate", *_words(request | as_typed, *fields)]
    parts += [word for some in request.get("any_of") or () for word in ("--any-of", ",".join(some))]
    return parts + _sampling_words(request) + _end_words(request)
