"""CrysLDNet: property prediction from encoders pretrained by latent diffusion.

ICML 2026, arXiv 2606.00776.
"""
