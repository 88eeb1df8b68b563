"""How often a crystal meets its prompt: formula, space group and properties, drafted and refined.

Protocol of Khastagir et al. 2025 (CrysLLMGen): prompts with formula and space group of test rows; formula
match by number of atoms, space group within 0.2 Å against the language model alone. Properties are judged
by a predictor. Models without drafts have conditions on properties alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING, Any

from crystal_core.conditions import Conditions, DraftOptions
from crystal_core.evaluation.statistics import wilson
from crystal_core.files.records import space_group
from crystal_core.interruption import NO_INTERRUPTION, Interruption
from crystal_core.requests import DeNovoRequest
from crystal_core.structures import from_structures, to_structures
from crystal_core.workflows.evaluate_dng import draw_crystals
from crystal_core.workflows.generation_conditions import GUIDED
from crystal_core.workflows.property_targets import target_judge
from crystal_core.workflows.sampling_run import last_frame, last_of

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.datasets.rows import CrystalRow
    from crystal_core.generators.crysllmgen.backends.protocol import Wanted
    from crystal_core.guides.protocol import DraftJudge

SYMPREC = 0.2  # Å, as published
SIZES = (5, 10, 25)  # atoms up to which formula matches are counted, as published
GENERATED = "generated"  # the only way of a model without drafts
UNREFINED = (None, "none")
REWRITTEN = "_rewritten"  # ends the name of a way whose drafts are written again
CHUNK = 64  # crystals of one batch: part of the protocol, because the noise of a batch is drawn at once
Progress = Callable[[str, int, int], None]  # what, finished, of


@dataclass(frozen=True, kw_only=True)
class DraftSet:
    """Crystals of one way of making them, in the order of their prompts; None where there is none."""

    name: str
    structures: list[Structure | None]


def read_prompts(rows: Sequence[CrystalRow], n: int, elements: Collection[int]) -> list[CrystalRow]:
    """A fixed random subset (seed 0) of rows of these elements with a space group, by size."""
    import numpy as np

    labelled = [
        row
        for row in rows
        if row.space_group is not None and set(elements).issuperset(row.atomic_numbers.tolist())
    ]
    order = np.random.default_rng(0).permutation(len(labelled))[:n]
    return [labelled[i] for i in sorted(order, key=lambda i: len(labelled[i].atomic_numbers))]


def make(
    model: Any,
    conditions: Sequence[Conditions],
    most: int,
    ways: Mapping[str, DraftOptions],
    *,
    seed: int,
    judge: DraftJudge | None = None,
    on_progress: Progress | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> list[DraftSet]:
    """Crystals for the conditions, one each: drafts, and what each refiner makes of the same drafts.

    After an interruption, of the first conditions only, the same number in every way.

    Args:
        most: atoms of a crystal without a composition.
        ways: name → options; those without a refiner write drafts, the others refine those of the last one
            before them, or with rewrites are whole runs with the same seed. Drafts have only elements that
            every refiner can place.
        judge: of the targets, for ways with rewrites.
    """
    drafts = {name: DraftSet(name=name, structures=[]) for name in ways}
    refined = [options for options in ways.values() if options.refiner not in UNREFINED]
    common = [set(model.common_elements(options)) for options in refined]
    elements = tuple(z for z in model.elements if all(z in placed for placed in common)) if refined else None
    with stop:
        for first in range(0, len(conditions), CHUNK):
            some = tuple(conditions[first : first + CHUNK])
            request = DeNovoRequest(
                n_atoms=tuple(one.n_atoms or most for one in some),
                at_least=tuple(one.n_atoms or 1 for one in some),
                elements=elements,
                conditions=some,
                judge=judge,
                seed=seed + first,
                frame_every=5000,
            )
            for name, options in ways.items():
                own = replace(request, draft=options)
                if options.refiner in UNREFINED:
                    frame = drafted = last_frame(model, own)
                elif options.rewrites:  # as generate does: what is missed after refinement is made anew
                    frame = last_frame(model, own)
                else:
                    frame = last_of(model.refine_drafts(own, drafted))
                assert frame.crystals is not None
                drafts[name].structures.extend(to_structures(frame.crystals))
                if on_progress:
                    on_progress(name, len(drafts[name].structures), len(conditions))
    whole = min(len(one.structures) for one in drafts.values())
    return [replace(one, structures=one.structures[:whole]) for one in drafts.values()]


def formula_matches(
    model: Any,
    rows: Sequence[CrystalRow],
    options: DraftOptions,
    *,
    seed: int,
    on_progress: Progress | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> dict[str, Any]:
    """Share of drafts with the formula of their prompt where no grammar keeps it, by number of atoms.

    With the grammar every draft has the formula by construction, so only the model on its
    own can be measured.
    """
    import torch

    from crystal_core.generators.crysllmgen.backends.protocol import Wanted

    writer = model.back_end
    wanted = [
        Wanted(
            conditions=_formula_and_group(row),
            least=len(row.atomic_numbers),
            most=len(row.atomic_numbers),
            elements=tuple(sorted(set(row.atomic_numbers.tolist()))),
        )
        for row in rows
    ]
    rng = torch.Generator(model.device).manual_seed(seed)
    right: list[bool] = []
    with stop:
        for row, numbers in zip(
            rows, _free_drafts(writer, wanted, rng, model.sampling_of(options)), strict=True
        ):
            right.append(_reduced(numbers) == _reduced(row.atomic_numbers.tolist()))
            if on_progress:
                on_progress("drafts without the grammar", len(right), len(rows))
    rows = rows[: len(right)]
    by_size = {}
    for low, high in zip((0, *SIZES), SIZES, strict=False):
        part = [hit for row, hit in zip(rows, right, strict=True) if low < len(row.atomic_numbers) <= high]
        if part:
            by_size[f"{low + 1}-{high}"] = _share(part)
    return _share(right) | {"by_n_atoms": by_size}


def group_matches(rows: Sequence[CrystalRow], drafts: Sequence[DraftSet]) -> dict[str, dict[str, Any]]:
    """Share of crystals with the space group of their prompt within 0.2 Å, for each way of making them."""
    rates = {}
    for one in drafts:
        hits = []
        for row, structure in zip(rows[: len(one.structures)], one.structures, strict=True):
            group = None if structure is None else space_group(structure, SYMPREC)
            hits.append(group is not None and group["number"] == row.space_group)
        rates[one.name] = _share(hits)
    alone = rates[drafts[0].name]["share"]
    for name, entry in rates.items():
        if name != drafts[0].name:
            entry["above_alone"] = round(entry["share"] / alone - 1, 4) if alone else None
    return rates


def property_errors(
    predictor: Any, column: str, targets: Sequence[float], drafts: Sequence[DraftSet]
) -> dict[str, dict[str, Any]]:
    """Mean distance of a predicted property from the target of its crystal, and from that of another crystal.

    Returns:
        For each way: mae (in the property's unit), mae_shuffled (targets moved on by half of their number:
        what a model that ignores its prompt would reach), correlation (Pearson) of target and prediction, n.
    """
    import numpy as np

    errors: dict[str, dict[str, Any]] = {}
    for one in drafts:
        sampled = zip(targets[: len(one.structures)], one.structures, strict=True)
        pairs = [(t, s) for t, s in sampled if s is not None]
        predictions = predictor.predict(from_structures([s for _, s in pairs]), (column,)) if pairs else []
        values = np.array([p.predictions[column].value for p in predictions], dtype=float)
        requested = np.array([t for t, _ in pairs], dtype=float)
        whole = np.isfinite(values)
        values, requested = values[whole], requested[whole]
        if len(values) < 2:
            errors[one.name] = {"n": len(values), "mae": None, "mae_shuffled": None, "correlation": None}
            continue
        varies = values.std() > 0 and requested.std() > 0
        errors[one.name] = {
            "n": len(values),
            "mae": round(float(np.abs(values - requested).mean()), 4),
            "mae_shuffled": round(float(np.abs(values - np.roll(requested, len(requested) // 2)).mean()), 4),
            "correlation": round(float(np.corrcoef(values, requested)[0, 1]), 4) if varies else None,
        }
    return errors


def evaluate_conditions(
    model: Any,
    rows: Sequence[CrystalRow],
    ways: Mapping[str, DraftOptions],
    *,
    properties: Sequence[str] = (),
    predictor: Any = None,
    rewrites: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> dict[str, Any]:
    """The report: formula, space_group and properties for every way; the language model alone is first.

    After an interruption each part has its own ``n``, and parts without a crystal are absent.

    Args:
        rows: what the prompts are taken from. ways: of drafts; a model that writes none has properties alone.
        properties: keys of :data:`GUIDED`, judged by ``predictor``.
        rewrites: above 0, each way is also measured with drafts that are written again so often at most
            while they lack the space group, or are far from the target by the same predictor.
        steps, guidance: as in :func:`.draw_crystals`, of models that write no drafts.
    """
    began = time.monotonic()
    report: dict[str, Any] = {"n": len(rows)}
    both = _rewritten(ways, 0) | ({} if rewrites == 0 else _rewritten(ways, rewrites, REWRITTEN))
    if model.card.writes_drafts:
        alone = next(iter(ways.values()))
        formula = formula_matches(model, rows, alone, seed=seed, on_progress=on_progress, stop=stop)
        report |= {"formula": formula} if formula["n"] else {}
        if not stop:
            prompts = [_formula_and_group(row) for row in rows]
            pairs = make(model, prompts, 0, both, seed=seed, on_progress=on_progress, stop=stop)
            report |= {"space_group": group_matches(rows, pairs)} if pairs[0].structures else {}
    report["properties"] = {}
    for name in properties:
        if stop:
            break
        column = GUIDED[name]  # of the data, and property of the predictor
        targets = [row.labels[column] for row in rows if column in row.labels]
        prompts = [_prompt(name, target) for target in targets]
        if model.card.writes_drafts:
            drafts = make(
                model,
                prompts,
                model.trained_atoms,
                both,
                seed=seed,
                judge=target_judge((name,), str(model.device)) if rewrites else None,
                on_progress=on_progress,
                stop=stop,
            )
        else:
            drawn = draw_crystals(
                model,
                len(prompts),
                conditions=prompts,
                steps=steps,
                guidance=guidance,
                seed=seed,
                on_progress=on_progress,
                stop=stop,
            )
            drafts = [DraftSet(name=GENERATED, structures=drawn.structures)]
        if drafts[0].structures:
            report["properties"][name] = property_errors(predictor, column, targets, drafts)
    stop.end(unless="formula" in report or "space_group" in report or report["properties"])
    covers = f"the first prompts, of the smallest crystals, n of each part of {len(rows)}"
    return report | stop.marks(covers) | {"seconds": round(time.monotonic() - began, 1)}


def _rewritten(ways: Mapping[str, DraftOptions], rewrites: int, ending: str = "") -> dict[str, DraftOptions]:
    return {name + ending: replace(options, rewrites=rewrites) for name, options in ways.items()}


def _prompt(name: str, target: float) -> Conditions:
    value: dict[str, Any] = {name: target}
    return Conditions(**value)


def _formula_and_group(row: CrystalRow) -> Conditions:
    return Conditions(composition=Counter(row.atomic_numbers.tolist()), space_group=row.space_group)


def _free_drafts(
    writer: Any, wanted: Sequence[Wanted], rng: Any, sampling: Mapping[str, float]
) -> Iterator[list[int]]:
    """Atomic numbers of a draft for each crystal, written without the grammar; empty where it is none."""
    for first in range(0, len(wanted), writer.batch):
        some = wanted[first : first + writer.batch]
        for progress in writer.write(some, generator=rng, constrained=False, **sampling):
            for draft in progress.drafts:
                yield [] if draft.crystal is None else draft.crystal.atomic_numbers.tolist()


def _reduced(atomic_numbers: Sequence[int]) -> frozenset[tuple[int, int]]:
    """A formula: elements with the smallest whole numbers of atoms."""
    counts = Counter(atomic_numbers)
    common = gcd(*counts.values()) if counts else 1
    return frozenset((z, n // common) for z, n in counts.items())


def _share(hits: Sequence[bool]) -> dict[str, Any]:
    low, high = wilson(sum(hits), len(hits))
    return {
        "share": round(sum(hits) / max(1, len(hits)), 4),
        "ci95": [round(low, 4), round(high, 4)],
        "n": len(hits),
    }
