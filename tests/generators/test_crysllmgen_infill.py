"""Which elements fit at a site: Bayes' rule over whole texts, the question to a model of
words, and the command.
"""

import json
import math

import pytest
import torch
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.conditions import Conditions
from crystal_core.errors import RequestError
from crystal_core.generators.crysllmgen.backends.tiny import TinyBackEnd
from crystal_core.generators.crysllmgen.conditions import prompt_tokens
from crystal_core.generators.crysllmgen.config import TinyConfig, build_network
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, hidden, masked, to_lines
from crystal_core.generators.crysllmgen.tokenizer import assemble
from crystal_core.registry.store import load_generator
from crystal_core.testing import toy_crystals
from crystal_core.workflows.infill import infill

CPU = torch.device("cpu")
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_an_element_is_as_likely_as_the_whole_text_with_it(monkeypatch):
    back_end = TinyBackEnd(build_network(TinyConfig(hidden_dim=32, n_layers=2, n_heads=2, ffn_dim=64)), CPU)
    grid = GridCrystals.from_crystals(toy_crystals()["triclinic"])
    seen = []

    def log_chances(grids):
        seen.append(to_lines(grids))
        return [math.log({8: 1, 14: 3, 22: 6}[int(z)]) for z in grids.atomic_numbers.view(3, 3)[:, 0]]

    monkeypatch.setattr(back_end, "log_chances", log_chances)
    rng = torch.Generator().manual_seed(0)
    assert back_end.element_chances(grid, [0], [8, 14, 22], rng) == pytest.approx([0.1, 0.3, 0.6])
    oxygen, silicon, titanium = (text.split("\n") for text in seen[0])
    assert oxygen[2::2] == ["O"] * 3 and silicon[2::2] == ["Si", "O", "O"] and titanium[2::2][0] == "Ti"
    assert silicon[3::2] == titanium[3::2] and len({texts[0] for texts in seen}) == len(seen) == 4  # origins


@pytest.mark.parametrize("sites", [[0], [4], [19], [8, 9, 10]])
def test_texts_that_begin_alike_are_as_likely_as_read_one_by_one(sites):
    back_end = TinyBackEnd(build_network(TinyConfig(hidden_dim=32, n_layers=2, n_heads=2, ffn_dim=64)), CPU)
    crystal = GridCrystals.from_crystals(toy_crystals()["twenty atoms"])
    tried = [crystal.with_element(sites, z).grouped() for z in range(1, 95)]
    other = GridCrystals.from_crystals(toy_crystals()["triclinic"])
    together = back_end.log_chances(GridCrystals.concat([*tried, other, other]))
    calls = back_end.calls
    alone = [back_end.log_chances(one)[0] for one in (*tried, other, other)]
    assert together == pytest.approx(alone, rel=1e-5) and calls < 10
    batch = assemble([prompt_tokens(Conditions())], other)
    logits = back_end.network(input_ids=batch.ids).logits[0].log_softmax(-1)
    places = range(int(batch.prompts[0]), batch.ids.shape[1])
    assert alone[-1] == pytest.approx(sum(float(logits[i - 1, batch.ids[0, i]]) for i in places), rel=1e-5)


def test_atoms_of_an_element_stand_together_as_in_training():
    grid = GridCrystals.from_crystals(toy_crystals()["twenty atoms"])
    changed = grid.with_element([5], 12).grouped()
    assert changed.atomic_numbers.tolist() == [12] * 5 + [14] * 3 + [8] * 12
    assert changed.coords.tolist() == grid.coords[[0, 1, 2, 3, 5, 4, 6, 7, *range(8, 20)]].tolist()


def test_one_site_or_a_whole_element_is_hidden():
    text = to_lines(GridCrystals.from_crystals(toy_crystals()["triclinic"]))[0]
    assert hidden(text, [1, 2]) == masked(text, "O") and hidden(text, [0]) == masked(text, "Ti")
    assert hidden(text, [2]).split("\n")[2::2] == ["Ti", "O", "[MASK]"]


def test_probabilities_add_up_repeat_and_depend_on_the_site(tiny_writer):
    name = tiny_writer()
    first = infill(SALT, [0], model=name, seed=1)
    chances = {row["element"]: row["probability"] for row in first["rows"]}
    assert sum(chances.values()) == pytest.approx(1, abs=1e-4) and len(chances) == 94
    assert [row["probability"] for row in first["rows"]] == sorted(chances.values(), reverse=True)
    assert infill(SALT, [0], model=name, seed=1)["rows"] == first["rows"]
    assert infill(SALT, [4], model=name, seed=1)["rows"] != first["rows"]
    assert (first["present"], first["provenance"]["seed"]) == ("Na", 1)
    assert infill(SALT, [0, 0], model=name, seed=1)["sites"] == [0]
    whole = infill(SALT, [0], model=name, seed=1, all_alike=True)
    assert whole["sites"] == [0, 1, 2, 3] and whole["rows"] != first["rows"]
    lime = SALT.copy()
    lime.replace_species({"Na": "Ca", "Cl": "O"})
    alike = {row["element"] for row in infill(lime, [0], model=name, seed=1, exchangeable=True)["rows"]}
    assert {"Ca", "Yb"} <= alike and len(alike) < 20


