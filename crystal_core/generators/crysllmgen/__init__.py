"""CrysLLMGen: a language model drafts a crystal as text, and a diffusion model refines it (Khastagir
et al., NeurIPS 2025).
"""
