"""Baselines of property prediction, without a property network.

*mean*: the mean of the training values. *composition*: gradient-boosted trees on the 132 Magpie features of
the formula. *nearest*: the value of training crystals of the same formula, otherwise of the nearest formula.
*chgnet-features*: a small head on the frozen features of the potential CHGNet, which has seen most crystals
of the Materials Project with their energies. Hyperparameters are chosen on validation rows only; nothing here
sees a true value of a measured row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from crystal_core.checks import check_choice
from crystal_core.datasets.property_splits import METAL, id_hash, property_value
from crystal_core.errors import CrystalCoreError, MissingExtra, RequestError
from crystal_core.evaluation.composition_features import composition_features, standardised
from crystal_core.evaluation.property_errors import is_measured_as_logarithm
from crystal_core.workflows.feature_file import FeatureFile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from crystal_core.datasets.rows import CrystalRow
    from crystal_core.properties import PropertySpec
    from crystal_core.relax.potential import Potential

Baseline = Literal["mean", "composition", "nearest", "chgnet-features"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
LEAKED = ("formation_energy_per_atom_ev", "e_above_hull_ev")
LEAK_NOTE = "leaked: CHGNet was trained on the energies of these crystals"
SEEN_NOTE = (
    "CHGNet was trained on the Materials Project and has seen many of these crystals, but not this property"
)
ROUNDS, PATIENCE = 500, 20  # of boosting: at most, and without an improvement on the validation rows
TREES = tuple(
    {"loss": loss, "max_leaf_nodes": leaves}
    for loss in ("squared_error", "absolute_error")
    for leaves in (15, 63)
)
METAL_TREES = tuple({"max_leaf_nodes": leaves} for leaves in (15, 63))
N_CHGNET_FEATURES = 64
CHUNK = 256  # formulas whose distances are in memory at once
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class BaselineValues:
    """Predicted values of one property, in physical units.

    Attributes:
        values: (rows,). n_train: training rows used. settings: what was chosen on validation rows, in words.
        note: what a reader must know of the numbers.
    """

    values: NDArray[np.float64]
    n_train: int
    settings: str = ""
    note: str = ""


def check_baseline(name: str) -> Baseline:
    """The name, if it is a baseline's and its package is installed.

    Raises:
        RequestError: unknown. MissingExtra: scikit-learn is not installed.
    """
    check_choice("baseline", name, BASELINES)
    if name in ("composition", "chgnet-features") and find_spec("sklearn") is None:
        raise MissingExtra(
            f"The baseline '{name}' needs scikit-learn; install it with: pip install "
            "'crystal-studio[evaluate]'"
        )
    return name  # type: ignore[return-value]


def training_rows(
    spec: PropertySpec, rows: Sequence[CrystalRow], measured: set[str], limit: int | None
) -> list[CrystalRow]:
    """Rows with a value to learn, none of them measured; at most ``limit``, by lowest id hash.

    Subsets of several properties then share rows, whose features are computed once.
    """
    usable = [
        row
        for row in rows
        if row.id not in measured and math.isfinite(spec.to_learned(property_value(row, spec.name)))
    ]
    if limit is None or len(usable) <= limit:
        return usable
    return sorted(usable, key=lambda row: id_hash(row.id))[:limit]


class BaselinePredictor:
    """One baseline for any property; features that several properties need are computed once."""

    def __init__(
        self,
        name: Baseline,
        *,
        potential: Potential | None = None,
        features: Path | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        """A baseline that has learned nothing yet.

        Args:
            potential: which "chgnet-features" needs.
            features: file that keeps the potential's features.
            on_progress: told text, done and of how many.

        Raises:
            RequestError: no such baseline, or ``features`` is another file.
        """
        self.name = check_baseline(name)
        self._potential = potential
        self._on_progress = on_progress
        label = "" if potential is None else potential.label
        self._features = FeatureFile(N_CHGNET_FEATURES, features, label=label)

    def predict(
        self,
        spec: PropertySpec,
        train: Sequence[CrystalRow],
        validation: Sequence[CrystalRow],
        rows: Sequence[CrystalRow],
    ) -> BaselineValues:
        """Values for ``rows`` from training and validation rows that have a true value.

        Raises:
            RequestError: there are no training rows, or no validation rows where something is chosen on them.
        """
        if not train:
            raise RequestError(f"No training row has a value of {spec.name}.")
        if not validation and self.name in ("composition", "chgnet-features"):
            raise RequestError(f"No validation row has a value of {spec.name} to choose settings on.")
        truth = np.array([property_value(row, spec.name) for row in train])
        if self.name == "mean":
            return _mean(spec, truth, len(rows))
        if self.name == "nearest":
            return _nearest(train, truth, rows)
        held = np.array([property_value(row, spec.name) for row in validation])
        if self.name == "composition":
            tables = [_formula_features(part) for part in (train, validation, rows)]
            return _boosted(spec, (tables[0], truth), (tables[1], held), tables[2])
        return self._from_chgnet(spec, (train, truth), (validation, held), rows)

    def _from_chgnet(
        self,
        spec: PropertySpec,
        train: tuple[Sequence[CrystalRow], NDArray[np.float64]],
        validation: tuple[Sequence[CrystalRow], NDArray[np.float64]],
        rows: Sequence[CrystalRow],
    ) -> BaselineValues:
        table = self._crystal_features(rows)
        known = ~np.isnan(table).any(axis=1)
        head = _small_head(spec, self._learnable(*train), self._learnable(*validation), table[known])
        values = np.full(len(rows), _mean(spec, train[1], 1).values[0])
        values[known] = head.values
        without = int((~known).sum())
        note = LEAK_NOTE if spec.name in LEAKED else SEEN_NOTE
        if without:
            note += f"; {without} crystals that CHGNet cannot take have the training mean"
        return BaselineValues(values=values, n_train=head.n_train, settings=head.settings, note=note)

    def _learnable(
        self, rows: Sequence[CrystalRow], truth: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Features and true values of the rows that the potential can take."""
        table = self._crystal_features(rows)
        known = ~np.isnan(table).any(axis=1)
        return table[known], truth[known]

    def _crystal_features(self, rows: Sequence[CrystalRow]) -> NDArray[np.float64]:
        """(rows, 64), a row of NaN for crystals that the potential cannot take."""
        features = []
        for i, row in enumerate(rows):
            features.append(self._features.of(row, self._from_potential))
            if self._on_progress:
                self._on_progress("CHGNet features", i + 1, len(rows))
        self._features.save()
        return np.stack(features)

    def _from_potential(self, row: CrystalRow) -> NDArray[np.float64] | None:
        from pymatgen.core import Lattice, Structure

        assert self._potential is not None
        try:
            structure = Structure(Lattice(row.lattice), row.atomic_numbers.tolist(), row.frac_coords)
            return self._potential.features(structure)
        except CrystalCoreError:
            return None


