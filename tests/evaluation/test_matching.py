"""The structure-prediction report on cells whose answer is known by hand."""

import tomllib

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.cards import to_toml
from crystal_core.evaluation.matching import (
    MATCHER,
    Outcome,
    has_fingerprint,
    judge,
    summarise,
)
from crystal_core.evaluation.statistics import bootstrap_mean, wilson


def perovskite(b="Ti", shift=0.0):
    return Structure(
        Lattice.cubic(3.9),
        ["Sr", b, "O", "O", "O"],
        [[shift, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )


def test_a_reference_matches_itself_in_any_cell_size_and_atom_order():
    other = perovskite()
    other.scale_lattice(80.0)
    other = Structure.from_sites(list(reversed(other)))
    outcome = judge(perovskite(), [other])
    assert outcome.structural == pytest.approx(0, abs=1e-6) and outcome.smact == pytest.approx(0, abs=1e-6)


def test_the_best_of_several_counts_and_undecodable_ones_are_misses():
    outcome = judge(perovskite(), [None, perovskite(shift=0.05), perovskite(shift=0.02)])
    assert outcome.failed == 1
    assert judge(perovskite(), [perovskite(shift=0.02), perovskite(shift=0.05), None]) == outcome
    assert 0 < outcome.structural < judge(perovskite(), [perovskite(shift=0.05)]).structural
    assert judge(perovskite(), [None]).structural is None


def test_the_smact_filter_closes_on_an_unbalanced_reference():
    odd = Structure(Lattice.cubic(4.5), ["Na", "F", "F"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]])
    outcome = judge(odd, [odd.copy()])
    assert outcome.structural == pytest.approx(0, abs=1e-6) and outcome.smact is None


def test_a_pair_that_takes_too_long_is_a_miss(monkeypatch):
    from pymatgen.analysis.structure_matcher import StructureMatcher

    from crystal_core.evaluation import matching

    def endless(*_):
        while True:
            pass

    monkeypatch.setattr(StructureMatcher, "get_rms_dist", endless)
    monkeypatch.setattr(matching, "PAIR_SECONDS", 0.2)
    assert judge(perovskite(), [perovskite()]).structural is None


def test_report_counts_by_size_by_elements_and_by_seen_formula():
    def outcome(n, formula, rms):
        return Outcome(
            n_atoms=n, n_elements=1 + n // 10, formula=formula, structural=rms, smact=None, failed=0
        )

    report = summarise(
        [outcome(5, "A", 0.1), outcome(5, "B", None), outcome(12, "A", 0.3), outcome(30, "C", None)],
        frozenset("A"),
    )
    assert (report["match_rate"], report["rmse"], report["n"]) == (0.5, 0.2, 4)
    assert report["filter"]["smact"]["match_rate"] == 0 and report["filter"]["smact"]["rmse"] is None
    assert {k: v["match_rate"] for k, v in report["by_n_atoms"].items()} == {
        "1-5": 0.5,
        "11-20": 1.0,
        ">20": 0.0,
    }
    assert {k: (v["n"], v["match_rate"]) for k, v in report["by_n_elements"].items()} == {
        "1": (2, 0.5),
        "2": (1, 1.0),
        "4": (1, 0.0),
    }
    assert {k: v["n"] for k, v in report["by_seen_formula"].items()} == {"seen": 2, "unseen": 2}


def test_wilson_interval_against_a_textbook_value():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == 1 and wilson(0, 0) == (0.0, 1.0)


def test_the_interval_of_the_rmse_is_that_of_a_mean():
    values = [0.1] * 50 + [0.3] * 50
    low, high = bootstrap_mean(values)
    # standard error 0.1 / sqrt(100)
    assert low < 0.2 < high and high - low == pytest.approx(2 * 1.96 * 0.01, rel=0.15)
    assert bootstrap_mean([0.1]) is None


def test_the_second_filter_needs_neighbours_for_every_site(monkeypatch):
    assert has_fingerprint(perovskite())
    monkeypatch.setattr("crystal_core.evaluation.matching.has_fingerprint", lambda _: False)
    outcome = judge(perovskite(), [perovskite()])
    assert outcome.structural == pytest.approx(0, abs=1e-6) and outcome.smact is None


def test_a_report_holds_plain_numbers_that_a_card_can_keep():
    report = summarise([judge(perovskite(), [perovskite(shift=0.02)])])
    assert (
        type(report["rmse"]) is float
        and tomllib.loads(to_toml({"rmse": report["rmse"]}))["rmse"] == report["rmse"]
    )


@pytest.mark.parametrize(("edge", "counts"), [(39.9, True), (40.1, False)])
def test_a_candidate_with_an_edge_above_forty_is_a_miss(edge, counts):
    long = Structure(Lattice.tetragonal(4, edge), ["Na"], [[0, 0, 0]])
    assert (judge(long, [long.copy()]).structural is not None) is counts


def test_the_second_filter_judges_the_reference_only_where_one_candidate_is_drawn(monkeypatch):
    """As DiffCSP does: with one sample both sides must pass, with twenty only the candidate."""
    reference = perovskite()
    monkeypatch.setattr(
        "crystal_core.evaluation.matching.has_fingerprint", lambda structure: structure is not reference
    )
    assert judge(reference, [perovskite()]).smact is None
    assert judge(reference, [perovskite(), perovskite()]).smact == pytest.approx(0, abs=1e-6)


def test_the_matcher_is_the_published_one():
    """Strontium moved by half an edge still matches under it, and not under pymatgen's defaults."""
    assert MATCHER == {"stol": 0.5, "ltol": 0.3, "angle_tol": 10}
    assert judge(perovskite(), [perovskite(shift=0.5)]).structural == pytest.approx(0.342, abs=1e-3)
