"""The alarm while training: held-out text that is predicted too well, too early."""

import pytest

from tsumiki.doctor import sentence, too_good


@pytest.mark.parametrize(
    ("bits_per_byte", "tokens", "language"),
    [
        (2.338, 286_720, "en"),
        (1.86, 286_720, "ja"),
        (1.067, 300_000_000, "en"),
        (1.277, 300_000_000, "ja"),
        (0.53, 1_000_000_000, "en"),
        (0.39, 2_000_000_000, "ja"),
        (0.29, 20_000_000_000, "en"),
    ],
)
def test_what_good_models_reach_is_no_alarm(bits_per_byte: float, tokens: int, language: str) -> None:
    assert too_good(bits_per_byte, tokens=tokens, language=language) is None


@pytest.mark.parametrize(
    ("bits_per_byte", "tokens", "language"),
    [(0.9, 1_000_000, "en"), (0.02, 5_000_000, "ja"), (0.4, 20_000_000, "en"), (0.2, 10_000_000_000, "en")],
)
def test_what_no_small_model_reaches_is_one(bits_per_byte: float, tokens: int, language: str) -> None:
    verdict = too_good(bits_per_byte, tokens=tokens, language=language)
    assert verdict is not None
    assert verdict.status == "warned"
    assert f"Held-out text ({language})" in sentence(verdict)
    assert "a mask that shows the future" in sentence(verdict)


def test_an_untrained_model_guesses() -> None:
    assert too_good(3.6, tokens=0) is None
    assert too_good(1.9, tokens=0) is not None
