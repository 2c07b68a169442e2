"""Lesson 5: RoPE. Attention by itself does not know the order of words; turning queries and keys tells it.

Run it with `python lessons/05_rope.py`.
"""

import math

import torch

from tsumiki.nn import Rope, RopeConfig, rotate
from tsumiki.nn.rope import YarnScaling, scaled_frequencies

D = 32
torch.manual_seed(0)

# %% A hand of a clock
# Two coordinates are a hand of a clock. At position p it is turned by p · ω; its length stays.
# 二つの座標を時計の針とみなし、位置 p で角度 p·ω だけ回します。長さは変わりません。
rope = Rope(2, RopeConfig())
hand = torch.tensor([1.0, 0.0]).expand(1, 4, 1, 2)
turned = rotate(hand, rope.rotation(torch.arange(4)[None]))[0, :, 0]
for position, (a, b) in enumerate(turned.tolist()):
    print(f"position {position}: ({a:6.3f}, {b:6.3f})   cos {position} = {math.cos(position):6.3f}")
assert torch.allclose(turned.norm(dim=-1), torch.ones(4))

# %% Only the distance counts
# Turn a query by its position and a key by its own: their dot product depends on how far apart they are, not on where.
# クエリとキーをそれぞれの位置で回すと、内積は二つの距離だけで決まります。
rope = Rope(D, RopeConfig())
query, key = torch.randn(2, D)


def score(q_position: int, k_position: int) -> float:
    """The turned query times the turned key."""
    both = torch.stack([query, key])[None, :, None]
    q, k = rotate(both, rope.rotation(torch.tensor([[q_position, k_position]])))[0, :, 0]
    return (q @ k).item()


print("\nquery at   key at   distance   score")
for q_position, k_position in ((7, 3), (107, 103), (1007, 1003), (7, 4)):
    print(f"{q_position:8} {k_position:8} {q_position - k_position:10}   {score(q_position, k_position):7.4f}")
assert abs(score(7, 3) - score(1007, 1003)) < 1e-3

# %% Fast hands and slow hands
# A head of width D is D/2 hands. The first turns once in 6 positions, the last once in tens of thousands: seconds and
# hours of one clock.
# ヘッドの中には速い針から遅い針まで D/2 本あります。時計の秒針と時針のようなものです。
frequencies = scaled_frequencies(D, RopeConfig())
print("\nhand   positions a turn")
for pair in (0, 4, 8, 12, 15):
    print(f"{pair:4}   {2 * math.pi / frequencies[pair].item():14,.0f}")

# %% Longer than it was trained for
# Trained on 256 positions, the slow hands have shown a part of their circle only; beyond, the model meets angles that
# it has never seen. YaRN slows those hands, so that they stay where they were trained, and leaves the fast ones alone.
# 学習した長さを超えると、遅い針は見たことのない角度に入ります。YaRN は遅い針だけをさらに遅くします。
yarn = YarnScaling(factor=4.0, original_max_seq_len=256)
stretched = scaled_frequencies(D, RopeConfig(scaling=yarn))
print("\nhand   turns in 256   turns in 1024   turns in 1024 with YaRN   slowed by")
for pair in (0, 2, 4, 6, 8, 12, 15):
    plain, slowed = frequencies[pair].item(), stretched[pair].item()
    turns = [length * frequency / (2 * math.pi) for length, frequency in ((256, plain), (1024, plain), (1024, slowed))]
    print(f"{pair:4}   {turns[0]:12.2f}   {turns[1]:13.2f}   {turns[2]:23.2f}   {plain / slowed:9.2f}")
assert torch.isclose(frequencies[0], stretched[0])
assert torch.isclose(frequencies[-1] / 4, stretched[-1])
print("\nYaRN is for a trained model. Training a new one with it extends nothing; the students had tried that.")
