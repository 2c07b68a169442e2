"""The training loop: `Training.run` is the loop, `Training.update` is one step of it.

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
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from tsumiki.data import Batch, PackedSource, PreparedData, TrainingStream, ValidationSet
from tsumiki.doctor import Moment
from tsumiki.errors import UserError
from tsumiki.evaluate.bits_per_byte import BitsPerByte, by_language
from tsumiki.generate import Completion, Sampling
from tsumiki.generate.load import EVALUATION
from tsumiki.models import LanguageModel
from tsumiki.nn.feed_forward import MixtureOfExperts, Routing
from tsumiki.nn.position import beginnings
from tsumiki.train.batches import Batches
from tsumiki.train.capture import Captured
from tsumiki.train.checkpoint import Checkpoints, Progress, write_json
from tsumiki.train.config import TrainConfig
from tsumiki.train.display import Display
from tsumiki.train.distributed import Parallel, Replicas, Shards
from tsumiki.train.experts import collapse_warnings, load_figures, step_load
from tsumiki.train.gate import alarms, moment
from tsumiki.train.memory import SMALLER, compiled_loss, fits, largest_micro_batch, micro_batch_sizes, peak_memory
from tsumiki.train.metrics import Metrics, Unwritten
from tsumiki.train.optimizer import Optimizer, clip_gradients
from tsumiki.train.precision import autocast
from tsumiki.train.schedule import build_schedule
from tsumiki.train.stop import Interrupted, StopSignals

DISAGREEMENT = 0.01
"""How much a compiled step's loss may differ from the plain model's, relatively. In bf16 they differ by about 0.001."""


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
        from_scratch: bool = True,
    ) -> None:
        self.config = config
        self.from_scratch = from_scratch  # so that the tokens seen are all that the model has ever seen
        self.model = model
        self.parallel = parallel or Replicas()
        self.world = self.parallel.world
        self.device = model.unembedding.device
        self.loss = compiled_loss(model, config) if config.compile else model.loss
        self.compute = self.compute_step
        if self.can_be_captured():
            self.compute = Captured(self.compute_step, reads=lambda: (*model.parameters(), *model.buffers()))
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
        self.evaluated: Moment | None = None  # the last evaluation, if there were updates before it
        self.foreseen: dict[int, Tensor] = {}  # the losses that `foresee` computed, by update
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
        if self.config.compile and self.due(self.config.evaluate_every) and self.without_dropout():
            self.foreseen[step] = self.foresee(bound, rows, batch.num_targets)
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

    def without_dropout(self) -> bool:
        """Whether the same weights and rows always give the same loss."""
        return getattr(self.model.config, "dropout", 0.0) == 0.0

    @torch.no_grad()
    def foresee(self, max_documents: int, rows: tuple[Tensor, Tensor, Tensor], num_targets: int) -> Tensor:
        """The loss that the coming step must report, by the model as it stands: neither compiled nor recorded.

        It has just been evaluated, and perhaps saved. If the step then finds another loss, then something else is
        trained than is evaluated and saved: a compiler's bug, say, or memory that a recording should no longer read.
        Neither the losses nor the checks before the training would show that.
        """
        total = torch.zeros((), device=self.device)
        with autocast(self.config, self.device):
            for ids, targets, documents in zip(*(tensor.split(self.micro_batch_size) for tensor in rows), strict=True):
                total += self.model.loss(ids, targets, documents=documents, max_documents=max_documents)[0]
        return self.world.sum(total / num_targets)

    def settle(self) -> None:
        """Wait for the device, read the figures of the steps since the last time, and add up the time that they took.

        Raises:
            UserError: in some step the loss or the gradient was no finite number, or the loss was not the foreseen one;
                the first such step is named.
        """
        if not self.unread:
            return
        figures = torch.stack(self.unread).tolist()
        self.unread = []
        with self.world.together():
            for step, (loss, norm) in enumerate(figures, start=self.progress.step - len(figures)):
                if not (math.isfinite(loss) and math.isfinite(norm)):
                    raise self.poisoned(step, loss, norm)
                foreseen = self.foreseen.pop(step, None)
                if foreseen is not None and abs(loss - foreseen.item()) > DISAGREEMENT * loss:
                    raise self.estranged(step, loss, foreseen.item())
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
        loss, step, tokens = mixture_loss(results, self.data.train), self.progress.step, self.progress.total_tokens
        before, self.evaluated = self.evaluated, None
        if self.figures:
            self.evaluated = moment(step, loss, self.figures["loss"], tokens, self.data.train)
        line = {
            "loss": loss,
            "bits_per_byte": bits_per_byte,
            "bits_per_character": {language: result.bits_per_character for language, result in results.items()},
            "end_of_text_nats": {language: result.end_of_text for language, result in results.items()},
            "alarms": alarms(bits_per_byte if self.from_scratch else {}, tokens, before, self.evaluated),
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

    def estranged(self, step: int, loss: float, foreseen: float) -> UserError:
        """What to say when update `step` trains something else than the model that is evaluated and saved."""
        self.batches.close()
        return UserError(
            f"Step {step + 1} reports a loss of {loss:.4f} for rows on which the model, computed without the compiler, "
            f"has {foreseen:.4f}: what is trained is not what is evaluated and saved. This is a bug of tsumiki or of "
            f"PyTorch, and not of your configuration. {self.checkpoints.last_good()} To go on at once, set "
            "train.compile=false."
        )

    def out_of_memory(self) -> UserError:
        """What to say when a step needed more memory than there is: how many rows at once would not have."""
        size, self.compute = self.micro_batch_size, self.compute_step  # a recorded step holds its memory
        batch_size = self.config.batch_size // self.world.size
        smaller = [rows for rows in micro_batch_sizes(batch_size) if rows < size]
        sharded = isinstance(self.parallel, Shards)  # the processes would have to try together
        self.optimizer.zero_grad()
        if sharded:
            found = next(iter(smaller), None)
        else:
            found = largest_micro_batch(self.model, self.config, smaller, batch_size=batch_size)
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
    number = int(beginnings(documents).sum())
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
