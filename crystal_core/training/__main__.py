"""``python -m crystal_core.training CONFIG``: a trainer with torch, numpy and safetensors alone."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from crystal_core.interruption import ending_with_its_code
from crystal_core.workflows.train import run_training


def main() -> None:
    """Parse the command line and print the last log line as JSON."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="python -m crystal_core.training", description=__doc__)
    parser.add_argument("config", type=Path, nargs="?")
    parser.add_argument(
        "--recipe", help="instead of a configuration: a checkpoint whose recorded slices are repeated"
    )
    parser.add_argument("--minutes", type=float, help="stop cleanly and save after so long")
    parser.add_argument(
        "--samples", type=int, help="crystals of the whole run, instead of the configuration's plan"
    )
    parser.add_argument("--resume", type=Path, help="folder of an earlier slice")
    parser.add_argument(
        "--branch",
        type=Path,
        help="folder of a run: let its rate fall to zero over the next tenth, in a copy",
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--export")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--quiet", action="store_true")
    print(json.dumps(run_training(**vars(parser.parse_args()))))


if __name__ == "__main__":
    with ending_with_its_code():
        main()
