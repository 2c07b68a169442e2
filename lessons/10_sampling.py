"""Lesson 10: sampling. The model gives probabilities; which word is written is a choice of its own.

Run it with `python lessons/10_sampling.py`.
"""

import torch

from tsumiki.generate import Sampling
from tsumiki.generate.sampling import choose
from tsumiki.nn import softmax

WORDS = ["fox", "cat", "moon", "sea", "stone", "tax"]
UNSURE = torch.tensor([3.0, 2.5, 1.5, 1.0, 0.0, -2.0])
SURE = torch.tensor([6.0, 1.0, 0.5, 0.0, 0.0, 0.0])


def shares(logits: torch.Tensor, sampling: Sampling, throws: int = 4000) -> list[float]:
    """How often each word is chosen, out of many throws."""
    chosen = choose(logits.expand(throws, -1), sampling, sampling.generator(torch.device("cpu")))
    return (chosen.bincount(minlength=len(WORDS)) / throws).tolist()


def show(title: str, values: list[float]) -> None:
    """A row of the table; a word that is never chosen is a dot."""
    print(f"{title:22}" + "".join(f"{value:8.1%}" if value else f"{'·':>8}" for value in values))


# %% What the model says
# "Once there was a little ..." has no right answer, only likelier and less likely ones.
# 「むかし、小さな……」の続きに正解はなく、もっともらしさの差があるだけです。
print(f"{'':22}" + "".join(f"{word:>8}" for word in WORDS))
show("the model's own", softmax(UNSURE, dim=0).tolist())

# %% Temperature
# Scores are divided by t before the softmax. Below 1 the likely get likelier, above 1 all get more alike; 0 always
# takes the likeliest, and a small model then soon repeats itself.
# 温度が低いと無難に、高いと奔放になります。0 は常に一番の候補で、小さなモデルは同じ言葉を繰り返しがちです。
print()
for temperature in (0.0, 0.5, 1.0, 2.0):
    show(f"temperature {temperature:g}", shares(UNSURE, Sampling(temperature=temperature)))
assert shares(UNSURE, Sampling(temperature=0.0))[0] == 1

# %% Leaving out the tail
# A rare wrong word derails a story. top-k keeps a number of words, top-p the fewest that reach a probability together,
# min-p all that are not too far below the likeliest.
# めったに出ない語が一つ出るだけで、お話は脱線します。そこで候補の裾を切ります。
print()
show("top-k 3", shares(UNSURE, Sampling(temperature=1.0, top_k=3)))
show("top-p 0.8", shares(UNSURE, Sampling(temperature=1.0, top_p=0.8)))
show("min-p 0.1", shares(UNSURE, Sampling(temperature=1.0, min_p=0.1)))
assert shares(UNSURE, Sampling(temperature=1.0, top_k=3))[3:] == [0, 0, 0]

# %% Why a number is no rule for all words
# Sure of one word, top-k 3 still lets two strange ones in; top-p and min-p look at the probabilities and do not.
# 確信があるときも top-k は余計な候補を残します。top-p と min-p は確率を見て絞ります。
print("\nthe model is sure:")
show("top-k 3", shares(SURE, Sampling(temperature=1.0, top_k=3)))
show("top-p 0.8", shares(SURE, Sampling(temperature=1.0, top_p=0.8)))
show("min-p 0.1", shares(SURE, Sampling(temperature=1.0, min_p=0.1)))
assert shares(SURE, Sampling(temperature=1.0, min_p=0.1))[0] == 1

# %% A seed repeats a story
# The same seed, settings and prompt choose the same words on the same device.
# シードが同じなら、同じお話になります。
again = [shares(SURE, Sampling(temperature=1.0, seed=5), throws=8) for _ in range(2)]
print("\nthe same seed, the same words:", again[0] == again[1])
assert again[0] == again[1]
