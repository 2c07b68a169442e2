"""Timing writers of text. All writers of a comparison take turns, so that a busy machine is busy for all."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

Write = Callable[[Sequence[Sequence[int]], int], list[list[int]]]
"""(prompts of equal length, number of tokens) -> that many greedy tokens after each prompt, on the host."""


@dataclass(frozen=True)
class Speed:
    """Medians of one writer.

    Attributes:
        prefill_seconds: from the prompts to the first token of each.
        decode_seconds: for all further tokens.
        tokens_per_second: decoded, of all rows together.
        tokens: of the first row.
    """

    rows: int
    prompt_tokens: int
    new_tokens: int
    prefill_seconds: float
    decode_seconds: float
    tokens_per_second: float
    tokens: list[int]


def compare(
    writers: Mapping[str, Write], prompts: Sequence[Sequence[int]], new_tokens: int, *, repeats: int = 5
) -> dict[str, Speed]:
    """Measure writers on the same prompts, in turns, after one round that is not counted.

    A text of one token is prefill alone; what a longer one takes beyond that is decoding.
    """
    prefills: dict[str, list[float]] = {name: [] for name in writers}
    wholes: dict[str, list[float]] = {name: [] for name in writers}
    texts = {name: write(prompts, new_tokens)[0] for name, write in writers.items()}
    for _ in range(repeats):
        for name, write in writers.items():
            start = perf_counter()
            write(prompts, 1)
            prefills[name].append(perf_counter() - start)
            start = perf_counter()
            write(prompts, new_tokens)
            wholes[name].append(perf_counter() - start)
    speeds = {}
    for name in writers:
        prefill = statistics.median(prefills[name])
        decode = statistics.median(wholes[name]) - prefill
        speeds[name] = Speed(
            rows=len(prompts),
            prompt_tokens=len(prompts[0]),
            new_tokens=new_tokens,
            prefill_seconds=prefill,
            decode_seconds=decode,
            tokens_per_second=len(prompts) * (new_tokens - 1) / decode,
            tokens=texts[name],
        )
    return speeds
