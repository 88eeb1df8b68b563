"""What can bend a sampler: targets that score crystals differentiably."""
