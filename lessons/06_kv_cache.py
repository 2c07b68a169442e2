"""Lesson 6: the KV cache. Why writing a text need not read it all again for each word, and what that costs.

Run it with `python lessons/06_kv_cache.py`.
"""

import dataclasses
import time

import torch

from tsumiki.config import load
from tsumiki.models import build_model
from tsumiki.train import RunConfig

config = load("gpt-oss-1m", RunConfig).model
model = build_model(config, seed=0).eval()
ids = torch.randint(0, config.vocab_size, (1, 200), generator=torch.Generator().manual_seed(0))

# %% Keys and values do not change
# The future is hidden, so what came later cannot change an earlier key or value. Computed once, they can be kept.
# 未来は見えないので、後から何が来ても、前の語のキーとバリューは変わりません。だから取っておけます。
with torch.inference_mode():
    full = model(ids)
    cache = model.new_cache(batch_size=1)
    prefill = model(ids[:, :150], cache=cache)
    steps = [model(ids[:, [n]], cache=cache) for n in range(150, 200)]
cached = torch.cat([prefill, *steps], dim=1)
print(f"200 tokens at once, or 150 and then one by one: largest difference {(full - cached).abs().max():.1e}")
print(f"the cache holds {cache.length} tokens in {cache.num_bytes:,} bytes")
assert torch.allclose(full, cached, atol=1e-5)

# %% What it saves
# Without a cache, step n reads n tokens: 1 + 2 + ... + n. With it, every step reads one. Your times will differ.
# キャッシュがなければ、n 語目を書くたびに n 語を読み直します。あれば、毎回 1 語だけです。
print("\ntokens   read without   read with   seconds without   with")
for length in (35, 70, 140):
    with torch.inference_mode():
        start = time.perf_counter()
        for n in range(1, length + 1):
            model(ids[:, :n])
        without = time.perf_counter() - start
        start = time.perf_counter()
        cache = model.new_cache(batch_size=1, capacity=length)
        for n in range(length):
            model(ids[:, [n]], cache=cache)
        seconds = time.perf_counter() - start
    print(f"{length:6} {length * (length + 1) // 2:14,} {length:11} {without:17.2f} {seconds:6.2f}")

# %% What it costs, and why heads share
# A token costs 2 (key and value) · layers · K heads · width. Query heads that share a key/value head make it smaller.
# キャッシュの大きさは K（キー・バリューのヘッド数）に比例します。ヘッドの共有（GQA）はこのためにあります。
print("\nkey/value heads   bytes of cache for 256 tokens")
for num_kv_heads, name in ((4, "multi-head"), (2, "grouped-query"), (1, "multi-query")):
    attention = dataclasses.replace(config.attention, num_kv_heads=num_kv_heads)
    size = build_model(dataclasses.replace(config, attention=attention)).new_cache(1).num_bytes
    print(f"{num_kv_heads:15}   {size:10,}   {name}")
    assert size == 4 * 2 * config.num_layers * num_kv_heads * attention.head_dim * config.max_seq_len

# %% A window forgets
# A layer that sees the last 32 tokens only needs to keep 32: its cache is a ring that overwrites the oldest.
# 直近 32 語しか見ない層は、32 語分の輪（リングバッファ）で足ります。
sliding = build_model(dataclasses.replace(config, sliding_window=32), seed=0).eval()
cache = sliding.new_cache(batch_size=1)
print("\ntokens that each layer can hold, with a window of 32 on every other one:", [c.capacity for c in cache.layers])
with torch.inference_mode():
    pieces = [sliding(piece, cache=cache) for piece in ids.split([150, 1, 1, 48], dim=1)]
    difference = (torch.cat(pieces, dim=1) - sliding(ids)).abs().max()
print(f"and the text is still the same: largest difference {difference:.1e}")
assert difference < 1e-4