def _mean(spec: PropertySpec, truth: NDArray[np.float64], n: int) -> BaselineValues:
    """The mean in the scale of the errors: of log10 for moduli, otherwise of the values."""
    value = 10 ** np.log10(truth).mean() if is_measured_as_logarithm(spec) else truth.mean()
    return BaselineValues(values=np.full(n, value), n_train=len(truth))


def _nearest(
    train: Sequence[CrystalRow], truth: NDArray[np.float64], rows: Sequence[CrystalRow]
) -> BaselineValues:
    """Median value of the training rows of the same reduced formula, otherwise of the nearest formula's.

    Near are formulas whose standardised Magpie features have a small Euclidean distance.
    """
    values: dict[str, list[float]] = {}
    for row, value in zip(train, truth, strict=True):
        values.setdefault(_reduced(row.formula), []).append(float(value))
    known = list(values)
    medians = np.array([np.median(values[formula]) for formula in known])
    place = {formula: i for i, formula in enumerate(known)}
    wanted = [_reduced(row.formula) for row in rows]
    new = sorted({formula for formula in wanted if formula not in place})
    if new:
        table = standardised(np.stack([_magpie(formula) for formula in known]))
        squares = (table**2).sum(axis=1)
        for first in range(0, len(new), CHUNK):
            part = standardised(np.stack([_magpie(formula) for formula in new[first : first + CHUNK]]))
            distances = squares - 2 * part @ table.T  # the part's own squares change no order
            place |= dict(zip(new[first : first + CHUNK], distances.argmin(axis=1).tolist(), strict=True))
    same = sum(formula in values for formula in wanted)
    return BaselineValues(
        values=medians[[place[formula] for formula in wanted]],
        n_train=len(train),
        note=f"{same} of {len(rows)} formulas are among the training rows",
    )


