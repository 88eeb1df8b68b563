"""Lists of formulas and of elements, and counts beside them."""

import pytest

from crystal_core.chemistry.formula import parse_elements, parse_formula
from crystal_core.chemistry.formula_list import MAX_BATCH, parse_formulas
from crystal_core.errors import RequestError
from crystal_core.shares import Shares


def test_a_list_is_read_line_by_line_and_a_wrong_entry_explains_itself():
    lines = parse_formulas(" TiO2, SrTiO3\n\nXx2O3; Li0,5CoO2\r\nTiO2\tNaCl,")
    assert [line.text for line in lines] == ["TiO2", "SrTiO3", "Xx2O3", "Li0,5CoO2", "NaCl"]
    assert [bool(line.formula) for line in lines] == [True, True, False, False, True]
    assert "Did you mean" in lines[2].error and "fractional" in lines[3].error
    assert parse_formulas(" \n,") == []


def test_a_list_ends_at_what_the_queue_can_hold():
    assert Shares().waiting >= MAX_BATCH
    many = [f"Si{n}O{n + 1}" for n in range(1, MAX_BATCH + 2)]
    assert len(parse_formulas("\n".join(many[:-1]))) == MAX_BATCH
    with pytest.raises(RequestError, match=f"{MAX_BATCH} can run together"):
        parse_formulas("\n".join(many))


@pytest.mark.parametrize("text", ["Li-Fe-O", "Li, Fe; O", "LiFeO", " Li Fe\nO Li ", "Li–Fe–O"])
def test_elements_are_read_however_they_are_joined(text):
    assert parse_elements(text) == ("Li", "Fe", "O")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Li-Xx", "not an element"),
        ("lithium", "not an element"),
        ("LiFePO4", "holds numbers"),
        ("Fe₂O", "numbers"),
    ],
)
def test_what_is_no_list_of_elements_says_why(text, part):
    with pytest.raises(RequestError, match=part):
        parse_elements(text)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("MgSO4 7H2O", {"Mg": 1, "S": 1, "O": 11, "H": 14}),
        ("NaBr 2H2O", {"Na": 1, "Br": 1, "H": 4, "O": 2}),
        ("Na2CO3 10 H2O", {"Na": 2, "C": 1, "O": 13, "H": 20}),
        ("K Al(SO4)2 12H2O", {"K": 1, "Al": 1, "S": 2, "O": 20, "H": 24}),
        ("Ti 2 O 3", {"Ti": 2, "O": 3}),
    ],
)
def test_a_number_before_what_it_counts_begins_a_part_of_its_own(text, counts):
    formula = parse_formula(text)
    assert dict(formula.counts) == counts
    assert bool(formula.note) == ("H2O" in text) and (not formula.note or "·" in formula.note)


@pytest.mark.parametrize("text", ["ZrO2 2", "Fe2 3 O4", "Na2 10 CO3"])
def test_numbers_with_a_blank_between_them_are_never_joined(text):
    with pytest.raises(RequestError, match="blank between two numbers"):
        parse_formula(text)
