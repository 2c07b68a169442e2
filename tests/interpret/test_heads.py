"""Scores of heads: 1 where a head was built for it, chance where it was not."""

import dataclasses

import pytest
import torch

from interpret.conftest import build
from tsumiki.interpret import record
from tsumiki.interpret.heads import (
    even_induction_score,
    first_token_scores,
    induction_scores,
    learned_sink_scores,
    previous_token_scores,
    repeated_texts,
    sink_share,
)
from tsumiki.models import GPTOSS, LanguageModel, build_model

IDS = torch.randint(0, 263, (31,), generator=torch.Generator().manual_seed(2)).tolist()


def test_the_model_built_by_hand_has_an_induction_head(induction_model: LanguageModel) -> None:
    (text,) = repeated_texts(induction_model, number=1)
    scores = induction_scores(record(induction_model, text).attention)
    assert scores[1, 0].item() == 1.0
    assert scores[0, 0].item() < 0.01


def test_a_repeated_text_holds_different_tokens_twice(induction_model: LanguageModel) -> None:
    for text in repeated_texts(induction_model, length=32):
        assert len(text) == 21  # what fits into the context
        assert text[0] == 0
        assert text[1:11] == text[11:]
        assert sorted(text[1:11]) == list(range(1, 11))


def test_its_first_block_reads_the_token_before(induction_model: LanguageModel) -> None:
    attention = record(induction_model, [0, 5, 3, 7, 1, 5, 3]).attention
    assert previous_token_scores(attention)[0, 0].item() == 1.0
    assert previous_token_scores(attention)[1, 0].item() < 0.5


def test_it_repeats_what_it_has_seen(induction_model: LanguageModel) -> None:
    """0 5 3 7 1 5 -> 3, and so on: what induction is for."""
    text = [0, 5, 3, 7, 1, 5, 3, 7]
    assert record(induction_model, text).logits[5:].argmax(dim=-1).tolist() == [3, 7, 1]


@pytest.mark.parametrize("seed", range(3))
def test_a_random_model_is_at_chance(seed: int) -> None:
    model = build("plain", seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.1)  # as training begins
    texts = repeated_texts(model, length=32)
    scores = torch.stack([induction_scores(record(model, text).attention) for text in texts]).mean(dim=0)
    chance = even_induction_score(32)
    assert chance == pytest.approx(0.02095, abs=1e-5)
    torch.testing.assert_close(scores, torch.full_like(scores, chance), rtol=0.1, atol=0)


def test_even_attention_by_hand() -> None:
    """n = 2: the second half is t = 3 and t = 4, which see 4 and 5 tokens."""
    assert even_induction_score(2) == pytest.approx((1 / 4 + 1 / 5) / 2)


def test_attention_patterns_by_hand() -> None:
    previous = torch.diag(torch.ones(4), -1)
    previous[0, 0] = 1.0
    first = torch.zeros(5, 5)
    first[:, 0] = 1.0
    even = torch.ones(5, 5).tril() / torch.arange(1, 6)[:, None]
    half = 0.5 * first
    attention = torch.stack([previous, first, even, half])[None]
    assert previous_token_scores(attention)[0].tolist() == pytest.approx([1, 0, (1 / 3 + 1 / 4 + 1 / 5) / 3, 0])
    assert first_token_scores(attention)[0].tolist() == pytest.approx(
        [1 / 4, 1, (1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 4, 0.5]
    )
    assert learned_sink_scores(attention)[0].tolist() == pytest.approx([0, 0, 0, 0.5], abs=1e-6)
    assert sink_share(attention) == 3 / 4  # even attention over few tokens counts, too: 0.32 is above 0.3


def test_a_sink_at_minus_ten_thousand_is_no_sink() -> None:
    """GPT-OSS with its sinks far down attends as the same weights without sinks do."""
    with_sinks = build("sinks")
    assert isinstance(with_sinks, GPTOSS)
    without = build_without_sinks(with_sinks)
    plain = record(without, IDS).attention
    pulled = record(with_sinks, IDS).attention
    assert (learned_sink_scores(pulled) > 0.01).all()
    with torch.no_grad():
        for name, parameter in with_sinks.named_parameters():
            if name.endswith("sinks"):
                parameter.fill_(-1e4)
    shut = record(with_sinks, IDS).attention
    torch.testing.assert_close(shut, plain, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(first_token_scores(shut), first_token_scores(plain))
    torch.testing.assert_close(learned_sink_scores(shut), torch.zeros(3, 4), rtol=0, atol=1e-6)


def build_without_sinks(model: GPTOSS) -> LanguageModel:
    """The same weights, without the sinks."""
    config = dataclasses.replace(model.config, attention=dataclasses.replace(model.config.attention, sinks=False))
    other = build_model(config).eval()
    other.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if not name.endswith("sinks")})
    return other
