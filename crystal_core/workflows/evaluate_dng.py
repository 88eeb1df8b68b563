"""Evaluate de novo generation: crystals of a model, a baseline or files against known ones.

The protocol is :mod:`crystal_core.evaluation.de_novo`; this file draws or reads the crystals, relaxes them
where asked, and puts the report together. Those they are compared with are in :mod:`.known_sets`.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from crystal_core.checks import check_choice
from crystal_core.conditions import CARD_DRAFT, Conditions, DraftOptions
from crystal_core.errors import RelaxationFailed, RequestError
from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.coverage import CUTOFFS
from crystal_core.evaluation.de_novo import (
    METASTABLE,
    STABLE,
    AfterRelaxing,
    KnownSet,
    Likeness,
    judge,
    summarise,
)
from crystal_core.evaluation.matching import MATCHER
from crystal_core.evaluation.novelty import TOLERANCES, are_known, group_numbers
from crystal_core.evaluation.parallel import in_parallel
from crystal_core.files.writers import structure_to_text
from crystal_core.interruption import NO_INTERRUPTION, Interruption
from crystal_core.reference.hull import measured_error
from crystal_core.registry.store import load_generator
from crystal_core.relax.energies import energies_of
from crystal_core.requests import CARD_TUNING, DeNovoRequest, SamplerTuning
from crystal_core.structures import to_structures
from crystal_core.whole_files import write_whole
from crystal_core.workflows.references import read_cells
from crystal_core.workflows.sampling_run import last_frame, sampler_used

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.generators.prototype.generator import PrototypeGenerator
    from crystal_core.relax.potential import Potential
    from crystal_core.relax.relaxation import Relaxation
    from crystal_core.workflows.known_sets import ReferenceSet

log = logging.getLogger(__name__)
CHUNK = 64  # crystals sampled together: part of the protocol, because the noise of a batch is drawn at once
Progress = Callable[[str, int, int], None]  # what, finished, of
Keep = Callable[[int, "Sequence[Structure | None]"], None]  # number of the first, crystals of a batch


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Generated crystals (None: could not be decoded), in order, and how they were made.

    Network calls of each, the sampler behind "fast" and "default", why drafts were left out.
    """

    structures: list[Structure | None]
    network_calls: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)


