"""The map of training crystals: what is drawn of many, and colours that one outlier does not use up."""

import numpy as np

from crystal_core.drawing.figures.latent_map import map_figure, shown_rows


def test_unknown_values_are_left_out_and_many_are_thinned_the_same_way():
    values = np.arange(100, dtype=np.float32)
    values[::2] = np.nan
    assert shown_rows(values).tolist() == list(range(1, 100, 2))
    some = shown_rows(values, most=10)
    assert len(set(some.tolist())) == 10
    assert some.tolist() == shown_rows(values, most=10).tolist()
    assert (some % 2 == 1).all()


def test_colour_bar_tells_physical_values_of_a_logarithmic_property():
    values = np.array([1.0] + [10.0] * 98 + [1e6], dtype=np.float32)
    figure = map_figure(
        np.zeros((100, 2), np.float32),
        values,
        [str(v) for v in values],
        label="Bulk modulus (GPa)",
        logarithmic=True,
        own=[(0.5, 0.5)],
        own_words=["mine"],
    )
    known, own = figure.data
    bar = known.marker.colorbar
    assert bar.ticktext[-1] == "10"  # the outlier does not stretch the scale
    assert own.text == ("mine",)
    # WebGL traces stay blank under the served app's content security policy
    assert {trace.type for trace in figure.data} == {"scatter"}
    assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
