"""The checks and property windows that a crystal of a campaign must pass, and how many pass each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from crystal_core.errors import RequestError
from crystal_core.evaluation.alike import alike_groups
from crystal_core.evaluation.connectivity import finite_fragments
from crystal_core.files.records import structure_from_record
from crystal_core.properties import chosen_properties
from crystal_core.registry.property_cards import declared_properties
from crystal_core.registry.store import find_card
from crystal_core.requests.screening import OF_RELAXING, Check, ScreeningRequest, Window
from crystal_core.workflows.predict_properties import load_property_predictor, property_rows

if TYPE_CHECKING:
    from crystal_core.records import CrystalRecord

# check → what it says of a crystal that passes
MEANINGS: dict[Check, str] = {
    "valid": "no two atoms closer than 0.5 Å and a cell of at least 0.1 Å3, the published check",
    "charge-balanced": "SMACT's test of the composition",
    "plausible": "no distance below 0.7 × the sum of the covalent radii",
    "connected": "every atom belongs to a framework, layer or chain: no molecules and no isolated atoms",
    "new": "not in the index of known crystals",
    "distinct": "no earlier crystal of its batch is alike",
}


def check_properties(request: ScreeningRequest) -> None:
    """Check that every property of a window or of the ranking can be computed.

    Raises:
        RequestError: one cannot. CheckpointMissing: the predictor is not installed.
    """
    if request.predicted:
        find_card(request.predictor)
        known = declared_properties(request.predictor)
        unknown = [name for name in request.predicted if name not in {spec.name for spec in known}]
        if unknown:
            given = ", ".join(
                dict.fromkeys([*(OF_RELAXING if request.relax else ()), *(s.name for s in known)])
            )
            raise RequestError(f"There is no property {', '.join(unknown)}; choose from {given}.")


def passing(
    crystals: Sequence[CrystalRecord], request: ScreeningRequest, *, relaxed: bool
) -> tuple[list[CrystalRecord], dict[str, int], dict[str, int]]:
    """The crystals that pass everything, in order.

    Args:
        relaxed: whether they were relaxed; their energies are known only then.

    Returns:
        crystals, with the ``predictions`` of the request; how many are left after each check and window; and
        why properties of some could not be predicted, and of how many.
    """
    left, passed = [*crystals], dict[str, int]()
    for check in request.checks:
        left = _checked(left, check)
        passed[check] = len(left)
    windows = {n: w for n, w in request.windows.items() if n not in OF_RELAXING or not request.relax}
    energies = {n: w for n, w in request.windows.items() if n not in windows and relaxed}
    for name, window in energies.items():
        left = [record for record in left if _holds(window, _energy(record, name))]
        passed[name] = len(left)
    failures: dict[str, int] = {}
    # what only ranks is predicted of the final crystals
    names = request.predicted if relaxed or request.relax is None else tuple(windows)
    if names and left:
        left, failures = _predicted(left, request, names)
    for name, window in windows.items():
        left = [record for record in left if _holds(window, record["predictions"][name]["value"])]
        passed[name] = len(left)
    return left, passed, failures


def property_of(record: CrystalRecord, name: str) -> tuple[float | None, str]:
    """Value and unit of a property: of the relaxation where it gives it, else predicted."""
    if name in OF_RELAXING and "energies" in record:
        return _energy(record, name), "eV/atom"
    predicted = record.get("predictions", {}).get(name)
    return (None, "") if predicted is None else (predicted["value"], predicted["unit"])


def _checked(crystals: Sequence[CrystalRecord], check: Check) -> list[CrystalRecord]:
    if check == "distinct":
        groups = alike_groups([structure_from_record(record) for record in crystals])
        first = {group: k for k, group in reversed([*enumerate(groups)])}
        return [record for k, record in enumerate(crystals) if first[groups[k]] == k]
    return [record for record in crystals if _passes(record, check)]


def _passes(record: CrystalRecord, check: Check) -> bool:
    validity = record["validity"]
    if check == "valid":
        return validity["structure"]
    if check == "charge-balanced":
        return validity["composition"]
    if check == "plausible":
        return validity["plausible"]
    if check == "new":
        return not record["novelty"]["known"]
    # bonds of a cell whose atoms overlap say nothing
    return validity["structure"] and not finite_fragments(structure_from_record(record))


def _holds(window: Window, value: float | None) -> bool:
    return value is not None and window.holds(value)


def _energy(record: CrystalRecord, name: str) -> float | None:
    energies: Mapping[str, Any] = record.get("energies") or {}
    return energies.get(name)


def _predicted(
    crystals: Sequence[CrystalRecord], request: ScreeningRequest, names: tuple[str, ...]
) -> tuple[list[CrystalRecord], dict[str, int]]:
    """The crystals with their predictions, without those that the predictor fails on; and why it does."""
    predictor = load_property_predictor(request.predictor, request.device)
    items = [{"source": record["id"], **record} for record in crystals]
    rows = property_rows(items, predictor, chosen_properties(names, predictor.properties))
    left, failures = list["CrystalRecord"](), dict[str, int]()
    for record, row in zip(crystals, rows, strict=True):
        if reason := row.get("error"):
            failures[reason] = failures.get(reason, 0) + 1
        else:
            left.append(cast("CrystalRecord", {**record, "predictions": row["predictions"]}))
    return left, failures
