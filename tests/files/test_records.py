"""The CRYSTAL JSON and the files of a run."""

import io
import json
import zipfile

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RequestError, StructureParseError
from crystal_core.files.parse import parse_all, parse_text
from crystal_core.files.records import (
    copies_in_runs,
    crystal_record,
    rank_key,
    ranked,
    snapshot,
    structure_from_record,
    symmetry_of,
    write_run,
    zip_run,
)
from crystal_core.files.uploads import parse_uploads
from crystal_core.records import crystals_of
from crystal_core.structures import from_structures

PROVENANCE = {"model": "kldm-csp-mp", "seed": 3, "version": "0.1.0"}


@pytest.fixture
def rock_salt() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def record(structure, name="NaCl-1"):
    return crystal_record(
        structure,
        id=name,
        provenance=PROVENANCE,
        score={"name": "consensus", "value": 2, "unit": ""},
        group=0,
        origin="noise",
    )


def test_a_record_is_json_and_gives_its_structure_back(rock_salt):
    entry = json.loads(json.dumps(record(rock_salt), allow_nan=False))
    assert entry["formula"] == "NaCl" and entry["n_atoms"] == 8 and entry["space_group"]["number"] == 225
    assert (
        entry["validity"]["structure"]
        and entry["validity"]["composition"]
        and entry["density"] == pytest.approx(2.16, abs=0.02)
    )
    assert structure_from_record(entry) == rock_salt and parse_text(entry["cif"]) == rock_salt


def test_bad_cells_still_get_a_record_with_reasons():
    crushed = Structure(Lattice.cubic(3), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.05]])
    entry = record(crushed)
    assert (
        not entry["validity"]["structure"] and entry["validity"]["reasons"] and entry["space_group"] is None
    )


def test_snapshot_of_a_batch_and_of_a_structure_agree(rock_salt):
    assert snapshot(from_structures([rock_salt, rock_salt]), 1) == snapshot(rock_salt)


def test_a_record_that_is_no_crystal_is_refused():
    with pytest.raises(StructureParseError, match="no crystal"):
        structure_from_record({"lattice": [[1, 0, 0]]})


def test_run_folder_and_archive_hold_the_same_files(rock_salt, tmp_path):
    records = [record(rock_salt, "a"), record(rock_salt, "b")]
    run = {"results": [{"formula": "NaCl", "candidates": records}]}
    assert crystals_of(run) == records
    write_run(records, tmp_path, run)
    packed = zip_run(records, run)
    assert packed == zip_run(records, run)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert {n: archive.read(n).decode() for n in archive.namelist()} == {
            str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()
        }
    assert (
        len(parse_all((tmp_path / "run.extxyz").read_text())) == 2
        and len(parse_all((tmp_path / "run.json").read_text())) == 2
    )


def test_the_archive_of_a_run_gives_each_crystal_once_when_it_is_uploaded(rock_salt):
    records = [record(rock_salt, "a"), record(rock_salt, "b")]
    frames = [snapshot(rock_salt), snapshot(rock_salt)]
    packed = zip_run(records, {"crystals": records}, [{"frames": frames, "label": "forming"}])
    assert [(one.name, one.error) for one in parse_uploads([("run.zip", packed)])] == [
        ("a.cif", None),
        ("b.cif", None),
    ]


def test_files_named_like_those_of_a_run_are_kept_where_they_hold_the_only_crystals():
    run = ("x/run.json", "x/run.extxyz", "x/trajectory-2.extxyz", "x/symmetrised/a.cif", "x/summary.csv")
    assert copies_in_runs([*run, "x/a.cif", "run.extxyz", "y/run.json", "y/trajectory-x.extxyz"]) == set(run)
    assert copies_in_runs(run) == copies_in_runs([*run[1:], "x/a.cif"]) == set()


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "x" * 200])
def test_ids_that_cannot_be_file_names_are_refused(rock_salt, name):
    with pytest.raises(RequestError, match="file name"):
        record(rock_salt, name)


def test_two_crystals_of_one_name_are_refused(rock_salt, tmp_path):
    with pytest.raises(RequestError, match="ids must differ"):
        write_run([record(rock_salt), record(rock_salt)], tmp_path, {})


def test_a_trajectory_is_extended_xyz_that_reads_back():
    from crystal_core.files.parse import parse_all
    from crystal_core.files.records import trajectory_extxyz

    frame = {
        "lattice": [[4.0, 0, 0], [0, 4, 0], [0, 0, 5]],
        "atomic_numbers": [11, 17],
        "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
    }
    later = frame | {"frac_coords": [[0.1, 0, 0], [0.5, 0.5, 0.4]]}
    first, second = parse_all(trajectory_extxyz([frame, later], 'Z = 1, "from noise"'), purpose="view")
    assert first.formula == "Na1 Cl1" and first.lattice.abc == (4, 4, 5)
    assert second.frac_coords[0].tolist() == pytest.approx([0.1, 0, 0], abs=1e-5)


def test_of_candidates_of_equal_energy_the_most_symmetric_relaxed_one_comes_first():
    def candidate(energy, number, **more):
        verdicts = {"structure": True, "plausible": True}
        return {
            "validity": verdicts,
            "score": {"value": energy, "unit": "eV/atom"},
            "space_group": {"number": number},
            "group": 0,
        } | more

    run = [
        candidate(-8.4239, 99),
        candidate(-8.4235, 221),
        candidate(-8.4239, 225, relaxation={"error": "like another"}),
        candidate(-8.4218, 225),
        candidate(-8.4217, 141),
        candidate(-8.4216, 143),
        candidate(-8.43, 225, validity={"structure": True, "plausible": False}),
    ]
    groups = [record["space_group"]["number"] for record in ranked(run[::-1])]
    assert groups == [221, 99, 225, 225, 141, 143, 225]  # 143 has six times fewer operations than 141
    assert ranked(ranked(run)) == ranked(run) and ranked([]) == []
    by_likeness = [
        record | {"score": {"value": record["space_group"]["number"] / 1e6, "unit": "similarity, 0 to 1"}}
        for record in run[:2]
    ]
    assert ranked(by_likeness) == sorted(by_likeness, key=rank_key)


@pytest.mark.parametrize(
    ("number", "order"),
    [(1, 1), (2, 2), (9, 2), (15, 4), (62, 8), (82, 4), (88, 8), (142, 16), (194, 24), (199, 12), (221, 48)],
)
def test_symmetry_is_measured_by_the_order_of_the_point_group(number, order):
    assert symmetry_of({"space_group": {"number": number}}) == (order, number)
