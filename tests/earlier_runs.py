"""Structure predictions ranked by energy that an earlier version recorded: results that users still have."""

from pathlib import Path

from crystal_core.demos import Demo, read_demo

FOLDER = Path(__file__).parent / "runs"


def earlier_run(name: str) -> Demo:
    """Of strontium-titanate, titanium-dioxide, spinel or zinc-sulphide."""
    return read_demo(FOLDER / f"{name}.json.gz")
