"""How fast decoding could be: nothing is written before every weight and every cached key and value was read once."""

import statistics
from time import perf_counter

import torch

from tsumiki.kernels.stored import StoredEmbedding
from tsumiki.models import LanguageModel
from tsumiki.nn.embedding import Embedding
from tsumiki.nn.position import LearnedPosition

BYTES_ON_GPU = 2**31
BYTES_ON_CPU = 2**28


def bandwidth(device: torch.device, *, repeats: int = 7) -> float:
    """Bytes a second that this machine reads from memory: the median of summing a large array."""
    num_bytes = BYTES_ON_GPU if device.type == "cuda" else BYTES_ON_CPU
    data = torch.ones(num_bytes // 4, device=device)
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        float(data.sum())  # waits for the device
        seconds.append(perf_counter() - start)
    return num_bytes / statistics.median(seconds)


def weight_bytes(model: LanguageModel) -> int:
    """Bytes of weights that a step reads: all but the look-up tables, and the head even where it is such a table."""
    tables = [module for module in model.modules() if isinstance(module, Embedding | StoredEmbedding | LearnedPosition)]
    looked_up = {id(tensor) for table in tables for tensor in table.state_dict(keep_vars=True).values()}
    head = model.embedding if model.head is None else model.head
    read = {id(tensor): tensor.nbytes for tensor in head.state_dict(keep_vars=True).values()}
    for tensor in model.state_dict(keep_vars=True).values():
        if id(tensor) not in looked_up:
            read[id(tensor)] = tensor.nbytes
    return sum(read.values())


def cache_bytes(model: LanguageModel, context: int, element_size: int) -> int:
    """Bytes of keys and values that one row's step reads when the row holds `context` tokens."""
    attention = model.config.attention
    kept = sum(min(window or context, context) for window in model.config.windows)
    return 2 * kept * attention.num_kv_heads * attention.head_dim * element_size


def bound(model: LanguageModel, *, rows: int, context: int, bytes_per_second: float) -> float:
    """Tokens a second that memory allows: rows / ((weights + rows · cache) / bandwidth)."""
    element_size = model.unembedding.element_size()
    read = weight_bytes(model) + rows * cache_bytes(model, context, element_size)
    return rows * bytes_per_second / read


def arithmetic(device: torch.device, dtype: torch.dtype, *, repeats: int = 7) -> float:
    """Floating-point operations a second of a large matrix product: the median."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.ones(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        float((a @ a)[0, 0])
        seconds.append(perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds)


def what_binds(seconds: float, memory_seconds: float, arithmetic_seconds: float) -> str:
    """One sentence about a step that took `seconds`, of which memory and arithmetic alone need the others."""
    needed = f"memory needs {memory_seconds * 1e3:.2f} ms of {seconds * 1e3:.2f} ms a step, arithmetic "
    needed += f"{arithmetic_seconds * 1e3:.2f} ms"
    if max(memory_seconds, arithmetic_seconds) < seconds / 2:
        return f"Small functions bind: {needed}; the rest is spent on starting them and waiting for one after another."
    if memory_seconds >= arithmetic_seconds:
        return f"Memory binds: {needed}; fewer bytes (bf16, int8) would be faster, and more rows cost little."
    return f"Arithmetic binds: {needed}; fewer parameters or rows would be faster."
