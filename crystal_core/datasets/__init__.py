"""Raw data sets: read tables of crystals, decide which rows may train, write tensor files."""
