"""Uploads of one browser take turns, so that another browser finds a free reader."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from crystal_core.files import uploads
from crystal_core.files.reader_process import ParserPool
from crystal_core.files.turns import Turns
from crystal_core.files.uploads import parse_uploads


def until(condition, seconds=60):
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, f"waited {seconds} s"
        time.sleep(0.02)


def test_uploads_of_one_browser_are_read_in_turn_and_leave_a_reader_to_others(monkeypatch):
    begun, go_on = [], threading.Event()

    def slow(_pool, text):
        begun.append(text)
        assert go_on.wait(60)
        return {"crystals": [], "seconds": 0.0}

    monkeypatch.setattr(ParserPool, "ask", slow)
    with ThreadPoolExecutor(4) as users:
        first = users.submit(parse_uploads, [("a.cif", b"ada 1")], client="ada")
        until(lambda: begun == ["ada 1"])
        second = users.submit(parse_uploads, [("b.cif", b"ada 2")], client="ada")
        users.submit(parse_uploads, [("c.cif", b"ben")], client="ben")
        users.submit(parse_uploads, [("d.cif", b"shell")])
        until(lambda: len(begun) == 3)
        assert "ada 2" not in begun and not first.done()
        monkeypatch.setattr(uploads, "SECONDS_FOR_A_TURN", 0.0)
        (refused,) = parse_uploads([("e.cif", b"ada 3")], client="ada")
        assert refused.error == uploads.NO_TURN and refused.unsettled and refused.name == "e.cif"
        go_on.set()
        assert second.result(60) == [] and begun[-1] == "ada 2"


def test_a_place_is_given_back_after_an_error_and_by_nobody_who_had_none():
    turns = Turns()
    for _ in range(3):
        try:
            with turns.of("ada", 1, 0.0) as has_place, turns.of("ada", 1, 0.0) as has_another:
                assert (has_place, has_another) == (True, False)
                raise OSError
        except OSError:
            pass
    with turns.of("ada", 2, 0.0) as one, turns.of("ada", 2, 0.0) as two, turns.of("ben", 1, 0.0) as other:
        assert one and two and other
