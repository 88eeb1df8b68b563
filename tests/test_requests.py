"""Requests: validated when built, the same after a trip through JSON."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystal_core.errors import RequestError
from crystal_core.requests import MAX_SEED, GenerationRequest, StructurePredictionRequest, from_json, to_json


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
