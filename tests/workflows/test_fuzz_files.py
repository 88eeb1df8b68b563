"""Mutated files through the reader: none crashes it, and the report tells what must not happen."""

from dataclasses import replace

import pytest

from crystal_core.workflows import fuzz_files
from crystal_core.workflows.fuzz_corpus import own_corpus
from crystal_core.workflows.fuzz_files import FuzzReport


def test_mutated_files_are_read_or_refused_and_never_changed_silently():
    report = fuzz_files.fuzz_files(150, seed=11)
    assert report.is_clean, report.examples
    assert report.tried == 150 and report.read > 30 and report.refused > 30


def test_every_format_and_dialect_is_in_the_corpus_and_is_read_or_refused():
    uploads = {name: fuzz_files.parse_uploads([(name, text.encode())]) for name, text in own_corpus().items()}
    refused = {name for name, some in uploads.items() if any(one.structure is None for one in some)}
    assert refused == {"macromolecule.cif", "macromolecule.json"}
    assert {name.rpartition(".")[2] for name in uploads} >= {
        "cif",
        "poscar",
        "xdatcar",
        "extxyz",
        "pdb",
        "json",
        "jsonl",
    }


def spoiling(change):
    """A reader that changes every crystal but those of the unchanged files."""
    read, corpus = fuzz_files.parse_uploads, {text.encode() for text in own_corpus().values()}

    def spoiled(files):
        uploads = read(files)
        return uploads if files[0][1] in corpus else [change(one) for one in uploads]

    return spoiled


def without_an_atom(one):
    structure = one.structure and one.structure.copy()
    if structure is not None:
        structure.remove_sites([0])
    return replace(one, structure=structure)


def stretched(one):
    structure = one.structure and one.structure.copy()
    if structure is not None:
        structure.scale_lattice(1.1 * structure.volume)
    return replace(one, structure=structure)


def broken(one):
    raise ValueError("a bug")


def refused(sentence, **more):
    return lambda one: replace(one, structure=None, error=sentence, **more)


@pytest.mark.parametrize(
    ("change", "kind", "name", "outcome"),
    [
        (without_an_atom, "UTF-16", "NaCl.poscar", "changed_silently"),
        (stretched, "packed", "models.pdb", "changed_silently"),
        (refused("no"), "a byte order mark", "NaCl.json", "changed_silently"),
        (without_an_atom, "another word", "TiO2.cif", "changed_silently"),
        (stretched, "a line lost", "selective.poscar", "changed_silently"),
        (refused("Two\nlines."), "twice", "TiO2.cif", "crashed"),
        (refused("took longer than 10 s", unsettled=True), "twice", "TiO2.cif", "hung"),
        (refused("broke off", unsettled=True), "twice", "TiO2.cif", "crashed"),
        (broken, "twice", "TiO2.cif", "crashed"),
    ],
)
def test_a_reader_that_does_wrong_is_found_out(monkeypatch, change, kind, name, outcome):
    monkeypatch.setattr(fuzz_files, "parse_uploads", spoiling(change))
    monkeypatch.setattr(fuzz_files, "MUTATIONS", {kind: fuzz_files.MUTATIONS[kind]})
    report = fuzz_files.fuzz_files(12, corpus={name: own_corpus()[name]}, seed=4)
    assert getattr(report, outcome) >= 1 and not report.is_clean and report.examples
    assert FuzzReport(tried=1, read=1).is_clean
