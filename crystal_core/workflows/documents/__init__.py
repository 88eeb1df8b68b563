"""Tables and figures of README.md and docs/, written from the model cards and the stored results.

``crystal-core docs tables`` fills every marked place; the marks are described in :mod:`.markers`.
"""
