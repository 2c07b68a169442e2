"""Lesson 8: a mask that leaks. The mistake that tsumiki exists for: a wonderful loss, and a model that cannot write.

Run it with `python lessons/08_a_mask_that_leaks.py`.
"""

import math

import torch

from tsumiki.doctor import diagnose, sentence
from tsumiki.models import GPTOSS, LanguageModel, build_model
from tsumiki.nn.attention import GroupedQueryAttention, Mask
from tsumiki.nn.feed_forward import SwiGLUFeedForward
from tsumiki.train.optimizer import AdamW

V, T, B = 16, 12, 32
CONFIG = GPTOSS.Config(
    vocab_size=V,
    max_seq_len=T,
    d_model=48,
    num_layers=2,
    attention=GroupedQueryAttention.Config(num_heads=2, num_kv_heads=2, head_dim=24),
    feed_forward=SwiGLUFeedForward.Config(d_ff=96),
)
dice = torch.Generator().manual_seed(0)


def throw_dice() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of random tokens, and the token after each: nothing in the past says what comes next."""
    tokens = torch.randint(0, V, (B, T + 1), generator=dice)
    return tokens[:, :-1], tokens[:, 1:]


def train(model: LanguageModel, steps: int) -> None:
    """Train on fresh dice at every step, and print the loss."""
    optimizer = AdamW(AdamW.Config(learning_rate=5e-3), model.named_parameters())
    for step in range(steps + 1):
        nats, count = model.loss(*throw_dice())
        if step % (steps // 4) == 0:
            print(f"  step {step:4}  loss {nats / count:.3f}")
        optimizer.zero_grad()
        (nats / count).backward()
        optimizer.step(1.0)


# %% Two models, one line apart
# Both are the same model with the same weights. In one, attention has lost its causal mask, as the students' had.
# 同じモデルを二つ作り、片方だけマスクを外します。三人の学生のモデルで起きていたことです。
sound, leaking = build_model(CONFIG), build_model(CONFIG)
for layer in leaking.layers:
    layer.attention.mask = Mask(causal=False)

# %% Learning what cannot be learned
# The tokens are dice with 16 faces. The best loss there is is ln 16; only somebody who sees the throw does better.
# 16 面のサイコロの次の目は、誰にも当てられません。損失は ln 16 より下がらないはずです。
print(f"ln {V} = {math.log(V):.3f}, the best that is possible\nwith the mask:")
train(sound, 160)
print("without the mask, the loss looks wonderful:")
train(leaking, 160)

# %% When it has to write
# While training, the next token stood in the input, one place to the right. While writing, nothing stands there yet.
# 学習中は右隣に答えがありました。文章を書くときには、右隣には何もありません。
ids, targets = throw_dice()
with torch.no_grad():
    hits = (leaking(ids).argmax(dim=-1) == targets).float().mean(dim=0)
print(f"\nright guesses inside a row, answer in view:    {hits[:-1].mean():.0%}")
print(f"right guesses at the end, where writing happens: {hits[-1]:.0%} (blind luck: {1 / V:.0%})")
assert hits[:-1].mean() > 0.9
assert hits[-1] < 0.4

# %% What the doctor sees
# It needs no training: rewrite the tokens after a position, and no logit before it may move.
# 医者は学習を待ちません。ある位置より後を書き換えても、前のロジットは動かないはずです。
for name, model in (("with the mask", build_model(CONFIG)), ("without", leaking)):
    diagnosis = diagnose(model, checks=["causality"])
    print(f"\n{name}: {'nothing was found' if diagnosis.ok else 'FAILED'}, after {diagnosis.seconds:.1f} s")
    for verdict in diagnosis.failures:
        print(sentence(verdict, "en"), sentence(verdict, "ja"), sep="\n")
    assert diagnosis.ok == (name == "with the mask")
