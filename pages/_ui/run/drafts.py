"""Drafts of a language model: the text of one beside its cell, and those that were left out, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.conditions import SPACE_GROUPS
from crystal_core.evaluation.symmetry import space_group_number, space_group_symbol
from pages._ui.crystal.typeset import group_text
from pages._ui.plain import plain
from pages._ui.tables import show_table

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from crystal_core.records import CrystalRecord, RunResult

TEXT_HEIGHT = 440  # pixels, as high as the cell beside it


def draft_of(record: CrystalRecord) -> Mapping[str, Any] | None:
    """What a language model wrote of a crystal; None where none did."""
    return record["provenance"].get("draft")


def beside_draft(record: CrystalRecord) -> DeltaGenerator:
    """Where the cell of a crystal is drawn: beside the text of its draft, where a language model wrote one."""
    draft = draft_of(record)
    if draft is None:
        return st.container()
    text, cell = st.columns([1, 2])
    lines = "Lengths (Å), angles (°), then an element and its place for each atom."
    text.markdown("**Draft**", help=plain(f"{lines} Prompt: {draft['prompt']}"))
    text.code(draft["text"], language=None, height=TEXT_HEIGHT)
    return cell


def symmetry_words(asked: Mapping[str, Any], records: Sequence[CrystalRecord]) -> str:
    """How many drafts have the space group or the crystal system that the prompt named; empty where it named none."""
    if asked.get("space_group"):
        first = last = space_group_number(asked["space_group"])
        name = f"{group_text(space_group_symbol(first))} ({first})"
    elif asked.get("crystal_system"):
        first, last = SPACE_GROUPS[asked["crystal_system"]]
        name = asked["crystal_system"]
    else:
        return ""
    groups = [record["space_group"] for record in records if draft_of(record)]
    n = sum(group is not None and first <= group["number"] <= last for group in groups)
    return f"{n} of {len(groups)} {'is' if n == 1 else 'are'} {name} within 0.1 Å." if groups else ""


def show_left_out(result: RunResult) -> None:
    """How many drafts were left out of a run, why, and the text of those that stand for a crystal; nothing where none was."""
    reasons, failed = result.get("rejected") or {}, result.get("failed_drafts") or []
    n = sum(reasons.values())
    if not n and not failed:
        return
    with st.expander(f"{n or len(failed)} drafts left out"):
        rows = sorted(reasons.items(), key=lambda item: -item[1])
        show_table([{"reason": reason, "drafts": count} for reason, count in rows])
        for draft in failed:
            st.caption(plain(draft["problem"]))
            if draft["text"]:
                st.code(draft["text"], language=None)
