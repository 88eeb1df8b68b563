"""From latents back to crystals: units, the order of atoms, decoding of held-out rows, and the generator that
is made of it.
"""

import shutil

import pytest
import torch
from typer.testing import CliRunner

from crystal_core.cards import read_card, write_card
from crystal_core.cli import build_app
from crystal_core.conditions import Conditions, DraftOptions
from crystal_core.errors import CheckpointMismatch, IncompatibleSampler, RequestError
from crystal_core.networks.dit import DitConfig
from crystal_core.predictors.crysldnet.generation.latent_rows import latent_rows
from crystal_core.predictors.crysldnet.generation.network import GenerationConfig, LatentGenerator
from crystal_core.predictors.crysldnet.generation.sampling import sampled_latents
from crystal_core.predictors.crysldnet.generation.training import (
    GenerationTraining,
    export_checkpoint,
    installed_encoder,
    train,
)
from crystal_core.predictors.crysldnet.latents import latent_statistics
from crystal_core.registry.store import find_card, load_generator
from crystal_core.requests import CrystalGenerationRequest, DeNovoRequest
from crystal_core.structures import to_structures
from crystal_core.training.config import FitConfig
from crystal_core.training.data import load_prepared
from crystal_core.training.fit import LOG
from crystal_core.workflows.evaluate_dng import draw_crystals
from crystal_core.workflows.evaluate_latents import evaluate_latents
from crystal_core.workflows.generation_conditions import check_conditions, possible_conditions

CPU = torch.device("cpu")
SIZES = GenerationConfig(dit=DitConfig(width=32, n_layers=2, n_heads=4), hidden=64)
PLAN = GenerationTraining(
    name="tiny-generator",
    encoder="tiny-encoder",
    placer="tiny-refiner",
    generation=SIZES,
    fit=FitConfig(
        batch_size=40, planned_samples=4000, learning_rate=5e-3, warmup_steps=5, ema_decay=0.9, amsgrad=False
    ),
)


@pytest.fixture(scope="module")
def trained(bundle, tmp_path_factory):
    """A folder with the bundle's encoder, a generator trained on top of it for seconds, and the run
    that it came from.
    """
    folder = tmp_path_factory.mktemp("generation")
    shutil.copytree(bundle / "checkpoints" / "tiny-encoder", folder / "checkpoints" / "tiny-encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYSTAL_CHECKPOINTS", str(folder / "checkpoints"))
        finished = train(PLAN, data_file=bundle / "crystals.safetensors", folder=folder / "run", device=CPU)
        export_checkpoint("tiny-generator", trained=finished, settings=PLAN, log=folder / "run" / LOG)
    place = {"place": {"sampler": "em", "steps": 3, "start_time": 0.8}, "latents": {"steps": 6}}
    write_card(folder / "checkpoints" / "tiny-generator", {"sampling": place})
    return folder


@pytest.fixture
def name(trained, tiny_refiner, monkeypatch):
    from crystal_core.workflows.generate import load_de_novo

    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(trained / "checkpoints"))
    tiny_refiner(trained / "checkpoints")
    load_de_novo.cache_clear()
    return "tiny-generator"


@pytest.fixture
def rows(bundle, name, tmp_path):
    encoder, digest = installed_encoder("tiny-encoder")
    crystals = load_prepared(bundle / "crystals.safetensors")["train"]
    return latent_rows(crystals, encoder, digest, tmp_path / "latents.safetensors")


def last(model, request):
    return list(model.sample(request))[-1]


def test_latents_have_mean_0_and_spread_1_over_the_training_atoms(rows):
    network = LatentGenerator(rows.latents.shape[1], SIZES)
    network.measure(rows)
    normal = network.normalised(rows.latents.float())
    assert normal.mean(dim=0).abs().max() < 1e-3
    used = rows.latents.float().std(dim=0) > 1e-3  # a dead dimension has no spread to divide by
    assert (normal.std(dim=0)[used] - 1).abs().max() < 1e-2 and used.any()


def test_latents_are_computed_once_and_again_for_other_crystals(rows, bundle, name, tmp_path, monkeypatch):
    from crystal_core.predictors.crysldnet.generation import latent_rows as module

    encoder, digest = installed_encoder("tiny-encoder")
    file, crystals = tmp_path / "latents.safetensors", rows.crystals
    monkeypatch.setattr(module, "encoded", None)
    assert torch.equal(latent_rows(crystals, encoder, digest, file).latents, rows.latents)
    with pytest.raises(TypeError):
        latent_rows(crystals.subset(torch.arange(3)), encoder, digest, file)


