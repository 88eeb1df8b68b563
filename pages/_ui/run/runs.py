"""A finished or running job in words, and what belongs to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from crystal_core.chemistry.alternatives import in_words
from crystal_core.chemistry.formula import typed_and_computed
from crystal_core.chemistry.formula_markup import SUBSCRIPTS
from crystal_core.demos import Demo, find_demo
from crystal_core.drawing.style import symbol_of
from crystal_core.errors import RequestError
from crystal_core.evaluation.symmetry import space_group_number, space_group_symbol
from crystal_core.files.records import best_first, is_valid
from crystal_core.jobs.job import Job
from crystal_core.jobs.queue import JobQueue
from crystal_core.properties import shortest
from crystal_core.records import CrystalRecord, RunResult, Snapshot, crystals_of
from pages._ui.crystal.typeset import formula_text, group_text
from pages._ui.run.tolerant import tolerant
from pages._ui.run.verdicts import by_distances, objection

ORIGINS = {
    "known": "known crystal, not generated",
    "noise": "from noise",
    "prototype": "known prototype, not generated",
    "prototype refined": "prototype, refined by the model",
    "draft": "written by a language model",
    "draft refined": "written by a language model, then refined",
    "given refined": "your crystal, refined by the model",
}
PROPERTY_CONDITIONS = {
    "band_gap": ("gap", "eV"),
    "formation_energy": ("formation energy", "eV/atom"),
    "e_above_hull": ("above hull", "eV/atom"),
}

KIND_WORDS = {
    "predict-structure": "structure prediction",
    "generate": "generation",
    "predict-property": "properties",
    "learn-property": "learned property",
    "compare": "comparison",
    "relax": "relaxation",
    "infill": "fitting elements",
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
COMPARE = "pages/compare.py"
DEMO = "demo-"  # begins the id of a recorded run
MOST_MODELS = 2  # of a comparison that a list names
NO_SUMMARY = "–"  # of a run without a result
UNREADABLE = "a run whose settings cannot be read"


def origin_words(record: CrystalRecord) -> str:
    """The origin of a cell, in words."""
    return ORIGINS[record.get("origin") or "noise"]


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
        result=cast("RunResult", dict(demo.result)),
        trajectories=list(demo.trajectories),
    )


def link_of(job: Job) -> tuple[str, dict[str, str]]:
    """The page that shows a run, and its query; a relaxation opens with the run of its crystals."""
    if job.kind in ("predict-property", "learn-property"):
        return PROPERTIES, {"job": job.id}
    if job.kind == "compare":
        return COMPARE, {"job": job.id}
    if job.kind == "infill" or (job.kind == "relax" and not job.parent):
        return VIEWER, {"job": job.id}
    page = PREDICT if job.kind == "predict-structure" else GENERATE
    return page, {"job": job.parent or job.id}


def state_words(job: Job) -> str:
    """The state of a run in a word or two."""
    return "damaged" if job.damaged else WORDS.get(job.state, job.state)


@tolerant(UNREADABLE)
def title_of(job: Job) -> str:
    """The request in a few words."""
    request = job.request
    if not request:
        return UNREADABLE
    if job.kind == "generate":
        return _generation_title(request)
    if "formula" not in request:
        return _work_title(job) or job.kind
    return _formula_words(str(request["formula"]), exact=bool(request.get("exact_cell")))


def plain_title_of(job: Job) -> str:
    """The title in digits as one types them, for names in files and to be searched."""
    return title_of(job).translate(SUBSCRIPTS)


def _formula_words(typed: str, *, exact: bool = False) -> str:
    """The formula that is computed as printed, and in brackets the typed one, as it was typed."""
    computed, *more = typed_and_computed(typed, exact=exact).split(" ", 1)
    return " ".join([formula_text(computed), *more])


def _generation_title(request: Mapping[str, Any]) -> str:
    words = [_count(request.get("n", 0), "new crystal")]
    words += ["of " + "-".join(request["elements"])] if request.get("elements") else []
    words += ["(all in each)"] if request.get("require_all") else []
    words += (
        [f"with {'–'.join(map(str, dict.fromkeys(request['n_atoms'])))} atoms"]
        if request.get("n_atoms")
        else []
    )
    words += [f"of {_formula_words(str(request['formula']))}"] if request.get("formula") else []
    held = list(request.get("contain") or ())
    held += [
        f"{name} {shortest(request[key])} {unit}"
        for key, (name, unit) in PROPERTY_CONDITIONS.items()
        if request.get(key) is not None
    ]
    held += in_words(request.get("any_of") or ())
    words += ["with " + ", ".join(held)] if held else []
    words += [f"near {request['density']:g} g/cm³"] if request.get("density") is not None else []
    words += [f"(strength {request['guidance']:g})"] if request.get("guidance") is not None else []
    words += [f"in {_group_words(str(request['space_group']))}"] if request.get("space_group") else []
    words += [f"({request['crystal_system']})"] if request.get("crystal_system") else []
    words += ["from a given one"] if request.get("start_from") else []
    return " ".join(words) + (", completed" if request.get("fix") else "")


def _group_words(typed: str) -> str:
    """The space group that is computed, and in brackets its name as it was typed where that is another."""
    try:
        number = space_group_number(typed)
    except RequestError:
        return typed
    symbol = space_group_symbol(number)
    printed = group_text(symbol)
    return typed if typed == str(number) else printed if typed == symbol else f"{printed} (typed: {typed})"


def _work_title(job: Job) -> str:
    """The title of work on given crystals; empty for runs that make crystals."""
    request = job.request
    if job.kind == "relax":
        return f"relaxing {_count(len(request.get('crystals', [])), 'crystal')}"
    if job.kind == "predict-property":
        items = request.get("crystals", [])
        return f"properties of {items[0]['source'] if len(items) == 1 else _count(len(items), 'crystal')}"
    if job.kind == "learn-property":
        return (
            f"learning {request.get('title') or request['column']} from "
            f"{_count(len(request['crystals']), 'crystal')}"
        )
    if job.kind == "infill":
        present = symbol_of(request["crystal"]["atomic_numbers"][request["sites"][0]])
        return f"elements in place of {present} in {formula_text(request.get('source') or 'a crystal')}"
    return _compared_words(request) if job.kind == "compare" else ""


def _compared_words(request: Mapping[str, Any]) -> str:
    """The formulas of a comparison and how many columns it has."""
    formulas = request.get("formulas") or []
    of = ", ".join(map(formula_text, formulas[:3])) + (" …" if len(formulas) > 3 else "")
    of = of or (
        _count(len(request["targets"]), "known crystal") if request.get("targets") else "given crystals"
    )
    return f"{of}: {_count(len(request['columns']), 'column')} compared"


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def relaxed_of(job: Job) -> dict[str, CrystalRecord]:
    """The crystals of a run that were relaxed afterwards, by their id.

    One that failed hides none that went well.
    """
    # recorded with the run
    relaxed = {record["id"]: record for record in (job.result or {}).get("relaxed", ())}
    for child in JobQueue().list_children(job.id, "relax"):
        for record in crystals_of(child.result or {}):
            if "energies" in record or record["id"] not in relaxed:
                relaxed[record["id"]] = record
    return relaxed


def latest_of(job: Job) -> dict[str, CrystalRecord]:
    """All crystals of a run by their id, relaxed where that was done."""
    return {record["id"]: record for record in crystals_of(job.result or {})} | relaxed_of(job)


class NumberedCrystal(CrystalRecord):
    """A crystal of a generation.

    ``number`` counts from 1, ``generated`` is its record before any relaxation.
    """

    number: int
    generated: CrystalRecord


def generated_of(job: Job) -> list[NumberedCrystal]:
    """The crystals of a generation in the order of sampling, relaxed where that was done.

    Validity stays that of the generated cell; novelty is that of the relaxed one.
    """
    relaxed, generated = relaxed_of(job), crystals_of(job.result or {})
    first_verdicts = ("score", "group", "validity")
    return [
        cast(
            "NumberedCrystal",
            record
            | {k: v for k, v in relaxed.get(record["id"], {}).items() if k not in first_verdicts}
            | {"generated": record, "number": k},
        )
        for k, record in enumerate(generated, start=1)
    ]


def candidates_of(job: Job) -> list[CrystalRecord]:
    """All candidates over all Z, best first."""
    return best_first(job.result or {})


@tolerant(NO_SUMMARY)
def model_of(job: Job) -> str:
    """The requested model, the potential of a relaxation, or the models of a comparison, each once."""
    if job.kind != "compare":
        return str(job.request.get("model") or job.request.get("potential") or NO_SUMMARY)
    models = list(dict.fromkeys(column["model"] for column in job.request["columns"] if "model" in column))
    more = f" +{len(models) - MOST_MODELS}" if len(models) > MOST_MODELS else ""
    return ", ".join(models[:MOST_MODELS]) + more if models else NO_SUMMARY


@tolerant(NO_SUMMARY)
def summary(job: Job) -> str:
    """One short sentence on what came out."""
    result = job.result or {}
    if answer := _answer_summary(job):
        return answer
    crystals = crystals_of(result)
    columns = " · ".join(f"{column['letter']}: {column['name']}" for column in result.get("columns") or ())
    if columns or not crystals:
        return columns or NO_SUMMARY
    if job.kind == "relax":
        done = sum("energies" in r for r in crystals)
        return f"{done} of {len(job.request.get('crystals', crystals))} relaxed"
    if job.kind == "generate":
        counts = result["summary"]
        by = " by their distances alone" if any(by_distances(r) for r in crystals) else ""
        new = (
            [f"{counts['novel']} new{by}", f"{promising(job)[0]} worth a look"]
            if counts.get("novel") is not None
            else []
        )
        return " · ".join(
            [_count(counts["n"], "crystal"), f"{counts['valid']} valid", f"{counts['unique']} distinct", *new]
        )
    distinct = len({r["group"] for r in crystals})
    plausible = sum(r["validity"]["plausible"] for r in crystals)
    return f"{len(crystals)} candidates · {distinct} distinct · {plausible} plausible"


def _answer_summary(job: Job) -> str:
    """The summary of a run that answers on given crystals; empty for runs that make or change some."""
    result = job.result or {}
    if rows := result.get("rows"):
        done = sum("predictions" in row for row in rows)
        return f"{done} of {len(job.request.get('crystals', rows))} predicted"
    if learned := result.get("learned"):
        unit = f" {learned['property']['unit']}".rstrip()
        return f"mean error {learned['mae']:.3g}{unit}; of the mean {learned['mae_of_mean']:.3g}{unit}"
    if fitting := result.get("fitting"):
        first = fitting["rows"][:3]
        return " · ".join(f"{row['element']} {100 * row['probability']:.0f} %" for row in first)
    return ""


def promising(job: Job) -> tuple[int, Counter[str]]:
    """How many crystals are valid, distinct, new and unobjectionable; and how many more per objection."""
    several = len(job.request.get("elements") or ()) > 1
    against: dict[int | None, str] = {}  # group → objection; empty if one crystal of the group has none
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
    return good, counts


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
