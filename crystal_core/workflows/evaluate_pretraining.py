"""Whether pretraining helps: fine-tune one property from several pretrainings, on label shares.

Pretraining and fine-tuning see rows of the training split, errors are those of validation rows; test
rows are never read.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.cards import sha256_of
from crystal_core.errors import RequestError
from crystal_core.properties import PROPERTIES
from crystal_core.workflows.pretraining_study import (
    SINGLE_TARGETS,
    Cell,
    PretrainingStudy,
    StudyFolder,
    kl_name,
    over_seeds,
)
from crystal_core.workflows.train import configuration_text, method_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from crystal_core.predictors.crysldnet.graph_rows import GraphRows
    from crystal_core.predictors.crysldnet.training import CrysldnetTraining
    from crystal_core.training.config import FitConfig
    from crystal_core.training.data import PreparedCrystals

METHOD = "crysldnet"
PRETRAINING_VALIDATION = 1024  # validation rows of a pretraining, without labels
FEWEST = 10  # training and validation rows with the label
SEEN_LATENTS = ("latent_std", "effective_rank", "hidden_elements_right")


def evaluate_pretraining(
    study: PretrainingStudy,
    data: Path,
    *,
    config: Path = Path("crysldnet-cpu"),
    encoder: str | None = None,
    pdd_weight: str | None = None,
    out: Path,
    device: str = "auto",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Pretrain each variant once, fine-tune every cell, report validation errors in the learned form.

    Args:
        data: prepared file with splits and labels.
        config: file or shipped name of a training configuration, which gives the sizes of all networks and
            how to optimise; its stage, rows and samples do not count.
        encoder: kind of encoder instead of the configuration's.
        pdd_weight: of PDDFormer, see :mod:`crystal_core.graphs.pdd`.
        out: folder that keeps finished pretrainings and cells, and goes on from them.
        on_progress: gets what is done at the moment, the number of finished cells, and of all.

    Raises:
        RequestError: no such label or too few rows with it, a configuration of another method, or a
            folder of other settings.
    """
    from crystal_core.device import pick_device

    began = time.monotonic()
    chosen = _configuration(config, encoder, pdd_weight)
    run = PretrainingRun(study, data, chosen, out, pick_device(device))
    cells = study.cells
    for done, cell in enumerate(cells):
        if run.folder.result(cell) is None:
            if on_progress:
                on_progress(f"{cell.variant}, {100 * cell.fraction:g} %, seed {cell.seed}", done, len(cells))
            run.folder.keep_result(cell, run.fine_tuned(cell))
    return {**run.report(), "seconds": round(time.monotonic() - began, 1)}


