"""Files whose parts contradict each other or name a unit, and cells too small for their atoms."""

import json
import random

import pytest

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_text

METRES = [[3.9e-10, 0, 0], [0, 3.9e-10, 0], [0, 0, 3.9e-10]]
PAIR = {"atomic_numbers": [37, 35], "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]]}
OPTIMADE = {"species_at_sites": ["Rb", "Br"], "cartesian_site_positions": [[0, 0, 0], [1.95e-10] * 3]}


def dense(n=900):
    """Rubidium at 900 random places in a cell of 1.3 Å³."""
    numbers = random.Random(3)
    rows = [" ".join(f"{numbers.random():.4f}" for _ in range(3)) for _ in range(n)]
    return "\n".join(["dense", "1.1", "1 0 0", "0 1 0", "0 0 1", "Rb", str(n), "Direct", *rows])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (json.dumps({"lattice": METRES, **PAIR}), "Check the unit"),
        (json.dumps({"lattice_vectors": METRES, **OPTIMADE}), "Check the unit"),
        (json.dumps({"lattice": METRES[:2], **PAIR}), "three vectors, but the file gives 2"),
        (json.dumps({"lattice": [[4, 0, 0], [0, 4, 0], [4, 4, 0]], **PAIR}), "sliver"),
        (dense(), "Å³ per atom"),
    ],
)
def test_a_cell_that_cannot_hold_its_atoms_is_refused_before_neighbours_are_counted(text, says):
    """The search for neighbours in such a cell would need more memory than a machine has."""
    with pytest.raises(StructureParseError, match=says):
        parse_text(text, purpose="view")
