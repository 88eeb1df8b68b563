"""What is told of a language model's form: parsed without a grammar, and what the grammar takes away."""

import json

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import RequestError
from crystal_core.registry.store import find_card
from crystal_core.workflows.evaluate_text import evaluate_text


def test_an_untrained_model_parses_with_the_grammar_alone(tiny_writer):
    lines = []
    report = evaluate_text(
        tiny_writer(), 6, seed=1, top_p=1.0, device="cpu", on_progress=lambda *line: lines.append(line)
    )
    assert (report["n"], report["parse_rate"], report["parse_rate_with_grammar"]) == (6, 0.0, 1.0)
    assert sum(report["problems"].values()) == 6 and all("…" in p or p for p in report["problems"])
    assert 0.5 < report["removed_mass"] < 1 and report["ci95"][0] == 0.0 < report["ci95"][1]
    assert report["without_grammar"]["n"] == 0 and report["with_grammar"]["n"] == 6
    assert report["with_grammar"]["structure_valid"] == 1.0  # the grammar keeps atoms apart
    assert {stage for stage, *_ in lines} == {"without the grammar", "with the grammar"}
    assert max(done for _, done, _ in lines) == 6 and report["provenance"]["seed"] == 1


def test_the_command_tells_it(tiny_writer, tiny_de_novo):
    words = ["evaluate", "text", "--model", tiny_writer(), "--n", "3", "--seed", "1", "--top-p", "1"]
    report = json.loads(CliRunner().invoke(build_app(), [*words, "--json", "--quiet"]).stdout)
    assert report["settings"] == {"temperature": 1.0, "top_p": 1.0, "back_end": "tiny"}
    output = CliRunner().invoke(build_app(), words).stdout
    assert "0.0% of 3 drafts parse without the grammar" in output and "with grammar: 3 crystals" in output
    balanced = json.loads(
        CliRunner().invoke(build_app(), [*words, "--charge-balance", "--json", "--quiet"]).stdout
    )
    assert balanced["settings"]["charge_balance"] and balanced["provenance"]["settings"]["charge_balance"]
    assert 0 < balanced["charge_mass"] < balanced["removed_mass"] and 0 <= balanced["unbalanced"] <= 3
    passed = round(3 * balanced["with_grammar"]["composition_valid"])
    assert passed == 3 - balanced["unbalanced"]
    with pytest.raises(RequestError, match="writes no text"):
        evaluate_text(tiny_de_novo(), 2)


def test_the_card_keeps_the_share_that_parses_and_its_command_measures_it_again(tiny_writer):
    name = tiny_writer()
    words = ["evaluate", "text", "--model", name, "--n", "4", "--seed", "2", "--top-p", "1", "--quiet"]
    for more in ([], ["--charge-balance"]):
        assert CliRunner().invoke(build_app(), [*words, *more, "--write-card"]).exit_code == 0
    metrics = find_card(name).metrics
    plain, balanced = metrics["parse_rate"], metrics["parse_rate_charge_balanced"]
    assert (plain["value"], plain["n"], plain["parsed_with_grammar"]) == (0.0, 4, 1.0)
    # an untrained model knows no form, so the grammar removes most of the probability
    assert 50 < plain["removed_percent"] < 100 and "charge_percent" not in plain
    assert 0 < balanced["charge_percent"] < balanced["removed_percent"]
    again = CliRunner().invoke(build_app(), [*plain["command"].split()[1:], "--json", "--quiet"])
    assert round(100 * json.loads(again.stdout)["removed_mass"], 4) == plain["removed_percent"]


def test_another_language_model_is_not_written_onto_the_card(tiny_writer):
    words = ["evaluate", "text", "--model", tiny_writer(), "--n", "2", "--back-end", "tiny", "--write-card"]
    done = CliRunner().invoke(build_app(), words)
    assert done.exit_code == 2 and "leave out --back-end" in done.stderr
