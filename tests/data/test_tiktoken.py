"""A tiktoken encoding and its conversion give equal ids for every text."""

import random
import re
import sys

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from tsumiki.data import SampleSource, TiktokenTokenizer, Tokenizer
from tsumiki.data.tokenizer.convert import convert, last_merge, oniguruma
from tsumiki.data.tokenizer.core import PROBES
from tsumiki.errors import UserError

PATTERN = (  # of cl100k_base
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
WORDS = [
    "the",
    " frog",
    "かえる",
    "蛙は",
    "ー",
    "12345",
    "\n\n",
    "   ",
    "'LL",
    "Ünï",
    "🐸",
    "-->",
    "\t",
    "안녕",
    "<|endoftext|>",
]


@pytest.fixture(scope="module")
def encoding(tokenizer: Tokenizer) -> tiktoken.Encoding:
    """Ranks as tiktoken has them, learned from the sample stories; ids with a gap, and specials in and after it."""
    ranks = {tokenizer.token_bytes(id): id - 1 for id in range(1, tokenizer.vocab_size)}
    ranks[b" never reached by merging"] = len(ranks)
    size = len(ranks)
    special = {"<|endoftext|>": size + 1, "<|fim|>": size + 2, "<|endofprompt|>": size + 20}
    return tiktoken.Encoding("test", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)


@pytest.fixture(scope="module")
def converted(encoding: tiktoken.Encoding) -> Tokenizer:
    return convert(encoding)


def test_ids_keep_their_places(encoding: tiktoken.Encoding, converted: Tokenizer) -> None:
    assert converted.vocab_size == encoding.n_vocab == len(encoding._mergeable_ranks) + 21
    assert converted.end_of_text_id == encoding.eot_token
    assert len(converted.special_ids) == 21
    for token, id in encoding._mergeable_ranks.items():
        assert converted.token_bytes(id) == token
    assert all(converted.token_bytes(id) == b"" for id in converted.special_ids)


def test_equal_ids_on_the_sample(encoding: tiktoken.Encoding, converted: Tokenizer) -> None:
    for language in ("en", "ja"):
        for document in SampleSource(SampleSource.Config(language=language)).documents("validation"):
            assert converted.encode(document.text) == encoding.encode_ordinary(document.text)


@given(text=st.text(st.characters(codec="utf-8")) | st.lists(st.sampled_from(WORDS)).map("".join))
def test_equal_ids_on_any_text(encoding: tiktoken.Encoding, converted: Tokenizer, text: str) -> None:
    ids = converted.encode(text)
    assert ids == encoding.encode_ordinary(text)
    assert converted.decode(ids) == text


def test_equal_ids_on_random_text_of_many_scripts(encoding: tiktoken.Encoding, converted: Tokenizer) -> None:
    generator = random.Random(0)
    blocks = [(0x20, 0x7E), (0x0, 0x20), (0xA0, 0x24F), (0x300, 0x52F), (0x5D0, 0x6FF), (0x2000, 0x2060)]
    blocks += [(0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFF00, 0xFFEF), (0x1F300, 0x1F6FF)]
    for _ in range(2000):
        block = generator.choice(blocks)
        letters = [chr(generator.randint(*block)) for _ in range(generator.randint(1, 30))]
        text = "".join(letter if generator.random() < 0.8 else generator.choice(WORDS) for letter in letters)
        assert converted.encode(text) == encoding.encode_ordinary(text), text


@pytest.mark.parametrize("text", [" never reached by merging", "1" * 100, " " * 100, "\n \n ", "a" * 300, *PROBES])
def test_equal_ids_at_the_edges(encoding: tiktoken.Encoding, converted: Tokenizer, text: str) -> None:
    assert converted.encode(text) == encoding.encode_ordinary(text)


def test_last_merge() -> None:
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"ab": 3, b"bc": 4, b"abc": 5, b"cab": 6, b"aca": 7}
    assert last_merge(b"abc", ranks) == (b"ab", b"c"), "ab has the lower rank"
    assert last_merge(b"cab", ranks) == (b"c", b"ab")
    assert last_merge(b"aca", ranks) is None, "no two of its bytes can be joined"
    assert last_merge(b"a", ranks) is None


@pytest.mark.parametrize(
    ("pattern", "spelled"),
    [
        (r"\p{N}{1,3}+|x", r"(?>\p{N}{1,3})|x"),
        (r"[^\s\]]{2,}+", r"(?>[^\s\]]{2,})"),
        (r"\s++$|[$\]]|\$", r"\s++\z|[$\]]|\$"),
        (r"\p{L}++ ?+\p{N}{1,3}", r"\p{L}++ ?+\p{N}{1,3}"),
    ],
)
def test_oniguruma(pattern: str, spelled: str) -> None:
    assert oniguruma(pattern) == spelled


def test_a_conversion_that_differs_is_refused(tokenizer: Tokenizer) -> None:
    ranks = {tokenizer.token_bytes(id): id - 1 for id in range(1, tokenizer.vocab_size)}
    special = {"<|endoftext|>": len(ranks)}
    # tiktoken drops what its pattern does not match; a lossless tokenizer cannot.
    drops = tiktoken.Encoding("drops", pat_str=r"\p{L}+", mergeable_ranks=ranks, special_tokens=special)
    with pytest.raises(UserError, match=r"'drops' cannot be converted: .* gets other ids"):
        convert(drops)


def test_no_such_encoding() -> None:
    with pytest.raises(UserError, match=r"There is no tiktoken encoding 'cl100'; known: .*cl100k_base"):
        TiktokenTokenizer(TiktokenTokenizer.Config(name="cl100")).build([])


def test_an_encoding_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> tiktoken.Encoding:
        raise ConnectionError(name)

    monkeypatch.setattr(tiktoken, "get_encoding", offline)
    with pytest.raises(UserError, match="'cl100k_base' could not be fetched; check the connection"):
        TiktokenTokenizer(TiktokenTokenizer.Config(name="cl100k_base")).build([])


def test_the_name_is_converted(monkeypatch: pytest.MonkeyPatch, encoding: tiktoken.Encoding) -> None:
    monkeypatch.setattr(tiktoken, "get_encoding", {"cl100k_base": encoding}.__getitem__)
    recipe = TiktokenTokenizer(TiktokenTokenizer.Config(name="cl100k_base"))
    assert recipe.build([]).vocab_size == encoding.n_vocab
    assert recipe.identity([]) == ["tiktoken", "cl100k_base"]


def test_tiktoken_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(UserError, match=re.escape("pip install 'tsumiki[tiktoken]'")):
        TiktokenTokenizer(TiktokenTokenizer.Config(name="cl100k_base")).build([])