def test_another_order_of_the_atoms_gives_the_same_answers_in_that_order(rows):
    torch.manual_seed(0)
    network = LatentGenerator(rows.latents.shape[1], SIZES)
    for parameter in network.parameters():  # the transformer begins as the map to zero
        torch.nn.init.normal_(parameter, std=0.1)
    n_atoms = torch.tensor([5, 3])
    z = torch.randn(2, 5, network.width)
    present = torch.arange(5) < n_atoms[:, None]
    conditions = network.conditions(n_atoms, torch.tensor([[0.1, torch.nan, 1.0]] * 2))
    order = torch.tensor([3, 0, 4, 1, 2])
    plain = network.denoiser(z, torch.full((2,), 0.4), present, conditions)[:1]
    turned = network.denoiser(z[:, order], torch.full((2,), 0.4), present[:, order], conditions)[:1]
    assert torch.allclose(plain[:, order], turned, atol=1e-5) and plain.abs().max() > 0.1
    atoms = torch.randn(5, network.width)
    cell = network.decode_lattice(atoms, torch.tensor([5]))
    assert torch.allclose(cell, network.decode_lattice(atoms[order], torch.tensor([5])), atol=1e-3)


def test_elements_of_held_out_crystals_are_read_from_their_latents(bundle, name):
    report = evaluate_latents(name, bundle / "crystals.safetensors", rebuild=3)
    assert report["n"] == 40
    assert report["elements_right"] > 0.8 > 2 * report["elements_by_chance"]
    # a tenth of the lone atoms, and next to no other cell, by chance
    assert report["compositions_right"] > 0.25
    assert report["volume_off"] < report["volume_by_count"]
    assert report["rebuilt"]["n"] == 3 and report["rebuilt"]["start_time_used"] == 0.8


def test_decoders_refuse_the_latents_of_another_encoder(bundle, name, trained):
    folder = trained / "checkpoints" / name
    text = (folder / "card.toml").read_text()
    digest = read_card(folder).network["encoder_sha256"]
    try:
        (folder / "card.toml").write_text(text.replace(digest, "0" * 64))
        with pytest.raises(CheckpointMismatch, match="other weights"):
            evaluate_latents(name, bundle / "crystals.safetensors")
    finally:
        (folder / "card.toml").write_text(text)


def test_new_crystals_repeat_with_their_seed_and_tell_both_stages(name):
    model = load_generator(name, "cpu")
    request = DeNovoRequest(n_atoms=(4, 2, 1), seed=5, elements=(3, 8, 14), frame_every=1)
    frame, again = last(model, request), last(load_generator(name, "cpu"), request)
    assert torch.equal(frame.crystals.frac_coords, again.crystals.frac_coords)
    assert frame.crystals.n_atoms.tolist() == [4, 2, 1]
    assert set(frame.crystals.atomic_numbers.tolist()) <= {3, 8, 14}
    other = last(model, DeNovoRequest(n_atoms=(4, 2, 1), seed=6, elements=(3, 8, 14)))
    assert not torch.equal(frame.crystals.frac_coords, other.crystals.frac_coords)
    assert [stage.stage for stage in frame.stages] == ["propose", "place"]
    assert frame.stages[0].network_calls == 6 and frame.stages[1].model == "tiny-refiner"
    steps = [f.step for f in model.sample(request)]
    assert steps == sorted(steps) and frame.finished
    assert len(to_structures(frame.crystals)) == 3


def test_a_told_property_changes_the_latents_and_guidance_0_ignores_it(name):
    network = load_generator(name, "cpu").proposer.network
    n_atoms, open_ = torch.tensor([4] * 8), torch.full((8, 3), torch.nan)
    targets = open_.clone()
    targets[:, 1] = 2.0

    def drawn(properties, guidance):
        rng = torch.Generator().manual_seed(0)
        *_, (_, latents) = sampled_latents(network, n_atoms, properties, steps=6, guidance=guidance, rng=rng)
        return latents

    free = drawn(open_, 1.0)
    assert not torch.allclose(drawn(targets, 1.0), free, atol=1e-2)
    assert torch.allclose(drawn(targets, 0.0), free, atol=1e-4)
    assert latent_statistics(free).std > 0.2  # a collapsed flow would give the same latent everywhere


def test_wishes_that_it_learned_are_taken_and_others_are_refused(name):
    card = find_card(name)
    assert possible_conditions(card)["band_gap"] == "prompt"
    assert "space_group" not in possible_conditions(card)
    request = CrystalGenerationRequest(model=name, band_gap=1.0, e_above_hull=0.0, guidance=2.0)
    check_conditions(request, card)
    with pytest.raises(RequestError, match="a formula"):
        check_conditions(CrystalGenerationRequest(model=name, formula="TiO2"), card)
    for condition in ({"space_group": "225"}, {"contain": ("Li",)}):
        with pytest.raises(RequestError, match="kldm-dng-mp"):
            check_conditions(CrystalGenerationRequest(model=name, **condition), card)


