"""SMACT's tables of elements: oxidation states, electronegativities, metals.

Read from ``smact.json``, because importing SMACT takes half a second for pandas.
``python -m crystal_core.chemistry.smact_lists`` writes the file again from the installed package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code
from crystal_core.whole_files import write_whole

FILE = Path(__file__).with_name("smact.json")
LISTS = {
    "smact14": "oxidation_states_smact14",
    "icsd16": "oxidation_states_icsd16",
    "icsd24": "oxidation_states_icsd24",
    "pymatgen_sp": "oxidation_states_sp",
}


@dataclass(frozen=True, kw_only=True)
class SmactElement:
    """One element.

    Attributes:
        electronegativity: Pauling's, None where there is none. is_metal: by SMACT's list.
        states: name of a list (a key of :data:`LISTS`) → oxidation states, without those that have none.
    """

    electronegativity: float | None
    is_metal: bool
    states: Mapping[str, list[int]]


@cache
def smact_elements() -> Mapping[str, SmactElement]:
    """Symbol → element, of the 103 that SMACT knows."""
    stored: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["elements"]
    return {symbol: SmactElement(**values) for symbol, values in stored.items()}


def installed_elements() -> dict[str, SmactElement]:
    """The same tables, read from the installed package."""
    import smact

    elements = {symbol: smact.Element(symbol) for symbol in smact.ordered_elements(1, 103)}
    return {
        symbol: SmactElement(
            electronegativity=element.pauling_eneg,
            is_metal=symbol in smact.metals,
            states={name: states for name, field in LISTS.items() if (states := getattr(element, field))},
        )
        for symbol, element in elements.items()
    }


def main() -> None:
    """Write the file."""
    lines = [
        f"{json.dumps(symbol)}: {json.dumps(asdict(element))}"
        for symbol, element in installed_elements().items()
    ]
    head = f'"about": "SMACT {version("smact")} (MIT licence): oxidation states, electronegativities, metals"'
    write_whole(FILE, "{" + head + ',\n"elements": {\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
