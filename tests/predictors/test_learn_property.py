"""A property of one's own as a run: learned, installed and predicted; stopped without a trace;
refused in a sentence.
"""

import json

import numpy as np
import pytest

from crystal_core.errors import CheckpointMissing, RequestError
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.registry.property_cards import own_properties, remove_own_property
from crystal_core.requests import LearnPropertyRequest, PropertyPredictionRequest, from_json, to_json
from crystal_core.workflows import learn_property, predict_properties
from crystal_core.workflows.adapter_rows import OwnProperty
from crystal_core.workflows.train_adapter import train_adapter
from tests.predictors.test_adapters import own_table


def crystals(count=120):
    """Cubic cells of a few light elements, and a value that is their mean atomic number."""
    rng = np.random.default_rng(3)
    items, values = [], []
    for i in range(count):
        numbers = rng.choice([3, 8, 12, 14, 22], int(rng.integers(1, 5)))
        edge = (20.0 * len(numbers)) ** (1 / 3)
        places = (np.arange(len(numbers))[:, None] * 0.3 + rng.random((1, 3))) % 1.0
        items.append(
            {
                "source": f"own-{i}",
                "lattice": (np.eye(3) * edge).tolist(),
                "atomic_numbers": numbers.tolist(),
                "frac_coords": places.tolist(),
            }
        )
        values.append(float(numbers.mean()))
    return tuple(items), tuple(values)


def request(**changes):
    items, values = crystals()
    given = {
        "crystals": items,
        "values": values,
        "column": "hardness",
        "title": "Hardness",
        "unit": "GPa",
        "model": "tiny",
        "samples": 2500,
        "seed": 1,
        "device": "cpu",
    }
    return LearnPropertyRequest(**{**given, **changes})


@pytest.fixture
def home(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(bundle / "checkpoints"))
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def predicted(*names):
    items, _ = crystals(3)
    prediction_request = PropertyPredictionRequest(
        crystals=items, properties=names, model="tiny", device="cpu"
    )
    *_, last = predict_properties.run(prediction_request)
    return last.result


def test_the_worker_learns_it_and_the_predictor_it_keeps_has_it_until_it_is_removed(home):
    assert "hardness" not in [column["name"] for column in predicted()["properties"]]
    broken = {"source": "flat", "lattice": [[1, 0, 0]] * 3, "atomic_numbers": [3], "frac_coords": [[0] * 3]}
    items, values = crystals()
    learning_request = request(
        crystals=(*items, broken), values=(*values, 3.0), skipped=({"id": "x", "reason": "its CIF is empty"},)
    )
    queue = JobQueue()
    job = queue.submit("learn-property", to_json(learning_request))
    run_job(queue, queue.take(), RUNNERS)
    done = queue.get(job)
    assert done.state == "done" and not done.damaged, done.error
    learned = done.result["learned"]
    assert learned["n_train"] + learned["n_held_out"] == len(items)
    assert learned["n_held_out"] == len(learned["ids"]) == len(learned["true"]) == len(learned["predicted"])
    assert learned["mae"] < 0.5 * learned["mae_of_mean"] and learned["held_out_by"] == "composition"
    assert [row["id"] for row in learned["skipped"]] == ["x", "flat"]
    known = dict(zip((item["source"] for item in items), values, strict=True))
    assert learned["true"] == pytest.approx([known[name] for name in learned["ids"]], rel=1e-5)
    json.dumps(done.result, allow_nan=False)
    assert list(own_properties("tiny")) == ["hardness"]
    row = predicted("hardness")["rows"][0]
    assert row["predictions"]["hardness"]["unit"] == "GPa"
    remove_own_property("tiny", "hardness")
    with pytest.raises(RequestError, match="no property hardness"):
        predicted("hardness")
    with pytest.raises(RequestError, match="nothing to remove"):
        remove_own_property("tiny", "band_gap_ev")


