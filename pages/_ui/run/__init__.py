"""A run on a page: progress, candidates, crystals, verdicts."""
