"""``crystal-core analyse`` on good, bad and mixed files."""

import json

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.evaluation import xrd


def call(*words):
    return CliRunner().invoke(build_app(), ["analyse", *map(str, words)])


@pytest.fixture
def rock_salt(tmp_path):
    path = tmp_path / "NaCl.cif"
    Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(
        filename=str(path)
    )
    return path


def test_rock_salt_in_full(rock_salt):
    (row,) = json.loads(call(rock_salt, "--json").stdout)["rows"]
    assert (row["source"], row["formula"], row["n_atoms"]) == ("NaCl.cif", "NaCl", 8)
    assert row["space_group"] == {"symbol": "Fm-3m", "number": 225, "symprec": 0.1}
    assert {s["wyckoff"] for s in row["sites"]} == {"a", "b"}
    assert row["density"] == pytest.approx(2.164, abs=0.01)
    strongest = max(row["peaks"], key=lambda p: p["intensity"])
    assert strongest["two_theta"] == pytest.approx(31.73, abs=0.05)  # (200), Cu K-alpha
    assert (
        row["nearest_known"]["known"]
        and row["nearest_known"]["nearest_id"].startswith("mp-")
        and row["nearest_known"]["reference"]
    )
    assert row["validity"] == {"structure": True, "composition": True, "plausible": True, "reasons": []}


def test_a_disordered_crystal_is_not_taken_for_the_known_one_of_its_main_elements(tmp_path):
    sites = [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    path = tmp_path / "half.cif"
    path.write_text(
        str(CifWriter(Structure(Lattice.cubic(3.9), ["Sr", "Ti", *[{"O": 0.6, "F": 0.4}] * 3], sites))),
        encoding="utf-8",
    )
    (row,) = json.loads(call(path, "--json").stdout)["rows"]
    assert row["nearest_known"] is None and "partly occupied" in row["limitation"]
    output = call(path).stdout
    assert "Known as" not in output and "3 of 5 sites are shared or partly occupied" in output


def test_a_site_of_deuterium_and_hydrogen_keeps_its_symmetry(tmp_path):
    cell = [f"_cell_length_{x} 4.08" for x in "abc"]
    cell += [f"_cell_angle_{x} 90" for x in ("alpha", "beta", "gamma")]
    columns = ("type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
    rows = ("Li 0 0 0 1", "H .5 .5 .5 .5", "D .5 .5 .5 .5")
    tags = [f"_atom_site_{column}" for column in columns]
    lines = ["data_x", *cell, "_space_group_name_H-M_alt 'F m -3 m'", "loop_", *tags, *rows, ""]
    path = tmp_path / "half.cif"
    path.write_text("\n".join(lines), encoding="utf-8")
    (row,) = json.loads(call(path, "--json").stdout)["rows"]
    assert row["formula"] == "LiD0.5H0.5" and row["space_group"]["number"] == 225


def test_a_known_crystal_brings_its_published_energy_and_one_at_another_volume_is_not_known(
    rock_salt, tmp_path
):
    assert "Known as mp-22862" in (output := call(rock_salt).stdout)
    assert "published energy above the hull 0.000 eV/atom" in output
    Structure.from_file(rock_salt).apply_strain(0.89).to(filename=str(tmp_path / "bohr.cif"))
    output = call(tmp_path / "bohr.cif").stdout
    assert (
        "Not known: it has the arrangement of mp-22862 (NaCl), but 6.9" in output
        and "times its volume" in output
    )


def test_one_bad_file_loses_no_other_but_alone_is_a_wrong_request(rock_salt, tmp_path):
    bad = tmp_path / "bad.cif"
    bad.write_text("this is no crystal", encoding="utf-8")
    first, second = json.loads(call(bad, rock_salt, "--json").stdout)["rows"]
    assert "error" in first and second["formula"] == "NaCl"
    alone = call(bad)
    assert (
        alone.exit_code == 2
        and "Traceback" not in alone.stderr
        and len(alone.stderr.strip().splitlines()) == 1
    )


def test_one_bad_crystal_of_a_file_loses_no_other(tmp_path, monkeypatch):
    frames = tmp_path / "many.xyz"
    frame = '1\nLattice="{0} 0 0 0 {0} 0 0 0 {0}"\nNa 0 0 0\n'
    frames.write_text(
        frame.format(4) + frame.format(0.3) + frame.format(5) + frame.format(6), encoding="utf-8"
    )

    def failing(structure, radiation, true_pattern=xrd.pattern):
        return 1 / 0 if structure.volume > 200 else true_pattern(structure, radiation)

    monkeypatch.setattr(xrd, "pattern", failing)
    rows = json.loads(call(frames, "--json").stdout)["rows"]
    assert [row["source"] for row in rows] == [f"many.xyz #{i}" for i in range(1, 5)]
    assert ["error" in row for row in rows] == [False, True, False, True]
    assert "longest lattice vector has 0.3 Å" in rows[1]["error"]


@pytest.mark.parametrize("wavelength", ["sunlight", "-1", "nan", "40"])
def test_an_impossible_wavelength_is_a_wrong_request(rock_salt, wavelength):
    assert call(rock_salt, "--wavelength", wavelength).exit_code == 2


def test_a_wavelength_in_angstrom_moves_the_peaks(rock_salt):
    (row,) = json.loads(call(rock_salt, "--wavelength", "0.7", "--json").stdout)["rows"]
    assert max(row["peaks"], key=lambda p: p["intensity"])["two_theta"] == pytest.approx(14.26, abs=0.05)


@pytest.mark.parametrize(("element", "wavelength"), [("W", "4.9"), ("Es", "CuKa")])
def test_a_crystal_without_peaks_keeps_its_row(tmp_path, element, wavelength):
    path = tmp_path / "metal.cif"
    Structure(Lattice.cubic(3.165), [element] * 2, [[0, 0, 0], [0.5] * 3]).to(filename=str(path))
    (row,) = json.loads(call(path, "--wavelength", wavelength, "--json").stdout)["rows"]
    assert row["peaks"] == [] and row["space_group"]["symbol"] == "Im-3m"
    assert "strongest peak" not in call(path, "--wavelength", wavelength).stdout


def test_a_large_cell_is_told_what_can_be_told_in_time(tmp_path):
    rock_salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    rock_salt.make_supercell(4)
    rock_salt[0] = "K"  # no symmetry to make the search short, and no smaller cell
    rock_salt.to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    row = json.loads(call(tmp_path / "POSCAR", "--json", "--quiet").stdout)["rows"][0]
    assert (
        row["n_atoms"] == 512
        and row["density"] > 2
        and row["space_group"] is None
        and row["sites"] == row["peaks"] == []
    )
    assert "512 sites" in row["limitation"]


def test_partly_occupied_sites_are_described_as_they_are_and_not_judged(tmp_path):
    alloy = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.3), [{"Fe": 0.6, "Ni": 0.3}, "O"], [[0, 0, 0], [0.5] * 3]
    )
    path = tmp_path / "alloy.cif"
    path.write_text(str(CifWriter(alloy)), encoding="utf-8")
    (row,) = json.loads(call(path, "--json").stdout)["rows"]
    assert row["formula"] == "Fe0.6Ni0.3O" and row["density"] == pytest.approx(alloy.density, abs=1e-3)
    assert row["validity"]["structure"] is None and row["nearest_known"] is None
    assert row["space_group"]["number"] == 225 and row["peaks"]
    assert row["occupancy"][0] == {"Fe": 0.6, "Ni": 0.3} and row["sites"][0]["element"] == "Fe0.6 Ni0.3"
    assert "main element" not in call(path).stdout
    half = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.3), [{"Fe": 0.5, "Ni": 0.5}, "O"], [[0] * 3, [0.5] * 3]
    )
    path.write_text(str(CifWriter(half)), encoding="utf-8")
    (row,) = json.loads(call(path, "--orderings", tmp_path / "ordered", "--json").stdout)["rows"]
    files = sorted(one.name for one in (tmp_path / "ordered").iterdir())
    assert files == row["orderings"] and files[0] == "alloy-ordering-1.cif"
    assert (
        json.loads(call(tmp_path / "ordered" / files[0], "--json").stdout)["rows"][0]["formula"] == "FeNiO2"
    )


