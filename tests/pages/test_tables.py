"""The tables of crystals: what matters most is in sight, and no column is empty."""

import pytest
from pymatgen.core import Lattice, Structure
from streamlit.testing.v1 import AppTest

from crystal_core.files.records import crystal_record
from pages._ui.crystal.cached import cell_line
from pages._ui.crystal.cell_tables import cell_words
from pages._ui.run import candidates, generated
from pages._ui.tables import filled, show_table

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.7), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
RECORD = crystal_record(SALT, id="kldm-1", origin="noise", provenance={}, group=0) | {
    "novelty": {"known": True, "nearest_id": "mp-22862"}
}
ENERGIES = {"energy_per_atom_ev": -3.4, "e_above_hull_ev": 0.02, "e_above_hull_error_ev": 0.05}


def test_energy_above_hull_stands_before_nearest_crystal_and_unmeasured_columns_are_left_out():
    groups = {0: [RECORD, RECORD]}
    rows = filled(
        [
            generated._row(record | {"number": k}, groups)
            for k, record in enumerate((RECORD, RECORD | {"energies": ENERGIES}), start=1)
        ]
    )
    names = list(rows[0])
    # no RMSD, and nothing to say why
    assert names[-4:] == [
        "above hull (eV/atom, ML)",
        "±",
        "known",
        "nearest",
    ]
    assert [row["above hull (eV/atom, ML)"] for row in rows] == [None, 0.02]
    assert "above hull (eV/atom, ML)" not in filled([generated._row(RECORD | {"number": 1}, groups)])[0]


def test_candidates_without_energies_have_no_columns_for_them():
    record = RECORD | {"z": 4, "score": {"value": 1}, "n_alike": 1}
    (row,) = filled([candidates._row(1, record)])
    assert (
        not any("eV" in name or "Å" in name or "likeness" in name for name in row)
        and row["nearest"] == "mp-22862"
    )
    first, second = filled([candidates._row(1, record), candidates._row(2, record | {"energies": ENERGIES})])
    assert first["energy (eV/atom)"] is None and second["energy (eV/atom)"] == -3.4
    assert list(second).index("energy (eV/atom)") < list(second).index("origin")


def test_predicted_properties_stand_before_the_nearest_crystal():
    gap = {"band gap (eV, predicted)": 4.1}
    generated_row = filled([generated._row(RECORD | {"number": 1}, {0: [RECORD]}, gap)])[0]
    predicted_row = filled([candidates._row(1, RECORD | {"z": 4, "score": {"value": 1}}, gap)])[0]
    for row in (generated_row, predicted_row):
        assert list(row).index("band gap (eV, predicted)") < list(row).index("nearest")
        assert row["band gap (eV, predicted)"] == 4.1


def test_numbers_of_a_column_have_equal_decimals_and_a_true_minus_sign():
    at = AppTest.from_string(
        "from pages._ui.tables import show_table\n"
        "show_table([{'eV': -6.25, 'n': 3}, {'eV': 0.125, 'n': 4}, {'eV': None, 'n': 5}])\n"
    ).run()
    assert not at.exception
    assert at.dataframe[0].value["eV"].tolist()[:2] == [-6.25, 0.125]  # sorted as numbers
    shown = at.dataframe[0].proto.arrow_data.styler.display_values
    assert "−6.250".encode() in shown and b"0.125" in shown


def test_no_card_calls_a_crystal_with_implausible_distances_valid():
    unknown = {"known": False, "nearest_id": None, "rmsd": None}
    record = RECORD | {"number": 1, "novelty": unknown}
    badges = lambda record: generated._card(record, {0: [record]})["badges"]
    assert badges(record) == [["good", "valid"], ["good", "new"]]
    bad = record | {"validity": record["validity"] | {"plausible": False}}
    assert badges(bad) == [["bad", "implausible distances"], ["open", "new"]]


@pytest.mark.parametrize(
    ("lattice", "words"),
    [
        (Lattice.cubic(4.2), "a 4.200 Å"),
        (Lattice.tetragonal(3.784, 9.514), "a 3.784, c 9.514 Å"),
        (Lattice.hexagonal(3, 5), "a 3.000, c 5.000 Å"),
        (Lattice.monoclinic(5, 6, 7, 99.5), "a 5.000, b 6.000, c 7.000 Å · β 99.50°"),
        (Lattice.rhombohedral(4, 60), "a 4.000 Å · α 60.00°, β 60.00°, γ 60.00°"),
    ],
)
def test_a_cell_is_told_by_the_numbers_that_differ(lattice, words):
    cell = Structure(lattice, ["Cd"], [[0, 0, 0]])
    density = 112.414 / 0.602214 / lattice.volume  # g/mol over Å3
    assert cell_words(cell) == f"{words} · 1 atom · {density:.2f} g/cm³"
    doubled = Structure(lattice, ["Cd", "Cd"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert " · 2 atoms · " in cell_words(doubled)


def test_the_head_of_a_crystal_names_its_conventional_cell():
    primitive = crystal_record(SALT.get_primitive_structure(), id="kldm-1", origin="noise", provenance={})
    assert len(primitive["atomic_numbers"]) == 2
    assert cell_line(primitive) == "a 5.700 Å · 8 atoms · 2.10 g/cm³"


def test_a_table_of_up_to_sixteen_rows_is_whole_and_a_height_of_its_own_wins(monkeypatch):
    heights = []
    monkeypatch.setattr("streamlit.dataframe", lambda _, *, height, **others: heights.append(height))
    for n, options in ((16, {}), (17, {}), (2, {"height": 90})):
        show_table([{"k": k} for k in range(n)], **options)
    assert heights == ["content", "auto", 90]
