"""Options without effect beside other options: the command refuses them instead of ignoring them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from crystal_core.errors import RequestError
from crystal_core.requests import StartName

Given = Mapping[str, Any]  # parameter of a command → its value
SAMPLING = ("sampler", "steps", "tuning", "tau", "noise_scale", "remasking")
DRAFTING = ("temperature", "top_p", "charge_balance", "back_end", "refiner", "start")
OF_TRAINING = ("minutes", "samples", "seed")
ADAPTER = "adapter"


@dataclass(frozen=True)
class Idle:
    """Parameters that do nothing when a condition holds.

    Attributes:
        parameters: names in the command's signature.
        when: of all its values.
        because: the reason, as the start of a sentence; may name parameters in braces.
    """

    parameters: tuple[str, ...]
    when: Callable[[Given], bool]
    because: str


def _has_no_network(given: Given) -> bool:
    from crystal_core.registry.store import find_card

    return find_card(given["model"]).parameters == 0


def _writes_unrefined(given: Given) -> bool:
    from crystal_core.registry.store import find_card

    card = find_card(given["model"])
    return card.writes_drafts and (given["refiner"] or card.network.get("refiner", "none")) == "none"


def _relaxes(given: Given) -> bool:
    return given["relax"] or given["effort"] in ("normal", "thorough")


def _is_adapter(given: Given) -> bool:
    return str(given["config"]) == ADAPTER


BY_EFFORT = "--effort decides on start, samples, relaxing and rank"
FROM_FILES = "--structures samples nothing"
NOT_RELAXED = Idle(("relax_seconds",), lambda g: not g["relax"], "nothing is relaxed without --relax")
# module and function of a command → what may be idle
RULES: Mapping[tuple[str, str], tuple[Idle, ...]] = {
    ("generate", "generate"): (Idle(("dtype",), _writes_unrefined, "drafts are written without a sampler"),),
    ("predict_structure", "predict_structure"): (
        Idle(("n", "relax"), lambda g: g["effort"] is not None, BY_EFFORT),
        Idle(("start",), lambda g: g["effort"] is not None and g["start"] in get_args(StartName), BY_EFFORT),
        Idle(
            ("rank",), lambda g: g["effort"] is not None and g["rank"] in ("consensus", "energy"), BY_EFFORT
        ),
        Idle(("relax_seconds",), lambda g: not _relaxes(g), "nothing is relaxed"),
        Idle(
            ("sampler", "steps", "dtype"),
            lambda g: g["start"] not in ("draft", "all") and _has_no_network(g),
            "{model} has no sampler",
        ),
        Idle(
            ("start",), lambda g: g["start"] == "noise" and _has_no_network(g), "{model} starts from no noise"
        ),
        Idle(("dtype",), _writes_unrefined, "drafts are written without a sampler"),
    ),
    ("compare", "compare"): (
        Idle(("split", "limit"), lambda g: g["data"] is None, "no --data is given"),
        Idle(("z", "cell"), lambda g: not g["formula"], "no --formula is given"),
        Idle(
            ("n",),
            lambda g: all(text.startswith(("run=", "folder=")) for text in g["column"]),
            "every column is finished already",
        ),
    ),
    ("relax", "relax"): (
        Idle(
            ("fmax", "seconds", "trajectory"), lambda g: g["steps"] == 0, "--steps 0 leaves the cell as it is"
        ),
    ),
    ("train", "train"): (
        Idle(("recipe", "resume", "branch", "out"), _is_adapter, "an adapter is trained in one slice"),
        Idle(
            ("unit", "title", "logarithmic", "rank", "full", "target"),
            lambda g: not _is_adapter(g),
            "it belongs to 'crystal-core train adapter'",
        ),
        Idle(("rank",), lambda g: g["full"], "--full trains the whole encoder"),
        Idle(
            ("logarithmic",), lambda g: g["measured"] is not None, "--property knows the scale of its values"
        ),
        Idle(
            (*OF_TRAINING, "rank", "full", "fold", "start", "data", "target", "unit", "title", "export"),
            lambda g: g["recalibrate"],
            "--recalibrate trains nothing",
        ),
    ),
    ("evaluate_csp", "csp"): (
        Idle(
            (*SAMPLING, "samples", "start", "start_time", "refiner"),
            lambda g: g["structures"] is not None,
            FROM_FILES,
        ),
        Idle(("start_time",), lambda g: g["start"] != "prototype", "no prototype is refined"),
        Idle(("sampler", "steps"), _has_no_network, "{model} has no sampler"),
        NOT_RELAXED,
    ),
    ("evaluate_samplers", "csp_samplers"): (
        Idle(("samplers", "calls"), lambda g: g["confirm"], "--confirm takes both from the card's table"),
    ),
    ("evaluate_dng", "dng"): (
        Idle((*SAMPLING, *DRAFTING, "n"), lambda g: g["structures"] is not None, FROM_FILES),
        Idle((*SAMPLING, *DRAFTING), lambda g: g["baseline"] is not None, "--baseline samples no model"),
        NOT_RELAXED,
    ),
    ("evaluate_first_card", "first_card"): (
        Idle(("drafter",), lambda g: g["drafts"] == 0, "no --drafts are written"),
        Idle(("model",), lambda g: not g["samples"] and g["effort"] != "thorough", "no --samples are drawn"),
    ),
    ("evaluate_refinement", "refinement"): (
        Idle(
            ("temperature", "top_p", "back_end"),
            lambda g: g["source"] == "rows",
            "--source rows writes no drafts",
        ),
    ),
    ("evaluate_property", "evaluate_property"): (
        Idle(("fold",), lambda g: str(g["data"]) != "default", "the folds are of the default data"),
        Idle(
            ("features",),
            lambda g: g["model"] in ("mean", "composition", "nearest"),
            "{model} takes no features of CHGNet",
        ),
    ),
    ("evaluate_latents", "latents"): (
        Idle(("start_time", "seed"), lambda g: not g["rebuild"], "nothing is rebuilt"),
    ),
    ("evaluate_pretraining", "pretraining"): (
        Idle(
            ("pretrain_rows", "pretrain_samples"),
            lambda g: g["variants"].strip() == "scratch" and not g["kl_weights"],
            "nothing is pretrained",
        ),
    ),
}


def refuse_idle(command: tuple[str, str], given: Given, defaults: Given, options: Mapping[str, str]) -> None:
    """Check that every option that differs from its default does something.

    Args:
        command: key of :data:`RULES`. given, defaults: value of each parameter. options: how each is written.

    Raises:
        RequestError: other options leave some without effect.
    """
    for rule in RULES.get(command, ()):
        idle = [options[name] for name in rule.parameters if given[name] != defaults[name]]
        if idle and rule.when(given):
            *others, last = idle
            names, it = (f"{', '.join(others)} and {last}", "them") if others else (last, "it")
            raise RequestError(
                f"{rule.because.format(**given)}, so {names} would change nothing; leave {it} out."
            )
