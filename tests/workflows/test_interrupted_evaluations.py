"""An interrupted evaluation reports on what is finished, with the same numbers as if only that had been
requested, writes no card, and ends with the code of the interruption.
"""

import json

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.cli._files import trials_folder
from crystal_core.errors import RequestError
from crystal_core.evaluation.statistics import wilson
from crystal_core.interruption import NO_INTERRUPTION, Interruption, Terminated
from crystal_core.reference import measure_known
from crystal_core.reference.known_file import load_known
from crystal_core.registry.store import find_card
from crystal_core.relax import many
from crystal_core.workflows import evaluate_conditions, evaluate_csp, evaluate_dng, first_card


def spinel_like(symbol, a):
    """A cubic cell of seven atoms."""
    places = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.25] * 3, [0.75] * 3, [0.5] * 3]
    return Structure(Lattice.cubic(a), [symbol, "Ti", "Ti", "O", "O", "O", "O"], places)


CELLS = {
    "r-1": Structure(Lattice.cubic(3.2), ["Fe", "Ti"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "r-2": Structure(Lattice.cubic(3.5), ["Sr", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "r-3": spinel_like("Li", 5.1),
    "r-4": spinel_like("Fe", 5.3),
}


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A function: ids → the file of these rows."""
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))

    def write(*names):
        rows = [
            {
                "material_id": name,
                "formula": CELLS[name].composition.reduced_formula,
                "n_atoms": len(CELLS[name]),
                "lattice": CELLS[name].lattice.matrix.ravel(),
                "species": np.array([site.specie.Z for site in CELLS[name]]),
                "frac_coords": CELLS[name].frac_coords.ravel(),
                "spacegroup_number": 221,
                "split": split,
            }
            for split in ("train", "val")
            for name in names
        ]
        path = tmp_path / f"{len(names)}-rows.parquet"
        pd.DataFrame(rows).to_parquet(path)
        return path

    return write


def run(*words):
    result = CliRunner().invoke(build_app(), ["evaluate", *map(str, words), "--json", "--quiet"])
    return result, json.loads(result.stdout) if result.stdout else None


def interrupt_at(monkeypatch, owner, name, number, error=KeyboardInterrupt):
    """The ``number``-th call of a function is interrupted."""
    true, calls = getattr(owner, name), []

    def counted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == number:
            raise error
        return true(*arguments, **options)

    monkeypatch.setattr(owner, name, counted)


def measured(report):
    """The numbers of a report, without times, settings and what an interruption adds."""
    left_out = ("seconds", "seconds_sampling", "settings", "interrupted", "covers")
    return {name: value for name, value in report.items() if name not in left_out}


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_predicted_structures_are_scored_as_far_as_they_are_sampled(
    table, tiny_refiner, tmp_path, monkeypatch, error, code
):
    monkeypatch.setattr(evaluate_csp, "CHUNK", 2)
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    name = tiny_refiner(tmp_path / "checkpoints")
    words = ["csp", "--model", name, "--sampler", "em", "--steps", 3, "--seed", 4, "--workers", 1, "--data"]
    _, whole = run(*words, table("r-1", "r-2"))
    with monkeypatch.context() as patch:
        interrupt_at(patch, evaluate_csp, "_run", 2, error)
        result, report = run(*words, table(*CELLS), "--write-card")
    assert result.exit_code == code and report["interrupted"]
    assert report["covers"] == "2 of 4 rows, the smallest"
    assert measured(report) == measured(whole) and report["n"] == 2
    assert "no card is written" in result.stderr and not find_card(name).metrics
    with monkeypatch.context() as patch:
        interrupt_at(patch, evaluate_csp, "_run", 1, error)
        result, report = run(*words, table(*CELLS))
    assert result.exit_code == code and report is None  # nothing is finished


def test_new_crystals_are_scored_as_far_as_they_are_sampled(table, tiny_de_novo, monkeypatch):
    monkeypatch.setattr(evaluate_dng, "CHUNK", 2)
    name = tiny_de_novo()
    words = ["dng", "--model", name, "--sampler", "em", "--steps", 3, "--seed", 4, "--workers", 1]
    words += ["--data", table(*CELLS)]
    _, whole = run(*words, "--n", 2)
    interrupt_at(monkeypatch, evaluate_dng, "last_frame", 2)
    result, report = run(*words, "--n", 6, "--write-card")
    assert result.exit_code == 130 and report["covers"] == "2 of 6 crystals"
    assert measured(report) == measured(whole) and report["n"] == 2
    assert not find_card(name).metrics


def test_relaxed_crystals_count_up_to_the_first_unfinished_one(monkeypatch):
    def finished(*_, **__):
        yield from ((0, None), (1, None), (3, None))  # two processes: the third crystal takes longer
        raise KeyboardInterrupt

    class Potential:
        name, label = "chgnet", "a potential"

    monkeypatch.setattr(many, "relax_many", finished)
    cells = [CELLS["r-1"], None, CELLS["r-2"], CELLS["r-3"], CELLS["r-4"]]
    relaxed = evaluate_dng.relax_crystals(
        cells, None, Potential(), seconds=9, workers=1, stop=Interruption(lambda: None)
    )
    assert len(relaxed.e_above_hull) == len(relaxed.rmsd) == len(relaxed.likeness.groups) == 3
    assert relaxed.about["covers"] == "the first 3 of 5 crystals" and relaxed.about["interrupted"]
    candidates = [[cell] for cell in cells]
    rows = evaluate_csp.relax_candidates(candidates, Potential(), stop=Interruption(lambda: None))
    assert rows.candidates == candidates[:3] and rows.n_not_relaxed == 2
    with pytest.raises(KeyboardInterrupt):
        evaluate_csp.relax_candidates(candidates, Potential())


def test_drafts_are_measured_as_far_as_they_are_written(table, tiny_writer, monkeypatch):
    from crystal_core.generators.crysllmgen.backends.tiny import TinyBackEnd

    name = tiny_writer()
    words = ["text", "--model", name, "--n", 3, "--seed", 2, "--top-p", 1]
    _, whole = run(*words)
    interrupt_at(monkeypatch, TinyBackEnd, "write", 2)
    result, report = run(*words)
    assert result.exit_code == 130
    assert report["covers"] == "3 drafts without the grammar and 0 with it, of 3 each"
    same = ("n", "parse_rate", "ci95", "problems")
    assert [report[key] for key in same] == [whole[key] for key in same]
    assert "with_grammar" not in report and whole["n_with_grammar"] == 3


def test_every_way_of_making_crystals_is_compared_on_the_same_prompts(table, tiny_pair, monkeypatch):
    monkeypatch.setattr(evaluate_conditions, "CHUNK", 1)
    interrupt_at(monkeypatch, evaluate_conditions, "last_of", 2)  # the second draft is written, not refined
    words = ["conditions", "--model", tiny_pair(), "--n", 4, "--seed", 1, "--refiner", "kldm"]
    result, report = run(*words, "--data", table(*CELLS))
    assert result.exit_code == 130 and report["interrupted"] and report["formula"]["n"] == 4
    assert {name: entry["n"] for name, entry in report["space_group"].items()} == {"alone": 1, "kldm": 1}


def test_first_cards_are_counted_for_the_finished_rows(table, monkeypatch):
    words = ["first-card", "--effort", "prior", "--limit", 4, "--data", table(*CELLS)]
    interrupt_at(monkeypatch, first_card, "judge_row", 4)
    result, report = run(*words)
    assert result.exit_code == 130 and report["n"] == report["any_candidate"]["n"] == 3
    assert report["covers"] == "3 of 4 rows, in random order"


def test_a_measurement_of_known_crystals_tells_its_progress_and_covers_what_is_finished(monkeypatch, capsys):
    interrupt_at(monkeypatch, measure_known, "known_matches", 3)
    stop = Interruption(lambda: None)
    part = measure_known.copies(load_known(), 5, np.random.default_rng(3), stop)
    assert part["n"] == 2 and part["ci95"] == [round(end, 4) for end in wilson(round(2 * part["share"]), 2)]
    assert "copies: 0 of 5" in capsys.readouterr().err and stop
    interrupt_at(monkeypatch, measure_known, "known_matches", 1)
    assert measure_known.traps(load_known(), 5, np.random.default_rng(3), stop) == {}


def test_trials_without_a_folder_stay_where_an_interruption_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def trials(end):
        with trials_folder(None) as folder:
            (folder / "finished.json").write_text("1")
            if end is not None:
                raise end
        return folder

    assert not trials(None).exists()
    with pytest.raises(RequestError):
        trials(RequestError("wrong"))
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        trials(KeyboardInterrupt())
    (folder,) = tmp_path.iterdir()
    assert (folder / "finished.json").read_text() == "1"
    assert f"the same call with --out {folder} continues" in capsys.readouterr().err


def test_a_second_interruption_ends_at_once_and_other_errors_pass():
    stop, told = Interruption(lambda: told.append("once")), []
    with stop:
        raise Terminated
    assert told == ["once"] and stop
    stop.end(unless=[1])
    for again in (stop.end, lambda: stop.end(unless=[])):
        with pytest.raises(Terminated):
            again()
    with pytest.raises(ValueError, match="a fault"), Interruption(lambda: None):
        raise ValueError("a fault")
    with pytest.raises(KeyboardInterrupt), NO_INTERRUPTION:
        raise KeyboardInterrupt
    assert not NO_INTERRUPTION
