"""Computed data → plotly figures; nothing is shown and no global template is touched."""
