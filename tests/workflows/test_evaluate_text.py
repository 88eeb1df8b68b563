"""What is told of a language model's form: parsed without a grammar, and what the grammar takes away."""

import json

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import RequestError
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
