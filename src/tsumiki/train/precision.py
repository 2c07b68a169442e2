"""In which numbers a training computes."""

from contextlib import AbstractContextManager
from typing import Any

import torch

from tsumiki.train.config import TrainConfig


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Matrix products in bfloat16, if the configuration wants them."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
