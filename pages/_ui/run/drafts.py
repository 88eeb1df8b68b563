"""Drafts of a language model: one's text beside its cell, and omitted ones with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from crystal_core.chemistry.elements import periodic_table
from crystal_core.chemistry.formula_text import formula_from
from crystal_core.conditions import REFINER_STEPS, SPACE_GROUPS
from crystal_core.evaluation.symmetry import space_group_number, space_group_symbol
from crystal_core.files.records import structure_from_record
from crystal_core.records import CrystalRecord, RunResult
from pages._ui.crystal.cell_views import CellView, laid_over
from pages._ui.crystal.typeset import formula_text, group_text
from pages._ui.run.runs import ORIGINS
from pages._ui.tables import show_table
from pages._ui.text import escape_markdown, sentence_case

OVER_DRAFT, DRAFT = "Over its draft", "Draft"
# by the cell that has the requested space group
GROUP_WORDS = {
    "refined": "made symmetric in the requested space group",
    "draft": "which lost the requested space group, so this is the symmetric draft",
}
TEXT_HEIGHT, MOST_LINES = 240, 9  # pixels, and the lines that fit in


def draft_of(record: CrystalRecord) -> Mapping[str, Any] | None:
    """A language model's text for a crystal; None without one."""
    return record["provenance"].get("draft")


def show_draft(record: CrystalRecord) -> None:
    """The text that a language model wrote of a crystal; nothing where none did."""
    draft = draft_of(record)
    if draft is None:
        return
    lines = "Lengths (Å), angles (°), then an element and its place for each atom."
    st.markdown("**Draft**", help=escape_markdown(f"{lines} Prompt: {draft['prompt']}"))
    _show_text(draft["text"])


def _show_text(text: str) -> None:
    """The text of a draft; a long one scrolls by itself."""
    st.code(text, language=None, height=TEXT_HEIGHT if text.count("\n") >= MOST_LINES else "content")


def draft_views(record: CrystalRecord, refined: CellView) -> dict[str, CellView]:
    """The cell of a draft that was refined: pale under the one shown where both match, and by itself.

    Nothing without one.
    """
    cell = (draft_of(record) or {}).get("cell")
    if not cell:
        return {}
    drafted = structure_from_record(cell)
    over = laid_over(refined, drafted, "Solid: refined. Pale, with the dashed cell: the draft.")
    own = CellView(structure=drafted, origin=ORIGINS["draft"])
    return ({OVER_DRAFT: over} if over else {}) | {DRAFT: own}


def stage_words(record: CrystalRecord) -> str:
    """Which models worked on a crystal, one after the other, what was changed, and how it was symmetrised.

    Empty where one model made it as it is.
    """
    provenance: Mapping[str, Any] = record["provenance"]
    stages = {stage["stage"]: stage for stage in provenance.get("stages", ())}
    words = [
        f"{change['before']} became {change['after']} at {len(change['sites'])} "
        f"{'site' if len(change['sites']) == 1 else 'sites'} (probability {change['probability']:.2f})"
        for change in provenance.get("redraft", {}).get("changes", ())
    ]
    words += [f"drafted by {stages['draft']['model']}"] if "draft" in stages else []
    if refine := stages.get("refine"):
        words.append(f"refined by {refine['model']}{_start_words(refine.get('settings', {}))}")
        words += [GROUP_WORDS[origin]] if (origin := (draft_of(record) or {}).get("group_from")) else []
    words += [_symmetrised_words(changed)] if (changed := provenance.get("symmetrised")) else []
    sentence = ", ".join(words)
    return f"{sentence_case(sentence)}." if sentence else ""


def _start_words(settings: Mapping[str, Any]) -> str:
    step = settings.get("refine_from_used")
    how = {"inject": "the draft as it was", "renoise": "the draft with noise added", "none": "noise"}
    start = how.get(settings.get("start_draft_used", ""))
    at = f", step {step} of {REFINER_STEPS}" if step else ""
    return f" from {start}{at}" if start else ""


def _symmetrised_words(changed: Mapping[str, Any]) -> str:
    return (
        f"symmetrised within {changed['within_angstrom']:g} Å, "
        f"atoms moved at most {changed['displacement_angstrom']:.2f} Å, "
        f"cell strained by {100 * changed['strain']:.1f} %"
    )


def symmetry_words(request: Mapping[str, Any], records: Sequence[CrystalRecord]) -> str:
    """How many drafts have the space group or the crystal system that the prompt named.

    Empty where it named none.
    """
    if request.get("space_group"):
        first = last = space_group_number(request["space_group"])
        name = f"{group_text(space_group_symbol(first))} ({first})"
    elif request.get("crystal_system"):
        first, last = SPACE_GROUPS[request["crystal_system"]]
        name = request["crystal_system"]
    else:
        return ""
    groups = [record["space_group"] for record in records if draft_of(record)]
    n = sum(group is not None and first <= group["number"] <= last for group in groups)
    return f"{n} of {len(groups)} {'is' if n == 1 else 'are'} {name} within 0.1 Å." if groups else ""


def show_left_out(result: RunResult) -> None:
    """How many drafts were left out of a run and why, with some of them to read; nothing where none was."""
    reasons = result.get("rejected") or {}
    drafts = [*(result.get("left_out") or []), *(result.get("failed_drafts") or [])]
    n = sum(reasons.values()) or len(drafts)
    if not n:
        return
    with st.expander(f"{n} {'draft' if n == 1 else 'drafts'} left out"):
        rows = sorted(reasons.items(), key=lambda item: -item[1])
        show_table([{"reason": reason, "drafts": count} for reason, count in rows])
        written = [draft for draft in drafts if draft["text"]]
        if written:
            labels = [_content(draft["text"]) + draft["problem"] for draft in written]
            names = [f"{k}. {label}" for k, label in enumerate(labels, start=1)]
            k = st.selectbox("Read one", range(len(names)), format_func=names.__getitem__, key="left-out")
            _show_text(written[k]["text"])


def _content(text: str) -> str:
    """Formula and number of atoms of a draft, by the symbols that stand in it; empty without one."""
    symbols = Counter(word for word in text.split() if word in periodic_table())
    atoms = sum(symbols.values())
    words = f"{atoms} {'atom' if atoms == 1 else 'atoms'}"
    return f"{formula_text(formula_from(symbols))}, {words}: " if atoms else ""
