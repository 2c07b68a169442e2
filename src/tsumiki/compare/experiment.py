"""An experiment: a question, and arms that differ in nothing but what is asked about.

```yaml
base: gpt-oss-1m
question: Does sharing keys and values cost quality?
vary:
  own: {model.attention.num_kv_heads: 4, model.feed_forward.d_ff: 300}
  shared: {model.attention.num_kv_heads: 2, model.feed_forward.d_ff: 344}
match: {non_embedding_params: 2%}
seeds: [0, 1, 2]
```
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tsumiki.config import differences, dump, load_mapping, parse, read_mapping
from tsumiki.config.files import TAGS
from tsumiki.errors import UserError
from tsumiki.models import plan
from tsumiki.spec import spec
from tsumiki.train import RunConfig

BASE = "base"
RATE = "train.optimizer.learning_rate"
DECIDED = {"name": "the arm's name and the seed", "train.seed": "`seeds`"}
"""Keys that no arm may vary, and what decides them."""

ARM = re.compile(r"\w[\w.-]*")
"""An arm's name: it becomes a directory's."""

PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")

QUANTITIES = {
    "non_embedding_params": "non-embedding parameters",
    "tokens": "training tokens",
    "flops": "training FLOPs",
}
"""What arms can be matched in."""


@spec
class Match:
    """What the arms must have equally much of, each as the most that the highest may exceed the lowest by: `2%`.

    Args:
        non_embedding_params: parameters outside the vocabulary and the positions.
        tokens: target tokens of the training, steps x batch_size x seq_len.
        flops: floating-point operations of the training: tokens x FLOPs a token, forward and backward, at its seq_len.
    """

    non_embedding_params: str | None = None
    tokens: str | None = None
    flops: str | None = None

    def __post_init__(self) -> None:
        if not self.tolerances:
            raise ValueError(f"match is empty, but must name what is equal: {', '.join(QUANTITIES)}.")
        for quantity, tolerance in self.tolerances.items():
            if PERCENT.fullmatch(tolerance) is None:
                raise ValueError(f"match.{quantity} is '{tolerance}', but must be a percentage such as 2%.")

    @property
    def tolerances(self) -> dict[str, str]:
        """The quantities that are named, each with its tolerance."""
        return {name: value for name in QUANTITIES if (value := getattr(self, name)) is not None}


@spec
class Experiment:
    """What `experiments/*.yaml` hold.

    Args:
        base: a preset's name, or a YAML file relative to the experiment's.
        question, question_ja: what the comparison is to answer, in English and, for a Japanese report, in Japanese.
        vary: the arms, the first of which the others are compared with: for each the keys in which it differs from the
            base, dotted, with their values. An arm may have a `base` of its own; then it may still differ from the
            first in the keys that the two arms name, and in no others.
        match: what the arms must have equally much of.
        common: dotted keys with values that all arms have in place of the base's.
        seeds: each arm is trained with each of them; three or more tell a difference from chance.
        learning_rates: tried by each arm on the first seed. The one with the lowest validation loss is used for all
            seeds, so that no arm is at a disadvantage because the rate suits another. With Muon, the rate of the other
            parameters is scaled along.
    """

    base: str
    question: str
    question_ja: str | None = None
    vary: dict[str, dict[str, Any]]
    match: Match
    common: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    learning_rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.vary) < 2:
            raise ValueError("vary names fewer than two arms; there is nothing to compare.")
        for arm in self.vary:
            if ARM.fullmatch(arm) is None:
                raise ValueError(f"vary.{arm} becomes a directory; name it with letters, digits, '-', '_' and '.'.")
        decided = DECIDED | ({RATE: "`learning_rates`"} if self.learning_rates else {})
        for place, changes in {"common": self.common, **{f"vary.{arm}": self.vary[arm] for arm in self.vary}}.items():
            for key in decided.keys() & changes.keys():
                raise ValueError(f"{place} sets {key}, which {decided[key]} decides; leave it out.")
        for name in ("seeds", "learning_rates"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names a value twice.")
        if not self.seeds:
            raise ValueError("seeds is empty; name at least one, better three.")
        if any(not 0 <= seed < 2**31 for seed in self.seeds):
            raise ValueError("seeds must be between 0 and 2**31 - 1.")
        if any(rate <= 0 for rate in self.learning_rates):
            raise ValueError("learning_rates must be above 0.")


@dataclass(frozen=True)
class Arm:
    """One arm, resolved.

    Args:
        name: its key in `vary`.
        config: its whole configuration, with the first of the seeds and of the learning rates.
        keys: the dotted keys that it varies.
    """

    name: str
    config: RunConfig
    keys: tuple[str, ...]

    @cached_property
    def quantities(self) -> dict[str, int]:
        """How much of each of `QUANTITIES` the arm has."""
        train = self.config.train
        figures = plan(replace(self.config.model, max_seq_len=train.seq_len))
        tokens = train.steps * train.batch_size * train.seq_len
        return {
            "non_embedding_params": figures.non_embedding,
            "tokens": tokens,
            "flops": tokens * figures.training_flops,
        }

    def run(self, seed: int, rate: float | None) -> RunConfig:
        """The configuration of one of the arm's runs; without a rate, with that of the configuration.

        It writes no samples at its evaluations, which take most of their time: `measure` does, once.
        """
        train = replace(self.config.train, seed=seed, samples=replace(self.config.train.samples, prompts=()))
        if rate is not None:
            train = replace(train, optimizer=with_rate(train.optimizer, rate))
        return replace(self.config, name=f"{self.config.name}-{self.name}-seed-{seed}", train=train)


def with_rate(optimizer: Any, rate: float) -> Any:
    """An optimizer's configuration with another learning rate; Muon's `rest` keeps its proportion to it."""
    changed = replace(optimizer, learning_rate=rate)
    if (rest := getattr(optimizer, "rest", None)) is not None:
        factor = rate / optimizer.learning_rate
        changed = replace(changed, rest=replace(rest, learning_rate=rest.learning_rate * factor))
    return changed


def load_experiment(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        UserError: the file is missing or no YAML, a key is unknown or missing, a value makes no sense.
    """
    if not path.is_file():
        raise UserError(f"There is no experiment '{path}'; name a YAML file such as those in `experiments/`.")
    return parse(read_mapping(path), Experiment, where=str(path))


