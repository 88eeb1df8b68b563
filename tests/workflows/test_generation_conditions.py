"""Property conditions: given to a model with a prompt, guided towards for others, refused
where neither is possible.
"""

from dataclasses import replace

import pytest
import torch

from crystal_core.cards import ModelCard
from crystal_core.crystal import SoftCrystals
from crystal_core.errors import RequestError
from crystal_core.guides.density import DensityTarget
from crystal_core.guides.protocol import AllOf
from crystal_core.requests import CrystalGenerationRequest
from crystal_core.workflows.generation_conditions import (
    check_conditions,
    guided_properties,
    possible_conditions,
)

KLDM = ModelCard(
    name="kldm",
    kind="generator",
    task="de novo generation",
    method="KLDM",
    loader="kldm",
    parameters=1,
    trained_on="",
    source="",
    licence="",
    limits="",
)


def test_a_predictor_that_is_installed_guides_models_that_are_told_nothing(composition_predictor):
    request = CrystalGenerationRequest(band_gap=2.0, formation_energy=-1.5, guidance=3.0)
    assert guided_properties(request, KLDM) == {
        "band_gap": ("band_gap_ev", 2.0),
        "formation_energy": ("formation_energy_per_atom_ev", -1.5),
    }
    check_conditions(request, KLDM)
    with pytest.raises(RequestError, match="does not take a formula"):
        check_conditions(replace(request, formula="TiO2"), KLDM)


def test_without_a_predictor_the_condition_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    request = CrystalGenerationRequest(band_gap=2.0)
    assert guided_properties(request, KLDM) == {}
    with pytest.raises(RequestError, match="does not take a band gap"):
        check_conditions(request, KLDM)


def test_targets_add_up():
    batch = SoftCrystals(
        types=torch.nn.functional.one_hot(torch.tensor([10, 16]), 118).float(),
        frac_coords=torch.rand(2, 3),
        lattice=torch.eye(3).unsqueeze(0) * 4.0,
        n_atoms=torch.tensor([2]),
    )
    low, high = DensityTarget(2.0), DensityTarget(6.0)
    torch.testing.assert_close(AllOf([low, high]).value(batch), low.value(batch) + high.value(batch))


def test_guidance_needs_a_target():
    with pytest.raises(RequestError, match="something to guide towards"):
        CrystalGenerationRequest(guidance=2.0)


def test_a_model_takes_what_its_prompt_says_or_what_guides_it(composition_predictor):
    writer = replace(KLDM, sampling={"conditions": ["composition", "band_gap"], "draft": {}})
    assert possible_conditions(writer) == {"formula": "prompt", "band_gap": "prompt"}
    guided = possible_conditions(KLDM)
    assert guided["space_group"] == "kept" and guided["band_gap"] == guided["density"] == "guided"
    assert "formula" not in guided and "crystal_system" not in guided
    for held in ({"contain": ("O",)}, {"elements": ("Sr", "O"), "require_all": True}):
        both = CrystalGenerationRequest(space_group="225", **held)
        with pytest.raises(RequestError, match="not both"):
            check_conditions(both, KLDM)
        sampling = {"conditions": ["elements", "space_group"], "draft": {}}
        check_conditions(both, replace(KLDM, sampling=sampling))  # a prompt says both
