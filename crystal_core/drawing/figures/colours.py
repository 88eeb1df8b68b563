"""Colours of lines and bars that stand out from a light and from a dark page."""

# each has at least 3:1 (WCAG 2.2, non-text contrast) against white, #171614 (the dark page) and #0e1117
LINES = ("#2f7ad9", "#d9622b", "#1f9d63", "#c2539b", "#b07d12", "#1a93a8", "#8a6fd1", "#d5464f", "#7a8a1f")
BEHIND = "#7d828b"  # what is to be seen behind a line
COLUMNS = (LINES[0], LINES[1], LINES[2], LINES[6])  # of a comparison: blue, orange, green, violet
