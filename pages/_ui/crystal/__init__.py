"""One crystal on a page."""
