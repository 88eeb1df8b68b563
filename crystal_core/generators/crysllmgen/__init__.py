"""CrysLLMGen: a language model drafts a crystal as text, a diffusion model refines it.

Khastagir et al., NeurIPS 2025.
"""
