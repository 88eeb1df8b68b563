"""Notebook views and HTML pages: the script is inside, nothing comes from elsewhere, names stay text."""

import re

import pytest
from pymatgen.core import Lattice, Structure

import crystal_core

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


@pytest.fixture(scope="module")
def page():
    return crystal_core.to_html(ROCK_SALT)


def outside(text):
    """Addresses that a page would load: sources, links and imports, not words inside the library."""
    return re.findall(r"""(?:src|href)=["']?(https?:[^"' >]+)""", text)


def test_a_page_holds_its_script_and_its_atoms(page):
    assert page.count("addSphere(") >= 27 and "cdn.jsdelivr" not in page and outside(page) == []
    assert 'aria-label="NaCl, 8 atoms' in page and page.rstrip().endswith("</html>")


def test_a_notebook_view_is_py3dmol_with_the_script_inside():
    import py3Dmol

    drawing = crystal_core.view(ROCK_SALT, supercell=(2, 1, 1))
    assert isinstance(drawing, py3Dmol.view)
    text = drawing._make_html()
    assert len(text) > 400_000 and "cdn.jsdelivr" not in text


def test_a_hostile_site_label_cannot_end_the_script():
    hostile = ROCK_SALT.copy()
    hostile.add_site_property("label", ["</script><img src=x onerror=alert(1)>"] * len(hostile))
    hostile.properties["name"] = "</script><img src=x>"
    assert "<img src=x" not in crystal_core.to_html(hostile)


def test_importing_the_core_imports_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys, crystal_core; print([m for m in ('torch', 'pymatgen', 'numpy', "
        "'py3Dmol') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_an_unknown_name_of_the_core_says_so():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        crystal_core.nothing
