"""The samplers by the names a reader understands, and the seed as it was typed."""

from __future__ import annotations

from crystal_core.errors import RequestError

SAMPLERS = {
    "fast": "fast – the model's low-step default",
    "pc": "pc – predictor–corrector, corrector first",
    "pc-pf": "pc-pf – predictor first",
    "em": "em – stochastic, one call a step",
    "exp-em": "exp-em – exponential integrator",
    "ode": "ode – deterministic",
}


def seed_of(text: str) -> int | None:
    """The seed in a field; None where it is blank.

    Raises:
        RequestError: it is no whole number.
    """
    try:
        return int(text) if text.strip() else None
    except ValueError:
        raise RequestError(f"The seed must be a whole number, not '{text}'.") from None
