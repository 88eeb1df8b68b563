"""How a language model writes drafts and what refines them: fields of both generating pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from crystal_core.cards import ModelCard
from crystal_core.conditions import REFINER_STEPS, REWRITES
from crystal_core.registry.property_cards import is_installed
from crystal_core.workflows.back_ends import back_ends
from pages._ui.link.session import field, fill, value_of
from pages._ui.text import escape_markdown

KEYS = {
    "temperature": "draft-temperature",
    "top_p": "draft-top-p",
    "refine_from": "draft-refine-from",
    "rewrites": "draft-rewrites",
}
OWN = "the model's own"
UNREFINED = "none"
STARTS = {
    OWN: OWN,
    "inject": "the draft as it is",
    "renoise": "the draft with noise added",
    "none": "noise: only the composition stays",
}


def drafting_fields(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with what a request says, its own choice where it says nothing.

    Numbers are filled at once.
    """
    for name, key in KEYS.items():
        fill(key, request.get(name))
    return {
        "draft-back-end": request.get("back_end") or OWN,
        "draft-refiner": request.get("refiner") or OWN,
        "draft-start": request.get("start_draft") or OWN,
        "draft-charge-balance": bool(request.get("charge_balance")),
    }


def refines_drafts(card: ModelCard) -> bool:
    """Whether a second model refines the drafts."""
    return card.writes_drafts and "refiner" in card.network


def ask_drafting(
    card: ModelCard, *, is_composition_open: bool = False, may_miss: bool = False
) -> dict[str, Any]:
    """Fields for drafting and refinement; None for the card's choice.

    Args:
        is_composition_open: the drafts choose their compositions, so charge balance is offered.
        may_miss: the request names a symmetry or a property that a draft can miss, so rewrites are offered.
    """
    usual = card.sampling["draft"]
    of_open = card.sampling.get("draft_open_composition", {}) if is_composition_open else {}
    left, right = st.columns(2)
    temperature = field(
        left.number_input,
        "Temperature",
        value=None,
        step=0.1,
        key=KEYS["temperature"],
        placeholder=f"{usual.get('temperature', 1):g}",
        help="Below 1: likelier, less varied drafts.",
    )
    top_p = field(
        right.number_input,
        "Top-p",
        value=None,
        step=0.05,
        key=KEYS["top_p"],
        placeholder=f"{of_open.get('top_p', usual.get('top_p', 1)):g}",
        help="Draws each token from the likeliest ones with this total probability."
        + (f" With a formula or a target: {usual.get('top_p', 1):g}." if "top_p" in of_open else ""),
    )
    options: dict[str, Any] = {"temperature": temperature, "top_p": top_p}
    left, right = st.columns(2)
    with left:
        options["back_end"] = _ask_back_end(card)
    if may_miss:
        options["rewrites"] = field(
            right.number_input,
            "Rewrites",
            value=None,
            step=1,
            key=KEYS["rewrites"],
            placeholder=f"{REWRITES}",
            help="How often a draft is written again at most while it lacks the requested symmetry or misses "
            "a target.",
        )
    if is_composition_open:
        options |= ask_charge_balance(card)
    return options | (_ask_refining(card) if refines_drafts(card) else {})


def ask_charge_balance(card: ModelCard) -> dict[str, Any]:
    """Whether new compositions pass SMACT's test: the field of the request.

    Nothing for models that cannot see to it.
    """
    if not card.balances_charges:
        return {}
    how = (
        "A draft ends only where its composition passes SMACT's test of charge balance."
        if card.writes_drafts
        else "Near the end, a crystal that fails SMACT's test of charge balance exchanges an element."
    )
    toggle = field(st.toggle, "Charge-balanced (SMACT)", key="draft-charge-balance", help=how)
    return {"charge_balance": toggle}


def _ask_back_end(card: ModelCard) -> str | None:
    """The language model that writes: None for the model's own, or the name of another one.

    A run that is changed may name one that is not installed here, or a folder, which is then offered, too.
    """
    others, key = back_ends(card), "draft-back-end"
    options = [OWN, *(name for name, refusal in others.items() if not refusal)]
    before = value_of(key)
    if before and before not in options:
        options.append(before)
    refusals = "".join(f" {escape_markdown(refusal)}" for refusal in others.values() if refusal)
    chosen = field(
        st.selectbox, "Language model", options, key=key, help=f"It writes the drafts as text.{refusals}"
    )
    return None if chosen == OWN else str(chosen)


def ask_refiner(card: ModelCard, label: str, *, key: str) -> str:
    """What refines the drafts of a model: its own choice, the short name of a refiner, or nothing.

    A run that is changed may name any other checkpoint, which is then offered, too.
    """
    refiners: Mapping[str, str] = card.network.get("refiners", {})
    names = {short: name for short, name in refiners.items() if is_installed(name)}
    options = [OWN, *names, UNREFINED]
    before = value_of(key)
    if before and before not in options and is_installed(before):
        options.append(before)
    return str(
        field(
            st.selectbox,
            label,
            options,
            format_func=lambda name: {UNREFINED: "nothing", **names}.get(name, name),
            key=key,
            help="A diffusion model moves the drafted atoms and the cell; the composition stays.",
        )
    )


def _ask_refining(card: ModelCard) -> dict[str, Any]:
    left, right = st.columns(2)
    with left:
        refiner = ask_refiner(card, "Refined by", key="draft-refiner")
    if refiner == UNREFINED:
        return {"refiner": refiner}
    start = field(
        right.selectbox,
        "Refining starts from",
        list(STARTS),
        format_func=STARTS.__getitem__,
        key="draft-start",
    )
    step = None
    if start != "none":
        step = field(
            st.number_input,
            f"Step at which refining starts (1 to {REFINER_STEPS})",
            value=None,
            step=10,
            key=KEYS["refine_from"],
            placeholder=OWN,
            help="A larger step changes the draft more.",
        )
    return {
        "refiner": None if refiner == OWN else refiner,
        "start_draft": None if start == OWN else start,
        "refine_from": step,
    }
