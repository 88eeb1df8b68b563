"""What a browser knows of the forms where messages get lost: a run that is cut short tells it nothing."""

import json

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetStates

from crystal_core.jobs.queue import JobQueue
from crystal_core.requests import CrystalGenerationRequest, StructurePredictionRequest, to_json
from tests.pages.opening import run_page as page

KINDS = (
    "number_input",
    "text_input",
    "text_area",
    "toggle",
    "selectbox",
    "multiselect",
    "button_group",
    "slider",
)
pytestmark = pytest.mark.usefixtures("no_worker")


def fields_of(app):
    """Every field of the page with a key."""
    return [field for kind in KINDS for field in app.get(kind) if field.key]


def held(field):
    """The value that the server holds, as it travels; None for an empty field."""
    state = field._widget_state
    kind = state.WhichOneof("value")
    value = getattr(state, kind) if kind else None
    return list(value.data) if hasattr(value, "data") else value


def sent(field):
    """The value with which a browser mounts a field that it has not shown before."""
    proto = field.proto
    if field.type == "selectbox":
        return proto.raw_value if proto.set_value else proto.options[proto.default]
    if field.type in ("multiselect", "button_group"):
        options = [getattr(option, "content", option) for option in proto.options]
        return list(proto.raw_values) if proto.set_value else [options[k] for k in proto.default]
    if field.type == "slider":
        return list(proto.value if proto.set_value else proto.default)
    name = "value" if proto.set_value else "default"
    return getattr(proto, name) if field.type in ("toggle", "checkbox") or proto.HasField(name) else None


class Browser:
    """Mounts each field with what it is told, keeps that, and sends all of it with a press."""

    def __init__(self, app):
        self.app, self.values = app, {}

    def hear(self):
        """The messages of the last run arrive."""
        self.values = {
            field.proto.id: sent(field)
            if field.proto.set_value or field.proto.id not in self.values
            else self.values[field.proto.id]
            for field in fields_of(self.app)
        }
        return self

    def send(self, pressed=None):
        """Everything that it shows, as an interaction brings it to the server."""
        states = WidgetStates()
        for field in fields_of(self.app):
            if field.proto.id in self.values:
                value, kind = self.values[field.proto.id], field._widget_state.WhichOneof("value")
                state = states.widgets.add(id=field.proto.id)
                if value is None:
                    continue
                if isinstance(value, list):
                    getattr(state, kind).data.extend(value)
                else:
                    setattr(state, kind, int(value) if kind == "int_value" else value)
        if pressed:
            states.widgets.add(id=self.app.button(key=pressed).proto.id, trigger_value=True)
        self.app._run(states)
        return self

    def shows(self, label):
        """The value of the field with this label."""
        (field,) = (field for field in fields_of(self.app) if field.label == label)
        return self.values[field.proto.id]


def predicted(**changes):
    fields = {"formula": "SrTiO3", "z": (2,), "n_samples": 7, "sampler": "em", "steps": 30, "seed": 5}
    request = StructurePredictionRequest(**fields | changes)
    return JobQueue().submit("predict-structure", to_json(request))


def generated(**changes):
    fields = {
        "n": 5,
        "sampler": "em",
        "n_atoms": (2, 6),
        "density": 4.5,
        "guidance": 2.0,
        "elements": ("Li", "O"),
    }
    request = CrystalGenerationRequest(**fields | changes)
    return JobQueue().submit("generate", to_json(request))


LINKS = {
    "predict_structure": [dict, lambda: {"formula": "SrTiO3"}, lambda: {"fork": predicted()}],
    "generate": [dict, lambda: {"atoms": "8"}, lambda: {"fork": generated()}],
    "viewer": [dict],
    "models": [dict],
}


@pytest.mark.parametrize(("name", "link"), [(name, link) for name, links in LINKS.items() for link in links])
def test_every_run_tells_the_browser_what_the_server_holds(request, name, link):
    if name == "generate":
        request.getfixturevalue("tiny_de_novo")()
    app = page(name, **link())
    for _ in range(3):
        assert fields_of(app) and not app.exception
        assert {f.key: sent(f) for f in fields_of(app)} == {f.key: held(f) for f in fields_of(app)}
        app._run(WidgetStates())  # an interaction of a browser that shows no field yet


def test_a_press_after_a_run_that_was_cut_short_asks_for_what_is_shown():
    browser = Browser(page("predict_structure"))  # its messages are lost
    browser.send().hear().send("predict")
    assert not browser.app.exception and not browser.app.error
    (job,) = JobQueue().list_jobs()
    assert (job.request["formula"], job.request["n_samples"], job.request["relax"]) == ("TiO2", 4, True)


def test_crystals_are_asked_for_as_shown_after_a_run_that_was_cut_short(tiny_de_novo):
    tiny_de_novo()
    browser = Browser(page("generate"))
    browser.send().hear().send("generate")
    assert not browser.app.exception and not browser.app.error
    (job,) = JobQueue().list_jobs()
    assert job.request["n"] == 8


@pytest.mark.parametrize("n_lost", [0, 1, 2])
def test_a_link_fills_a_form_that_is_shown_already_even_where_it_is_not_heard_of(n_lost):
    browser = Browser(page("predict_structure", formula="SrTiO3")).hear().send().hear()
    assert len(browser.shows("Formula units per cell (Z)")) == 3
    fork = predicted()
    browser.app.query_params.clear()
    browser.app.query_params["fork"] = fork
    browser.send()  # what the form shows goes with the request for the new link
    for _ in range(n_lost):
        browser.send()  # and again, by a browser that has heard nothing
    browser.hear()
    assert (browser.shows("Formula"), browser.shows("Samples per Z")) == ("SrTiO3", 7)
    browser.send("predict")
    request = json.loads(json.dumps(next(job for job in JobQueue().list_jobs() if job.id != fork).request))
    assert {name: request[name] for name in ("formula", "z", "n_samples", "sampler", "steps")} == {
        "formula": "SrTiO3",
        "z": [2],
        "n_samples": 7,
        "sampler": "em",
        "steps": 30,
    }


def test_what_was_typed_after_a_link_stays():
    browser = Browser(page("predict_structure", formula="TiO2")).hear()
    steps = browser.app.number_input(key="steps").proto.id
    browser.values[steps] = 9
    for _ in range(3):
        browser.send().hear()
        assert browser.shows(browser.app.number_input(key="steps").label) == 9
        assert browser.app.number_input(key="steps").value == 9
