"""The field of the Generate page for symmetrising, and what its results say of it."""

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.files.records import cell_json
from crystal_core.jobs.queue import JobQueue
from crystal_core.requests import CrystalGenerationRequest, to_json
from crystal_core.workflows import generate
from pages._ui.run.calls import as_command, as_python
from tests.pages.generation import ROCK_SALT, page
from tests.pages.opening import words

pytestmark = pytest.mark.usefixtures("no_worker")
LABEL = "Symmetrise within (Å, 0 = off)"


def fields_of(at):
    return [field for field in at.number_input if field.label == LABEL]


def asked(at):
    """The tolerance of the request that the button sends."""
    assert not at.error and not at.exception
    at.button(key="generate").click().run()
    return JobQueue().list_jobs()[0].request["symmetrise"]


@pytest.mark.parametrize("model", ["tiny_writer", "tiny_de_novo"])
def test_crystals_are_symmetrised_unless_the_reader_says_no(request, model):
    name = request.getfixturevalue(model)()
    at = page(model=name)
    (field,) = fields_of(at)
    assert field.value is None and field.placeholder == "0.3" and asked(at) == 0.3
    at = page(model=name)
    fields_of(at)[0].set_value(0.0).run()
    assert asked(at) is None
    fields_of(at)[0].set_value(1.2).run()
    assert "lies above 0 and at most at 1 Å, not at 1.2" in words(at.error)
    assert at.button(key="generate").disabled and not at.exception
    fields_of(at)[0].set_value(None).run()
    assert asked(at) == 0.3, "an empty field is the usual tolerance again"


@pytest.mark.parametrize("link", ["fork", "job"])
@pytest.mark.parametrize("tolerance", [0.15, None])
def test_a_run_fills_the_field_with_its_tolerance(tiny_writer, link, tolerance):
    request = to_json(CrystalGenerationRequest(n=2, model=tiny_writer(), symmetrise=tolerance))
    for earlier in (request, {k: v for k, v in request.items() if tolerance or k != "symmetrise"}):
        at = page(**{link: JobQueue().submit("generate", earlier)})
        assert fields_of(at)[0].value == (tolerance or 0.0) and asked(at) == tolerance


def test_what_is_kept_of_a_structure_is_not_symmetrised(tiny_de_novo):
    given = {"fix": cell_json(ROCK_SALT), "fix_lattice": True}
    name = tiny_de_novo(elements=(11, 17))
    run = JobQueue().submit("generate", to_json(CrystalGenerationRequest(n=2, model=name, **given)))
    at = page(fork=run)
    assert not fields_of(at) and asked(at) is None
    at.toggle(key="fix-lattice").set_value(False).run()
    at.toggle(key="fix-elements").set_value(True).run()
    fields_of(at)[0].set_value(0.3).run()
    assert asked(at) == 0.3
    at.multiselect(key="fix-sites").set_value([0]).run()
    assert not fields_of(at) and asked(at) is None


def test_results_say_how_far_the_atoms_moved_and_how_to_repeat_it(tiny_pair):
    name = tiny_pair(refine={"start": "inject", "start_time": 0.002, "steps": 2, "sampler": "ode"})
    salt = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.48]])
    request = to_json(
        CrystalGenerationRequest(n=2, model=name, seed=1, start_from=cell_json(salt), symmetrise=0.4)
    )
    queue = JobQueue()
    queue.submit("generate", request)
    job = queue.take()
    *_, last = generate.run(request)
    queue.update(job.id, state="done", result=last.result, finished=job.created + 9)
    at = page(job=job.id)
    assert not at.exception
    counted = last.result["summary"]["symmetrised"]
    furthest = max(c["provenance"]["symmetrised"]["displacement_angstrom"] for c in last.result["crystals"])
    line = f"2 of 2 symmetrised within 0.4 Å; atoms moved at most {furthest:.2f} Å."
    assert counted["n"] == 2 and line in words(at.caption)
    first = last.result["crystals"][0]["provenance"]["symmetrised"]
    sentence = (
        f"symmetrised within {first['within_angstrom']:g} Å, "
        f"atoms moved at most {first['displacement_angstrom']:.2f} Å, "
        f"cell strained by {100 * first['strain']:.1f} %."
    )
    assert "Refined by tiny-refiner" in words(at.caption) and sentence in words(at.caption)
    done = queue.get(job.id)
    assert "--symmetrise 0.4" in as_command(done) and "symmetrise=0.4" in as_python(done)
