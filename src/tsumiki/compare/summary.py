"""From the runs to figures: plain data, which is written to `comparison.json`, printed, and drawn."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from statistics import mean, stdev
from typing import Any

from tsumiki.compare.experiment import Experiment, allowed, spread, value_at
from tsumiki.compare.jobs import OUTPUT
from tsumiki.compare.runs import Comparison, Trained
from tsumiki.compare.statistics import paired_difference, shared_level
from tsumiki.config import differences, dump
from tsumiki.doctor import History
from tsumiki.models import plan

JUDGED = "bits_per_byte"
"""The figure that decides: the mean of the languages' bits per byte, which no choice of tokenizer changes by itself."""


def summarise(comparison: Comparison) -> dict[str, Any]:
    """Everything that was measured, and what it shows about every arm against the first."""
    experiment, arms = comparison.experiment, comparison.arms
    level = shared_level(len(arms) - 1)
    measured = {trained.arm.name: measurements(trained) for trained in arms}
    comparable = [name for name in measured[arms[0].arm.name] if name != "loss" or one_tokenizer(arms)]
    first, *others = measured
    return {
        "name": comparison.name,
        "experiment": dump(experiment),
        "seeds": list(experiment.seeds),
        "varied": varied(arms),
        "conditions": conditions(experiment, arms),
        "arms": {trained.arm.name: describe(trained) for trained in arms},
        "figures": {
            name: {arm: spread_of(values[name]) for arm, values in measured.items()} for name in measured[first]
        },
        "interval_level": level,
        "differences": {
            name: {arm: difference(measured[arm][name], measured[first][name], level) for arm in others}
            for name in comparable
        },
        "broken": dict(comparison.broken),
    }


def one_tokenizer(arms: Sequence[Trained]) -> bool:
    """Whether nats a token mean the same in all arms."""
    return len({trained.tokenizer for trained in arms}) == 1


def measurements(trained: Trained) -> dict[str, list[float]]:
    """Each figure of the last evaluation, by seed: the judged one, those of each language, and the loss."""
    last = [history.evaluations[-1] for history in trained.histories.values()]
    return {
        JUDGED: [mean(line["bits_per_byte"].values()) for line in last],
        **{
            f"{unit}.{language}": [line[unit][language] for line in last]
            for unit in (JUDGED, "bits_per_character")
            for language in last[0][unit]
        },
        "loss": [line["loss"] for line in last],
    }


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    """A figure over the seeds."""
    return {"seeds": list(values), "mean": mean(values), "deviation": stdev(values) if len(values) > 1 else None}


def difference(arm: Sequence[float], reference: Sequence[float], level: float) -> dict[str, Any]:
    """How an arm differs from the first; bounds that a single seed does not have are None."""
    found = paired_difference(arm, reference, level=level)
    finite = {name: value if math.isfinite(value) else None for name, value in asdict(found).items()}
    return {**finite, "shown": found.shown}


def describe(trained: Trained) -> dict[str, Any]:
    """What an arm is and what it cost."""
    histories = list(trained.histories.values())
    figures = plan(trained.arm.config.model)
    return {
        "quantities": trained.arm.quantities,
        "text_bytes": text_bytes(histories[0]),
        "parameters": figures.total,
        "weight_bytes": figures.weight_bytes,
        "cache_bytes": figures.cache_bytes,
        "forward_flops": figures.forward_flops,
        "memory_bytes": highest_memory(histories),
        "seconds": mean(history.seconds(history.step) for history in histories),
        "learning_rate": trained.rate,
        "tried": {f"{rate:g}": loss for rate, loss in trained.tried.items()},
        "unverified": [
            seed
            for seed, history in trained.histories.items()
            if history.unexamined or history.receipt is None or not history.receipt["ok"]
        ],
        "tokenizer": trained.tokenizer,
        "order": {str(seed): order for seed, order in trained.order.items()},
        "side_by_side": any((history.directory / OUTPUT).is_file() for history in histories),
        "measured": trained.measured,
        "runs": {str(seed): str(history.directory) for seed, history in trained.histories.items()},
    }


def text_bytes(history: History) -> float:
    """How much text, in UTF-8 bytes, a run read: its tokens, at the mean bytes a token of its mixture."""
    sources = history.manifest["data"]["sources"]
    bytes_a_token = sum(source["share"] * source["train"]["bytes"] / source["train"]["tokens"] for source in sources)
    return history.tokens(history.step) * bytes_a_token


def highest_memory(histories: Sequence[History]) -> int | None:
    """What training took of a GPU's memory; None on a CPU, where only that of the whole process is known."""
    if not all(history.manifest["sessions"][-1]["device"].startswith("cuda") for history in histories):
        return None
    return max(line["memory_bytes"] for history in histories for line in history.updates)


def varied(arms: Sequence[Trained]) -> dict[str, dict[str, Any]]:
    """The keys in which the configurations differ, with each arm's value."""
    configs = {trained.arm.name: dump(trained.arm.config) for trained in arms}
    first, *others = configs.values()
    keys = dict.fromkeys(key for other in others for key, _, _ in differences(first, other))
    return {key: {name: value_at(config, key) for name, config in configs.items()} for key in keys}


def conditions(experiment: Experiment, arms: Sequence[Trained]) -> dict[str, Any]:
    """For each quantity: how far apart the arms are, and how far they were allowed to be, None where not matched."""
    tolerances = experiment.match.tolerances
    apart = {name: spread([arm.arm.quantities[name] for arm in arms]) for name in arms[0].arm.quantities}
    return {
        name: {"apart": share, "allowed": allowed(tolerances[name]) if name in tolerances else None}
        for name, share in apart.items()
    }
