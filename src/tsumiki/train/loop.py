"""The training loop. `train` sets a run up, `Training.run` is the loop, `Training.update` is one step of it.

A GPU works through what it is told while Python runs ahead, as long as Python does not ask for a result. So the loop
asks rarely: `update` leaves the loss and the gradient's norm on the device, and `Training.settle` reads those of all
steps since the last reading at once, for a line of metrics and before a checkpoint. Whether they are finite numbers is
found out then, up to `log_every` steps late; but a checkpoint is never written before all its steps have passed.
"""

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from tsumiki.data import Batch, PackedSource, PreparedData, TrainingStream, ValidationSet, prepare
from tsumiki.errors import UserError
from tsumiki.evaluate.bits_per_byte import BitsPerByte, by_language
from tsumiki.generate import Completion, Sampling
from tsumiki.generate.load import choose_device
from tsumiki.models import LanguageModel, build_model
from tsumiki.nn.feed_forward import Routing
from tsumiki.train.batches import Batches
from tsumiki.train.checkpoint import EVALUATION, Checkpoints, Progress, write_json
from tsumiki.train.config import RunConfig, TrainConfig
from tsumiki.train.display import Display, make_display
from tsumiki.train.experts import collapse_warnings, load_figures, step_load
from tsumiki.train.gate import alarms, examine
from tsumiki.train.manifest import describe_session
from tsumiki.train.memory import peak_memory
from tsumiki.train.metrics import Metrics
from tsumiki.train.optimizer import Optimizer, build_optimizer, clip_gradients
from tsumiki.train.run_directory import check_may_begin, check_may_continue, check_same_data, write_run
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
    resume: bool = False,
    skip_doctor: bool = False,
    device: str | torch.device | None = None,
    display: Display | None = None,
) -> RunResult:
    """Train a model from its configuration, or go on training it.

    Args:
        config: everything that decides what is computed.
        run_dir: where the run lives; new, or with `resume` one that holds a run of the same configuration.
        resume: continue after the last checkpoint, on the CPU bit for bit as if there had been no interruption.
        skip_doctor: train without proof that the model is sound. The manifest records it.
        device: such as `cpu` or `cuda`; the GPU if there is one.
        display: who shows what happens; what suits standard output if left out.

    Raises:
        UserError: the model is not sound, the configuration does not fit the data or the run, the loss is no number any
            more, a checkpoint is damaged or cannot be written.
        Interrupted: Ctrl-C or SIGTERM; everything was saved first.
    """
    device = choose_device(device)
    display = display or make_display()
    checkpoints = Checkpoints(run_dir, keep_last=config.train.keep_last)
    if resume:
        check_may_continue(run_dir, config, checkpoints.last_step)
    else:
        check_may_begin(run_dir)

    data = prepare(config.data, config.tokenizer, progress=display.preparing)
    for warning in data.warnings:
        display.warn(warning)
    check_vocabulary(config, data)
    model = build_model(config.model, backend=config.backend, seed=config.train.seed, device=device)
    if skip_doctor:
        display.warn("the doctor was skipped, so nothing is known about this model. The manifest says so.")
    diagnosis = None if skip_doctor else examine(model, data, display)

    optimizer = build_optimizer(config.train.optimizer, model.named_parameters())
    progress = Progress()
    if resume:
        check_same_data(run_dir, data)
        checkpoints.remove_unfinished()
        if checkpoints.last is not None:
            progress = checkpoints.restore(checkpoints.last, model, optimizer)
            display.say(f"Going on after {checkpoints.last}.")

    session = describe_session(progress.step, model, config.backend, diagnosis)
    files = write_run(run_dir, config, data, diagnosis, session)
    display.say(
        f"Training {session['parameters']:,} parameters on {session['device']}, in {config.train.precision}, "
        f"with attention by {config.backend.attention}."
    )
    metrics = Metrics(run_dir, step=progress.step, tensorboard=config.train.tensorboard)
    training = Training(config.train, model, optimizer, data, progress, checkpoints, files, metrics, display)
    with closing(display), closing(metrics), closing(training), StopSignals() as stop:
        evaluation = training.run(stop)
    return RunResult(run_dir, checkpoints.at(config.train.steps), evaluation)


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
        metrics: Metrics,
        display: Display,
    ) -> None:
        self.config = config
        self.model = model
        self.device = model.unembedding.device
        self.loss = torch.compile(model.loss) if config.compile else model.loss
        self.optimizer = optimizer
        self.schedule = build_schedule(config.schedule, config.steps)
        self.stream = TrainingStream(data.train, seq_len=config.seq_len, seed=config.seed)
        self.batches = Batches(self.stream, config.batch_size, first=progress.step, pin=self.device.type == "cuda")
        rows = min(16, config.micro_batch_size or config.batch_size)  # logits of no more rows than training has
        self.validation = [
            ValidationSet(source, seq_len=config.seq_len, max_bytes=config.evaluate_max_bytes, batch_size=rows)
            for source in data.validation
        ]
        self.data = data
        self.progress = self.logged = progress
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
        if self.config.compile:
            self.compile()
        self.clock_read = perf_counter()
        while True:
            if self.due(self.config.checkpoint_every) or self.due(self.config.evaluate_every):
                self.save()
            if self.due(self.config.evaluate_every):
                evaluation = self.evaluate()
                if self.progress.step == self.config.steps:
                    return evaluation
            self.update()
            if self.due(self.config.log_every):
                self.log()
            if stop.received is not None:
                self.save()
                raise Interrupted(
                    f"Stopped after step {self.progress.step}, and everything is saved. "
                    f"Go on with: tsumiki train --resume {self.checkpoints.run_dir}",
                    stop.received,
                )

    def due(self, every: int) -> bool:
        """Whether something is to happen now that happens every so many steps and at the end."""
        return self.progress.step % every == 0 or self.progress.step == self.config.steps

    def compile(self) -> None:
        """Let PyTorch compile before the clock starts, by computing a gradient that nobody uses."""
        started = perf_counter()
        rows = self.stream.rows(range(self.config.micro_batch_size or self.config.batch_size))
        loss = functools.partial(self.loss, routings=[])
        accumulate_gradients(loss, rows, rows.targets.numel(), None, self.device, self.autocast())
        self.optimizer.zero_grad()
        self.display.say(f"Compiled in {perf_counter() - started:.1f} s.")

    def update(self) -> None:
        """One step: the gradient of the batch's loss, clipped, and the optimizer's update.

        What it computes depends on the weights, the optimizer's state and (seed, step) alone: the batch is a function
        of (seed, step), and the random generators that dropout uses are seeded with it. Nothing in it waits for the
        device.
        """
        step = self.progress.step
        batch = self.batches.next()
        torch.manual_seed((self.config.seed << 32) + step)

        self.optimizer.zero_grad()
        self.routings = []
        loss_of = functools.partial(self.loss, routings=self.routings)
        loss = accumulate_gradients(
            loss_of, batch.rows, batch.num_targets, self.config.micro_batch_size, self.device, self.autocast()
        )
        norm = clip_gradients(self.model.parameters(), self.config.clip_norm or math.inf)
        self.optimizer.step(self.schedule(step))

        self.unread.append(torch.stack((loss, norm)))
        self.progress = self.progress.after_update(batch.tokens)
        self.display.advance(self.progress.step)

    def settle(self) -> None:
        """Wait for the device, read the figures of the steps since the last time, and add up the time that they took.

        Raises:
            UserError: in some step the loss or the gradient was no finite number; the first such step is named.
        """
        if not self.unread:
            return
        figures = torch.stack(self.unread).tolist()
        self.unread = []
        for step, (loss, norm) in enumerate(figures, start=self.progress.step - len(figures)):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise self.poisoned(step, loss, norm)
        self.figures = dict(zip(("loss", "gradient_norm"), figures[-1], strict=True))
        now = perf_counter()
        self.progress = self.progress.after(now - self.clock_read)
        self.clock_read = now

    def autocast(self) -> AbstractContextManager[Any]:
        """Matrix products in bfloat16, if the configuration wants them."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def expert_figures(self) -> dict[str, Any]:
        """How busy the experts were in the last step, if there are any. A router that has collapsed is told once."""
        if not self.routings:
            return {}
        load = step_load(self.routings, self.model.config.num_layers)
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
        if self.progress.step > self.checkpoints.last_step:
            self.settle()
            self.checkpoints.save(self.progress, self.model, self.optimizer, self.files)
            self.clock_read = perf_counter()

    def evaluate(self) -> Mapping[str, Any]:
        """Bits per byte by language, and samples. The weights and the training's random numbers stay as they are."""
        self.model.eval()
        with self.autocast():
            results = by_language(self.model, self.validation)
        bits_per_byte = {language: result.bits_per_byte for language, result in results.items()}
        line = {
            "loss": mixture_loss(results, self.data.train),
            "bits_per_byte": bits_per_byte,
            "bits_per_character": {language: result.bits_per_character for language, result in results.items()},
            "end_of_text_nats": {language: result.end_of_text for language, result in results.items()},
            "alarms": alarms(bits_per_byte, self.progress.total_tokens),
            "samples": self.samples(),
        }
        self.model.train()
        if self.progress.step > 0:
            write_json(self.checkpoints.at(self.progress.step) / EVALUATION, {"step": self.progress.step, **line})
        self.metrics.write("evaluation", self.progress.step, line)
        self.display.evaluation(self.progress.step, line)
        self.clock_read = perf_counter()
        return line

    def samples(self) -> list[dict[str, Any]]:
        """What the model writes after each prompt, at each temperature; the random numbers are the same every time."""
        settings = self.config.samples
        samples = []
        for prompt, temperature in itertools.product(settings.prompts, settings.temperatures):
            sampling = Sampling(temperature=temperature, seed=len(samples))
            pieces = Completion(self.model, self.data.tokenizer, prompt, sampling, max_tokens=settings.max_tokens)
            samples.append({"prompt": prompt, "temperature": temperature, "text": "".join(pieces)})
        return samples

    def poisoned(self, step: int, loss: float, norm: float) -> UserError:
        """What to say when the loss or the gradient of update `step` is no finite number. No checkpoint has seen it."""
        self.batches.close()
        documents = self.batches.of_step(step).rows.describe()
        report = self.checkpoints.run_dir / "not_finite.json"
        write_json(report, {"step": step + 1, "loss": str(loss), "gradient_norm": str(norm), "documents": documents})
        return UserError(
            f"Step {step + 1} gave a loss of {loss} and a gradient of norm {norm}, from "
            f"{len(documents)} documents, {documents[0][1]} of {documents[0][0]} first; '{report}' lists them all. "
            f"No checkpoint has anything of it. {self.checkpoints.last_good()} "
            "Look at the documents, or begin a run with a lower learning rate or a longer warm-up."
        )

    def close(self) -> None:
        """End the thread that makes batches."""
        self.batches.close()


