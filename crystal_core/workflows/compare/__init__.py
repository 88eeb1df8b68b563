"""Two to four ways to crystals side by side: the same formulas and seeds, metrics with
intervals, paired differences.
"""
