"""New crystals out of noise: ask, watch them form, see which are valid, distinct, new and likely stable."""

from __future__ import annotations

from typing import Any

import streamlit as st

from crystal_core.cards import ModelCard
from crystal_core.checks import DENSITY_RANGE, MAX_GUIDANCE, check_whole
from crystal_core.chemistry.formula import atomic_number_of
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.conditions import PROPERTIES, DraftOptions
from crystal_core.drawing.scene import frame_scene
from crystal_core.errors import CrystalCoreError
from crystal_core.evaluation.symmetry import space_group_number
from crystal_core.files.records import cell_json, structure_from_record
from crystal_core.jobs.worker import ensure_worker, expect_run
from crystal_core.records import Snapshot
from crystal_core.registry.store import runnable_cards
from crystal_core.requests import MAX_ATOMS, CrystalGenerationRequest, to_json
from crystal_core.workflows.back_ends import check_back_end
from crystal_core.workflows.cell_plan import allowed_elements, notes_on_sizes
from crystal_core.workflows.generation_conditions import check_conditions
from crystal_core.workflows.training_range import known_to_both, names_in_use
from pages._ui.crystal.typeset import formula_text
from pages._ui.errors import guard
from pages._ui.forms.completing import ask_fix, ask_start, handed_over
from pages._ui.forms.conditions import (
    FIXED,
    RANGE,
    USUAL,
    ask_conditions,
    ask_sentence,
    condition_fields,
    example_of,
    sentence_field,
    show_conditions,
)
from pages._ui.forms.drafting import (
    UNREFINED,
    ask_charge_balance,
    ask_drafting,
    drafting_fields,
    refines_drafts,
)
from pages._ui.forms.elements import FORM, ask_elements
from pages._ui.forms.foot import form_parts, submit_button
from pages._ui.forms.samplers import SAMPLERS, seed_of
from pages._ui.forms.symmetrising import ask_symmetrise, fill_symmetrise
from pages._ui.forms.unseen import keep_unseen, unseen
from pages._ui.link.browser import own_queue
from pages._ui.link.session import (
    apply_link,
    field,
    get_state,
    is_link_applied,
    mark_link_applied,
    restore_link,
    set_link,
    set_state,
)
from pages._ui.run.calls import seed_made_with
from pages._ui.run.demos import demo_gallery
from pages._ui.run.generated import show_generated
from pages._ui.run.run_view import show_run
from pages._ui.run.runs import DEMO, GENERATE, first_run, latest_of
from pages._ui.text import escape_markdown, not_installed
from pages._ui.viewer import crystal_viewer

CRYSTALS = "Crystals"
MOST = 50  # of them, that the form asks for
UNSEEN = "make-unseen"  # settings of a run without a field
REWRITTEN_FOR = ("space_group", "crystal_system", *PROPERTIES)  # conditions that a draft can miss
# what of a link fills the form
LINK = (
    "job",
    "fork",
    "crystal",
    "own",
    "model",
    "n",
    "elements",
    "exclude",
    "atoms",
    "wish",
)


def models() -> dict[str, ModelCard]:
    """The installed models that invent crystals, the most general first."""
    cards = [card for card in runnable_cards("generator") if card.task == "de novo generation"]
    cards.sort(key=lambda card: (card.is_experimental, -len(card.elements)))
    return {card.name: card for card in cards}


@st.fragment(key=FORM)
@guard()
def ask(cards: dict[str, ModelCard]) -> None:
    """The form; what is typed reruns only this part, and the button puts the request into the queue.

    Its number fields have no limits: a browser keeps a number beyond them to itself, and the one before would
    run.
    """
    # here, because the first run of the page may end before this part
    fill_from_link(cards)
    fields, foot = form_parts()
    with fields:
        request = _ask_request(cards)
    with foot:
        ready = [] if request is None else [to_json(request)]
        if submit_button("Generate", ready, key="generate", shortcut="Ctrl+Enter"):
            ensure_worker()
            set_link("generate", job=own_queue().submit("generate", ready[0]))
            mark_link_applied(_link())  # the form fits it already
            st.rerun()


