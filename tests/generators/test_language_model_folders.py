"""Folders with a language model or an adapter that are broken: refused in a sentence, never half used."""

import json
import shutil

import pytest
import torch

from crystal_core.conditions import Conditions
from crystal_core.errors import CheckpointMismatch, CrystalCoreError, RequestError
from crystal_core.generators.crysllmgen.backends.hf import load_base, load_folder
from crystal_core.generators.crysllmgen.backends.text import TextBackEnd
from crystal_core.generators.crysllmgen.conditions import WORDING, prompt_text, read_wording

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory, language_model):
    return language_model(tmp_path_factory.mktemp("models") / "base", layers=1)


@pytest.fixture(scope="module")
def adapter(base):
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = get_peft_model(load_base(base, CPU)[0], settings)
    adapted.peft_config["default"].base_model_name_or_path = "../base"
    adapted.save_pretrained(base.parent / "adapter")
    return base.parent / "adapter"


def copied(source, name):
    return shutil.copytree(source, source.parent / name, dirs_exist_ok=True)


def changed(path, **fields):
    content = json.loads(path.read_text(encoding="utf-8")) | fields
    path.write_text(json.dumps(content), encoding="utf-8")


def test_the_base_of_an_adapter_is_also_found_from_its_folder(adapter):
    assert load_folder(adapter, CPU).name == "adapter"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("model.safetensors", b"\x10\x00", "cannot be read"),
        ("model.safetensors", b"", "cannot be read"),
        ("tokenizer.json", b"{}", "cannot be read: KeyError"),
        ("config.json", b'{"model_type": "llama", "hidden_size": "x"}', "hidden_size"),
    ],
)
def test_a_model_with_a_broken_file_is_refused(base, file, content, reason):
    folder = copied(base, "broken-model")
    (folder / file).write_bytes(content)
    with pytest.raises(CheckpointMismatch, match=reason) as refused:
        load_folder(folder, CPU)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "weights", "reason"),
    [
        ({"peft_type": "NOSUCH"}, None, "does not fit its base"),
        ({"r": 5}, None, "does not fit its base"),
        ({"target_modules": ["k_proj"]}, None, r"differ in 4 weights, such as .*lora_A"),
        ({"target_modules": ["q_proj", "k_proj"]}, None, "differ in 2 weights, such as .*k_proj"),
        ({}, b"\x10\x00", "does not fit its base"),
        ({}, "", "has no weights"),
    ],
)
def test_an_adapter_that_would_be_used_in_part_is_refused(adapter, fields, weights, reason):
    folder = copied(adapter, "broken-adapter")
    changed(folder / "adapter_config.json", **fields)
    file = folder / "adapter_model.safetensors"
    if weights == "":
        file.unlink()
    elif weights:
        file.write_bytes(weights)
    with pytest.raises(CheckpointMismatch, match=reason):
        load_folder(folder, CPU)


def test_a_base_that_is_no_folder_here_says_where_to_name_one(adapter):
    folder = copied(adapter, "from-afar")
    changed(folder / "adapter_config.json", base_model_name_or_path="meta-llama/Llama-2-7b-hf")
    with pytest.raises(CrystalCoreError, match="write its folder into base_model_name_or_path"):
        load_folder(folder, CPU)


class Words:
    """A tokenizer of letters with a piece per character."""

    def __init__(self, letters, added=0):
        self.letters, self.vocab_size, self.added = letters, len(letters) + 1, added
        self.eos_token_id, self.unk_token_id, self.pad_token_id = 0, None, len(letters) + added or None

    def __len__(self):
        return self.vocab_size + self.added

    def __call__(self, text, *, add_special_tokens=True):
        return type("Ids", (), {"input_ids": [1 + self.letters.index(c) for c in text]})

    def decode(self, ids, *, skip_special_tokens=False):
        return "".join(self.letters[i - 1] for i in ids if i)

    def convert_ids_to_tokens(self, ids):
        return [f"<{i}>" if not 0 < i < self.vocab_size else self.letters[i - 1] for i in ids]


LETTERS = "".join(map(chr, range(32, 127)))


def network(words, positions=512):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    return LlamaForCausalLM(LlamaConfig(vocab_size=words, max_position_embeddings=positions, **sizes))


def test_a_tokenizer_and_a_network_that_cannot_write_a_crystal_are_refused():
    def build(tokenizer, net):
        return TextBackEnd(net, tokenizer, read_wording(), name="letters", device=CPU)

    with pytest.raises(RequestError, match="no piece for the end of a line"):
        build(Words(LETTERS), network(200))
    with pytest.raises(RequestError, match="no piece for Xe"):
        build(Words(LETTERS.replace("X", "") + "\n"), network(200))
    with pytest.raises(RequestError, match="has 60 words and its tokenizer 97"):
        build(Words(LETTERS + "\n"), network(60))
    with pytest.raises(RequestError, match="holds 130 tokens"):
        build(Words(LETTERS + "\n"), network(97, positions=130))
    # a pad token that another training added has no row of the embedding, and none is needed
    assert build(Words(LETTERS + "\n", added=1), network(97)).texts.pad < 97


def worded(folder, **fields):
    path = folder / "wording.json"
    path.write_text(json.dumps(json.loads(WORDING.read_text(encoding="utf-8")) | fields), encoding="utf-8")
    return path


def test_a_wording_with_any_name_in_its_braces_is_filled(tmp_path):
    clauses = {"formula": "It is {reduced}. ", "band_gap": "Gap {x:.4f} eV, "}
    wording = read_wording(worded(tmp_path, opener="A solid. ", clauses=clauses, request="Write:\n"))
    prompt = prompt_text(Conditions(composition={11: 2, 8: 1}, band_gap=1.5), wording)
    assert prompt == "A solid. It is Na2O. Gap 1.5000 eV, Write:\n"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"opener": 3}, "must hold texts"),
        ({"clauses": ["Formula: {value}. "]}, "clauses by their names"),
        (
            {"clauses": {"spacegroup": "{value}"}},
            "has a clause spacegroup; the clauses are formula, elements",
        ),
        ({"clauses": {"formula": "Formula. "}}, "needs {value} once"),
        ({"clauses": {"formula": "{value} {value}"}}, "needs {value} once"),
        ({"clauses": {"formula": "Formula {value. "}}, "needs {value} once"),
    ],
)
def test_a_wording_that_cannot_be_filled_is_refused(tmp_path, fields, reason):
    with pytest.raises(RequestError, match=reason):
        read_wording(worded(tmp_path, **fields))
