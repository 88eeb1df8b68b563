"""The measurements behind ``crystal-core benchmark``."""
