"""Small derived tables that ship with the code; each has a builder beside it."""
