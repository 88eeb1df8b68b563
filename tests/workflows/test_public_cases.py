"""Public structure files that other programs misread: the outcome of each is computed, and all are right."""

import json

import numpy as np
import pytest

from crystal_core.paths import data_dir
from crystal_core.workflows.public_cases import TABLE, Seen, judged, main, outcomes

CASES = data_dir() and data_dir().parent / "cases"
needs_cases = [
    pytest.mark.data,
    pytest.mark.skipif(not (CASES and CASES.is_dir()), reason="needs the cases beside CRYSTAL_DATA"),
]
RIGHT = {
    name: right
    for case in json.loads(TABLE.read_text(encoding="utf-8"))["cases"]
    for name, right in case["files"].items()
}
CAESIUM_CHLORIDE = "CsCl\n4.12\n1 0 0\n0 1 0\n0 0 1\nCs Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "good.vasp").write_text(CAESIUM_CHLORIDE)
    (tmp_path / "a" / "large.vasp").write_text(CAESIUM_CHLORIDE.replace("4.12", "9.5"))
    (tmp_path / "a" / "cut.vasp").write_text(CAESIUM_CHLORIDE[:-10])
    (tmp_path / "a" / "wishes.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "right", "outcome", "said"),
    [
        (
            "good.vasp",
            {"holds": {"Cs": 1, "Cl": 1}, "density": 4.0, "group": 221, "shortest": 3.57},
            "right",
            "",
        ),
        ("good.vasp", {"holds": {"Cs": 1, "Cl": 2}}, "wrong", "holds: {'Cl': 1"),
        ("good.vasp", {"holds": {"Cs": 1, "Cl": 1}, "density": 3.9}, "wrong", "density: 3.998"),
        ("good.vasp", {"holds": {"Cs": 1, "Cl": 1}, "group": 225}, "wrong", "group: 221"),
        ("good.vasp", {"holds": {"Cs": 1, "Cl": 1}, "shortest": 2.0}, "wrong", "shortest: 3.568"),
        ("good.vasp", {"holds": {"Cs": 1, "Cl": 1}, "says": "bohr"}, "wrong", "remarks: none"),
        ("good.vasp", {"holds": {"Cs": 1, "Cl": 1}, "frames": 2}, "wrong", "frames: 1"),
        ("good.vasp", {"holds": {"Cs": 1, "Cl": 1}, "known": False}, "wrong", "known: True"),
        ("good.vasp", {"holds": {"Cs": 1, "Cl": 1}, "reflections": {"30.7": "(2 0 0) ×6"}}, "wrong", "30.7"),
        ("good.vasp", {"holds": {"Cs": 1, "Cl": 1}, "reflections": {"21.6": "(1 0 0) ×6"}}, "right", ""),
        ("good.vasp", {"refused": "cell"}, "wrong", "not refused"),
        ("large.vasp", {"holds": {"Cs": 1, "Cl": 1}, "says": "bohr|neighbour"}, "right", ""),
        ("cut.vasp", {"holds": {"Cs": 1, "Cl": 1}}, "refused", "announces 2 atoms"),
        ("cut.vasp", {"refused": "announces 2 atoms"}, "right", "announces"),
        ("cut.vasp", {"refused": "no elements"}, "refused", "announces"),
        ("absent.cif", {"refused": ""}, "missing", ""),
        ("wishes.txt", {"formulas": {"TiO2": {"Ti": 1, "O": 2}, "TiO2 2": {}}}, "right", ""),
        ("wishes.txt", {"formulas": {"TiO2": {"Ti": 1, "O": 3}}}, "wrong", "TiO2"),
        ("wishes.txt", {"space_groups": {"P21/c": 14, "I4/m": 87}}, "right", ""),
        ("wishes.txt", {"space_groups": {"P21/c": 15}}, "wrong", "14"),
        ("wishes.txt", {"space_groups": {"Q7": 15}}, "refused", "Q7"),
    ],
)
def test_the_outcome_of_a_file_is_what_the_reader_makes_of_it(folder, name, right, outcome, said):
    verdict = judged(folder / "a" / name, right)
    assert verdict[0] == outcome and said in verdict[1]


def test_a_case_is_as_bad_as_its_worst_file_and_the_command_counts_before_and_now(folder, capsys):
    salt = {"holds": {"Cs": 1, "Cl": 1}}
    cases = [
        {"name": "one", "earlier": "wrong", "said": "Cs2Cl", "files": {"a/good.vasp": salt}},
        {
            "name": "two",
            "earlier": "refused",
            "said": "-",
            "files": {"a/good.vasp": salt, "a/cut.vasp": salt},
        },
    ]
    table = folder / "table.json"
    table.write_text(json.dumps({"cases": cases}))
    assert [case.now for case in outcomes(folder, table)] == ["right", "refused"]
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--table", str(table)])
    printed = capsys.readouterr().out
    assert ended.value.code == 1 and "| one | wrong | Cs2Cl | right | Cl1, Cs1, 4.00 g/cm3 |" in printed
    assert printed.endswith("before: 1 wrong, 1 refused\nnow: 1 right, 1 refused\n")
    table.write_text(json.dumps({"cases": cases[:1]}))
    main([str(folder), "--table", str(table)])
    with pytest.raises(SystemExit, match="no folder nowhere"):
        main([str(folder / "nowhere")])


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_cases) for name in RIGHT])
def test_a_public_file_is_read_right_or_what_does_not_fit_is_said(name):
    assert judged(CASES / name, RIGHT[name])[0] == "right", judged(CASES / name, RIGHT[name])


@pytest.mark.data
@pytest.mark.skipif(not (CASES and CASES.is_dir()), reason="needs the cases beside CRYSTAL_DATA")
def test_every_file_of_the_cases_is_in_the_table():
    files = {p.relative_to(CASES).as_posix() for p in CASES.rglob("*") if p.is_file()}
    assert {name for name in files if not name.endswith("expected.json")} == set(RIGHT)


@pytest.mark.data
@pytest.mark.skipif(not (CASES and CASES.is_dir()), reason="needs the cases beside CRYSTAL_DATA")
def test_the_frames_of_a_trajectory_are_read():
    first, second = Seen(CASES / "trajectory-1/XDATCAR").crystals
    assert first.composition == second.composition and len(first) == 8
    assert np.abs(second.frac_coords - first.frac_coords).max() == pytest.approx(0.05)
