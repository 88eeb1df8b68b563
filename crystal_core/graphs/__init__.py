"""Crystals as graphs: contacts of neighbouring atoms, rows of sorted distances, files of both."""
