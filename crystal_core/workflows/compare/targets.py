"""The targets that all columns of a comparison share, and the formulas that make none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crystal_core.chemistry.formula import default_z, parse_formula, typed_and_computed
from crystal_core.conditions import DraftOptions
from crystal_core.errors import RequestError
from crystal_core.files.records import structure_from_record
from crystal_core.records import RefusedFormula
from crystal_core.requests import MAX_ATOMS
from crystal_core.workflows.compare.request import ComparisonRequest, ModelColumn
from crystal_core.workflows.training_range import known_to_both, names_in_use

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.protocols import Generator as StructureGenerator


@dataclass(frozen=True, kw_only=True)
class Target:
    """The target of all columns: a cell content, and the known crystal if there is one.

    Attributes:
        of_table: it is a row of a table of known crystals, and not a formula.
        note: how a formula is read where it might be read otherwise; often empty.
    """

    label: str
    formula: str
    atomic_numbers: tuple[int, ...]
    reference: Structure | None = None
    of_table: bool = False
    note: str = ""


def targets_of(request: ComparisonRequest) -> tuple[list[Target], list[RefusedFormula]]:
    """The targets of a request, one per known crystal or formula, and the formulas that make none.

    Raises:
        RequestError: the reference is another compound, or no formula can be read.
    """
    targets, refused = [], list[RefusedFormula]()
    for row in request.targets:
        structure = structure_from_record(row)
        numbers = tuple(int(z) for z in row["atomic_numbers"])
        label = str(row.get("id") or structure.composition.reduced_formula)
        reduced = structure.composition.reduced_formula
        targets.append(
            Target(label=label, formula=reduced, atomic_numbers=numbers, reference=structure, of_table=True)
        )
    reference = None if request.reference is None else structure_from_record(request.reference)
    for text in request.formulas:
        try:
            targets.append(_target_of(text, request, reference))
        except RequestError as error:
            refused.append({"formula": text, "error": str(error)})
    return targets, _unless_all(refused, targets)


def shared_targets(
    targets: Sequence[Target],
    refused: Sequence[RefusedFormula],
    columns: Sequence[tuple[ModelColumn, StructureGenerator]],
) -> tuple[list[Target], list[RefusedFormula]]:
    """The targets that every model takes, and the refused formulas with those that one does not take.

    Raises:
        RequestError: no target is left, or a known crystal is refused: part of a table is another table.
    """
    shared, refused = [], [*refused]
    for target in targets:
        reason = next(filter(None, (_refusal(column, model, target) for column, model in columns)), "")
        if reason and target.of_table:
            raise RequestError(reason)
        if reason:
            refused.append({"formula": target.label, "error": reason})
        else:
            shared.append(target)
    return shared, _unless_all(refused, shared)


def _target_of(text: str, request: ComparisonRequest, reference: Structure | None) -> Target:
    """The target of a formula.

    Raises:
        RequestError: it cannot be read, makes a cell that is too large, or is not that of the reference.
    """
    from pymatgen.core import Composition

    formula = parse_formula(text)
    if request.exact_cell:
        numbers = tuple(formula.atomic_numbers_of(1, exact=True))
    else:
        z = request.z or _usual_z(default_z(formula))
        numbers = tuple(formula.atomic_numbers_of(z))
    if len(numbers) > MAX_ATOMS:
        raise RequestError(
            f"{text} makes a cell of {len(numbers)} atoms; the models end at {MAX_ATOMS}. Choose a smaller Z."
        )
    reduced = Composition(formula.reduced_formula).reduced_formula
    if reference is not None and reference.composition.reduced_formula != reduced:
        raise RequestError(
            f"The reference is {reference.composition.reduced_formula}, "
            f"and the formula is {reduced}; they must be one."
        )
    label = typed_and_computed(text, exact=request.exact_cell)
    return Target(
        label=label, formula=reduced, atomic_numbers=numbers, reference=reference, note=formula.note
    )


def _unless_all(refused: list[RefusedFormula], targets: Sequence[Target]) -> list[RefusedFormula]:
    """The refused formulas.

    Raises:
        RequestError: no target is left; it says why the first one was refused.
    """
    if refused and not targets:
        raise RequestError(refused[0]["error"])
    return refused


def _usual_z(likely: Sequence[int]) -> int:
    """One number of formula units: the smallest of those that are most frequent in training."""
    if not likely:
        raise RequestError("No cell of up to 20 atoms holds this formula; give the number of formula units.")
    return likely[0]


def _refusal(column: ModelColumn, model: StructureGenerator, target: Target) -> str:
    """Why a model cannot make a target; empty if it can."""
    from pymatgen.core import Element

    options = DraftOptions(**column.draft_fields)
    known = known_to_both(getattr(model, "elements", ()), model.card, options)
    lacking = sorted(set(target.atomic_numbers) - set(known)) if known else []
    if lacking:
        names = ", ".join(Element.from_Z(z).symbol for z in lacking)
        return (
            f"{names_in_use(model.card, options)} does not know {names}, so it cannot place it; "
            "choose another model."
        )
    sizes = list(model.card.sampling.get("atom_counts") or ())
    if sizes and len(target.atomic_numbers) not in sizes:
        return (
            f"{column.model} knows cells of {_join(sizes)} atoms, not of {len(target.atomic_numbers)}. "
            "Choose another model, formula or Z."
        )
    return ""


def _join(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts))
