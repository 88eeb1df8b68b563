"""A training run from its configuration: one slice, a branch, or all slices on a card."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.cards import sha256_of
from crystal_core.errors import RequestError
from crystal_core.paths import REPOSITORY
from crystal_core.registry.methods import TRAINERS, find
from crystal_core.registry.store import find_card
from crystal_core.whole_files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

RECIPE = "recipe.json"  # beside a card: the slices that made its weights
EARLIER = "earlier-slices.json"  # in a run's folder: those that made the weights it began with


def configurations() -> dict[str, Path]:
    """Name → file of every shipped training configuration."""
    package = Path(__file__).parents[1]
    return {path.stem: path for path in sorted(package.glob("*/*/configs/*.toml"))}


def run_training(
    config: Path | None = None,
    *,
    recipe: str | None = None,
    minutes: float | None = None,
    samples: int | None = None,
    resume: Path | None = None,
    branch: Path | None = None,
    data: Path | None = None,
    out: Path | None = None,
    export: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run one slice and, if asked, export a checkpoint; returns the last log line.

    Args:
        config: file or name of a configuration.
        recipe: instead of it, name of a checkpoint whose recorded slices are repeated.
        minutes: stop cleanly and save after so long. samples: instead of the configuration's plan.
        resume: folder of an earlier slice to go on with.
        branch: folder of a run whose end this is to be: its rate falls to zero over the next tenth of the
            samples, in another folder, and the run itself stays as it is.

    Raises:
        RequestError: contradicting or missing arguments, an unknown configuration, an unusable folder.
    """
    import torch

    from crystal_core.device import pick_device

    if (config is None) == (recipe is None):
        raise RequestError(
            "Name a training configuration, or with --recipe a checkpoint whose training is to be repeated."
        )
    if threads:
        torch.set_num_threads(threads)
    on_line = None if quiet else _print_line
    run = partial(_slice, data=data, device=pick_device(device), minutes=minutes, seed=seed, on_line=on_line)
    if recipe is not None:
        if resume or branch or samples:
            raise RequestError(
                "A recipe says itself how many samples its slices have; "
                "leave out --resume, --branch and --samples."
            )
        return _repeat(recipe, run, out, export)
    if resume is not None and branch is not None:
        raise RequestError("Go on with a run or branch off it, not both.")
    text = configuration_text(config or Path())
    if branch is not None:
        return run(text, folder=_copied(branch, out), resume=True, branch=True, export=export)
    return run(text, folder=resume or out, resume=resume is not None, samples=samples, export=export)


def _slice(
    text: str,
    *,
    folder: Path | None,
    data: Path | None,
    device: torch.device,
    minutes: float | None,
    seed: int | None,
    on_line: Callable[[dict[str, Any]], None] | None,
    resume: bool = False,
    branch: bool = False,
    samples: int | None = None,
    export: str | None = None,
    begin_with: Path | None = None,
) -> dict[str, Any]:
    from crystal_core.training.config import branch_of
    from crystal_core.training.fit import LOG, SLICES, SNAPSHOT
    from crystal_core.training.precision import pick_dtype

    method = method_of(text)
    trainer_of = find(TRAINERS, method, "training")
    settings = trainer_of.settings_from(text)
    if seed is not None:
        settings = replace(settings, fit=replace(settings.fit, seed=seed))
    if samples is not None:
        settings = replace(settings, fit=replace(settings.fit, planned_samples=samples))
    data_file = data or (Path(settings.data) if settings.data else None)
    if data_file is None:
        raise RequestError("Name the prepared file with --data (made by 'crystal-core data prepare').")
    if not data_file.is_file():
        raise RequestError(
            f"There is no prepared file {data_file.name}. Make it with 'crystal-core data prepare'."
        )
    folder = folder or Path("runs") / settings.name
    if not resume and (folder / SNAPSHOT).is_file():
        raise RequestError(
            f"{folder} holds a training already: go on with it by --resume {folder}, "
            "or name another folder with --out."
        )
    records = _slices_in(folder / SLICES)
    if resume and records:
        _check_same_process(records[-1].get("configuration", ""), settings, trainer_of, folder)
    branched_at = records[-1]["samples"] if branch else _branched_at(records) if resume else None
    if branched_at is not None:
        if samples is not None:
            raise RequestError(
                f"{folder} is a branch, which has its own number of samples; leave out --samples."
            )
        settings = replace(settings, fit=branch_of(settings.fit, branched_at))
    start = str(begin_with or settings.init_from or "")
    initial = _initial(start, trainer_of) if start else None
    if start and not resume:
        _note_earlier_slices(start, folder)
    about = {
        "method": method,
        "configuration": text,
        "branch": branched_at is not None,
        "planned_samples": settings.fit.planned_samples,
        "seed": settings.fit.seed,
        "commit": current_commit(),
        "data": data_file.name,
        "data_sha256": sha256_of(data_file),
        "processor": processor(device),
        "precision": str(pick_dtype(settings.fit.precision, device)).removeprefix("torch."),
    }
    trained = trainer_of.train(
        settings,
        data_file=data_file,
        folder=folder,
        device=device,
        minutes=minutes,
        resume=resume,
        initial=initial,
        on_line=on_line,
        about=about,
    )
    if export:
        target = trainer_of.export_checkpoint(export, trained=trained, settings=settings, log=folder / LOG)
        recipe = [*_slices_in(folder / EARLIER), *_slices_in(folder / SLICES)]
        write_whole(target / RECIPE, json.dumps(recipe, indent=1))
    return trained.last


