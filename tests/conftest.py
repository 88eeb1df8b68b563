"""How the tests are spread over processes, how long each may take, and which get a second try."""

from __future__ import annotations

import gc
import os
import signal
import sys
from dataclasses import asdict
from functools import cache

import pytest

from tests import shapes

shapes.install()  # before any test imports the core
UNITS = ("tests/browser/", "tests/predictors/")  # one server and browser; one small trained predictor
ABOUT_TESTS = {
    "kind": "generator",
    "method": "test",
    "source": "test",
    "licence": "MIT",
    "trained_on": "nothing",
    "limits": "untrained",
}
BROWSER_SECONDS = 600  # several waits of a page, each with a limit of its own, may add up on a slow machine


@cache
def keep_space_groups():
    """Keep each space group of pymatgen, which forgets one that nobody holds and takes a second
    to build Fm-3m again.
    """
    from pymatgen.symmetry.groups import SpaceGroup

    new, groups = SpaceGroup.__new__, {}

    def keep(cls, *args, **kwargs):
        group = new(cls, *args, **kwargs)
        return groups.setdefault(id(group), group)

    SpaceGroup.__new__ = keep


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Import all tests and the core without the garbage collector, and keep what they are out
    of its later rounds.

    Nearly nothing of it becomes garbage, and every full round walks through all of it.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collectstart():  # not at import: xdist's controller collects nothing, and needs no pymatgen
    keep_space_groups()


def pytest_collection_modifyitems(items):
    """Give browser tests their time limit and, under CI, one second try, which the summary lists;
    put long files first.

    A shared machine may starve a browser for minutes. Nothing else depends on time, so nothing else is
    repeated. A long file that came last would leave the other worker idle.
    """
    slow = {file_of(item.nodeid) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not item.get_closest_marker("browser"), file_of(item.nodeid) not in slow))
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.timeout(BROWSER_SECONDS))
            if os.environ.get("CI"):
                item.add_marker(pytest.mark.flaky(reruns=1))


