"""Guidance targets: they score crystals differentiably and bend a sampler."""
