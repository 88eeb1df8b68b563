"""DiffCSP (Jiao et al. 2023): joint diffusion of lattice and coordinates at fixed composition, the refiner of CrysLLMGen."""
