"""Imports an official KLDM checkpoint (Lightning file, lattice statistics) into the user's folder.

The file is read as tensors and plain values only: nothing in it can run. Every name and shape in it is
checked against the network it implies, so that a foreign or newer layout is refused by name and never half
loaded. The file does not tell whether its lattice head predicts clean values, as published, or noise; the
published choice is taken.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.cards import sha256_of, write_card
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.paths import home_dir
from crystal_core.training.official_files import (
    Imported,
    check_free_name,
    check_layout,
    listed,
    new_checkpoint,
    read_official_state,
    shape_text,
)
from crystal_core.whole_files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.generators.kldm.codec import LatticeCodec
    from crystal_core.generators.kldm.coordinates import ScoreNorms
    from crystal_core.networks.pair_network import PairNetworkConfig

AVERAGED, RAW = "ema_model.module.", "model."  # the averaged copy is what the published numbers are of
COUNTER = "ema_model.n_averaged"
# tensors of the diffusion processes: known constants, and the table of score norms, which is imported
SIGMA_TABLE = "diffusions.v._sigma_norms"
TABLE_ENTRIES = 2000
STORED = {
    SIGMA_TABLE,
    *(
        f"diffusions.{x}.{y}"
        for x in "lh"
        for y in ("dim", "sde.schedule._beta_min", "sde.schedule._beta_max")
    ),
}
VOCABULARY = "diffusions.h.vocab_size"
MAX_COUNT = 10_000  # atoms per cell in the statistics
EXPECTED = "the Lightning checkpoint of a KLDM run"


def import_kldm(file: Path, statistics: Path | None, name: str) -> Imported:
    """Write ``checkpoints/<name>/`` in the home folder from an official file.

    Args:
        file: Lightning checkpoint; the averaged weights are taken where it has them.
        statistics: ``train_loc_scale.json`` of the same run: atom count → means and deviations of ln length.
        name: of the new checkpoint, not yet in use.

    Raises:
        RequestError: a file cannot be read, no statistics are given, or the name is taken.
        CheckpointMismatch: unknown or missing names, wrong shapes.
    """
    import torch

    from crystal_core.generators.kldm.codec import LATTICE
    from crystal_core.generators.kldm.config import ProcessConfig
    from crystal_core.generators.kldm.weights import write_score_norms, write_shards

    if statistics is None:
        raise RequestError(
            "A KLDM checkpoint needs the lattice statistics of its run: "
            "add --statistics train_loc_scale.json."
        )
    check_free_name(name)
    codec = read_statistics(statistics)
    weights, stored = _split(read_official_state(file, EXPECTED))
    config, species = _network_of(weights, stored)
    _check_schedule(stored)
    norms = _score_norms(stored)
    parameters = sum(value.numel() for key, value in weights.items() if key != "time_emb.weight")
    task = "structure prediction" if species == "fixed" else "de novo generation"
    with new_checkpoint(name) as folder:
        files = [*write_shards(weights, folder, torch.float32), LATTICE]
        sampling: dict[str, Any] = {"most_atoms": codec.most_atoms}
        if norms is not None:
            files.append(write_score_norms(norms, folder))
            sampling["score_norms"] = files[-1]
        write_whole(folder / LATTICE, codec.to_json())
        write_card(
            folder,
            {
                "name": name,
                "kind": "generator",
                "task": task,
                "method": "KLDM (ICML 2025)",
                "loader": "kldm",
                "parameters": parameters,
                "trained_on": "not stated in the file; "
                f"lattice statistics for cells of {_counts(codec)} atoms",
                "source": f"imported from {file.name}, SHA-256 {sha256_of(file)}",
                "licence": "that of the imported file",
                "limits": _limits(species, has_norms=norms is not None),
                "files": {f: sha256_of(folder / f) for f in files},
                "network": asdict(config),
                "sampling": sampling,
                "training": {"process": asdict(ProcessConfig(species=species))},
                "extra": {"source_sha256": sha256_of(file), "statistics_sha256": sha256_of(statistics)},
            },
        )
    return Imported(folder=home_dir() / "checkpoints" / name, task=task, parameters=parameters)


def read_statistics(path: Path) -> LatticeCodec:
    """Lattice statistics from the official JSON, with a fit over all counts for those it lacks.

    Counts whose numbers are not finite are left to the fit: for counts with few crystals the
    official statistics are NaN.

    Raises:
        RequestError: the file is missing or has another form.
    """
    from crystal_core.generators.kldm.codec import MIN_SCALE, LatticeCodec

    form = 'expected {"N": [[3 means], [3 deviations]]} with numbers'
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = {int(n): [[float(x) for x in values] for values in pair] for n, pair in data.items()}
    except OSError as error:
        raise RequestError(f"The statistics {path.name} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise RequestError(f"The statistics {path.name} have another form; {form}.") from error
    if any(n < 1 or [len(values) for values in pair] != [3, 3] for n, pair in rows.items()):
        raise RequestError(f"The statistics {path.name} have another form; {form}.")
    if max(rows, default=1) > MAX_COUNT:
        raise RequestError(
            f"The statistics {path.name} name an atom count beyond {MAX_COUNT:,}; "
            "counts lie between 1 and that."
        )
    whole = {
        n: pair
        for n, pair in rows.items()
        if all(map(math.isfinite, [*pair[0], *pair[1]])) and min(pair[1]) >= 0
    }
    if not whole:
        raise RequestError(f"The statistics {path.name} hold no atom count with finite numbers; {form}.")
    loc = {n: _three(pair[0]) for n, pair in whole.items()}
    scale = {n: _three([max(x, MIN_SCALE) for x in pair[1]]) for n, pair in whole.items()}
    return LatticeCodec(loc=loc, scale=scale, fit=_fit(loc, scale))


def _split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's weights by our names, averaged if possible, and the tensors of the processes.

    Averaging begins late in a training; before, the copy is there, counts no update and holds the
    weights of the start.
    """
    has_begun = COUNTER not in state or bool(state[COUNTER].any())
    prefix = AVERAGED if has_begun and any(key.startswith(AVERAGED) for key in state) else RAW
    foreign = [key for key in state if key != COUNTER and not key.startswith((AVERAGED, RAW))]
    chosen = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    weights = {
        key.removeprefix("net."): value.float() for key, value in chosen.items() if key.startswith("net.")
    }
    stored = {key: value for key, value in chosen.items() if not key.startswith("net.")}
    foreign += [prefix + key for key in stored if key not in STORED and key != VOCABULARY]
    if foreign:
        raise CheckpointMismatch(f"The file has unknown names: {listed(foreign)}.")
    several = [prefix + key for key, value in stored.items() if key != SIGMA_TABLE and value.numel() != 1]
    if several:
        raise CheckpointMismatch(f"The file holds more than one number in {listed(several)}.")
    return weights, stored


