"""A comparison from request to result: columns in turn, then energies, properties and metrics."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from crystal_core.errors import CheckpointMissing, RelaxationFailed, RequestError
from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.matching import MATCHER
from crystal_core.files.records import crystal_record
from crystal_core.frames import RunUpdate
from crystal_core.properties import PROPERTIES, chosen_properties
from crystal_core.records import FORMAT, ComparedColumn, CrystalRecord, RefusedFormula, RunResult
from crystal_core.relax.energies import energies_of
from crystal_core.requests import from_json, seed_or_drawn
from crystal_core.workflows.compare.draw import (
    DrawnColumn,
    Slot,
    differing,
    draw_column,
    given_column,
    load_column,
    n_parts,
    note_on_column,
)
from crystal_core.workflows.compare.measure import column_metrics, metrics_for, paired_differences
from crystal_core.workflows.compare.request import LETTERS, ComparisonRequest, GivenColumn, ModelColumn
from crystal_core.workflows.compare.targets import Target, shared_targets, targets_of
from crystal_core.workflows.sampling_run import PART_STEPS

if TYPE_CHECKING:
    from crystal_core.protocols import Generator as StructureGenerator

USUAL_PROPERTIES = ("formation_energy_per_atom_ev", "e_above_hull_ev", "band_gap_ev")
PREDICTOR = "crysldnet"
MOST_NOTES = 10  # on the files of a column
HIDDEN = ("keep_trajectory", "columns", "targets", "reference")  # of the request, not repeated in the result


def run(request: ComparisonRequest | Mapping[str, Any]) -> Iterator[RunUpdate]:
    """Work through a comparison; the result so far follows each finished column, so stopping keeps those.

    Raises:
        RequestError: every formula, a column or a setting is wrong; one wrong formula of several is told in
            the result. CheckpointMissing: a model is not installed.
    """
    from crystal_core.device import use_threads

    request = from_json(ComparisonRequest, request)
    request = replace(request, seed=seed_or_drawn(request.seed), properties=_properties(request))
    (targets, refused), columns = targets_of(request), request.typed_columns
    use_threads(request.threads)
    # every model is loaded and checked first: a mistake in the last column must not cost the
    # work of the others
    models = [load_column(c, request.device) if isinstance(c, ModelColumn) else None for c in columns]
    pairs = [
        (column, model)
        for column, model in zip(columns, models, strict=True)
        if isinstance(column, ModelColumn) and model is not None
    ]
    targets, refused = shared_targets(targets, refused, pairs)
    comparison = _Comparison(request, targets, models, refused)
    yield from comparison.columns()
    yield RunUpdate(stage="done", step=comparison.total, n_steps=comparison.total, result=comparison.result())


def _properties(request: ComparisonRequest) -> tuple[str, ...]:
    """Names of the properties to predict, checked.

    Raises:
        RequestError: the predictor has no such property.
        CheckpointMissing: properties are named and it is not installed.
    """
    from crystal_core.registry.store import list_cards

    if request.properties == ():
        return ()
    names = {card.name for card in list_cards("predictor")}
    if PREDICTOR not in names and request.properties is not None:
        raise CheckpointMissing(
            f"Predicted properties need the checkpoint {PREDICTOR}, which is not installed."
        )
    parts = {name.removeprefix(f"{PREDICTOR}-") for name in names} if PREDICTOR in names else set()
    if request.properties is None:
        return tuple(name for name in USUAL_PROPERTIES if name in parts)
    unknown = [name for name in request.properties if name not in parts or name not in PROPERTIES]
    if unknown:
        raise RequestError(
            f"The property predictor has no {', '.join(unknown)}; it has "
            f"{', '.join(sorted(parts & set(PROPERTIES)))}."
        )
    return request.properties


class _Comparison:
    """The state of one request: the columns that are finished, and the rows of their samples."""

    def __init__(
        self,
        request: ComparisonRequest,
        targets: Sequence[Target],
        models: Sequence[StructureGenerator | None],
        refused: Sequence[RefusedFormula],
    ) -> None:
        self.request, self.targets, self.models, self.refused = request, targets, models, refused
        self.began = time.monotonic()
        self.finished_columns: list[tuple[DrawnColumn, list[dict[str, Any]], list[CrystalRecord]]] = []
        self.parts = n_parts(len(targets), request.n)
        # measuring a column counts as much as one of its batches
        self.share = [(self.parts if model is not None else 0) + 1 for model in models]
        self.total = PART_STEPS * sum(self.share)

    def columns(self) -> Iterator[RunUpdate]:
        """Sample and measure one column after the other."""
        names = self.request.names
        for i, (column, model) in enumerate(zip(self.request.typed_columns, self.models, strict=True)):
            first, letter = sum(self.share[:i]), LETTERS[i]
            if isinstance(column, ModelColumn):
                assert model is not None
                drawn = yield from draw_column(
                    column,
                    model,
                    self.targets,
                    self.request,
                    letter=letter,
                    name=names[i],
                    first_part=first,
                    n_steps=self.total,
                )
            else:
                drawn = given_column(column, self.targets, letter=letter, name=names[i])
            done = PART_STEPS * (first + self.share[i] - 1)
            rows, records = yield from self._measured(drawn, done)
            self.finished_columns.append((drawn, rows, records))
            done += PART_STEPS
            yield RunUpdate(
                stage=f"{letter}: {drawn.name}", step=done, n_steps=self.total, result=self.result()
            )

    def _measured(
        self, drawn: DrawnColumn, done: int
    ) -> Generator[RunUpdate, None, tuple[list[dict[str, Any]], list[CrystalRecord]]]:
        rows, records = [], []
        stage = f"{drawn.letter}: measuring"
        for k, slot in enumerate(drawn.slots):
            row, record = self._row(drawn, slot, k)
            rows.append(row)
            records += [record] if record is not None else []
            step = done + round(0.6 * PART_STEPS * (k + 1) / len(drawn.slots))
            yield RunUpdate(stage=stage, step=step, n_steps=self.total)
        _add_groups(rows, drawn.slots)
        if self.request.properties:
            yield RunUpdate(
                stage=f"{drawn.letter}: properties", step=done + round(0.7 * PART_STEPS), n_steps=self.total
            )
            _add_predictions(rows, records, self.request.properties, self.request.device)
        return rows, records

    def _row(self, drawn: DrawnColumn, slot: Slot, place: int) -> tuple[dict[str, Any], CrystalRecord | None]:
        """The measured row of one sample, and its crystal record."""
        from crystal_core.reference.known import novelty

        target = None if slot.target is None else self.targets[slot.target]
        reference = None if target is None else target.reference
        row: dict[str, Any] = {
            "target": slot.target,
            "sample": slot.sample,
            "id": None,
            "has_reference": reference is not None,
        }
        structure = slot.structure
        if structure is None:
            return row, None
        name = f"{drawn.letter.lower()}-{structure.composition.reduced_formula}-{place + 1}"
        record = crystal_record(
            structure, id=name.replace("(", "").replace(")", ""), provenance=drawn.made_by
        )
        validity = record["validity"]
        row |= {
            "id": record["id"],
            "structure_valid": validity["structure"],
            "valid": validity["structure"] and validity["composition"],
            "plausible": validity["plausible"],
            "space_group": None if record["space_group"] is None else record["space_group"]["number"],
        }
        if not validity["structure"]:
            return row, record
        row |= {"density": record["density"], "volume_per_atom": structure.volume / len(structure)}
        if (known := novelty(structure)) is not None:
            record["novelty"] = known
            row["known"], row["novel"] = known["known"], row["valid"] and not known["known"]
            row["known_rmsd"] = known["rmsd"] if known["known"] else None
        if reference is not None:
            rmsd = rms_distance(reference, structure, MATCHER)
            row |= {"matches": rmsd is not None, "rmsd": rmsd}
            record["reference"] = {"matches": rmsd is not None, "rmsd": rmsd}
        energies = slot.energies
        if energies is None and self.request.energies and validity["plausible"]:
            energies = _energies(structure, self.request.device)
        if energies is not None:
            record["energies"] = energies
            row["energy_per_atom_ev"] = energies["energy_per_atom_ev"]
        return row, record

    def result(self) -> RunResult:
        """The finished columns as the JSON of cli.md."""
        references = sum(target.reference is not None for target in self.targets)
        metrics = metrics_for(
            targets=bool(self.targets), references=references, properties=self.request.properties or ()
        )
        costs = [_costs(drawn) for drawn, _, _ in self.finished_columns]
        measured = column_metrics(
            metrics, [(rows, cost) for (_, rows, _), cost in zip(self.finished_columns, costs, strict=True)]
        )
        columns: list[ComparedColumn] = [
            {
                "letter": drawn.letter,
                "name": drawn.name,
                "source": drawn.source,
                "settings": drawn.settings,
                "metrics": metric_values,
                "n": len(rows),
                "n_failed": sum(slot.structure is None for slot in drawn.slots),
                "samples": rows,
                "crystals": records,
            }
            for (drawn, rows, records), metric_values in zip(self.finished_columns, measured, strict=True)
        ]
        metric_names = {name for metric_values in measured for name in metric_values}
        settings = {k: v for k, v in asdict(self.request).items() if k not in HIDDEN}
        return {
            "format": FORMAT,
            "columns": columns,
            "paired": paired_differences(metrics, [(m.letter, rows) for m, rows, _ in self.finished_columns]),
            "differing_settings": differing([drawn.settings for drawn, _, _ in self.finished_columns]),
            "metrics": [metric.to_json() for metric in metrics if metric.name in metric_names],
            "targets": [
                {"label": t.label, "n_atoms": len(t.atomic_numbers), "has_reference": t.reference is not None}
                for t in self.targets
            ],
            "refused": [*self.refused],
            "notes": self._notes(),
            "settings": settings,
            "seconds": round(time.monotonic() - self.began, 2),
            "network_calls": int(
                sum(
                    (m.network_calls or 0) * len(m.slots)
                    for m, _, _ in self.finished_columns
                    if m.source == "model"
                )
            ),
        }

    def _notes(self) -> list[str]:
        pairs = zip(self.request.typed_columns, self.models, strict=True)
        beyond_training = (
            note_on_column(column, model, self.targets)
            for column, model in pairs
            if isinstance(column, ModelColumn) and model is not None
        )
        notes = [f"{one['formula']} is left out: {one['error']}" for one in self.refused]
        given = [column.notes for column in self.request.typed_columns if isinstance(column, GivenColumn)]
        for of_files in ((self.request.reference or {}).get("notes", ()), *given):
            notes += of_files[:MOST_NOTES]
            if (n_more := len(of_files) - MOST_NOTES) > 0:
                notes.append(f"There are {n_more} more notes on files like the last one.")
        notes += dict.fromkeys(filter(None, (target.note for target in self.targets)))
        notes += dict.fromkeys(filter(None, beyond_training))
        for drawn, rows, _ in self.finished_columns:
            beyond = [row for row in rows if self.targets and row["target"] is None and row["id"]]
            if beyond:
                notes.append(f"{len(beyond)} crystals of column {drawn.letter} are of none of the formulas.")
        return notes


def _costs(drawn: DrawnColumn) -> dict[str, float | None]:
    n = max(1, len(drawn.slots))
    return {
        "seconds_per_crystal": None if drawn.seconds is None else round(drawn.seconds / n, 4),
        "network_calls": drawn.network_calls,
        "peak_memory_mb": drawn.peak_memory_mb,
    }


def _add_groups(rows: Sequence[dict[str, Any]], slots: Sequence[Slot]) -> None:
    """The number of the group of equal crystals of each sample, among those with a valid structure."""
    from crystal_core.evaluation.novelty import group_numbers

    sound = [s.structure if row.get("structure_valid") else None for row, s in zip(rows, slots, strict=True)]
    for row, group in zip(rows, group_numbers(sound), strict=True):
        row["group"] = group


def _add_predictions(
    rows: Sequence[dict[str, Any]], records: Sequence[CrystalRecord], names: Sequence[str], device: str
) -> None:
    from crystal_core.workflows.predict_properties import load_property_predictor, property_rows

    by_id = {record["id"]: record for record in records}
    wanted = [row for row in rows if row.get("valid")]
    predictor = load_property_predictor(PREDICTOR, device)
    specs = chosen_properties(tuple(names), predictor.properties)
    items = [{"source": row["id"], **by_id[row["id"]]} for row in wanted]
    for row, predicted in zip(wanted, property_rows(items, predictor, specs), strict=True):
        for name, prediction in predicted.get("predictions", {}).items():
            row[f"predicted_{name}"] = prediction["value"]


def _energies(structure: Any, device: str) -> Any:
    """Single-point energies of a crystal; None if the potential fails."""
    from crystal_core.relax.potential import load_potential

    try:
        energy = float(load_potential("chgnet", device).predict(structure, "e")["e"])
        return energies_of(structure.composition, energy).of_unrelaxed.to_json()
    except RelaxationFailed:
        return None
