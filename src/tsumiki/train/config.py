"""The configuration of a run: which model, tokenizer and data, and how it is trained."""

from typing import Annotated, Literal

from tsumiki.config import OneOf
from tsumiki.data import TOKENIZERS, DataConfig, TokenizerConfig
from tsumiki.generate import Sampling
from tsumiki.kernels import BackendConfig
from tsumiki.models import ModelConfig
from tsumiki.spec import spec
from tsumiki.train.optimizer import OPTIMIZERS, OptimizerConfig
from tsumiki.train.schedule import SCHEDULES, ScheduleConfig, WarmupStableDecay, build_schedule


@spec
class SamplesConfig:
    """The texts that the model writes at every evaluation, so that a person can watch it learn.

    Args:
        prompts: the beginnings that it continues.
        temperatures: one text for each prompt and temperature; 0 is greedy.
        max_tokens: how long a text may get.
    """

    prompts: tuple[str, ...] = ("Once upon a time", "むかしむかし、")
    temperatures: tuple[float, ...] = (0.0, 1.0)
    max_tokens: int = 64

    def __post_init__(self) -> None:
        for temperature in self.temperatures:
            Sampling(temperature=temperature)  # says so if it is none
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}, but must be at least 1.")


@spec
class TrainConfig:
    """How a model is trained.

    Args:
        steps: updates in all.
        batch_size: rows of `seq_len` tokens that an update sees, in all processes together.
        micro_batch_size: rows that a process computes at once, a divisor of its rows; fewer need less memory and give
            the same update. None: all of them.
        seq_len: tokens a row.
        optimizer, schedule: see `tsumiki.train.optimizer` and `tsumiki.train.schedule`.
        clip_norm: highest norm of the whole gradient; None leaves it as it is (its norm is reported all the same).
        precision: `fp32`, or `bf16` for matrix products in bfloat16 by autocast; weights and optimizer stay fp32.
        parallel: what several processes do that `torchrun` started: `ddp`, each holds the model and computes a part of
            the batch, or `fsdp`, each also holds only a part of the model. See `tsumiki.train.distributed`.
        compile: compute the loss through `torch.compile`.
        activation_memory: which share of what a compiled step would keep for the backward pass it may keep; it computes
            the rest again, the cheapest first. About 0.8 costs little and saves nearly half of the memory; 1.0 is
            the fastest.
        seed: of the initial weights, the order of the data, and dropout.
        log_every: steps between two lines of metrics.
        evaluate_every: steps between two evaluations; the beginning and the end are evaluated, too.
        evaluate_max_bytes: how much validation text an evaluation reads, in UTF-8 bytes for each source.
        checkpoint_every: steps between two checkpoints; every evaluated step and the end get one, too.
        keep_last: how many of the latest checkpoints to keep; the best is kept besides.
        samples: what the model writes at every evaluation.
        tensorboard: write TensorBoard events beside `metrics.jsonl`.
    """

    steps: int
    batch_size: int
    micro_batch_size: int | None = None
    seq_len: int
    optimizer: Annotated[OptimizerConfig, OneOf(OPTIMIZERS, tag="kind")]
    schedule: Annotated[ScheduleConfig, OneOf(SCHEDULES, tag="kind")] = WarmupStableDecay.Config()
    clip_norm: float | None = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    activation_memory: float = 1.0
    seed: int = 0
    log_every: int = 10
    evaluate_every: int = 250
    evaluate_max_bytes: int = 200_000
    checkpoint_every: int = 250
    keep_last: int = 2
    samples: SamplesConfig = SamplesConfig()
    tensorboard: bool = True

    def __post_init__(self) -> None:
        positive = (
            "steps",
            "batch_size",
            "seq_len",
            "log_every",
            "evaluate_every",
            "evaluate_max_bytes",
            "checkpoint_every",
            "keep_last",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1.")
        if self.micro_batch_size is not None and (self.micro_batch_size < 1 or self.batch_size % self.micro_batch_size):
            raise ValueError(
                f"micro_batch_size is {self.micro_batch_size}, but must divide batch_size, {self.batch_size}."
            )
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"clip_norm is {self.clip_norm}, but must be above 0; null switches clipping off.")
        if not 0 < self.activation_memory <= 1:
            raise ValueError(f"activation_memory is {self.activation_memory}, but is a share: above 0, at most 1.")
        if self.activation_memory < 1 and not self.compile:
            raise ValueError(
                f"activation_memory is {self.activation_memory}, but the compiler decides what is computed again; set "
                "compile: true."
            )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}, but must be between 0 and 2**31 - 1.")
        build_schedule(self.schedule, self.steps)  # says so if the two do not fit together


@spec
class RunConfig:
    """Everything that decides what a training computes. Presets are files of this form.

    Args:
        name: of the run; its directory is `runs/<name>` unless said otherwise.
        start_from: a run's or checkpoint's directory whose weights the training begins with, instead of random ones.
            The optimizer and the schedule begin anew. See `tsumiki.train.start`.
        backend: how the model is computed, not what it computes.
    """

    name: str
    model: ModelConfig
    tokenizer: Annotated[TokenizerConfig, OneOf(TOKENIZERS, tag="kind")]
    data: DataConfig
    train: TrainConfig
    start_from: str | None = None
    backend: BackendConfig = BackendConfig()

    def __post_init__(self) -> None:
        if self.train.seq_len > self.model.max_seq_len:
            raise ValueError(
                f"train.seq_len is {self.train.seq_len}, but the model's context, model.max_seq_len, "
                f"is {self.model.max_seq_len}."
            )
