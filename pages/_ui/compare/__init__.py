"""The Compare page: its form, its crystals side by side, its numbers, its ready comparisons."""
