"""Lesson 9: training, written out. Text becomes tokens, tokens become batches, and the loss comes down.

Run it with `python lessons/09_training.py`. `tsumiki train` does the same with more care.
"""

import math

import torch

from tsumiki.data import SampleSource
from tsumiki.data.tokenizer import train_tokenizer
from tsumiki.generate import Completion, Sampling
from tsumiki.models import GPTOSS, build_model
from tsumiki.nn.attention import GroupedQueryAttention
from tsumiki.nn.feed_forward import SwiGLUFeedForward
from tsumiki.train.optimizer import AdamW, clip_gradients

V, T, B, STEPS = 512, 64, 16, 120

# %% Text to tokens
# All stories end to end, each begun by the end-of-text token. The target of a token is the token after it.
# すべてのお話を一本につなぎ、先頭に区切りのトークンを置きます。正解は「次のトークン」です。
source = SampleSource(SampleSource.Config(language="en"))
stories = list(source.documents("train"))
tokenizer = train_tokenizer(stories, vocab_size=V, train_bytes=300_000)
text = [token for story in stories for token in (tokenizer.end_of_text_id, *tokenizer.encode(story.text))]
stream = torch.tensor(text)
print(f"{len(stories)} stories, {len(stream):,} tokens")

# %% A model
# Small enough to train in seconds. See lesson 4 for its attention and lesson 5 for how it knows positions.
# 数秒で学習できる大きさです。
config = GPTOSS.Config(
    vocab_size=V,
    max_seq_len=T,
    d_model=64,
    num_layers=2,
    attention=GroupedQueryAttention.Config(num_heads=4, num_kv_heads=2, head_dim=16, qk_norm=True),
    feed_forward=SwiGLUFeedForward.Config(d_ff=176),
)
model = build_model(config, seed=0)
print(
    f"{sum(weights.numel() for weights in model.parameters()):,} parameters; without any idea, loss = {math.log(V):.2f}"
)


def write() -> str:
    """What the model writes after a prompt."""
    sampling = Sampling(temperature=0.8, seed=3)
    return " ".join("".join(Completion(model.eval(), tokenizer, "The little", sampling, max_tokens=30)).split())


# %% The loop
# Draw rows, compute the loss and its gradient, clip it, step. The learning rate warms up, then falls to 0.
# 行を選び、損失と勾配を求め、少しだけ動かす。学習率は少しずつ上げてから下げます。
before = write()
optimizer = AdamW(AdamW.Config(learning_rate=1e-2), model.named_parameters())
draw = torch.Generator().manual_seed(0)
model.train()
print("\nstep   rate    loss   norm of the gradient")
for step in range(STEPS):
    starts = torch.randint(0, len(stream) - T - 1, (B,), generator=draw)
    rows = torch.stack([stream[start : start + T + 1] for start in starts.tolist()])
    nats, count = model.loss(rows[:, :-1], rows[:, 1:])
    loss = nats / count
    optimizer.zero_grad()
    loss.backward()
    norm = clip_gradients(model.parameters(), max_norm=1.0)
    scale = min((step + 1) / 10, (STEPS - step) / (STEPS - 10))
    optimizer.step(scale)
    if step % 20 == 0 or step == STEPS - 1:
        print(f"{step:4}   {scale:.2f}   {loss:5.2f}   {norm:6.2f}")

# %% What it learned
# Bits per byte compares models whatever their tokenizer: nats / ln 2, divided by the bytes instead of the tokens.
# 検証用のお話で測ります。「1 バイトあたりのビット数」なら、語彙の違うモデルどうしも比べられます。
held_out = [document.text for document in source.documents("validation")][:12]
total_nats = total_bytes = 0.0
with torch.no_grad():
    for story in held_out:
        ids = torch.tensor([tokenizer.end_of_text_id, *tokenizer.encode(story)][: T + 1])
        nats, _ = model.eval().loss(ids[None, :-1], ids[None, 1:])
        total_nats += nats.item()
        total_bytes += sum(len(tokenizer.token_bytes(token)) for token in ids[1:].tolist())
bits = total_nats / math.log(2) / total_bytes
no_idea = math.log2(V) * len(held_out) * T / total_bytes
print(f"\nbits per byte on the beginnings of stories not trained on: {bits:.2f} (without any idea: {no_idea:.2f})")
print("before:", before)
print("after: ", write())
assert bits < 0.8 * no_idea
