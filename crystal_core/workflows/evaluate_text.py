"""How well a language model knows the form of crystals: what parses without a grammar, and what a grammar has to take away."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crystal_core.conditions import Conditions, DraftOptions
from crystal_core.errors import RequestError
from crystal_core.evaluation.matching import wilson
from crystal_core.requests import seed_or_drawn
from crystal_core.workflows.generate import load_de_novo
from crystal_core.workflows.sampling_run import provenance, with_back_end

if TYPE_CHECKING:
    from crystal_core.generators.crysllmgen.backends.protocol import Written


def evaluate_text(
    model: str,
    n: int,
    *,
    seed: int | None = None,
    device: str = "auto",
    back_end: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Drafts without a condition, as many without the grammar as with it.

    Returns:
        ``parse_rate`` without the grammar, its ``ci95``, and ``problems`` of the others by kind; ``removed_mass``, the
        probability that the grammar takes from a token on average; ``valid_structure`` and ``valid_composition`` of what
        parses, both ways.

    Raises:
        RequestError: the model is no language model.
    """
    import torch

    from crystal_core.generators.crysllmgen.backends.protocol import Wanted

    writer: Any = with_back_end(load_de_novo(model, device), back_end)
    if not writer.card.writes_drafts:
        raise RequestError(f"{model} writes no text; choose a language model.")
    seed = seed_or_drawn(seed)
    options = DraftOptions(temperature=temperature, top_p=top_p)
    sampling = writer.sampling_of(options)
    wanted = Wanted(conditions=Conditions(), least=1, most=writer.trained_atoms, elements=writer.elements)
    began = time.monotonic()
    drafts: dict[bool, list[Written]] = {False: [], True: []}
    removed: list[tuple[float, int]] = []
    for constrained, done in drafts.items():
        rng = torch.Generator(writer.device).manual_seed(seed)
        while len(done) < n:
            some = [wanted] * min(writer.batch_crystals, n - len(done))
            stage = "with the grammar" if constrained else "without the grammar"
            for progress in writer.back_end.write(some, generator=rng, constrained=constrained, **sampling):
                part = len(some) * progress.done / progress.of
                on_progress(stage, round(len(done) + part), n)
                if progress.drafts:
                    done.extend(progress.drafts)
            if constrained:
                removed.append((writer.back_end.removed_mass, len(some)))
    return _report(drafts, removed, n) | {
        "settings": sampling | {"back_end": writer.back_end.name},
        "seconds": round(time.monotonic() - began, 2),
        "provenance": provenance(model, writer, seed=seed, settings=dict(sampling)),
    }


def _report(drafts: dict[bool, list[Written]], removed: list[tuple[float, int]], n: int) -> dict[str, Any]:
    from crystal_core.generators.crysllmgen.drafting import kind_of

    free, kept = drafts[False], drafts[True]
    parsed = sum(draft.crystal is not None for draft in free)
    low, high = wilson(parsed, n)
    problems = Counter(kind_of(draft.problem) for draft in free if draft.crystal is None)
    return {
        "n": n,
        "parse_rate": round(parsed / n, 4),
        "ci95": [round(low, 4), round(high, 4)],
        "problems": dict(problems.most_common()),
        "parse_rate_with_grammar": round(sum(draft.crystal is not None for draft in kept) / n, 4),
        "removed_mass": round(sum(mass * count for mass, count in removed) / n, 6),
        "without_grammar": _valid(free),
        "with_grammar": _valid(kept),
    }


def _valid(drafts: list[Written]) -> dict[str, Any]:
    """Shares of the published checks among the drafts that are crystals."""
    from crystal_core.evaluation.validity import check_structure
    from crystal_core.structures import to_structures

    made = [to_structures(draft.crystal)[0] for draft in drafts if draft.crystal is not None]
    checks = [check_structure(structure) for structure in made if structure is not None]
    count = max(1, len(checks))
    return {
        "n": len(checks),
        "structure_valid": round(sum(check.structure for check in checks) / count, 4),
        "composition_valid": round(sum(check.composition for check in checks) / count, 4),
        "plausible": round(sum(check.plausible for check in checks) / count, 4),
    }