def accumulate_gradients(
    loss: Callable[..., tuple[Tensor, Tensor]],
    batch: Batch,
    num_targets: int,
    micro_batch_size: int | None,
    device: torch.device,
    autocast: AbstractContextManager[Any],
) -> Tensor:
    """Add the gradient of the batch's mean loss to the parameters, computing a few rows at a time.

    The mean is over the real targets of the whole batch: each micro-batch's sum of nats is divided by the whole batch's
    number of targets. So the gradient does not depend on how the rows are divided, even if they are padded unequally.

    Args:
        loss: a model's `loss`: summed nats, and their number, of some rows.
        num_targets: real targets of the whole batch.
        micro_batch_size: rows computed at once; None for all.

    Returns:
        The mean loss in nats a target, on the device.
    """
    rows, _ = batch.ids.shape
    total = torch.zeros((), device=device)
    for first in range(0, rows, micro_batch_size or rows):
        part = slice(first, first + (micro_batch_size or rows))
        ids, targets, documents = (
            tensor[part].to(device, non_blocking=True) for tensor in (batch.ids, batch.targets, batch.documents)
        )
        bound = bound_of_documents(batch.documents[part])
        with autocast:
            nats, _ = loss(ids, targets, documents=documents, max_documents=bound)
        (nats / num_targets).backward()
        total += nats.detach()
    return total / num_targets


def bound_of_documents(documents: Tensor) -> int:
    """How many documents the rows hold, rounded up to 256s: a compiled model is compiled anew for every new number."""
    number = len(documents) + int((documents[:, 1:] != documents[:, :-1]).sum())
    return -(-number // 256) * 256


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
