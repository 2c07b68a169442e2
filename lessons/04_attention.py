"""Lesson 4: attention. Each word asks a question, every word before it may answer, and a mask says who may not.

Run it with `python lessons/04_attention.py`.
"""

import math

import torch

from tsumiki.nn import softmax
from tsumiki.nn.attention import AttentionContext, Eager, Mask

WORDS = ["the", "cat", "sat", "down"]
T, D = len(WORDS), 8
torch.manual_seed(1)


def show(title: str, table: torch.Tensor) -> None:
    """Print a table with a row for each query and a column for each key."""
    print(f"\n{title}\n{'':8}" + "".join(f"{word:>8}" for word in WORDS))
    for word, row in zip(WORDS, table, strict=True):
        print(f"{word:8}" + "".join(f"{value:8.2f}" for value in row.tolist()))


# %% Questions, keys, values
# Each word has a query (what it looks for), a key (what it offers) and a value (what it hands over).
# The score of a pair is the dot product of query and key, divided by √D.
# どの語も、問い（クエリ）と見出し（キー）と中身（バリュー）を持ちます。問いと見出しの内積がスコアです。
q, k, v = torch.randn(3, T, D)
scores = q @ k.T / math.sqrt(D)
show("scores: row asks, column answers", scores)

# %% The mask
# To learn to predict the next word, a word must not see it. Positions behind the query get the score -inf.
# 次の語を当てる練習なので、先の語は見せません。未来のスコアを -∞ にします。
positions = torch.arange(T)
visible = Mask().allow(positions[:, None], positions[None, :])
scores = scores.masked_fill(~visible, -math.inf)
show("scores after the mask", scores)

# %% Weights, then a mean
# softmax turns each row into weights that add up to 1; -inf becomes exactly 0. The output is the values' weighted mean.
# softmax で各行を合計 1 の重みにします。-∞ はちょうど 0 になり、未来は混ざりません。
weights = softmax(scores, dim=-1)
show("weights", weights)
output = weights @ v
print("\nthe first word sees only itself:", torch.allclose(output[0], v[0]))
assert weights.triu(1).abs().sum() == 0

# %% The block says the same
# tsumiki's Eager does this for many rows and heads at once: [B, T, H, D] queries, [B, S, K, D] keys and values.
# 本物のブロックも、これを多くの行とヘッドについて一度に行うだけです。
eager = Eager()
context = AttentionContext(positions[None], documents=None, rotation=None, backend=eager, aligned=True)
one_head = [x[None, :, None] for x in (q, k, v)]
attended = context.attend(*one_head, mask=Mask(), k_pos=positions[None])
print("Eager gives the same:", torch.allclose(attended[0, :, 0], output, atol=1e-6))
assert torch.allclose(attended[0, :, 0], output, atol=1e-6)

# %% Why √D
# A dot product of D random pairs has standard deviation √D. Undivided, softmax would pick one word and ignore the rest.
# √D で割らないと、次元が増えるほどスコアが大きくなり、softmax が一語に偏ります。
print("\n   D   spread of q·k   largest weight, undivided   divided")
for width in (4, 64, 1024):
    q, k = torch.randn(2, 1000, 16, width)
    products = torch.einsum("nsd,nsd->ns", q, k)
    undivided, divided = softmax(products, -1), softmax(products / math.sqrt(width), -1)
    largest = [weights.amax(-1).mean() for weights in (undivided, divided)]
    print(f"{width:4}   {products.std():13.1f}   {largest[0]:25.2f}   {largest[1]:7.2f}")

# %% Other masks
# A sliding window sees the last few words; documents in one row see themselves only. It is the same function.
# 窓つきの層は直近だけを、詰め合わせた文書は自分だけを見ます。どれも同じ一つの関数です。
documents = torch.tensor([0, 0, 1, 1])
window = Mask(window=2).allow(positions[:, None], positions[None, :])
packed = Mask().allow(positions[:, None], positions[None, :], documents[:, None], documents[None, :])
for title, allowed in (("window of 2", window), ("two documents", packed)):
    print(f"\n{title}:", *("".join("■" if cell else "·" for cell in row) for row in allowed.tolist()), sep="\n  ")
