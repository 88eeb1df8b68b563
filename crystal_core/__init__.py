"""Crystal Studio's core: published generative methods for crystals behind one small public API."""

__version__ = "0.1.0"
