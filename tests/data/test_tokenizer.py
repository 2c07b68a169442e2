"""The tokenizer: lossless on every text, scripts apart, the same from the same text."""

import hashlib
import itertools
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.conftest import make_documents

from tsumiki.config import parse
from tsumiki.data import END_OF_TEXT, Document, SampleSource, Tokenizer, TrainedTokenizer
from tsumiki.data.tokenizer.core import PROBES, byte_characters
from tsumiki.data.tokenizer.train import balanced_texts, train_tokenizer
from tsumiki.errors import UserError

any_text = st.text(st.characters(exclude_categories=["Cs"]))
story_like = st.lists(
    st.sampled_from(
        [END_OF_TEXT, "<|endoftext", "|>", "frog", " ", "\n", "かえる", "カエル", "蛙", "ー", "」", "🐸", "1"]
    )
).map("".join)


@given(text=any_text | story_like)
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.end_of_text_id not in ids
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode("utf-8")


@given(texts=st.lists(any_text | story_like, max_size=5))
def test_a_batch_is_its_texts(tokenizer: Tokenizer, texts: list[str]) -> None:
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_every_sample_story_comes_back(tokenizer: Tokenizer) -> None:
    stories = 0
    for language, split in itertools.product(("en", "ja"), ("train", "validation")):
        for document in SampleSource(SampleSource.Config(language=language)).documents(split):
            assert tokenizer.decode(tokenizer.encode(document.text)) == document.text
            stories += 1
    assert stories == 720


def test_vocabulary(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab_size == 8192
    assert tokenizer.special_ids == {tokenizer.end_of_text_id} == {0}
    assert tokenizer.token_bytes(0) == b""
    everything = [tokenizer.token_bytes(id) for id in range(1, 8192)]
    assert len(set(everything)) == 8191
    assert {bytes([byte]) for byte in range(256)} <= set(everything)


def script(character: str) -> str:
    if character in "。、！？「」『』（）":
        return f"mark {character}"
    name = unicodedata.name(character, "")
    if character.isdecimal():
        return "digit"
    kinds = {"HIRAGANA": "hiragana", "KATAKANA": "katakana", "CJK UNIFIED": "kanji", "IDEOGRAPHIC ITERATION": "kanji"}
    for prefix, kind in kinds.items():
        if name.startswith(prefix) and character != "ー":
            return kind
    return "letter" if character.isalpha() and character != "ー" else ""


def test_no_token_mixes_scripts_or_holds_a_mark_with_anything_else(tokenizer: Tokenizer) -> None:
    kinds = set()
    for id in range(1, tokenizer.vocab_size):
        text = tokenizer.token_bytes(id).decode("utf-8", errors="ignore")
        scripts = {script(character) for character in text} - {""}
        assert len(scripts) <= 1, text
        if any(kind.startswith("mark") for kind in scripts):
            assert len(text) == 1, text
        kinds |= scripts
    assert {"letter", "hiragana", "katakana", "kanji", "digit", "mark 。", "mark 」"} <= kinds


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("「スーパーへ行こう。」", ["「", "スーパー", "へ", "行", "こう", "。", "」"]),
        ("らーめん、3杯", ["らーめん", "、", "3", "杯"]),
        ("It's 12345 o’clock.", ["It", "'s", " ", "123", "45", " o", "’", "clock", "."]),
        ("a  b\n\nc", ["a", " ", " b", "\n\n", "c"]),
        ("か\u3099き ﾊﾞﾅﾅ 人々", ["か\u3099き", " ", "ﾊﾞﾅﾅ", " ", "人々"]),
        ("Ça va? 안녕! ♥️", ["Ça", " va", "?", " 안녕", "!", " ♥️"]),
    ],
)
def test_pieces(tokenizer: Tokenizer, text: str, pieces: list[str]) -> None:
    found = tokenizer._inner.pre_tokenizer.pre_tokenize_str(text)
    byte_of = {character: byte for byte, character in byte_characters().items()}
    assert [bytes(byte_of[character] for character in piece).decode() for piece, _ in found] == pieces


