"""Compositions: formulas, charges of ions, metals. No geometry."""
