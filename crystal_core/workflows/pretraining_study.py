"""The plan of a comparison of pretrainings, and the folder of its finished parts, from which it resumes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crystal_core.checks import check_choice, check_number, check_whole
from crystal_core.errors import RequestError
from crystal_core.whole_files import write_whole

SETTINGS, CELLS, PRETRAINED = "settings.json", "cells", "pretrained"
SINGLE_TARGETS = ("types", "positions", "lattice")
VARIANTS = ("scratch", "vae", "latent", "full", *SINGLE_TARGETS)
STUDY = "pretraining_"  # begins the names of the studies among the extras of a card
# as tables name them
VARIANT_TITLES = {
    "scratch": "none",
    "vae": "autoencoder",
    "latent": "latent flow",
    "full": "autoencoder, then latent flow",
    "types": "autoencoder of the types alone",
    "positions": "autoencoder of the positions alone",
    "lattice": "autoencoder of the lattice alone",
}


@dataclass(frozen=True, kw_only=True)
class PretrainingStudy:
    """Which pretrainings are compared, on what, at which size.

    Attributes:
        label: of the prepared file that the fine-tuning learns.
        variants: "scratch" has no pretraining, "vae" stage 1, "latent" stage 2 alone, "full" stage 2 after
            stage 1; "types", "positions" and "lattice" are stage 1 with that target alone, fine-tuned at the
            largest fraction.
        fractions: shares of the training rows with the label.
        seeds: fine-tunings of each variant and fraction.
        kl_weights: further stages 1 with these weights of the KL term, fine-tuned at the largest fraction.
        pretrain_rows: training rows without labels, at random.
        pretrain_samples: crystals seen by each stage of a pretraining.
        samples: crystals seen by each fine-tuning, the same for every fraction.

    Raises:
        RequestError: a value is out of range or named twice.
    """

    label: str
    variants: tuple[str, ...] = VARIANTS
    fractions: tuple[float, ...] = (0.2, 0.4, 1.0)
    seeds: int = 3
    kl_weights: tuple[float, ...] = ()
    pretrain_rows: int = 10_000
    pretrain_samples: int = 20_000
    samples: int = 10_000

    def __post_init__(self) -> None:
        for name, values in (
            ("variant", self.variants),
            ("fraction", self.fractions),
            ("KL weight", self.kl_weights),
        ):
            if len(set(values)) < len(values):
                raise RequestError(f"A {name} is named twice.")
        for variant in self.variants:
            check_choice("variant", variant, VARIANTS)
        for fraction in self.fractions:
            check_number("A fraction", fraction, 1e-4, 1.0)
        for weight in self.kl_weights:
            check_number("A KL weight", weight, 0.0, 1e6)
        if not self.fractions or not (self.variants or self.kl_weights):
            raise RequestError("Name at least one variant or KL weight, and at least one fraction.")
        check_whole("seeds", self.seeds, 1, 100)
        for name in ("pretrain_rows", "pretrain_samples", "samples"):
            check_whole(name, getattr(self, name), 2, 10**9)

    @property
    def variant_fractions(self) -> list[tuple[str, float]]:
        """Each variant with the label fractions on which it is fine-tuned."""
        return [
            (variant, fraction)
            for variant in self.variants
            for fraction in self.fractions
            if variant not in SINGLE_TARGETS or fraction == max(self.fractions)
        ]

    @property
    def cells(self) -> list[Cell]:
        """Everything that is fine-tuned, in the order of the work."""
        largest = max(self.fractions)
        pairs = [*self.variant_fractions, *((kl_name(weight), largest) for weight in self.kl_weights)]
        return [
            Cell(variant=v, fraction=fraction, seed=seed)
            for v, fraction in pairs
            for seed in range(self.seeds)
        ]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One fine-tuning: from which pretraining, on which share of the rows, with which seed."""

    variant: str
    fraction: float
    seed: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.variant}-{self.fraction:g}-{self.seed}"


def studies_of(extra: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The stored studies among the extras of a card, one for each encoder that was compared."""
    return [table for name, table in extra.items() if name.startswith(STUDY)]


def kl_name(weight: float) -> str:
    """The name of a stage 1 with this weight of the KL term."""
    return f"kl-{weight:g}"


class StudyFolder:
    """Results of finished cells and pretrainings, one file each.

    Args:
        settings: everything but variants, fractions, seeds and KL weights, which a later call may add to.
        usual: their values where a folder of an earlier version does not name them.

    Raises:
        RequestError: the folder was begun with other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], usual: Mapping[str, Any]) -> None:
        self.folder = folder
        (folder / CELLS).mkdir(parents=True, exist_ok=True)
        path = folder / SETTINGS
        begun = _read(path)
        if begun is None:
            write_whole(path, json.dumps(settings, indent=1))
            return
        now, known = json.loads(json.dumps([settings, usual]))
        for key, value in now.items():
            if _filled(begun.get(key), known.get(key)) != value:
                raise RequestError(
                    f"--out {folder.name} was begun with another {key.replace('_', ' ')}; repeat its "
                    "settings, or choose another folder."
                )

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """The result of a finished cell; None before."""
        return _read(self.folder / CELLS / f"{cell.name}.json")

    def keep_result(self, cell: Cell, result: dict[str, Any]) -> None:
        """Write it down."""
        text = json.dumps({**asdict(cell), **result})
        write_whole(self.folder / CELLS / f"{cell.name}.json", text)

    def run_folder(self, run: str) -> Path:
        """The folder of a pretraining."""
        return self.folder / PRETRAINED / run

    def validation(self, run: str) -> dict[str, Any] | None:
        """The last validation of a finished pretraining; None before."""
        return _read(self.run_folder(run) / "done.json")

    def keep_validation(self, run: str, line: dict[str, Any]) -> None:
        """Write down that a pretraining is finished."""
        write_whole(self.run_folder(run) / "done.json", json.dumps(line))


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _filled(stored: Any, usual: Any) -> Any:
    """A stored value with what it does not name as usual, table by table."""
    if not isinstance(stored, Mapping) or not isinstance(usual, Mapping):
        return usual if stored is None else stored
    return {key: _filled(stored.get(key), usual.get(key)) for key in {**usual, **stored}}


def over_seeds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (with n - 1; None for one seed) of the errors, and the errors."""
    errors = [float(result["mae"]) for result in results]
    return {
        "n_train": results[0]["n_train"],
        "mae": round(statistics.mean(errors), 5),
        "std": round(statistics.stdev(errors), 5) if len(errors) > 1 else None,
        "maes": errors,
    }
