"""``crystal-core evaluate property``: predictions against true values, baselines and published values."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.checks import check_choice
from crystal_core.cli import options
from crystal_core.cli._evaluation import loaded_potential, named_path
from crystal_core.cli._files import check_output
from crystal_core.cli._run import command, conclude, goes_on_card, interruptible, progress, say, set_threads
from crystal_core.errors import RequestError
from crystal_core.paths import data_dir, data_file
from crystal_core.properties import PROPERTIES, chosen_properties
from crystal_core.requests import seed_or_drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crystal_core.datasets.property_splits import MeasuredRows
    from crystal_core.interruption import Interruption
    from crystal_core.protocols import PropertyPredictor
    from crystal_core.workflows.evaluate_property import Measured

DEFAULT = Path("default")


@command
def evaluate_property(
    model: Annotated[
        str,
        typer.Option(
            help="A predictor; or a baseline without one: mean, composition, nearest or chgnet-features."
        ),
    ] = "crysldnet",
    data: Annotated[
        Path,
        typer.Option(
            callback=data_file,
            help="default: the published splits of the raw data (CRYSTAL_DATA); or a Parquet file, CSV or "
            "folder of the data schema.",
        ),
    ] = DEFAULT,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, val or test; of a file also all. Default: test, "
            "or all where the file has no test rows."
        ),
    ] = None,
    properties: Annotated[
        str, typer.Option(help="Comma-separated names; every measurable property when absent.")
    ] = "",
    fold: Annotated[int, typer.Option(min=0, max=4, help="Fold of Matbench that is the test split.")] = 0,
    structures: Annotated[
        Path | None, typer.Option(help="Predict on the CIFs of a folder, named after the rows' ids, instead.")
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="Baselines only: prepared file to learn from; default: the raw data's own split."),
    ] = None,
    limit_train: Annotated[
        int | None,
        typer.Option(min=10, help="Baselines only: at most this many training rows of a property."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="chgnet-features only: file (.npz) that stores the features; a later call continues from it."
        ),
    ] = None,
    limit: options.Limit = None,
    write_card: options.WriteCard = False,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Property prediction: mean absolute errors and coverage with intervals, by domain and by size."""
    from crystal_core.datasets.rows import notes_of, splits_of, words_on_rows
    from crystal_core.registry.store import load_predictor
    from crystal_core.workflows import evaluate_property as workflow
    from crystal_core.workflows.property_baselines import BASELINES

    began = time.monotonic()
    is_baseline = model in BASELINES
    split = split or ("test" if data == DEFAULT or "test" in splits_of(data) else "all")
    check_choice("split", split, ("train", "val", "test", *(() if data == DEFAULT else ("all",))))
    _check_training(train, limit_train, features, is_baseline=is_baseline)
    if features is not None:
        check_output(features, "--features")
    if write_card and is_baseline:
        _check_whole(data, split, structures, limit, fold)
    seed = seed_or_drawn(seed)
    set_threads(threads)
    chosen = tuple(name.strip() for name in properties.split(",") if name.strip())
    settings: dict[str, Any] = {
        "model": model,
        "data": data.name,
        "split": split,
        "limit": limit,
        "seed": seed,
    }
    settings |= {"properties": ",".join(chosen) or "all", "fold": fold}
    predictor = None if is_baseline else load_predictor(model, device)
    names = _names(predictor, chosen, data)
    if predictor is not None and data == DEFAULT:
        _check_fold(predictor.card.name, names, fold)
    tables = _tables(data, names, split, fold)
    failed = [{"id": name, "error": reason} for table in tables for name, reason in table.unreadable]
    noted = {table.source: notes_of(table.rows) for table in tables}
    for table in tables:
        for sentence in words_on_rows(table.source, table.unreadable, noted[table.source]):
            say(sentence)
    tables = workflow.limited(tables, limit)
    if structures is not None:
        settings |= {"structures": named_path(structures)}
        given = [workflow.with_cells_of(structures, table, tell=say) for table in tables]
        tables = [table for table, _ in given]
        failed += [{"id": name, "error": "no readable CIF"} for _, missing in given for name in missing]
    stop = interruptible()
    with progress(quiet=quiet) as show:
        if predictor is None:
            settings |= {"train": None if train is None else named_path(train), "limit_train": limit_train}
            measured = _baseline(
                model,
                tables,
                train,
                limit_train,
                features,
                fold=fold,
                seed=seed,
                device=device,
                tell=show,
                stop=stop,
            )
        else:
            measured = workflow.evaluate_model(predictor, tables, seed=seed, on_progress=show, stop=stop)
    stop.end(unless=measured)
    of = n = sum(len(table.rows) for table in tables)
    if stop:
        n = sum({(one.source, one.protocol): one.n_rows for one in measured}.values())
    report = _report(model, measured, fold) | {
        "n": n,
        **stop.marks(f"{n} of {of} rows, n of each property below"),
        "failed": failed,
        "remarks": [{"id": name, "note": note} for rows in noted.values() for name, note in rows],
        "seconds": round(time.monotonic() - began, 1),
        "settings": settings,
    }
    if goes_on_card(stop, write_card=write_card):
        _keep(model, report, is_baseline=is_baseline)
    conclude(report, stop, _print, json=json)


