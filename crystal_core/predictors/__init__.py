"""Properties computed from crystals, differentiably: what a sampler can be guided by."""
