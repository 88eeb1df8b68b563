"""Types of the stored and exchanged JSON: crystals, their analyses, and results of runs.

Every type here is a plain dictionary at run time. A result carries the number of its form;
:mod:`crystal_core.earlier_results` brings an older one to the current form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from crystal_core.properties import Domain

FORMAT = 2  # of a run's result: 1 had no number, and its crystals no notes
# where a cell comes from; "given refined" is a crystal of the user's own
Origin = Literal[
    "known", "noise", "prototype", "prototype refined", "draft", "draft refined", "given refined"
]


class Cell(TypedDict):
    """A crystal's geometry: lattice vectors as rows in Å; one number and frac_coords in [0, 1) per atom."""

    lattice: list[list[float]]
    atomic_numbers: list[int]
    frac_coords: list[list[float]]


class GivenCell(Cell):
    """A crystal of the user's own; ``notes`` tell what of its file it does not hold."""

    notes: NotRequired[list[str]]


class Snapshot(Cell):
    """A cell to draw while a run goes on; ``cells`` are all cells that are watched, the first among them."""

    cells: NotRequired[list[Cell]]


class SpaceGroup(TypedDict):
    """Hermann–Mauguin symbol and number, found within ``symprec`` Å."""

    symbol: str
    number: int
    symprec: float


class Validity(TypedDict):
    """The published checks of distances (``structure``) and charges (``composition``); ours of distances."""

    structure: bool
    composition: bool
    plausible: bool
    reasons: list[str]


class Score(TypedDict):
    """The ranking score of a candidate; low is better in eV/atom, high otherwise."""

    name: str
    value: float | None
    unit: str


# of a cell and the known crystal: within 6 %; only layers, chains or molecules lie otherwise; or neither
Lengths = Literal["agree", "spacing differs", "differ"]


class Novelty(TypedDict):
    """Whether a crystal is one of the reference set, and the nearest one there.

    ``rmsd`` is in units of (V/N)^(1/3), given where both have the same arrangement; ``volume_ratio`` is the
    volume per atom over that of the nearest crystal, whose published energy above the hull is in eV/atom.
    ``strain`` is the largest relative difference of lengths, and ``lengths`` whether they agree; both are
    given with ``rmsd``.
    """

    known: bool
    nearest_id: str | None
    rmsd: float | None
    reference: str
    nearest_formula: NotRequired[str]
    nearest_space_group: NotRequired[int]
    nearest_e_above_hull_ev: NotRequired[float | None]
    volume_ratio: NotRequired[float | None]
    strain: NotRequired[float | None]
    lengths: NotRequired[Lengths | None]
    training: NotRequired[bool]
    training_of: NotRequired[list[str]]
    method: NotRequired[str]


class EnergyRecord(TypedDict):
    """Energies in eV/atom, 2020 correction scheme, and the measured error above the hull; None if unknown."""

    energy_per_atom_ev: float | None
    formation_energy_per_atom_ev: float | None
    e_above_hull_ev: float | None
    e_above_hull_error_ev: float | None
    e_above_hull_bias_ev: float | None
    decomposition: dict[str, float]
    note: NotRequired[str]


class RelaxationRecord(TypedDict):
    """The end of a relaxation; ``error`` says why there was none."""

    converged: bool
    potential: NotRequired[str]
    status: NotRequired[str]
    n_steps: NotRequired[int]
    initial_energy_per_atom_ev: NotRequired[float]
    displacement_angstrom: NotRequired[float]
    rmsd: NotRequired[float | None]
    seconds: NotRequired[float]
    error: NotRequired[str]


class PatternMatch(TypedDict):
    """Similarity (0 to 1) of the computed powder pattern to a measured one, at the best scale of the cell."""

    similarity: float | None
    scale: float | None


class ReferenceMatch(TypedDict):
    """Whether a candidate matches the reader's own structure; ``rmsd`` in units of (V/N)^(1/3)."""

    matches: bool | None  # None where the comparison took too long
    rmsd: float | None


class Symmetrisation(TypedDict):
    """How a crystal was made exactly symmetric after it was generated.

    Its operations are found within ``within_angstrom``; ``displacement_angstrom`` is the largest motion of an
    atom within the cell, ``strain`` the largest principal strain of the cell, as a fraction.
    """

    within_angstrom: float
    displacement_angstrom: float
    strain: float