def _ask_request(cards: dict[str, ModelCard]) -> CrystalGenerationRequest | None:
    """The request that the fields make; None where one is wrong, with the reason beneath it."""
    card = cards[field(st.selectbox, "Model", list(cards), key="make-model")]
    if card.good_for or card.limits:
        purpose, *_ = card.good_for.split(";")
        st.caption(
            escape_markdown(purpose.rstrip(".") or "Its limits"),
            help=escape_markdown(f"{card.good_for} {card.limits}"),
        )
    meant = ask_sentence(card, cards)
    message = st.container()  # beside the sentence stands what it came to
    left, right = st.columns([1, 2.9])
    with right:
        counts = _ask_counts(card)
    n = field(left.number_input, CRYSTALS, step=1, key="make-n")
    elements_part = st.container(gap="xsmall")  # filled below: the refiner decides which elements it has
    conditions = ask_conditions(card)
    # a state of its own: it stays open while its fields change the form
    with field(st.expander, "Advanced", key="make-advanced", on_change="rerun"):
        may_miss = any(conditions.get(name) is not None for name in REWRITTEN_FOR)
        settings = (
            ask_drafting(card, is_composition_open=True, may_miss=may_miss)
            if card.writes_drafts
            else ask_charge_balance(card)
        )
        if not card.writes_drafts or (refines_drafts(card) and settings.get("refiner") != UNREFINED):
            settings |= _ask_sampling()
        seed = field(st.text_input, "Seed (blank = drawn and shown)", key="make-seed")
        settings |= unseen(UNSEEN, model=card.name, sampler=settings.get("sampler"))
        symmetry_part = st.container(gap="xsmall")  # filled below: nothing moves what is kept
        given = ask_start() if refines_drafts(card) else ask_fix() if card.keeps_parts else {}
        with symmetry_part:
            settings |= ask_symmetrise(given or {})
    with elements_part:
        options = DraftOptions(refiner=settings.get("refiner"), back_end=settings.get("back_end"))
        elements = ask_elements(card, options)
    request = None
    try:
        check_whole(CRYSTALS, int(n), 1, MOST)
        if meant and elements is not None and given is not None:
            chosen_request = CrystalGenerationRequest(
                n=int(n),
                model=card.name,
                n_atoms=counts,
                seed=seed_of(seed),
                **elements,
                **settings,
                **conditions,
                **given,
            )
            _check(chosen_request, card)
            request = chosen_request
    except CrystalCoreError as error:
        st.error(escape_markdown(error))
    if request is not None:
        with message:
            show_conditions(request)
    return request


def _check(request: CrystalGenerationRequest, card: ModelCard) -> None:
    """Say what lies beyond the training of the model.

    Raises:
        RequestError: the model cannot take the request.
    """
    if request.space_group:
        space_group_number(request.space_group)
    if request.back_end is not None:
        check_back_end(request.back_end)
    options = DraftOptions(**request.draft_fields)
    known = known_to_both(card.elements, card, options)
    allowed_elements(request, known, names_in_use(card, options))
    check_conditions(request, card)
    if note := notes_on_sizes(request, card, _counts_of(card)):
        st.warning(escape_markdown(note))


def _ask_sampling() -> dict[str, Any]:
    """Sampler and steps: the fields of the request."""
    sampler = field(
        st.selectbox, "Sampler", list(SAMPLERS), format_func=SAMPLERS.__getitem__, key="make-sampler"
    )
    steps = field(st.number_input, "Steps (0 = the sampler's default)", step=1, key="make-steps")
    return {"sampler": sampler, "steps": int(steps) or None}


def _ask_counts(card: ModelCard) -> tuple[int, int] | None:
    """Atoms per cell; None as often as in training."""
    trained = sorted(_counts_of(card))
    if len(trained) == 1:
        st.caption(f"Every crystal gets {trained[0]} atoms per cell: the model makes no other cells.")
        return None
    how = field(
        st.segmented_control,
        "Atoms per cell",
        [USUAL, FIXED, RANGE] if trained else [FIXED, RANGE],
        key="counts",
        required=True,
    )
    counts = None
    if how == FIXED:
        count = int(field(st.number_input, "Number of atoms", step=1, key="atoms"))
        counts = (count, count)
    elif how == RANGE:
        counts = field(st.slider, "From … to", 1, MAX_ATOMS, key="atoms-range")
    return counts


def _counts_of(card: ModelCard) -> dict[int, float]:
    """How often the training crystals of a model have so many atoms; empty where its card does not tell."""
    return {int(count): share for count, share in card.sampling.get("atom_count_frequencies", {}).items()}


def _link() -> str:
    """The identity of a link to this page."""
    return "generate|" + "|".join(st.query_params.get(name, "") for name in LINK)