def file_of(nodeid):
    return nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config, log):
    """Keep every unit and every other file on one worker, so that what it trains, loads or starts
    once is made once.

    Files go out in the order of :func:`pytest_collection_modifyitems`. Marks for groups have no effect with
    pytest 9.2 and xdist 3.8.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Units(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return next((unit for unit in UNITS if nodeid.startswith(unit)), file_of(nodeid))

    config.option.loadscopereorder = False
    return Units(config, log)


@pytest.fixture(autouse=True)
def own_main():
    """A page under test becomes ``__main__``, and a process that a later test spawns would run it."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def ctrl_c():
    """SIGINT interrupts, as in a terminal; what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def limit_memory(monkeypatch):
    """A function: the model then samples at most so many crystals at once; returns that number in a
    list, to be changed.
    """
    import torch

    def limit(model, most):
        room, sample = [most], model.sample

        def limited(request):
            if len(request.n_atoms if hasattr(request, "n_atoms") else request.compositions) > room[0]:
                raise torch.OutOfMemoryError("full")
            yield from sample(request)

        monkeypatch.setattr(model, "sample", limited)
        return room

    return limit


@pytest.fixture
def tiny_de_novo(tmp_path, monkeypatch):
    """Installs an untrained de novo checkpoint of the true classes, very small; returns a function species,
    elements → its name.
    """
    import torch

    from crystal_core.cards import sha256_of, write_card
    from crystal_core.generators.kldm.codec import LatticeCodec
    from crystal_core.generators.kldm.config import ProcessConfig
    from crystal_core.generators.kldm.species import species_process
    from crystal_core.generators.kldm.weights import write_shards
    from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
    from crystal_core.workflows.generate import load_de_novo

    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    load_de_novo.cache_clear()  # a checkpoint of the same name may differ from test to test

    def install(species="masking", elements=(3, 8, 22, 26, 38)):
        torch.manual_seed(0)
        process = ProcessConfig(species=species)
        config = PairNetworkConfig(
            hidden_dim=16, n_layers=2, n_frequencies=8, time_dim=16, **species_process(process).network_sizes
        )
        codec = LatticeCodec.from_training(
            torch.exp(1.5 + 0.2 * torch.randn(60, 3)), torch.arange(60) % 4 + 2
        )
        folder = tmp_path / "checkpoints" / f"tiny-{species}"
        folder.mkdir(parents=True)
        files = [*write_shards(PairNetwork(config).state_dict(), folder), "lattice.json"]
        (folder / "lattice.json").write_text(codec.to_json())
        fields = {
            "name": folder.name,
            "kind": "generator",
            "task": "de novo generation",
            "method": "KLDM",
            "loader": "kldm",
            "parameters": 1,
            "files": {file: sha256_of(folder / file) for file in files},
            "network": asdict(config),
            "training": {"process": asdict(process)},
            "sampling": {
                "atom_count_frequencies": {"2": 0.25, "5": 0.75},
                "elements": list(elements),
                "most_atoms": codec.most_atoms,
            },
        }
        write_card(folder, fields)
        return folder.name

    return install


@pytest.fixture
def composition_predictor(tmp_path, monkeypatch):
    """Installs a property predictor of the true form without a network, as the only
    checkpoint; returns its name.
    """
    import numpy as np

    from crystal_core.cards import write_card
    from crystal_core.registry.methods import PREDICTORS
    from tests.composition_predictor import KNOWN, NAMES, Composition, properties_of

    root = tmp_path / "checkpoints"
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(root))
    monkeypatch.setitem(PREDICTORS, "composition", "tests.composition_predictor:load_composition")
    known = [properties_of(Composition(formula), volume) for _, formula, volume in KNOWN]
    fields = {"method": "mixing of elements", "loader": "composition", "parameters": 0}
    for name in ("crysldnet", *(f"crysldnet-{name}" for name in NAMES)):
        (root / name).mkdir(parents=True)
        values = [one[name.removeprefix("crysldnet-")] for one in known] if name != "crysldnet" else []
        counts, edges = np.histogram(values, bins=4)
        histogram = {"histogram": {"edges": edges.tolist(), "counts": counts.tolist()}}
        about = {"name": name, "kind": "predictor", "task": "property prediction"}
        about["network"] = {"encoder": "elements"}
        if values:
            about["network"]["property"] = name.removeprefix("crysldnet-")
        write_card(root / name, fields | about | ({"extra": histogram} if values else {}))
    return "crysldnet"


@pytest.fixture
def tiny_writer(tmp_path, monkeypatch):
    """Installs an untrained language model of the true classes, very small; returns a function (fields of its
    card's sampling) → its name.
    """
    import torch

    from crystal_core.cards import sha256_of, write_card
    from crystal_core.generators.crysllmgen.config import TinyConfig, build_network
    from crystal_core.generators.crysllmgen.training import TIED
    from crystal_core.training.checkpoint import write_shards
    from crystal_core.workflows.generate import load_de_novo
    from crystal_core.workflows.predict_structure import load_structure_generator

    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    load_de_novo.cache_clear()
    load_structure_generator.cache_clear()

    def install(**sampling):
        torch.manual_seed(0)
        config = TinyConfig(hidden_dim=32, n_layers=2, n_heads=2, ffn_dim=64)
        network = build_network(config)
        folder = tmp_path / "checkpoints" / "tiny-writer"
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value for name, value in network.state_dict().items() if name != TIED}
        files = write_shards(state, folder)
        fields = {
            "name": folder.name,
            "kind": "generator",
            "task": "de novo generation",
            "method": "CrysLLMGen",
            "loader": "crysllmgen",
            "trained_on": "nothing",
            "limits": "untrained",
            "parameters": sum(p.numel() for p in network.parameters()),
            "files": {file: sha256_of(folder / file) for file in files},
            "network": asdict(config),
            "sampling": {
                "atom_count_frequencies": {"1": 0.2, "2": 0.3, "5": 0.5},
                "space_group_frequencies": {"1": 0.1, "221": 0.6, "225": 0.3},
                "elements": list(range(1, 95)),
                "conditions": [
                    "composition",
                    "elements",
                    "space_group",
                    "crystal_system",
                    "formation_energy",
                    "band_gap",
                    "e_above_hull",
                ],
                "draft": {"temperature": 1.0, "top_p": 1.0},
            }
            | sampling,
        }
        write_card(folder, fields)
        return folder.name

    return install


@pytest.fixture
def tiny_refiner():
    """Installs an untrained KLDM for structure prediction, "tiny-refiner", into a folder of checkpoints;
    returns a function → its name.
    """
    import torch

    from crystal_core.cards import sha256_of, write_card
    from crystal_core.generators.kldm.codec import LatticeCodec
    from crystal_core.generators.kldm.config import ProcessConfig
    from crystal_core.generators.kldm.weights import write_shards
    from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig

    def install(checkpoints):
        folder = checkpoints / "tiny-refiner"
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(1)
        config = PairNetworkConfig(hidden_dim=16, n_layers=2, n_frequencies=8, time_dim=16)
        codec = LatticeCodec.from_training(
            torch.exp(1.5 + 0.2 * torch.randn(60, 3)), torch.arange(60) % 4 + 2
        )
        files = [*write_shards(PairNetwork(config).state_dict(), folder), "lattice.json"]
        (folder / "lattice.json").write_text(codec.to_json())
        fields = {
            "name": folder.name,
            "task": "structure prediction",
            "loader": "kldm",
            "parameters": 1,
            "files": {file: sha256_of(folder / file) for file in files},
            "network": asdict(config),
            "training": {"process": asdict(ProcessConfig())},
            "sampling": {"elements": list(range(1, 93))},
        }
        write_card(folder, ABOUT_TESTS | fields)
        return folder.name

    return install


@pytest.fixture
def tiny_pair(tiny_writer, tiny_refiner, tmp_path):
    """Installs the language model above, the untrained KLDM and a model made of both; returns a
    function → its name.
    """
    from crystal_core.cards import write_card

    def install(refine=None, **sampling):
        drafter = tiny_writer(**sampling)
        refiner = tiny_refiner(tmp_path / "checkpoints")
        pair = tmp_path / "checkpoints" / "tiny-pair"
        pair.mkdir(exist_ok=True)
        made_of = {
            "name": pair.name,
            "task": "de novo generation",
            "loader": "combined",
            "parameters": 0,
            "network": {"drafter": drafter, "refiner": "kldm", "refiners": {"kldm": refiner}},
            "sampling": {
                "refine_draft": {
                    "kldm": refine or {"start": "renoise", "start_time": 0.2, "steps": 4, "sampler": "em"}
                }
            },
        }
        write_card(pair, ABOUT_TESTS | made_of)
        return pair.name

    return install


@pytest.fixture(scope="session")
def language_model():
    """A function: writes a random Llama into a folder, whose tokenizer has a piece per character and the
    ``merged`` ones; returns the folder.
    """
    import re

    import torch

    def write(folder, *, merged=(), layers=2):
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

        words = ["<end>", "<pad>", *map(chr, range(32, 127)), "\n", *merged]
        tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}))
        longer = "|".join(map(re.escape, merged))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(
            Regex(f"{longer}|[\\s\\S]" if longer else r"[\s\S]"), "isolated"
        )
        tokenizer.decoder = decoders.Fuse()
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            eos_token="<end>",
            pad_token="<pad>",
            clean_up_tokenization_spaces=False,
        ).save_pretrained(folder)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=1400,
            initializer_range=0.2,  # frozen weights as small as usual could not learn sharp choices
            eos_token_id=0,
            pad_token_id=1,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        return folder

    return write
