"""Files from strangers: a hang, a crash, a bomb or a script in one of them harms nothing."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import StructureParseError
from crystal_core.files import uploads
from crystal_core.files.names import clean_name
from crystal_core.files.reader_process import ParserPool, ParserProcess, ReaderFailed
from crystal_core.files.records import cell_json
from crystal_core.files.uploads import parse_uploads
from crystal_core.files.writers import structure_to_text

GOOD = structure_to_text(Structure(Lattice.cubic(4.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), "cif")


def zipped(*members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def parser():
    process = ParserProcess(seconds=30.0)
    yield process
    process.close()


def test_a_bad_file_never_loses_the_others_and_the_child_is_reused():
    first = parse_uploads([("../../etc/a.cif", GOOD.encode())])
    children = uploads.PARSER.pids
    files = [
        ("bad.cif", b"data_\n_cell_length_a 3"),
        ("b.cif", GOOD.encode()),
        ("c.zip", zipped(("d/e.cif", GOOD))),
    ]
    results = parse_uploads(files)
    assert first[0].name == "a.cif" and first[0].structure.formula == "Na1 Cl1"
    assert [(u.name, u.structure is not None) for u in results] == [
        ("bad.cif", False),
        ("b.cif", True),
        ("e.cif", True),
    ]
    assert results[0].error
    assert uploads.PARSER.pids == children and len(children) == 1


def test_a_bad_crystal_of_a_file_never_loses_the_others():
    frame = '1\nLattice="4 0 0 0 4 0 0 0 4"\nNa 0 0 0\n'
    results = parse_uploads([("a.xyz", (frame + frame.replace("Lattice", "Lost") + frame).encode())])
    assert [(one.name, one.structure is not None) for one in results] == [
        ("a.xyz #1", True),
        ("a.xyz #2", False),
        ("a.xyz #3", True),
    ]
    assert "no lattice" in results[1].error


def test_script_in_a_comment_or_name_stays_text():
    results = parse_uploads(
        [("</script><img src=x>.cif", ("# </script><script>alert(1)</script>\n" + GOOD).encode())]
    )
    assert results[0].structure and "script" not in structure_to_text(results[0].structure, "cif")
    assert clean_name("a\n\x1b[31m/b\r\x00.cif") == "b.cif" and clean_name("..\\..\\") == "unnamed"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("big.cif", b"#" * 5_000_001, "larger than 5 MB"),
        ("bomb.zip", zipped(("bomb.cif", b"0" * 60_000_000)), "more than 50 MB"),
        ("many.zip", zipped(*((f"{i}.cif", "x") for i in range(3))), "none of CIF"),
        ("listed.zip", zipped(*((f".{i}", "") for i in range(5001))), r"lists more than 5,000 files"),
        ("nested.zip", zipped(("inner.cif", zipped(("a", "b")))), "archive inside"),
        ("empty.zip", zipped(("__MACOSX/a.cif", GOOD), (".hidden", GOOD), ("folder/", "")), "holds no files"),
        ("broken.zip", zipped(("a.cif", GOOD))[:-30], "damaged"),
        ("noise", bytes(range(256)), "binary"),
    ],
)
def test_limits_are_explained(name, content, says):
    began = time.monotonic()
    results = parse_uploads([(name, content)])
    assert results and all(says in upload.error for upload in results)
    assert time.monotonic() - began < 60


def test_an_archive_that_lies_about_its_size_is_stopped():
    honest = zipped(("a.cif", b"0" * 6_000_000))
    lying = honest.replace((6_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert honest != lying
    assert all(upload.error for upload in parse_uploads([("lie.zip", lying)]))


def test_only_the_first_200_files_are_read(monkeypatch):
    monkeypatch.setattr(uploads.PARSER, "ask", lambda _: {"crystals": []})
    results = parse_uploads([(f"{i}.cif", b"x") for i in range(250)])
    assert len(results) == 1 and "first 200" in results[0].error


def test_more_files_are_read_where_more_are_wanted(monkeypatch):
    monkeypatch.setattr(uploads.PARSER, "ask", lambda _: {"crystals": [{"error": "No."}]})
    results = parse_uploads([(f"{i}.cif", b"x") for i in range(250)], most=240)
    assert len(results) == 241 and "first 240" in results[-1].error


def test_a_failure_of_the_reader_is_told_from_one_of_the_file(monkeypatch):
    (of_file,) = parse_uploads([("a.cif", b"data_x")])
    assert of_file.error and not of_file.unsettled

    def slow(_):
        raise ReaderFailed("Too slow.")

    monkeypatch.setattr(uploads.PARSER, "ask", slow)
    (of_reader,) = parse_uploads([("a.cif", b"data_x")])
    assert of_reader.error == "Too slow." and of_reader.unsettled


# a reader without libraries: it answers at once, but a text that names a file only when that file exists
PATIENT = """
import json, pathlib, sys, time
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    name = json.loads(line)["text"]
    while name and not pathlib.Path(name).exists():
        time.sleep(0.02)
    print(json.dumps({"crystals": []}), flush=True)