def _check_same_process(before: str, settings: Any, trainer_of: Any, folder: Path) -> None:
    """Raise RequestError for weights of another process: they fit, but their meaning differs.

    Raises:
        RequestError: the last slice had another process.
    """
    try:
        process = getattr(trainer_of.settings_from(before), "process", None)
    except RequestError:  # of an older version, which had other keys
        return
    if process != getattr(settings, "process", None):
        raise RequestError(
            f"The training in {folder} was begun with another [process]; go on with the configuration that "
            "it was begun with, or name another folder with --out."
        )


def _initial(name: str, trainer_of: Any) -> dict[str, torch.Tensor]:
    """The weights that a run starts from: EMA weights of a run's folder, or those of a checkpoint."""
    import torch

    from crystal_core.training.fit import SNAPSHOT

    snapshot = Path(name) / SNAPSHOT
    if snapshot.is_file():
        return torch.load(snapshot, map_location="cpu", weights_only=True)["ema"]
    return trainer_of.initial_weights(find_card(name))


def _slices_in(path: Path) -> list[dict[str, Any]]:
    slices: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return slices


def _note_earlier_slices(start: str, folder: Path) -> None:
    """Keep in ``folder`` the slices that made the weights of ``start``, a run's folder or a checkpoint.

    An export may replace that checkpoint, and its recipe with it.
    """
    from crystal_core.training.fit import SLICES

    run = Path(start)
    if (run / SLICES).is_file():
        slices = [*_slices_in(run / EARLIER), *_slices_in(run / SLICES)]
    else:
        slices = _slices_in((find_card(start).folder or Path()) / RECIPE)
    if slices:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / EARLIER, json.dumps(slices, indent=1))


def _repeat(
    recipe: str, run: Callable[..., dict[str, Any]], out: Path | None, export: str | None
) -> dict[str, Any]:
    """Every recorded slice with its own configuration, up to its own number of samples.

    A slice that counts from 0 begins a run; where another run came before, it begins with the weights of
    that one.
    """
    card = find_card(recipe)
    path = (card.folder or Path()) / RECIPE
    if not path.is_file():
        raise RequestError(
            f"The card of '{recipe}' records no slices, so its training cannot be repeated from it."
        )
    slices = _slices_in(path)
    folder = out or Path("runs") / f"{recipe}-again"
    before: Path | None = None
    last: dict[str, Any] = {}
    for i, record in enumerate(slices):
        final = i == len(slices) - 1
        begins = record["samples_before"] == 0
        if begins and i > 0:
            before, folder = folder, folder.with_name(f"{folder.name}-next")
        last = run(
            record["configuration"],
            folder=folder,
            resume=not begins,
            branch=record["branch"] and not slices[i - 1]["branch"],
            samples=None if record["branch"] else record["samples"],
            export=export if final else None,
            begin_with=before if begins else None,
        )
    return last


def _branched_at(records: Sequence[dict[str, Any]]) -> int | None:
    """Samples at which a run that goes on branched off its trunk, None for a trunk."""
    begun = None
    for record in reversed(records):
        if not record.get("branch"):
            break
        begun = record["samples_before"]
    return begun


def _copied(run: Path, out: Path | None) -> Path:
    from crystal_core.training.fit import SLICES, SNAPSHOT

    if not (run / SNAPSHOT).is_file() or not (run / SLICES).is_file():
        raise RequestError(f"{run} holds no training to branch off.")
    samples = _slices_in(run / SLICES)[-1]["samples"]
    folder = out or run.with_name(f"{run.name}-branch-{samples}")
    if folder.exists():
        raise RequestError(
            f"{folder} exists already; go on with it by --resume, or name another folder with --out."
        )
    shutil.copytree(run, folder)
    return folder


def configuration_text(config: Path) -> str:
    """The TOML of a configuration, by its file or by the name of a shipped one.

    Raises:
        RequestError: there is none.
    """
    known = configurations()
    path = config if config.suffix == ".toml" else known.get(config.name, config)
    if not path.is_file():
        raise RequestError(f"There is no training configuration '{config}'. Shipped are: {', '.join(known)}.")
    return path.read_text(encoding="utf-8")


def method_of(text: str) -> str:
    """The method that a training configuration is for.

    Raises:
        RequestError: the text is no TOML.
    """
    try:
        return str(tomllib.loads(text).get("method", "kldm"))
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"The training configuration is not TOML: {error}.") from error


def current_commit() -> str:
    """Hash of the checked-out commit, "+changes" where files differ from it; "" outside a repository."""
    try:
        command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=12", "--dirty=+changes"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def processor(device: torch.device) -> str:
    """The processor: the GPU's name, or the CPU's with its number of threads."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    name = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor() or "CPU",
    )
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def _print_line(line: dict[str, Any]) -> None:
    print(json.dumps(line), file=sys.stderr, flush=True)
