"""The pytest plugin, as another project uses it."""

import pytest

pytest_plugins = ["pytester"]

SUITE = """
import torch

def cumulative(ids):  # a bag of all tokens so far
    return torch.nn.functional.one_hot(ids, 7).double().cumsum(dim=1)

def test_sound(tsumiki_doctor):
    diagnosis = tsumiki_doctor(cumulative, vocab_size=7, max_seq_len=19)
    assert diagnosis.ok

def test_broken(tsumiki_doctor):
    tsumiki_doctor(lambda ids: cumulative(ids.flip(1)).flip(1), vocab_size=7, max_seq_len=19)
"""


def test_the_fixture_fails_with_the_sentence(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    result = pytester.runpytest()  # an installed tsumiki is a plugin by its entry point
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*causality: The model sees the future*"])
    assert "diagnosis = diagnose(" not in result.stdout.str()  # no traceback into the doctor