def test_a_model_of_words_answers_its_question(tiny_writer, language_model, tmp_path):
    model = load_generator(tiny_writer(), "cpu").with_back_end(str(language_model(tmp_path / "letters")))
    prompts = []
    answer = model.back_end.answer_log_chances
    model.back_end.answer_log_chances = lambda prompt, answers: (
        prompts.append(prompt) or answer(prompt, answers)
    )
    chances = model.fitting_elements(toy_crystals()["rock salt"], [1], seed=0, elements=[9, 17, 12])
    assert sum(chances.values()) == pytest.approx(1) and set(chances) == {9, 17, 12}
    assert "hidden as [MASK]:\n4.0 4.0 4.0\n60 60 60\nNa\n" in prompts[0] and prompts[0].count("[MASK]") == 2
    assert len(set(prompts)) == 2  # origins


def test_what_cannot_be_asked_is_refused(tiny_writer, tiny_de_novo):
    name = tiny_writer()
    for sites, reason in (([9], "no site 9"), ([0, 4], "one and the same element")):
        with pytest.raises(RequestError, match=reason):
            infill(SALT, sites, model=name)
    with pytest.raises(RequestError, match="has read no texts"):
        infill(SALT, [0], model=tiny_de_novo())
    large = SALT.copy()
    large.make_supercell(2)
    with pytest.raises(RequestError, match="cells of up to 59 atoms"):
        infill(large, [0], model=name)


def test_an_element_beyond_the_vocabulary_may_be_hidden_and_not_be_read(tiny_writer):
    name, cell = tiny_writer(), Lattice.cubic(5.4)
    places = [[0, 0, 0], [0.25, 0.25, 0.25], [0.75, 0.75, 0.75]]
    answers = [infill(Structure(cell, [m, "O", "O"], places), [0], model=name, seed=2) for m in ("Am", "U")]
    assert answers[0]["present"] == "Am" and answers[0]["rows"] == answers[1]["rows"]
    with pytest.raises(RequestError, match="not trained on Am; choose other elements"):
        infill(Structure(cell, ["Am", "O", "O"], places), [1], model=name)
    with pytest.raises(RequestError, match="ionic radius like those of He; ask for all elements"):
        infill(Structure(cell, ["He"], places[:1]), [0], model=name, exchangeable=True)


def test_the_command_lists_elements(tiny_writer, tmp_path):
    path = tmp_path / "salt.cif"
    SALT.to(str(path))
    words = ["infill", str(path), "--site", "0", "--model", tiny_writer(), "--seed", "3"]
    result = CliRunner().invoke(build_app(), [*words, "--json"])
    assert result.exit_code == 0 and result.stderr == (
        "tiny-writer was trained on cells of up to 5 atoms; cells of 8 atoms are a guess.\n"
    )
    data = json.loads(result.stdout)
    assert set(data["rows"][0]) == {"element", "probability"} and data["provenance"]["seed"] == 3
    lines = CliRunner().invoke(build_app(), words).stdout.splitlines()
    assert lines[0].startswith("Na at site 0") and len(lines) == 11
    assert lines[1].split()[0] == data["rows"][0]["element"]
    refused = CliRunner().invoke(build_app(), ["infill", str(path), "--site", "50", "--model", "tiny-writer"])
    assert (
        refused.exit_code == 2
        and refused.stderr == "There is no site 50; the crystal has the sites 0 to 7.\n"
    )


def test_what_does_not_fit_the_file_is_part_of_the_answer(tiny_writer, tmp_path):
    path = tmp_path / "salt.xyz"
    cell = 'Lattice="2.8 2.8 0 0 2.8 2.8 2.8 0 2.8" Properties=species:S:1:pos:R:3'
    path.write_text(2 * f"2\n{cell}\nNa 0 0 0\nCl 2.8 2.8 2.8\n")
    words = ["infill", str(path), "--site", "0", "--model", tiny_writer(), "--json"]
    result = CliRunner().invoke(build_app(), words)
    told = "salt.xyz: The file holds 2 crystals; the first one is used."
    assert result.exit_code == 0 and result.stderr == f"{told}\n"
    assert json.loads(result.stdout)["notes"] == [told]
