"""Screening campaigns: crystals generated in batches, filtered, relaxed and ranked, over processes."""
