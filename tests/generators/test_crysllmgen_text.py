"""Crystals as text: exact round trips through both forms, rounding at its edges, prompts and masks."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from crystal_core.conditions import Conditions
from crystal_core.crystal import CrystalBatch
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.conditions import (
    infill_prompt,
    prompt_text,
    prompt_tokens,
    read_wording,
)
from crystal_core.generators.crysllmgen.crystal_text import (
    GridCrystals,
    from_lines,
    masked,
    spans_cell,
    to_lines,
)
from crystal_core.generators.crysllmgen.tokenizer import (
    assemble,
    build_tokenizer,
    crystal_tokens,
    parse_tokens,
    to_words,
)
from crystal_core.geometry import lattice_from_parameters, lattice_parameters, wrap

DATA = os.environ.get("CRYSTAL_DATA")


def grid(cell=(4.0, 5.0, 6.0, 90.0, 90.0, 90.0), coords=((0.0, 0.0, 0.0),), numbers=(11,)):
    return GridCrystals.from_parameters(
        torch.tensor([cell]),
        torch.tensor(coords, dtype=torch.float64),
        torch.tensor(numbers),
        torch.tensor([len(numbers)]),
    )


def random_grids(n, seed=0):
    rng = torch.Generator().manual_seed(seed)
    n_atoms = torch.randint(1, 21, (n,), generator=rng)
    atoms = int(n_atoms.sum())
    cells = torch.cat(
        [2 + 20 * torch.rand(n, 3, generator=rng), 60 + 50 * torch.rand(n, 3, generator=rng)], dim=1
    )
    return GridCrystals.from_parameters(
        cells,
        torch.rand(atoms, 3, generator=rng),
        torch.randint(1, 95, (atoms,), generator=rng),
        n_atoms,
    )


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)


def test_a_crystal_reads_as_the_published_lines():
    crystal = grid(
        (3.84, 3.85, 12.0, 59.9997, 119.99, 90.4), ((0.0, 0.5, 0.25), (0.996, -0.001, 0.994)), (11, 17)
    )
    # 59.9997 is 60 and not 59; 0.996 and -0.001 are the site at 0.00
    assert to_lines(crystal) == ["3.8 3.8 12.0\n60 120 90\nNa\n0.00 0.50 0.25\nCl\n0.00 0.00 0.99"]


@pytest.mark.parametrize(
    ("coordinate", "hundredths"),
    [(0.995, 0), (0.9949, 99), (1.0, 0), (-0.004, 0), (-0.006, 99), (0.005001, 1), (2.25, 25)],
)
def test_coordinates_wrap_after_rounding(coordinate, hundredths):
    assert grid(coords=((coordinate, 0.5, 0.5),)).coords[0, 0] == hundredths


@pytest.mark.parametrize("n", [1, 20])
def test_one_atom_and_twenty_keep_their_numbers_in_both_forms(n):
    crystals = GridCrystals.from_parameters(
        torch.tensor([[4.0, 5.0, 6.0, 80.0, 95.0, 100.0]]),
        torch.rand(n, 3),
        torch.arange(1, n + 1),
        torch.tensor([n]),
    )
    assert same(GridCrystals.from_crystals(from_lines(to_lines(crystals)[0])), crystals)
    batch = assemble([prompt_tokens(Conditions())], crystals)
    assert int(batch.lengths) - int(batch.prompts) == 18 + 7 * n + 1
    assert same(parse_tokens(batch.ids[0, int(batch.prompts) :].tolist()), crystals)


def check_round_trips(crystals):
    """Every crystal through both forms of text, and back to the same whole numbers."""
    texts = to_lines(crystals)
    assert same(
        GridCrystals.from_crystals(CrystalBatch.concat([from_lines(text) for text in texts])), crystals
    )
    prompt = prompt_tokens(Conditions())
    batch = assemble([prompt] * len(crystals), crystals)
    parsed = [parse_tokens(row) for row in batch.ids[:, len(prompt) :].tolist()]
    for name in crystals.__dataclass_fields__:
        assert torch.equal(torch.cat([getattr(one, name) for one in parsed]), getattr(crystals, name)), name


def test_random_crystals_return_from_both_forms():
    check_round_trips(random_grids(300))


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="needs the raw data sets (CRYSTAL_DATA)")
@pytest.mark.parametrize("table", ["mp20", "perov5"])
def test_rows_of_the_data_are_rounded_within_the_words_and_return_from_both_forms(table):
    import pandas as pd

    rows = pd.read_parquet(
        Path(DATA) / f"{table}.parquet", columns=["lattice", "species", "frac_coords", "n_atoms"]
    )
    lattice = torch.from_numpy(np.stack(rows.lattice.to_numpy()).reshape(-1, 3, 3))
    coords = torch.from_numpy(np.concatenate(rows.frac_coords.to_numpy()).reshape(-1, 3))
    parameters = lattice_parameters(lattice)
    numbers = torch.from_numpy(np.concatenate(rows.species.to_numpy()).astype(np.int64))
    n_atoms = torch.from_numpy(rows.n_atoms.to_numpy().astype(np.int64))
    crystals = GridCrystals.from_parameters(parameters, coords, numbers, n_atoms)
    assert (crystals.lengths / 10 - parameters[:, :3]).abs().max() <= 0.05 + 1e-6
    assert (crystals.angles - parameters[:, 3:]).abs().max() <= 0.5 + 1e-6
    assert wrap(crystals.coords / 100 - coords).abs().max() <= 0.005 + 1e-6
    # every kind of row: the largest, all elements, the ends of every parameter, and a thousand by chance
    owner = torch.arange(len(rows)).repeat_interleave(n_atoms)
    last = torch.zeros(int(numbers.max()) + 1, dtype=torch.long).scatter_(0, numbers, owner)
    chosen = {
        int(n_atoms.argmax()),
        *last[numbers.unique()].tolist(),
        *torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:1000].tolist(),
    }
    chosen |= {*parameters.argmin(0).tolist(), *parameters.argmax(0).tolist()}
    chosen_rows = torch.tensor(sorted(chosen))
    sites = torch.isin(owner, chosen_rows)
    check_round_trips(
        GridCrystals.from_parameters(
            parameters[chosen_rows], coords[sites], numbers[sites], n_atoms[chosen_rows]
        )
    )


def test_crystals_in_space_keep_their_grid():
    crystals = random_grids(200, seed=1)
    assert same(GridCrystals.from_crystals(crystals.to_crystals()), crystals)


def test_whole_degrees_that_span_no_cell_are_refused():
    flat = torch.tensor([[60, 60, 120], [30, 30, 90], [90, 90, 180], [120, 120, 120], [0, 90, 90]])
    assert not spans_cell(flat).any()
    assert spans_cell(torch.tensor([[60, 60, 60], [30, 150, 150], [1, 1, 1], [60, 60, 119]])).all()
    with pytest.raises(RequestError, match="no volume"):
        grid((4.0, 5.0, 6.0, 60.2, 60.2, 119.9))
    with pytest.raises(RequestError, match="no volume"):
        grid((0.04, 5.0, 6.0, 90.0, 90.0, 90.0))


def test_what_has_no_word_is_refused_in_a_sentence():
    with pytest.raises(RequestError, match="Atomic number 95 has no word"):
        grid(numbers=(95,))
    with pytest.raises(RequestError, match="not a finite number"):
        grid(coords=((float("nan"), 0.0, 0.0),))
    assert (
        crystal_tokens(grid((99.94, 5.0, 6.0, 90.0, 90.0, 90.0)))[0][0, :3].tolist()
        == [vocabulary.DIGIT + 9] * 3
    )
    with pytest.raises(RequestError, match=r"100\.0 Å long"):
        crystal_tokens(grid((99.96, 5.0, 6.0, 90.0, 90.0, 90.0)))
    assert to_lines(grid((123.4, 5.0, 6.0, 90.0, 90.0, 90.0)))[0].startswith("123.4 5.0 6.0\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 lines"),
        ("4.0 5.0 6.0\n90 90 90", "2 lines"),
        ("4.0 5.0 6.0\n90 90 90\nNa\n0.00 0.00 0.00\nCl", "5 lines"),
        ("4.0 5.0 6.0\n90 90 90\nNa\n0.00 0.00", "three numbers"),
        ("4.0 5.0 6.0\n90 90 nan\nNa\n0.00 0.00 0.00", "three numbers"),
        ("4.0 5.0 6.0\n90 90 90\nXx\n0.00 0.00 0.00", "'Xx' is not the symbol"),
        ("4.0 5.0 6.0\n90 90 90\nAm\n0.00 0.00 0.00", "'Am' is not the symbol"),
        ("4.0 5.0 6.0\n60 60 120\nNa\n0.00 0.00 0.00", "no cell with a volume"),
        ("4.0 -5.0 6.0\n90 90 90\nNa\n0.00 0.00 0.00", "no cell with a volume"),
        ("4.0 5.0 6.0\n90 90 190\nNa\n0.00 0.00 0.00", "no cell with a volume"),
    ],
)
def test_text_that_is_no_crystal_is_refused_with_the_reason(text, reason):
    with pytest.raises(StructureParseError, match=reason):
        from_lines(text)


def test_text_of_other_decimals_is_read_as_it_stands():
    crystal = from_lines("\n 4.25 5.0 6.0 \n90 90.5 90\n\nNa\n1.00 -0.25 0.333\n")
    torch.testing.assert_close(
        lattice_parameters(crystal.lattice)[0], torch.tensor([4.25, 5.0, 6.0, 90.0, 90.5, 90.0])
    )
    torch.testing.assert_close(crystal.frac_coords[0], torch.tensor([0.0, 0.75, 0.333]))


def test_ids_never_change():
    assert vocabulary.VERSION == 1 and list(vocabulary.IDS.values()) == list(range(119))
    known = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<sep>": 4, "<gen>": 5, "<ehull>": 12, "0": 15, "9": 24}
    known |= {"H": 25, "Na": 35, "Pu": 118}
    assert {word: vocabulary.IDS[word] for word in known} == known
    assert vocabulary.SYMBOLS[0] == "H" and vocabulary.ATOMIC_NUMBERS["Pu"] == 94 == len(vocabulary.SYMBOLS)
    assert max(vocabulary.IDS.values()) < vocabulary.SIZE


def test_the_tokenizer_of_transformers_knows_the_same_words(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = build_tokenizer()
    ids = assemble([prompt_tokens(Conditions(composition={11: 1, 17: 1}, band_gap=-0.0001))], random_grids(1))
    words = to_words(ids.ids[0].tolist())
    assert words.startswith("<bos> <gen> <formula> Na 1 Cl 1 <gap> 0 . 0 0 0 <sep> ")
    assert tokenizer(words).input_ids == ids.ids[0].tolist() and tokenizer.decode(ids.ids[0]) == words
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    batch = tokenizer(["<bos> <gen> <sep>", "<bos> <gen> <elements> O <sep>"], padding=True)
    assert batch.attention_mask == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(words).input_ids == ids.ids[0].tolist()
    with pytest.raises(Exception, match="UNK"):
        tokenizer("Xx")


def test_prompts_of_different_length_stand_at_the_front():
    crystals = random_grids(3, seed=2)
    prompts = [prompt_tokens(Conditions(elements=z)) for z in ((8,), (), (1, 6, 8))]
    batch = assemble(prompts, crystals)
    for row, length, prompt in zip(batch.ids.tolist(), batch.lengths.tolist(), prompts, strict=True):
        assert row[: len(prompt)] == prompt
        assert row[length - 1] == vocabulary.EOS and set(row[length:]) <= {vocabulary.PAD}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda ids: ids[:-1], "does not end"),
        (lambda ids: ids[:-2] + ids[-1:], "no cell with whole atoms"),
        (lambda ids: ids[18 + 7 :], "no cell with whole atoms"),
        (lambda ids: [vocabulary.DOT, *ids[1:]], "no digit"),
        (lambda ids: [*ids[:18], vocabulary.DIGIT, *ids[19:]], "no element"),
        (lambda ids: [vocabulary.DIGIT] * 9 + ids[9:], "no volume"),
        (lambda ids: ids[:9] + [vocabulary.DIGIT] * 9 + ids[18:], "no volume"),
    ],
)
def test_tokens_that_are_no_crystal_are_refused_with_the_reason(spoil, reason):
    good = assemble([[]], grid()).ids[0].tolist()
    parse_tokens([*good, vocabulary.PAD, vocabulary.PAD])
    with pytest.raises(StructureParseError, match=reason):
        parse_tokens(spoil(good))


def test_hiding_carbon_leaves_calcium_chlorine_and_cobalt():
    text = to_lines(grid(coords=((0.0, 0.0, 0.0),) * 5, numbers=(6, 20, 17, 27, 6)))[0]
    assert masked(text, "C").split("\n")[2::2] == ["[MASK]", "Ca", "Cl", "Co", "[MASK]"]
    assert masked(text, "C").count("[MASK]") == 2
    with pytest.raises(RequestError, match="has no Cs"):
        masked(text, "Cs")


def test_prompts_name_the_reduced_formula_in_words_and_the_atoms_of_the_cell_in_tokens():
    wanted = Conditions(composition={11: 4, 17: 4}, space_group=225, formation_energy=-2.1, e_above_hull=0.0)
    words = prompt_text(wanted, read_wording())
    assert "Formula: NaCl. Space group number: 225. Formation energy per atom: -2.1000 eV. " in words
    assert words.startswith("Crystalline bulk material. ") and words.endswith(":\n")
    assert to_words(prompt_tokens(wanted)) == (
        "<bos> <gen> <formula> Na 4 Cl 4 <sg> 2 2 5 <ef> - 2 . 1 0 0 <ehull> 0 . 0 0 0 <sep>"
    )
    assert "Elements: H, O. " in prompt_text(Conditions(elements=(8, 1)), read_wording())
    assert "[MASK]\n0.00" in infill_prompt(to_lines(grid())[0], "Na", read_wording())
    with pytest.raises(RequestError, match="not both"):
        Conditions(composition={1: 1}, elements=(1,))
    with pytest.raises(RequestError, match="beyond plutonium"):
        prompt_tokens(Conditions(elements=(95,)))


def test_a_wording_of_other_fields_is_refused(tmp_path):
    path = tmp_path / "wording.json"
    path.write_text('{"opener": ""}', encoding="utf-8")
    with pytest.raises(RequestError, match="must have the fields"):
        read_wording(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(RequestError, match="cannot be read"):
        read_wording(path)


def test_lattices_of_the_grid_have_the_orientation_of_the_core():
    crystals = random_grids(5, seed=3)
    parameters = torch.cat([crystals.lengths / 10, crystals.angles], dim=1)
    torch.testing.assert_close(crystals.to_crystals().lattice, lattice_from_parameters(parameters))
