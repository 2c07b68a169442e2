"""Text that is valid while it is being written."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from generate.conftest import CONFIGS, toy_model
from tsumiki.data.tokenizer import Tokenizer
from tsumiki.generate.batch import Engine, Request
from tsumiki.generate.sampling import Sampling
from tsumiki.generate.utf8 import FREE, NEVER, START, after, transitions


@given(st.binary(max_size=8) | st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_the_automaton_agrees_with_python(data: bytes) -> None:
    try:
        data.decode("utf-8")
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert (after(START, data) == START) == valid


@given(st.characters(exclude_categories=["Cs"]), st.data())
def test_every_beginning_of_a_character_may_be_continued(character: str, data: st.DataObject) -> None:
    encoded = character.encode("utf-8")
    cut = data.draw(st.integers(0, len(encoded)))
    assert after(after(START, encoded[:cut]), encoded[cut:]) == START


def test_the_table_says_what_the_automaton_says(small_tokenizer: Tokenizer) -> None:
    table = transitions(small_tokenizer)
    assert table.shape == (9, small_tokenizer.vocab_size)
    for token in range(small_tokenizer.vocab_size):
        special = token in small_tokenizer.special_ids
        for state in range(FREE):
            expected = after(state, small_tokenizer.token_bytes(token))
            assert table[state, token] == ((START if state == START else NEVER) if special else expected)
        assert table[FREE, token] == FREE


def test_random_models_write_valid_text_only_if_they_are_told_to(small_tokenizer: Tokenizer) -> None:
    config = CONFIGS["gpt2"]
    model = toy_model(type(config)(**{**vars(config), "vocab_size": small_tokenizer.vocab_size}))
    end = small_tokenizer.end_of_text_id

    def texts(valid_utf8: bool) -> list[bytes]:
        engine = Engine(model, num_rows=8, follow=transitions(small_tokenizer))
        settings = [Sampling(temperature=2.0, seed=seed, valid_utf8=valid_utf8) for seed in range(40)]
        written = engine.run(Request([end], each, stop_ids=[end]) for each in settings)
        return [b"".join(map(small_tokenizer.token_bytes, text.tokens)) for text in written]

    free, constrained = texts(False), texts(True)
    assert sum(after(START, data) == NEVER for data in free) > 20
    assert all(after(START, data) != NEVER for data in constrained)
    assert torch.tensor([len(data) for data in constrained]).float().mean() > 5
