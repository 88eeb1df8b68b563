"""Two to four ways to crystals compared: same formulas and seeds, intervals, paired differences."""
