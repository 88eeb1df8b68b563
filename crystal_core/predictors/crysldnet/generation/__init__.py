"""From CrysLDNet's latents back to crystals: decoders and a latent diffusion on top of the frozen encoder."""