def draw_crystals(
    generator: Any,
    n: int,
    *,
    conditions: Sequence[Conditions] | None = None,
    guidance: float | None = None,
    sampler: str = "fast",
    steps: int | None = None,
    tuning: SamplerTuning = CARD_TUNING,
    draft: DraftOptions = CARD_DRAFT,
    seed: int = 0,
    on_progress: Progress | None = None,
    keep: Keep | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> Drawn:
    """``n`` crystals of a loaded de novo model; atom counts as in training, or a language model's choice.

    After an interruption, those of the finished batches.

    Args:
        conditions: one for each crystal, or None for free ones. guidance: their strength; None is the card's.
        draft: how a language model writes, and what refines it; charge balance of any model that can keep it.
        keep: gets every batch as soon as it is sampled.

    Raises:
        RequestError: its card tells no atom counts.
    """
    frequencies = generator.atom_count_frequencies
    if not frequencies:
        raise RequestError(
            f"The card of {generator.card.name} does not tell how many atoms its training crystals have."
        )
    counts = random.Random(seed).choices(list(frequencies), list(frequencies.values()), k=n)  # noqa: S311 (no secret)
    structures: list[Structure | None] = []
    calls, settings, rejected = 0, dict[str, Any](), Counter[str]()
    with stop:
        for first in range(0, n, CHUNK):
            options: Any = {"sampler": sampler, "steps": steps, "seed": seed + first, "frame_every": 5000}
            options |= {"draft": draft, "guidance": guidance, **tuning.tuning_fields}
            if conditions is not None:
                options |= {"conditions": tuple(conditions[first : first + CHUNK])}
            some = tuple(counts[first : first + CHUNK])
            if generator.card.writes_drafts:
                options |= {"at_least": (1,) * len(some)}
                some = (max(frequencies),) * len(some)
            request = DeNovoRequest(n_atoms=some, **options)
            frame = last_frame(generator, request)
            assert frame.crystals is not None
            sampled = to_structures(frame.crystals)
            if keep:
                keep(first + 1, sampled)
            calls, settings = getattr(generator, "network_calls", 0), sampler_used(generator, request)
            rejected.update(frame.rejected)
            structures += sampled
            if on_progress:
                on_progress("sampling", len(structures), n)
    return Drawn(structures=structures, network_calls=calls, settings=settings, rejected=rejected)


def draw_baseline(
    name: str, known: ReferenceSet, n: int, *, seed: int = 0, on_progress: Progress | None = None
) -> Drawn:
    """``n`` crystals without a network, from the rows of ``known``; see :mod:`.naive_baselines`."""
    from crystal_core.workflows.naive_baselines import copied, random_symmetric, substituted

    show = (lambda done: on_progress("baseline", done, n)) if on_progress else None
    if name == "random":
        structures = random_symmetric(known.compositions, n, seed, show)
    elif name == "training":
        structures = copied(known.cells, len(known), n, seed, show)
    else:
        prototypes = cast("PrototypeGenerator", load_generator("prototype", "cpu"))
        structures = substituted(prototypes.index, known.compositions, n, seed, show)
    return Drawn(structures=structures)


def write_folder(folder: Path, name: str, first: int, structures: Sequence[Structure | None]) -> None:
    """The crystals as CIFs in ``folder``, numbered from ``first``.

    A crystal that is no cell becomes a file that :func:`read_folder` counts as failed.
    """
    for k, structure in enumerate(structures, start=first):
        write_whole(
            folder / f"{name}-{k:05}.cif",
            "# no cell at all\n" if structure is None else structure_to_text(structure, "cif"),
        )


def read_folder(folder: Path, *, tell: Callable[[str], None] | None = None) -> list[Structure | None]:
    """Every CIF of a folder by name, ``.cif`` in any case; one that cannot be read is a failed crystal.

    How many other files there are is logged; hidden ones and folders do not count.

    Args:
        tell: as in :func:`read_cells`.

    Raises:
        RequestError: there is no readable CIF, or one may not be opened.
    """
    files = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    crystals = [path for path in files if path.suffix.lower() == ".cif"]
    structures = read_cells(folder.name, crystals, tell=tell)
    if all(structure is None for structure in structures):
        raise RequestError(
            f"{folder.name} holds no readable CIF; give a folder with one crystal per .cif file."
        )
    if len(crystals) < len(files):
        log.warning(
            "Files of %s that do not end in .cif, left out: %d.", folder.name, len(files) - len(crystals)
        )
    return structures


def cutoffs_named(name: str | None, data: Path) -> str:
    """The published data set whose cut-offs apply: the named one, or that of the file's name."""
    if name is not None:
        check_choice("cutoffs", name, tuple(CUTOFFS))
        return name
    stem = data.stem.lower()
    return "perov-5" if "perov" in stem else "carbon-24" if "carbon" in stem else "mp-20"


def relax_crystals(
    structures: Sequence[Structure | None],
    known: ReferenceSet | None,
    potential: Potential,
    *,
    seconds: float,
    workers: int = 2,
    on_progress: Progress | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> AfterRelaxing:
    """Relax every crystal, measure energy above the hull and motion; look again for known ones.

    After an interruption, of the first crystals, up to the first one that is not finished.
    A crystal that cannot be relaxed, or holds an element without a reference energy, is not stable.
    """
    from crystal_core.relax.many import relax_many

    began = time.monotonic()
    places = [i for i, structure in enumerate(structures) if structure is not None]
    done: list[Relaxation | None] = [None] * len(structures)
    given = [structure for structure in structures if structure is not None]
    left = set(places)
    with stop, closing(relax_many(given, potential, seconds=seconds, workers=workers)) as finished:
        for number, relaxation in finished:
            done[places[number]] = relaxation
            left.remove(places[number])
            if on_progress:
                on_progress("relaxing", len(structures) - len(left), len(structures))
    # the order of the crystals is random, that in which relaxations finish is not: easy ones come first
    done = done[: min(left, default=len(done))]
    energies = [None if r is None else _above_hull(r, potential) for r in done]
    relaxed = [None if r is None else r.structure for r in done]
    error = measured_error(potential.name)
    placed = [e for e in energies if e is not None]
    about = {
        "potential": potential.label,
        "n": sum(r is not None for r in done),
        "n_converged": sum(r is not None and r.converged for r in done),
        "n_with_hull": len(placed),
        "e_above_hull_median_ev": round(float(np.median(placed)), 4) if placed else None,
        "e_above_hull_error_ev": error["spread_ev"] if error else None,
        "e_above_hull_bias_ev": error["bias_ev"] if error else None,
        "words": f"stable: E_hull ≤ {STABLE:g}; metastable: ≤ {METASTABLE:g} eV/atom, which MatterGen calls "
        "stable; sun and msun: the different ones among these that are new, "
        "by the strict tolerances, after relaxing",
        "seconds": round(time.monotonic() - began, 1),
        **stop.marks(f"the first {len(done)} of {len(structures)} crystals"),
    }
    return AfterRelaxing(
        e_above_hull=energies,
        rmsd=[_moved(r) for r in done],
        likeness=compare(relaxed, known, "strict", workers=workers),
        about=about,
    )


def compare(
    structures: Sequence[Structure | None],
    known: ReferenceSet | None,
    tolerances: str,
    *,
    workers: int = 2,
    on_progress: Progress | None = None,
) -> Likeness:
    """Repeats among the crystals, and which of them the reference set holds, at the named tolerances."""
    chosen = TOLERANCES[tolerances]
    show = (
        (lambda done: on_progress(f"known crystals, {tolerances} tolerances", done, len(structures)))
        if on_progress
        else None
    )
    groups = group_numbers(structures, chosen, workers=workers)
    if known is None:
        return Likeness(groups=groups, known=None)
    formulas = {structure.composition.reduced_formula for structure in structures if structure is not None}
    return Likeness(
        groups=groups,
        known=are_known(structures, known.by_formula(formulas), chosen, workers=workers, on_progress=show),
    )


def evaluate(
    structures: Sequence[Structure | None],
    known: KnownSet,
    reference_set: ReferenceSet | None,
    *,
    cutoffs: str,
    potential: Potential | None = None,
    relax_seconds: float = 120.0,
    workers: int = 2,
    on_progress: Progress | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> dict[str, Any]:
    """The report on generated crystals; see :func:`crystal_core.evaluation.de_novo.summarise`.

    An interruption of the relaxing leaves the rest of the report whole.
    """
    show = (lambda done: on_progress("fingerprints", done, len(structures))) if on_progress else None
    verdicts = in_parallel(judge, structures, workers=workers, on_progress=show)
    likeness = {
        name: compare(structures, reference_set, name, workers=workers, on_progress=on_progress)
        for name in TOLERANCES
    }
    relaxed = None
    if potential is not None and not stop:
        relaxed = relax_crystals(
            structures,
            reference_set,
            potential,
            seconds=relax_seconds,
            workers=workers,
            on_progress=on_progress,
            stop=stop,
        )
        if not relaxed.e_above_hull:
            relaxed = None  # it was interrupted before the first crystal was finished
    report = summarise(verdicts, known, CUTOFFS[cutoffs], likeness, relaxed)
    new = None if reference_set is None else {"name": reference_set.name, "rows": len(reference_set)}
    return report | {
        "novel_means": new,
        "tolerances": {name: dict(values) for name, values in TOLERANCES.items()},
        "cutoffs": {"of": cutoffs, **CUTOFFS[cutoffs]._asdict()},
    }


def _above_hull(done: Any, potential: Potential) -> float | None:
    try:
        return energies_of(done.structure.composition, done.energy, potential.name).e_above_hull
    except RelaxationFailed:  # an energy that only a fault of the potential explains
        return None


def _moved(done: Any) -> float | None:
    """Å between the generated and relaxed cell in the published matcher's map; None without a map."""
    if done is None:
        return None
    share = rms_distance(done.initial, done.structure, MATCHER)
    return None if share is None else share * (done.structure.volume / len(done.structure)) ** (1 / 3)