class Provenance(TypedDict):
    """All data that repeat a crystal."""

    model: str
    version: str
    settings: dict[str, Any]
    device: str
    libraries: dict[str, str]
    note: str
    weights_sha256: NotRequired[str]
    seed: NotRequired[int | None]
    file: NotRequired[str]  # name of the file of a crystal of the user's own
    prototype: NotRequired[dict[str, Any]]
    known_crystal: NotRequired[str]
    relaxed: NotRequired[Provenance]
    draft: NotRequired[dict[str, Any]]
    redraft: NotRequired[dict[str, Any]]
    stages: NotRequired[list[dict[str, Any]]]
    symmetrised: NotRequired[Symmetrisation]


class CrystalRecord(Cell):
    """One crystal and all that is known of it: the ``CRYSTAL`` of the command line. Density in g/cm3."""

    id: str
    formula: str
    n_atoms: int
    cif: str
    space_group: SpaceGroup | None
    density: float
    validity: Validity
    origin: Origin | None
    score: Score | None
    group: int | None
    notes: list[str]
    provenance: Provenance
    novelty: NotRequired[Novelty]
    z: NotRequired[int]
    n_alike: NotRequired[int]
    energies: NotRequired[EnergyRecord]
    relaxation: NotRequired[RelaxationRecord]
    original: NotRequired[Cell]
    pattern: NotRequired[PatternMatch]
    reference: NotRequired[ReferenceMatch]
    evidence: NotRequired[dict[str, Any]]
    predictions: NotRequired[dict[str, PropertyValue]]  # of the targets of a run or campaign
    above_lowest_mev: NotRequired[float]  # set by pages: against the candidate of lowest energy, meV/atom


class RelaxationOutcome(TypedDict, total=False):
    """The keys that a record gains when its crystal is relaxed."""

    energies: EnergyRecord
    relaxation: RelaxationRecord
    original: Cell


class Trajectory(TypedDict):
    """The path on which a cell formed or relaxed."""

    label: str
    frames: list[Snapshot]


class FormulaResult(TypedDict):
    """The ranked candidates of one formula, as typed and as computed, at one number of formula units."""

    formula: str
    computed_formula: NotRequired[str]
    z: int
    candidates: list[CrystalRecord]
    rank_by: str


class PropertyColumn(TypedDict):
    """A predicted property as described at that time, see :class:`crystal_core.properties.PropertySpec`."""

    name: str
    title: str
    unit: str
    method: str
    logarithmic: bool
    decimals: int
    shown_unit: NotRequired[str]
    shown_factor: NotRequired[float]


class PropertyValue(TypedDict):
    """A predicted value; ``low`` to ``high`` is the calibrated 90 % interval, ``std`` half the 68 % one."""

    value: float
    unit: str
    domain: Domain
    std: NotRequired[float]
    low: NotRequired[float]
    high: NotRequired[float]


class TargetSummary(TypedDict):
    """A target of a run and the predictions for its crystals, in the unit of the property.

    ``n`` of the ``of`` crystals are predicted within ``error`` of the target, the predictor's mean absolute
    error on test crystals.
    """

    target: float
    unit: str
    median: float
    of: int
    predictor: str
    error: NotRequired[float]
    n: NotRequired[int]


class NearExample(TypedDict):
    """A training crystal near a predicted one, see :class:`crystal_core.properties.KnownExample`."""

    id: str
    formula: str
    distance: float
    values: dict[str, float]


class PropertyRow(TypedDict):
    """The prediction for one crystal, or the ``error`` that prevented it.

    ``id`` names a crystal of a run; ``nearest`` is closest first; ``place`` is on the training map.
    """

    source: str
    id: NotRequired[str]
    formula: NotRequired[str]
    n_atoms: NotRequired[int]
    domain: NotRequired[Domain]
    predictions: NotRequired[dict[str, PropertyValue]]
    nearest: NotRequired[list[NearExample]]
    place: NotRequired[list[float]]
    notes: NotRequired[list[str]]
    error: NotRequired[str]


