"""The stored lists are those of the installed SMACT, and reading them imports neither it nor pandas."""

import subprocess
import sys

from crystal_core.chemistry.smact_lists import installed_elements, smact_elements


def test_the_stored_lists_are_those_of_smact():
    assert smact_elements() == installed_elements()
    iron = smact_elements()["Fe"]
    assert iron.is_metal and iron.electronegativity == 1.83 and {2, 3} <= set(iron.states["icsd24"])


def test_a_charge_balance_needs_no_pandas():
    code = (
        "import sys; from crystal_core.evaluation.validity import is_charge_balanced as balanced; "
        "print(balanced((('Cl', 1), ('Na', 1))), balanced((('Cl', 2), ('Na', 1))), 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]
