"""Form of a language model's crystals: share that parses, probability that a grammar removes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crystal_core.conditions import Conditions, DraftOptions
from crystal_core.errors import RequestError
from crystal_core.evaluation.statistics import wilson
from crystal_core.evaluation.validity import check_structure, is_balanced
from crystal_core.generators.crysllmgen.vocabulary import SYMBOLS
from crystal_core.interruption import NO_INTERRUPTION, Interruption
from crystal_core.requests import seed_or_drawn
from crystal_core.structures import to_structures
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
    charge_balance: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
    stop: Interruption = NO_INTERRUPTION,
) -> dict[str, Any]:
    """Drafts without a condition, as many without the grammar as with it.

    After an interruption the report covers the finished batches, and leaves out what the grammar does where
    none was written with it.

    Args:
        charge_balance: the grammar ends a draft only where its composition passes SMACT's test.

    Returns:
        ``parse_rate`` without the grammar, its ``ci95``, and ``problems`` of the others by kind;
        ``removed_mass``, the probability that the grammar takes from a token on average; ``without_grammar``
        and ``with_grammar``: the published checks and mean atoms of what parses, and the drafts per second.
        With ``charge_balance`` also ``charge_mass``, the part of ``removed_mass`` that this mask alone takes,
        and ``unbalanced``, the drafts that reach the largest size and still do not balance. They count in the
        checks here, while a generation leaves them out and writes others.

    Raises:
        RequestError: the model is no language model.
    """
    import torch

    from crystal_core.generators.crysllmgen.backends.protocol import Wanted

    writer: Any = with_back_end(load_de_novo(model, device), back_end)
    if not writer.card.writes_drafts:
        raise RequestError(f"{model} writes no text; choose a language model.")
    seed = seed_or_drawn(seed)
    options = DraftOptions(temperature=temperature, top_p=top_p, charge_balance=charge_balance)
    sampling = writer.sampling_of(options, open_composition=True)
    wanted = Wanted(
        conditions=Conditions(),
        least=1,
        most=writer.trained_atoms,
        elements=writer.elements,
        charge_balance=charge_balance,
    )
    began = time.monotonic()
    drafts: dict[bool, list[Written]] = {False: [], True: []}
    removed: list[tuple[float, float, int]] = []  # by all masks, by charge balance; drafts
    seconds: dict[bool, float] = {}
    with stop:
        for constrained, done in drafts.items():
            rng, started = torch.Generator(writer.device).manual_seed(seed), time.monotonic()
            while len(done) < n:
                some = [wanted] * min(writer.batch_crystals, n - len(done))
                stage = "with the grammar" if constrained else "without the grammar"
                written: tuple[Written, ...] = ()
                for progress in writer.back_end.write(
                    some, generator=rng, constrained=constrained, **sampling
                ):
                    part = len(some) * progress.done / progress.of
                    on_progress(stage, round(len(done) + part), n)
                    written = progress.drafts or written
                if constrained:
                    removed.append((writer.back_end.removed_mass, writer.back_end.charge_mass, len(some)))
                done.extend(written)
                seconds[constrained] = time.monotonic() - started
    stop.end(unless=drafts[False])
    balance = options.balance_used
    report = _report(drafts, [(mass, count) for mass, _, count in removed], seconds)
    if charge_balance and drafts[True]:
        share = sum(mass * count for _, mass, count in removed) / len(drafts[True])
        report |= {"charge_mass": round(share, 6), "unbalanced": _unbalanced(drafts[True])}
    covers = f"{len(drafts[False])} drafts without the grammar and {len(drafts[True])} with it, of {n} each"
    return report | {
        **stop.marks(covers),
        "settings": sampling | {"back_end": writer.back_end.name} | balance,
        "seconds": round(time.monotonic() - began, 2),
        "provenance": provenance(model, writer, seed=seed, settings=sampling | balance),
    }


def _report(
    drafts: dict[bool, list[Written]], removed: list[tuple[float, int]], seconds: dict[bool, float]
) -> dict[str, Any]:
    from crystal_core.generators.crysllmgen.drafting import kind_of

    free, constrained = drafts[False], drafts[True]
    n = len(free)
    parsed = sum(draft.crystal is not None for draft in free)
    low, high = wilson(parsed, n)
    problems = Counter(kind_of(draft.problem) for draft in free if draft.crystal is None)
    report: dict[str, Any] = {
        "n": n,
        "parse_rate": round(parsed / n, 4),
        "ci95": [round(low, 4), round(high, 4)],
        "problems": dict(problems.most_common()),
        "without_grammar": _valid(free) | {"drafts_per_second": round(n / max(1e-9, seconds[False]), 2)},
    }
    if not constrained:
        return report
    n = len(constrained)
    return report | {
        "n_with_grammar": n,
        "parse_rate_with_grammar": round(sum(draft.crystal is not None for draft in constrained) / n, 4),
        "removed_mass": round(sum(mass * count for mass, count in removed) / n, 6),
        "with_grammar": _valid(constrained) | {"drafts_per_second": round(n / max(1e-9, seconds[True]), 2)},
    }


def _unbalanced(drafts: list[Written]) -> int:
    crystals = [draft.crystal for draft in drafts if draft.crystal is not None]
    symbols = [[SYMBOLS[z - 1] for z in crystal.atomic_numbers.tolist()] for crystal in crystals]
    return sum(not is_balanced(Counter(one)) for one in symbols)


def _valid(drafts: list[Written]) -> dict[str, Any]:
    """Shares of the published checks among the drafts that are crystals, and their mean number of atoms."""
    structures = [to_structures(draft.crystal)[0] for draft in drafts if draft.crystal is not None]
    checks = [check_structure(structure) for structure in structures if structure is not None]
    count = max(1, len(checks))
    return {
        "n": len(checks),
        "structure_valid": round(sum(check.structure for check in checks) / count, 4),
        "composition_valid": round(sum(check.composition for check in checks) / count, 4),
        "plausible": round(sum(check.plausible for check in checks) / count, 4),
        "n_atoms": round(sum(len(structure) for structure in structures if structure is not None) / count, 2),
    }