def resolve(experiment: Experiment, path: Path) -> list[Arm]:
    """The arms of the experiment in `path`, as configurations that are known to differ in what is varied only.

    Raises:
        UserError: an arm's configuration is none, or it differs from the first arm's elsewhere, or the arms do not
            match: "arm 'b' differs from 'a' in train.batch_size (8 and 16), which neither varies: ..."
    """
    arms = []
    for name, changes in experiment.vary.items():
        keys = tuple(key for key in changes if key != BASE)
        settings = experiment.common | {key: changes[key] for key in keys}
        overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        base = beside(path, str(changes.get(BASE, experiment.base)))
        config = parse(load_mapping(base, overrides), RunConfig, where=f"{path}, arm '{name}'")
        train = replace(config.train, seed=experiment.seeds[0])
        if experiment.learning_rates:
            train = replace(train, optimizer=with_rate(train.optimizer, experiment.learning_rates[0]))
        arms.append(Arm(name, replace(config, name=path.stem, train=train), keys))
    for arm in arms[1:]:
        check_differences(arms[0], arm)
    check_match(experiment.match, arms)
    return arms


def beside(path: Path, base: str) -> str:
    """A base's name as it is meant: a file relative to the experiment's, or else a preset."""
    file = path.parent / base
    return str(file) if file.is_file() else base


def check_differences(first: Arm, arm: Arm) -> None:
    """Refuse an arm that differs from the first in anything that neither names.

    Raises:
        UserError: "arm 'b' differs from 'a' in train.batch_size (8 and 16), which neither of them varies: ..."
    """
    for key, old, new in undeclared(dump(first.config), dump(arm.config), (*first.keys, *arm.keys)):
        raise UserError(
            f"Arm '{arm.name}' differs from '{first.name}' in {key} ({json.dumps(old)} and {json.dumps(new)}), which "
            "neither of them varies: give both the same value, or name the key under `vary`."
        )


def undeclared(
    old: Mapping[str, Any], new: Mapping[str, Any], declared: Sequence[str]
) -> Iterator[tuple[str, Any, Any]]:
    """The differences of two plain configurations that neither are declared nor follow from one that is."""
    for key, before, after in differences(old, new):
        if not any(under(key, name) or follows(key, name, old, new) for name in declared):
            yield key, before, after


def follows(key: str, declared: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a key is there in one configuration only because they declare different members of a union.

    Where `model.attention.variant` is varied, `model.attention.gate` follows: plain attention has none.
    """
    union, _, tag = declared.rpartition(".")
    if tag not in TAGS or not key.startswith(f"{union}."):
        return False
    option = key.removeprefix(f"{union}.").partition(".")[0]
    return any(option not in value_at(config, union) for config in (old, new))


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key of a plain configuration; None where there is none."""
    value: Any = config
    for part in key.split("."):
        if isinstance(value, list):
            value = value[int(part)] if part.isdecimal() and int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


def under(key: str, name: str) -> bool:
    """Whether a dotted key is `name` or lies below it."""
    return f"{key}.".startswith(f"{name}.")


def check_match(match: Match, arms: Sequence[Arm]) -> None:
    """Refuse arms that have not equally much of what was to be matched.

    Raises:
        UserError: "The arms are not matched in non-embedding parameters: a has 1,000, b has 1,100, which is 10.0 %
            apart, and 2% is allowed. ..."
    """
    for quantity, tolerance in match.tolerances.items():
        amounts = {arm.name: arm.quantities[quantity] for arm in arms}
        apart = spread(amounts.values())
        if apart > allowed(tolerance):
            told = ", ".join(f"{name} has {amount:,}" for name, amount in amounts.items())
            raise UserError(
                f"The arms are not matched in {QUANTITIES[quantity]}: {told}, which is {apart:.1%} apart, and "
                f"{tolerance} is allowed; change an arm, or match.{quantity}."
            )


def spread(amounts: Any) -> float:
    """How much the highest exceeds the lowest, as a share of the lowest."""
    return max(amounts) / min(amounts) - 1


def allowed(tolerance: str) -> float:
    """A percentage as a share: "2%" is 0.02."""
    found = PERCENT.fullmatch(tolerance)
    assert found is not None  # the spec has checked it
    return float(found[1]) / 100
