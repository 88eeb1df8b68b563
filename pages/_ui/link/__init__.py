"""What a link hands to the widgets of a page."""