def _boosted(
    spec: PropertySpec,
    train: tuple[NDArray[np.float64], NDArray[np.float64]],
    validation: tuple[NDArray[np.float64], NDArray[np.float64]],
    table: NDArray[np.float64],
) -> BaselineValues:
    """Scikit-learn's histogram gradient boosting; validation rows choose loss, leaves and rounds."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind: Any = HistGradientBoostingClassifier if spec.name == METAL else HistGradientBoostingRegressor
    options = METAL_TREES if spec.name == METAL else TREES
    fitted = []
    for option in options:
        model = kind(
            max_iter=ROUNDS, early_stopping=True, n_iter_no_change=PATIENCE, random_state=0, **option
        )
        model.fit(
            train[0],
            _learned(spec, train[1]),
            X_val=validation[0],
            y_val=_learned(spec, validation[1]),
        )
        words = ", ".join(f"{key} {value}" for key, value in option.items()) + f", {model.n_iter_} rounds"
        fitted.append((model, words))
    return _best(spec, fitted, train[1], validation, table)


def _small_head(
    spec: PropertySpec,
    train: tuple[NDArray[np.float64], NDArray[np.float64]],
    validation: tuple[NDArray[np.float64], NDArray[np.float64]],
    table: NDArray[np.float64],
) -> BaselineValues:
    """A linear head or a layer of 64 on standardised features, by validation error."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    hidden: dict[str, Any] = {"hidden_layer_sizes": (64,), "max_iter": 300, "random_state": 0}
    heads: dict[str, Any] = (
        {"linear": LogisticRegression(max_iter=1000)}
        | {f"64 hidden, decay {decay}": MLPClassifier(alpha=decay, **hidden) for decay in (0.01, 1.0)}
        if spec.name == METAL
        else {"linear": Ridge(alpha=1.0)}
        | {f"64 hidden, decay {decay}": MLPRegressor(alpha=decay, **hidden) for decay in (0.01, 1.0)}
    )
    learned = _learned(spec, train[1])
    # the networks of scikit-learn take targets of about unit size
    centre, scale = (0.0, 1.0) if spec.name == METAL else (learned.mean(), learned.std() or 1.0)
    fitted = []
    for words, head in heads.items():
        model = make_pipeline(StandardScaler(), head)
        model.fit(train[0], learned if spec.name == METAL else (learned - centre) / scale)
        fitted.append((model, words))
    return _best(spec, fitted, train[1], validation, table, centre=centre, scale=scale)


def _best(
    spec: PropertySpec,
    fitted: Sequence[tuple[Any, str]],
    truth: NDArray[np.float64],
    validation: tuple[NDArray[np.float64], NDArray[np.float64]],
    table: NDArray[np.float64],
    *,
    centre: float = 0.0,
    scale: float = 1.0,
) -> BaselineValues:
    """The predictions of the model with the smallest error on the validation rows."""

    def values(model: Any, features: NDArray[np.float64]) -> NDArray[np.float64]:
        if spec.name == METAL:
            return model.predict_proba(features)[:, 1]
        learned = centre + scale * model.predict(features)
        # no tree or head is trusted beyond what was seen in training
        physical = np.array([spec.from_learned(value) for value in np.clip(learned, *_range(spec, truth))])
        return np.asarray(physical, dtype=np.float64)

    errors = [_error(spec, validation[1], values(model, validation[0])) for model, _ in fitted]
    best = int(np.argmin(errors))
    model, words = fitted[best]
    return BaselineValues(values=values(model, table), n_train=len(truth), settings=words)


def _range(spec: PropertySpec, truth: NDArray[np.float64]) -> tuple[float, float]:
    learned = _learned(spec, truth)
    return float(learned.min()), float(learned.max())


def _error(spec: PropertySpec, truth: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The validation error that selects settings: the reported one; cross entropy for probabilities."""
    if spec.name == METAL:
        probability = np.clip(np.where(truth > 0.5, values, 1 - values), 1e-12, 1.0)
        return float(-np.log(probability).mean())
    if is_measured_as_logarithm(spec):
        return float(np.abs(np.log10(truth) - np.log10(values)).mean())
    return float(np.abs(truth - values).mean())


def _learned(spec: PropertySpec, truth: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([spec.to_learned(value) for value in truth.tolist()])


def _formula_features(rows: Sequence[CrystalRow]) -> NDArray[np.float64]:
    return np.stack([_magpie(row.formula) for row in rows])


@lru_cache(maxsize=200_000)
def _reduced(formula: str) -> str:
    from pymatgen.core import Composition

    return Composition(formula).reduced_formula


@lru_cache(maxsize=200_000)
def _magpie(formula: str) -> NDArray[np.float64]:
    from pymatgen.core import Composition

    return composition_features(Composition(formula).get_el_amt_dict())
