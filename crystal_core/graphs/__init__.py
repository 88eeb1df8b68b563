"""Crystals as graphs: contacts between neighbouring atoms, rows of sorted distances, and
files that hold both.
"""
