"""Mutated files through the reader: none crashes it, and the report tells what must not happen."""

from crystal_core.workflows import fuzz_files
from crystal_core.workflows.fuzz_files import FuzzReport, own_corpus


def test_mutated_files_are_read_or_refused_and_never_changed_silently():
    report = fuzz_files.fuzz_files(150, seed=11)
    assert report.is_clean, report.examples
    assert report.tried == 150 and report.read > 30 and report.refused > 30


class Reader:
    """A reader that loses every second atom and says nothing."""

    def __init__(self, **_):
        self.asked = 0

    def ask(self, text):
        self.asked += 1
        numbers = [22, 8] if self.asked == 1 else [22]
        return {"crystals": [{"atomic_numbers": numbers, "notes": [], "limitation": None}]}

    def close(self):
        pass


def test_a_reader_that_loses_atoms_is_found_out(monkeypatch):
    monkeypatch.setattr(fuzz_files, "ParserProcess", Reader)
    monkeypatch.setattr(fuzz_files, "MUTATIONS", {"UTF-16": fuzz_files.MUTATIONS["UTF-16"]})
    name, text = next((name, text) for name, text in own_corpus().items() if name.endswith(".cif"))
    report = fuzz_files.fuzz_files(3, corpus={name: text})
    assert report.changed_silently == 3 and not report.is_clean
    assert FuzzReport(tried=1, read=1).is_clean
