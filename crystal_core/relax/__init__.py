"""Machine-learning potentials: energies of crystals, and relaxation of atoms and cell."""
