"""What equal configurations do not prove: that the arms read the same text, in the same order, in the same tokens."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsumiki.compare.experiment import Arm, under
from tsumiki.data import PreparedData, TrainingStream, prepare
from tsumiki.errors import UserError
from tsumiki.files import read_json
from tsumiki.train.run_directory import MANIFEST, check_same_data

HASHED_BATCHES = 4

ORDER = ("data", "tokenizer", "train.batch_size", "train.seq_len")
"""The keys that may change which tokens a step sees."""


@dataclass(frozen=True)
class Conditions:
    """What an arm is trained and measured on, as SHA-256.

    Args:
        data: the prepared data.
        tokenizer: of `tokenizer.json`.
        order: of the token ids of the first batches, by seed.
        held_out: of each source's held-out text, sorted.
    """

    data: PreparedData
    tokenizer: str
    order: Mapping[int, str]
    held_out: tuple[str, ...]


def conditions_of(arm: Arm, seeds: Sequence[int], progress: Callable[[str, int], None]) -> Conditions:
    """Prepare an arm's data, or find it prepared, and look at what the arm will see."""
    config = arm.config
    data = prepare(config.data, config.tokenizer, progress=progress)
    order = {}
    for seed in seeds:
        stream = TrainingStream(data.train, seq_len=config.train.seq_len, seed=seed)
        batch = stream.rows(range(HASHED_BATCHES * config.train.batch_size))
        order[seed] = hashlib.sha256(batch.ids.numpy().tobytes()).hexdigest()
    held_out = sorted(source["validation"]["content_sha256"] for source in data.manifest["sources"])
    return Conditions(data, data.tokenizer.sha256, order, tuple(held_out))


def check_conditions(first: Arm, arm: Arm, before: Conditions, now: Conditions) -> None:
    """Refuse an arm that sees something else than the first, unless a key that is varied says so.

    Raises:
        UserError: "Arm 'b' has another tokenizer than 'a', though neither varies `tokenizer`: ..."
    """
    keys = (*first.keys, *arm.keys)
    if now.held_out != before.held_out:
        raise UserError(
            f"Arm '{arm.name}' is evaluated on other held-out text than '{first.name}': their figures cannot be "
            "compared. Give both the same `validation`."
        )
    if now.tokenizer != before.tokenizer and not any(under(key, "tokenizer") for key in keys):
        raise UserError(
            f"Arm '{arm.name}' has another tokenizer than '{first.name}', though neither varies `tokenizer`: it was "
            "trained on other text. Give both one from a file (tokenizer: {kind: file, path: ...})."
        )
    if now.order != before.order and not any(under(key, name) for key in keys for name in ORDER):
        raise UserError(
            f"Arm '{arm.name}' sees other tokens than '{first.name}' in its first steps, though neither varies "
            f"{', '.join(ORDER)}."
        )


def check_kept(arm: Arm, conditions: Conditions, run_dir: Path) -> None:
    """Refuse a run from earlier that was trained or evaluated on other text than lies in the files now.

    Raises:
        UserError: "The held-out text is not what 'runs/x/a/seed-0' was evaluated on: ..."
    """
    check_same_data(run_dir, conditions.data)
    sources = read_json(run_dir / MANIFEST)["data"]["sources"]
    if sorted(source["validation"]["content_sha256"] for source in sources) != list(conditions.held_out):
        raise UserError(
            f"The held-out text is not what '{run_dir}' was evaluated on: its content has changed. Put the old text "
            f"back, or move the run away, and arm '{arm.name}' is trained anew."
        )