def test_a_logarithm_is_learned_and_reported_in_the_unit_of_the_column(home):
    items, values = crystals()
    values = tuple(10 ** (value / 5) for value in values)
    *_, last = learn_property.run(request(values=values, logarithmic=True))
    learned = last.result["learned"]
    known = dict(zip((item["source"] for item in items), values, strict=True))
    assert learned["true"] == pytest.approx([known[name] for name in learned["ids"]], rel=1e-4)
    assert learned["mae"] < 0.6 * learned["mae_of_mean"] and min(learned["predicted"]) > 0
    value = predicted("hardness")["rows"][0]["predictions"]["hardness"]
    assert 0 < value["low"] < value["value"] < value["high"]


def test_a_run_that_is_closed_stops_at_once_and_leaves_nothing(home):
    steps = learn_property.run(request(samples=1_000_000))
    for update in steps:
        if "error so far" in update.stage:
            break
    seen = update.step
    assert 0 < seen < update.n_steps == 1_000_000 and "GPa" in update.stage
    steps.close()
    assert own_properties("tiny") == {} and [p.name for p in home.iterdir()] == ["checkpoints"]
    assert not list((home / "checkpoints").iterdir())


def test_learning_again_replaces_it_and_the_tables_own_split_is_kept(home):
    _, values = crystals()
    splits = tuple("val" if i % 5 == 0 else "train" for i in range(len(values)))
    *_, first = learn_property.run(request(samples=200, splits=splits))
    *_, second = learn_property.run(request(samples=400, splits=splits))
    learned = second.result["learned"]
    assert learned["held_out_by"] == "split" and learned["ids"] == [f"own-{i}" for i in range(0, 120, 5)]
    stamps = [last.result["provenance"]["weights_sha256"] for last in (first, second)]
    assert stamps[0] != stamps[1] == own_properties("tiny")["hardness"].weights_sha256


def test_a_name_that_the_shipped_predictor_has_and_a_constant_are_refused(home, tmp_path):
    with pytest.raises(RequestError, match="band_gap_ev_own"):
        request(column="band_gap_ev")
    own_table(tmp_path / "own.parquet", column="band_gap_ev")
    with pytest.raises(RequestError, match="already"):
        train_adapter(tmp_path / "own.parquet", OwnProperty(column="band_gap_ev"), encoder="tiny-encoder")
    with pytest.raises(RequestError, match="same value"):
        list(learn_property.run(request(values=(1.0,) * 120)))
    with pytest.raises(CheckpointMissing, match="none-such"):
        list(learn_property.run(request(model="none-such")))
    flat = [item | {"lattice": [[1, 0, 0]] * 3} for item in crystals()[0]]
    with pytest.raises(RequestError, match="Only 0 crystals"):
        list(learn_property.run(request(crystals=tuple(flat))))


def test_a_request_survives_json():
    learning_request = request(splits=("train",) * 120)
    assert (
        from_json(LearnPropertyRequest, json.loads(json.dumps(to_json(learning_request)))) == learning_request
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crystals": ()}, "at least 50"),
        ({"crystals": crystals(49)[0], "values": crystals(49)[1]}, "at least 50"),
        ({"crystals": crystals(1)[0] * 5001, "values": (1.0,) * 5001}, "at most 5,000"),
        ({"crystals": ({"source": "a"},) * 60}, "needs its source"),
        ({"values": (1.0,)}, "one value per crystal"),
        ({"values": (float("nan"),) * 120}, "a value to learn"),
        ({"values": (1e30,) * 120}, "a value to learn"),
        ({"values": ("3",) * 120}, "a value to learn"),
        ({"values": (-1.0,) * 120, "logarithmic": True}, "no logarithm"),
        ({"logarithmic": 1}, "true or false"),
        ({"splits": ("train",)}, "one split per crystal"),
        ({"splits": ("all",) * 120}, "Unknown split"),
        ({"column": "../hardness"}, "named by letters"),
        ({"column": ""}, "named by letters"),
        ({"title": "x" * 201}, "at most 200"),
        ({"unit": "GPa\x7f"}, "on one line"),
        ({"rank": 300}, "rank"),
        ({"samples": 0}, "samples"),
        ({"minutes": -1}, "minutes"),
        ({"seed": -1}, "seed"),
    ],
)
def test_requests_out_of_range_are_one_sentence(changes, words):
    with pytest.raises(RequestError, match=words):
        request(**changes)
