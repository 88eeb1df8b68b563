"""Public structure files that other programs misread: each is read right, or the reader says what does not fit.

The files lie beside the data sets, in the folder ``cases``; each case has an ``expected.json`` with the right value and
how it is known.
"""

import re
import time

import numpy as np
import pytest

from crystal_core.errors import RequestError, StructureParseError
from crystal_core.files.encoding import text_of
from crystal_core.files.parse import parse_each
from crystal_core.paths import data_dir

CASES = data_dir() and data_dir().parent / "cases"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (CASES and CASES.is_dir()), reason="needs the cases beside CRYSTAL_DATA"),
]


class Seen:
    """What the reader makes of a file: crystals or sentences, and what it says beside them."""

    def __init__(self, name):
        path = CASES / name
        began = time.process_time()
        try:
            found = parse_each(text_of(path.read_bytes()), path.name, purpose="view")
        except StructureParseError as error:
            found = [error]
        self.seconds = time.process_time() - began
        self.crystals = [one for one in found if not isinstance(one, StructureParseError)]
        self.refusal = " ".join(str(one) for one in found if isinstance(one, StructureParseError))
        self.notes = " ".join(note for one in self.crystals for note in one.properties.get("notes", []))

    @property
    def species(self):
        """Element → amount in the first cell, shares and isotopes as in the file."""
        crystal, found = self.crystals[0], {}
        shares = (crystal.properties.get("occupancy") or {}).get("shares")
        for one in shares or [site.species.get_el_amt_dict() for site in crystal]:
            for symbol, share in one.items():
                found[symbol] = found.get(symbol, 0.0) + share
        return {symbol: round(n, 2) for symbol, n in sorted(found.items())}

    @property
    def density(self):
        crystal = self.crystals[0]
        return (crystal.properties.get("occupancy") or {}).get("density") or float(crystal.density)

    @property
    def group(self):
        from crystal_core.files.records import space_group

        return space_group(self.crystals[0], 0.01)["number"]

    @property
    def shortest(self):
        return float(min(np.min(d[d > 0]) for d in self.crystals[0].distance_matrix))


def reads(density=None, group=None, shortest=None, says="", **species):
    def check(seen):
        assert seen.crystals, f"refused: {seen.refusal}"
        assert seen.species == {s: pytest.approx(n, abs=0.02) for s, n in species.items()}
        if density:
            assert seen.density == pytest.approx(density, rel=2e-3)
        if group:
            assert seen.group == group
        if shortest:
            assert seen.shortest == pytest.approx(shortest, abs=0.02)
        assert re.search(says, seen.notes) if says else True

    return check


def refuses(says):
    def check(seen):
        assert not seen.crystals, f"read as {seen.species}"
        assert re.search(says, seen.refusal), seen.refusal

    return check


