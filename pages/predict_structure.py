"""From a formula to ranked candidate cells: ask, watch the cell form, take the files home."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import streamlit as st

from crystal_core.cards import ModelCard
from crystal_core.checks import check_whole
from crystal_core.chemistry.formula import parse_formula
from crystal_core.drawing.scene import frame_scene
from crystal_core.errors import CrystalCoreError, RequestError
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import ensure_worker, expect_run
from crystal_core.records import Snapshot
from crystal_core.registry.store import runnable_cards
from crystal_core.relax.potential import is_installed
from crystal_core.requests import RankName, StructurePredictionRequest, to_json
from crystal_core.workflows.back_ends import check_back_end
from crystal_core.workflows.effort import MOST_ATOMS
from crystal_core.workflows.prediction_plan import DRAFTER, MOST_PROTOTYPES, has_prototypes
from crystal_core.workflows.prediction_time import MOST_RELAXED
from pages._ui.errors import guard
from pages._ui.forms.batch import show_batch, show_outcome
from pages._ui.forms.drafting import UNREFINED, ask_drafting, drafting_fields, refines_drafts
from pages._ui.forms.foot import form_parts, submit_button
from pages._ui.forms.formula import ask_formulas
from pages._ui.forms.samplers import SAMPLERS, seed_of
from pages._ui.forms.scan import ask_pattern, carry_pattern
from pages._ui.forms.units import EXACT, ask_units, units_of, within_reach
from pages._ui.forms.unseen import keep_unseen, unseen
from pages._ui.link.browser import own_queue
from pages._ui.link.session import (
    apply_link,
    field,
    is_held,
    is_link_applied,
    mark_link_applied,
    restore_link,
    set_link,
    value_of,
)
from pages._ui.run.calls import seed_made_with
from pages._ui.run.demos import demo_gallery
from pages._ui.run.run_view import show_run
from pages._ui.run.runs import DEMO, first_run
from pages._ui.text import escape_markdown, not_installed
from pages._ui.viewer import crystal_viewer

BY_HAND = "by hand"
EFFORTS = {"quick": "Quick", "normal": "Normal", "thorough": "Thorough", BY_HAND: "By hand"}
STARTS = {
    "both": "noise and known prototypes",
    "noise": "noise only",
    "prototype": "known prototypes only",
    "draft": "drafts of a language model",
    "all": "noise, prototypes and drafts",
}
# what a model that writes begins with
OF_DRAFTS = {
    "both": "drafts and known prototypes",
    "noise": "drafts only",
}
SEVERAL = ("TiO2", "SrTiO3", "MgAl2O4")
PROMPTS = ("TiO2", "SrTiO3", "MgAl2O4", "LiFePO4", "Cu2ZnSnS4")
MAX_ATOMS = 20
SAMPLES = "Samples per Z"
MOST = 50  # of them, that the form asks for
SAMPLES_BEGIN = 4  # what the form begins with
UNSEEN = "predict-unseen"  # settings of a run without a field


@st.fragment
@guard()
def ask() -> None:
    """The form; what is typed reruns only this part, and the button puts the requests into the queue.

    Its number fields have no limits: a browser keeps a number beyond them to itself, and the one before would
    run.
    """
    cards = sorted(filter(_takes_formulas, runnable_cards("generator")), key=_generality)
    if not cards:
        st.error(not_installed("structure-prediction model"))
        return
    starts = ["both", "noise", "prototype"] if has_prototypes() else ["noise"]
    if any(card.name == DRAFTER for card in cards):
        starts += ["draft", "all"] if has_prototypes() else ["draft"]
    _fill_from_link([card.name for card in cards], starts)
    fields, foot = form_parts()
    with fields:
        requests = _ask_requests(cards, starts)
    with foot:
        several = bool(value_of("several"))
        keys = {} if several else {"shortcut": "Ctrl+Enter"}  # in a list of formulas it ends the typing
        if submit_button("Predict structure", [to_json(one) for one in requests], key="predict", **keys):
            submit(requests, several=several)
            st.rerun()


def _ask_requests(cards: list[ModelCard], starts: list[str]) -> list[StructurePredictionRequest]:
    """The requests that the fields make; empty where a field is wrong, with the reason beneath it."""
    head, switches = st.container(gap="xxsmall"), st.container(horizontal=True)
    with switches:
        several = field(
            st.toggle,
            "Several formulas",
            key="several",
            help="A list: each formula becomes a run of its own.",
        )
        exact = field(
            st.toggle,
            EXACT,
            key="exact",
            help="Ti2O4 then means these six atoms, not two formula units of TiO2.",
        )
    with head:
        formulas = ask_formulas(several=several)
    effort = is_installed() and field(
        st.segmented_control,
        "Effort",
        list(EFFORTS),
        format_func=EFFORTS.__getitem__,
        key="effort",
        required=True,
        help="Quick: known arrangements and single energies, seconds. Normal: the promising ones are "
        "relaxed, half a minute for small cells. Thorough: more of them, and samples of the model. By hand: "
        "you choose samples, start and relaxation.",
    )
    models = [card.name for card in cards]
    model = field(
        st.selectbox,
        "Model",
        models,
        key="model",
        help="The page Models describes each model and its accuracy.",
    )
    units = [] if several or exact or not formulas else ask_units(formulas[0], model)
    by_hand = effort not in EFFORTS or effort == BY_HAND  # without a potential there is no other way
    card = next(card for card in cards if card.name == model)
    offered = [start for start in starts if not card.writes_drafts or start not in ("draft", "all")]
    hand: dict[str, Any] = {"n_samples": SAMPLES_BEGIN, "relax": is_installed(), "start": starts[0]}
    if by_hand:
        hand = _ask_by_hand(offered, OF_DRAFTS if card.writes_drafts else {})
    # a state of its own: it stays open while its fields change the form
    with field(st.expander, "Advanced", key="advanced", on_change="rerun"):
        settings = ask_drafting(card) if card.writes_drafts else {}
        if not card.writes_drafts or (refines_drafts(card) and settings.get("refiner") != UNREFINED):
            settings |= _ask_sampling()
        seed = field(st.text_input, "Seed (blank = drawn and shown)", key="seed")
        settings |= unseen(UNSEEN, model=model, sampler=settings.get("sampler"))
        rank = settings.pop("rank", _usual_rank(relax=hand["relax"]))
    try:
        measured = ask_pattern()
        if measured.guides and card.writes_drafts:
            raise RequestError(
                f"{model} writes drafts, which no pattern can guide; "
                "let the pattern rank alone, or choose another model."
            )
        if settings.get("back_end") is not None:
            check_back_end(settings["back_end"])
        check_whole(SAMPLES, hand["n_samples"], 1, MOST)
        z = tuple(sorted(units)) or None
        if not by_hand and formulas and z == tuple(units_of(formulas[0], model)[1]):
            z = None  # left at its default: the effort takes the usual formula units
        requests = [
            StructurePredictionRequest(
                formula=formula.text,
                z=z,
                exact_cell=exact,
                model=model,
                seed=seed_of(seed),
                rank="pattern" if measured.ranks else rank,
                pattern=measured.pattern,
                guide=measured.guides,
                effort=None if by_hand else effort or None,
                **hand,
                **settings,
            )
            for formula in formulas
        ]
        return within_reach(requests, model, models)
    except CrystalCoreError as error:
        st.error(escape_markdown(error))
        return []


def _ask_by_hand(starts: list[str], words: dict[str, str]) -> dict[str, Any]:
    """The fields that an effort would decide.

    Args:
        words: of some starts, other than the usual ones.
    """
    n = field(
        st.number_input,
        SAMPLES,
        step=1,
        key="n",
        help=f"Also the number of known prototypes tried per Z, likeliest first, at most {MOST_PROTOTYPES}; "
        "known crystals of the formula are always tried.",
    )
    start = field(st.selectbox, "Start from", starts, format_func=(STARTS | words).__getitem__, key="start")
    relax = is_installed() and field(
        st.toggle,
        "Relax and rank by all evidence (recommended)",
        key="relax",
        help=f"The {MOST_RELAXED} most promising different structures are relaxed with the machine-learning "
        "potential CHGNet; the cells as sampled are kept. Their energies are weighed with what speaks for "
        "each arrangement. Off: ranked by how many are alike.",
    )
    return {"n_samples": int(n), "relax": relax, "start": start}


def _usual_rank(*, relax: bool) -> RankName:
    """The ranking of candidates by hand: all evidence is more often right than energy alone."""
    return "evidence" if relax else "consensus"


def _takes_formulas(card: ModelCard) -> bool:
    """Whether a model predicts structures by learning.

    The table of prototypes is no model of its own here.
    """
    return card.loader != "prototype" and (
        card.task == "structure prediction" or "composition" in card.conditions
    )


def _generality(card: ModelCard) -> tuple[bool, int, str]:
    """Sort key: models made for structure prediction first, then by the elements they know."""
    return card.task != "structure prediction", -len(card.elements), card.name


def _ask_sampling() -> dict[str, Any]:
    """Sampler and steps: the fields of the request."""
    sampler = field(st.selectbox, "Sampler", list(SAMPLERS), format_func=SAMPLERS.__getitem__, key="sampler")
    steps = field(st.number_input, "Steps (0 = the sampler's default)", step=1, key="steps")
    return {"sampler": sampler, "steps": int(steps) or None}


def _link() -> str:
    """The identity of a link to this page.

    The run to show comes first, as its settings do in the form.
    """
    return "predict|" + "|".join(
        st.query_params.get(name, "") for name in ("job", "fork", "formula", "batch")
    )


def _fill_from_link(models: list[str], starts: list[str]) -> None:
    """Fill the form from the link: the settings of a run to show or change, or a formula."""
    if is_link_applied(_link()):
        return
    settings = _settings_of_link()
    several = settings.get("formulas") or ([] if is_held("formulas") else SEVERAL)
    values: dict[str, Any] = {
        "formula": settings.get("formula") or st.query_params.get("formula", "TiO2"),
        "formulas": "\n".join(several) or None,
        "seed": settings.get("seed"),
    }
    if settings or not is_held("n"):
        first = "kldm-csp-mp" if "kldm-csp-mp" in models else next(iter(models), None)
        values |= {
            "model": settings.get("model") if settings.get("model") in models else first,
            "exact": settings.get("exact_cell", False),
            "n": min(settings.get("n_samples", SAMPLES_BEGIN), MOST),
            "sampler": settings.get("sampler", "fast"),
            "several": "formulas" in settings,
            "relax": settings.get("relax", not settings),
            "effort": settings.get("effort") or (BY_HAND if settings else "normal"),
            "steps": settings.get("steps") or 0,
            "rank-pattern": not settings.get("pattern") or settings.get("rank") == "pattern",
            "guide": settings.get("guide", False),
            "start": settings.get("start") if settings.get("start") in starts else starts[0],
        }
    with suppress(CrystalCoreError):  # a run whose formula was wrong tells so itself
        if settings:
            key, usual, _ = units_of(parse_formula(settings["formula"]), values["model"] or "")
            values[key] = list(settings.get("z") or usual)
    carry_pattern(settings.get("pattern"))
    if settings or not is_held("n"):
        follows = settings.get("rank") in ("pattern", _usual_rank(relax=settings.get("relax", False)))
        keep_unseen(settings | {"rank": None} if follows else settings, UNSEEN)
    apply_link(_link(), values | drafting_fields(settings))


def _settings_of_link() -> dict[str, Any]:
    """The request of the run that the link names, its seed as text.

    Of a list of runs the first, with all ``formulas``; empty without one.
    """
    linked_id = st.query_params.get("job", "")
    job = first_run("predict-structure", linked_id, st.query_params.get("fork", ""))
    if job is not None:
        same = job.id == linked_id or job.id.startswith(DEMO)  # a changed run gets a new seed
        return dict(job.request) | {"seed": seed_made_with(job) if same else ""}
    batch = (
        JobQueue().list_batch(st.query_params["batch"], results=False) if "batch" in st.query_params else []
    )
    if not batch:
        return {}
    formulas = [one.request["formula"] for one in batch]  # one form made them all
    return dict(batch[0].request) | {"formulas": formulas, "seed": ""}


def draw_snapshot(snapshot: Snapshot) -> None:
    """The cell as it stands now."""
    crystal_viewer(frame_scene(snapshot), key="live", height=380, live=True)


def welcome() -> None:
    """The text before the first run."""
    st.info("Type a formula and press **Predict structure**.")
    with st.container(horizontal=True):
        for prompt in PROMPTS:
            st.page_link(
                "pages/predict_structure.py",
                label=prompt,
                query_params={"formula": prompt},
                icon=":material/science:",
            )
    st.caption(
        f"Ordered cells of up to {MOST_ATOMS} atoms at 0 K and zero pressure.",
        help=f"Above {MAX_ATOMS} atoms only known arrangements are tried. The models do not consider "
        "synthesis, and a plausible cell may be unstable.",
    )
    st.caption("Recorded runs")
    demo_gallery("predict-structure")


def submit(requests: list[StructurePredictionRequest], *, several: bool) -> None:
    """Into the queue, and their id into the link, which the form fits already."""
    ensure_worker()
    if several:
        set_link(
            "predict",
            batch=own_queue().submit_batch("predict-structure", [to_json(request) for request in requests]),
        )
    else:
        set_link("predict", job=own_queue().submit("predict-structure", to_json(requests[0])))
    mark_link_applied(_link())


def main() -> None:
    expect_run()
    restore_link("predict")
    left, right = st.columns([2, 5], gap="medium")
    with left:
        st.title("Predict structure")
        ask()
    with right:
        if "batch" in st.query_params and "job" not in st.query_params:
            if n := JobQueue().unreadable_in_batch(st.query_params["batch"]):
                several = "1 run of this list is" if n == 1 else f"{n} runs of this list are"
                st.warning(f"{several} damaged and left out here; the history lists what can be deleted.")
            show_batch(st.query_params["batch"])
        elif not (job := st.query_params.get("job")) or not show_run(
            job, "predict-structure", button="Predict structure", draw=draw_snapshot, show=show_outcome
        ):
            welcome()


with guard():
    main()
