"""``python -m crystal_core`` is the command line."""

from crystal_core.cli import main

if __name__ == "__main__":
    main()