SALT = reads(Na=4, Cl=4, density=2.164, group=225)
SPINEL = reads(Mg=8, Al=16, O=32, density=3.579, group=227)
LITHARGE = reads(Pb=2, O=2, density=9.335, group=129)
BADDELEYITE = reads(Zr=4, O=8, density=5.81, group=14, shortest=2.05)
DUPLICATE = refuses("one site")
EXPECTED = {
    "isotope-1/lid.cif": reads(Li=4, D=4, density=0.882),
    "known-1/fe-bcc.cif": reads(Fe=2, group=229),
    "known-1/graphite.cif": reads(C=4, group=194),
    "lost-atoms-1/occ-dot.cif": SALT,
    "lost-atoms-2/lab-OH.cif": reads(Na=4, O=4, says="hydrogen"),
    "lost-atoms-2/lab-OHt.cif": reads(Na=4, O=4, says="hydrogen"),
    "lost-atoms-3/hshare.cif": reads(Ce=2, Fe=2, As=2, H=1.8, O=0.2),
    "lost-atoms-5/gypsum-noH.cif": reads(
        Ca=4, S=4, O=24, says="has hydrogen, but the list of atoms has none"
    ),
    "lost-atoms-5/lab-wat.cif": reads(Na=4, O=4, says="hydrogen"),
    "nonperiodic-1/X-pbcF.xyz": reads(Na=4, Cl=4, says="not periodic"),
    "nonperiodic-1/X-pbcTTF.xyz": reads(Na=4, Cl=4, says="not periodic"),
    "nonperiodic-1/pmolecule.xyz": reads(N=2, says="not periodic"),
    "ops-1/op-cif2tag.cif": reads(Ti=2, O=4, density=4.247, group=136),
    "ops-3/op-star.cif": reads(Ti=2, O=4, density=4.247, group=136),
    "partial-1/split.cif": reads(Na=1, Cl=1, density=0.541),
    "partial-3/gst.cif": reads(Ge=1.6, Sb=1.6, Te=4, density=6.31),
    "poscar-1/P-negcart.vasp": reads(Na=4, Cl=4, density=2.164, group=225, shortest=2.82),
    "pseudo-element-1/lab-Cnt.cif": refuses("Cnt"),
    "pseudo-element-1/lab-Du.cif": refuses("Du"),
    "refused-1/bom.cif": SALT,
    "refused-1/X-bom.xyz": SALT,
    "refused-1/J-bom.json": SALT,
    "refused-2/text-data.cif": SALT,
    "refused-2/text-data2.cif": SALT,
    "refused-4/occ-1.002.cif": reads(Na=4, Cl=4, density=2.164, says="1.002"),
    "refused-4/occ-sum101.cif": reads(Na=2.02, K=1.98, Cl=4, says="1.01"),
    "refused-5/dup-exact.cif": DUPLICATE,
    "refused-5/dup.cif": DUPLICATE,
    "refused-5/dup-conflict.cif": DUPLICATE,
    **{
        f"refused-6/P-{kind}.vasp": SALT
        for kind in "3scale comment datatitle dexp jsontitle lower numtitle".split()
    },
    "rounding-1/zno-3.cif": reads(Zn=2, O=2, density=5.678, group=186),
    "setting-1/p21n-num.cif": BADDELEYITE,
    "setting-2/p21c-short.cif": BADDELEYITE,
    "setting-2/p21n-nonum.cif": BADDELEYITE,
    "setting-3/pbo-o2.cif": LITHARGE,
    "setting-3/spinel2-b.cif": SPINEL,
    "setting-4/anatase2-extnum.cif": reads(Ti=4, O=8, density=3.894, group=141),
    "setting-4/pbo2-extnum.cif": LITHARGE,
    "setting-4/spinel2-extnum.cif": SPINEL,
    "setting-5/calcite-r-a.cif": reads(Ca=2, C=2, O=6, density=2.710, group=167),
    "setting-5/calcite-r-b.cif": reads(Ca=2, C=2, O=6, density=2.710, group=167),
    "setting-6/calcite-h-a.cif": reads(Ca=6, C=6, O=18, density=2.710, group=167),
    "setting-9/nacl-onlyident.cif": reads(Na=4, Cl=4, density=2.164, says="F m -3 m"),
    "setting-11/crystallm.cif": reads(Na=4, Cl=4, density=1.80, says="Fm-3m"),
    "setting-12/pauling.cif": reads(Al=16.0, Cu=8.0, O=32),
    "unit-1/bohr.cif": reads(Na=4, Cl=4, says="bohr"),
    "xrd-1/corundum-r3c.cif": reads(Al=12, O=18, group=167),
    "lab6_P_m_3_m_read_as_P1.cif": reads(La=1, B=6, group=221),
    "label_HO1_read_as_holmium.cif": reads(Mg=1, O=1, H=1),
    "occupancy_dot_drops_atom.cif": reads(Fe=4, O=4, group=225),
    "slow_500atoms_sg227.cif": refuses("5,000 atoms"),
    "slow_2000atoms_sg225.cif": refuses("5,000 atoms"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_public_file_is_read_right_or_what_does_not_fit_is_said(name):
    seen = Seen(name)
    EXPECTED[name](seen)
    assert seen.seconds < 60


def test_every_file_of_the_cases_is_checked():
    kinds = {".cif", ".vasp", ".xyz", ".json", ""}
    files = {
        path.relative_to(CASES).as_posix()
        for path in CASES.rglob("*")
        if path.is_file() and path.suffix in kinds and path.name != "expected.json"
    }
    assert files == {*EXPECTED, "trajectory-1/XDATCAR"}


def test_the_frames_of_a_trajectory_are_read():
    seen = Seen("trajectory-1/XDATCAR")
    first, second = seen.crystals
    assert first.composition == second.composition and len(first) == 8
    assert np.abs(second.frac_coords - first.frac_coords).max() == pytest.approx(0.05)


def test_a_hydrate_written_with_a_blank_is_one_or_is_asked_about():
    from crystal_core.chemistry.formula import parse_formula

    for text in (CASES / "formula-1" / "formula.txt").read_text().splitlines():
        try:
            found = dict(parse_formula(text).counts)
        except RequestError:
            continue
        water = int(text.split()[1][0])
        assert found["H"] == 2 * water and found["O"] == 4 + water


def test_settings_are_accepted_by_name():
    from crystal_core.evaluation.symmetry import space_group_number

    names = (CASES / "request-1" / "spacegroups.txt").read_text().split()
    assert [space_group_number(name) for name in names] == [14, 15, 225, 166, 227]


def test_a_reflection_has_the_index_that_is_present():
    from crystal_core.evaluation.xrd import pattern

    found = pattern(Seen("xrd-1/corundum-r3c.cif").crystals[0])
    names = {round(angle, 1): hkl for angle, hkl in zip(found.two_theta, found.hkl, strict=True)}
    assert names[25.6] == "(0 1 -1 2) ×6" and names[52.6] == "(0 2 -2 4) ×6"
