"""A training from its configuration to its last step: what must be so before it begins, and what it is made of."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from tsumiki.data import PreparedData, prepare
from tsumiki.errors import UserError
from tsumiki.models import LanguageModel, build_model
from tsumiki.nn.feed_forward import MixtureOfExperts
from tsumiki.train.checkpoint import Checkpoints, Progress
from tsumiki.train.config import RunConfig, TrainConfig
from tsumiki.train.display import Display, make_display, silent
from tsumiki.train.distributed import Parallel, Shards, World, build_parallel, join
from tsumiki.train.gate import examine
from tsumiki.train.loop import Training
from tsumiki.train.manifest import describe_session
from tsumiki.train.memory import SMALLER, largest_micro_batch, micro_batch_sizes
from tsumiki.train.metrics import Metrics, Unwritten
from tsumiki.train.optimizer import build_optimizer
from tsumiki.train.run_directory import (
    check_may_begin,
    check_may_continue,
    check_same_data,
    holds_run,
    locked,
    write_run,
)
from tsumiki.train.start import start_from
from tsumiki.train.stop import StopSignals


@dataclass(frozen=True)
class RunResult:
    """What a training left behind.

    Args:
        checkpoint: the last one.
        evaluation: the last one's figures, as they stand in `metrics.jsonl`.
    """

    run_dir: Path
    checkpoint: Path
    evaluation: Mapping[str, Any]


def train(
    config: RunConfig,
    run_dir: Path,
    *,
    resume: bool | Literal["auto"] = False,
    skip_doctor: bool = False,
    find_micro_batch: bool = False,
    device: str | torch.device | None = None,
    display: Display | None = None,
) -> RunResult:
    """Train a model from its configuration, or go on training it.

    Args:
        config: everything that decides what is computed.
        run_dir: where the run lives; new, or with `resume` one that holds a run of the same configuration.
        resume: continue after the last checkpoint, on the CPU bit for bit as if there had been no interruption.
            "auto": if there is a run; otherwise begin one. For jobs that may be stopped and started again.
        skip_doctor: train without proof that the model is sound. The manifest records it.
        find_micro_batch: choose `train.micro_batch_size`, the largest that the device has memory for.
        device: such as `cpu` or `cuda`; the GPU if there is one.
        display: who shows what happens; what suits standard output if left out.

    Where `torchrun` started several processes, each of them calls this, and together they train one model. The first
    one writes and speaks for all; `run_dir` is the same directory for all.

    Raises:
        UserError: the model is not sound, the configuration does not fit the data or the run, the loss is no number any
            more, a checkpoint is damaged or cannot be written, or another process is gone.
        Interrupted: Ctrl-C or SIGTERM; everything was saved first.
    """
    world, device = join(device)
    parallel = build_parallel(config.train.parallel, world)
    display = display or (make_display() if world.leads else silent())
    checkpoints = Checkpoints(run_dir, keep_last=config.train.keep_last, world=world)
    with closing(display), ExitStack() as held, world.losing_nobody(f"Go on with: tsumiki train --resume {run_dir}"):
        with world.together():
            resume = holds_run(run_dir) if resume == "auto" else resume
            check_shares(config, world)
            if resume:
                check_may_continue(run_dir, config, checkpoints.last_step)
            else:
                check_may_begin(run_dir)
        with world.leader_first():
            data = prepare(config.data, config.tokenizer, progress=display.preparing)
        for warning in data.warnings:
            display.warn(warning)

        with world.together():
            check_vocabulary(config, data)
            model = build_model(config.model, backend=config.backend, seed=config.train.seed, device=device)
            diagnosis = examine(model, data, display) if world.leads and not skip_doctor else None
            origin = None
            if config.start_from is not None and not (resume and checkpoints.last is not None):
                origin = start_from(Path(config.start_from), model, data.tokenizer)
                display.say(f"Starting from the weights of {origin['checkpoint']}.")
        if skip_doctor:
            display.warn("the doctor was skipped, so nothing is known about this model. The manifest says so.")

        with world.together():
            if world.leads:
                held.enter_context(locked(run_dir))
                if not resume:
                    check_may_begin(run_dir)  # another process may have, and ended, in the meantime
        parallel.spread(model)
        optimizer = build_optimizer(config.train.optimizer, model.named_parameters())
        progress = Progress()
        if resume:
            check_same_data(run_dir, data)
            if checkpoints.last is not None:
                progress = checkpoints.restore(checkpoints.last, model, optimizer)
                display.say(f"Going on after {checkpoints.last}.")

        if find_micro_batch:
            with world.together():
                rows = find_micro_batch_size(model, config.train, parallel)
            config = replace(config, train=replace(config.train, micro_batch_size=rows))
            display.say(f"Each process computes {rows} rows at once.")
        session = describe_session(progress.step, model, config.backend, diagnosis, world, origin)
        with world.together():
            if world.leads:
                checkpoints.remove_unfinished()
                files = write_run(run_dir, config, data, diagnosis, session)
                metrics = Metrics(run_dir, step=progress.step, tensorboard=config.train.tensorboard)
            else:
                files, metrics = {}, Unwritten()
        several = f"{world.size} x " if world.size > 1 else ""
        display.say(
            f"Training {session['parameters']:,} parameters on {several}{session['device']}, in "
            f"{config.train.precision}, with attention by {config.backend.attention}."
        )
        training = Training(
            config.train,
            model,
            optimizer,
            data,
            progress,
            checkpoints,
            files,
            metrics,
            display,
            parallel,
            from_scratch=config.start_from is None,
        )
        with closing(metrics), closing(training), StopSignals() as stop:
            evaluation = training.run(stop)
    return RunResult(run_dir, checkpoints.at(config.train.steps), evaluation)


def check_shares(config: RunConfig, world: World) -> None:
    """Refuse what the processes cannot share.

    Raises:
        UserError: "train.batch_size is 4, which 3 processes cannot share equally: ..."
    """
    batch_size, micro_batch_size = config.train.batch_size, config.train.micro_batch_size
    if batch_size % world.size:
        raise UserError(
            f"train.batch_size is {batch_size}, which {world.size} processes cannot share equally: set it to a "
            f"multiple of {world.size}, or start another number of processes."
        )
    rows = batch_size // world.size
    if micro_batch_size is not None and rows % micro_batch_size:
        raise UserError(
            f"train.micro_batch_size is {micro_batch_size}, but must divide {rows}, the rows that each of "
            f"{world.size} processes has of train.batch_size, {batch_size}."
        )
    mixture = isinstance(config.model.feed_forward, MixtureOfExperts.Config)
    if mixture and config.train.parallel == "fsdp" and world.size > 1:
        # FSDP hands each layer copies of its arguments, so the layers' routings would not reach the balance loss.
        raise UserError("A mixture of experts cannot be sharded; set train.parallel: ddp.")


def check_vocabulary(config: RunConfig, data: PreparedData) -> None:
    """Refuse a tokenizer that does not fit the model.

    Raises:
        UserError: "The tokenizer has 8192 tokens, but model.vocab_size is 4096: ..."
    """
    if data.tokenizer.vocab_size != config.model.vocab_size:
        raise UserError(
            f"The tokenizer has {data.tokenizer.vocab_size} tokens, but model.vocab_size is {config.model.vocab_size}: "
            f"set model.vocab_size={data.tokenizer.vocab_size}, or choose another tokenizer."
        )


def find_micro_batch_size(model: LanguageModel, config: TrainConfig, parallel: Parallel) -> int:
    """The most rows at once that every process has memory for.

    Raises:
        UserError: there is none, or the model is sharded.
    """
    if isinstance(parallel, Shards):
        raise UserError(
            "With train.parallel: fsdp the processes compute together and cannot find a micro-batch each; name one by "
            "train.micro_batch_size."
        )
    model.train()
    batch_size = config.batch_size // parallel.world.size
    found = largest_micro_batch(model, config, micro_batch_sizes(batch_size), batch_size=batch_size)
    found = parallel.world.least(found or 0)
    if found == 0:
        device = model.unembedding.device
        raise UserError(f"Not even one row of {config.seq_len} tokens fits into the memory of {device}: {SMALLER}")
    return found