def _network_of(weights: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> tuple[PairNetworkConfig, str]:
    """The network these weights fit, and how its atom types diffuse."""
    import torch

    from crystal_core.networks.pair_network import PairNetwork

    config, species = _sizes(weights, stored)
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in PairNetwork(config).state_dict().items()}
    check_layout(weights, expected, "a KLDM network", "net.")
    return config, species


def _sizes(weights: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> tuple[PairNetworkConfig, str]:
    """Sizes as a few of the tensors tell them; whether the others agree is checked afterwards."""
    from crystal_core.networks.pair_network import PairNetworkConfig

    telling = {
        "node_embedding.weight": 2,
        "atom_latent_emb.weight": 2,
        "time_emb.weight": 2,
        "layers.0.v_proj.weight": 2,
        "out_l.weight": 2,
    }
    missing = [f"net.{key}" for key, n in telling.items() if key not in weights or weights[key].dim() != n]
    if missing:
        raise CheckpointMismatch(f"The file's names do not fit a KLDM network; missing: {listed(missing)}.")
    embedding = weights["node_embedding.weight"].shape
    outputs = len(weights["out_h.weight"]) if "out_h.weight" in weights else 0
    species = _species(outputs, tokens=VOCABULARY in stored)
    continuous = species in ("one-hot", "analog-bits")
    layers = {int(key.split(".")[1]) for key in weights if re.match(r"layers\.\d+\.", key)}
    config = PairNetworkConfig(
        hidden_dim=len(weights["atom_latent_emb.weight"]),
        n_layers=len(layers),
        n_frequencies=len(weights["layers.0.v_proj.weight"]) // 6,
        time_dim=2 * len(weights["time_emb.weight"]),
        lattice_dim=len(weights["out_l.weight"]),
        n_type_outputs=outputs,
        **({"n_type_inputs": embedding[1]} if continuous else {"n_types": embedding[0]}),
    )
    if config.lattice_dim != 6:
        raise CheckpointMismatch(
            f"net.out_l.weight has {config.lattice_dim} rows, expected 6: three lengths and three angles."
        )
    if species == "masking" and int(stored[VOCABULARY]) != outputs:
        raise CheckpointMismatch(
            f"{VOCABULARY} is {int(stored[VOCABULARY])}, but net.out_h has {outputs} rows."
        )
    return config, species


def _species(outputs: int, *, tokens: bool) -> str:
    from crystal_core.generators.kldm.species import N_BITS
    from crystal_core.generators.kldm.species_process import N_TYPES

    options = {
        (0, False): "fixed",
        (N_TYPES, True): "masking",
        (N_TYPES, False): "one-hot",
        (N_BITS, False): "analog-bits",
    }
    if (outputs, tokens) not in options:
        raise CheckpointMismatch(
            f"net.out_h has {outputs} rows{' beside ' + VOCABULARY if tokens else ''}; expected none "
            f"(structure prediction), {N_TYPES} (one-hot or masking) or {N_BITS} (analog bits)."
        )
    return options[outputs, tokens]


def _check_schedule(stored: Mapping[str, Tensor]) -> None:
    from crystal_core.sampling.variance_preserving import BETA_MAX, BETA_MIN

    for key, value in stored.items():
        expected = BETA_MIN if key.endswith("_beta_min") else BETA_MAX if key.endswith("_beta_max") else None
        if expected is not None and not math.isclose(float(value), expected, rel_tol=1e-4):
            raise CheckpointMismatch(
                f"{key} is {float(value):g}; this version samples with {expected:g} only."
            )


def _score_norms(stored: Mapping[str, Tensor]) -> ScoreNorms | None:
    """The table that the velocities were trained with; None where the file has none.

    Raises:
        CheckpointMismatch: it has another length, or a number that no mean square can be.
    """
    import torch

    from crystal_core.generators.kldm.coordinates import ScoreNorms

    table = stored.get(SIGMA_TABLE)
    if table is None:
        return None
    if tuple(table.shape) != (TABLE_ENTRIES,):
        raise CheckpointMismatch(
            f"{SIGMA_TABLE} is {shape_text(table.shape)}, expected {TABLE_ENTRIES} numbers."
        )
    if not (torch.isfinite(table).all() and (table > 0).all()):
        raise CheckpointMismatch(
            f"{SIGMA_TABLE} holds numbers that are not finite and positive, as mean squares are."
        )
    return ScoreNorms(table.float())


def _fit(
    loc: Mapping[int, tuple[float, float, float]], scale: Mapping[int, tuple[float, float, float]]
) -> tuple[float, Any, Any]:
    """Slope of ln length against ln N, intercepts and deviations: one line through all counts' means."""
    import numpy as np

    counts = np.log(list(loc))
    means, deviations = np.array(list(loc.values())), np.array(list(scale.values()))
    centred = counts - counts.mean()
    spread = float((centred**2).sum())
    slope = float((centred[:, None] * means).sum(axis=0).mean() / spread) if spread > 0 else 1 / 3
    rest = means - slope * counts[:, None]
    return slope, _three(rest.mean(0).tolist()), _three(deviations.mean(0).tolist())


def _three(values: list[float]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third


def _limits(species: str, *, has_norms: bool) -> str:
    task = (
        "its training elements and atom counts are not in the file: say how many atoms. "
        if species != "fixed"
        else ""
    )
    norms = (
        "the score norms are those of the file."
        if has_norms
        else "the file has no score norms, so they are calculated, "
        "up to 5 % off from those of its training at the smallest times."
    )
    return (
        "Imported weights, not measured here; "
        f"{task}Lattice targets are taken as published (clean values); {norms}"
    )


def _counts(codec: LatticeCodec) -> str:
    return f"{min(codec.loc)} to {max(codec.loc)}" if len(codec.loc) > 1 else str(min(codec.loc))
