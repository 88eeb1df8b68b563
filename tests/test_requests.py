"""Requests: validated when built, the same after a trip through JSON."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystal_core.errors import RequestError
from crystal_core.requests import (
    MAX_SEED,
    CrystalGenerationRequest,
    DeNovoRequest,
    GenerationRequest,
    SamplerTuning,
    StructurePredictionRequest,
    from_json,
    to_json,
    tuning_words,
)
from crystal_core.workflows.compare.request import ModelColumn

SALT = {
    "lattice": [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]],
    "atomic_numbers": [11, 17],
    "frac_coords": [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]],
}


def test_a_request_survives_json():
    request = StructurePredictionRequest(formula="TiO2", z=(1, 2), seed=3)
    assert from_json(StructurePredictionRequest, json.loads(json.dumps(to_json(request)))) == request


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("z", [1.5]),
        ("z", 3),
        ("z", []),
        ("z", [31]),
        ("z", [True]),
        ("n_samples", 0),
        ("n_samples", 2.5),
        ("n_samples", float("nan")),
        ("steps", "many"),
        ("seed", -1),
        ("seed", MAX_SEED + 1),
        ("threads", 0),
        ("sampler", "euler"),
        ("start", "somewhere"),
        ("rank", "beauty"),
        ("formula", " "),
        ("formula", 7),
    ],
)
def test_values_out_of_range_are_one_sentence(field, value):
    with pytest.raises(RequestError, match=r"\.$"):
        from_json(StructurePredictionRequest, {"formula": "TiO2", field: value})


def test_missing_and_unknown_fields_are_named():
    with pytest.raises(RequestError, match="lacks formula"):
        from_json(StructurePredictionRequest, {})
    with pytest.raises(RequestError, match="formulla"):
        from_json(StructurePredictionRequest, {"formulla": "TiO2"})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tau": 0}, "tau must be a number between 0.001 and 10"),
        ({"tau": float("nan")}, "tau must be a number"),
        ({"noise_scale": -0.1}, "noise_scale must be a number between 0 and 2"),
        ({"noise_scale": True}, "noise_scale must be a number"),
        ({"remasking": "often"}, "remasking must be a number between 0 and 1000"),
        ({"tuning": "best"}, "Unknown tuning 'best'; choose one of card, published"),
        ({"tau": 0.3, "sampler": "em"}, "The sampler em has no corrector, so tau would change nothing"),
        ({"noise_scale": 1, "sampler": "ode"}, "no corrector, so noise_scale would change nothing"),
    ],
)
def test_a_tuning_that_is_out_of_range_or_changes_nothing_is_refused(options, sentence):
    for cls, needed in (
        (GenerationRequest, {"compositions": ((1,),)}),
        (DeNovoRequest, {"n_atoms": (1,)}),
        (CrystalGenerationRequest, {}),
        (StructurePredictionRequest, {"formula": "TiO2"}),
    ):
        with pytest.raises(RequestError, match=sentence):
            cls(**needed, **options)


@pytest.mark.parametrize(
    ("cls", "options", "sentence"),
    [
        (CrystalGenerationRequest, {"formula": "NaCl"}, "the formula already fixes the composition"),
        (StructurePredictionRequest, {"formula": "NaCl"}, "the formula already fixes the composition"),
        (ModelColumn, {"model": "crysllmgen-mp"}, "every target already fixes the composition"),
        (CrystalGenerationRequest, {"start_from": SALT}, "not drafted anew"),
        (CrystalGenerationRequest, {"fix": SALT, "fix_elements": True}, "keeps its elements already fixes"),
    ],
)
def test_charge_balance_needs_crystals_that_choose_their_compositions(cls, options, sentence):
    cls(**options)
    with pytest.raises(RequestError, match=sentence):
        cls(**options, charge_balance=True)
    with pytest.raises(RequestError, match="must be true or false"):
        cls(**options, charge_balance="yes")


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (CrystalGenerationRequest, {"formula": "NaCl"}),
        (CrystalGenerationRequest, {"start_from": SALT}),
        (StructurePredictionRequest, {"formula": "NaCl"}),
        (ModelColumn, {"model": "crysllmgen-mp"}),
    ],
)
def test_drafts_are_written_again_only_for_a_space_group(cls, options):
    with pytest.raises(RequestError, match="Drafts are written again for a requested space group"):
        cls(**options, rewrites=2)
    CrystalGenerationRequest(formula="NaCl", space_group="225", rewrites=2)
    CrystalGenerationRequest(crystal_system="cubic", rewrites=0)
    with pytest.raises(RequestError, match="rewrites"):
        CrystalGenerationRequest(space_group="225", rewrites=21)


@pytest.mark.parametrize("value", [0, -0.1, 1.01, float("nan"), True, "0.3"])
def test_a_tolerance_of_symmetrising_out_of_range_is_refused(value):
    with pytest.raises(RequestError, match=r"lies above 0 and at most at 1 Å, not at .*\.$"):
        CrystalGenerationRequest(symmetrise=value)
    request = CrystalGenerationRequest(symmetrise=1)
    assert from_json(CrystalGenerationRequest, json.loads(json.dumps(to_json(request)))) == request
    assert CrystalGenerationRequest().symmetrise is None


def test_types_that_are_given_are_not_remasked():
    for cls, needed in (
        (GenerationRequest, {"compositions": ((1,),)}),
        (StructurePredictionRequest, {"formula": "TiO2"}),
    ):
        with pytest.raises(RequestError, match="remasking would change nothing"):
            cls(**needed, remasking=3.0)


def test_a_request_from_before_there_was_a_tuning_opens_as_that_of_the_card():
    new = to_json(CrystalGenerationRequest(n=2, seed=1))
    old = {name: value for name, value in new.items() if name not in to_json(SamplerTuning())}
    assert from_json(CrystalGenerationRequest, old) == CrystalGenerationRequest(n=2, seed=1)
    assert tuning_words(old) == tuning_words(new) == []


def test_a_tuning_is_written_as_the_options_that_ask_for_it():
    request = CrystalGenerationRequest(tuning="published", tau=0.123456789, noise_scale=1, remasking=0.0)
    assert tuning_words(to_json(request)) == [
        *("--tuning", "published", "--tau", "0.123456789"),
        *("--noise-scale", "1", "--remasking", "0.0"),
    ]
    assert SamplerTuning(**request.tuning_fields).tuning_values == request.tuning_values


def test_an_exact_cell_has_no_formula_units():
    with pytest.raises(RequestError, match="leave out Z"):
        StructurePredictionRequest(formula="TiO2", exact_cell=True, z=(2,))


@settings(deadline=None)  # the first example also pays for imports
@given(
    st.dictionaries(
        st.sampled_from(["formula", "z", "n_samples", "seed", "steps", "sampler", "start", "threads"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.lists(st.integers(-2, 40), max_size=3),
    )
)
def test_any_json_is_a_request_or_a_sentence(data):
    try:
        request = from_json(StructurePredictionRequest, data)
    except RequestError as error:
        assert str(error)
    else:
        assert request.n_samples >= 1


@pytest.mark.parametrize("name", ["n_samples", "relax_seconds"])
def test_a_number_without_a_default_meaning_of_none_must_be_given(name):
    with pytest.raises(RequestError, match="whole number"):
        from_json(StructurePredictionRequest, {"formula": "NaCl", name: None})


def test_a_start_needs_a_time_and_the_other_way_round():
    with pytest.raises(RequestError, match="start time"):
        GenerationRequest(compositions=((1,),), start_time=0.5)
    with pytest.raises(RequestError, match="Atomic numbers"):
        GenerationRequest(compositions=((0,),))


def test_requests_are_read_without_torch():
    code = "import sys, crystal_core.requests; print('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )
