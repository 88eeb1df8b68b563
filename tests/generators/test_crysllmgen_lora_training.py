"""Training an adapter of a language model that knows words, on a random model of letters."""

import copy
import itertools
import json
from dataclasses import replace

import pytest
import torch

from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.generators.crysllmgen.backends.hf import load_base, load_folder
from crystal_core.generators.crysllmgen.backends.text import Texts, answer_losses
from crystal_core.generators.crysllmgen.conditions import read_wording
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, from_lines
from crystal_core.generators.crysllmgen.lora import Adapter, LoraSettings
from crystal_core.generators.crysllmgen.lora_training import Tasks, TaskSettings, settings_from
from crystal_core.geometry import lattice_parameters
from crystal_core.registry.store import find_card, load_generator
from crystal_core.requests import GenerationRequest
from crystal_core.testing import toy_crystals
from crystal_core.training.data import load_prepared
from crystal_core.workflows.train import configurations, method_of, run_training

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, language_model):
    return language_model(tmp_path_factory.mktemp("letters"))


@pytest.fixture(scope="module")
def texts(folder):
    return Texts(load_base(folder, CPU)[1])


def test_the_end_counts_and_padding_does_not(folder, texts):
    network, _ = load_base(folder, CPU)
    pairs = [texts.pair("Na? ", "Na"), texts.pair("A longer one: ", "Mg\n0.00")]
    for with_prompts in (False, True):
        together, counted = answer_losses(
            network, pairs, pad=texts.pad, device=CPU, with_prompts=with_prompts
        )
        assert counted.sum(1).tolist() == [len(ids) - (1 if with_prompts else start) for ids, start in pairs]
        for i, pair in enumerate(pairs):
            alone, present = answer_losses(
                network, [pair], pad=texts.pad, device=CPU, with_prompts=with_prompts
            )
            torch.testing.assert_close(together[i][counted[i]], alone[0][present[0]], rtol=1e-4, atol=1e-5)
    assert pairs[0][0][-1] == texts.end != texts.pad


