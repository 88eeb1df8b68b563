"""Names of what is downloaded."""

from datetime import datetime
from types import SimpleNamespace

import pytest

from pages._ui.run.archive import zip_name

WHEN = datetime(2026, 11, 25, 14, 10).astimezone().timestamp()


@pytest.mark.parametrize(
    ("kind", "request_", "name"),
    [
        ("predict-structure", {"formula": "Ca3(PO4)2"}, "Ca3(PO4)2"),
        ("predict-structure", {"formula": "CuSO4·5H2O"}, "CuSO4-5H2O"),
        ("predict-structure", {"formula": "../x"}, "x"),
        ("generate", {"elements": ["Li", "Fe", "O"]}, "new-crystals-Li-Fe-O"),
        ("generate", {"n": 4, "elements": None}, "new-crystals"),
        ("relax", {"crystals": []}, "relaxed-crystals"),
    ],
)
def test_an_archive_is_named_by_what_was_asked_for_and_when(kind, request_, name):
    assert (
        zip_name(SimpleNamespace(kind=kind, request=request_, created=WHEN)) == f"{name}-2026-11-25-1410.zip"
    )
