"""Ready comparisons: requests that show one thing each, with the recorded run of those that have one.

``python -m crystal_core.demos.record --comparisons`` records them. Those whose models are not
installed are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crystal_core.demos import COMPARISONS, Demo, read_demo
from crystal_core.registry.store import runnable_cards
from crystal_core.workflows.compare.request import ComparisonRequest, ModelColumn

MP, PEROV = "kldm-csp-mp", "kldm-csp-perov5"


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A comparison to open or to run.

    Attributes:
        name: in links. title, words: what it compares, and what to look at. request: what is run.
    """

    name: str
    title: str
    words: str
    request: ComparisonRequest

    @property
    def models(self) -> set[str]:
        """The checkpoints that it needs."""
        columns = [column for column in self.request.typed_columns if isinstance(column, ModelColumn)]
        models = {column.model for column in columns}
        return models | ({"prototype"} if any(column.start == "prototype" for column in columns) else set())

    @property
    def recorded(self) -> Demo | None:
        """Its recorded run; None where it was not recorded."""
        path = COMPARISONS / f"{self.name}.json.gz"
        return read_demo(path) if path.is_file() else None


def _columns(*columns: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return columns


READY = (
    Ready(
        name="samplers",
        title="EM, predictor–corrector, few steps",
        words="Three samplers of one model from the same noise: "
        "what a corrector is worth, and what 20 calls cost.",
        request=ComparisonRequest(
            columns=_columns(
                {"model": MP, "sampler": "em", "steps": 100, "name": "em, 100 steps"},
                {"model": MP, "sampler": "pc", "steps": 50, "name": "pc, 50 steps"},
                {"model": MP, "sampler": "pc", "steps": 10, "name": "pc, 10 steps"},
            ),
            formulas=("TiO2",),
            z=2,
            n=12,
            seed=0,
        ),
    ),
    Ready(
        name="noise-or-prototype",
        title="From noise or from a known prototype",
        words="The same model begins from noise, or refines known arrangements; "
        "the third column is those as they are.",
        request=ComparisonRequest(
            columns=_columns(
                {"model": MP, "start": "noise", "name": "from noise"},
                {"model": MP, "start": "prototype", "name": "prototype, refined"},
                {"model": "prototype", "name": "prototype as placed"},
            ),
            formulas=("MgAl2O4",),
            z=2,
            n=8,
            seed=0,
        ),
    ),
    Ready(
        name="ablations",
        title="What each part of KLDM is worth",
        words="Trainings of a few minutes that differ in one thing each from the first: no velocity, "
        "another target, no torus.",
        request=ComparisonRequest(
            columns=_columns(
                {"model": f"{PEROV}-baseline", "name": "as published"},
                {"model": f"{PEROV}-brownian", "name": "no velocity"},
                {"model": f"{PEROV}-full", "name": "full parametrisation"},
                {"model": f"{PEROV}-euclidean", "name": "Euclidean"},
            ),
            formulas=("SrTiO3", "BaTiO3", "LaAlO3", "KNbO3"),
            z=1,
            n=6,
            seed=0,
        ),
    ),
    Ready(
        name="refined-drafts",
        title="A draft, the same refined, and KLDM alone",
        words="A language model writes the cell as text, a diffusion model refines it; "
        "in the third column it begins from noise instead.",
        request=ComparisonRequest(
            columns=_columns(
                {"model": "crysllmgen-mp", "refiner": "none", "name": "draft"},
                {"model": "crysllmgen-mp", "name": "draft, refined"},
                {"model": MP, "name": "KLDM from noise"},
            ),
            formulas=("TiO2",),
            z=2,
            n=12,
            seed=0,
        ),
    ),
)


def ready_comparisons() -> list[Ready]:
    """The ready comparisons whose models are installed."""
    installed = {card.name for card in runnable_cards("generator")}
    return [one for one in READY if one.models <= installed]
