"""Names of files in answers, those of archives among them."""

import pytest

from crystal_core.files.names import distinct_names
from crystal_core.files.uploads import parse_uploads
from tests.files.test_uploads import GOOD, zipped


def test_files_of_one_name_in_an_archive_are_told_apart_by_their_folders():
    other = GOOD.replace("Na", "K")
    members = [
        ("runs/1/POSCAR.cif", GOOD),
        ("runs/2/POSCAR.cif", other),
        ("../runs/2/b.cif", GOOD),
        ("3/c", ""),
    ]
    names = [
        (u.name, u.structure and u.structure.formula) for u in parse_uploads([("a.zip", zipped(*members))])
    ]
    assert names == [
        ("1/POSCAR.cif", "Na1 Cl1"),
        ("2/POSCAR.cif", "K1 Cl1"),
        ("b.cif", "Na1 Cl1"),
        ("c", None),
    ]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.cif", "b/x.cif", "x.cif"], ["a/x.cif", "b/x.cif", "x.cif"]),
        (["1/out/x", "2/out/x"], ["1/out/x", "2/out/x"]),
        (["a/x", "a/x"], ["x", "x"]),
        (["a\\x", "../b/\x1bx", "y\n"], ["a/x", "b/x", "y"]),
        (["f" * 70 + "/g" * 20 + "/x.cif", "e/x.cif"], ["g/x.cif", "e/x.cif"]),
    ],
)
def test_names_have_the_folders_that_tell_them_apart(paths, names):
    assert distinct_names(paths) == names


def test_an_archive_without_files_says_so():
    for archive in (zipped(), zipped(("folder/", ""))):
        (upload,) = parse_uploads([("a.zip", archive)])
        assert upload.error == "The archive holds no files."
