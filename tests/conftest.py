"""Settings that all tests share."""

import torch

# Tests run side by side, on small tensors; more threads than cores only make them wait for each other.
torch.set_num_threads(1)