def test_a_run_hands_the_wish_to_the_model(name, monkeypatch):
    from crystal_core.generators.propose_place import ProposePlaceGenerator
    from crystal_core.workflows.generate import run

    sample, requests = ProposePlaceGenerator.sample, []
    monkeypatch.setattr(
        ProposePlaceGenerator,
        "sample",
        lambda self, request: requests.append(request) or sample(self, request),
    )
    condition = CrystalGenerationRequest(model=name, n=2, band_gap=1.0, density=3.0, guidance=2.5, seed=1)
    *_, update = run(condition)
    (request,) = requests
    assert [one.band_gap for one in request.conditions] == [1.0, 1.0] and request.guidance == 2.5
    assert request.guide is not None and request.guide.strength == 2.5  # the density bends the placing
    assert len(update.result["crystals"]) + update.result["n_failed"] == 2
    settings = update.result["settings"]
    assert settings["placer_used"] == "tiny-refiner" and settings["sampler_used"] == "em"
    # two calls of the transformer a step, with and without the condition, and one of the placer
    assert update.result["network_calls"] == 2 * 6 + 3


def test_what_would_change_nothing_is_refused(name):
    model = load_generator(name, "cpu")
    with pytest.raises(RequestError, match="remasking"):
        next(model.sample(DeNovoRequest(n_atoms=(2,), remasking=1.0)))
    with pytest.raises(RequestError, match="charge"):
        next(model.sample(DeNovoRequest(n_atoms=(2,), draft=DraftOptions(charge_balance=True))))
    with pytest.raises(RequestError, match="a space group"):
        next(model.sample(DeNovoRequest(n_atoms=(2,), conditions=(Conditions(space_group=225),))))
    known = last(model, DeNovoRequest(n_atoms=(2,), seed=1)).crystals
    from crystal_core.requests import KnownParts

    parts = KnownParts(crystals=known, places=(True, False), types=(True, False))
    with pytest.raises(IncompatibleSampler, match="keep parts"):
        next(model.sample(DeNovoRequest(n_atoms=(2,), known=parts)))


def test_a_flat_cell_is_replaced_before_anything_begins_from_it():
    from crystal_core.geometry import volume
    from crystal_core.predictors.crysldnet.generation.proposer import sound_lattice

    cells = torch.tensor([[4.0, 4.0, 4.0, 90.0, 90.0, 90.0], [4.0, 4.0, 4.0, 170.0, 20.0, 20.0]])
    sound = sound_lattice(cells, torch.tensor([4, 4]))
    assert volume(sound).tolist() == pytest.approx([64.0, 72.0], rel=1e-3)


def test_the_card_counts_both_and_knows_what_both_know(name):
    card = find_card(name)
    assert set(card.parts) == {"tiny-refiner"} and not card.keeps_parts and not card.writes_drafts
    own = sum(p.numel() for p in LatentGenerator(32, SIZES).parameters())
    assert card.parameters == own + 1
    assert set(card.elements) <= set(range(1, 93))


def test_conditions_of_a_model_without_drafts_are_measured_on_its_crystals(name):
    model = load_generator(name, "cpu")
    gaps = [Conditions(band_gap=gap) for gap in (0.0, 5.0, 0.0, 5.0)]
    swapped = [gaps[1], gaps[0], gaps[3], gaps[2]]

    def crystals(conditions, guidance):
        generated = draw_crystals(
            model, len(conditions), conditions=conditions, steps=2, guidance=guidance, seed=3
        )
        return [s and (s.composition.formula, round(s.volume, 3)) for s in generated.structures]

    assert len(crystals(gaps, 8.0)) == 4
    assert any(crystals(gaps, 8.0))
    assert crystals(gaps, 8.0) != crystals(swapped, 8.0)
    assert crystals(gaps, 0.0) == crystals(swapped, 0.0)


def test_the_command_says_which_conditions_such_a_model_has(name, bundle):
    def refusal(*words):
        call = ["evaluate", "conditions", "--data", str(bundle / "rows.parquet"), "--model", name, *words]
        return CliRunner().invoke(build_app(), call).stderr

    assert "takes neither formula nor space group; give --properties" in refusal()
    assert "strength of guidance lies between 0 and 100" in refusal(
        "--properties", "band_gap", "--guidance", "1e9"
    )
    with pytest.raises(RequestError, match="strength of guidance lies between 0 and 100"):
        DeNovoRequest(n_atoms=(2,), guidance=-1.0)
    assert "writes no drafts, so --top-p would change nothing" in refusal(
        "--properties", "band_gap", "--top-p", "0.9"
    )
