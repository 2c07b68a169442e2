"""How much memory a training takes."""

import sys

import torch


def peak_memory(device: torch.device) -> int:
    """Bytes: on a GPU the most that PyTorch's tensors took so far, elsewhere the most that the process took.

    0 where the system does not say (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