def test_ordered_cells_of_files_and_blocks_of_one_name_do_not_overwrite_each_other(tmp_path):
    folder, texts = tmp_path / "ordered", []
    for element in ("Ni", "Co", "Mn"):
        half = Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(4.3), [{"Fe": 0.5, element: 0.5}, "O"], [[0] * 3, [0.5] * 3]
        )
        texts.append(str(CifWriter(half)))
    for name, text in (("a", texts[0] + texts[1]), ("b", texts[2])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "alloy.cif").write_text(text, encoding="utf-8")
    result = call(*(tmp_path / x / "alloy.cif" for x in "ab"), "--orderings", folder, "--json")
    rows = json.loads(result.stdout)["rows"]
    assert [row["source"] for row in rows] == ["a/alloy.cif #1", "a/alloy.cif #2", "b/alloy.cif"]
    listed = [name for row in rows for name in row["orderings"]]
    assert len(listed) == len({*listed}) and {*listed} == {file.name for file in folder.iterdir()}
    for row, element in zip(rows, ("Ni", "Co", "Mn"), strict=True):
        assert element in (folder / row["orderings"][0]).read_text(encoding="utf-8")


def test_encodings_of_other_programs_are_read(rock_salt, tmp_path):
    text = rock_salt.read_text(encoding="utf-8")
    versions = {
        "mark.cif": b"\xef\xbb\xbf" + text.encode(),
        "utf16.cif": text.encode("utf-16"),
        "utf16le.cif": text.encode("utf-16-le"),
        "mac.cif": text.replace("\n", "\r").encode(),
        "latin.cif": ("# é\n" + text).encode("latin-1"),
    }
    for name, content in versions.items():
        (tmp_path / name).write_bytes(content)
    rows = json.loads(call(*(tmp_path / name for name in versions), "--json").stdout)["rows"]
    assert [row.get("formula") for row in rows] == ["NaCl"] * len(versions)