"""


@pytest.fixture
def pool():
    def patient():
        return ParserProcess(seconds=60.0, command=(sys.executable, "-c", PATIENT))

    pool = ParserPool(2, patient)
    yield pool
    pool.close()


def test_a_reader_has_no_secrets_no_network_and_few_files(monkeypatch):
    monkeypatch.setenv("CRYSTAL_TEST_KEY", "secret")
    process = ParserProcess(seconds=60.0)
    try:
        assert process.ask(GOOD)["crystals"]
        about = Path(f"/proc/{process.pid}")
        assert b"secret" not in (about / "environ").read_bytes()
        limits = {
            line[:26].strip(): line[26:].split()[0] for line in (about / "limits").read_text().splitlines()
        }
        assert (limits["Max processes"], limits["Max open files"], limits["Max file size"]) == (
            "0",
            "32",
            "0",
        )
        if may_leave_network():
            assert (about / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    finally:
        process.close()


def may_leave_network():
    """Whether this system lets a process have a network of its own."""
    command = ["unshare", "--net" if os.geteuid() == 0 else "-rn", "true"]
    return (
        shutil.which("unshare") and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


def test_a_slow_file_leaves_the_other_reader_to_other_users(pool, tmp_path):
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(pool.ask, str(gate))
        for _ in range(3):
            assert pool.ask("")["crystals"] == []
        assert not slow.done()
        second = threads.submit(pool.ask, str(gate))
        with pytest.raises(TimeoutError):
            second.result(0.3)
        gate.touch()
        assert slow.result(30)["crystals"] == second.result(30)["crystals"] == []
    assert len(pool.pids) == 2


def test_a_free_reader_is_started_ahead_and_the_one_used_last_is_used_again(pool):
    pool.ask("")
    (first,) = pool.pids
    pool.ask("")
    assert pool.pids == [first]
    pool.start_spare()
    pool.start_spare()
    assert len(pool.pids) == 2 and first in pool.pids


def test_an_upload_is_read_for_30_seconds_and_the_rest_is_left_out(monkeypatch):
    pool = Mock(ask=Mock(return_value={"crystals": [{"error": "No."}], "seconds": 16.0}))
    monkeypatch.setattr(uploads, "PARSER", pool)
    results = parse_uploads([("a.zip", zipped(*((f"{i}.cif", "x") for i in range(20))))])
    assert [item.error for item in results[:2]] == ["No."] * 2 and pool.ask.call_count == 2
    assert all("longer than 30 s" in item.error and not item.unsettled for item in results[2:])
    assert len(results) == 20 and pool.start_spare.call_count == 1
    pool.ask.side_effect = ReaderFailed("Too slow.", 10.0)
    results = parse_uploads([(f"{i}.cif", b"x") for i in range(6)])
    assert [item.error for item in results[:4]] == ["Too slow."] * 4 and not any(i.unsettled for i in results)


def test_a_child_that_hangs_is_killed_and_replaced(parser):
    parser.ask(GOOD)
    stopped = parser.pid
    os.kill(stopped, signal.SIGSTOP)  # as good as an endless loop: it never answers
    parser.seconds, began = 1.0, time.monotonic()
    with pytest.raises(StructureParseError, match="longer than 1 s"):
        parser.ask(GOOD)
    assert time.monotonic() - began < 10
    parser.seconds = 30.0
    assert parser.ask(GOOD)["crystals"] and parser.pid != stopped


def test_a_child_that_dies_is_replaced(parser):
    parser.ask(GOOD)
    os.kill(parser.pid, signal.SIGKILL)
    for _ in range(2):  # the death may be noticed before or while asking
        try:
            reply = parser.ask(GOOD)
        except StructureParseError as error:
            assert "broke off" in str(error)
    assert reply["crystals"]


@pytest.fixture
def late(tmp_path):
    """A gate, and a reader whose imports wait until that file exists."""
    command = (sys.executable, str(Path(__file__).parent / "late_reader.py"), str(tmp_path / "gate"))
    process = ParserProcess(seconds=30.0, seconds_to_start=0.3, command=command)
    yield tmp_path / "gate", process
    process.close()


def once_ready(ask, *arguments):
    """The answer of a reader that is asked again as long as it is still starting."""
    stop = time.monotonic() + 100
    while True:
        try:
            return ask(*arguments)
        except StructureParseError as error:
            if "still starting" not in str(error) or time.monotonic() > stop:
                raise


def test_a_reader_that_starts_slowly_is_waited_for_and_never_begins_again(late):
    gate, process = late
    children = set()
    for _ in range(3):
        with pytest.raises(StructureParseError, match="still starting because this machine is busy"):
            process.ask(GOOD)
        children.add(process.pid)
    gate.touch()
    assert once_ready(process.ask, GOOD)["crystals"][0]["atomic_numbers"] == [11, 17]
    assert {process.pid} == children


def test_a_reader_that_is_ready_has_imported_all_that_any_answer_needs(late):
    gate, process = late
    gate.touch()
    salt = Structure(Lattice.cubic(4.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for kind in ("cif", "poscar", "extxyz", "json"):
        (crystal,) = once_ready(process.ask, structure_to_text(salt, kind))["crystals"]
        assert crystal["atomic_numbers"] == [11, 17]
    partial = GOOD.replace("  1.0\n", "  0.5\n").replace("  1\n", "  0.5\n")
    assert partial != GOOD and process.ask(partial)["crystals"][0]["occupancy"]
    with pytest.raises(StructureParseError, match="none of"):
        process.ask("no crystal")
    assert process.match(cell_json(salt), cell_json(salt))["rmsd"] == 0.0
    assert process.superpose(cell_json(salt), cell_json(salt))["superposed"]["atomic_numbers"] == [11, 17]


def test_crystals_are_laid_over_each_other_from_any_thread(parser, monkeypatch):
    monkeypatch.setattr(uploads, "PARSER", parser)
    salt = Structure(Lattice.cubic(4.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    other = Structure(Lattice.cubic(4.3), ["Cl", "Na"], [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]])
    iron = Structure(Lattice.cubic(2.8), ["Fe"], [[0, 0, 0]])
    with ThreadPoolExecutor(2) as pool:
        over, none = pool.map(uploads.superposed, [salt, salt], [other, iron])
    assert (
        none is None
        and [site.specie.symbol for site in over] == ["Na", "Cl"]
        and over.lattice.abc == pytest.approx((4.3,) * 3)
    )


def test_crystals_are_compared_from_any_thread(parser, monkeypatch):
    monkeypatch.setattr(uploads, "PARSER", parser)
    salt, wider, iron = (
        cell_json(Structure(Lattice.cubic(a), s, [[0, 0, 0], [0.5] * 3]))
        for a, s in ((4.2, ["K", "I"]), (4.3, ["K", "I"]), (4.2, ["Fe", "I"]))
    )
    with ThreadPoolExecutor(2) as pool:
        same, other = pool.map(uploads.compared, [salt, salt], [wider, iron])
    assert same == {"matches": True, "rmsd": 0.0} and other == {"matches": False, "rmsd": None}


def test_crystals_that_take_too_long_to_compare_are_not_said_to_differ(monkeypatch):
    quick = ParserProcess(seconds=4.0)
    monkeypatch.setattr(uploads, "PARSER", quick)
    large = [
        Structure(Lattice.cubic(3.6), ["Cu"] * 4, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
        * 6
        for _ in range(2)
    ]
    for structure in large:
        structure.perturb(0.05)
    try:
        quick.ask(GOOD)  # started
        child = quick.pid
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(uploads.compared, *map(cell_json, large)).result() == {
                "matches": None,
                "rmsd": None,
            }
        assert quick.pid == child
    finally:
        quick.close()


def test_crystals_that_take_too_long_to_lay_over_each_other_are_no_match(monkeypatch):
    quick = ParserProcess(seconds=4.0)
    monkeypatch.setattr(uploads, "PARSER", quick)
    copper = Structure(
        Lattice.cubic(3.6), ["Cu"] * 4, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    )
    large = copper * 5
    large.perturb(0.05)
    try:
        quick.ask(GOOD)  # started
        child, began = quick.pid, time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(uploads.superposed, large, copper).result() is None
        assert time.monotonic() - began < 10 and quick.pid == child
    finally:
        quick.close()


def test_memory_is_limited():
    tight = ParserProcess(seconds=60.0, memory=700_000_000)
    try:
        with pytest.raises(StructureParseError, match="memory"):
            tight.ask("[" + "[]," * 15_000_000 + "[]]")
        assert tight.ask(GOOD)["crystals"]
    finally:
        tight.close()


def test_the_child_stays_light_and_ends_with_its_pipe():
    code = (
        "import crystal_core.files.upload_child as c, crystal_core.structures, sys; "
        "print('torch' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
        ).stdout.strip()
        == "False"
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "crystal_core.files.upload_child", "2000000000", "10"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert b"ready" in child.stdout.readline()
    child.stdin.close()
    assert child.wait(timeout=60) == 0