def _check_training(
    train: Path | None, limit_train: int | None, features: Path | None, *, is_baseline: bool
) -> None:
    """Raise RequestError where training rows are named for a predictor that is trained already."""
    if not is_baseline and any(value is not None for value in (train, limit_train, features)):
        raise RequestError(
            "--train, --limit-train and --features are of a baseline; "
            "a predictor is trained already. Leave them out."
        )


def _check_fold(model: str, names: Sequence[str], fold: int) -> None:
    """Raise RequestError where a property was trained on rows that another fold of Matbench measures."""
    from crystal_core.registry.property_cards import property_parts

    parts = property_parts(model)
    for name in names:
        own = parts[name].network.get("fold") if name in parts else None
        if own is not None and own != fold:
            raise RequestError(
                f"'{model}' learned {name} on the training rows of fold {own}, among which are the test rows "
                f"of fold {fold}. Measure it on fold {own}, or every fold with 'crystal-core evaluate "
                f"adapters --property {name} --fold all'."
            )


def _check_whole(data: Path, split: str, structures: Path | None, limit: int | None, fold: int) -> None:
    """Raise RequestError if a baseline would be measured on other rows than predictors are."""
    if data != DEFAULT or split != "test" or structures is not None or limit is not None or fold:
        raise RequestError(
            "--write-card keeps a baseline's numbers of the whole default test split; leave out --data, "
            "--split, --structures, --limit and --fold."
        )


def _names(predictor: PropertyPredictor | None, chosen: tuple[str, ...], data: Path) -> tuple[str, ...]:
    """The properties to measure: the chosen ones, or all that predictor and default data have in common.

    Raises:
        RequestError: the predictor has no such property.
    """
    from crystal_core.datasets.property_splits import TABLES

    known = tuple(PROPERTIES.values()) if predictor is None else predictor.properties
    names = tuple(spec.name for spec in chosen_properties(chosen, known))
    if chosen or data != DEFAULT:
        return names
    return tuple(name for name in names if any(name in table.properties for table in TABLES))


def _tables(data: Path, names: tuple[str, ...], split: str, fold: int) -> list[MeasuredRows]:
    from crystal_core.datasets.property_splits import default_rows, file_rows

    if data != DEFAULT:
        return [file_rows(data, names, split)]
    folder = data_dir()
    if folder is None:
        raise RequestError(
            "Set CRYSTAL_DATA to the folder of the raw data, "
            "or name a file of crystals with property columns with --data."
        )
    return default_rows(folder, names, split, fold=fold)  # type: ignore[arg-type]


def _baseline(
    model: str,
    tables: Sequence[MeasuredRows],
    train: Path | None,
    limit_train: int | None,
    features: Path | None,
    *,
    fold: int,
    seed: int,
    device: str,
    tell: Callable[[str, int, int], None],
    stop: Interruption,
) -> list[Measured]:
    from crystal_core.workflows.evaluate_property import evaluate_baseline, training_pool
    from crystal_core.workflows.property_baselines import BaselinePredictor, check_baseline

    name = check_baseline(model)
    potential = loaded_potential(device) if name == "chgnet-features" else None
    names = [name for table in tables for name in table.truth]
    pool = training_pool(train, data_dir(), names, fold=fold)
    predictor = BaselinePredictor(name, potential=potential, features=features, on_progress=tell)
    return evaluate_baseline(
        predictor, tables, pool, limit_train=limit_train, seed=seed, on_progress=tell, stop=stop
    )


def _report(model: str, measured: Sequence[Measured], fold: int) -> dict[str, Any]:
    """The keys of the contract (mae, ci95), and everything by property."""
    from crystal_core.evaluation.property_references import baseline_values, published_value

    rows: dict[str, Any] = {"mae": {}, "ci95": {}, "properties": {}}
    for one in measured:
        name, errors = one.spec.name, one.errors.to_json()
        entry = errors | {"source": one.source, "protocol": one.protocol, "rows": one.rows}
        if one.n_train is not None:
            entry |= {"n_train": one.n_train, "chosen": one.settings, "note": one.note}
        others = {k: v for k, v in baseline_values(name, one.rows).items() if k != model}
        entry |= {"baselines": {k: {"value": v["value"], "ci95": v["ci95"]} for k, v in others.items()}}
        entry |= {"published": published_value(name, fold)}
        entry |= {"not_seen": one.not_seen.to_json()} if one.not_seen is not None else {}
        rows["properties"][name] = entry
        rows["ci95"][name] = errors["ci95"]
        if one.errors.metric == "MAE":
            rows["mae"][name] = errors["value"]
    return rows


