"""The small language model: what it reads, that it learns and ends, resumes, exports
and starts another run.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from crystal_core.conditions import Conditions
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.conditions import prompt_tokens
from crystal_core.generators.crysllmgen.config import SIZES, TinyConfig, build_network
from crystal_core.generators.crysllmgen.tokenizer import parse_tokens, to_words
from crystal_core.generators.crysllmgen.training import (
    PromptSettings,
    Sequences,
    TextTraining,
    export_checkpoint,
    initial_weights,
    load_into,
    settings_from,
    shuffle_sites,
    text_loss,
    train,
)
from crystal_core.geometry import wrap
from crystal_core.registry.methods import TRAINERS, find
from crystal_core.registry.store import find_card
from crystal_core.training.config import FitConfig
from crystal_core.training.data import Batch, load_prepared
from crystal_core.training.muon import hidden_matrices
from crystal_core.workflows.train import configurations, method_of, run_training

COUNTS = [1, 3, 4, 6] * 6  # four crystals, six times each
CPU = torch.device("cpu")


def write_prepared(path, **labels):
    rng = np.random.default_rng(0)
    atoms = sum(COUNTS[:4])
    tensors = {
        "atomic_numbers": np.tile([11, 8, 8, 22, 3, 3, 8, 8, 26, 26, 8, 8, 8, 3], 6).astype(np.uint8),
        "frac_coords": np.tile(rng.random((atoms, 3)), (6, 1)).astype(np.float32),
        "cell_parameters": np.tile(
            np.array([[4, 5, 6, 90, 90, 90], [3, 3, 5, 60, 70, 80]], dtype=np.float32), (12, 1)
        ),
        "n_atoms": np.array(COUNTS, dtype=np.int16),
        "split": np.array([0] * 20 + [1] * 4, dtype=np.uint8),
        **{f"label.{name}": np.array(values * 6, dtype=np.float32) for name, values in labels.items()},
    }
    metadata = {"ids": json.dumps([f"x-{i}" for i in range(24)]), "formulas": json.dumps(["X"] * 24)}
    save_file(tensors, path, metadata=metadata)
    return path


@pytest.fixture
def prepared(tmp_path):
    return write_prepared(
        tmp_path / "crystals.safetensors",
        band_gap_ev=[1.25, 0.0, np.nan, np.nan],
        spacegroup_number=[225, 1, 62, np.nan],
    )


NETWORK = TinyConfig(hidden_dim=32, n_layers=2, n_heads=2, ffn_dim=64)


def settings(samples, **prompts):
    return TextTraining(
        name="toy",
        prompts=PromptSettings(**({"properties": ()} | prompts)),
        network=NETWORK,
        fit=FitConfig(batch_size=8, planned_samples=samples, warmup_steps=5, precision="float32"),
    )


def test_presets_have_the_sizes_of_their_names():
    with torch.device("meta"):  # counts without filling
        counted = {
            name: sum(p.numel() for p in build_network(config).parameters()) for name, config in SIZES.items()
        }
    assert counted["3m"] == pytest.approx(2.7e6, rel=0.02)
    assert counted["10m"] == pytest.approx(10.0e6, rel=0.01)
    assert counted["26m"] == pytest.approx(25.6e6, rel=0.01)


def test_the_shipped_configuration_is_one_of_this_method():
    text = configurations()["crysllmgen-tiny-cpu"].read_text(encoding="utf-8")
    assert method_of(text) == "crysllmgen"
    assert find(TRAINERS, "crysllmgen", "training").settings_from(text).network == SIZES["3m"]
    with pytest.raises(RequestError, match="unknown key"):
        settings_from(text.replace("[prompts]", "[prompts]\ncolour = 1"))
    with pytest.raises(RequestError, match="condition 'colour'"):
        PromptSettings(properties=("colour",))
    with pytest.raises(RequestError, match="add up"):
        PromptSettings(composition=0.8, elements=0.3)
    with pytest.raises(RequestError, match="version 2"):
        TinyConfig(vocabulary_version=2)


def test_sequences_are_the_crystals_moved_as_a_whole_and_reordered(prepared):
    rows = load_prepared(prepared)["train"]
    sequences = Sequences(rows, settings(8))
    seen = 0
    for batch in sequences.batches(8, torch.Generator().manual_seed(0)):
        for ids, length, start in zip(
            batch.ids.tolist(), batch.lengths.tolist(), batch.prompts.tolist(), strict=True
        ):
            crystal = parse_tokens(ids[start:length])
            i = COUNTS.index(len(crystal.coords))
            first = int(rows.first_atom[i])
            numbers = rows.atomic_numbers[first : first + COUNTS[i]]
            assert sorted(crystal.atomic_numbers.tolist()) == sorted(numbers.tolist())
            # one vector moves every site of an element to a site of that element
            coords = rows.frac_coords[first : first + COUNTS[i]]
            shifts = crystal.coords[0] / 100 - coords[numbers == crystal.atomic_numbers[0]]
            fits = [
                all(
                    wrap(x / 100 - shift - coords[numbers == z]).abs().amax(1).min() < 0.011
                    for x, z in zip(crystal.coords, crystal.atomic_numbers, strict=True)
                )
                for shift in shifts
            ]
            assert any(fits)
            seen += 1
    assert seen == len(rows)


def test_sites_are_shuffled_by_groups_or_left_alone():
    batch = Batch(
        atomic_numbers=torch.tensor([8] * 4 + [3] * 4 + [11]),
        frac_coords=torch.arange(27.0).view(9, 3),
        cell_parameters=torch.ones(2, 6),
        n_atoms=torch.tensor([8, 1]),
    )
    rng = torch.Generator().manual_seed(0)
    same = shuffle_sites(batch, 0.0, rng)
    assert torch.equal(same.frac_coords, batch.frac_coords)
    orders = set()
    for _ in range(40):
        mixed = shuffle_sites(batch, 1.0, rng)
        assert mixed.atomic_numbers.tolist() in ([8] * 4 + [3] * 4 + [11], [3] * 4 + [8] * 4 + [11])
        assert torch.equal(mixed.frac_coords[8], batch.frac_coords[8])
        site_of = {
            tuple(row): int(z)
            for row, z in zip(batch.frac_coords.tolist(), batch.atomic_numbers, strict=True)
        }
        assert [site_of[tuple(row)] for row in mixed.frac_coords.tolist()] == mixed.atomic_numbers.tolist()
        orders.add((tuple(mixed.atomic_numbers.tolist()), tuple(mixed.frac_coords[:, 0].tolist())))
    assert len(orders) > 30 and len({numbers for numbers, _ in orders}) == 2


def test_prompts_have_their_shares_and_tell_known_values_alone(prepared):
    rows = load_prepared(prepared)["train"]
    shares = {"unconditional": 0.25, "composition": 0.5, "elements": 0.25, "property_share": 0.5}
    sequences = Sequences(rows, settings(8, properties=("band_gap", "space_group"), **shares))
    chosen = torch.arange(20).repeat(200)
    prompts = sequences.random_prompts(chosen, torch.Generator().manual_seed(0))
    words = [to_words(prompt) for prompt in prompts]
    # beside those without a condition, a quarter of the others names no atoms, and half of these no property
    assert np.mean([text == "<bos> <gen> <sep>" for text in words]) == pytest.approx(0.344, abs=0.04)
    assert np.mean(["<formula>" in text for text in words]) == pytest.approx(0.375, abs=0.04)
    assert np.mean(["<elements>" in text for text in words]) == pytest.approx(0.1875, abs=0.03)
    of_first = [text for text, i in zip(words, chosen.tolist(), strict=True) if i % 4 == 0]
    assert np.mean(["<gap> 1 . 2 5 0" in text for text in of_first]) == pytest.approx(0.375, abs=0.06)
    assert any("<formula> Na 1 <sg> 2 2 5 <gap> 1 . 2 5 0 <sep>" in text for text in of_first)
    of_last = [text for text, i in zip(words, chosen.tolist(), strict=True) if i % 4 == 3]
    assert not any("<gap>" in text or "<sg>" in text for text in of_last)
    with pytest.raises(RequestError, match="no label e_above_hull_ev"):
        Sequences(rows, settings(8, properties=("e_above_hull",)))


def test_rows_that_do_not_fit_are_refused_before_training(prepared):
    rows = load_prepared(prepared)["train"]
    with pytest.raises(RequestError, match="max_tokens is 50"):
        Sequences(rows, replace(settings(8), network=replace(NETWORK, max_tokens=50)))
    with pytest.raises(RequestError, match="ends at 99"):
        Sequences(
            replace(rows, cell_parameters=rows.cell_parameters * torch.tensor([30] * 3 + [1] * 3)),
            settings(8),
        )


def test_padding_changes_no_loss_and_the_end_counts(prepared):
    rows = load_prepared(prepared)["train"]
    batch = next(Sequences(rows, settings(8)).batches(20, torch.Generator().manual_seed(0)))
    torch.manual_seed(0)
    network = build_network(NETWORK).eval()
    losses, present = text_loss(network, batch)
    assert present.sum(1).tolist() == (batch.lengths - 1).tolist()
    for i in (0, 7, 19):
        n = int(batch.lengths[i])
        assert int(batch.ids[i, n - 1]) == vocabulary.EOS
        alone, _ = text_loss(
            network,
            replace(
                batch,
                ids=batch.ids[i : i + 1, :n],
                lengths=batch.lengths[i : i + 1],
                prompts=batch.prompts[:1],
            ),
        )
        torch.testing.assert_close(alone[0], losses[i, : n - 1], rtol=1e-4, atol=1e-5)


def test_loss_falls_resumes_exports_and_starts_another_run(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    run = dict(data_file=prepared, folder=tmp_path / "run", device=CPU)
    train(settings(40), **run)
    done = train(settings(2400), **run, resume=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert done.last["samples"] >= 2400 and lines[-1]["loss"] < 0.75 * lines[0]["loss"]
    assert set(done.last["validation"]) == {"nats_unconditional", "nats_composition"}

    export_checkpoint("toy", trained=done, settings=settings(2400), log=tmp_path / "run" / "log.jsonl")
    card = find_card("toy")
    assert card.problem() is None and card.loader == "crysllmgen"
    assert TinyConfig(**card.network) == NETWORK
    assert card.sampling["elements"] == [3, 8, 11, 22, 26]
    assert card.conditions == ("composition", "elements") and card.writes_drafts
    assert card.sampling["space_group_frequencies"] == {"1": 0.333333, "62": 0.333333, "225": 0.333333}
    network = build_network(TinyConfig(**card.network)).eval()
    load_into(network, initial_weights(card))
    ids = torch.tensor([prompt_tokens(Conditions())])
    expected = done.trainer.ema(input_ids=ids).logits
    # bf16 keeps 8 bits
    torch.testing.assert_close(network(input_ids=ids).logits, expected, rtol=0.05, atol=0.05)

    config = tmp_path / "again.toml"
    config.write_text(
        'name = "again"\nmethod = "crysllmgen"\ninit_from = "toy"\n[prompts]\nproperties = ["band_gap"]\n'
        "[network]\nhidden_dim = 32\nn_layers = 2\nn_heads = 2\nffn_dim = 64\n"
        '[fit]\nbatch_size = 8\nplanned_samples = 40\nprecision = "float32"\nwarmup_steps = 500\n',
        encoding="utf-8",
    )
    last = run_training(config, data=prepared, out=tmp_path / "again", device="cpu", quiet=True)
    assert last["loss"] < 0.8 * lines[0]["loss"]
    with pytest.raises(CheckpointMismatch, match="do not fit"):
        load_into(build_network(replace(NETWORK, n_layers=1)), initial_weights(card))


def test_resuming_without_a_snapshot_says_so(prepared, tmp_path):
    with pytest.raises(RequestError, match="no snapshot"):
        train(settings(20), data_file=prepared, folder=tmp_path / "none", device=CPU, resume=True)


def test_muon_leaves_a_shared_embedding_to_adamw():
    network = build_network(SIZES["3m"])
    chosen = {id(weight) for weight in hidden_matrices(network)}
    assert id(network.lm_head.weight) not in chosen and len(chosen) == 6 * 7
