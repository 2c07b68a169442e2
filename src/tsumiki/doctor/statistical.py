"""The statistical floor: nobody can predict dice. Whoever does has seen them."""

import math

import torch
from torch import nn

from tsumiki.doctor.classical import mean_loss
from tsumiki.doctor.subject import Subject, jittered
from tsumiki.doctor.verdict import Verdict, check, failed, passed, warned

FACES, STEPS, LAST = 4, 100, 10


@check("statistical", level="full", needs=("module",))
def noise_floor(subject: Subject) -> Verdict:
    """Trained on fresh throws of a die with four faces, no model gets below ln 4 nats.

    Trains a jittered copy for a hundred small steps, with the model's own loss, and looks at the mean of ten steps:
    1,280 targets, which stay within about 1 % of ln 4; 5 % below is an alarm.

    Finds what lets the model see its targets, whatever the road: the mask, the labels, the loss, the batch. This is
    the check that looks at training itself.
    Misses a leak that short rows do not show, or that a hundred steps are too few to make use of.
    """
    model = jittered(subject.model, torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    floor = math.log(FACES)
    faces = subject.tokens(1, FACES, seed=10)[0]
    losses: list[float] = []
    for step in range(STEPS):
        throws = torch.randint(FACES, (32, 5), generator=torch.Generator().manual_seed(step)).to(faces.device)
        loss = mean_loss(subject, model, faces[throws])
        losses.append(loss.item())
        mean = sum(losses[-LAST:]) / len(losses[-LAST:])
        if step >= LAST and mean < 0.95 * floor:
            return failed("below_noise_floor", loss=mean, floor=floor, step=step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return passed(loss=sum(losses[-LAST:]) / LAST, floor=floor)


def too_good(bits_per_byte: float, *, tokens: int, language: str = "en") -> Verdict | None:
    """A warning where held-out text is predicted better than a small model can after so little training.

    The floor is 0.25 + 0.75 (tokens / 10⁶)^(-1/3) bits per byte: 1.0 after a million tokens of training, 0.6 after ten
    million, 0.33 after a billion. The best small models on the simplest stories stay above it: 110M parameters reach
    0.29 on TinyStories after many billions. Three-byte scripts have fewer bits in a byte, so other languages than
    English get three quarters of the floor.

    Finds a model that sees its targets, whatever the road, and held-out text that was trained on.
    Misses a leak that is weak or not yet made use of, for which the checks before training are.

    Args:
        bits_per_byte: on text that is not trained on.
        tokens: seen in training so far.
        language: of the text.
    """
    floor = (0.25 + 0.75 * (max(tokens, 1) / 1e6) ** (-1 / 3)) * (1.0 if language == "en" else 0.75)
    if bits_per_byte >= floor:
        return None
    return warned("too_good", bits_per_byte=bits_per_byte, floor=floor, tokens=tokens, language=language)
