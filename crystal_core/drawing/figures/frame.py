"""What the figures have in common around what they draw."""

MARGINS = {"l": 10, "r": 10, "t": 20, "b": 10}
LEGEND_ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
