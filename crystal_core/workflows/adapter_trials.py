"""Ways to fit a property on the encoder, compared on the same rows, with one look at test rows.

Ways: low-rank changes with new heads (``lora``), new heads alone (``heads``), the whole encoder
(``full``); and, where another property's heads are the start, these as they are (``start``) or behind
a straight line (``line``).
"""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.checks import check_choice, check_number, check_whole
from crystal_core.datasets.property_splits import FOLDS
from crystal_core.errors import RequestError
from crystal_core.evaluation.property_errors import significant
from crystal_core.evaluation.statistics import bootstrap
from crystal_core.registry.store import find_card
from crystal_core.whole_files import write_whole
from crystal_core.workflows.adapter_rows import FEWEST_HELD
from crystal_core.workflows.property_adapter import (
    ENCODER,
    PropertySplit,
    property_split,
    seen_by_encoder,
    start_heads,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

    from crystal_core.predictors.crysldnet.adapters import AdapterConfig, AdapterNetwork
    from crystal_core.predictors.crysldnet.fit_adapter import AdapterRows, StartHeads
    from crystal_core.predictors.crysldnet.graph_rows import GraphRows

UNTRAINED = ("start", "line")
WAYS = ("lora", "heads", "full", *UNTRAINED)
RANK = 8
SETTINGS = "settings.json"


@dataclass(frozen=True, kw_only=True)
class AdapterTrials:
    """The property, ways of training and training sizes to compare.

    Attributes:
        name: property. ways: of :data:`WAYS`. shares: of the training rows.
        folds: of Matbench; (0,) for a property without folds. seeds: trainings of each, from 0.
        start: property whose shipped heads every way begins with; new heads where "".
        samples: crystals seen by each training, the same for every way and share.

    Raises:
        RequestError: a value is out of range, named twice, or a way lacks its start.
    """

    name: str
    ways: tuple[str, ...] = ("lora", "full")
    shares: tuple[float, ...] = (1.0,)
    folds: tuple[int, ...] = (0,)
    seeds: int = 3
    start: str = ""
    samples: int = 10_000

    def __post_init__(self) -> None:
        for way in self.ways:
            check_choice("way", way, WAYS)
            if way in UNTRAINED and not self.start:
                raise RequestError(
                    f"The way '{way}' needs the heads of another property; name it with --start."
                )
        for share in self.shares:
            check_number("A share", share, 1e-3, 1.0)
        for values in (self.ways, self.shares, self.folds):
            if not values or len(set(values)) < len(values):
                raise RequestError("Name at least one way, share and fold, and none of them twice.")
        for fold in self.folds:
            check_whole("A fold", fold, 0, FOLDS - 1)
        check_whole("seeds", self.seeds, 1, 100)
        check_whole("samples", self.samples, 2, 10**8)

    @property
    def trials(self) -> list[Trial]:
        """Everything that is fitted, in the order of the work."""
        return [
            Trial(way=way, share=share, fold=fold, seed=seed)
            for fold in self.folds
            # a study that is stopped has then compared all ways with fewer seeds
            for seed in range(self.seeds)
            for way in self.ways
            for share in (self.shares if way != "start" else (0.0,))
            if way != "start" or not seed
        ]


@dataclass(frozen=True, kw_only=True, order=True)
class Trial:
    """One fit; ``share`` is 0 where no weight is fitted."""

    way: str
    share: float
    fold: int
    seed: int

    @property
    def file(self) -> str:
        """The file of its result."""
        return f"{self.way}-{self.share:g}-{self.fold}-{self.seed}.json"


def evaluate_adapters(
    trials: AdapterTrials,
    *,
    encoder: str = ENCODER,
    out: Path,
    device: str = "auto",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Fit every trial and report mean absolute errors of validation and test rows.

    Args:
        out: folder that stores finished trials and resumes from them.

    Raises:
        RequestError: as :func:`property_split`, or the folder was begun with other settings.
        CheckpointMissing: the encoder is not installed.
    """
    from crystal_core.device import pick_device

    run = _Run(trials, encoder, out, pick_device(device))
    for done, trial in enumerate(trials.trials):
        if run.result(trial) is None:
            if on_progress:
                words = f"{trial.way}, {100 * trial.share:g} %, fold {trial.fold}, seed {trial.seed}"
                on_progress(words, done, len(trials.trials))
            run.keep(trial, run.fitted(trial))
    return run.report()


class _Run:
    """The trials on one property; graphs are built once for each fold."""

    def __init__(self, trials: AdapterTrials, encoder: str, out: Path, device: torch.device) -> None:
        self.trials, self.out, self.device = trials, out, device
        self.card = find_card(encoder)
        out.mkdir(parents=True, exist_ok=True)
        settings = {
            "property": trials.name,
            "start": trials.start,
            "samples": trials.samples,
            "encoder": self.card.weights_sha256,
        }
        path = out / SETTINGS
        if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != settings:
            raise RequestError(
                f"--out {out.name} was begun with other settings; repeat them, or choose another folder."
            )
        write_whole(path, json.dumps(settings, indent=1))
        self.split = lru_cache(maxsize=FOLDS)(lambda fold: property_split(trials.name, fold=fold))
        self.graphs = lru_cache(maxsize=1)(self._graphs)

    def result(self, trial: Trial) -> dict[str, Any] | None:
        """The result of a finished trial; None before."""
        path = self.out / trial.file
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def keep(self, trial: Trial, result: dict[str, Any]) -> None:
        """Write it down."""
        write_whole(self.out / trial.file, json.dumps({**asdict(trial), **result}))

    def _graphs(self, fold: int) -> tuple[AdapterRows, GraphRows]:
        """Training and validation rows, and the test rows."""
        from crystal_core.predictors.crysldnet.fit_adapter import adapter_rows
        from crystal_core.predictors.crysldnet.predictor import load_encoder

        split, graph = self.split(fold), load_encoder(self.card).graph
        parts = [
            adapter_rows(split.spec, self.trials.name, split.train, held, graph, self.device)
            for held in (split.held, split.test)
        ]
        return parts[0], parts[1].held

    def fitted(self, trial: Trial) -> dict[str, Any]:
        """Validation errors and test predictions; a seed's smaller shares are parts of its larger ones."""
        import torch

        from crystal_core.predictors.crysldnet.fit_adapter import (
            AdapterPlan,
            AdapterRows,
            fit_network,
            values_of,
        )
        from crystal_core.predictors.crysldnet.predictor import load_encoder

        (rows, test), spec = self.graphs(trial.fold), self.split(trial.fold).spec
        n_train, seconds = max(FEWEST_HELD, round(trial.share * len(rows.train))), 0.0
        order = torch.randperm(len(rows.train), generator=torch.Generator().manual_seed(trial.seed))
        train = rows.train.subset(order[:n_train].to(self.device))
        plan = AdapterPlan(
            config=_config(trial.way),
            samples=self.trials.samples,
            device=self.device,
            start=self._start(),
            seed=trial.seed,
            watched=False,
        )
        encoder = load_encoder(self.card)
        if trial.way in UNTRAINED:
            network = plan.network(encoder, spec.name).to(self.device).eval()
        else:
            steps = fit_network(
                encoder, AdapterRows(spec=spec, train=train, held=rows.held), plan, Path(self._scratch())
            )
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    network, seconds = end.value
                    break
        parts = [values_of(network, part, spec).numpy() for part in (train, rows.held, test)]
        if trial.way == "line":
            parts = _on_a_line(parts, self._truth(trial.fold, "train")[order[:n_train].numpy()], spec.lowest)
        return {
            "n_train": 0 if trial.way == "start" else n_train,
            "validation_mae": significant(float(np.abs(parts[1] - self._truth(trial.fold, "held")).mean())),
            "trained_parameters": _trained(network, trial.way),
            "seconds": round(seconds, 1),
            "test": [float(f"{value:.6g}") for value in parts[2].tolist()],
        }

    def _start(self) -> StartHeads | None:
        model = self.card.name.removesuffix("-encoder")
        trials = self.trials
        return start_heads(model, trials.start, self.split(trials.folds[0]).spec) if trials.start else None

    def _scratch(self) -> str:
        self._folder = tempfile.TemporaryDirectory()  # the last one goes when the next one comes
        return self._folder.name

    def _truth(self, fold: int, part: str) -> NDArray[np.float64]:
        rows = getattr(self.split(fold), part)
        return np.array([row.labels[self.trials.name] for row in rows])

    def report(self) -> dict[str, Any]:
        """A row for each way and share: validation and test errors over seeds and folds."""
        trials = self.trials
        first: PropertySplit = self.split(trials.folds[0])
        ways = sorted({(t.way, t.share) for t in trials.trials}, key=lambda p: (WAYS.index(p[0]), -p[1]))
        return {
            "property": trials.name,
            "unit": first.spec.unit,
            "protocol": first.protocol
            if len(trials.folds) == 1
            else f"{first.table.protocol}, {len(trials.folds)} folds",
            "source": first.table.name,
            "start": trials.start,
            "samples": trials.samples,
            "seeds": trials.seeds,
            "folds": list(trials.folds),
            "rows": [self._summary(way, share) for way, share in ways],
        }

    def _summary(self, way: str, share: float) -> dict[str, Any]:
        by_fold, errors, seen, runs = [], [], [], []
        for fold in self.trials.folds:
            own = [t for t in self.trials.trials if (t.way, t.share, t.fold) == (way, share, fold)]
            results = [result for t in own if (result := self.result(t)) is not None]
            predicted = np.array([r["test"] for r in results])
            if way not in UNTRAINED:  # as of the shipped predictor, none goes beyond the training values
                trained = self._truth(fold, "train")
                predicted = np.clip(predicted, trained.min(), trained.max())
            missed = np.abs(predicted - self._truth(fold, "test"))
            by_fold.append(missed.mean(axis=1))
            errors.append(missed.mean(axis=0))
            seen += seen_by_encoder(self.card, self.split(fold).test)
            runs += results
        one, old = np.concatenate(errors), np.array(seen)
        spread = np.concatenate(by_fold) if len(by_fold) == 1 else np.array([f.mean() for f in by_fold])
        new: dict[str, Any] = {}
        if old.any() and not old.all():
            new = {"not_seen": {"value": significant(float(one[~old].mean())), "n": int((~old).sum())}}
        return {
            "way": way,
            "share": share,
            "n_train": runs[0]["n_train"],
            "validation_mae": significant(statistics.mean(r["validation_mae"] for r in runs)),
            "test_mae": significant(float(np.mean([fold.mean() for fold in by_fold]))),
            "std": significant(float(spread.std(ddof=1))) if len(spread) > 1 else None,
            "ci95": [
                significant(end) for end in bootstrap(len(one), lambda r: float(one[r].mean()), 0) or ()
            ],
            "n_test": len(one),
            "by_fold": [significant(float(fold.mean())) for fold in by_fold],
            "trained_parameters": runs[0]["trained_parameters"],
            "seconds": round(statistics.mean(r["seconds"] for r in runs), 1),
            **new,
        }


def _config(way: str) -> AdapterConfig:
    from crystal_core.predictors.crysldnet.adapters import AdapterConfig

    return AdapterConfig(rank=RANK if way == "lora" else 0, full=way == "full")


def _trained(network: AdapterNetwork, way: str) -> int:
    if way in UNTRAINED:
        return 2 if way == "line" else 0
    low_rank_or_whole = network.adapter_state()
    buffers = {f"encoder.{name}" for name, _ in network.encoder.named_buffers()}
    return sum(
        value.numel()
        for name, value in low_rank_or_whole.items()
        if name not in buffers and name not in ("heads.mean", "heads.std")
    )


def _on_a_line(
    parts: Sequence[NDArray[np.float64]], truth: NDArray[np.float64], lowest: float | None
) -> list[NDArray[np.float64]]:
    """Predictions moved along the line that best fits those of the training rows (least squares)."""
    slope, height = np.polyfit(parts[0], truth, 1)
    moved = [slope * part + height for part in parts]
    return moved if lowest is None else [np.maximum(part, lowest) for part in moved]
