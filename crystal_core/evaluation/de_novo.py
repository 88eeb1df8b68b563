"""The report on generated crystals: validity, coverage, distributions, repeats, novelty, stability.

Every share counts all requested crystals; one that is not a cell counts against it. Validity and coverage
follow CDVAE and DiffCSP, except that distances of distributions are of all valid crystals, not of 1,000
random ones; the tolerances of unique and novel are MatterGen's. Stable means E_hull ≤ 0, metastable ≤ 0.1
eV/atom, which MatterGen calls stable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.evaluation.composition_features import composition_features
from crystal_core.evaluation.coverage import INTERVALS, Cutoffs, Fingerprints, coverage, intervals
from crystal_core.evaluation.parallel import time_limit
from crystal_core.evaluation.site_fingerprints import N_FEATURES, structure_fingerprint
from crystal_core.evaluation.statistics import wilson
from crystal_core.evaluation.validity import MIN_VOLUME, check_structure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

FINGERPRINT_SECONDS = 60.0  # usual crystals take a fifth of one; a crushed cell has thousands of neighbours
STABLE, METASTABLE = 0.0, 0.1  # eV/atom above the hull


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Validity, fingerprints and density of one crystal.

    Attributes:
        structure_valid, composition_valid: the published checks.
        plausible: ours, see :class:`.validity.Validity`.
        structure: (61,) fingerprint, None where there is none. composition: (132,) features. density: g/cm3.
    """

    structure_valid: bool
    composition_valid: bool
    plausible: bool
    structure: NDArray[np.float64] | None
    composition: NDArray[np.float64]
    density: float
    n_elements: int

    @property
    def valid(self) -> bool:
        """Both published checks, and a fingerprint could be made."""
        return self.structure_valid and self.composition_valid and self.structure is not None


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """The known crystals to compare generated ones with: the rows of a split, one entry each.

    Attributes:
        density: (crystals,) g/cm3. n_elements: (crystals,).
    """

    fingerprints: Fingerprints
    density: NDArray[np.float64]
    n_elements: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Repeats and known crystals among a set, by one set of tolerances.

    Attributes:
        groups: per crystal a number that equal ones share, None where there is no crystal.
        known: per crystal whether it is in the reference set; None where there is no such set.
    """

    groups: Sequence[int | None]
    known: Sequence[bool] | None

    def unique(self) -> int:
        """How many different crystals there are."""
        return len({group for group in self.groups if group is not None})

    def novel(self) -> int | None:
        """How many crystals, repeats included, are not in the reference set."""
        if self.known is None:
            return None
        return sum(
            group is not None and not known for group, known in zip(self.groups, self.known, strict=True)
        )

    def unique_and_novel(self, among: Sequence[bool]) -> int | None:
        """How many different crystals of those marked are not in the reference set."""
        if self.known is None:
            return None
        return len(
            {
                g
                for g, known, wanted in zip(self.groups, self.known, among, strict=True)
                if g is not None and wanted and not known
            }
        )


@dataclass(frozen=True, kw_only=True)
class AfterRelaxing:
    """The set after relaxing, one entry for each of the first crystals; of all, unless it was interrupted.

    Attributes:
        e_above_hull: eV/atom, None where a crystal could not be relaxed or has no reference energy.
        rmsd: Å between generated and relaxed cell, None where they do not match.
        likeness: of the relaxed cells. about: potential, counts and errors, for the report.
    """

    e_above_hull: Sequence[float | None]
    rmsd: Sequence[float | None]
    likeness: Likeness
    about: Mapping[str, Any]


def judge(structure: Structure | None) -> Verdict:
    """Check one crystal and take its fingerprints; None is a crystal that could not be decoded."""
    if structure is None:
        return Verdict(
            structure_valid=False,
            composition_valid=False,
            plausible=False,
            structure=None,
            composition=np.full(132, np.nan),
            density=float("nan"),
            n_elements=0,
        )
    checks = check_structure(structure)
    counts = {element.symbol: float(amount) for element, amount in structure.composition.items()}
    fingerprint = None
    if structure.volume >= MIN_VOLUME:  # below, the published scripts build no structure at all
        try:
            with time_limit(FINGERPRINT_SECONDS):
                fingerprint = structure_fingerprint(structure)
        except Exception:  # noqa: BLE001 (as in the published scripts: whatever fails, the crystal has no fingerprint)
            fingerprint = None
    return Verdict(
        structure_valid=checks.structure,
        composition_valid=checks.composition,
        plausible=checks.plausible,
        structure=fingerprint,
        composition=composition_features(counts),
        density=float(structure.density),
        n_elements=len(counts),
    )


def known_set(verdicts: Sequence[Verdict]) -> KnownSet:
    """Fingerprints, densities and numbers of elements of the reference crystals."""
    return KnownSet(
        fingerprints=fingerprints_of(verdicts),
        density=np.array([v.density for v in verdicts]),
        n_elements=np.array([v.n_elements for v in verdicts], dtype=np.float64),
    )


def fingerprints_of(verdicts: Sequence[Verdict]) -> Fingerprints:
    """The fingerprints of judged crystals, in order."""
    none = np.full(N_FEATURES, np.nan)
    return Fingerprints(
        structure=np.array([none if v.structure is None else v.structure for v in verdicts]).reshape(
            -1, N_FEATURES
        ),
        composition=np.array([v.composition for v in verdicts]),
    )


def summarise(
    verdicts: Sequence[Verdict],
    known: KnownSet,
    cutoffs: Cutoffs,
    likeness: Mapping[str, Likeness],
    relaxed: AfterRelaxing | None = None,
) -> dict[str, Any]:
    """The report of cli.md; ``ci95`` has 95 % intervals of the shares, ``ci95_means`` their kinds in words.

    Args:
        likeness: by name of the tolerances; ``strict`` gives the top level, every other one a
            part of its own.
    """
    n = len(verdicts)
    valid = [v for v in verdicts if v.valid]
    met = coverage(fingerprints_of(verdicts), known.fingerprints, cutoffs)
    counts: dict[str, tuple[int | None, int]] = {
        "structure_valid": (sum(v.structure_valid for v in verdicts), n),
        "composition_valid": (sum(v.composition_valid for v in verdicts), n),
        "valid": (len(valid), n),
        "plausible": (sum(v.plausible for v in verdicts), n),
        "cov_recall": (int(met.recalled.sum()), len(met.recalled)),
        "cov_precision": (int(met.precise.sum()), n),
        "unique": (likeness["strict"].unique(), n),
        "novel": (likeness["strict"].novel(), n),
    }
    if relaxed is not None:
        for word, bound, both in (("stable", STABLE, "sun"), ("metastable", METASTABLE, "msun")):
            low = [e is not None and e <= bound for e in relaxed.e_above_hull]
            counts[word] = sum(low), len(low)
            counts[both] = relaxed.likeness.unique_and_novel(low), len(low)
    report: dict[str, Any] = _shares(counts) | {
        "wdist_density": _distance([v.density for v in valid], known.density),
        "wdist_n_elements": _distance([v.n_elements for v in valid], known.n_elements),
        "ci95_means": INTERVALS,
        "n": n,
        "n_failed": sum(v.n_elements == 0 for v in verdicts),
        "n_without_fingerprint": sum(v.structure is None for v in verdicts),
        "n_known": len(known.density),
    }
    spread = intervals(met)
    for name, bounds in (("cov_recall", spread.recall), ("cov_precision", spread.precision)):
        report["ci95"][name] = [round(bound, 4) for bound in bounds]
    for name, groups in likeness.items():
        if name != "strict":
            report[name] = _shares({"unique": (groups.unique(), n), "novel": (groups.novel(), n)})
    if relaxed is not None:
        moved = [r for r in relaxed.rmsd if r is not None]
        report["rmsd_relaxed"] = round(sum(moved) / len(moved), 4) if moved else None
        report["relaxation"] = dict(relaxed.about) | {"n_rmsd": len(moved)}
    return report


def _shares(counts: Mapping[str, tuple[int | None, int]]) -> dict[str, Any]:
    shares: dict[str, Any] = {
        name: None if hits is None else round(hits / max(1, of), 4) for name, (hits, of) in counts.items()
    }
    intervals = {
        name: [round(bound, 4) for bound in wilson(hits, of)]
        for name, (hits, of) in counts.items()
        if hits is not None
    }
    return shares | {"ci95": intervals}


def _distance(generated: Sequence[float], known: NDArray[np.float64]) -> float | None:
    """Wasserstein distance of two samples; None where one is empty."""
    from scipy.stats import wasserstein_distance

    if not generated or not len(known):
        return None
    return round(float(wasserstein_distance(generated, known)), 4)
