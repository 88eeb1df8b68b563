"""The command ``screen``: its CONFIG, processes, interruption and JSON."""

import json
import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.cli._campaign import read_campaign
from crystal_core.requests.screening import ScreeningRequest
from crystal_core.workflows.screen import backends
from crystal_core.workflows.screen.campaign import check

pytestmark = pytest.mark.weights
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "screening.toml"
KEYS = {"done", "failed", "written", "seconds"}


def call(*words):
    return CliRunner().invoke(build_app(), ["screen", *map(str, words)])


@pytest.fixture
def config(tmp_path):
    """A function: text of tables → a CONFIG with a small model."""

    def write(text="", generate=""):
        path = tmp_path / "hunt.toml"
        path.write_text(
            f'[generate]\nmodel = "kldm-dng-perov5"\nsampler = "em"\nsteps = 8\n{generate}\n{text}'
        )
        return path

    return write


def cells(folder):
    crystals = json.loads((folder / "run.json").read_text())["crystals"]
    return [(crystal["id"], crystal["frac_coords"]) for crystal in crystals]


def here(make, items):
    work = make()
    for place, item in enumerate(items):
        yield place, work(item)


@pytest.fixture
def in_this_process(monkeypatch):
    """A function: campaigns then run in this process, by another backend where one is given."""

    def use(backend=here):
        monkeypatch.setattr(backends, "backend_of", lambda *_, **__: backend)

    use()
    return use


def test_processes_give_the_crystals_of_one_and_the_report_its_keys(config, tmp_path, monkeypatch):
    path = config('[filter]\nchecks = ["distinct"]')
    words = (path, "--n", 4, "--batch", 2, "--seed", 7, "--json")
    several = call(*words, "--workers", 2, "--out", tmp_path / "several")
    assert several.exit_code == 0, several.stderr
    report = json.loads(several.stdout)
    assert set(report) >= {*KEYS, "counts", "ranking", "settings"} and report["done"] == 4
    assert report["settings"]["seed"] == 7 and report["settings"]["workers"] == 2
    assert report["written"] == len(report["ranking"]) == len([*(tmp_path / "several").glob("*.cif")])
    assert (tmp_path / "several" / "run.extxyz").is_file()
    monkeypatch.setattr(backends, "backend_of", lambda *_, **__: here)
    assert call(*words, "--out", tmp_path / "one").exit_code == 0
    assert cells(tmp_path / "one") == cells(tmp_path / "several")


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_campaign_says_what_is_finished_and_goes_on_with_its_drawn_seed(
    config, tmp_path, in_this_process
):
    def interrupted(make, items):
        yield 0, make()(items[0])
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal ends this")

    words = (config(), "--n", 6, "--batch", 2, "--out", tmp_path / "hunt", "--json")
    in_this_process(interrupted)
    first = call(*words)
    report = json.loads(first.stdout)
    assert first.exit_code == 130 and report["interrupted"]
    # the seed is drawn, and with few steps a crystal may be no cell
    assert report["done"] + report["failed"] == 2
    assert first.stderr.splitlines()[-1].startswith("Interrupted; 1 of 3 batches are finished")
    in_this_process(here)
    second = json.loads(call(*words).stdout)
    assert second["settings"]["seed"] == report["settings"]["seed"]
    assert second["done"] + second["failed"] == 6
    assert "interrupted" not in second


def test_without_a_folder_the_crystals_are_in_the_json(config, in_this_process):
    report = json.loads(call(config(generate="n = 3\nseed = 5"), "--json").stdout)
    assert (report["done"], report["written"]) == (3, 0)
    assert [crystal["id"] for crystal in report["crystals"]] == [row["id"] for row in report["ranking"]]
    assert report["settings"]["seed"] == 5


