"""The dense pair network of the diffusion models: plain, packed for training, fast for inference."""
