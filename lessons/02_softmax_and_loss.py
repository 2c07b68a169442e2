"""Lesson 2: softmax and cross-entropy. From scores to probabilities, and from probabilities to a loss.

Run it with `python lessons/02_softmax_and_loss.py`.
"""

import math

import torch

from tsumiki.nn import cross_entropy, softmax

WORDS = ["cat", "dog", "sea", "moon"]

# %% From scores to probabilities
# A model gives each word a score, any number. exp makes it positive; dividing by the sum makes them add up to 1.
# モデルはまず語ごとに「スコア」を出します。softmax はそれを、合計が 1 の確率に変えます。
scores = torch.tensor([2.0, 1.0, 0.0, -1.0])
print("scores       ", dict(zip(WORDS, scores.tolist(), strict=True)))
print("probabilities", {word: round(p, 3) for word, p in zip(WORDS, softmax(scores, dim=0).tolist(), strict=True)})
print("adding 100 to every score changes nothing:", torch.allclose(softmax(scores + 100, 0), softmax(scores, 0)))

# %% The trap
# exp(1000) is no float. Subtracting the largest score first leaves the probabilities as they are, without overflow.
# そのまま exp を計算すると、大きなスコアであふれます。最大値を先に引けば、結果を変えずに防げます。
large = torch.tensor([1000.0, 999.0])
print("\nas the formula stands:", (large.exp() / large.exp().sum()).tolist())
print("tsumiki.nn.softmax:   ", [round(p, 4) for p in softmax(large, dim=0).tolist()])
assert softmax(large, dim=0).isfinite().all()

# %% The loss is surprise
# The loss of one prediction is -ln p of the word that really came: 0 for certainty, more the less it was expected.
# 損失は「実際に来た語にどれだけ驚いたか」です。確率 1 なら 0、思いがけないほど大きくなります。
print("\nif the next word is   loss = -ln p")
for index, word in enumerate(WORDS):
    loss = cross_entropy(scores[None], torch.tensor([index]))
    print(f"  {word:18}  {loss:.3f}")

# %% Where training starts
# A new model knows nothing and gives all V tokens about the same probability, so its loss is about ln V.
# A first loss far below ln V means that the model has seen the answers: the doctor checks this.
# 何も知らないモデルの損失は ln V です。最初からそれより低ければ、答えが漏れています。
print("\nvocabulary      ln V")
for vocab_size in (2048, 8192, 100_277):
    print(f"{vocab_size:10,}  {math.log(vocab_size):8.3f}")
no_idea = torch.zeros(1, 2048)
assert abs(cross_entropy(no_idea, torch.tensor([7])).item() - math.log(2048)) < 1e-5

# %% The gradient is the error itself
# It is p - 1 for the word that came and p for every other: push up what came, push down what was expected instead.
# 勾配は「確率 − 正解」だけです。来た語のスコアを上げ、期待しすぎた語のスコアを下げます。
scores.requires_grad_()
cross_entropy(scores[None], torch.tensor([2])).backward()
print("\ngradient  ", [round(g, 3) for g in scores.grad.tolist()])
expected = softmax(scores.detach(), dim=0) - torch.tensor([0.0, 0.0, 1.0, 0.0])
print("p - target", [round(g, 3) for g in expected.tolist()])
assert torch.allclose(scores.grad, expected)

# %% Targets that are none
# Padding has no next word. Its target is -100, and it moves neither the loss nor a weight.
# パディングの正解は -100 とし、損失にも勾配にも数えません。
two = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
print("\nmean loss of row 0 alone:       ", round(cross_entropy(two[:1], torch.tensor([1])).item(), 4))
print("with a padded row beside it:    ", round(cross_entropy(two, torch.tensor([1, -100])).item(), 4))
assert torch.equal(cross_entropy(two[:1], torch.tensor([1])), cross_entropy(two, torch.tensor([1, -100])))
