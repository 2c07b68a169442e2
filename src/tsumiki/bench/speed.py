"""Timing writers of text. All writers of a comparison take turns, so that a busy machine is busy for all."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timed:
    """What a writer wrote, and how long it took.

    Attributes:
        texts: greedy tokens after each prompt, on the host.
        prefill_seconds: from the prompts to the first token of each.
        decode_seconds: for all further tokens.
    """

    texts: list[list[int]]
    prefill_seconds: float
    decode_seconds: float


Write = Callable[[Sequence[Sequence[int]], int], Timed]
"""(prompts of equal length, number of tokens after each) -> what was written, timed by the writer itself."""


@dataclass(frozen=True)
class Speed:
    """Medians of one writer.

    Attributes:
        turns: how often it was measured.
        prefill_seconds: from the prompts to the first token of each.
        decode_seconds: for all further tokens.
        tokens_per_second: decoded, of all rows together.
        tokens: of the first row.
    """

    rows: int
    prompt_tokens: int
    new_tokens: int
    turns: int
    prefill_seconds: float
    decode_seconds: float
    tokens_per_second: float
    tokens: list[int]


def compare(
    writers: Mapping[str, Write],
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    *,
    repeats: int = 5,
    seconds: float = math.inf,
) -> dict[str, Speed]:
    """Measure writers on the same prompts, in turns, after one round that is not counted.

    Each has `repeats` turns, or fewer if it has taken `seconds` before: a slow one must not take all the time.
    """
    texts = {name: write(prompts, new_tokens).texts for name, write in writers.items()}
    timed: dict[str, list[Timed]] = {name: [] for name in writers}
    for _ in range(repeats):
        for name, write in writers.items():
            if sum(each.prefill_seconds + each.decode_seconds for each in timed[name]) < seconds:
                timed[name].append(write(prompts, new_tokens))
    speeds = {}
    for name, rounds in timed.items():
        decode_seconds = statistics.median(each.decode_seconds for each in rounds)
        speeds[name] = Speed(
            rows=len(prompts),
            prompt_tokens=len(prompts[0]),
            new_tokens=new_tokens,
            turns=len(rounds),
            prefill_seconds=statistics.median(each.prefill_seconds for each in rounds),
            decode_seconds=decode_seconds,
            tokens_per_second=len(prompts) * (new_tokens - 1) / decode_seconds,
            tokens=texts[name][0],
        )
    return speeds
