"""The baseline without a network: a composition placed onto the chemically nearest known crystals."""
