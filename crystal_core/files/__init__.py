"""Crystals in and out of files, uploads, and the JSON records that runs are made of."""
