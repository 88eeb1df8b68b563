"""Steps along diffusion time: kernels, time grids and samplers. Knows no chemistry."""
