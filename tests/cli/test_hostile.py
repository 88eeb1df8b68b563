"""Strange formulas and damaged files at the command line and at the upload: an answer
or one sentence, soon.
"""

import json
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.files.reader_process import SECONDS_PER_FILE, SECONDS_TO_START
from crystal_core.files.uploads import parse_uploads
from crystal_core.files.writers import structure_to_text

RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
FILES = [
    structure_to_text(RUTILE, fmt).encode() for fmt in ("cif", "cif-symmetrised", "poscar", "extxyz", "json")
]
PIECES = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"nan",
    b"1e999",
    b"-1e-320",
    b"9" * 400,
    b"\n",
    b"\r",
    b"loop_\n",
    b"data_\n",
    b"x,y,z",
    b"'",
    b'"',
    b"{",
    b"]",
    b"null",
    b"true",
    b"Xx",
    b"Og",
    b"0.5",
    b"_cell_length_a 1e5\n",
    b"</script>",
    "é…\u202e".encode(),
    b"\x1b[31m",
    b"%n%n",
    b"#" * 200,
    b"-",
    b".",
    b"0",
]


@st.composite
def damaged(draw):
    content = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 12))] = draw(st.sampled_from(PIECES))
    return bytes(content)


def is_one_sentence(text):
    return "Traceback" not in text and len(text.splitlines()) == 1 and text.isprintable() and len(text) < 600


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=damaged() | st.binary(max_size=300))
@example(content=FILES[3].replace(b"\n", b"\n\n", 1))
def test_damaged_files_are_analysed_or_refused_in_one_sentence(content, tmp_path):
    (tmp_path / "file.cif").write_bytes(content)
    began = time.process_time()
    result = CliRunner().invoke(build_app(), ["analyse", str(tmp_path / "file.cif"), "--json"])
    assert time.process_time() - began < 10
    if result.exit_code == 0:
        rows = json.loads(result.stdout)[
            "rows"
        ]  # an XYZ file may hold several crystals, and none of them good
        assert all(row.get("formula") or is_one_sentence(row["error"]) for row in rows) and not result.stderr
        assert len(rows) > 1 or "error" not in rows[0]
    else:
        assert (
            result.exit_code == 2
            and result.stdout == ""
            and is_one_sentence(result.stderr.removesuffix("\n"))
        )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=damaged() | st.binary(max_size=300))
def test_damaged_uploads_give_crystals_or_one_sentence(content):
    began = time.monotonic()
    uploads = parse_uploads([("file.cif", content), ("good.cif", FILES[0])])
    assert time.monotonic() - began < 2 * SECONDS_PER_FILE + SECONDS_TO_START
    assert uploads[-1].structure.composition == RUTILE.composition
    for upload in uploads[:-1]:
        assert (upload.structure is None) == (upload.error is not None)
        assert upload.error is None or is_one_sentence(upload.error)


@pytest.mark.weights
@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "Na",
                "Cl",
                "Ti",
                "O",
                "Og",
                "Xx",
                "(",
                ")2",
                "·",
                ".5",
                "0",
                "9999999999",
                "1e5",
                "₂",
                "²",
                "+",
                "--json",
                "\x00",
                "\u202e",
                "<b>",
            ]
        ),
        min_size=1,
        max_size=6,
    ).map("".join)
)
def test_strange_formulas_are_predicted_or_refused_in_one_sentence(text):
    began = time.process_time()
    options = ["--model", "prototype", "--n", "1", "--z", "1", "--json", "--quiet"]
    result = CliRunner().invoke(build_app(), ["predict-structure", *options, "--", text])
    assert time.process_time() - began < 10
    if result.exit_code == 0:
        notes = json.loads(result.stdout)["notes"]
        assert "results" in json.loads(result.stdout)
        assert result.stderr == "".join(f"{note}\n" for note in notes)  # and no progress
    else:
        assert result.exit_code == 2 and is_one_sentence(result.stderr.removesuffix("\n"))


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    (tmp_path / "cells").mkdir()
    for words in (["relax"], ["infill", "--site", "0"], ["predict-property"]):
        result = CliRunner().invoke(build_app(), [*words, str(tmp_path / "cells")])
        assert result.exit_code == 2 and "cells is a folder; name the files in it." in result.stderr


@pytest.mark.parametrize("isotope", ["D", "T"])
def test_an_isotope_among_elements_is_named(isotope):
    result = CliRunner().invoke(build_app(), ["generate", "--elements", f"Li,{isotope}", "--n", "1"])
    assert result.exit_code == 2 and f"{isotope} is an isotope" in result.stderr
    assert "Write H for it." in result.stderr