@pytest.fixture
def prepared(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    toys = [toy_crystals()[name] for name in ("iron", "rock salt", "triclinic")] * 8
    tensors = {
        "atomic_numbers": torch.cat([t.atomic_numbers for t in toys]).numpy().astype(np.uint8),
        "frac_coords": torch.cat([t.frac_coords for t in toys]).numpy().astype(np.float32),
        "cell_parameters": torch.cat([lattice_parameters(t.lattice) for t in toys]).numpy(),
        "n_atoms": np.array([len(t.atomic_numbers) for t in toys], dtype=np.int16),
        "split": np.array([0] * 18 + [1] * 6, dtype=np.uint8),
        "label.band_gap_ev": np.array([0.0, 5.0, np.nan] * 8, dtype=np.float32),
        "label.spacegroup_number": np.array([229, 225, 1] * 8, dtype=np.float32),
    }
    path = tmp_path / "crystals.safetensors"
    metadata = {"ids": json.dumps([f"x-{i}" for i in range(24)]), "formulas": json.dumps(["X"] * 24)}
    save_file(tensors, path, metadata=metadata)
    return path


def test_items_have_the_published_shares_and_hide_whole_elements(prepared, texts):
    rows = load_prepared(prepared)["train"]
    tasks = Tasks(rows, TaskSettings(properties=("band_gap", "space_group")), read_wording(), texts)
    rng = torch.Generator().manual_seed(0)
    prompts, answers = [], []
    for _ in range(40):
        for ids, start in tasks.pairs(torch.arange(18), rng):
            prompts.append(texts.text_of(ids[:start]))
            answers.append(texts.text_of(ids[start:]))
    infill = [(p, a) for p, a in zip(prompts, answers, strict=True) if "[MASK]" in p]
    assert len(infill) / len(prompts) == pytest.approx(0.34, abs=0.05)
    assert all(a in ("Na", "Cl", "Ti", "O", "Fe") and f"\n{a}\n" not in p for p, a in infill)
    infills = [(p, a) for p, a in zip(prompts, answers, strict=True) if "[MASK]" not in p]
    assert all(from_lines(a).atomic_numbers.numel() in (1, 2, 3) for _, a in infills)
    assert len({a for _, a in infills}) > 0.9 * len(infills)  # moved at every access
    free = [p for p, _ in infills if "Formula" not in p]
    assert len(free) / len(infills) == pytest.approx(1 / 3, abs=0.06)  # 0, 1 or 2 of two properties
    assert any("Formula: TiO2. Space group number: 1. Write" in p for p, _ in infills)  # nobody knows its gap
    with pytest.raises(RequestError, match="no label e_above_hull_ev"):
        Tasks(rows, TaskSettings(properties=("e_above_hull",)), read_wording(), texts)


def test_a_prompt_names_a_formula_elements_alone_or_properties_only(prepared, texts):
    rows = load_prepared(prepared)["train"]
    shares = TaskSettings(generation=1.0, properties=("space_group",), composition=0.5, elements=0.3)
    tasks = Tasks(rows, shares, read_wording(), texts)
    rng = torch.Generator().manual_seed(0)
    prompts = []
    for _ in range(40):
        prompts += [texts.text_of(ids[:start]) for ids, start in tasks.pairs(torch.arange(18), rng)]
    formula = sum("Formula" in p for p in prompts) / len(prompts)
    listed = sum("Elements" in p for p in prompts) / len(prompts)
    group_alone = sum("group" in p and "F" not in p and "El" not in p for p in prompts) / len(prompts)
    # half of the prompts name their space group; elements also stand without it
    assert [formula, listed, group_alone] == pytest.approx([0.25, 0.3, 0.1], abs=0.05)
    assert not any("Formula" in p and "Elements" in p for p in prompts)
    assert any("Elements: O, Ti. Space group number: 1. Write" in p for p in prompts)
    with pytest.raises(RequestError, match="add up to 1"):
        TaskSettings(composition=0.8, elements=0.3)


def test_an_epoch_holds_every_crystal_once_and_items_of_a_batch_are_of_like_length(prepared, texts):
    rows = load_prepared(prepared)["train"]
    tasks = Tasks(rows, TaskSettings(properties=("band_gap",)), read_wording(), texts)
    batches = list(tasks.batches(3, torch.Generator().manual_seed(0)))
    assert sum(map(len, batches)) == len(rows)
    lengths = sorted([len(ids) for ids, _ in batch] for batch in batches)  # few rows: all are sorted together
    assert all(max(one) <= min(other) for one, other in itertools.pairwise(lengths))


def test_an_adapter_alone_is_trained_copied_and_saved(folder):
    network, _ = load_base(folder, CPU)
    frozen = {name: weight.clone() for name, weight in network.state_dict().items()}
    adapter = Adapter(network, LoraSettings(rank=2, targets=("q_proj", "down_proj"), dropout=0.0))
    copied = copy.deepcopy(adapter)
    ids = torch.arange(12)[None]
    torch.testing.assert_close(adapter(input_ids=ids).logits, copied(input_ids=ids).logits)
    assert len(adapter.state_dict()) == 2 * 2 * 2 and copied.whole is adapter.whole
    optimiser = torch.optim.SGD(adapter.parameters(), lr=10.0)
    for _ in range(3):
        optimiser.zero_grad()
        adapter(input_ids=ids).logits[..., 5].mean().backward()
        optimiser.step()
    before = copied(input_ids=ids).logits
    after = adapter(input_ids=ids).logits
    assert after[..., 5].mean() < before[..., 5].mean() - 1e-3
    copied.load(adapter.state_dict())
    torch.testing.assert_close(copied(input_ids=ids).logits, after)
    for name, weight in frozen.items():
        now = [value for key, value in adapter.whole.state_dict().items() if "lora" not in key]
        assert any(torch.equal(weight, value) for value in now if value.shape == weight.shape), name
    merged = adapter.merged()
    assert not [key for key in merged.state_dict() if "lora" in key]  # no step of a draft computes them again
    torch.testing.assert_close(merged(input_ids=ids).logits, after)
    with pytest.raises(CheckpointMismatch, match="does not fit"):
        copied.load({"x": torch.zeros(1)})
    with pytest.raises(RequestError, match="takes no such adapter"):
        Adapter(load_base(folder, CPU)[0], LoraSettings(targets=("no_layer",)))


def test_a_short_training_learns_resumes_exports_and_writes(prepared, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    config = tmp_path / "letters.toml"
    config.write_text(
        f'name = "letters"\nmethod = "crysllmgen-lora"\nbase = "{folder}"\nvalidation_rows = 4\n'
        '[tasks]\nproperties = ["band_gap", "space_group"]\n[lora]\nrank = 4\ndropout = 0.0\n'
        "[fit]\nbatch_size = 8\nplanned_samples = 480\nlearning_rate = 0.02\nwarmup_steps = 5\n"
        "ema_decay = 0.9\n"
        'precision = "float32"\namsgrad = false\n',
        encoding="utf-8",
    )
    run = dict(data=prepared, device="cpu", quiet=True)
    first = run_training(config, samples=80, out=tmp_path / "run", **run)
    assert set(first["validation"]) == {"nats_text", "nats_infill"}
    last = run_training(config, resume=tmp_path / "run", export="letters", **run)
    assert last["samples"] >= 480 and last["loss"] < 0.8 * first["loss"]
    assert last["validation"]["nats_text"] < first["validation"]["nats_text"]
    card = find_card("letters")
    assert card.problem() is None and card.size_mb < 0.2
    assert card.conditions == ("composition", "band_gap", "space_group", "crystal_system")
    model = load_generator("letters", "cpu")
    state = torch.load(tmp_path / "run" / "snapshot.pt", weights_only=True)
    assert set(state["network"]) == set(state["ema"]) and all("lora" in name for name in state["ema"])
    *_, frame = model.sample(GenerationRequest(compositions=((11, 17), (22, 8, 8)), seed=1))
    assert frame.crystals.atomic_numbers.tolist() == [11, 17, 22, 8, 8]
    text = frame.drafts[0].text
    untrained = load_folder(folder, CPU).log_chances(GridCrystals.from_crystals(from_lines(text)))
    assert model.back_end.log_chances(GridCrystals.from_crystals(from_lines(text)))[0] > untrained[0] + 20
    again = tmp_path / "again.toml"
    again.write_text(
        config.read_text().replace('name = "letters"', 'name = "again"\ninit_from = "letters"'),
        encoding="utf-8",
    )
    begun = run_training(again, samples=8, out=tmp_path / "again", **run)
    assert begun["loss"] < 0.85 * first["loss"]


def test_the_shipped_configuration_is_one_of_this_method():
    text = configurations()["crysllmgen-smollm2"].read_text(encoding="utf-8")
    assert method_of(text) == "crysllmgen-lora"
    settings = settings_from(text)
    assert settings.base == "smollm2" and len(settings.lora.targets) == 7
    with pytest.raises(RequestError, match="Shares of items"):
        replace(settings, tasks=TaskSettings(generation=2))
    with pytest.raises(RequestError, match="rank of at least 1"):
        LoraSettings(rank=0)
