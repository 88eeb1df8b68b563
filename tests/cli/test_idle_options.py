"""Options that others leave without effect: each is refused with one sentence, and
each does something elsewhere.
"""

import importlib
import inspect

import pytest
from typer.testing import CliRunner

from crystal_core.cli import COMMANDS, build_app
from crystal_core.cli._idle import RULES

PATHS = {place: path.split() for path, place in COMMANDS.items()}
# command and number of a rule → words of the command line where it holds, and values where it does not
SITUATIONS = {
    ("generate", 0): (["--model", "crysllmgen-tiny"], {"model": "kldm-dng-mp"}),
    ("predict_structure", 0): (["NaCl", "--effort", "quick"], {}),
    ("predict_structure", 1): (["NaCl", "--effort", "normal"], {"start": "noise"}),
    ("predict_structure", 2): (["NaCl", "--effort", "normal"], {"effort": "quick", "rank": "pattern"}),
    ("predict_structure", 3): (["NaCl", "--effort", "quick"], {"effort": "thorough"}),
    ("predict_structure", 4): (["NaCl", "--model", "prototype"], {"model": "prototype", "start": "draft"}),
    ("predict_structure", 5): (["NaCl", "--model", "prototype"], {"start": "noise"}),
    ("predict_structure", 6): (
        ["NaCl", "--model", "crysllmgen-mp", "--refiner", "none"],
        {"model": "crysllmgen-mp"},
    ),
    ("compare", 0): (["--column", "model=prototype", "--formula", "NaCl"], {"data": "rows.parquet"}),
    ("compare", 1): (["--column", "model=prototype"], {"formula": ["NaCl"]}),
    ("compare", 2): (["--column", "run=1", "--column", "folder=a"], {"column": ["run=1", "model=prototype"]}),
    ("relax", 0): (["a.cif", "--steps", "0"], {}),
    ("train", 0): (["adapter"], {"config": "kldm-csp-cpu"}),
    ("train", 1): (["kldm-csp-cpu"], {"config": "adapter"}),
    ("train", 2): (["adapter", "--full"], {}),
    ("train", 3): (["adapter", "--property", "band_gap_hse_ev"], {}),
    ("train", 4): (["adapter", "--property", "band_gap_hse_ev", "--recalibrate"], {}),
    ("csp", 0): (["--data", "{data}", "--structures", "cifs"], {}),
    ("csp", 1): (["--data", "{data}"], {"start": "prototype"}),
    ("csp", 2): (["--data", "{data}", "--model", "prototype"], {}),
    ("csp", 3): (["--data", "{data}"], {"relax": True}),
    ("csp_samplers", 0): (["--data", "{data}", "--confirm"], {}),
    ("dng", 0): (["--data", "{data}", "--structures", "cifs"], {"baseline": "random"}),
    ("dng", 1): (["--data", "{data}", "--baseline", "random"], {"structures": "cifs"}),
    ("dng", 2): (["--data", "{data}"], {"relax": True}),
    ("first_card", 0): (["--data", "{data}"], {"drafts": 2}),
    ("first_card", 1): (["--data", "{data}"], {"samples": 2}),
    ("refinement", 0): (["--data", "{data}", "--source", "rows"], {}),
    ("evaluate_property", 0): (["--data", "{data}"], {}),
    ("evaluate_property", 1): (["--model", "mean"], {"model": "chgnet-features"}),
    ("pretraining", 0): (
        ["--data", "{data}", "--property", "band_gap_ev", "--variants", "scratch"],
        {"kl_weights": "1"},
    ),
    ("latents", 0): (["--data", "{data}"], {"rebuild": 5}),
}
VALUES = {
    "sampler": "pc",
    "steps": "7",
    "tuning": "published",
    "tau": "1",
    "noise_scale": "0.5",
    "remasking": "2",
    "start of csp": "prototype",
    "temperature": "0.5",
    "top_p": "0.5",
    "back_end": "tiny",
    "refiner": "kldm",
    "start": "noise",
    "dtype": "bfloat16",
    "n": "3",
    "rank": "energy",
    "relax_seconds": "5",
    "split": "val",
    "limit": "2",
    "z": "2",
    "fmax": "0.1",
    "seconds": "9",
    "recipe": "kldm-csp-mp",
    "resume": "run",
    "branch": "run",
    "out": "there",
    "unit": "eV",
    "title": "gap",
    "rank of train": "2",
    "target": "gap",
    "minutes": "1",
    "samples": "2",
    "fold": "1",
    "data": "rows.parquet",
    "export": "mine",
    "seed": "1",
    "start_time": "0.5",
    "samplers": "em",
    "calls": "10",
    "features": "features.npz",
    "drafter": "crysllmgen-tiny",
    "model": "kldm-csp-perov5",
    "pretrain_rows": "9",
    "pretrain_samples": "9",
}
WRITTEN = {"logarithmic": "--log"}
CASES = [
    (place, number, name)
    for place, rules in RULES.items()
    for number, rule in enumerate(rules)
    for name in rule.parameters
]


def parameters_of(place):
    module, function = place
    command = getattr(importlib.import_module(f"crystal_core.cli.{module}"), function)
    return inspect.signature(command).parameters


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.parquet"
    path.touch()
    return path


@pytest.mark.parametrize(("place", "number", "name"), CASES)
def test_an_option_without_effect_is_refused(place, number, name, data):
    parameter = parameters_of(place)[name]
    words, _ = SITUATIONS[place[1], number]
    value = VALUES.get(f"{name} of {place[1]}", VALUES.get(name))
    option = WRITTEN.get(name, f"--{name.replace('_', '-')}")
    given = [option] if isinstance(parameter.default, bool) else [option, value]
    line = [*PATHS[place], *(word.format(data=data) for word in words), *given]
    result = CliRunner().invoke(build_app(), line)
    assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1
    assert f"{option} would change nothing; leave it out." in result.stderr


@pytest.mark.parametrize(("place", "number"), dict.fromkeys((place, number) for place, number, _ in CASES))
def test_the_same_options_do_something_elsewhere(place, number):
    defaults = {name: parameter.default for name, parameter in parameters_of(place).items()}
    _, elsewhere = SITUATIONS[place[1], number]
    assert not RULES[place][number].when(defaults | elsewhere)


def test_several_idle_options_are_named_in_one_sentence(data):
    words = ["evaluate", "dng", "--data", data, "--baseline", "random", "--charge-balance", "--top-p", "0.5"]
    result = CliRunner().invoke(build_app(), [*map(str, words)])
    assert result.exit_code == 2
    assert "so --top-p and --charge-balance would change nothing; leave them out." in result.stderr


def test_options_at_their_defaults_are_no_contradiction(data):
    words = [
        "evaluate",
        "csp",
        "--data",
        data,
        "--structures",
        "none",
        "--sampler",
        "fast",
        "--start",
        "noise",
    ]
    result = CliRunner().invoke(build_app(), [*map(str, words)])
    assert result.exit_code == 2 and "would change nothing" not in result.stderr
