"""What is said of a candidate: its arrangement, identity, energy and formula units."""

import pytest

from crystal_core.demos import find_demo
from crystal_core.records import crystals_of
from pages._ui.run.candidate_cards import arrangement_words, candidate_card
from pages._ui.run.candidates import identity_of, with_lowest


@pytest.mark.parametrize(
    ("label", "members", "distance", "description"),
    [
        (
            "Pm-3m abc, 1310 known, AFLOW AB3C_cP5_221_a_c_b",
            1310,
            0.0,
            "the cubic perovskite arrangement of 1,310 known crystals",
        ),
        (
            "P1 a, 1 known, AFLOW A2B_xP9_1_a",
            1,
            0.0,
            "the AFLOW A2B_xP9_1_a arrangement of 1 known crystal",
        ),
        ("Cmcm fcfcb, 54 known", 54, 0.66, "an arrangement of 54 known crystals"),
        ("mp-5229", 3, 0.0, "an arrangement of 3 known crystals"),  # the full index
    ],
)
def test_a_prototype_is_told_by_its_name_and_how_many_have_it(label, members, distance, description):
    assert (
        arrangement_words({"label": label, "members": members, "distance": distance, "formula": "MgTi2O4"})
        == description
    )


def test_the_lowest_energy_is_that_of_a_plausible_cell():
    def candidate(name, energy, plausible):
        return {"id": name, "validity": {"plausible": plausible}} | (
            {"energies": {"energy_per_atom_ev": energy}} if energy else {}
        )

    run = [
        candidate("a", -3.5, True),
        candidate("b", -3.0, True),
        candidate("c", None, True),
        candidate("d", -9.0, False),
    ]
    assert [record.get("above_lowest_mev") for record in with_lowest(run)] == [0.0, 500.0, None, -5500.0]
    assert with_lowest(run[3:])[0]["above_lowest_mev"] == 0.0 and with_lowest([]) == []
    relaxed = [candidate("e", -3.2, True) | {"original": {}}, *run]
    # an energy as sampled is not compared with a relaxed one
    assert [record.get("above_lowest_mev") for record in with_lowest(relaxed)] == [0.0, *[None] * 4]


@pytest.mark.parametrize(
    ("novelty", "distance", "group", "sentence"),
    [
        (
            {
                "known": True,
                "nearest_id": "mp-2657",
                "nearest_formula": "TiO2",
                "nearest_space_group": 136,
                "rmsd": 0.0123,
            },
            0.0,
            ("P4_2/mnm", 136),
            (
                "It is mp-2657 (TiO₂, space group 136), the rutile arrangement of 29 known crystals, RMSD "
                "0.012 of the mean atomic spacing."
            ),
        ),
        (
            {
                "known": True,
                "nearest_id": "mp-34688",
                "nearest_formula": "TiO2",
                "nearest_space_group": 15,
                "rmsd": None,
            },
            0.0,
            ("I4_1/amd", 141),  # it was relaxed into another cell than its prototype, so the name is gone
            "It is mp-34688 (TiO₂, space group 15), within 0.1 Å as I4₁/amd.",
        ),
        (
            {"known": False, "nearest_id": None, "rmsd": None, "reference": "a set"},
            0.0,
            ("P4_2/mnm", 136),
            (
                "It has a known arrangement of this formula, the rutile arrangement of 29 known crystals; "
                "it is not in the reference set (a set), a part of what is known."
            ),
        ),
        (
            {"known": False, "nearest_id": None, "rmsd": None, "reference": "a set"},
            0.7,
            ("P4_2/mnm", 136),
            (
                "It has the rutile arrangement of 29 known crystals, after SnO₂; it matches nothing in the "
                "reference set (a set), a part of what is known."
            ),
        ),
    ],
)
def test_what_a_candidate_is_stands_in_one_sentence(novelty, distance, group, sentence):
    template = {
        "label": "P4_2/mnm af, 29 known, AFLOW A2B_tP6_136_f_a",
        "members": 29,
        "distance": distance,
        "formula": "SnO2",
    }
    record = {
        "z": 2,
        "formula": "TiO2",
        "origin": "prototype",
        "novelty": novelty,
        "provenance": {"prototype": template},
        "space_group": {"symbol": group[0], "number": group[1], "symprec": 0.1},
        "validity": {"structure": True, "composition": True, "plausible": True, "reasons": []},
    }
    verdict = identity_of(record)
    assert verdict.reason == sentence
    assert verdict.tone == ("known" if novelty["known"] else "open")


def test_a_card_counts_the_formula_units_of_the_cell_that_it_draws():
    zinc_blende = [
        record
        for record in crystals_of(find_demo("zinc-sulphide").result)
        if (record["space_group"] or {}).get("number") == 216
    ]
    assert {record["z"] for record in zinc_blende} - {4}  # sampled in smaller or larger cells
    captions = {candidate_card(1, [record])["caption"].split(" · ")[0] for record in zinc_blende}
    assert captions == {"Z = 4"}
