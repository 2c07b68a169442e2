"""Lesson 3: tokens. How English and Japanese text becomes numbers, and comes back without a scratch.

Run it with `python lessons/03_tokens.py`.
"""

from tsumiki.data import SampleSource
from tsumiki.data.tokenizer import train_tokenizer
from tsumiki.generate import TextStream

SOURCES = [SampleSource(SampleSource.Config(language=language)) for language in ("en", "ja")]
STORIES = [document for source in SOURCES for document in source.documents("train")]

# %% Bytes first
# Text is stored as bytes. A Latin letter has one, a kana or kanji has three. 256 symbols are enough to write anything.
# 文字はバイトとして保存されます。英字は 1 バイト、かなや漢字は 3 バイトです。
for text in ("cat", "ねこ", "猫"):
    print(f"{text}: {len(text)} characters, {len(text.encode('utf-8'))} bytes: {list(text.encode('utf-8'))}")

# %% Then merge what often stands together
# Byte-pair encoding starts with the bytes and makes the most frequent pair a symbol of its own, again and again.
# The larger the vocabulary, the fewer tokens a text takes, and the more of the model is vocabulary.
# BPE は、よく隣り合う組を新しい記号にまとめていきます。語彙が大きいほど、文は短いトークン列になります。
sentences = {"en": "The little fox looked at the moon.", "ja": "小さなきつねは、月を見ました。"}
for vocab_size in (257, 512, 2048):
    tokenizer = train_tokenizer(STORIES, vocab_size=vocab_size, train_bytes=300_000)
    counts = {language: len(tokenizer.encode(sentence)) for language, sentence in sentences.items()}
    print(f"\n{vocab_size:5} tokens in the vocabulary: {counts}")
    for sentence in sentences.values():
        pieces = [tokenizer.token_bytes(token) for token in tokenizer.encode(sentence)]
        print("   ", " | ".join(piece.decode("utf-8", errors="replace") for piece in pieces[:16]))

# %% Nothing is lost
# Every byte is a token, so there is no unknown word, and decoding gives back exactly what was there.
# どのバイトもトークンなので「未知語」はありません。元の文が一字一句そのまま戻ります。
held_out = [document.text for source in SOURCES for document in source.documents("validation")]
same = sum(tokenizer.decode(tokenizer.encode(text)) == text for text in held_out)
print(f"\n{same} of {len(held_out)} held-out stories come back as they were")
assert same == len(held_out)

# %% Half a character
# A rare kanji is not one token but several, each a part of its three bytes. Whoever decodes token by token shows �, as
# the students' model did. TextStream waits until a character is whole.
# 珍しい漢字は複数のトークンに割れます。トークンごとに復号すると � になるので、文字が揃うまで待ちます。
text = "鸚鵡"
tokens = tokenizer.encode(text)
print(f"\n{text} is {len(tokens)} tokens:", [tokenizer.token_bytes(token) for token in tokens])
print("token by token:", "".join(tokenizer.decode([token]) for token in tokens))
stream = TextStream(tokenizer)
print("through TextStream:", [stream.push(token) for token in tokens])
assert "\N{REPLACEMENT CHARACTER}" in tokenizer.decode(tokens[:1])
