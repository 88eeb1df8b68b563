"""Generations that start from a crystal: which sites get other elements, what is told of
it, what is refused.
"""

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RequestError
from crystal_core.files.records import cell_json, structure_from_record
from crystal_core.registry.store import load_generator
from crystal_core.requests import CrystalGenerationRequest, from_json
from crystal_core.workflows import generate
from crystal_core.workflows.redraft import plan_redrafts

PEROVSKITE = cell_json(
    Structure(
        Lattice.cubic(3.9),
        ["Sr", "Ti", "O", "O", "O"],
        [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]],
    )
)


def request(name, **options):
    return CrystalGenerationRequest(model=name, start_from=PEROVSKITE, seed=3, **options)


def starts(model, options, elements=None):
    return plan_redrafts(options, model, elements or model.elements, options.seed).starts


def test_the_sites_of_an_element_get_the_same_other_one_and_the_rest_stays(tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    redrafts = starts(model, request("tiny-pair", n=6, redraft_sites=(2, 3)))
    for start in redrafts:
        numbers = start.crystal.atomic_numbers.tolist()
        assert numbers[:2] == [38, 22] and numbers[4] == 8
        assert numbers[2] == numbers[3] != 8
        (change,) = start.changes
        assert change.sites == (2, 3) and change.before == "O" and 0 < change.probability < 1
        assert f"\n{change.after}\n" in start.draft.text
    assert len({s.changes[0].after for s in redrafts}) > 1
    few = starts(model, request("tiny-pair", n=2, redraft_sites=(2, 3)))
    assert [s.changes for s in few] == [s.changes for s in redrafts[:2]]


def test_all_sites_redrafted_keep_the_form_of_the_formula(tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    for start in starts(model, request("tiny-pair", n=5, redraft_all=True)):
        a, b, *x = start.crystal.atomic_numbers.tolist()
        assert len({a, b, x[0]}) == 3 and set(x) == {x[0]}
        assert a != 38 and b != 22 and x[0] != 8
        assert {change.before for change in start.changes} == {"Sr", "Ti", "O"}


def test_an_element_that_the_model_cannot_read_is_replaced_before_it_is_read(tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    foreign = PEROVSKITE | {"atomic_numbers": [95, 22, 8, 8, 8]}
    given = CrystalGenerationRequest(model="tiny-pair", start_from=foreign, seed=3, n=6, redraft_all=True)
    for start in starts(model, given):
        assert start.changes[0].before == "Am" and 95 not in start.crystal.atomic_numbers.tolist()
    with pytest.raises(RequestError, match="not trained on Am"):
        starts(
            model, CrystalGenerationRequest(model="tiny-pair", start_from=foreign, seed=3, redraft_sites=(1,))
        )


def test_only_allowed_elements_are_drawn(tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    options = request("tiny-pair", n=6, redraft_sites=(0,), elements=("Ca", "Ba", "Sr"))
    drawn = {s.crystal.atomic_numbers.tolist()[0] for s in starts(model, options, (20, 56, 38))}
    assert drawn <= {20, 56}
    with pytest.raises(RequestError, match="may take the place of Sr"):
        starts(model, options, (38,))


def test_a_run_tells_what_was_changed_and_keeps_the_axes_given(tiny_pair):
    name = tiny_pair(refine={"start": "inject", "start_time": 0.002, "steps": 2, "sampler": "ode"})
    centred = Structure(
        Lattice.from_parameters(4, 4, 8, 90, 90, 60), ["Na", "Cl"], [[0, 0, 0], [0.2, 0.1, 0.6]]
    )
    *_, end = generate.run(
        CrystalGenerationRequest(model=name, n=2, seed=1, start_from=cell_json(centred), redraft_sites=(1,))
    )
    for crystal in end.result["crystals"]:
        assert crystal["origin"] == "draft refined" and crystal["atomic_numbers"][0] == 11
        provenance = crystal["provenance"]
        (change,) = provenance["redraft"]["changes"]
        assert change["sites"] == [1] and change["before"] == "Cl"
        assert [stage["stage"] for stage in provenance["stages"]] == ["redraft", "refine"]
        structure = structure_from_record(crystal)
        assert structure.frac_coords[1] == pytest.approx([0.2, 0.1, 0.6], abs=0.02)
        assert structure.lattice.angles == pytest.approx((90, 90, 60), abs=8)
    assert end.result["network_calls"] > 2


def test_without_sites_the_crystal_is_only_refined(tiny_pair):
    *_, end = generate.run(request(tiny_pair(), n=2))
    for crystal in end.result["crystals"]:
        assert crystal["atomic_numbers"] == PEROVSKITE["atomic_numbers"]
        assert crystal["origin"] == "given refined" and "draft" not in crystal["provenance"]
        assert [stage["stage"] for stage in crystal["provenance"]["stages"]] == ["refine"]
    assert end.result["network_calls"] == 4


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"redraft_sites": (7,)}, "between 0 and 4"),
        ({"redraft_sites": (0,), "redraft_all": True}, "already names them"),
        ({"n_atoms": (2, 4)}, "already says how many atoms"),
        ({"formula": "TiO2"}, "already says the formula"),
        ({"elements": ("Li",)}, "only for sites to redraft"),
        ({"band_gap": 0.0}, "already says what the crystal is"),
    ],
)
def test_a_request_that_says_too_much_is_refused(options, reason):
    with pytest.raises(RequestError, match=reason):
        request("any", **options)


def test_a_request_survives_json_and_needs_a_structure():
    redraft = request("any", redraft_sites=(0,))
    from crystal_core.requests import to_json

    assert from_json(CrystalGenerationRequest, to_json(redraft)) == redraft
    with pytest.raises(RequestError, match="no structure to redraft"):
        CrystalGenerationRequest(redraft_all=True)
    with pytest.raises(RequestError, match="needs lattice"):
        CrystalGenerationRequest(start_from={"lattice": []})


def test_models_that_cannot_say_so(tiny_pair, tiny_de_novo):
    name = tiny_pair()
    with pytest.raises(RequestError, match="a refiner is needed"):
        next(generate.run(request(name, refiner="none")))
    with pytest.raises(RequestError, match="would forget the given crystal"):
        next(generate.run(request(name, start_draft="none")))
    with pytest.raises(RequestError, match="cannot start from a crystal"):
        next(generate.run(request("tiny-writer")))
    with pytest.raises(RequestError, match="cannot start from a crystal"):
        next(generate.run(request(tiny_de_novo())))
