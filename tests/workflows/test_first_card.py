"""Judged rows keep their evidence, weights are found again from rows drawn with them, rates count cards."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RequestError
from crystal_core.evaluation.ranking import Evidence, Weights, scores
from crystal_core.registry.store import load_generator
from crystal_core.workflows.first_card import judge_row
from crystal_core.workflows.first_card_rates import (
    by_kind,
    cards_of,
    changed_first_cards,
    first_card_rates,
    is_sampled,
    without,
)
from crystal_core.workflows.first_card_rows import (
    Judged,
    JudgedRow,
    begin,
    read_rows,
)
from crystal_core.workflows.first_card_samples import (
    DRAFTED,
    FROM_NOISE,
    REFINED,
    Drafts,
    Samples,
    with_agreement,
)
from crystal_core.workflows.fit_ranking import SET, fit, gains_of, without_known
from crystal_core.workflows.generate import load_de_novo
from crystal_core.workflows.references import Reference

TRUE = Weights(
    rank=-1.0,
    votes=1.0,
    members=0.0,
    relaxed=1.0,
    error_relaxed=0.01,
    single_point=0.7,
    error_single_point=0.05,
    named=3.0,
    sigma_published=0.05,
    log_odds=0.8,
    **SET,
)


def candidate(rank, energy, *, right, votes=0.1, single=None, log_odds=None):
    evidence = Evidence(
        source="prototype",
        rank=rank,
        votes=votes,
        members=3,
        distance=0.5,
        relaxed=energy,
        single_point=energy if single is None else single,
        log_odds=log_odds,
        converged=True,
    )
    rmsd = 0.02 if right else None
    path = () if energy is None else ((0, evidence.single_point), (5, energy + 0.05), (20, energy))
    return Judged(evidence=evidence, laid_out=rmsd, relaxed=rmsd, trace=path)


def row(*candidates, name="mp-1", n_atoms=4):
    return JudgedRow(
        id=name, formula="AB", n_atoms=n_atoms, n_elements=2, relaxes=True, candidates=tuple(candidates)
    )


def drawn_rows(n, weights):
    """Rows whose right candidate is drawn with the probabilities that the weights say."""
    rng, rows = np.random.default_rng(0), []
    for k in range(n):
        energies = -5.0 + rng.exponential(0.05, 5)
        candidates = [
            candidate(
                i + 1,
                float(e),
                right=False,
                votes=float(rng.uniform(0.02, 1)),
                log_odds=float(rng.normal(0, 1.5)),
            )
            for i, e in enumerate(energies)
        ]
        likelihoods = np.array(scores([c.evidence for c in candidates], without_known(weights)))
        odds = np.exp(likelihoods - likelihoods.max())
        winner = rng.choice(5, p=odds / odds.sum())
        candidates[winner] = replace(candidates[winner], laid_out=0.02, relaxed=0.02)
        rows.append(row(*candidates, name=f"mp-{k}"))
    return rows


def test_weights_are_found_again_from_rows_drawn_with_them():
    weights = fit(drawn_rows(150, TRUE))
    # 150 rows tell a weight to about a third
    assert weights.cost_of_relaxed(0.05) == pytest.approx(TRUE.cost_of_relaxed(0.05), rel=0.4)
    assert weights.rank == pytest.approx(TRUE.rank, rel=0.5)
    assert weights.votes == pytest.approx(TRUE.votes, rel=0.5)
    assert weights.log_odds == pytest.approx(TRUE.log_odds, rel=0.5)
    assert weights.known == SET["known"]  # no validation row tells of it


def test_without_a_right_candidate_nothing_can_be_fitted():
    with pytest.raises(RequestError, match="right candidate"):
        fit([row(candidate(1, -5.0, right=False))])


def test_gains_are_what_relaxations_still_won():
    rows = [
        row(*[candidate(k, -5.0, right=False, single=-4.0) for k in range(1, 6)], name=str(i)) for i in (1, 2)
    ]
    assert gains_of(rows) == ((5, 0.05), (20, 0.0))


def test_rules_order_the_cards_and_rates_count_them():
    weights = without_known(TRUE)
    near = row(candidate(1, -4.992, right=True), candidate(2, -5.0, right=False))
    far = row(candidate(1, -4.5, right=False), candidate(2, -5.0, right=True), name="mp-2", n_atoms=8)
    assert cards_of(near, "lowest energy", weights) == [None, 0.02]
    assert (
        cards_of(near, "ranking", weights)
        == cards_of(near, "earliest within 20 meV/atom", weights)
        == [0.02, None]
    )
    assert (
        cards_of(far, "first prototype", weights)[0] is None and cards_of(far, "ranking", weights)[0] == 0.02
    )
    rates = first_card_rates([near, far], weights)
    assert rates["first prototype"]["first card"]["match_rate"] == 0.5
    assert rates["ranking"]["first card"]["match_rate"] == rates["any candidate"]["match_rate"] == 1.0
    assert rates["ranking"]["first card"]["ci95"][0] < 0.5 and rates["ranking"]["first card"]["n"] == 2
    other = replace(far.candidates[0], evidence=replace(far.candidates[0].evidence, distance=0.0))
    polymorph = replace(
        far, candidates=(other, *far.candidates[1:])
    )  # another crystal of the formula is known
    parts = by_kind([near, polymorph], "first prototype", weights)
    rates = {
        kind: {name: part["match_rate"] for name, part in of_kind.items()} for kind, of_kind in parts.items()
    }
    assert rates["by_n_atoms"] == {"1-5": 1.0, "6-10": 0.0}
    assert rates["by_formula"] == {"unseen": 1.0, "seen": 0.0}


def test_a_relaxation_that_was_stopped_ranks_behind_those_that_ended():
    ended, stopped = candidate(2, -4.9, right=False), candidate(1, -5.5, right=True)
    stopped = replace(stopped, outrun=True, evidence=replace(stopped.evidence, relaxed=None))
    assert cards_of(row(stopped, ended), "ranking", without_known(TRUE)) == [None, 0.02]


def test_a_file_goes_on_only_with_the_settings_it_was_begun_with(tmp_path):
    file = tmp_path / "rows.jsonl"
    begin(file, {"split": "val", "open_z": False})
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(row(candidate(1, -5.0, right=True)))) + "\n")
    begin(file, {"split": "val", "open_z": False})
    assert [one.id for one in read_rows(file)] == ["mp-1"]
    with pytest.raises(RequestError, match="was begun with split val, not test"):
        begin(file, {"split": "test"})
    (tmp_path / "other").write_text("x")
    with pytest.raises(RequestError, match="no file that an evaluation"):
        begin(tmp_path / "other", {})


def test_rows_are_read_as_they_were_written_and_the_last_of_one_id_counts(tmp_path):
    file, first = tmp_path / "rows.jsonl", row(candidate(1, -5.0, right=True))
    (only,) = first.candidates
    first = replace(first, candidates=(replace(only, after=replace(only.evidence, agreement=2)),))
    blind = replace(first, relaxes=False)
    file.write_text("".join(json.dumps(asdict(one)) + "\n" for one in (blind, first)))
    assert read_rows(file) == [first] and read_rows(tmp_path / "none.jsonl") == []
    file.write_text('{"id": 3}\n')
    with pytest.raises(RequestError, match=r"rows\.jsonl is no file of candidates"):
        read_rows(file)


def draft(energy, *, right, agreement=1):
    """A refined draft, which no relative speaks for."""
    one = candidate(0, energy, right=right, votes=0.0)
    return replace(one, evidence=replace(one.evidence, source=DRAFTED, members=0, agreement=agreement))


def test_samples_are_compared_with_the_same_rows_without_them():
    weights = without_known(TRUE)
    better = row(candidate(1, -4.0, right=False), draft(-5.0, right=True))
    worse = row(candidate(1, -4.0, right=True), draft(-5.0, right=False), name="mp-2")
    idle = row(candidate(1, -5.0, right=True), draft(-4.0, right=True), name="mp-3")
    rows = [better, worse, idle]
    changed = changed_first_cards(rows, "ranking", weights, is_sampled)
    assert (changed["gained"], changed["lost"], changed["shown_first"]) == (1, 1, 2)
    assert changed["without"]["first card"]["match_rate"] == round(2 / 3, 4)
    assert [len(cards_of(without(one, is_sampled), "ranking", weights)) for one in rows] == [1, 1, 1]
    only = row(draft(-5.0, right=True))
    assert changed_first_cards([only], "ranking", weights, is_sampled)["gained"] == 1  # no prototype is known


def test_agreement_with_drafts_counts_for_a_prototype_and_not_without_them():
    weights = without_known(TRUE)
    alike = candidate(2, -5.0, right=True)
    alike = replace(alike, evidence=replace(alike.evidence, agreement=20))
    one = row(candidate(1, -5.0, right=False), alike)
    assert cards_of(one, "prior", weights)[0] == 0.02
    assert cards_of(without(one, is_sampled), "prior", weights)[0] is None


def test_drafts_have_the_cell_of_the_row_and_agree_where_they_are_alike(tiny_pair):
    model = load_de_novo(tiny_pair(), "cpu")
    drafts = Drafts(model=model, n=3, seed=1).candidates((11, 17, 17), [])
    assert drafts and all(cell.composition.formula == "Na1 Cl2" for _, cell in drafts)
    assert {one.source for one, _ in drafts} == {DRAFTED} and all(one.rank == 0 for one, _ in drafts)
    repeated = with_agreement([drafts[0], drafts[0], *drafts[1:]])
    assert repeated[0][0].agreement == repeated[1][0].agreement >= 2
    assert Drafts(model=model, n=3).candidates((11, 118), []) == []  # no model knows oganesson
    assert Drafts(model=model, n=3).candidates((11,) * (model.trained_atoms + 1), []) == []


def test_samples_are_drawn_from_noise_and_from_prototypes_in_their_order():
    cell = Structure.from_spacegroup("Pm-3m", Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3])
    other = Structure(Lattice.cubic(3.9), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.4]])
    laid_out = [
        (Evidence(source="prototype", rank=1, votes=0.9, members=7), cell),
        (Evidence(source="prototype", rank=2, votes=0.1, members=3), other),
    ]
    samples = Samples(model=load_generator("kldm-csp-mp", "cpu"), n=3)
    made = samples.candidates((55, 17), laid_out)
    assert all(structure.composition.formula == "Cs1 Cl1" for _, structure in made)
    assert [one.source for one, _ in made] == [FROM_NOISE] * 3 + [REFINED] * 3
    assert [one.rank for one, _ in made] == [0, 0, 0, 1, 2, 1]  # the two prototypes by turns
    assert [one.votes for one, _ in made[3:]] == [0.9, 0.1, 0.9]
    alone = samples.candidates((55, 17), [])
    assert [one.source for one, _ in alone] == [FROM_NOISE] * 3
    assert samples.candidates((55, 118), laid_out) == []  # no model knows oganesson
    assert samples.candidates((55, 17) * 40, laid_out) == []


def test_orderings_stand_behind_the_prototypes_of_a_row():
    cell = Structure.from_spacegroup(
        "P4_2/mnm",
        Lattice.tetragonal(4.66, 9.26),
        ["Zn", "Sb", "O", "O"],
        [[0, 0, 0], [0, 0, 0.333], [0.3, 0.3, 0], [0.3, 0.3, 0.33]],
    )
    reference = Reference(id="trirutile", structure=cell, atomic_numbers=tuple(cell.atomic_numbers))
    prototypes = load_generator("prototype", "cpu")
    plain = judge_row(reference, prototypes, n=3)
    row = judge_row(reference, prototypes, n=3, orderings=4)
    assert [one.evidence.ordered for one in row.candidates] == [False] * 3 + [True] * 4
    assert row.candidates[:3] == plain.candidates
    assert all(one.evidence.log_odds is not None for one in row.candidates[3:])
