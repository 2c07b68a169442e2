"""Stop strings, lists of prompts, several samples."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsumiki.errors import UserError
from tsumiki.generate import load
from tsumiki.generate.streaming import StopStrings


@given(st.text("ab。", max_size=12), st.lists(st.text("ab。", min_size=1, max_size=4), max_size=3), st.data())
def test_a_text_ends_before_the_first_stop_string_wherever_its_pieces_end(text: str, stops, data) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stream = StopStrings(stops)
    pieces = [stream.push(text[a:b]) for a, b in itertools.pairwise([0, *cuts, len(text)]) if not stream.found]
    expected = min((text.find(stop) for stop in stops if stop in text), default=len(text))
    seen = "".join([*pieces, stream.finish()])
    if stream.found:
        assert any(stop in text for stop in stops)
        # A longer stop string that began earlier may still have been incomplete when a shorter one was found.
        assert text.startswith(seen)
        assert not any(stop in seen for stop in stops)
    else:
        assert seen == text[:expected] == text


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(UserError, match="A stop string is empty"):
        StopStrings(["x", ""])


def test_streams_and_lists_stop_at_the_same_place(run: Path) -> None:
    model = load(run)
    free = model.generate("Once", temperature=0)
    stop = free[5:8]
    expected = free[: free.index(stop)]
    completion = model.stream("Once", temperature=0, stop=[stop])
    assert "".join(completion) == expected
    assert completion.generation.stop_reason == "stop text"
    (written,) = model.generate(["Once"], temperature=0, stop=[stop])
    assert str(written) == expected
    assert written.stop_reason == "stop text"


def test_a_list_of_prompts_with_several_samples(run: Path) -> None:
    model = load(run)
    written = model.generate(["Once", "むかし、", ""], n=2, temperature=1.0, seed=5, max_tokens=8, num_rows=4)
    prompts = ["Once", "Once", "むかし、", "むかし、", "", ""]
    for number, (prompt, each) in enumerate(zip(prompts, written, strict=True)):
        assert each.text == model.generate(prompt, temperature=1.0, seed=5 + number, max_tokens=8)
    assert len({each.text for each in written}) > 4
    assert model.generate([]) == []


def test_the_engine_streams_what_a_generation_streams(run: Path) -> None:
    plain, fast = load(run), load(run, mode="eager")
    assert list(plain.stream("Once", seed=3)) == list(fast.stream("Once", seed=3))
    assert fast.engine(1).num_busy == 0


def test_valid_utf8_is_an_option_of_both(run: Path) -> None:
    model = load(run)
    completion = model.stream("む", temperature=2.0, valid_utf8=True, seed=4)
    text = "".join(completion)
    (written,) = model.generate(["む"], temperature=2.0, valid_utf8=True, seed=4)
    assert written.text == text
    assert written.invalid_bytes == completion.invalid_bytes <= 3  # at most a character that the context cut short
