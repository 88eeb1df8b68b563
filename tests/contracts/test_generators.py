"""Every shipped generator keeps the contract, and the contract notices who does not."""

from dataclasses import replace
from itertools import chain

import pytest
import torch

from crystal_core.registry.store import find_card, list_cards, load_generator
from crystal_core.requests import GenerationRequest, StructurePredictionRequest
from crystal_core.structures import to_structures
from crystal_core.testing import ContractBroken, check_frames, check_generator, check_record, toy_crystals

SHIPPED = [card.name for card in list_cards("generator") if card.task == "structure prediction"]


@pytest.mark.weights
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_generator_keeps_the_contract(name):
    table = find_card(name).loader == "prototype"  # looks up, draws nothing
    check_generator(lambda: load_generator(name, "cpu"), random=not table, batch_independent=table)


@pytest.mark.weights
@pytest.mark.parametrize("sampler", ["em", "exp-em", "pc", "pc-pf", "ode"])
def test_every_sampler_keeps_the_contract(sampler):
    check_generator(lambda: load_generator("kldm-csp-perov5", "cpu"), sampler=sampler, steps=3)


@pytest.mark.weights
def test_every_candidate_of_a_run_can_be_made_again_from_its_record():
    from crystal_core.workflows.predict_structure import run

    options = {"model": "kldm-csp-perov5", "n_samples": 2, "sampler": "em", "steps": 100, "device": "cpu"}
    *_, last = run(StructurePredictionRequest(formula="SrTiO3", seed=8, **options))
    records = [record for item in last.result["results"] for record in item["candidates"]]
    assert {record["origin"] for record in records} == {"noise", "prototype", "prototype refined"}
    for record in records:
        check_record(record)
    settings = records[0]["provenance"]["settings"]
    *_, again = run(
        StructurePredictionRequest(
            **{k: v for k, v in settings.items() if k in StructurePredictionRequest.__dataclass_fields__}
        )
    )
    assert [c["frac_coords"] for c in again.result["results"][0]["candidates"]] == [
        r["frac_coords"] for r in records
    ]


def test_a_sample_that_diverges_is_marked_and_loses_no_other():
    """A cell that explodes becomes None at its place; the others are what they are without it."""
    model = load_generator("kldm-csp-perov5", "cpu")
    request = GenerationRequest(compositions=((38, 22, 8, 8, 8),) * 3, sampler="pc", steps=30, seed=1)
    crystals = check_frames(model, request)
    lattice = crystals.lattice.clone()
    lattice[1] = float("nan")
    structures = to_structures(replace(crystals, lattice=lattice))
    assert [structure is None for structure in structures] == [False, True, False]


class Wrong:
    """A generator that keeps the contract but for one thing."""

    def __init__(self, fault):
        self.card = replace(find_card("prototype"), **({"licence": ""} if fault == "no licence" else {}))
        self.fault, self.network_calls = fault, 0

    def sample(self, request):
        if self.fault == "eager":
            self.network_calls += 1
        return self._frames(request)

    def _frames(self, request):
        from crystal_core.crystal import CrystalBatch
        from crystal_core.frames import Frame

        if request.start is not None:
            from crystal_core.errors import IncompatibleSampler

            raise IncompatibleSampler("No start.")
        rng = torch.Generator().manual_seed(0 if self.fault == "one seed" else request.seed)
        if self.fault == "global noise":
            rng = torch.default_generator
        n_atoms = torch.tensor([len(c) for c in request.compositions])
        numbers = torch.tensor([z for c in request.compositions for z in c])
        coords = torch.rand((len(numbers), 3), generator=rng) + (1.0 if self.fault == "unwrapped" else 0.0)
        crystals = CrystalBatch(
            atomic_numbers=numbers.flip(0) if self.fault == "reordered" else numbers,
            frac_coords=coords,
            lattice=4.0 * torch.eye(3).repeat(len(n_atoms), 1, 1),
            n_atoms=n_atoms,
        )
        ids = tuple(range(len(n_atoms)))
        if self.fault == "lost" and len(ids) > 1:
            crystals, ids = CrystalBatch.concat([crystals[i] for i in ids[1:]]), ids[1:]
        for step in (2, 1) if self.fault == "backwards" else (1, 2):
            self.network_calls += 1
            last = step == 2 and self.fault != "unfinished"
            yield Frame(
                stage="x",
                step=step,
                n_steps=2,
                time=1 - step / 2,
                crystals=crystals,
                sample_ids=ids,
                finished=last,
            )


def test_a_generator_that_keeps_the_contract_passes():
    check_generator(lambda: Wrong("nothing"))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("no licence", "licence"),
        ("eager", "before the first frame"),
        ("one seed", "Another seed"),
        ("global noise", "same seed"),
        ("unwrapped", "outside"),
        ("reordered", "in their order"),
        ("lost", "requested"),
        ("backwards", "came after"),
        ("unfinished", "finished"),
    ],
)
def test_a_broken_promise_is_named(fault, says):
    with pytest.raises(ContractBroken, match=says):
        check_generator(lambda: Wrong(fault))


def test_a_run_that_cannot_be_closed_is_noticed():
    class Unclosable(Wrong):
        def sample(self, request):
            return chain(super().sample(request))

    with pytest.raises(ContractBroken, match="closed"):
        check_generator(lambda: Unclosable("nothing"))


def test_an_incomplete_provenance_is_noticed():
    with pytest.raises(ContractBroken, match="lacks"):
        check_record({"id": "x"})


def test_the_toys_are_what_they_are_called():
    sizes = {name: len(crystal.atomic_numbers) for name, crystal in toy_crystals().items()}
    assert sizes == {"iron": 1, "rock salt": 2, "triclinic": 3, "twenty atoms": 20}
    assert all(
        structure is not None for crystal in toy_crystals().values() for structure in to_structures(crystal)
    )