class LearnedProperty(TypedDict):
    """A property that was learned from a table, measured on crystals held out of the training.

    ``name`` is that of its checkpoint. ``ids``, ``formulas``, ``true`` and ``predicted`` (in the unit of
    ``property``) are of the held-out crystals; ``mae_of_mean`` is the error of always predicting the mean.
    ``held_out_by`` is "split" where the table named them, and "composition" where whole compositions were
    drawn. ``skipped``: id and reason of rows left out.
    """

    name: str
    property: PropertyColumn
    n_train: int
    n_held_out: int
    mae: float
    mae_of_mean: float
    held_out_by: Literal["split", "composition"]
    ids: list[str]
    formulas: list[str]
    true: list[float]
    predicted: list[float]
    skipped: list[dict[str, str]]


class FittingElement(TypedDict):
    """An element and its probability at the sites in question."""

    element: str
    probability: float


class FittingElements(TypedDict):
    """Which elements fit at some sites, likeliest first; ``present`` is there now, ``sites`` count from 0."""

    rows: list[FittingElement]
    present: str
    sites: list[int]


class ComparedColumn(TypedDict):
    """A column of a comparison.

    ``metrics``: name → {value, ci95, n, better}. ``samples``: what was found of each sample, in the
    same order for all columns that were made for the same targets; ``crystals``: the records of
    those that are crystals.
    """

    letter: str
    name: str
    source: str
    settings: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    n: int
    n_failed: int
    samples: list[dict[str, Any]]
    crystals: list[CrystalRecord]


class RefusedFormula(TypedDict):
    """A formula that no crystal was made for, and why."""

    formula: str
    error: str


class RunResult(TypedDict, total=False):
    """The results of a run so far: a key or two for each kind of run.

    ``results`` of a structure prediction with the ``ranking`` of its ids over all Z, best first (a list per
    formula where several were requested), ``crystals`` of a generation or relaxation, ``rows`` of a property
    prediction, ``learned`` of a property of the user's own, ``fitting`` of the elements that fit at some
    sites. ``relaxed``: in a recorded generation, its crystals after relaxing. ``properties``: those that
    ``rows`` hold, in order; ``rows`` are in the order of the request's crystals, as many as are finished.
    ``columns``, ``paired`` differences, ``differing_settings``, ``metrics``, ``targets`` and
    ``refused`` formulas of a comparison.
    ``rejected``: why drafts of a language model were left out, how many of each kind; ``left_out``: some of
    these; ``failed_drafts``: text and problem of those in place of a crystal. ``interrupted``: ended early.
    """

    format: int
    interrupted: bool
    results: list[FormulaResult]
    ranking: list[Any]
    crystals: list[CrystalRecord]
    relaxed: list[CrystalRecord]
    rows: list[PropertyRow]
    properties: list[PropertyColumn]
    learned: LearnedProperty
    fitting: FittingElements
    columns: list[ComparedColumn]
    paired: list[dict[str, Any]]
    differing_settings: dict[str, list[Any]]
    metrics: list[dict[str, str]]
    targets: list[dict[str, Any]]
    refused: list[RefusedFormula]
    provenance: Provenance
    summary: dict[str, Any]
    n_failed: int
    rejected: dict[str, int]
    left_out: list[dict[str, Any]]
    failed_drafts: list[dict[str, Any]]
    notes: list[str]
    settings: dict[str, Any]
    seconds: float
    network_calls: int


def crystals_of(result: RunResult) -> list[CrystalRecord]:
    """Every crystal of a result: its ``crystals``, those of its ``columns``, and all ``candidates``."""
    crystals = list(result.get("crystals") or [])
    for column in result.get("columns") or []:
        crystals += column["crystals"]
    for item in result.get("results") or []:
        crystals += item.get("candidates") or []
    return crystals


def published_above_hull(record: Mapping[str, Any]) -> float | None:
    """Published energy above the hull of the known crystal that a record is, eV/atom.

    None where it is none, or one whose lengths differ, or has none.
    """
    novelty = record.get("novelty") or {}
    if not novelty.get("known") or novelty.get("lengths") == "differ":
        return None
    return novelty.get("nearest_e_above_hull_ev")
