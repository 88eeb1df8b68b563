"""Drafters: one file per kind of language model, all behind :class:`~.protocol.BackEnd`."""
