"""The charge mask of drafts: a crystal may end only where its composition balances."""

from __future__ import annotations

import math
from collections.abc import Mapping

from crystal_core.evaluation.validity import is_charge_balanced


def is_balanced(counts: Mapping[str, int]) -> bool:
    """Whether symbol → atoms passes the check of composition validity, SMACT's; remembered by reduced composition."""
    divisor = math.gcd(*counts.values())
    return is_charge_balanced(tuple(sorted((symbol, n // divisor) for symbol, n in counts.items())))