def test_a_campaign_without_a_finished_batch_has_failed(config, in_this_process):
    in_this_process(lambda make, items: ((place, None) for place, _ in enumerate(items)))
    result = call(config(), "--n", 4, "--batch", 2, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and (report["done"], report["failed"]) == (0, 4)


def test_people_read_the_ranking_and_the_counts(config, in_this_process):
    result = call(config('[filter]\nchecks = ["valid"]'), "--n", 3, "--seed", 1, "--quiet")
    assert result.exit_code == 0 and "3 of 3 generated; left after valid " in result.stdout
    assert "ranked, without repeats" in result.stdout


@pytest.mark.parametrize(
    ("text", "generate", "words"),
    [
        ("[filters]", "", "no table 'filters'; it takes generate, filter, relax, rank"),
        ("[filter]\nvalid = true", "", 'filter] valid is a check; write checks = ["valid"]'),
        ('[filter]\nchecks = ["solid"]', "", "checks has no 'solid'; choose from valid"),
        ('[filter]\nchecks = "valid"', "", "checks must be a list of valid"),
        ("[filter]\nhardness = { min = 1 }", "", "[filter] has no key 'hardness'; it takes checks"),
        ("[filter]\ne_above_hull_ev = 0.1\n[relax]", "", "e_above_hull_ev needs the values that pass"),
        ("[filter]\ne_above_hull_ev = {}\n[relax]", "", "[filter.e_above_hull_ev]: A window needs min"),
        ('[filter]\ne_above_hull_ev = { max = "low" }\n[relax]', "", "max must be a number, not 'low'"),
        ("[filter]\ne_above_hull_ev = { min = 2, max = 1 }\n[relax]", "", "min 2 is above max 1"),
        ("[relax]\nforce = 1", "", "[relax] has no key 'force'; it takes potential, fmax, steps, seconds"),
        ('[relax]\npotential = "mace"', "", "[relax]: Unknown potential 'mace'"),
        ("[relax]\nfmax = true", "", "fmax (eV/Å) must be a number"),
        ("[rank]", "", "[rank] lacks a key; it takes by, order"),
        ('[rank]\nby = "band_gap_ev"\norder = "up"', "", "[rank]: Unknown order 'up'"),
        ("", "speed = 3", "[generate] has no key 'speed'; it takes model"),
        ("", 'device = "cpu"', "[generate] has no key 'device'"),
        ("", 'tau = "much"', "[generate] tau: Input should be a valid number"),
        ("", "require-all = 1", "[generate] require-all must be true or false"),
        ("", "elements = true", "[generate] elements must be a text, a number or a list"),
        ("", "elements = []", "--elements names no element"),
        ("", 'n-atoms = "many"', "--n-atoms takes a number or a range"),
        ("", "=", "is not TOML"),
    ],
)
def test_a_wrong_config_is_one_sentence_that_names_file_and_key(config, text, generate, words):
    result = call(config(text, generate), "--n", 2)
    assert result.exit_code == 2 and words in result.stderr and result.stderr.startswith("hunt.toml")
    assert len(result.stderr.splitlines()) == 1 and not result.stdout


def test_other_wrong_calls_are_refused(config, tmp_path):
    assert "no file" in call(tmp_path / "absent.toml").stderr
    result = call(config(), "--backend", "slurm")
    assert result.exit_code == 2 and "choose one of local, ray" in result.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.cif").write_text("data_")
    result = call(config(), "--out", tmp_path / "full")
    assert result.exit_code == 2 and "no screening began" in result.stderr


def test_a_missing_ray_ends_with_the_way_to_get_it(config, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    result = call(config(), "--backend", "ray")
    assert result.exit_code == 3 and "pip install 'crystal-studio[ray]'" in result.stderr


def test_files_of_a_config_lie_beside_it_and_options_have_the_names_of_generate(config, tmp_path):
    from pymatgen.core import Lattice, Structure

    from crystal_core.files.writers import structure_to_text

    salt = Structure(Lattice.cubic(5.6), ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (tmp_path / "part.cif").write_text(structure_to_text(salt, "cif"))
    text = (
        'fix = "part.cif"\nfix_sites = [0]\nn-atoms = "3-5"\nexclude = ["Ti"]\nany-of = [["Li", "O"], "Fe"]'
    )
    given = read_campaign(config(generate=text))["generate"]
    assert given.fix["atomic_numbers"] == [3, 8] and given.fix_sites == (0,) and given.n_atoms == (3, 5)
    assert given.exclude_elements == ("Ti",) and given.any_of == (("Li", "O"), ("Fe",))


def test_the_example_of_the_documents_can_be_screened():
    request = ScreeningRequest(**read_campaign(EXAMPLE), n=64, seed=1, device="cpu")
    check(request)
    assert request.relax and request.rank.by == "e_above_hull_ev" and request.predicted == ("band_gap_ev",)
