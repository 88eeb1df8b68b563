"""Crystals and numbers, drawn: 3D scenes, notebooks, figures."""
