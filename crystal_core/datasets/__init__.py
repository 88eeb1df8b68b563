"""Raw data sets: reading tables of crystals, deciding which rows may be trained on,
and making tensor files.
"""
