import pytest
import torch

from tsumiki.nn.precision import at_least_fp32


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16, torch.float32])
def test_narrow_numbers_are_computed_in_fp32(narrow):
    assert at_least_fp32(torch.ones(3, dtype=narrow)).dtype == torch.float32


def test_fp64_stays_fp64():
    assert at_least_fp32(torch.ones(3, dtype=torch.float64)).dtype == torch.float64
