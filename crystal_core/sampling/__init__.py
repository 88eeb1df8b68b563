"""Moving along diffusion time: kernels, time grids, samplers and the loop. Knows no chemistry."""
