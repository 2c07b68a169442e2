"""The statistical floor: nobody can predict dice. Whoever does has seen them."""

import math

import torch
from torch import Tensor, nn

from tsumiki.doctor.classical import mean_loss, width
from tsumiki.doctor.subject import Subject, jittered, mode
from tsumiki.doctor.verdict import Verdict, check, failed, passed, warned

FACES, STEPS = 4, 100

ALARM_AFTER = 1_000_000
"""Tokens of training from which on `too_good` means something; before, an untrained model would raise it."""


@check("statistical", level="full", needs=("module",))
def noise_floor(subject: Subject) -> Verdict:
    """Trained on fresh throws of a die with four faces, no model gets below ln 4 nats.

    Trains a jittered copy for a hundred small steps, with the model's own loss, and then asks for 4,096 new throws.
    Without seeing them nobody is off by more than chance, about 1 %; 5 % below is an alarm.

    Finds what lets the model see its targets, whatever the road: the mask, the labels, the loss, the batch. This is
    the check that looks at training itself.
    Misses a leak that short rows do not show, or that a hundred steps are too few to make use of.
    """
    model = jittered(subject.model, torch.float32).train()
    rate = min(3e-3, 0.02 * width(model) ** -0.5)  # a wide model needs smaller steps
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    shuffled = torch.randperm(len(subject.ordinary), generator=torch.Generator().manual_seed(10))
    faces = subject.ordinary[shuffled[:FACES].to(subject.device)]

    def throws(rows: int, seed: int) -> Tensor:
        numbers = torch.randint(len(faces), (rows, 5), generator=torch.Generator().manual_seed(seed))
        return faces[numbers.to(faces.device)]

    for step in range(STEPS):
        loss = mean_loss(subject, model, throws(32, step))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad(), mode(model, training=False):
        found = mean_loss(subject, model, throws(1024, STEPS)).item()
    floor = math.log(len(faces))
    if found < 0.95 * floor:
        return failed("below_noise_floor", loss=found, floor=floor, step=STEPS)
    return passed(loss=found, floor=floor)


def too_good(bits_per_byte: float, *, tokens: int, language: str = "en") -> Verdict | None:
    """A warning where held-out text is predicted better than a small model can after so little training.

    The floor is 0.25 + 0.75 (tokens / 10⁶)^(-1/3) bits per byte, at most 2: 1.0 after a million tokens of training, 0.6
    after ten million, 0.33 after a billion. The best small models on the simplest stories stay above it: 110M
    parameters reach 0.29 on TinyStories after many billions. Three-byte scripts have fewer bits in a byte, so other
    languages than English get three quarters of the floor.

    Finds a model that sees its targets, whatever the road, and held-out text that was trained on.
    Misses a leak that is weak or not yet made use of, for which the checks before training are.

    Args:
        bits_per_byte: on text that is not trained on.
        tokens: seen in training so far.
        language: of the text.
    """
    floor = min(2.0, 0.25 + 0.75 * (max(tokens, 1) / 1e6) ** (-1 / 3)) * (1.0 if language == "en" else 0.75)
    if bits_per_byte >= floor:
        return None
    return warned("too_good", bits_per_byte=bits_per_byte, floor=floor, tokens=tokens, language=language)
