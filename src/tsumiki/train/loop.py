"""The training loop. `train` sets a run up, `Training.run` is the loop, `Training.update` is one step of it.

A GPU works through what it is told while Python runs ahead, as long as Python does not ask for a result. So the loop
asks rarely: `update` leaves the loss and the gradient's norm on the device, and `Training.settle` reads those of all
steps since the last reading at once, for a line of metrics and before a checkpoint. Whether they are finite numbers is
found out then, up to `log_every` steps late; but a checkpoint is never written before all its steps have passed.
"""

import functools
import itertools
import math
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor

from tsumiki.data import Batch, PackedSource, PreparedData, TrainingStream, ValidationSet, prepare
from tsumiki.errors import UserError
from tsumiki.evaluate.bits_per_byte import BitsPerByte, by_language
from tsumiki.generate import Completion, Sampling
from tsumiki.generate.load import EVALUATION
from tsumiki.models import LanguageModel, build_model
from tsumiki.nn.feed_forward import MixtureOfExperts, Routing
from tsumiki.train.batches import Batches
from tsumiki.train.capture import Captured
from tsumiki.train.checkpoint import Checkpoints, Progress, write_json
from tsumiki.train.config import RunConfig, TrainConfig
from tsumiki.train.display import Display, make_display, silent
from tsumiki.train.distributed import Parallel, Replicas, Shards, World, build_parallel, join
from tsumiki.train.experts import collapse_warnings, load_figures, step_load
from tsumiki.train.gate import alarms, examine
from tsumiki.train.manifest import describe_session
from tsumiki.train.memory import fits, largest_that_fits, micro_batch_sizes, peak_memory, try_gradient
from tsumiki.train.metrics import Metrics, Unwritten
from tsumiki.train.optimizer import Optimizer, build_optimizer, clip_gradients
from tsumiki.train.run_directory import (
    check_may_begin,
    check_may_continue,
    check_same_data,
    holds_run,
    locked,
    write_run,
)
from tsumiki.train.schedule import build_schedule
from tsumiki.train.stop import Interrupted, StopSignals


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
                rows = find_micro_batch_size(model, optimizer, config.train, parallel)
            config = replace(config, train=replace(config.train, micro_batch_size=rows))
            display.say(f"Each process computes {rows} rows at once.")
        session = describe_session(progress.step, model, config.backend, diagnosis, world)
        with world.together():
            if world.leads:
                checkpoints.remove_unfinished()
                files = write_run(run_dir, config, data, diagnosis, session)
                metrics = Metrics(run_dir, step=progress.step, tensorboard=config.train.tensorboard)
            else:
                files, metrics = {}, Unwritten()
        display.say(
            f"Training {session['parameters']:,} parameters on {world.size} x {session['device']}, in "
            f"{config.train.precision}, with attention by {config.backend.attention}."
        )
        training = Training(
            config.train, model, optimizer, data, progress, checkpoints, files, metrics, display, parallel
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


def find_micro_batch_size(model: LanguageModel, optimizer: Optimizer, config: TrainConfig, parallel: Parallel) -> int:
    """The most rows at once that every process has memory for.

    Raises:
        UserError: there is none, or the model is sharded.
    """
    if isinstance(parallel, Shards):
        raise UserError(
            "With train.parallel: fsdp the processes compute together and cannot find a micro-batch each; name one by "
            "train.micro_batch_size."
        )
    device = model.unembedding.device
    model.train()
    try_rows = functools.partial(
        try_gradient, model, seq_len=config.seq_len, compiled=config.compile, autocast=autocast(config, device)
    )
    found = largest_that_fits(micro_batch_sizes(config.batch_size // parallel.world.size), try_rows)
    optimizer.zero_grad()
    found = parallel.world.least(found or 0)
    if found == 0:
        raise UserError(f"Not even one row of {config.seq_len} tokens fits into the memory of {device}: {SMALLER}")
    return found


SMALLER = "choose a smaller model, or a shorter train.seq_len."


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Matrix products in bfloat16, if the configuration wants them."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


class Training:
    """A training under way: what a step needs, and the loop over the steps."""

    def __init__(
        self,
        config: TrainConfig,
        model: LanguageModel,
        optimizer: Optimizer,
        data: PreparedData,
        progress: Progress,
        checkpoints: Checkpoints,
        files: Mapping[str, bytes],
        metrics: Metrics | Unwritten,
        display: Display,
        parallel: Parallel | None = None,
    ) -> None:
        self.config = config
        self.model = model
        self.parallel = parallel or Replicas()
        self.world = self.parallel.world
        self.device = model.unembedding.device
        self.loss = torch.compile(model.loss) if config.compile else model.loss
        self.compute = Captured(self.compute_step) if self.can_be_captured() else self.compute_step
        self.optimizer = optimizer
        self.schedule = build_schedule(config.schedule, config.steps)
        self.stream = TrainingStream(data.train, seq_len=config.seq_len, seed=config.seed)
        self.batches = Batches(
            self.stream, config.batch_size, first=progress.step, world=self.world, pin=self.device.type == "cuda"
        )
        self.micro_batch_size = config.micro_batch_size or config.batch_size // self.world.size
        rows = min(16, self.micro_batch_size)  # logits of no more rows than training has
        self.validation = [
            ValidationSet(source, seq_len=config.seq_len, max_bytes=config.evaluate_max_bytes, batch_size=rows)
            for source in data.validation
        ]
        self.data = data
        self.progress = self.logged = progress
        self.saved_step = progress.step
        self.checkpoints = checkpoints
        self.files = files
        self.metrics = metrics
        self.display = display
        self.unread: list[Tensor] = []  # on the device: the loss and the gradient's norm of each step since `settle`
        self.figures: dict[str, float] = {}  # those of the last step that `settle` read
        self.routings: list[Routing] = []
        self.clock_read = perf_counter()
        self.warned: set[str] = set()

    def run(self, stop: StopSignals) -> Mapping[str, Any]:
        """Train to the end, and return the figures of the last evaluation.

        A step that is to be evaluated is saved first, so that nothing is lost whatever happens in the evaluation. A
        resumed training evaluates the step that it begins with anew.
        """
        self.display.start(self.progress.step, self.config.steps)
        self.model.train()
        if self.config.compile and not fits(self.compile):
            raise self.out_of_memory()
        self.clock_read = perf_counter()
        while True:
            if self.due(self.config.checkpoint_every) or self.due(self.config.evaluate_every):
                self.save()
            if self.due(self.config.evaluate_every):
                evaluation = self.evaluate()
                if self.progress.step == self.config.steps:
                    return evaluation
            if not fits(self.update):
                raise self.out_of_memory()
            if self.due(self.config.log_every):
                self.log()
            if self.world.any(stop.received is not None):
                self.save()
                raise Interrupted(
                    f"Stopped after step {self.progress.step}, and everything is saved. "
                    f"Go on with: tsumiki train --resume {self.checkpoints.run_dir}",
                    stop.received or signal.SIGTERM,
                )

    def due(self, every: int) -> bool:
        """Whether something is to happen now that happens every so many steps and at the end."""
        return self.progress.step % every == 0 or self.progress.step == self.config.steps

    def compile(self) -> None:
        """Let PyTorch compile before the clock starts, by computing a gradient that nobody uses."""
        started = perf_counter()
        batch = self.stream.rows(self.world.share(range(self.config.batch_size)))
        ids, targets, documents = (rows[: self.micro_batch_size] for rows in to_device(batch, self.device))
        bound = bound_of_documents(batch.documents)
        loss = functools.partial(self.loss, max_documents=bound, routings=[])
        accumulate_gradients(
            loss, (ids, targets, documents), targets.numel(), len(ids), autocast(self.config, self.device)
        )
        self.optimizer.zero_grad()
        recorded = " Each step will be one CUDA graph." if isinstance(self.compute, Captured) else ""
        self.display.say(f"Compiled in {perf_counter() - started:.1f} s.{recorded}")

    def can_be_captured(self) -> bool:
        """Whether a compiled step can be recorded as a CUDA graph, too.

        Not with other processes, whom a step talks to, and not with a mixture of experts, where the host must know how
        many tokens each expert has.
        """
        mixture = isinstance(self.model.config.feed_forward, MixtureOfExperts.Config)
        return self.config.compile and self.device.type == "cuda" and self.world.size == 1 and not mixture

    def update(self) -> None:
        """One step: the gradient of the batch's loss, clipped, and the optimizer's update.

        What it computes depends on the weights, the optimizer's state and (seed, step) alone: the batch is a function
        of (seed, step), and the random generators that dropout uses are seeded with it, otherwise in each process.
        Nothing in it waits for the device.
        """
        step = self.progress.step
        batch = self.batches.next()
        torch.manual_seed((self.config.seed << 32) + step * self.world.size + self.world.rank)
        bound = bound_of_documents(batch.rows.documents)
        rows = to_device(batch.rows, self.device)
        self.unread.append(self.compute(bound, *rows, batch.num_targets, self.schedule(step)))
        self.progress = self.progress.after_update(batch.tokens)
        self.display.advance(self.progress.step)

    def compute_step(
        self,
        max_documents: int,
        ids: Tensor,
        targets: Tensor,
        documents: Tensor,
        num_targets: float | Tensor,
        scale: float | Tensor,
    ) -> Tensor:
        """What the device does in a step. Returns the loss and the gradient's norm before clipping, one tensor."""
        self.optimizer.zero_grad()
        self.routings = []
        loss = accumulate_gradients(
            functools.partial(self.loss, max_documents=max_documents, routings=self.routings),
            (ids, targets, documents),
            num_targets,
            self.micro_batch_size,
            autocast(self.config, self.device),
        )
        loss = self.world.sum(loss)
        self.parallel.sum_gradients(self.model.parameters())
        norm = clip_gradients(self.model.parameters(), self.config.clip_norm or math.inf, total=self.parallel.sum_parts)
        self.optimizer.step(scale)
        return torch.stack((loss, norm))

    def settle(self) -> None:
        """Wait for the device, read the figures of the steps since the last time, and add up the time that they took.

        Raises:
            UserError: in some step the loss or the gradient was no finite number; the first such step is named.
        """
        if not self.unread:
            return
        figures = torch.stack(self.unread).tolist()
        self.unread = []
        with self.world.together():
            for step, (loss, norm) in enumerate(figures, start=self.progress.step - len(figures)):
                if not (math.isfinite(loss) and math.isfinite(norm)):
                    raise self.poisoned(step, loss, norm)
        self.figures = dict(zip(("loss", "gradient_norm"), figures[-1], strict=True))
        now = perf_counter()
        self.progress = self.progress.after(now - self.clock_read)
        self.clock_read = now

    def expert_figures(self) -> dict[str, Any]:
        """How busy the experts were in the last step, if there are any. A router that has collapsed is told once."""
        if not self.routings:
            return {}
        load = self.world.sum(step_load(self.routings, self.model.config.num_layers))
        for warning in collapse_warnings(load, experts_per_token=self.routings[0].chosen.shape[1]):
            if warning not in self.warned:
                self.warned.add(warning)
                self.display.warn(warning)
        return load_figures(load)

    def log(self) -> None:
        """Write a line of metrics: the last step's figures, and the speed since the line before."""
        self.settle()
        now, before = self.progress, self.logged
        self.logged = now
        seconds = now.seconds - before.seconds
        line = {
            **self.figures,
            "learning_rate": self.schedule(now.step - 1) * self.config.optimizer.learning_rate,
            **self.expert_figures(),
            "tokens": now.tokens,
            "tokens_per_second": (now.total_tokens - before.total_tokens) / seconds,
            "data_wait_share": self.batches.waited() / seconds,
            "memory_bytes": peak_memory(self.device),
            "seconds": now.seconds,
        }
        self.metrics.write("train", now.step, line)
        seconds_a_step = seconds / (now.step - before.step)
        self.display.figures(now.step, line, seconds_left=(self.config.steps - now.step) * seconds_a_step)

    def save(self) -> None:
        """Write a checkpoint, unless there is nothing to save or this step has one. Only sound steps are saved."""
        if self.progress.step > self.saved_step:
            self.settle()
            self.checkpoints.save(self.progress, self.parallel.gather(self.model), self.optimizer, self.files)
            self.saved_step = self.progress.step
            self.clock_read = perf_counter()

    def evaluate(self) -> Mapping[str, Any]:
        """Let the process that leads evaluate the model with its whole weights, while the others wait."""
        model = self.parallel.gather(self.model)
        line: Mapping[str, Any] = {}
        with self.world.together():
            if model is not None and self.world.leads:
                line = self.evaluate_whole(model.to(self.device))
        self.clock_read = perf_counter()
        return line

    def evaluate_whole(self, model: LanguageModel) -> Mapping[str, Any]:
        """Bits per byte by language, and samples. The weights and the training's random numbers stay as they are."""
        model.eval()
        with autocast(self.config, self.device):
            results = by_language(model, self.validation)
        bits_per_byte = {language: result.bits_per_byte for language, result in results.items()}
        line = {
            "loss": mixture_loss(results, self.data.train),
            "bits_per_byte": bits_per_byte,
            "bits_per_character": {language: result.bits_per_character for language, result in results.items()},
            "end_of_text_nats": {language: result.end_of_text for language, result in results.items()},
            "alarms": alarms(bits_per_byte, self.progress.total_tokens),
            "samples": self.samples(model),
        }
        model.train()
        if self.progress.step > 0:
            write_json(self.checkpoints.at(self.progress.step) / EVALUATION, {"step": self.progress.step, **line})
        self.metrics.write("evaluation", self.progress.step, line)
        self.display.evaluation(self.progress.step, line)
        return line

    def samples(self, model: LanguageModel) -> list[dict[str, Any]]:
        """What the model writes after each prompt, at each temperature; the random numbers are the same every time."""
        settings = self.config.samples
        samples = []
        for prompt, temperature in itertools.product(settings.prompts, settings.temperatures):
            sampling = Sampling(temperature=temperature, seed=len(samples))
            pieces = Completion(model, self.data.tokenizer, prompt, sampling, max_tokens=settings.max_tokens)
            samples.append({"prompt": prompt, "temperature": temperature, "text": "".join(pieces)})
        return samples

    def poisoned(self, step: int, loss: float, norm: float) -> UserError:
        """What to say when the loss or the gradient of update `step` is no finite number. No checkpoint has seen it."""
        self.batches.close()  # the stream serves one caller at a time
        documents = self.stream.batch(step, self.config.batch_size).describe()
        report = self.checkpoints.run_dir / "not_finite.json"
        if self.world.leads:
            write_json(
                report, {"step": step + 1, "loss": str(loss), "gradient_norm": str(norm), "documents": documents}
            )
        return UserError(
            f"Step {step + 1} gave a loss of {loss} and a gradient of norm {norm}, from "
            f"{len(documents)} documents, {documents[0][1]} of {documents[0][0]} first; '{report}' lists them all. "
            f"No checkpoint has anything of it. {self.checkpoints.last_good()} "
            "Look at the documents, or begin a run with a lower learning rate or a longer warm-up."
        )

    def out_of_memory(self) -> UserError:
        """What to say when a step needed more memory than there is: how many rows at once would not have."""
        size, self.compute = self.micro_batch_size, self.compute_step  # a recorded step holds its memory
        self.optimizer.zero_grad()
        smaller = [rows for rows in micro_batch_sizes(self.config.batch_size // self.world.size) if rows < size]
        try_rows = functools.partial(
            try_gradient,
            self.model,
            seq_len=self.config.seq_len,
            compiled=self.config.compile,
            autocast=autocast(self.config, self.device),
        )
        sharded = isinstance(self.parallel, Shards)  # the processes would have to try together
        found = next(iter(smaller), None) if sharded else largest_that_fits(smaller, try_rows)
        way_out = f"not even one row fits: {SMALLER}"
        if found is not None:
            way_out = (
                f"{found} {'may fit' if sharded else 'fit'}; go on with: "
                f"tsumiki train --resume {self.checkpoints.run_dir} train.micro_batch_size={found}"
            )
        return UserError(
            f"Step {self.progress.step + 1} needs more memory than {self.device} has, with {size} rows at once; "
            f"{way_out}"
        )

    def close(self) -> None:
        """End the thread that makes batches."""
        self.batches.close()


def accumulate_gradients(
    loss: Callable[..., tuple[Tensor, Tensor]],
    rows: tuple[Tensor, Tensor, Tensor],
    num_targets: float | Tensor,
    micro_batch_size: int,
    autocast: AbstractContextManager[Any],
) -> Tensor:
    """Add the gradient of the batch's mean loss to the parameters, computing a few rows at a time.

    The mean is over the real targets of the whole batch: each micro-batch's sum of nats is divided by the whole batch's
    number of targets. So the gradient does not depend on how the rows are divided, even if they are padded unequally.

    Args:
        loss: a model's `loss`: summed nats, and their number, of some rows.
        rows: ids, targets and documents of the whole batch, or this process's rows of it, on the device.
        num_targets: real targets of the whole batch.
        micro_batch_size: rows computed at once.

    Returns:
        What the rows add to the mean loss in nats a target, on the device.
    """
    total = torch.zeros((), device=rows[0].device)
    for ids, targets, documents in zip(*(tensor.split(micro_batch_size) for tensor in rows), strict=True):
        with autocast:
            nats, _ = loss(ids, targets, documents=documents)
        (nats / num_targets).backward()
        total += nats.detach()
    return total / num_targets


def to_device(rows: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, targets and documents where the model is. From pinned memory, a GPU fetches them while it computes."""
    ids, targets, documents = (
        tensor.to(device, non_blocking=True) for tensor in (rows.ids, rows.targets, rows.documents)
    )
    return ids, targets, documents


def bound_of_documents(documents: Tensor) -> int:
    """A number that is not below that of the documents in the rows, and seldom another from batch to batch.

    A model is compiled, and a step recorded, anew for every bound. So there is room for a third more documents than
    these, and the bound is a multiple of 256.
    """
    number = len(documents) + int((documents[:, 1:] != documents[:, :-1]).sum())
    return -(-4 * number // (3 * 256)) * 256


def mixture_loss(results: Mapping[str, BitsPerByte], sources: Iterable[PackedSource]) -> float:
    """The validation loss in nats a token, with each source's weight in training given to its language.

    It is what training minimises, measured on other texts, and chooses the best checkpoint. It depends on the tokenizer
    and the mixture, so it is no figure to compare models by; that is what bits per byte of each language are for.
    """
    weights: defaultdict[str, float] = defaultdict(float)
    for source in sources:
        weights[source.language] += source.weight
    return sum(weights[language] * result.nats_per_token for language, result in results.items()) / sum(
        weights.values()
    )
