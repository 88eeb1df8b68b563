"""DiffCSP: joint diffusion of lattice and coordinates at fixed composition, the refiner of CrysLLMGen."""
