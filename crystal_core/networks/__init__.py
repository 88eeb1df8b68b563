"""The dense pair network shared by the diffusion models: plain reference form, packed training
form, fast inference form.
"""