def fill_from_link(cards: dict[str, ModelCard]) -> None:
    """Fill the form from the link: a run, a crystal to complete, or the request of a first run."""
    if is_link_applied(_link()):
        return
    link = {name: st.query_params.get(name, "") for name in LINK}
    job = first_run("generate", link["job"], link["fork"])
    request = job.request if job else {}
    record = latest_of(job).get(link["crystal"]) if job else None
    basis = cell_json(structure_from_record(record)) if record else handed_over(link["own"])
    low, high = request.get("n_atoms") or (_whole(link["atoms"]) or 8,) * 2
    counts = (
        FIXED
        if _whole(link["atoms"]) or (request.get("n_atoms") and low == high)
        else RANGE
        if request.get("n_atoms")
        else USUAL
    )
    model = (basis and link["model"]) or request.get("model") or link["model"]
    if request.get("density") is not None:
        request = request | {"density": _within(request["density"], *DENSITY_RANGE)}
    values: dict[str, Any] = {
        **condition_fields(request),
        **drafting_fields(request),
        **sentence_field("" if job else link["wish"]),
        "make-model": model if model in cards else next(iter(cards)),
        "make-n": min(request.get("n") or _whole(link["n"]) or 8, MOST),
        "elements": "-".join(request.get("elements", ())) or link["elements"],
        "exclude": ", ".join(request.get("exclude_elements", ())) or link["exclude"],
        "require-all": request.get("require_all", False),
        "counts": counts,
        "atoms": low,
        "atoms-range": (low, high) if low < high else (4, 12),
        "make-sampler": request.get("sampler", "fast"),
        "make-steps": request.get("steps") or 0,
        # the same once more, while a changed run gets a new seed
        "make-seed": seed_made_with(job)
        if job and (job.id == link["job"] or job.id.startswith(DEMO))
        else "",
        "make-guidance": 1.0
        if request.get("guidance") is None
        else _within(request["guidance"], 0.0, MAX_GUIDANCE),
        "fix-sites": [] if basis else list(request.get("fix_sites", ())),
        "fix-elements": request.get("fix_elements", False) and not basis,
        "fix-lattice": bool(basis) or request.get("fix_lattice", False),
        "redraft-sites": [] if basis else list(request.get("redraft_sites", ())),
        "redraft-all": request.get("redraft_all", False) and not basis,
        "make-advanced": True if basis else None,  # where it stands
    }
    keep_unseen(request, UNSEEN)
    fill_symmetrise(request)
    set_state("given", basis or request.get("fix") or request.get("start_from"))
    apply_link(_link(), values)


def _within(value: float, low: float, high: float) -> float:
    """The value within a field's limits: a run of the command line may have larger ones."""
    return float(min(high, max(low, value)))


def _whole(text: str) -> int | None:
    return min(MAX_ATOMS, max(1, int(text))) if text.isascii() and text.isdigit() else None


def draw_snapshot(snapshot: Snapshot) -> None:
    """The cells as they stand now: one of them, of the reader's choice."""
    cells = snapshot.get("cells") or [snapshot]
    chosen = 0
    if len(cells) > 1:
        chosen = st.segmented_control(
            "Crystal",
            range(len(cells)),
            format_func=lambda k: str(k + 1),
            default=0,
            required=True,
            key="watched",
        )
    crystal_viewer(frame_scene(cells[min(chosen, len(cells) - 1)]), key="live", height=380, live=True)


def welcome(cards: dict[str, ModelCard]) -> None:
    """The text before the first run."""
    given, own = get_state("given"), st.query_params.get("own")
    if given is None and own and handed_over(own) is None:
        st.info("This crystal was kept only in the browser tab that opened it; upload it under Advanced.")
    elif given is None:
        st.info("Press **Generate** for eight new crystals, each with a verdict and its reason.")
    else:
        formula = formula_text(formula_of(structure_from_record(given).composition))
        st.info(
            escape_markdown(f"{formula} is in the form: choose under Advanced which sites to keep or change.")
        )
    card = next(iter(cards.values()))
    counts = card.sampling.get("atom_count_frequencies", {})
    prompts = [
        ("Eight of any kind", {"n": "8"}),
        ("A stable oxide, gap near 2 eV", {"wish": example_of(card)}),
    ]
    prompts += [
        (f"From {'-'.join(some)}", {"elements": "-".join(some)})
        for some in (("Li", "Fe", "O"), ("Sr", "Ti", "O"))
        if _knows(card, some)
    ]
    prompts += (
        [("With 8 atoms", {"atoms": "8"})]
        if "8" in counts
        else [("Without lead and mercury", {"exclude": "Pb, Hg"})]
    )
    with st.container(horizontal=True):
        for label, query in prompts:
            st.page_link(GENERATE, label=label, query_params=query, icon=":material/grain:")
    st.caption(
        "Ordered cells at 0 K and zero pressure. Valid does not mean stable.",
        help="The model does not consider synthesis. Relax promising crystals and check them by DFT.",
    )
    st.caption("Recorded runs")
    with st.container(width=340):
        demo_gallery("generate")


def _knows(card: ModelCard, symbols: tuple[str, ...]) -> bool:
    return {atomic_number_of(symbol) for symbol in symbols} <= set(card.elements)


def main() -> None:
    expect_run()
    restore_link("generate")
    cards = models()
    left, right = st.columns([2, 5], gap="medium")
    with left:
        st.title("Generate")
        if cards:
            ask(cards)
        else:
            st.warning(not_installed("generative model"))
    with right:
        is_shown = "job" in st.query_params and show_run(
            st.query_params["job"], "generate", button="Generate", draw=draw_snapshot, show=show_generated
        )
        if cards and not is_shown:
            welcome(cards)


with guard():
    main()