def shortened(fit: FitConfig, samples: int) -> FitConfig:
    """The same optimisation over fewer crystals; its warm-up takes at most a tenth of the steps."""
    steps = max(1, samples // fit.batch_size)
    return replace(fit, planned_samples=samples, warmup_steps=min(fit.warmup_steps, max(1, steps // 10)))


def _configuration(config: Path, encoder: str | None, pdd_weight: str | None) -> CrysldnetTraining:
    """The settings of a file or shipped name, with another encoder or first number of distance rows."""
    from crystal_core.predictors.crysldnet.training import settings_from

    text = configuration_text(config)
    if method_of(text) != METHOD:
        raise RequestError(
            f"The configuration {config.name} is not of {METHOD}, whose pretraining is compared."
        )
    settings = replace(settings_from(text), init_from="", targets=())
    if encoder is not None:
        settings = replace(settings, encoder_kind=encoder)  # type: ignore[arg-type]
    if pdd_weight is not None:
        if settings.encoder_kind != "pddformer":
            raise RequestError("--pdd-weight is of the encoder pddformer; leave it out.")
        settings = replace(settings, encoder=replace(settings.encoder, pdd_weight=pdd_weight))  # type: ignore[arg-type]
    return settings


def _compared(config: CrysldnetTraining) -> dict[str, Any]:
    """The settings in which all trainings of a study agree."""
    return {k: v for k, v in asdict(config).items() if k not in ("name", "stage", "data")}


class PretrainingRun:
    """One study on one file; graphs are built when the first training needs them."""

    def __init__(
        self, study: PretrainingStudy, data: Path, config: CrysldnetTraining, out: Path, device: torch.device
    ) -> None:
        self.study, self.data, self.device, self.config = study, data, device, config
        if not data.is_file():
            raise RequestError(
                f"There is no prepared file {data.name}. Make it with 'crystal-core data prepare-properties'."
            )
        settings = {
            "data": sha256_of(data),
            "property": study.label,
            "pretrain_rows": study.pretrain_rows,
            "pretrain_samples": study.pretrain_samples,
            "samples": study.samples,
            "configuration": _compared(self.config),
        }
        usual = {"configuration": _compared(type(config)(name=""))}
        self.folder = StudyFolder(out, settings, usual)

    @cached_property
    def splits(self) -> tuple[PreparedCrystals, PreparedCrystals]:
        """Training and validation rows of the file."""
        from crystal_core.training.data import load_rows

        train, held = load_rows(self.config, self.data, self.device)
        if held is None:
            raise RequestError(f"{self.data.name} has no validation rows to measure errors on.")
        if self.study.label not in train.labels:
            raise RequestError(
                f"{self.data.name} has no label {self.study.label}; it has {', '.join(train.labels)}."
            )
        return train, held

    @cached_property
    def unlabelled(self) -> tuple[GraphRows, GraphRows]:
        """Training and validation graphs of the pretrainings."""
        from crystal_core.training.data import fixed_sample

        train, held = self.splits
        parts = fixed_sample(train, self.study.pretrain_rows), fixed_sample(held, PRETRAINING_VALIDATION)
        return self._as_graphs(parts, ())

    @cached_property
    def labelled(self) -> tuple[PreparedCrystals, PreparedCrystals]:
        """Training and validation rows with the label.

        Raises:
            RequestError: fewer than ten of either.
        """
        import torch

        from crystal_core.predictors.crysldnet.graph_rows import learned
        from crystal_core.training.data import fixed_sample

        name, parts = self.study.label, []
        for rows, split in zip(self.splits, ("training", "validation"), strict=True):
            known = torch.nonzero(learned(name, rows.labels[name]).isfinite()).squeeze(-1)
            if len(known) < FEWEST:
                raise RequestError(
                    f"{self.data.name} has {len(known)} {split} rows with {name}; "
                    f"at least {FEWEST} are needed."
                )
            parts.append(rows.subset(known))
        return parts[0], fixed_sample(parts[1], self.config.validation_rows)

    @cached_property
    def graphs(self) -> tuple[GraphRows, GraphRows]:
        """The labelled rows as graphs."""
        return self._as_graphs(self.labelled, (self.study.label,))

    def _as_graphs(
        self, parts: tuple[PreparedCrystals, PreparedCrystals], names: tuple[str, ...]
    ) -> tuple[GraphRows, GraphRows]:
        from crystal_core.predictors.crysldnet.graph_rows import GraphRows

        train, held = (GraphRows(rows, self.config.graph, names, self.device) for rows in parts)
        return train, held

    def fine_tuned(self, cell: Cell) -> dict[str, Any]:
        """Validation error after fine-tuning; smaller shares of one seed are parts of the larger ones."""
        import torch

        from crystal_core.predictors.crysldnet.property_network import PropertyNetwork
        from crystal_core.predictors.crysldnet.training import fit_rows
        from crystal_core.predictors.crysldnet.validation import mean_errors

        train, held = self.graphs
        n = max(FEWEST, round(cell.fraction * len(train)))
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(cell.seed))
        rows = train.subset(order[:n].to(self.device))
        fit = replace(shortened(self.config.fit, self.study.samples), seed=cell.seed)
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            done = fit_rows(
                replace(self.config, stage="properties", fit=fit),
                rows,
                None,
                folder=Path(folder),
                device=self.device,
                initial=self.pretrained(cell.variant),
            )
        network = done.trainer.ema
        if not isinstance(network, PropertyNetwork):
            raise TypeError("the last stage trains encoder and heads")
        error = mean_errors(network, held)[self.study.label]
        return {"mae": error, "n_train": n, "seconds": round(time.monotonic() - began, 1)}

    def pretrained(self, variant: str) -> dict[str, Tensor] | None:
        """Weights to begin with; trained where they are not kept yet, None for a start from scratch."""
        if variant == "scratch":
            return None
        config = self.config
        if variant == "full":
            return self.train_stage("full", replace(config, stage="latent"), self.pretrained("vae"))
        if variant == "latent":
            return self.train_stage("latent", replace(config, stage="latent"), None)
        vae = config.vae
        if variant in SINGLE_TARGETS:
            vae = replace(
                vae,
                type_weight=float(variant == "types"),
                position_weight=float(variant == "positions"),
                lattice_weight=float(variant == "lattice"),
            )
        weights = {kl_name(weight): weight for weight in self.study.kl_weights}
        if variant in weights:
            vae = replace(vae, kl_weight=weights[variant])
        return self.train_stage(variant, replace(config, stage="vae", vae=vae), None)

    def train_stage(
        self, run: str, config: CrysldnetTraining, initial: dict[str, Tensor] | None
    ) -> dict[str, Tensor]:
        """The weights of one pretraining, from its folder where it was finished before.

        Args:
            run: its name. initial: weights to begin with; None begins from random ones.
        """
        import torch

        from crystal_core.predictors.crysldnet.training import fit_rows
        from crystal_core.training.fit import SNAPSHOT

        folder = self.folder.run_folder(run)
        if self.folder.validation(run) is None:
            train, held = self.unlabelled
            done = fit_rows(
                replace(config, fit=shortened(config.fit, self.study.pretrain_samples)),
                train,
                held,
                folder=folder,
                device=self.device,
                resume=(folder / SNAPSHOT).is_file(),
                initial=initial,
            )
            self.folder.keep_validation(run, done.last["validation"])
        return torch.load(folder / SNAPSHOT, map_location=self.device, weights_only=True)["ema"]

    def report(self) -> dict[str, Any]:
        """The table, the KL weights, and the errors of predicting the mean."""
        from crystal_core.predictors.crysldnet.graph_rows import learned

        study = self.study
        train, held = self.labelled
        values, aim = (learned(study.label, rows.labels[study.label]) for rows in (train, held))
        spec = PROPERTIES.get(study.label)
        unit = spec.unit if spec else ""
        largest = max(study.fractions)
        return {
            "property": study.label,
            "encoder": self.config.encoder_kind,
            "encoder_words": self._words(),
            "encoder_parameters": self._parameters(),
            "unit": f"log10({unit})" if spec and spec.logarithmic else unit,
            "n_train": len(train),
            "n_validation": len(held),
            "pretrain_rows": min(study.pretrain_rows, len(self.splits[0])),
            "pretrain_samples_per_stage": study.pretrain_samples,
            "samples": study.samples,
            "mae_of_mean": round(float((aim - values.mean()).abs().mean()), 5),
            "table": [
                {"variant": variant, "fraction": fraction, **self._over_seeds(variant, fraction)}
                for variant, fraction in study.variant_fractions
            ],
            "kl": [
                {
                    "kl_weight": weight,
                    "fraction": largest,
                    **self._latents(kl_name(weight)),
                    **self._over_seeds(kl_name(weight), largest),
                }
                for weight in study.kl_weights
            ],
            "pretraining": {
                v: line for v in study.variants if (line := self.folder.validation(v)) is not None
            },
        }

    def _words(self) -> str:
        if self.config.encoder_kind == "pddformer":
            return f"PDDFormer, {self.config.encoder.pdd_weight} weights"
        return "Matformer"

    def _parameters(self) -> int:
        from crystal_core.predictors.crysldnet.encoders.build import build_encoder

        return sum(p.numel() for p in build_encoder(self.config.sizes, self.config.graph).parameters())

    def _over_seeds(self, variant: str, fraction: float) -> dict[str, Any]:
        results = [
            self.folder.result(Cell(variant=variant, fraction=fraction, seed=s))
            for s in range(self.study.seeds)
        ]
        return over_seeds([result for result in results if result is not None])

    def _latents(self, run: str) -> dict[str, Any]:
        line = self.folder.validation(run) or {}
        return {key: line[key] for key in SEEN_LATENTS if key in line}
