"""Margins and legend that all figures share."""

MARGINS = {"l": 10, "r": 10, "t": 20, "b": 10}
LEGEND_ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
# for many entries: however many lines they take, titles of axes keep clear of them
LEGEND_BELOW = {"orientation": "h", "yref": "container", "y": 0.0, "yanchor": "bottom"}
