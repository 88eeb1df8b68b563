"""Margins and legend that all figures share."""

MARGINS = {"l": 10, "r": 10, "t": 20, "b": 10}
LEGEND_ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
