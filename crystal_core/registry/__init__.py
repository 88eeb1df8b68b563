"""Checkpoints: their cards, their hashes, and loading them by name."""
