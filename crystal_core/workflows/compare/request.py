"""The request of a comparison: its columns, and the formulas or known crystals that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from crystal_core.checks import check_choice, check_notes, check_whole
from crystal_core.conditions import DraftOptions
from crystal_core.errors import RequestError
from crystal_core.requests import MAX_FORMULA, MAX_SEED, MAX_STEPS, MAX_THREADS, SamplerName, SamplerTuning

MIN_COLUMNS, MAX_COLUMNS = 2, 4
LETTERS = "ABCD"
MAX_TARGETS = 2000
MAX_SAMPLES = 50  # of one target
MAX_CRYSTALS = 2000  # of one column
STARTS = ("noise", "prototype")
NUMBERS = {
    "steps": int,
    "refine_from": int,
    "tau": float,
    "noise_scale": float,
    "temperature": float,
    "top_p": float,
}
CELL = {"lattice", "atomic_numbers", "frac_coords"}


@dataclass(frozen=True, kw_only=True)
class ModelColumn(SamplerTuning, DraftOptions):
    """A model with its sampler and settings.

    Attributes:
        model: a structure-prediction checkpoint.
        name: of the column; "" for what sets it apart from the others.
        start: from noise, or from the k-th likeliest known prototype for the k-th sample, refined
            from the card's time.
        steps: None takes the sampler's default of the card.
    """

    model: str
    name: str = ""
    sampler: SamplerName = "fast"
    steps: int | None = None
    start: str = "noise"

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model.strip():
            raise RequestError("A column needs the name of a model, e.g. model=kldm-csp-mp.")
        check_choice("sampler", self.sampler, get_args(SamplerName))
        check_choice("start", self.start, STARTS)
        check_whole("steps", self.steps, 1, MAX_STEPS, optional=True)
        self._check_tuning(self.sampler, draws_types=False)
        DraftOptions.__post_init__(self)
        self.check_open_composition("every target")
        self.check_no_rewrites("a target")

    @property
    def tuning_request(self) -> SamplerTuning:
        """The tuning alone."""
        return SamplerTuning(**self.tuning_fields)


@dataclass(frozen=True, kw_only=True)
class GivenColumn:
    """Crystals that exist already: of a stored run or of files.

    Attributes:
        crystals: lattice (Å), atomic_numbers and frac_coords each, empty lists for one that failed; with
            ``target`` and ``sample`` (counted from 0) where it is known what each was made for; ``energies``
            where a run knows them.
        source: "run" or "files".
        settings: of a run. notes: on files, which the result repeats: what of them the crystals do not hold,
            and which were left out.
        seconds, network_calls: of a run; None where they were not counted.
    """

    crystals: tuple[Mapping[str, Any], ...]
    source: str
    name: str = ""
    settings: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    seconds: float | None = None
    network_calls: float | None = None

    def __post_init__(self) -> None:
        check_choice("source", self.source, ("run", "files"))
        if not self.crystals:
            raise RequestError("A column of given crystals needs at least one crystal.")
        if len(self.crystals) > MAX_CRYSTALS:
            raise RequestError(
                f"A column holds at most {MAX_CRYSTALS:,} crystals, not {len(self.crystals):,}."
            )
        if not all(isinstance(c, Mapping) and set(c) >= CELL for c in self.crystals):
            raise RequestError("Each crystal of a column needs lattice, atomic_numbers and frac_coords.")
        check_notes({"notes": self.notes})


@dataclass(frozen=True, kw_only=True)
class ComparisonRequest:
    """Two to four columns on the same targets.

    Attributes:
        columns: per column the fields of :class:`ModelColumn` or of :class:`GivenColumn`.
        formulas: one target each.
        z: formula units of each cell; None takes the number most frequent in training.
        exact_cell: the formulas are the exact cell contents.
        targets: known crystals to be found, in place of formulas: id, lattice (Å),
            atomic_numbers, frac_coords.
        reference: the known crystal of a single formula, with notes on its file where there are any, or None.
        n: samples of each target.
        seed: of all columns, so that they begin from the same noise; None draws one.
        energies: single-point energies of the plausible crystals with CHGNet.
        properties: names that CrysLDNet predicts; None for formation energy, energy above the hull and band
            gap where it is installed, () for none.
        keep_trajectory: keep the paths of the first samples.
    """

    columns: tuple[Mapping[str, Any], ...]
    formulas: tuple[str, ...] = ()
    z: int | None = None
    exact_cell: bool = False
    targets: tuple[Mapping[str, Any], ...] = ()
    reference: Mapping[str, Any] | None = None
    n: int = 4
    seed: int | None = None
    energies: bool = False
    properties: tuple[str, ...] | None = None
    device: str = "auto"
    threads: int | None = None
    keep_trajectory: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.columns, tuple) or not MIN_COLUMNS <= len(self.columns) <= MAX_COLUMNS:
            raise RequestError(
                f"A comparison has {MIN_COLUMNS} to {MAX_COLUMNS} columns, not {len(self.columns)}."
            )
        check_whole("n (samples of each target)", self.n, 1, MAX_SAMPLES)
        check_whole("seed", self.seed, 0, MAX_SEED, optional=True)
        check_whole("Z", self.z, 1, 30, optional=True)
        check_whole("threads", self.threads, 1, MAX_THREADS, optional=True)
        if self.exact_cell and self.z is not None:
            raise RequestError(
                "With the exact cell given, the number of formula units is fixed; leave out Z."
            )
        self._check_targets()
        columns = self.typed_columns
        if any(isinstance(c, ModelColumn) for c in columns) and not (self.formulas or self.targets):
            raise RequestError(
                "A model needs something to predict: give a formula or a table of known crystals."
            )

    def _check_targets(self) -> None:
        if self.formulas and self.targets:
            raise RequestError("Give formulas or a table of known crystals, not both.")
        if len(self.formulas) + len(self.targets) > MAX_TARGETS:
            raise RequestError(f"At most {MAX_TARGETS:,} targets fit into one comparison.")
        for formula in self.formulas:
            if not isinstance(formula, str) or not 0 < len(formula.strip()) <= MAX_FORMULA:
                raise RequestError("A formula is made of element symbols and counts, e.g. TiO2.")
        for cell in (*self.targets, *([self.reference] if self.reference else [])):
            if not isinstance(cell, Mapping) or not set(cell) >= CELL:
                raise RequestError("A known crystal needs lattice, atomic_numbers and frac_coords.")
        if self.reference is not None and len(self.formulas) != 1:
            raise RequestError(
                "A reference belongs to one formula; for several, give a table of known crystals."
            )
        if (len(self.formulas) + len(self.targets)) * self.n > MAX_CRYSTALS:
            raise RequestError(
                f"A column holds at most {MAX_CRYSTALS:,} crystals; take fewer targets or samples."
            )

    @property
    def typed_columns(self) -> list[ModelColumn | GivenColumn]:
        """The columns as objects.

        Raises:
            RequestError: one has an unknown field or a value out of range.
        """
        return [_column(given) for given in self.columns]

    @property
    def names(self) -> list[str]:
        """A name for each column; of models without one, what sets them apart."""
        return column_names(self.typed_columns)


def column_names(columns: Sequence[ModelColumn | GivenColumn]) -> list[str]:
    """The given name of each column; of models without one, the settings that differ, or the model."""
    models = [c for c in columns if isinstance(c, ModelColumn)]
    setting_names = (
        "model",
        "sampler",
        "steps",
        "start",
        *SamplerTuning().tuning_fields,
        *DraftOptions().draft_fields,
    )
    differ = [name for name in setting_names if len({getattr(c, name) for c in models}) > 1]
    names = []
    for letter, column in zip(LETTERS, columns, strict=False):
        if isinstance(column, GivenColumn):
            names.append(column.name or f"{column.source} {letter}")
            continue
        if column.name:
            names.append(column.name)
            continue
        set_here = [(name, value) for name in differ if (value := getattr(column, name)) is not None]
        if len(set_here) > 1:
            set_here = [pair for pair in set_here if pair != ("start", "noise")]  # what every reader expects
        names.append(" · ".join(_setting_words(*pair) for pair in set_here) or column.model)
    return names


def _setting_words(name: str, value: Any) -> str:
    if name in ("model", "sampler"):
        return str(value)
    if name == "steps":
        return f"{value} steps"
    return f"from {value}" if name == "start" else f"{name.replace('_', ' ')} {value}"


def read_column(text: str) -> dict[str, str]:
    """The keys and values of one ``--column``, such as ``model=kldm-csp-mp,sampler=pc,steps=50``.

    >>> read_column("model=kldm-csp-mp,steps=50")
    {'model': 'kldm-csp-mp', 'steps': '50'}

    Raises:
        RequestError: it is no such list.
    """
    settings: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key or not value.strip():
            raise RequestError(f"A column is written model=NAME,sampler=NAME,steps=N, not '{text}'.")
        if key in settings:
            raise RequestError(f"The column '{text}' gives {key} twice.")
        settings[key] = value.strip()
    return settings


def model_column(words: Mapping[str, str]) -> dict[str, Any]:
    """The JSON of a :class:`ModelColumn` from texts.

    Raises:
        RequestError: an unknown key, or a value that is no number.
    """
    # targets name their compositions and no space groups
    known = {f.name for f in fields(ModelColumn)} - {"charge_balance", "rewrites"}
    if unknown := sorted(set(words) - known):
        raise RequestError(
            f"A column knows no {', '.join(unknown)}; it takes run, folder, or {', '.join(sorted(known))}."
        )
    values: dict[str, Any] = dict(words)
    for name, kind in NUMBERS.items():
        if name in values:
            try:
                values[name] = kind(values[name])
            except ValueError:
                raise RequestError(f"{name} takes a number, not '{words[name]}'.") from None
    if "model" not in values:
        raise RequestError("A column needs a model, a run or a folder, e.g. model=kldm-csp-mp.")
    return asdict(ModelColumn(**values))


def _column(given: Mapping[str, Any]) -> ModelColumn | GivenColumn:
    if not isinstance(given, Mapping):
        raise RequestError("A column is a model with its settings, or crystals.")
    kind: Any = GivenColumn if "crystals" in given else ModelColumn
    if unknown := sorted(set(given) - {f.name for f in fields(kind)}):
        raise RequestError(f"A column knows no {', '.join(unknown)}.")
    if kind is ModelColumn and "model" not in given:
        raise RequestError("A column needs a model, a run or files.")
    if kind is GivenColumn and not isinstance(given["crystals"], (list, tuple)):
        raise RequestError("The crystals of a column are a list.")
    return kind(**{k: tuple(v) if k == "crystals" else v for k, v in given.items()})