def test_training_is_deterministic_across_processes(tokenizer: Tokenizer) -> None:
    program = (
        "from tsumiki.data import SampleSource, TrainedTokenizer\n"
        "sources = [SampleSource(SampleSource.Config(language=l)) for l in ('en', 'ja')]\n"
        "print(TrainedTokenizer(TrainedTokenizer.Config()).build(sources).sha256)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == tokenizer.sha256


def test_the_order_of_documents_does_not_matter() -> None:
    documents = make_documents([f"frog number {n} of the pond" for n in range(50)])
    first = train_tokenizer(documents, vocab_size=270, train_bytes=500)
    assert first.sha256 == train_tokenizer(documents[::-1], vocab_size=270, train_bytes=500).sha256


def test_languages_give_equally_many_bytes() -> None:
    english = make_documents([f"{n:03d}" * 10 for n in range(100)])
    japanese = make_documents(["あ" * 10 + str(n) for n in range(10)], language="ja")
    for limit, each in ((10_000, 310), (95, 95), (1, 1)):
        texts = balanced_texts([*english, *japanese], limit)
        for script_of in ("0", "あ"):
            size = sum(len(text.encode()) for text in texts if (text[0] == "あ") == (script_of == "あ"))
            assert each <= size < each + 32, "the document that reaches the size is the last"
    assert balanced_texts([], 10) == []


def test_too_little_text_for_the_vocabulary() -> None:
    documents = make_documents(["frog frog frog"])
    with pytest.raises(
        UserError, match=r"gives a vocabulary of (\d+) tokens, not 1000.*set vocab_size to \1 or less"
    ) as caught:
        train_tokenizer(documents, vocab_size=1000, train_bytes=100)
    reached = re.search(r"of (\d+) tokens", str(caught.value))
    assert reached is not None
    assert train_tokenizer(documents, vocab_size=int(reached[1]), train_bytes=100).vocab_size == int(reached[1])


@pytest.mark.parametrize(("keys", "message"), [({"vocab_size": 256}, "need 257"), ({"train_bytes": 0}, "must be 1")])
def test_training_options(keys: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse({"kind": "train", **keys}, TrainedTokenizer.Config, where="test")


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    again = Tokenizer.load(path)
    assert again.sha256 == tokenizer.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [again.encode(probe) for probe in PROBES] == [tokenizer.encode(probe) for probe in PROBES]


def test_incomplete_characters_are_replaced(tokenizer: Tokenizer) -> None:
    ids = [id for id in range(257) if tokenizer.token_bytes(id) in (b"\xe3", b"\x81")]
    assert tokenizer.decode([*ids, 0, *tokenizer.encode("frog")]) == "\ufffdfrog"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b'{"model": {"vocab"', "is not JSON"),
        (b"[]", "holds no model with a vocabulary"),
        (b'{"model": null}', "holds no model with a vocabulary"),
        (b"\xff", "is not UTF-8 text"),
    ],
)
def test_files_that_are_no_tokenizer(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        Tokenizer.load(path)
    with pytest.raises(UserError, match=r"nowhere\.json' cannot be read: No such file"):
        Tokenizer.load(tmp_path / "nowhere.json")


def changed(tokenizer: Tokenizer, **keys: Any) -> str:
    return json.dumps({**json.loads(tokenizer.text), **keys})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"normalizer": {"type": "NFKC"}}, r"has a normaliser \(NFKC\), which changes texts"),
        ({"pre_tokenizer": None}, r"neither byte-level nor has it byte fallback"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}}, r"is not lossless"),
        ({"added_tokens": []}, r"has no special token '<\|endoftext\|>'"),
    ],
)
def test_tokenizers_that_cannot_be_used(tokenizer: Tokenizer, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tokenizer(changed(tokenizer, **keys), "x.json")


def test_a_document_is_only_text(tokenizer: Tokenizer) -> None:
    documents = [Document(f"before{END_OF_TEXT}after", "en", "s", "k")] * 3
    trained = train_tokenizer(documents, vocab_size=257, train_bytes=1000)
    assert trained.end_of_text_id not in trained.encode(documents[0].text)
