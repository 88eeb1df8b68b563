"""The number format of a training's products."""

from __future__ import annotations

import torch

from crystal_core.errors import RequestError


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """bf16 on GPUs and CPUs with native bf16 products; elsewhere it is several times slower."""
    if precision == "float32":
        return torch.float32
    if precision == "bf16":
        return torch.bfloat16
    if precision != "auto":
        raise RequestError(f"Unknown precision '{precision}'; choose auto, float32 or bf16.")
    return torch.bfloat16 if device.type == "cuda" or cpu_has_fast_bf16() else torch.float32


def cpu_has_fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices natively (AVX512-BF16 or AMX)."""
    capabilities = torch.backends.cpu.get_cpu_capability()
    query = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return "AVX512" in capabilities and bool(query() or amx())
