"""Text from a file, a link or a formula is shown as it stands, whatever it says."""

import html

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pages._ui.text import escape_markdown


@given(st.text())
@example("![x](http://elsewhere.invalid/a.png)")
@example("<img src=x onerror=alert(1)> [a](b) **bold** `code` # title :red[x] $x^2$")
@example("2.5 kg, 3) a_b__c_ -d- e-f 4.g (h); 'i' \"j\" k/l 5%")
@example("1. one\n2. two\n\n    code")
def test_markdown_shows_the_same_words_and_nothing_else(text):
    rendered = MarkdownIt("commonmark").render("a " + escape_markdown(text))
    assert rendered.startswith("<p>a") and rendered.endswith("</p>\n")
    words = html.unescape(rendered[3:-5]).split()
    assert words == ["a", *text.replace("\0", "\ufffd").split()]


@given(st.text(st.sampled_from("12.)-_+, (a*")))
@example("1.5 a")
@example("1) a")
@example("- a")
@example("__a__")
def test_a_line_that_begins_with_any_of_it_begins_no_list(text):
    rendered = MarkdownIt("commonmark").render(escape_markdown(text))
    assert (
        html.unescape(rendered).split()
        == (f"<p>{' '.join(text.split())}</p>" if text.split() else "").split()
    )


@pytest.mark.parametrize(
    "label",
    ["Show 6 variants of kldm-csp-perov5, trained to compare", "CHGNet 0.4.2 (eV/atom)", "MgAl2O4 · 5 % off"],
)
def test_usual_words_hold_no_backslash(label):
    assert escape_markdown(label) == label


@pytest.mark.parametrize("mark", list("$:[]<>!*_`"))
def test_streamlits_own_marks_are_escaped_too(mark):
    assert escape_markdown(mark) == "\\" + mark


def test_a_generation_is_called_again_with_all_its_options():
    from crystal_core.jobs.queue import Job
    from crystal_core.requests import CrystalGenerationRequest, to_json
    from pages._ui.run.calls import as_command, as_python

    cell = {"lattice": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "atomic_numbers": [22], "frac_coords": [[0, 0, 0]]}
    request = CrystalGenerationRequest(
        n=3,
        n_atoms=(4, 12),
        elements=("Li", "O"),
        exclude_elements=("F",),
        seed=4,
        steps=9,
        tau=0.4,
        remasking=5.0,
        tuning="published",
        fix=cell,
        fix_sites=(0,),
        fix_lattice=True,
    )
    nothing = dict.fromkeys(("started", "finished", "error", "snapshot", "result"))
    job = Job(
        id="x",
        kind="generate",
        request=to_json(request),
        state="queued",
        created=0,
        stage="",
        step=0,
        n_steps=0,
        trajectories=[],
        place=1,
        **nothing,
    )
    assert as_command(job) == (
        "crystal-core generate --model kldm-dng-mp --n 3 --n-atoms 4-12 --elements Li,O --exclude-elements F "
        "--fix structure.json --fix-sites 0 --fix-lattice --sampler fast --steps 9 --tuning published --tau "
        "0.4 --remasking 5.0 --seed 4 --out results"
    )
    compile(as_python(job), "call", "exec")
