"""Of one structure, the candidate that came to rest stands first, with the structure's highest score."""

from crystal_core.workflows.evidence import best_relaxed_leads

NOT_RELAXED = {"converged": False, "error": "It is like b, which was relaxed and whose energy ranks both."}
AT_REST = {"converged": True}


def record(name, group, score, energy=None, relaxation=None, number=1):
    energies = {} if energy is None else {"energies": {"energy_per_atom_ev": energy}}
    return {
        "id": name,
        "group": group,
        "score": {"name": "evidence", "value": score, "unit": "log-likelihood"},
        "space_group": {"symbol": "", "number": number, "symprec": 0.1},
        **energies,
        **({} if relaxation is None else {"relaxation": relaxation}),
    }


def order_and_scores(*records):
    return [(one["id"], one["score"]["value"]) for one in best_relaxed_leads(records)]


def test_a_cell_as_laid_out_never_stands_before_the_relaxed_one_of_its_structure():
    copy, rival, relaxed = (
        record("a", 0, 5.0, -1.90, NOT_RELAXED),
        record("r", 1, 4.0, -2.10, AT_REST),
        record("b", 0, 3.0, -2.00, AT_REST),
    )
    assert order_and_scores(copy, rival, relaxed) == [("b", 5.0), ("r", 4.0), ("a", 5.0)]


def test_of_relaxed_equals_the_lowest_leads_and_within_two_mev_the_most_symmetric():
    low, symmetric, high = (
        record("low", 0, 2.0, -3.0000, AT_REST, number=99),
        record("symmetric", 0, 1.0, -2.9990, AT_REST, number=221),
        record("high", 0, 3.0, -2.9900, AT_REST, number=225),
    )
    assert order_and_scores(high, low, symmetric) == [("symmetric", 3.0), ("low", 3.0), ("high", 3.0)]


def test_of_cells_as_laid_out_the_one_with_the_best_evidence_leads():
    """A distorted variant of anatase may lie 2 meV/atom below it before either is relaxed."""
    anatase, variant = record("anatase", 0, 5.7, -9.4058), record("variant", 0, 2.9, -9.4081)
    assert order_and_scores(anatase, variant) == [("anatase", 5.7), ("variant", 5.7)]


def test_without_energies_the_order_stays():
    assert order_and_scores(record("a", 0, 2.0), record("b", 1, 1.5), record("c", 0, 1.0)) == [
        ("a", 2.0),
        ("b", 1.5),
        ("c", 2.0),
    ]
