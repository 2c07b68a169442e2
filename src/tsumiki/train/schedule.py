"""Learning-rate schedules: pure functions from the step to a factor between 0 and 1.

The factor scales every learning rate of the optimizer. Steps count from 0: update s (the one that makes step s + 1)
uses `schedule(s)`. Both schedules rise linearly for `warmup_steps` updates, and both reach `final_fraction` at the end
of training, one update after the last, so that no update is wasted on a rate of 0.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

from tsumiki.spec import spec


@spec
class ScheduleConfig:
    """What both schedules share."""

    kind: str
    warmup_steps: int = 0
    final_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}, but must be at least 0.")
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(f"final_fraction is {self.final_fraction}, but must be between 0 and 1.")


class WarmupStableDecay:
    """Warm-up, constant, linear cooldown (WSD, arXiv 2404.06395). With n steps, w of warm-up and c of cooldown:

        (s + 1) / w  for s < w,    1  until s = n - c,    then linearly from 1 to `final_fraction` at s = n

    c = `cooldown_fraction` of n, rounded. While the constant part lasts, the step count does not show in the factor:
    a run stopped there can be extended as if it had been longer from the start.
    """

    @spec
    class Config(ScheduleConfig):
        """Warm-up, constant, linear cooldown."""

        kind: Literal["wsd"] = "wsd"
        cooldown_fraction: float = 0.5

        def __post_init__(self) -> None:
            super().__post_init__()
            if not 0 <= self.cooldown_fraction <= 1:
                raise ValueError(f"cooldown_fraction is {self.cooldown_fraction}, but must be between 0 and 1.")

    def __init__(self, config: Config, steps: int) -> None:
        self.config = config
        self.steps = steps
        self.cooldown_steps = round(config.cooldown_fraction * steps)
        if config.warmup_steps + self.cooldown_steps > steps:
            raise ValueError(
                f"schedule: {config.warmup_steps} steps of warm-up and {self.cooldown_steps} of cooldown do not fit "
                f"into {steps} steps; lower warmup_steps or cooldown_fraction."
            )

    def __call__(self, step: int) -> float:
        """The factor of update `step`."""
        if step < self.config.warmup_steps:
            return (step + 1) / self.config.warmup_steps
        left = self.steps - step
        if left >= self.cooldown_steps:
            return 1.0
        return self.config.final_fraction + (1 - self.config.final_fraction) * left / self.cooldown_steps


class Cosine:
    """Warm-up, then half a cosine (arXiv 1608.03983, without restarts). With n steps, w of warm-up, f the final part:

    (s + 1) / w  for s < w,    then  f + (1 - f) · (1 + cos(π (s - w) / (n - w))) / 2
    """

    @spec
    class Config(ScheduleConfig):
        """Warm-up, then half a cosine."""

        kind: Literal["cosine"] = "cosine"

    def __init__(self, config: Config, steps: int) -> None:
        self.config = config
        self.steps = steps
        if config.warmup_steps >= steps:
            raise ValueError(
                f"schedule: {config.warmup_steps} steps of warm-up leave none of {steps} steps; lower warmup_steps."
            )

    def __call__(self, step: int) -> float:
        """The factor of update `step`."""
        if step < self.config.warmup_steps:
            return (step + 1) / self.config.warmup_steps
        progress = (step - self.config.warmup_steps) / (self.steps - self.config.warmup_steps)
        final = self.config.final_fraction
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, type[Any]] = {"wsd": WarmupStableDecay, "cosine": Cosine}
"""Every schedule by the `kind` that a configuration names it with."""


def build_schedule(config: ScheduleConfig, steps: int) -> Callable[[int], float]:
    """The schedule that `config` describes, for a training of `steps` updates."""
    return SCHEDULES[config.kind](config, steps)
