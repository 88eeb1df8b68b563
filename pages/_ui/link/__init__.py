"""A link's values for the widgets of a page."""
