"""A rehearsal of a training for the doctor: its optimizer, and a few small steps of its loop and its checkpoints."""

import functools
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from rich.console import Console

from tsumiki.data import PreparedData
from tsumiki.models import LanguageModel
from tsumiki.train.checkpoint import Checkpoints, Progress
from tsumiki.train.config import RunConfig
from tsumiki.train.display import Display
from tsumiki.train.loop import Training
from tsumiki.train.metrics import Metrics
from tsumiki.train.optimizer import build_optimizer


class Rehearsal:
    """What a `tsumiki.doctor.Adapter` asks of a training, answered by the training loop itself.

    Optimizer, schedule, clipping, precision, data and checkpoints are the run's. The batches are smaller: four rows of
    at most 64 tokens, two at a time. Nothing is compiled.

    Args:
        config: the run's.
        data: what it trains on.
        directory: an empty one for the checkpoints. They stay in it.
    """

    def __init__(self, config: RunConfig, data: PreparedData, directory: Path) -> None:
        self.config = replace(
            config.train,
            steps=max(4, config.train.steps),
            batch_size=4,
            micro_batch_size=2,
            seq_len=min(64, config.train.seq_len),
            compile=False,
        )
        self.data = data
        self.directory = directory

    def optimizer(self, model: LanguageModel) -> SimpleNamespace:
        """The run's optimizer; its `step()` has the highest learning rate, which warm-up would hide."""
        optimizer = build_optimizer(self.config.optimizer, model.named_parameters())
        return SimpleNamespace(step=functools.partial(optimizer.step, 1.0))

    def train(self, model: LanguageModel, saved: Path | None, steps: int) -> Path:
        """Train a model so many steps further than the checkpoint `saved`, or from the start; returns the checkpoint.

        A start deletes the checkpoints of the training before.
        """
        if saved is None and self.directory.exists():
            shutil.rmtree(self.directory)
        checkpoints = Checkpoints(self.directory, keep_last=1)
        optimizer = build_optimizer(self.config.optimizer, model.named_parameters())
        progress = Progress() if saved is None else checkpoints.restore(saved, model, optimizer)
        self.directory.mkdir(exist_ok=True)
        quiet = Display(Console(quiet=True))
        with (
            torch.random.fork_rng(),
            closing(Metrics(self.directory, step=progress.step, tensorboard=False)) as metrics,
        ):
            training = Training(self.config, model, optimizer, self.data, progress, checkpoints, {}, metrics, quiet)
            with closing(training):
                for _ in range(steps):
                    training.update()
                training.save()
        return checkpoints.at(progress.step + steps)
