"""Tokenizers that others made: accepted if lossless, refused with a reason otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tsumiki.data import END_OF_TEXT, Tokenizer, TokenizerFile
from tsumiki.data.tokenizer.core import PROBES
from tsumiki.errors import UserError

TEXTS = ["The frog jumps over the frog.", "かえるがとんだ。", *PROBES]


def byte_level(end: str = "</s>", **options: Any) -> tokenizers.Tokenizer:
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=options.get("add_prefix_space", False))
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", end], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(TEXTS * 3, trainer=trainer)
    return inner


def byte_fallback(**options: Any) -> tokenizers.Tokenizer:
    tokens = [
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(options.get("bytes", 256))),
        "か",
        "え",
        "かえ",
        "<",
        "s",
        ">",
    ]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    inner = tokenizers.Tokenizer(models.BPE(vocabulary, [("か", "え")], byte_fallback=True))
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return inner


def load(inner: tokenizers.Tokenizer, tmp_path: Path, end_of_text: str | None = None) -> Tokenizer:
    path = tmp_path / "foreign.json"
    inner.save(str(path))
    return TokenizerFile(TokenizerFile.Config(path=str(path), end_of_text=end_of_text)).build([])


@pytest.mark.parametrize("foreign", [byte_level(), byte_fallback()], ids=["byte-level", "byte-fallback"])
def test_a_lossless_tokenizer_keeps_its_ids(foreign: tokenizers.Tokenizer, tmp_path: Path) -> None:
    loaded = load(foreign, tmp_path)
    assert loaded.vocab_size == foreign.get_vocab_size()
    assert loaded.end_of_text_id == foreign.token_to_id("</s>")
    for text in TEXTS:
        if "<s>" not in text:  # the foreign one makes special tokens out of text
            assert loaded.encode(text) == foreign.encode(text, add_special_tokens=False).ids
        assert loaded.decode(loaded.encode(text)) == text
    assert loaded.end_of_text_id not in loaded.encode(f"</s>{END_OF_TEXT}<s>")


def test_what_is_put_around_or_cut_off_is_dropped(tmp_path: Path) -> None:
    foreign = byte_level()
    plain = load(foreign, tmp_path).encode("The frog jumps over the frog.")
    foreign.enable_truncation(3)
    foreign.enable_padding(length=50)
    foreign.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    loaded = load(foreign, tmp_path)
    assert loaded.encode("The frog jumps over the frog.") == plain
    assert loaded.encode_batch(["The frog jumps over the frog.", ""]) == [plain, []]


def test_the_end_of_text_token_is_renamed_and_survives_saving(tmp_path: Path) -> None:
    loaded = load(byte_level("<stop>"), tmp_path, end_of_text="<stop>")
    assert loaded.end_of_text_id == 1
    loaded.save(tmp_path / "tokenizer.json")
    description = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert [token["content"] for token in description["added_tokens"]] == ["<s>", END_OF_TEXT]
    assert Tokenizer.load(tmp_path / "tokenizer.json").end_of_text_id == 1


def test_an_ordinary_token_can_end_texts(tmp_path: Path) -> None:
    foreign = byte_level()
    foreign.add_tokens([AddedToken("<fin>", special=False), AddedToken("frogs", special=False)])
    loaded = load(foreign, tmp_path, end_of_text="<fin>")
    assert loaded.end_of_text_id in loaded.special_ids
    assert loaded.end_of_text_id not in loaded.encode("<fin>")
    assert loaded.decode(loaded.encode("<fin> frogs")) == "<fin> frogs"


def unigram() -> tokenizers.Tokenizer:
    pieces = [("</s>", 0.0), ("<unk>", 0.0), *((f"<0x{byte:02X}>", -9.0) for byte in range(256))]
    return tokenizers.Tokenizer(models.Unigram(pieces, unk_id=1, byte_fallback=True))


def with_normaliser() -> tokenizers.Tokenizer:
    foreign = byte_level()
    foreign.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    return foreign


def with_dropout() -> tokenizers.Tokenizer:
    foreign = byte_level()
    foreign.model.dropout = 0.1
    return foreign


def with_greedy_token() -> tokenizers.Tokenizer:
    foreign = byte_level()
    foreign.add_tokens([AddedToken("frog", lstrip=True, special=False)])
    return foreign


def without_bytes() -> tokenizers.Tokenizer:
    foreign = tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "[EOS]": 1, "frog": 2}, unk_token="[UNK]"))
    foreign.pre_tokenizer = pre_tokenizers.Whitespace()
    return foreign


def that_drops_spaces() -> tokenizers.Tokenizer:
    foreign = byte_fallback()
    foreign.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return foreign


@pytest.mark.parametrize(
    ("foreign", "message"),
    [
        (with_normaliser(), r"foreign\.json has a normaliser \(Sequence\), which changes texts"),
        (with_dropout(), "has dropout"),
        (with_greedy_token(), "its token 'frog' swallows the spaces around it"),
        (byte_level(add_prefix_space=True), "is not lossless: .* comes back as"),
        (without_bytes(), "is a WordPiece model, which cannot give back every text"),
        (unigram(), "is a Unigram model, which cannot give back every text"),
        (byte_fallback(bytes=200), "has tokens for only 200 of the 256 bytes"),
        (that_drops_spaces(), "is not lossless"),
        (byte_level("<stop>"), r"has no token that ends a text \(looked for .*name it with `end_of_text`"),
    ],
)
def test_tokenizers_that_change_text_are_refused(foreign: tokenizers.Tokenizer, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(foreign, tmp_path)
    assert "\n" not in str(caught.value)


def test_an_empty_normaliser_changes_nothing(tmp_path: Path) -> None:
    foreign = byte_level()
    foreign.normalizer = normalizers.Sequence([])
    assert load(foreign, tmp_path).decode(load(foreign, tmp_path).encode("É")) == "É"


def test_end_of_text_that_is_not_there_or_there_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no token '<end>'"):
        load(byte_level(), tmp_path, end_of_text="<end>")
    foreign = byte_level(END_OF_TEXT)
    with pytest.raises(UserError, match="leave `end_of_text` out to use that one"):
        load(foreign, tmp_path, end_of_text="<s>")


@pytest.mark.parametrize("content", ["", "[]", '{"model": null}', '{"model": {}}'])
def test_no_tokenizer_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.json is no tokenizer\.json"):
        TokenizerFile(TokenizerFile.Config(path=str(path))).build([])