def _command(report: dict[str, Any]) -> str:
    used = report["settings"]
    words = ["crystal-core evaluate property", f"--model {used['model']}"]
    words += [] if used["data"] == DEFAULT.name else [f"--data {used['data']}"]
    words += [f"--split {used['split']}"]
    words += [] if used["properties"] == "all" else [f"--properties {used['properties']}"]
    words += [f"--fold {used['fold']}"] if used["fold"] else []
    for key in ("structures", "train", "limit_train", "limit"):
        if used.get(key) is not None:
            words.append(f"--{key.replace('_', '-')} {used[key]}")
    return " ".join([*words, f"--seed {used['seed']}"])


def _keep(model: str, report: dict[str, Any], *, is_baseline: bool) -> None:
    """Write the numbers where they are read from: on the model's card, or into the file of the baselines."""
    from crystal_core.cards import write_card
    from crystal_core.evaluation.property_references import keep_baseline
    from crystal_core.registry.property_cards import property_parts
    from crystal_core.registry.store import find_card

    used, entries = report["settings"], {}
    for name, one in report["properties"].items():
        if one["value"] is None:
            continue
        keys = ("metric", "unit", "value", "ci95", "n", "n_failed", "rows", "n_train", "chosen", "note")
        entry = {key: one[key] for key in keys if one.get(key) not in (None, "")}
        for key in ("mae_gpa", "mae_log10", "accuracy", "balanced_accuracy"):
            entry |= {key: one[key]["value"]} if key in one else {}
        if one["coverage90"]:
            entry |= {
                f"coverage90{end}": one["coverage90"][key] for end, key in (("", "value"), ("_ci95", "ci95"))
            }
        if "not_seen" in one:
            entry |= {"not_seen": one["not_seen"]["value"], "n_not_seen": one["not_seen"]["n"]}
        for part in ("by_domain", "by_n_atoms", "by_n_elements"):
            entry |= {
                f"{part.removeprefix('by_')}_{key.replace('-', '_to_').replace('>', 'over_')}": score["value"]
                for key, score in one[part].items()
            }
        entry |= {
            "protocol": f"{one['protocol']}; split {used['split']}",
            "data": one["source"],
            "command": _command(report),
        }
        entries[name] = entry
    if is_baseline:
        keep_baseline(model, entries)
        return
    card = find_card(model)
    if card.folder is None:
        return
    word = {"MAE": "mae", "ROC AUC": "roc_auc"}
    other = "" if used["data"] == DEFAULT.name else f"_{Path(used['data']).stem}"
    other += "_given_cells" if "structures" in used else ""
    other += f"_fold_{used['fold']}" if used["fold"] else ""
    metrics = {f"{word[e['metric']]}_{name}_{used['split']}{other}": e for name, e in entries.items()}
    write_card(card.folder, {"metrics": metrics})
    for name, own in property_parts(model).items():  # the card of a part tells its own number
        if name in entries and own.folder is not None and own.folder.parent == card.folder.parent:
            write_card(own.folder, {"metrics": {k: v for k, v in metrics.items() if v is entries[name]}})


def _print(report: dict[str, Any]) -> None:
    for name, one in report["properties"].items():
        unit = f" {one['unit']}" if one["unit"] else ""
        typer.echo(
            f"{name}: {one['metric']} {one['value']}{unit} {one['ci95'] or ''}  n "
            f"{one['n']}  ({one['protocol']})"
        )
        rows = [
            f"{key} {one[key]['value']}"
            for key in ("mae_gpa", "mae_log10", "accuracy", "balanced_accuracy")
            if key in one
        ]
        if one["coverage90"]:
            rows.append(
                f"90 % intervals hold in {100 * one['coverage90']['value']:.1f} % {one['coverage90']['ci95']}"
            )
        if "not_seen" in one:
            new = one["not_seen"]
            rows.append(f"{new['value']} on the {new['n']} crystals that the encoder was not trained on")
        rows += [f"{key} {score['value']} (n {score['n']})" for key, score in one["by_domain"].items()]
        for part, words in (("by_n_atoms", "atoms"), ("by_n_elements", "elements")):
            rows += [f"{key} {words} {score['value']} (n {score['n']})" for key, score in one[part].items()]
        typer.echo("  " + "; ".join(rows))
        if one.get("note"):
            typer.echo(f"  {one['note']}")
        if one["baselines"]:
            typer.echo("  baselines: " + ", ".join(f"{k} {v['value']}" for k, v in one["baselines"].items()))
        if one["published"]:
            near = one["published"]
            typer.echo(
                f"  published: {near['metric']} {near['value']} ({near['method']}; {near['protocol']}; "
                f"{near['source']}) {near['note']}"
            )
    if report["failed"]:
        typer.echo(f"{len(report['failed'])} rows without a crystal, such as {report['failed'][0]['id']}.")
